"""Markdown in small: instants, tables, and words from outside that must not become markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def instant(at: datetime | None) -> str:
    """Return an instant as `2026-11-23 22:45:10 UTC`, or a dash.

    Texts in the Temporal UI name instants, never durations up to now: they are written once and read later.
    """
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else "-"


def escaped(words: str) -> str:
    """Return words from outside (a cloud's message, a person's reason) as one line without effect as markup."""
    return _MARKUP.sub(r"\\\1", " ".join(words.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a markdown table; every cell is escaped."""
    lines = [_row(head), "|" + " --- |" * len(head), *(_row([escaped(cell) for cell in row]) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
