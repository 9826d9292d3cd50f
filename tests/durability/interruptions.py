"""Processes that die again and again in the course of one lifecycle, each time around another step's deed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from enum import StrEnum

from simulators.world import Held
from tests.durability.clouds import CLOUDS
from tests.durability.installation import Customer, Installation

_SETTLING = 1.0
"""Real seconds without another held call after which no further step will reach its deed beside those that are held."""


class Process(StrEnum):
    """What dies: the worker after a deed and before it learns of it, Temporal just before a deed."""

    WORKER = "worker"
    SERVER = "server"


def shared_out(steps: Sequence[str], in_one_life: int) -> list[tuple[str, ...]]:
    """Return the steps in groups of at most so many; those of one group are far apart in the sequence."""
    groups = -(-len(steps) // in_one_life)
    return [tuple(steps[first::groups]) for first in range(groups)]


class Interruptions:
    """One customer's steps at which a process is to die."""

    def __init__(
        self,
        installation: Installation,
        customer: Customer,
        steps: Collection[str],
        process: Process,
        *,
        before: Collection[str] = (),
        only_look: Collection[str] = (),
    ) -> None:
        """Put the rules in force by which each step's first deed is held.

        Args:
            installation: What runs.
            customer: Whose deployment it is.
            steps: The steps' activities.
            process: What dies.
            before: Those of the steps at which also a worker dies just before the deed, which then never happens.
            only_look: Those of the steps that change nothing in this lifecycle, whatever they do in others.
        """
        self._installation = installation
        self._process = process
        self._rules = {
            installation.hold(
                customer,
                step,
                after_the_deed=process is Process.WORKER and step not in before,
                mutating=None if step in CLOUDS[customer.cloud].looks_only or step in only_look else True,
            ).id: step
            for step in steps
        }

    async def live_through(self) -> None:
        """Let the process die whenever a step is held, until it has died at each of them."""
        while missing := self._missing():
            await self._next(missing)
            if self._process is Process.WORKER:
                self._installation.kill_worker()
                await self._forgotten()
                self._installation.start_worker()
            else:
                self._installation.kill_server()
                self._installation.start_server()
                for each in self._held():
                    self._installation.control.release(each.id)

    async def held_together(self) -> list[Held]:
        """Wait until no further step comes to its deed while the others are held, and return what is held."""
        held = await self._next(self._missing())
        while True:
            await asyncio.sleep(_SETTLING)
            more = self._held()
            if len(more) == len(held):
                return more
            held = more

    def steps_of(self, held: Collection[Held]) -> set[str]:
        """Return the names of the steps whose calls these are."""
        return {self._rules[each.fault] for each in held}

    async def _next(self, missing: set[str]) -> list[Held]:
        deadline = time.monotonic() + self._installation.patience
        while time.monotonic() < deadline:
            await asyncio.to_thread(self._installation.control.held, wait=1.0)
            if held := self._held():
                return held
        raise AssertionError(f"no deed of these steps was seen: {', '.join(sorted(missing))}")

    def _held(self) -> list[Held]:
        return [each for each in self._installation.control.held() if each.fault in self._rules]

    def _missing(self) -> set[str]:
        """Return the steps of which no call was held yet."""
        met = {each.fault.id for each in self._installation.control.faults() if each.hits}
        return {step for rule, step in self._rules.items() if rule not in met}

    async def _forgotten(self) -> None:
        """Wait until the simulators have noticed that whoever called is dead."""
        async with asyncio.timeout(self._installation.patience):
            while self._held():
                await asyncio.sleep(0.02)
