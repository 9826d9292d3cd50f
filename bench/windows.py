"""Milliseconds to the next 100 windows of a policy with three, exclusions and jitter, with nothing remembered."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from statistics import median

from domain import windows
from domain.maintenance import Exclusion, MaintenancePolicy, MaintenanceWindow, Work

ROUNDS = 51
NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULES = ("FREQ=WEEKLY;BYDAY=SU", "FREQ=WEEKLY;BYDAY=WE", "FREQ=MONTHLY;BYDAY=2TU")
POLICY = MaintenancePolicy(
    windows=tuple(
        MaintenanceWindow(
            id=f"w{number}",
            timezone="America/New_York",
            start=datetime.fromisoformat("2020-01-05T02:30"),
            rrule=rule,
            duration=timedelta(hours=4),
        )
        for number, rule in enumerate(RULES)
    ),
    exclusions=(Exclusion(from_=date(2026, 11, 25), to=date(2026, 11, 30)),),
)


async def measure() -> dict[str, float]:
    """Return `windows_100_ms`, expanding everything, and `windows_100_again_ms`, asked again."""
    first, again = [], []
    for _ in range(ROUNDS):
        windows.forget()
        first.append(_timed())
        again.append(_timed())
    return {"windows_100_ms": median(first) * 1000, "windows_100_again_ms": median(again) * 1000}


def _timed() -> float:
    started = time.perf_counter()
    need = timedelta(hours=1)
    found = list(islice(windows.openings(POLICY, Work.SERVER, now=NOW, need=need, spread_by="acme-prod"), 100))
    seconds = time.perf_counter() - started
    assert len(found) == 100
    return seconds
