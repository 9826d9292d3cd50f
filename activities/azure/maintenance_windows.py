"""The first maintenance window of a deployment in AKS's own words.

AKS knows less than the windows of a deployment do. It has one schedule with one day for each kind of maintenance, a
fixed offset in place of a time zone, and at least four hours. So what it is told is the closest that it understands,
with the offset of now; converging tells it again when that has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from activities.azure.aks import Document
from domain.maintenance import Exclusion, ExclusionScope, MaintenanceWindow

WEEKLY_RELEASES = "default"
"""What AKS brings out every week for its own parts of a cluster."""
VERSIONS, NODE_IMAGES = "aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule"
"""Upgrades that are switched off; bound all the same, in case that somebody switches one on."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CODES = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WEEKS = {"1": "First", "2": "Second", "3": "Third", "4": "Fourth", "-1": "Last"}
_LEAST_HOURS, _MOST_HOURS = 4, 24
_LONGEST_INTERVALS = {"DAILY": 7, "WEEKLY": 4, "MONTHLY": 6}
_HOUR = timedelta(hours=1)


def configurations(
    windows: Sequence[MaintenanceWindow], exclusions: Iterable[Exclusion], now: datetime
) -> dict[str, Document]:
    """Return the properties of the maintenance configurations that stand for a policy, keyed by name.

    The schedules stand for the first window that AKS can express; without one there are none. `now` decides about
    offsets.
    """
    if not windows:
        return {}
    kept = [each for each in exclusions if each.scope is ExclusionScope.ALL]
    found = {WEEKLY_RELEASES: _week(windows[0], kept, now)}
    expressed = ((window, schedule) for window in windows if (schedule := _schedule(window)))
    if (first := next(expressed, None)) is not None:
        window, schedule = first
        wanted = {"maintenanceWindow": _window(window, schedule, kept, now)}
        found |= {VERSIONS: wanted, NODE_IMAGES: wanted}
    return found


def _window(window: MaintenanceWindow, schedule: Document, kept: Iterable[Exclusion], now: datetime) -> Document:
    hours = window.duration // _HOUR
    return {
        "schedule": schedule,
        "durationHours": min(max(hours, _LEAST_HOURS), _MOST_HOURS),
        "utcOffset": _offset_in_words(_offset(window, now)),
        "startTime": window.start.strftime("%H:%M"),
        # Every other week, counted from here.
        "startDate": window.start.date().isoformat(),
        "notAllowedDates": [{"start": each.from_.isoformat(), "end": each.to.isoformat()} for each in kept],
    }


def _schedule(window: MaintenanceWindow) -> Document | None:
    """Return how a window recurs, None if AKS cannot say it; of several days it is the first that is named."""
    rule = _parts(window.rrule)
    frequency, interval = rule.get("FREQ", ""), int(rule.get("INTERVAL", "1"))
    days, dates = _list(rule, "BYDAY"), _list(rule, "BYMONTHDAY")
    if interval > _LONGEST_INTERVALS.get(frequency, 0):
        return None
    if frequency == "MONTHLY":
        return _monthly(window, interval, days, dates)
    if dates or (frequency == "DAILY" and days and interval > 1):
        return None
    if frequency == "DAILY" and not days:
        return {"daily": {"intervalDays": interval}}
    return _weekly(interval, days[0] if days else _CODES[window.start.weekday()])


def _monthly(window: MaintenanceWindow, interval: int, days: Sequence[str], dates: Sequence[str]) -> Document | None:
    if not days:
        date = int(dates[0]) if dates else window.start.day
        return {"absoluteMonthly": {"intervalMonths": interval, "dayOfMonth": date}} if date > 0 else None
    ordinal = days[0][:-2].removeprefix("+")
    if dates or ((ordinal or interval > 1) and ordinal not in _WEEKS):
        return None
    if not ordinal:
        return _weekly(1, days[0])
    chosen = {"weekIndex": _WEEKS[ordinal], "dayOfWeek": _day(days[0])}
    return {"relativeMonthly": {"intervalMonths": interval, **chosen}}


def _weekly(interval: int, day: str) -> Document:
    return {"weekly": {"intervalWeeks": interval, "dayOfWeek": _day(day)}}


def _week(window: MaintenanceWindow, kept: Iterable[Exclusion], now: datetime) -> Document:
    """Return the hours of a week, in UTC, that lie in a window; one that comes less often may be used every week."""
    start = datetime.combine(now.date(), window.start.time()) - _offset(window, now)
    first = -(-start.minute // 60) + start.hour
    last = (start + window.duration).hour + 24 * ((start + window.duration).date() - start.date()).days
    shift = (start.date() - now.date()).days
    slots: dict[str, list[int]] = {}
    for day in _weekdays(window):
        for hour in range(first, max(last, first + 1)):
            name = _DAYS[(day + shift + hour // 24) % 7]
            slots[name] = sorted({*slots.get(name, []), hour % 24})
    return {
        "timeInWeek": [{"day": day, "hourSlots": slots[day]} for day in _DAYS if day in slots],
        "notAllowedTime": [_span(each, window) for each in kept],
    }


def _weekdays(window: MaintenanceWindow) -> Iterator[int]:
    """Yield on which days of the week a window may begin, Monday being 0."""
    rule = _parts(window.rrule)
    if days := _list(rule, "BYDAY"):
        yield from sorted({_CODES.index(day[-2:]) for day in days})
    elif rule.get("FREQ") == "WEEKLY":
        yield window.start.weekday()
    else:
        yield from range(7)


def _span(exclusion: Exclusion, window: MaintenanceWindow) -> Mapping[str, str]:
    zone, following = ZoneInfo(window.timezone), exclusion.to + timedelta(days=1)
    ends = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (exclusion.from_, following))
    begin, end = (each.strftime("%Y-%m-%dT%H:%M:%SZ") for each in ends)
    return {"start": begin, "end": end}


def _offset(window: MaintenanceWindow, now: datetime) -> timedelta:
    return now.astimezone(ZoneInfo(window.timezone)).utcoffset() or timedelta(0)


def _offset_in_words(offset: timedelta) -> str:
    minutes = int(offset.total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _parts(rrule: str) -> dict[str, str]:
    """Return the parts of a rule of RFC 5545, keyed by name."""
    pairs = (part.partition("=") for part in rrule.removeprefix("RRULE:").upper().split(";") if part)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _list(rule: Mapping[str, str], name: str) -> list[str]:
    return [each.strip() for each in rule.get(name, "").split(",") if each.strip()]


def _day(code: str) -> str:
    return _DAYS[_CODES.index(code[-2:])]
