"""When maintenance windows are open: from a policy to instants.

Pure functions of the policy, of an instant, and of this machine's time zone data. Machines differ in that data, so no
workflow imports this module: an activity (`activities.windows`) or a command computes, and the instants are kept.

How a policy is read:

1. A window's rule is expanded on naive local times, which are then localized. A time that a change of the clocks skips
   takes the offset before the gap (02:30 becomes 03:30); one that comes twice is meant the first time (RFC 5545 3.3.5).
2. A window ends so much *elapsed* time after its start; its end is not in it.
3. Rules on days apply to the day of the start, so a window may cross midnight.
4. Exclusions are taken out of each window by the dates of its own zone. What overlaps or touches is then one opening,
   and one of less than an hour is none.
5. Work may start at t if `t + need <= end - MARGIN`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from heapq import merge
from typing import NamedTuple
from zoneinfo import ZoneInfo

from domain.maintenance import (
    MARGIN,
    Exclusion,
    MaintenancePolicy,
    MaintenanceWindow,
    Opening,
    Work,
    windows_of,
)
from domain.recurrence import local_starts

HORIZON = timedelta(days=3 * 366)
"""How far openings are looked for."""
SHORTEST = timedelta(minutes=60)
"""What is left of a window has to be as long, or it is none."""
LONGEST = timedelta(hours=24)
"""A window's longest duration."""

_SEASON = 91
"""Days that are expanded, and remembered, at once: 13 weeks."""
_CHAIN = timedelta(days=8)
"""How far before an instant the windows begin that may have merged into what is open then."""
_LONGEST_ALONE = timedelta(hours=23)
"""A single window shorter than this never merges with its next: a day has at least 23 hours."""
_ZERO = timedelta(0)


class Occurrence(NamedTuple):
    """One window as its rule has it, before merging and exclusions."""

    window: MaintenanceWindow
    local: datetime
    """Naive, as the rule has it; in a gap it does not exist on any clock."""
    start: datetime
    """UTC, like `end`."""
    end: datetime


class _Span(NamedTuple):
    """What is open without interruption."""

    start: datetime
    end: datetime
    window: str
    """Id of the window that it begins with."""


def openings(
    policy: MaintenancePolicy,
    work: Work,
    *,
    now: datetime,
    need: timedelta = _ZERO,
    not_before: datetime | None = None,
    spread_by: str = "",
) -> Iterator[Opening]:
    """Return the openings in which work may still start, in order; they end three years after `now`.

    One that is open already is the first, with its own start. It begins at most eight days before `now`, should windows
    follow each other without a gap.

    Args:
        policy: The windows, of which `domain.window_rules` has found that they can be computed.
        work: What is to be done; decides which exclusions apply.
        now: Any aware instant.
        need: How long the work takes at the 95th percentile.
        not_before: The work does not start earlier, because of its notice for example.
        spread_by: Name of the deployment: it starts later in the window by its `jitter`; empty: as early as possible.

    Raises:
        RuleInvalid: A rule is none that windows may have.
        zoneinfo.ZoneInfoNotFoundError: A zone is not known.
    """
    present = now.astimezone(UTC)
    earliest = max(present, not_before.astimezone(UTC)) if not_before else present
    for start, end, window in _spans(policy, work, present):
        at = start
        if spread_by:
            at += jitter(spread_by, window, min(end - start, LONGEST) - MARGIN - need)
        at = max(at, earliest)
        if at + need <= end - MARGIN:
            yield Opening(start=start, end=end, at=at)


@lru_cache(maxsize=1024)
def jitter(deployment: str, window: str, spread: timedelta) -> timedelta:
    """Return by how much a deployment puts off its start in a window: whole seconds, from none to `spread`.

    It is the same in every week, and differs between deployments, so that a fleet does not start at once. Of an opening
    that several windows make, `window` is the first one; `spread` is what the opening (of a day at most) leaves beside
    the work and the margin.
    """
    if spread <= _ZERO:
        return _ZERO
    seconds = int(spread.total_seconds())
    number = int.from_bytes(hashlib.sha256(f"{deployment}|{window}".encode()).digest()[:8], "big")
    return timedelta(seconds=number % (seconds + 1))


