"""Instants as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.window_rules import FIRST_YEAR, LAST_YEAR
from starters.cli.errors import BadInput


def instant_of(text: str) -> datetime:
    """Return the instant that was typed, in UTC; one without an offset is in UTC."""
    if not text:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        instant = datetime.min  # noqa: DTZ901 - refused below
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        allowed = f"an instant such as 2026-03-07T00:00:00Z, in the years {FIRST_YEAR} to {LAST_YEAR}"
        raise BadInput([f'--now: "{text}" is not an instant. Allowed: {allowed}'])
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
