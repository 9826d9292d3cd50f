"""A maintenance window's recurrence, from the deployment's local time to the UTC in which GKE counts days.

Between local time and UTC a window may change its day, and with it the days of its rule do. Some rules have no
counterpart then (the day before the first Tuesday of a month may lie in the month before).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

from domain.maintenance import MaintenanceWindow

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_BY_DAY = re.compile(r"([+-]?\d+)?([A-Z]{2})")
_IN_EVERY_MONTH = 28
"""Days that every month has, from its beginning as from its end."""


def first_start(window: MaintenanceWindow, now: datetime) -> datetime:
    """Return when the window's first occurrence begins, in UTC, by the offset that its zone has now."""
    first: datetime = next(iter(rrulestr(window.rrule, dtstart=window.start)))
    offset = now.astimezone(ZoneInfo(window.timezone)).utcoffset() or timedelta()
    return (first - offset).replace(tzinfo=UTC)


def rule_in_utc(window: MaintenanceWindow, now: datetime) -> str | None:
    """Return the window's rule by days of UTC, or None if no rule says the same."""
    first: datetime = next(iter(rrulestr(window.rrule, dtstart=window.start)))
    shift = (first_start(window, now).date() - first.date()).days
    given = _parts(window.rrule)
    every = {"INTERVAL": given["INTERVAL"]} if given.get("INTERVAL", "1") != "1" else {}
    days, month_days = given.get("BYDAY", ""), given.get("BYMONTHDAY", "")
    match given.get("FREQ"):
        case "DAILY" if not month_days:
            rule = {"FREQ": "DAILY", **every, **({"BYDAY": _shifted_days(days, shift)} if days else {})}
        case "WEEKLY" if not month_days:
            rule = {"FREQ": "WEEKLY", **every, "BYDAY": _shifted_days(days or _DAYS[first.weekday()], shift)}
            if every:
                # Which weeks are left out depends on the day with which a week begins.
                rule["WKST"] = _shifted_days(given.get("WKST", "MO"), shift)
        case "MONTHLY":
            of_month = _of_month(days, month_days or ("" if days else str(first.day)), shift)
            if of_month is None:
                return None
            rule = {"FREQ": "MONTHLY", **every, **of_month}
        case _:
            return None
    return ";".join(f"{name}={value}" for name, value in rule.items())


def _parts(rule: str) -> dict[str, str]:
    return dict(part.upper().split("=", 1) for part in rule.removeprefix("RRULE:").split(";") if "=" in part)


def _shifted_days(days: str, shift: int) -> str:
    return ",".join(_DAYS[(_DAYS.index(day) + shift) % 7] for day in days.split(","))


def _of_month(days: str, month_days: str, shift: int) -> Mapping[str, str] | None:
    """Return the days of a month, that many days later, as parts of a rule; None if there is no saying it."""
    if not shift:
        return {name: value for name, value in (("BYDAY", days), ("BYMONTHDAY", month_days)) if value}
    if not days:
        moved = [_moved(int(day), shift) for day in month_days.split(",")]
        return None if None in moved else {"BYMONTHDAY": ",".join(map(str, moved))}
    found = _BY_DAY.fullmatch(days)
    if found is None or not found[1] or month_days:
        # Several of them, or every one of a month: the days of a month in which they may lie would overlap.
        return None
    which = int(found[1])
    # The second Tuesday lies on the 8th to 14th, the last but one on the 14th to 8th day from the end.
    within = range(7 * which - 6, 7 * which + 1) if which > 0 else range(7 * which, 7 * which + 7)
    moved = [_moved(day, shift) for day in within]
    if None in moved:
        return None
    return {"BYDAY": _shifted_days(found[2], shift), "BYMONTHDAY": ",".join(map(str, moved))}


def _moved(day: int, shift: int) -> int | None:
    """Return a day of the month, counted from its beginning or (negative) its end, some days later."""
    later = day + shift
    exists_always = abs(day) <= _IN_EVERY_MONTH and abs(later) <= _IN_EVERY_MONTH
    return later if exists_always and later * day > 0 else None
