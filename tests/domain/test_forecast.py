"""Forecasts of a rollout, against a slow simulation that takes every minute by itself."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.forecast import forecast
from domain.maintenance import MARGIN, Opening
from domain.rollout import RolloutLimits, RolloutPolicy
from domain.waves import Member, Wave, WaveName, waves_of

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def daily(hour: int, length: timedelta, need: timedelta, after: datetime) -> Opening:
    """Return the first opening of a window that opens every day at this hour, long enough after an instant."""
    start = after.replace(hour=hour, minute=0, second=0, microsecond=0) - timedelta(days=2)
    while max(start, after) + need > start + length - MARGIN:
        start += timedelta(days=1)
    return Opening(start=start, end=start + length, at=max(start, after))


def slow_ends(
    members: list[Member], hours: dict[str, int], length: timedelta, need: timedelta, limits: RolloutLimits
) -> list[datetime]:
    """Return when the members are done, by looking at every quarter of an hour who may start."""
    waiting, running, ends = dict.fromkeys(members), {}, []
    ready: dict[Member, datetime] = {}
    now = NOW
    while waiting or running:
        for member, end in list(running.items()):
            if end <= now:
                ends.append(end)
                del running[member]
        for member in waiting:
            opening = daily(hours[member.deployment], length, need, now)
            if opening.at != now:
                ready.pop(member, None)
            else:
                ready.setdefault(member, now)
        while True:
            clouds = Counter(member.cloud for member in running)
            customers = Counter(member.customer for member in running)
            able = [
                (customers[member.customer], since, members.index(member), member)
                for member, since in ready.items()
                if member in waiting
                and clouds[member.cloud] < limits.per_cloud
                and customers[member.customer] < limits.per_customer
                and len(running) < limits.total
            ]
            if not able:
                break
            member = min(able)[3]
            del waiting[member]
            running[member] = now + need
        now += timedelta(minutes=15)
    return sorted(ends)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["aws", "gcp"]), st.sampled_from("ab"), st.integers(0, 23)), min_size=1, max_size=14
    ),
    st.builds(RolloutLimits, total=st.integers(1, 4), per_cloud=st.integers(1, 3), per_customer=st.integers(1, 2)),
    st.sampled_from([45, 60, 105]),
)
def test_a_forecast_is_what_a_slow_simulation_finds(
    rows: list[tuple[str, str, int]], limits: RolloutLimits, minutes: int
) -> None:
    """The same deployments start in the same order within the same limits."""
    members = [Member(f"d{number:02}", customer, cloud, "v1-small") for number, (cloud, customer, _) in enumerate(rows)]
    hours = {f"d{number:02}": hour for number, (_, _, hour) in enumerate(rows)}
    length, need = timedelta(hours=4), timedelta(minutes=minutes)
    wave = Wave(name=WaveName.REST, bake=timedelta(0), members=tuple(members))

    found = forecast(
        [wave],
        lambda member, after: daily(hours[member.deployment], length, need, after),
        now=NOW,
        need=lambda _: need,
        notice=timedelta(0),
        policy=RolloutPolicy(limits=limits),
    )

    ends = slow_ends(members, hours, length, need, limits)
    assert found.finishes_at == ends[-1]
    assert found.waves[0].half_at == ends[(len(ends) - 1) // 2]
    assert found.waves[0].complete_at == ends[-1]


def test_waves_follow_one_another_after_their_bakes_and_stragglers_do_not_keep_them() -> None:
    """A deployment whose window comes in a month is late; the next wave begins when our patience is over."""
    fleet = [Member(f"d{number}", f"c{number}", "aws", "v1-small") for number in range(30)]
    waves = waves_of(fleet, release="4.13.0")
    late = waves[1].members[0]

    def openings(member: Member, after: datetime) -> Opening | None:
        start = after + timedelta(days=30) if member == late else after
        return (
            None
            if member.deployment == waves[2].members[0].deployment
            else Opening(start=start, end=start + 4 * HOUR, at=start)
        )

    found = forecast(waves, openings, now=NOW, need=lambda _: HOUR, notice=timedelta(hours=72))

    canary, tenth, third, rest = found.waves
    assert canary.complete_at == NOW + timedelta(hours=73)
    assert canary.baked_at == tenth.begins_at == NOW + timedelta(hours=97)
    assert tenth.late == 1
    assert tenth.complete_at == tenth.begins_at + RolloutPolicy().patience
    assert third.without_window == 1
    assert rest.late == 0
    assert found.finishes_at == max(rest.complete_at, tenth.begins_at + timedelta(days=33, hours=1))
