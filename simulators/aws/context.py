"""What the front tells the services about the request that they are handling, and what they tell it back.

Both are context variables: they hold for one request, through every function that the request is awaited through.
"""

from __future__ import annotations

from contextvars import ContextVar

from simulators.faults import Fault

current_fault: ContextVar[Fault | None] = ContextVar("current_fault", default=None)
"""The fault that concerns what this call starts: stuck, crash, or no capacity. The other kinds are the front's own."""

_had_effect: ContextVar[bool] = ContextVar("had_effect", default=True)


def begin(fault: Fault | None) -> None:
    """Start one request: it meets `fault`, and has an effect unless a service says otherwise."""
    current_fault.set(fault)
    _had_effect.set(True)


def report_no_effect() -> None:
    """Say that this call, although it succeeds, changes nothing: a repeated idempotency token, an equal update."""
    _had_effect.set(False)


def had_effect() -> bool:
    """Return whether a success of this call changed the world, as far as the services said."""
    return _had_effect.get()
