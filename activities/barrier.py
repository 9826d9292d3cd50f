"""The barrier behind which activities only look: the first call that would change something is refused.

The connections to clouds and clusters ask before each request that is not a read. In ordinary work the answer is
nothing; while an activity is compared with what exists, it is `WouldChange`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_barred: ContextVar[bool] = ContextVar("barred", default=False)
"""Whether this thread's activity may only look."""


class WouldChange(Exception):  # noqa: N818 - it names what is so
    """The activity came to a call that would change something; the call was not made."""

    def __init__(self, call: str, detail: str = "") -> None:
        super().__init__(f"{call} {detail}".rstrip())
        self.call = call
        self.detail = detail


@contextmanager
def changes_barred() -> Iterator[None]:
    """Let no call in the block change anything. It holds for this thread: activities start no others."""
    token = _barred.set(True)
    try:
        yield
    finally:
        _barred.reset(token)


def changes_are_barred() -> bool:
    """Return whether the activity may only look: then nothing is as the steps before it would leave it."""
    return _barred.get()


def before_change(call: str, detail: str = "") -> None:
    """Say that a call is about to be made that changes something.

    Raises:
        WouldChange: Changes are barred.
    """
    if _barred.get():
        raise WouldChange(call, detail)
