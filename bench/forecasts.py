"""(g) How long a forecast of a rollout over 10,000 deployments takes, each with windows of its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from domain.forecast import forecast
from domain.maintenance import MaintenancePolicy, MaintenanceWindow, Work
from domain.rollout import RolloutLimits, RolloutPolicy
from domain.waves import Member, waves_of
from starters.forecasts import openings_of

FLEET = 10_000
NEED = timedelta(minutes=90)
_ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Sydney", "America/Sao_Paulo", "Asia/Tokyo")
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


async def measure() -> dict[str, float]:
    """Return the seconds of one forecast: every deployment has another hour, minute, day or zone than most others."""
    members = [
        Member(
            f"f{number:05}",
            f"c{number % 700}",
            ("aws", "gcp", "azure")[number % 3],
            ("v1-small", "v1-large")[number % 2],
        )
        for number in range(FLEET)
    ]
    policies = {member.deployment: _policy(number) for number, member in enumerate(members)}
    begun = time.perf_counter()
    found = forecast(
        waves_of(members, release="4.13.0"),
        openings_of(policies, Work.SERVER, NEED),
        now=datetime(2026, 11, 1, tzinfo=UTC),
        need=lambda _: NEED,
        notice=timedelta(hours=72),
        policy=RolloutPolicy(limits=RolloutLimits(total=500, per_cloud=200, per_customer=5)),
    )
    seconds = time.perf_counter() - begun
    assert sum(wave.size for wave in found.waves) == FLEET
    return {"forecast_10000_seconds": seconds}


def _policy(number: int) -> MaintenancePolicy:
    window = MaintenanceWindow(
        id="weekly",
        timezone=_ZONES[number % len(_ZONES)],
        start=datetime(2026, 1, 5, number % 24, number % 60),  # noqa: DTZ001 - local time, as windows have it
        rrule=f"FREQ=WEEKLY;BYDAY={_DAYS[number % 7]}",
        duration=timedelta(hours=4),
    )
    return MaintenancePolicy(windows=(window,))
