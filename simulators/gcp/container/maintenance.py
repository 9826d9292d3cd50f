"""Maintenance policies of GKE: which it accepts, and whether one keeps it from upgrading now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby
from typing import Any

from dateutil.rrule import rrulestr

from simulators.gcp.api import stamp
from simulators.gcp.container.versions import support_ends
from simulators.gcp.refusals import Json, invalid

_SLOT = timedelta(minutes=15)
_ROLLING, _AVAILABLE, _SHORTEST = timedelta(days=32), timedelta(hours=48), timedelta(hours=4)
_MOST, _LONGEST = 3, timedelta(days=30)
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY")
_NO_UPGRADES = "NO_UPGRADES"


def accepted(policy: Json, version: str, now: datetime) -> Json:
    """Return the policy as GKE keeps it for a cluster of that version; refuse one that it does not take."""
    window = dict(policy.get("window") or {})
    if daily := window.get("dailyMaintenanceWindow"):
        window["dailyMaintenanceWindow"] = {**daily, "duration": "PT4H0M0S"}
    given = window.get("maintenanceExclusions") or {}
    excluded = {name: _lasting(name, each, version, now) for name, each in given.items()}
    if excluded:
        window["maintenanceExclusions"] = excluded
    for name, each in excluded.items():
        start, end = _span(each, f"maintenance exclusion {name}")
        if _scope(each) == _NO_UPGRADES and end - start > _LONGEST:
            raise invalid(f"Maintenance exclusion {name} is longer than 30 days.")
    complete = [each for each in excluded.values() if _scope(each) == _NO_UPGRADES]
    if len(complete) > _MOST:
        raise invalid(f"There can be at most {_MOST} maintenance exclusions with the scope NO_UPGRADES.")
    _require_availability(window, [_span(each, "") for each in complete], now)
    return {**policy, "window": window}


def _lasting(name: str, exclusion: Json, version: str, now: datetime) -> Json:
    """Return an exclusion with its end, which GKE knows of one that lasts as long as the version is supported."""
    options = exclusion.get("maintenanceExclusionOptions") or {}
    if options.get("endTimeBehavior") != "UNTIL_END_OF_SUPPORT":
        return exclusion
    if "endTime" in exclusion and "startTime" not in exclusion:
        raise invalid(f"Maintenance exclusion {name} has an end_time and no start_time.")
    if _scope(exclusion) == _NO_UPGRADES:
        raise invalid(f"Maintenance exclusion {name}: NO_UPGRADES cannot last until the end of support.")
    start = exclusion.get("startTime", stamp(now))
    end = max(support_ends(version), datetime.fromisoformat(start) + _LONGEST)
    return {**exclusion, "startTime": start, "endTime": stamp(end)}


def excluded_now(policy: Json, now: datetime) -> bool:
    """Return whether an exclusion keeps GKE from any upgrade."""
    excluded = (policy.get("window") or {}).get("maintenanceExclusions") or {}
    spans = [_span(each, "") for each in excluded.values() if _scope(each) == _NO_UPGRADES]
    return any(start <= now < end for start, end in spans)


def _scope(exclusion: Mapping[str, Any]) -> str:
    return str((exclusion.get("maintenanceExclusionOptions") or {}).get("scope", _NO_UPGRADES))


def _span(window: Mapping[str, Any], what: str) -> tuple[datetime, datetime]:
    try:
        start, end = (datetime.fromisoformat(window[key]).astimezone(UTC) for key in ("startTime", "endTime"))
    except (KeyError, ValueError):
        raise invalid(f"The {what} needs a start_time and an end_time.") from None
    if end <= start:
        raise invalid(f"The end_time of the {what} must be after its start_time.")
    return start, end


def _require_availability(window: Mapping[str, Any], excluded: list[tuple[datetime, datetime]], now: datetime) -> None:
    """Refuse what leaves GKE fewer than 48 hours, in pieces of four and more, in some 32 days to come."""
    until = max([now, *(end for _, end in excluded)]) + 2 * _ROLLING
    count = int((until - now) / _SLOT)
    slots = [not (window.get("recurringWindow") or window.get("dailyMaintenanceWindow"))] * count
    for start, end in _occurrences(window, now, until):
        _fill(slots, now, start, end, value=True)
    for start, end in excluded:
        _fill(slots, now, start, end, value=False)
    counted: list[int] = []
    for available, run in groupby(slots):
        length = len(list(run))
        counted += [int(available and length * _SLOT >= _SHORTEST)] * length
    sums = [0, *accumulate(counted)]
    width = int(_ROLLING / _SLOT)
    least = min(sums[begin + width] - sums[begin] for begin in range(count - width + 1)) * _SLOT
    if least < _AVAILABLE:
        raise invalid(
            "Maintenance policy would go longer than 32d without 48h maintenance availability of at least 4h each."
        )


def _fill(slots: list[bool], origin: datetime, start: datetime, end: datetime, *, value: bool) -> None:
    first, last = (max(0, min(len(slots), round((at - origin) / _SLOT))) for at in (start, end))
    slots[first:last] = [value] * (last - first)


def _occurrences(window: Mapping[str, Any], now: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    if daily := window.get("dailyMaintenanceWindow"):
        hour, minute = map(int, daily["startTime"].rpartition("T")[2].split(":")[:2])
        rule, start, duration = "FREQ=DAILY", now.replace(hour=hour, minute=minute) - timedelta(days=1), _SHORTEST
    elif recurring := window.get("recurringWindow"):
        start, end = _span(recurring.get("window") or {}, "maintenance window")
        rule, duration = str(recurring.get("recurrence", "")), end - start
        if not any(f"FREQ={frequency}" in rule for frequency in _FREQUENCIES):
            raise invalid(f"The recurrence {rule!r} must have one of the frequencies {', '.join(_FREQUENCIES)}.")
    else:
        return
    naive = start.replace(tzinfo=None, microsecond=0)
    try:
        times = rrulestr(rule, dtstart=naive)
    except ValueError as error:
        raise invalid(f"The recurrence {rule!r} is no rule of RFC 5545: {error}.") from None
    begin = (now - duration).replace(tzinfo=None)
    for at in times.between(begin, until.replace(tzinfo=None), inc=True):
        found = at.replace(tzinfo=UTC)
        yield found, found + duration
