"""When windows are open, found slowly and in another way.

Each day is asked whether a window starts on it, each quarter of an hour whether it is open.

It uses neither the rules' library nor zoneinfo's way from local to absolute time: a local time becomes an instant by
trying every offset that the zone has had around it.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.maintenance import MaintenancePolicy, MaintenanceWindow, Work

TICK = timedelta(minutes=15)
"""Offsets and times in these tests are whole multiples of it."""
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def first_opening(
    policy: MaintenancePolicy, work: Work, now: datetime, need: timedelta, days: int
) -> tuple[datetime, datetime, datetime] | None:
    """Return start, end and earliest start of the work in the first opening within so many days, or None."""
    for start, end in _openings(policy, work, now - timedelta(days=20), days + 20):
        at = max(start, now)
        if end - start >= timedelta(hours=1) and at + need <= end - timedelta(minutes=15):
            return start, end, at
    return None


def _openings(policy: MaintenancePolicy, work: Work, since: datetime, days: int) -> Iterator[tuple[datetime, datetime]]:
    """Go through time tick by tick; what is open at a tick is open until the next."""
    open_ticks: set[datetime] = set()
    for window in policy.windows:
        zone = ZoneInfo(window.timezone)
        for number in range(-2, days + 2):
            day = (since + timedelta(days=number)).date()
            if _starts_on(window, day):
                instant = instant_of(datetime.combine(day, window.start.time()), zone)
                for tick in range(window.duration // TICK):
                    moment = instant + tick * TICK
                    if not policy.exclusions or not _is_excluded(policy, work, moment.astimezone(zone).date()):
                        open_ticks.add(moment)
    for moment in sorted(open_ticks):
        if moment - TICK not in open_ticks:
            end = moment
            while end in open_ticks:
                end += TICK
            yield moment, end


def instant_of(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant at which clocks in the zone show this time; in a gap, what they would without it."""
    around = [local.replace(tzinfo=UTC) + timedelta(hours=hours) for hours in range(-26, 27, 4)]
    offsets = [moment.astimezone(zone).utcoffset() or timedelta(0) for moment in around]
    candidates = sorted({(local - offset).replace(tzinfo=UTC) for offset in offsets})
    shown = [moment for moment in candidates if moment.astimezone(zone).replace(tzinfo=None) == local]
    return shown[0] if shown else (local - _offset_before_gap(local, zone)).replace(tzinfo=UTC)


def _offset_before_gap(local: datetime, zone: ZoneInfo) -> timedelta:
    """Return the offset of the last quarter of an hour whose clock was still before this time."""
    moment = local.replace(tzinfo=UTC) - timedelta(hours=26)
    offset = timedelta(0)
    while (there := moment.astimezone(zone)).replace(tzinfo=None) < local:
        offset = there.utcoffset() or timedelta(0)
        moment += TICK
    return offset


def _starts_on(window: MaintenanceWindow, day: date) -> bool:
    first = window.start.date()
    if day < first:
        return False
    parts = dict(part.split("=") for part in window.rrule.split(";"))
    interval = int(parts.get("INTERVAL", "1"))
    days = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    month_days = [int(number) for number in parts["BYMONTHDAY"].split(",")] if "BYMONTHDAY" in parts else []
    if parts["FREQ"] == "DAILY":
        in_turn = (day - first).days % interval == 0
    elif parts["FREQ"] == "WEEKLY":
        week_start = _WEEKDAYS.index(parts.get("WKST", "MO"))
        in_turn = ((_week(day, week_start) - _week(first, week_start)).days // 7) % interval == 0
        days = days or [_WEEKDAYS[first.weekday()]]
    else:
        in_turn = ((day.year - first.year) * 12 + day.month - first.month) % interval == 0
        month_days = month_days or ([] if days else [first.day])
    return in_turn and (not days or any(_is(day, each) for each in days)) and _is_month_day(day, month_days)


def _week(day: date, week_start: int) -> date:
    while day.weekday() != week_start:
        day -= timedelta(days=1)
    return day


def _is(day: date, described: str) -> bool:
    """Return whether the day is `SU`, the second Tuesday of its month `2TU`, or the last Sunday `-1SU`."""
    number, name = described[:-2], described[-2:]
    if _WEEKDAYS[day.weekday()] != name:
        return False
    same = [
        each
        for each in range(1, monthrange(day.year, day.month)[1] + 1)
        if date(day.year, day.month, each).weekday() == day.weekday()
    ]
    if not number:
        return True
    position = int(number) - 1 if int(number) > 0 else int(number)
    return -len(same) <= position < len(same) and same[position] == day.day


def _is_month_day(day: date, numbers: list[int]) -> bool:
    length = monthrange(day.year, day.month)[1]
    return not numbers or any(day.day == (number if number > 0 else length + 1 + number) for number in numbers)


def _is_excluded(policy: MaintenancePolicy, work: Work, day: date) -> bool:
    return any(each.from_ <= day <= each.to and each.scope.excludes(work) for each in policy.exclusions)
