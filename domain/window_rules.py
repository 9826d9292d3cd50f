"""Which maintenance windows and exclusions a deployment may have, each fault answered with what would be accepted.

`uncomputable` says what instants cannot be computed from; `window_problems` adds what customer and vendor have agreed:
windows that work fits into, and exclusions that leave enough of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from domain.maintenance import (
    DEFAULT_DURATION,
    Exclusion,
    MaintenancePolicy,
    MaintenanceWindow,
    Work,
    windows_of,
)
from domain.problem import Problem, nearest
from domain.recurrence import RuleInvalid, check_rule
from domain.windows import LONGEST, SHORTEST, openings

SHORTEST_WINDOW = timedelta(hours=2)
MOST_WINDOWS = 10
MOST_EXCLUSIONS = 3
"""That are not over."""
LONGEST_EXCLUSION = 30
"""Days, the last one included."""
USABLE_EVERY = timedelta(days=35)
"""From the start of a usable window to the next one's start, if it were not for exclusions."""
FIRST_YEAR, LAST_YEAR = 1970, 2100
"""Of every date: before, zones had no rules, and nobody knows those of later."""

_NO_ZONE = re.compile(r"(Etc/)?(GMT|UTC|UCT)[+-][1-9][0-9]*|EST|MST|HST|Factory|localtime|posixrules|(posix|right)/.*")
"""Names in the time zone database that stand for an offset, or for none of its zones."""


def window_problems(policy: MaintenancePolicy, today: date, path: str = "") -> Iterator[Problem]:
    """Return everything that keeps a deployment from having this policy.

    Args:
        policy: What is wanted.
        today: Exclusions that end before it are over and no longer count.
        path: What precedes each field's name, `spec.`.
    """
    faults = [*uncomputable(policy, path)]
    yield from faults
    yield from disagreed(policy, today, path, whole=not faults)


def uncomputable(policy: MaintenancePolicy, path: str = "") -> Iterator[Problem]:
    """Return what keeps instants from being computed: zones, rules, dates that run backwards, names given twice."""
    ids = [window.id for window in policy.windows]
    for number, window in enumerate(policy.windows):
        here = f"{path}windows[{number}]."
        if window.id in ids[:number]:
            yield Problem(
                path=f"{here}id",
                value=window.id,
                message=f'window "{window.id}" is described twice',
                allowed="each once",
            )
        if fault := zone_fault(window.timezone):
            yield Problem(
                path=f"{here}timezone",
                value=window.timezone,
                message=f'"{window.timezone}" {fault}',
                allowed="an IANA time zone, such as Europe/Berlin, America/New_York or Etc/UTC",
            )
        yield from _start_is_in_time(window, here)
        if window.duration <= timedelta(0):
            yield _duration_problem(window, here)
    for number, exclusion in enumerate(policy.exclusions):
        yield from _dates_are_in_order(exclusion, f"{path}exclusions[{number}].")


def disagreed(policy: MaintenancePolicy, today: date, path: str = "", *, whole: bool = True) -> Iterator[Problem]:
    """Return what can be computed and is not agreed with customers.

    Args:
        policy: What is wanted.
        today: Exclusions that end before it are over and no longer count.
        path: What precedes each field's name.
        whole: Whether nothing is `uncomputable`; else nothing is said of how the exclusions leave the windows.
    """
    if len(policy.windows) > MOST_WINDOWS:
        yield Problem(
            path=f"{path}windows",
            value=str(len(policy.windows)),
            message=f"{len(policy.windows)} windows are too many",
            allowed=f"at most {MOST_WINDOWS}",
        )
    for number, window in enumerate(policy.windows):
        if timedelta(0) < window.duration and not SHORTEST_WINDOW <= window.duration <= LONGEST:
            yield _duration_problem(window, f"{path}windows[{number}].")
    active = [(number, each) for number, each in enumerate(policy.exclusions) if each.to >= today]
    if len(active) > MOST_EXCLUSIONS:
        yield Problem(
            path=f"{path}exclusions",
            value=str(len(active)),
            message=f"{len(active)} exclusions that are not over are too many",
            allowed=f"at most {MOST_EXCLUSIONS}",
        )
    for number, exclusion in active:
        days = (exclusion.to - exclusion.from_).days + 1
        if days > LONGEST_EXCLUSION:
            yield Problem(
                path=f"{path}exclusions[{number}].to",
                value=str(exclusion.to),
                message=f"{days} days from {exclusion.from_} to {exclusion.to} are too many",
                allowed=f"at most {LONGEST_EXCLUSION} days, both included",
            )
    if whole and len(active) <= MOST_EXCLUSIONS and len(policy.windows) <= MOST_WINDOWS:
        yield from _enough_is_left(policy, active, path)


