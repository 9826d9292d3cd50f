"""What GKE is told about when it may maintain a cluster by itself: one recurring window, and exclusions.

GKE wants 48 hours in any 32 days in which it may, in pieces of at least four. Windows of a few hours once a week do not
leave it that many: it gets the same hours on every day then, which is as near as it can be bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr
from google.cloud import container_v1

from activities.gcp.cluster_settings import MAINTENANCE_BEGINS, VERSIONS_ARE_OURS, versions_are_ours
from activities.gcp.recurrence import first_start, rule_in_utc
from domain.maintenance import Exclusion, ExclusionScope, MaintenanceWindow

OURS = "byoc-"
"""How the names of our exclusions begin; all others are somebody else's, and stay."""
ROLLING = timedelta(days=32)
AVAILABLE = timedelta(hours=48)
SHORTEST = timedelta(hours=4)
"""A shorter piece of availability does not count."""
MOST_EXCLUSIONS, LONGEST_EXCLUSION = 3, timedelta(days=30)
_Scope = container_v1.MaintenanceExclusionOptions.Scope
_SCOPES: Mapping[ExclusionScope, int] = {
    ExclusionScope.ALL: _Scope.NO_UPGRADES,
    ExclusionScope.NO_MINOR: _Scope.NO_MINOR_UPGRADES,
    ExclusionScope.NO_MINOR_OR_NODE: _Scope.NO_MINOR_OR_NODE_UPGRADES,
}
_LASTING = container_v1.MaintenanceExclusionOptions.EndTimeBehavior.UNTIL_END_OF_SUPPORT
_EVERY_DAY = "FREQ=DAILY"


class PolicyRefusedError(Exception):
    """GKE takes no such policy; the text says why."""


