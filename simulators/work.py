"""What calls have started and what is not finished yet, with the faults that show only later."""

from __future__ import annotations

from collections.abc import Callable

from simulators.faults import Fault, FaultKind
from simulators.world import World

Ending = Callable[[], None]
Failing = Callable[[Fault], None]
Condition = Callable[[], bool]

LATE = frozenset({FaultKind.STUCK, FaultKind.CRASH, FaultKind.CAPACITY})
"""Kinds of faults that show in what a call starts, not in its reply."""


class Work:
    """Finishes what was started once its time has come.

    A call that met a `stuck` fault starts something that does not end while the fault's rule is in force; after another
    late fault it ends as failed.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._stuck: list[tuple[Fault, Ending]] = []
        self._awaited: list[tuple[Condition, Ending | None]] = []
        self._age = 0

    def start(self, seconds: float, finish: Ending, *, fault: Fault | None = None, fail: Failing | None = None) -> None:
        """Call `finish` in `seconds` of simulated time, or `fail` if `fault` says so; without `fail` it cannot fail."""
        age = self._age
        late = fault if fault is not None and fault.kind in LATE else None

        def end() -> None:
            if age != self._age:
                return
            if late is not None and late.kind is FaultKind.STUCK and self._world.faults.active(late.id):
                self._stuck.append((late, finish))
            elif late is not None and late.kind is not FaultKind.STUCK and fail is not None:
                fail(late)
            else:
                finish()

        self._world.clock.schedule(seconds, end)

    def when(self, holds: Condition, then: Ending | None = None) -> None:
        """Call `then` as soon as `holds()`, now or in a later `settle()`: for what something else than time decides."""
        if not holds():
            self._awaited.append((holds, then))
        elif then is not None:
            then()

    def settle(self) -> None:
        """Finish what is due, what was stuck under a rule that is no longer in force, and what has come to hold."""
        self._world.clock.settle()
        freed = [entry for entry in self._stuck if not self._world.faults.active(entry[0].id)]
        self._stuck = [entry for entry in self._stuck if self._world.faults.active(entry[0].id)]
        for _, finish in freed:
            finish()
        if freed:
            self._world.clock.settle()
        if self._go_on():
            self.settle()

    def _go_on(self) -> bool:
        """Go on with what waited for something that holds now; return whether there was any."""
        awaited, self._awaited = self._awaited, []
        held = [entry for entry in awaited if entry[0]()]
        self._awaited = [entry for entry in awaited if entry not in held] + self._awaited
        for _, then in held:
            if then is not None:
                then()
        return bool(held)

    def forget(self) -> None:
        """Let nothing of what was started so far ever end."""
        self._age += 1
        self._stuck.clear()
        self._awaited.clear()