def zone_fault(name: str) -> str:
    """Return why `name` is not a time zone of windows, or nothing."""
    if _NO_ZONE.fullmatch(name) or re.fullmatch(r"[+-]?[0-9:]+|Z", name):
        return "is a fixed offset, which knows no daylight saving time"
    if not _exists(name):
        return f"is not a time zone{nearest(name, _names())}"
    return ""


@lru_cache(maxsize=1024)
def _exists(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # A folder of the database, `Europe`, is an OSError; a path that leads out of it a ValueError.
        return False
    return True


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    return tuple(sorted(name for name in available_timezones() if not _NO_ZONE.fullmatch(name)))


def _start_is_in_time(window: MaintenanceWindow, here: str) -> Iterator[Problem]:
    if not FIRST_YEAR <= window.start.year <= LAST_YEAR:
        yield Problem(
            path=f"{here}start",
            value=window.start.isoformat(),
            message=f"the year {window.start.year} is not one in which windows begin",
            allowed=f"{FIRST_YEAR} to {LAST_YEAR}",
        )
        return
    try:
        check_rule(window.rrule, window.start)
    except RuleInvalid as fault:
        yield Problem(path=f"{here}rrule", value=window.rrule, message=str(fault), allowed=fault.allowed)


def _duration_problem(window: MaintenanceWindow, here: str) -> Problem:
    text = f"{window.duration.total_seconds() / 3600:g} h"
    return Problem(
        path=f"{here}duration",
        value=text,
        message=f"{text} is too {'short' if window.duration < SHORTEST_WINDOW else 'long'} for a window",
        allowed=f"PT{SHORTEST_WINDOW.seconds // 3600}H to PT{int(LONGEST.total_seconds()) // 3600}H",
    )


def _dates_are_in_order(exclusion: Exclusion, here: str) -> Iterator[Problem]:
    for field, day in (("from", exclusion.from_), ("to", exclusion.to)):
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            yield Problem(
                path=f"{here}{field}",
                value=str(day),
                message=f"the year {day.year} is not one that can be excluded",
                allowed=f"{FIRST_YEAR} to {LAST_YEAR}",
            )
            return
    if exclusion.to < exclusion.from_:
        yield Problem(
            path=f"{here}to",
            value=str(exclusion.to),
            message=f"{exclusion.to} is before {exclusion.from_}, on which the exclusion begins",
            allowed=f"{exclusion.from_} or later",
        )


def _enough_is_left(policy: MaintenancePolicy, active: list[tuple[int, Exclusion]], path: str) -> Iterator[Problem]:
    """Routine patches of the server must be possible in any 35 days in which they would be without exclusions.

    Exclusions of Kubernetes minors or machines alone leave the windows usable.
    """
    length = max(SHORTEST, min(DEFAULT_DURATION, max(window.duration for window in windows_of(policy))))
    kept = MaintenancePolicy(windows=policy.windows, exclusions=tuple(exclusion for _, exclusion in active))
    for number, exclusion in active:
        if not exclusion.scope.excludes(Work.SERVER):
            continue
        gap = _gap_around(kept, exclusion, length)
        if gap is not None:
            first, last = gap
            until = f"before {last:%Y-%m-%d}" if last else "for years"
            yield Problem(
                path=f"{path}exclusions[{number}]",
                value=f"{exclusion.from_} to {exclusion.to}",
                message=f"no window of {length.total_seconds() / 3600:g} h is left after {first:%Y-%m-%d} {until}",
                allowed=f"exclusions that leave a window in any {USABLE_EVERY.days} days",
            )


def _gap_around(
    policy: MaintenancePolicy, exclusion: Exclusion, length: timedelta
) -> tuple[datetime, datetime | None] | None:
    """Return from which window's start to which next start nothing is usable, if that is too long, else None."""
    begin = datetime.combine(exclusion.from_, time(), UTC) - USABLE_EVERY - timedelta(days=1)
    over = datetime.combine(exclusion.to, time(), UTC) + timedelta(days=2)
    plain = _starts(policy.model_copy(update={"exclusions": ()}), begin, over, length)
    usable = _starts(policy, begin, over, length)
    lost = [start for start in plain if start not in usable]
    if not lost:
        return None
    # What comes first in that time is where a gap begins, whether it was usable or itself excluded before.
    moments = sorted({plain[0], *usable})
    for earlier, later in zip(moments, [*moments[1:], None], strict=True):
        if later is None and earlier > over:
            break
        too_long = later is None or later - earlier > USABLE_EVERY
        if too_long and any(earlier <= start and (later is None or start < later) for start in lost):
            return earlier, later
    return None


def _starts(policy: MaintenancePolicy, begin: datetime, over: datetime, length: timedelta) -> list[datetime]:
    """Return the starts of the openings of at least this length from `begin` to the first one after `over`."""
    starts = []
    for opening in openings(policy, Work.SERVER, now=begin):
        if opening.end - opening.start >= length:
            starts.append(opening.start)
            if opening.start > over:
                break
    return starts
