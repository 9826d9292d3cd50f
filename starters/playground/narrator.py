"""How the demo is told: lines with the time and whose they are, as things happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rich.console import Console

Seen = TypeVar("Seen")

LOOK = 0.3
"""Seconds between two looks at something that is waited for."""
LONGEST = 300.0
"""Seconds after which the story gives up on anything that it waits for."""


class StoryBroke(Exception):  # noqa: N818 - it names what happened
    """Something that the story waits for did not come; the message says what was seen instead."""


class Narrator:
    """Tells on a console, or into a plain log, and waits for what is to be told next."""

    def __init__(self, console: Console, check: Callable[[], None]) -> None:
        """Begin the clock; `check` raises if there is nothing left to tell of."""
        self.console = console
        self.check = check
        self._begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._begun

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.console.print(f"\n[bold]{title}[/bold]")

    def line(self, who: str, text: str) -> None:
        """Tell what somebody does, or what happens to them."""
        elapsed = int(self.elapsed)
        self.console.print(
            f"  [dim]{elapsed // 60}:{elapsed % 60:02}[/dim]  [cyan]{who:<8}[/cyan] {text}", soft_wrap=True
        )

    def say(self, text: str) -> None:
        """Say something beside the story."""
        self.console.print(text, soft_wrap=True)

    async def until(self, look: Callable[[], Awaitable[Seen]], is_so: Callable[[Seen], bool], what: str) -> Seen:
        """Return what `look` finds as soon as it is so.

        Raises:
            StoryBroke: It is not so for very long; `what` says what was waited for.
        """
        deadline = time.monotonic() + LONGEST
        while not is_so(found := await look()):
            self.check()
            if time.monotonic() > deadline:
                raise StoryBroke(f"not in {LONGEST:.0f} s: {what}")
            await asyncio.sleep(LOOK)
        return found
