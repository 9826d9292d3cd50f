"""How a maintenance window recurs: the part of RFC 5545's rules that windows may have, and the local times it means.

dateutil expands a rule; this module says which rules there are, and where the expansion begins, because dateutil would
begin with the first window of all. Never imported by a workflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

from dateutil import rrule as rfc5545

FREQUENCIES: dict[str, Literal[1, 2, 3]] = {
    "DAILY": rfc5545.DAILY,
    "WEEKLY": rfc5545.WEEKLY,
    "MONTHLY": rfc5545.MONTHLY,
}
"""Keyed by the word in a rule."""
PARTS = ("FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "WKST")
"""What a rule may consist of."""
LONGEST_INTERVAL = 366
FIRST_WITHIN = timedelta(days=5 * 366)
"""A rule that does not come true in so long after its start (a 30th of February) is refused: it never may."""

_WEEKDAYS = {str(day): day for day in rfc5545.weekdays}
_DAY = re.compile(r"([+-]?[1-5])?(MO|TU|WE|TH|FR|SA|SU)")
_MONTH_DAY = re.compile(r"[+-]?([1-9]|[12][0-9]|3[01])")


class RuleInvalid(ValueError):  # noqa: N818 - it names what is so
    """A rule is none of those that windows may have.

    Attributes:
        allowed: What would be accepted.
    """

    def __init__(self, message: str, allowed: str) -> None:
        self.allowed = allowed
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, read."""

    frequency: str
    interval: int = 1
    days: tuple[rfc5545.weekday, ...] = ()
    month_days: tuple[int, ...] = ()
    week_start: rfc5545.weekday = rfc5545.MO


@lru_cache(maxsize=1024)
def read_rule(text: str) -> Rule:
    """Return the rule that `FREQ=MONTHLY;BYDAY=2TU` describes.

    Raises:
        RuleInvalid: It is malformed, or a rule that windows may not have.
    """
    parts = _parts(text)
    for name in parts:
        if name not in PARTS:
            raise RuleInvalid(f"{name} is not a part of a window's rule", ", ".join(PARTS))
    frequency = parts.get("FREQ", "")
    if frequency not in FREQUENCIES:
        message = f'FREQ="{frequency}" is not how often a window may recur' if frequency else "FREQ is missing"
        raise RuleInvalid(message, ", ".join(f"FREQ={name}" for name in FREQUENCIES))
    rule = Rule(
        frequency=frequency,
        interval=_interval(parts.get("INTERVAL", "1")),
        days=tuple(_day(day) for day in parts["BYDAY"].split(",")) if "BYDAY" in parts else (),
        month_days=tuple(_month_day(day) for day in parts["BYMONTHDAY"].split(",")) if "BYMONTHDAY" in parts else (),
        week_start=_week_start(parts.get("WKST", "MO")),
    )
    if frequency != "MONTHLY" and any(day.n for day in rule.days):
        raise RuleInvalid("BYDAY counts days of a month, and the rule is not monthly", "MO, or FREQ=MONTHLY with 2TU")
    if frequency == "WEEKLY" and rule.month_days:
        raise RuleInvalid("BYMONTHDAY does not go with FREQ=WEEKLY (RFC 5545)", "FREQ=DAILY or FREQ=MONTHLY")
    return rule


def check_rule(text: str, start: datetime) -> None:
    """Return if the rule is one that windows may have and comes true after `start`, a naive local time.

    Raises:
        RuleInvalid: It is not, or does not.
    """
    _check(text, start)


@lru_cache(maxsize=1024)
def _check(text: str, start: datetime) -> None:
    rule = read_rule(text)
    days = FIRST_WITHIN.days
    if not any(_comes_true(rule, start, start + timedelta(days=day)) for day in range(days)):
        raise RuleInvalid(
            f"the rule does not come true within {days // 366} years of {start:%Y-%m-%d}",
            "a rule with days that exist",
        )


def local_starts(text: str, start: datetime, first: datetime, last: datetime) -> Iterator[datetime]:
    """Return the naive local times in `[first, last)` at which a window starts, in order.

    Args:
        text: The rule.
        start: Naive local time of the first window; nothing is before it.
        first: Naive local time.
        last: Naive local time.

    Raises:
        RuleInvalid: See `check_rule`.
    """
    check_rule(text, start)
    rule = read_rule(text)
    expansion = rfc5545.rrule(
        FREQUENCIES[rule.frequency],
        dtstart=_brought_forward(rule, start, first),
        interval=rule.interval,
        wkst=rule.week_start,
        until=last,
        byweekday=_days_of(rule, start),
        bymonthday=_month_days_of(rule, start),
    )
    return (local for local in expansion if first <= local < last)


