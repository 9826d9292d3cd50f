"""Giving up between two calls: an activity that is not wanted any more ends before its next call, never within one.

Temporal's SDK can also throw the cancellation into the activity's thread, wherever that is. It may be between taking a
lock of a connection pool and the block that returns it: then whoever uses the pool next waits for ever. And a call that
is torn apart counts as one whose reply was lost. So every activity says `no_thread_cancel_exception`, and the
connections to clouds and clusters ask here before each call.
"""

from __future__ import annotations

from contextvars import ContextVar

from temporalio import activity
from temporalio.exceptions import CancelledError

from activities import deeds

_told: ContextVar[bool] = ContextVar("told", default=False)
"""Whether this execution was told to give up. It is told once: what it makes good on its way out may be done."""


def before_call() -> None:
    """Say that a call is about to be made.

    Raises:
        CancelledError: The activity was cancelled, is taken for dead, or its worker shuts down.
    """
    if deeds.is_over():
        raise CancelledError("a later attempt has begun")
    if activity.in_activity() and activity.is_cancelled() and not _told.get():
        _told.set(True)
        raise CancelledError("given up before a call")