@dataclass(frozen=True)
class Recurring:
    """GKE's one window."""

    start: datetime
    """Of the first occurrence, in UTC."""
    duration: timedelta
    rule: str
    """By days of UTC."""

    def between(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the occurrences that begin in that time."""
        # Without a zone: dateutil would ask one for every occurrence.
        naive = self.start.replace(tzinfo=None)
        times = rrulestr(self.rule, dtstart=naive)
        for at in times.between(begin.replace(tzinfo=None), end.replace(tzinfo=None), inc=True):
            start = at.replace(tzinfo=UTC)
            yield start, start + self.duration


Span = tuple[datetime, datetime]


def wanted_policy(
    present: container_v1.MaintenancePolicy,
    windows: Sequence[MaintenanceWindow],
    exclusions: Sequence[Exclusion],
    now: datetime,
) -> container_v1.MaintenancePolicy:
    """Return the policy as it has to be; it is equal to `present` if that is so already.

    The window is that of the first of `windows`, with the offset that its zone has now: GKE keeps no zone, so that it
    is an hour off from a change of the clocks until the policy is set again. Without windows there is one by night.

    Raises:
        PolicyRefusedError: the exclusions, ours and others', are more than GKE takes, or leave it too little time.
    """
    policy = container_v1.MaintenancePolicy(present)
    excluded = _exclusions(present, windows, exclusions, now)
    spans = [
        (_instant(each.start_time), _instant(each.end_time)) for each in excluded.values() if _stops_everything(each)
    ]
    if not windows:
        # GKE gives the window's start as `02:00` or as a time of some day, `2026-01-01T02:00:00Z`.
        if MAINTENANCE_BEGINS not in policy.window.daily_maintenance_window.start_time:
            policy.window.daily_maintenance_window = {"start_time": MAINTENANCE_BEGINS}
        hour, minute = map(int, MAINTENANCE_BEGINS.split(":"))
        night = datetime.combine(now.date(), time(hour, minute), UTC)
        _require_room(Recurring(night - ROLLING, SHORTEST, _EVERY_DAY), spans, now)
    else:
        recurring = recurring_window(windows[0], spans, now)
        _require_room(recurring, spans, now)
        if _recurring_of(policy) != recurring:
            policy.window.recurring_window = {
                "window": {"start_time": recurring.start, "end_time": recurring.start + recurring.duration},
                "recurrence": recurring.rule,
            }
    if {name: _as_compared(each) for name, each in policy.window.maintenance_exclusions.items()} != {
        name: _as_compared(each) for name, each in excluded.items()
    }:
        policy.window.maintenance_exclusions = excluded
    return policy


def recurring_window(window: MaintenanceWindow, excluded: Sequence[Span], now: datetime) -> Recurring:
    """Return the window for GKE: the deployment's own, or its hours on every day where that leaves too little time."""
    start = first_start(window, now)
    if rule := rule_in_utc(window, now):
        own = Recurring(start, window.duration, rule)
        if least_available(own, excluded, now) >= AVAILABLE:
            return own
    return Recurring(start, max(window.duration, SHORTEST), _EVERY_DAY)


def least_available(recurring: Recurring, excluded: Sequence[Span], now: datetime) -> timedelta:
    """Return how much time GKE has in the worst 32 days to come, in pieces that are long enough."""
    horizon = max([now, *(end for _, end in excluded)]) + 3 * ROLLING
    pieces = [
        piece
        for piece in _without(_merged(recurring.between(now - timedelta(days=2), horizon)), excluded)
        if piece[1] - piece[0] >= SHORTEST
    ]
    # The worst 32 days begin when a piece has just ended, or now.
    begins = [now, *(end for _, end in pieces if now < end <= horizon - ROLLING)]
    return min(_within(pieces, begin, begin + ROLLING) for begin in begins)


def _require_room(recurring: Recurring, excluded: Sequence[Span], now: datetime) -> None:
    least = least_available(recurring, excluded, now)
    if least < AVAILABLE:
        hours = round(least / timedelta(hours=1))
        raise PolicyRefusedError(
            f"GKE needs 48 hours for maintenance in any 32 days and the exclusions leave it {hours}: shorten an "
            "exclusion, or make the first maintenance window longer"
        )


def _exclusions(
    present: container_v1.MaintenancePolicy,
    windows: Sequence[MaintenanceWindow],
    exclusions: Sequence[Exclusion],
    now: datetime,
) -> Mapping[str, container_v1.TimeWindow]:
    """Return others' exclusions, that by which versions are ours, and those that have not ended, keyed by name."""
    zone = ZoneInfo(windows[0].timezone) if windows else ZoneInfo("UTC")
    there = dict(present.window.maintenance_exclusions)
    lasting = container_v1.TimeWindow(versions_are_ours(now))
    if VERSIONS_ARE_OURS in there and _as_compared(there[VERSIONS_ARE_OURS]) == _as_compared(lasting):
        lasting = there[VERSIONS_ARE_OURS]
    found = {name: each for name, each in there.items() if not name.startswith(OURS)} | {VERSIONS_ARE_OURS: lasting}
    for each in exclusions:
        start, end = _midnight(each.from_, zone), _midnight(each.to + timedelta(days=1), zone)
        if end <= now:
            continue
        # A change of the clocks may make the days an hour longer.
        if end - start > LONGEST_EXCLUSION + timedelta(hours=1):
            raise PolicyRefusedError(f"GKE takes exclusions of at most 30 days: {each.from_} to {each.to} is longer")
        found[f"{OURS}{each.from_}-{each.to}-{each.scope.value.lower().replace('_', '-')}"] = container_v1.TimeWindow(
            start_time=start,
            end_time=min(end, start + LONGEST_EXCLUSION),
            maintenance_exclusion_options={"scope": _SCOPES[each.scope]},
        )
    counted = [name for name, each in found.items() if _stops_everything(each)]
    if len(counted) > MOST_EXCLUSIONS:
        raise PolicyRefusedError(
            f"GKE takes {MOST_EXCLUSIONS} exclusions of all upgrades and there would be {len(counted)}: "
            + ", ".join(sorted(counted))
        )
    return found


def _recurring_of(policy: container_v1.MaintenancePolicy) -> Recurring | None:
    found = policy.window.recurring_window
    if not found.recurrence:
        return None
    start, end = _instant(found.window.start_time), _instant(found.window.end_time)
    return Recurring(start, end - start, found.recurrence)


def _stops_everything(window: container_v1.TimeWindow) -> bool:
    return bool(window.maintenance_exclusion_options.scope == _Scope.NO_UPGRADES)


def _as_compared(window: container_v1.TimeWindow) -> tuple[object, ...]:
    """Return what two equal exclusions have in common; when support ends, GKE knows alone."""
    scope, behaviour = (
        window.maintenance_exclusion_options.scope,
        window.maintenance_exclusion_options.end_time_behavior,
    )
    if behaviour == _LASTING:
        return scope, behaviour
    return scope, _instant(window.start_time), _instant(window.end_time)


def _instant(stamp: datetime) -> datetime:
    """Return an instant of the SDK, whose own type compares with others, as a plain one."""
    return datetime.fromtimestamp(round(stamp.timestamp()), UTC)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _merged(spans: Iterator[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(spans: Sequence[Span], excluded: Sequence[Span]) -> list[Span]:
    for begin, until in excluded:
        spans = [
            part
            for start, end in spans
            for part in ((start, min(end, begin)), (max(start, until), end))
            if part[0] < part[1]
        ]
    return list(spans)


def _within(pieces: Sequence[Span], begin: datetime, end: datetime) -> timedelta:
    overlaps = ((max(start, begin), min(stop, end)) for start, stop in pieces)
    return sum((stop - start for start, stop in overlaps if stop - start >= SHORTEST), timedelta())