def occurrences(window: MaintenanceWindow, since: datetime) -> Iterator[Occurrence]:
    """Return how one window recurs: what ends after `since`, in order, and starts within three years of it.

    Raises:
        RuleInvalid: Its rule is none that windows may have.
        zoneinfo.ZoneInfoNotFoundError: Its zone is not known.
    """
    present = since.astimezone(UTC)
    until = present + HORIZON
    # Two days more than a window lasts: local dates differ from those of UTC by one at most.
    season = max((present - window.duration).toordinal() - 2, window.start.toordinal()) // _SEASON
    while season * _SEASON <= until.toordinal() + 2:
        for occurrence in _season(window, season):
            if occurrence.start >= until:
                return
            if occurrence.end > present:
                yield occurrence
        season += 1


def days_excluded(exclusion: Exclusion, timezone: str) -> tuple[datetime, datetime]:
    """Return the instants, in UTC, from which and until which an exclusion holds in a zone."""
    return _days_excluded(exclusion.from_, exclusion.to, timezone)


@lru_cache(maxsize=1024)
def _days_excluded(first: date, last: date, timezone: str) -> tuple[datetime, datetime]:
    zone = ZoneInfo(timezone)
    return (
        datetime.combine(first, time(), zone).astimezone(UTC),
        datetime.combine(last + timedelta(days=1), time(), zone).astimezone(UTC),
    )


@lru_cache(maxsize=512)
def _season(window: MaintenanceWindow, number: int) -> tuple[Occurrence, ...]:
    """Return what starts in the `number`th 91 days since the year 1, by local dates."""
    zone = ZoneInfo(window.timezone)
    first = datetime.fromordinal(max(1, number * _SEASON))
    last = datetime.fromordinal((number + 1) * _SEASON)
    starts = (
        (local, local.replace(tzinfo=zone, fold=0).astimezone(UTC))
        for local in local_starts(window.rrule, window.start, first, last)
    )
    return tuple(Occurrence(window, local, start, start + window.duration) for local, start in starts)


def forget() -> None:
    """Forget what was expanded, so that the next question pays for it again."""
    _season.cache_clear()


def _spans(policy: MaintenancePolicy, work: Work, now: datetime) -> Iterator[_Span]:
    """Return what is open for this work and ends after `now`, in order."""
    windows = windows_of(policy)
    alone = len(windows) == 1 and windows[0].duration < _LONGEST_ALONE
    since = now if alone else now - _CHAIN
    exclusions = [exclusion for exclusion in policy.exclusions if exclusion.scope.excludes(work)]
    each = [_usable(window, exclusions, since) for window in windows]
    pieces = each[0] if len(each) == 1 else merge(*each, key=lambda span: span.start)
    for span in _merged(pieces):
        if span.end > now and span.end - span.start >= SHORTEST:
            yield span


def _usable(window: MaintenanceWindow, exclusions: Iterable[Exclusion], since: datetime) -> Iterator[_Span]:
    """Return what the exclusions leave of one window."""
    closed = [days_excluded(exclusion, window.timezone) for exclusion in exclusions]
    for occurrence in occurrences(window, since):
        start, end = occurrence.start, occurrence.end
        if all(end <= first or last <= start for first, last in closed):
            yield _Span(start, end, window.id)
            continue
        pieces = [(start, end)]
        for first, last in closed:
            pieces = [
                (left, right)
                for begin, until in pieces
                for left, right in ((begin, min(until, first)), (max(begin, last), until))
                if left < right
            ]
        yield from (_Span(left, right, window.id) for left, right in sorted(pieces))


def _merged(spans: Iterable[_Span]) -> Iterator[_Span]:
    """Make one of those that overlap or touch; they come in the order of their starts."""
    current: _Span | None = None
    for span in spans:
        if current is None:
            current = span
        elif span.start <= current.end:
            current = _Span(current.start, max(current.end, span.end), current.window)
        else:
            yield current
            current = span
    if current is not None:
        yield current
