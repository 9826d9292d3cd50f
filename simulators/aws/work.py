"""What calls to AWS have started and what is not finished yet: it ends in the account and region of its call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from simulators import work
from simulators.aws import scope
from simulators.aws.context import current_fault
from simulators.aws.scope import Scope
from simulators.faults import Fault
from simulators.work import Condition, Ending, Failing
from simulators.world import World

Found = TypeVar("Found")


class Work:
    """Finishes what was started once its time has come; the fault that the current call met decides how."""

    def __init__(self, world: World) -> None:
        self._work = work.Work(world)

    def start(self, seconds: float, finish: Ending, fail: Failing | None = None) -> None:
        """Call `finish` in `seconds` of simulated time, or `fail`; without `fail`, what was started cannot fail."""
        here = scope.current()

        def failing(fault: Fault) -> None:
            if fail is not None:
                _run(here, lambda: fail(fault))

        self._work.start(
            seconds,
            lambda: _run(here, finish),
            fault=current_fault.get(),
            fail=failing if fail is not None else None,
        )

    def when(self, holds: Condition, then: Ending | None = None) -> None:
        """Call `then` as soon as `holds()`, now or in a later `settle()`: for what something else than time decides."""
        here = scope.current()
        ending = then
        self._work.when(lambda: _run(here, holds), None if ending is None else lambda: _run(here, ending))

    def settle(self) -> None:
        """Finish what is due, what was stuck under a rule that is no longer in force, and what has come to hold."""
        self._work.settle()

    def forget(self) -> None:
        """Let nothing of what was started so far ever end."""
        self._work.forget()


def _run(here: Scope, ending: Callable[[], Found]) -> Found:
    """Run `ending` where it was started, untouched by the fault of whichever call happens to be under way."""
    token = current_fault.set(None)
    try:
        with scope.inside(here):
            return ending()
    finally:
        current_fault.reset(token)
