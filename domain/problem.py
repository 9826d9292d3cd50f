"""What is wrong with an order, in a form that can be acted on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import field_validator

from domain.model import Model

LONGEST_WORDS = 240
"""Characters of a problem's message."""


class Problem(Model):
    """One thing that keeps an order from being accepted."""

    path: str
    """The field as it is written in a file, `spec.network.cidr`."""
    value: str = ""
    """What was given, as far as it may be shown; empty where nothing was."""
    message: str
    """What is wrong with it, as a sentence without a full stop."""
    allowed: str = ""
    """What would be accepted."""
    line: int | None = None
    """Line of the file, from 1."""
    subject: str = ""
    """Which object of the file, `Deployment acme-prod`; empty where there is only one."""

    @field_validator("value", "message")
    @classmethod
    def _is_one_printable_line(cls, text: str) -> str:
        """Escape what could steer a terminal or forge a line of a log, and cut what is long."""
        safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
        return safe if len(safe) <= LONGEST_WORDS else f"{safe[:LONGEST_WORDS]}…"

    def __str__(self) -> str:
        """Read as `line 7: spec.region: "eu-centrl-1" is not a region of aws. Allowed: eu-central-1`."""
        where = ": ".join(part for part in (f"line {self.line}" if self.line else "", self.subject, self.path) if part)
        text = f"{where}: {self.message}" if where else self.message
        end = "" if text.endswith("?") else "."
        return f"{text}{end} Allowed: {self.allowed}" if self.allowed else text


def nearest(value: str, options: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the option most like `value`, or nothing when none is alike."""
    alike = difflib.get_close_matches(value, list(options), n=1, cutoff=0.6)
    return f'; did you mean "{alike[0]}"?' if alike else ""
