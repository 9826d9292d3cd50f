"""What calls have started and what is not finished yet: the passing of time, and the faults that show only later."""

from __future__ import annotations

from collections.abc import Callable

from simulators.aws import scope
from simulators.aws.context import current_fault
from simulators.aws.scope import Scope
from simulators.faults import Fault, FaultKind
from simulators.world import World

Ending = Callable[[], None]
Failing = Callable[[Fault], None]


class Work:
    """Finishes what was started once its time has come.

    A call that met a `stuck` fault starts something that does not end while the fault's rule is in force; after a
    `crash` or `capacity` fault it ends as failed.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._stuck: list[tuple[Fault, Scope, Ending]] = []
        self._age = 0

    def start(self, seconds: float, finish: Ending, fail: Failing | None = None) -> None:
        """Call `finish` in `seconds` of simulated time, in the current account and region.

        The fault that the current call met decides whether `fail` is called instead; without `fail`, what was started
        cannot fail.
        """
        here, fault, age = scope.current(), current_fault.get(), self._age
        ending = finish
        if fault is not None and fault.kind is not FaultKind.STUCK and fail is not None:
            failing = fail
            ending = lambda: failing(fault)  # noqa: E731 - the two endings differ in what they know

        def end() -> None:
            if age != self._age:
                return
            if fault is not None and fault.kind is FaultKind.STUCK and self._world.faults.active(fault.id):
                self._stuck.append((fault, here, finish))
            else:
                _run(here, ending)

        self._world.clock.schedule(seconds, end)

    def settle(self) -> None:
        """Finish what is due, and what was stuck under a rule that is no longer in force."""
        self._world.clock.settle()
        freed = [entry for entry in self._stuck if not self._world.faults.active(entry[0].id)]
        self._stuck = [entry for entry in self._stuck if self._world.faults.active(entry[0].id)]
        for _, here, finish in freed:
            _run(here, finish)

    def forget(self) -> None:
        """Let nothing of what was started so far ever end."""
        self._age += 1
        self._stuck.clear()


def _run(here: Scope, ending: Ending) -> None:
    """Run `ending` where it was started, untouched by the fault of whichever call happens to be under way."""
    token = current_fault.set(None)
    try:
        with scope.inside(here):
            ending()
    finally:
        current_fault.reset(token)