def _brought_forward(rule: Rule, start: datetime, first: datetime) -> datetime:
    """Return a start of the same rule, as many whole intervals later as are over before `first`."""
    if first <= start:
        return start
    if rule.frequency == "MONTHLY":
        months = (first.year - start.year) * 12 + first.month - start.month
        periods = months // rule.interval
        month = start.year * 12 + start.month - 1 + periods * rule.interval
        return start.replace(year=month // 12, month=month % 12 + 1, day=1) if periods > 0 else start
    length = rule.interval * (7 if rule.frequency == "WEEKLY" else 1)
    # One interval early: the first days of a week that began before `start` belong to the interval before.
    periods = (first - start).days // length - 1
    return start + timedelta(days=periods * length) if periods > 0 else start


def _days_of(rule: Rule, start: datetime) -> tuple[rfc5545.weekday, ...] | None:
    """Return the days of the week; a weekly rule that names none is of the day of its start.

    dateutil reads `FR,1TU` as both at once instead of either: `FR` is then spelled out as the first to the fifth.
    """
    if any(day.n for day in rule.days):
        return tuple(day(n) for day in rule.days for n in ([day.n] if day.n else range(1, 6)))
    if rule.days:
        return rule.days
    return (rfc5545.weekdays[start.weekday()],) if rule.frequency == "WEEKLY" else None


def _month_days_of(rule: Rule, start: datetime) -> tuple[int, ...] | None:
    """Return the days of the month; a monthly rule that names no day at all is of the day of its start."""
    if rule.month_days:
        return rule.month_days
    return (start.day,) if rule.frequency == "MONTHLY" and not rule.days else None


def _comes_true(rule: Rule, start: datetime, day: datetime) -> bool:
    """Return whether a window starts on this day, not before `start`."""
    match rule.frequency:
        case "DAILY":
            periods = (day.date() - start.date()).days
        case "WEEKLY":
            offset = timedelta(days=(start.weekday() - rule.week_start.weekday) % 7)
            periods = (day.date() - (start - offset).date()).days // 7
        case _:
            periods = (day.year - start.year) * 12 + day.month - start.month
    if periods % rule.interval:
        return False
    days, month_days = _days_of(rule, start), _month_days_of(rule, start)
    length = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    from_end = day.day - length.day - 1
    if month_days and day.day not in month_days and from_end not in month_days:
        return False
    numbers = (None, 0, (day.day + 6) // 7, -((-from_end + 6) // 7))
    return not days or any(each.weekday == day.weekday() and each.n in numbers for each in days)


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").removesuffix(";").split(";"):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise RuleInvalid(f'"{part}" is not NAME=VALUE', "a rule such as FREQ=WEEKLY;BYDAY=SU")
        if name in parts:
            raise RuleInvalid(f"{name} is given twice", "each part once")
        parts[name] = value
    return parts


def _interval(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= LONGEST_INTERVAL):
        raise RuleInvalid(f'INTERVAL="{text}" is not an interval', f"1 to {LONGEST_INTERVAL}")
    return int(text)


def _day(text: str) -> rfc5545.weekday:
    found = _DAY.fullmatch(text.strip())
    if found is None:
        raise RuleInvalid(f'BYDAY="{text}" is not a day of the week', "MO to SU; monthly also 2TU or -1SU")
    number, day = found.groups()
    return _WEEKDAYS[day](int(number)) if number else _WEEKDAYS[day]


def _month_day(text: str) -> int:
    if not _MONTH_DAY.fullmatch(text.strip()):
        raise RuleInvalid(f'BYMONTHDAY="{text}" is not a day of the month', "1 to 31, or -1 to -31 from its end")
    return int(text)


def _week_start(text: str) -> rfc5545.weekday:
    if text not in _WEEKDAYS:
        raise RuleInvalid(f'WKST="{text}" is not a day of the week', ", ".join(_WEEKDAYS))
    return _WEEKDAYS[text]
