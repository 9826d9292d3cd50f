"""One simulated world: the clock, the faults and the journal that all its clouds and clusters share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from simulators.clock import Clock
from simulators.faults import Faults
from simulators.journal import Call, Journal
from simulators.secrets import Secrets


class Held(BaseModel):
    """One call that waits at a `hold` or `hold_before` rule."""

    model_config = ConfigDict(frozen=True)

    id: str
    fault: str
    call: Call
    deed_done: bool


@dataclass
class World:
    """What every simulator of one playground shares."""

    clock: Clock = field(default_factory=Clock)
    faults: Faults = field(default_factory=Faults)
    journal: Journal = field(default_factory=Journal)
    secrets: Secrets = field(default_factory=Secrets)
    _held: dict[str, tuple[Held, Callable[[], object]]] = field(default_factory=dict)
    """Each with what lets it go on, from any thread; keyed by the hold's id."""
    _resets: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def held(self) -> list[Held]:
        """Return the calls that are being held now."""
        return [held for held, _ in self._held.values()]

    async def hold(self, held: Held) -> None:
        """Keep the call of `held` waiting until `release`; a caller that hangs up cancels it, and so does a reset."""
        resets = self._resets
        released, loop = asyncio.Event(), asyncio.get_running_loop()
        self._held[held.id] = (held, lambda: loop.call_soon_threadsafe(released.set))
        self._announce()
        try:
            await released.wait()
            if resets != self._resets:
                raise asyncio.CancelledError
        finally:
            self._held.pop(held.id, None)
            self._announce()

    def release(self, held_id: str) -> bool:
        """Let a held call go on; return whether it was being held. Any thread may do this."""
        entry = self._held.get(held_id)
        if entry is None:
            return False
        _, let_go = entry
        let_go()
        return True

    def reset(self) -> None:
        """Forget what happened and what is planned, and cancel every held call; time and speed stay."""
        self._resets += 1
        for _, let_go in list(self._held.values()):
            let_go()
        self.clock.forget()
        self.faults.clear()
        self.journal.clear()
        self.secrets.clear()

    async def wait_until_held(self, seconds: float) -> list[Held]:
        """Wait up to `seconds` real seconds for a call to be held, and return those that are (maybe none)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._held:
                    await self._changed.wait()
        return self.held()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
