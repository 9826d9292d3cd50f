"""Planned maintenance of AKS as resources: `managedClusters/maintenanceConfigurations`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from simulators.azure.api import Request
from simulators.azure.cloud import Cloud
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, invalid

MAINTENANCE = "Microsoft.ContainerService/managedClusters/maintenanceConfigurations"
_WEEKLY_RELEASES = "default"
_NAMES = (_WEEKLY_RELEASES, "aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule")
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_INTERVALS: Mapping[str, tuple[str, int]] = {
    "daily": ("intervalDays", 7),
    "weekly": ("intervalWeeks", 4),
    "absoluteMonthly": ("intervalMonths", 6),
    "relativeMonthly": ("intervalMonths", 6),
}
"""How the interval of each schedule is called, and the longest."""
_WEEKS = ("First", "Second", "Third", "Fourth", "Last")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_OFFSET = re.compile(r"[+-](0\d|1[0-4]):[0-5]\d")


@dataclass(frozen=True, kw_only=True)
class MaintenanceConfiguration(Kind):
    """When AKS may do one kind of maintenance."""

    type: str = MAINTENANCE
    created: int = 200
    regional: bool = False
    binds: bool = False
    has_state: bool = False

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Complete or refuse what is wanted."""
        del cloud, request, before
        if record.id.name not in _NAMES:
            message = f"The maintenance configuration name {record.id.name} is not one of {', '.join(_NAMES)}."
            raise _parameter(message, "configName")
        wanted = record.properties
        if record.id.name == _WEEKLY_RELEASES:
            _require_week(wanted)
        else:
            _require_window(wanted)


def _require_week(wanted: Json) -> None:
    """Check hours of the week, in UTC, and times in which nothing is done."""
    days = wanted.get("timeInWeek") or []
    if not days or wanted.get("maintenanceWindow"):
        raise _parameter("The configuration default needs timeInWeek, and takes no maintenanceWindow.", "timeInWeek")
    for entry in days:
        slots = entry.get("hourSlots") or []
        if entry.get("day") not in _DAYS or not slots or not all(hour in range(24) for hour in slots):
            raise _parameter(f"The time in week {entry} is invalid.", "timeInWeek")
    for span in wanted.get("notAllowedTime") or ():
        if datetime.fromisoformat(span["start"]) >= datetime.fromisoformat(span["end"]):
            raise _parameter(f"The time span {span} is invalid.", "notAllowedTime")


def _require_window(wanted: Json) -> None:
    """Check a schedule with its start, duration and offset, and dates on which nothing is done."""
    window = wanted.get("maintenanceWindow")
    if not window or wanted.get("timeInWeek") or wanted.get("notAllowedTime"):
        message = "This configuration needs a maintenanceWindow, and takes neither timeInWeek nor notAllowedTime."
        raise _parameter(message, "maintenanceWindow")
    _require_schedule({kind: given for kind, given in (window.get("schedule") or {}).items() if given})
    if window.get("durationHours") not in range(4, 25):
        raise _parameter(f"durationHours {window.get('durationHours')} is not from 4 to 24.", "durationHours")
    window["utcOffset"] = window.get("utcOffset") or "+00:00"
    for field, pattern in (("startTime", _TIME), ("utcOffset", _OFFSET)):
        if not pattern.fullmatch(str(window.get(field) or "")):
            raise _parameter(f"{field} {window.get(field)!r} is invalid.", field)
    for span in window.get("notAllowedDates") or ():
        if date.fromisoformat(span["start"]) > date.fromisoformat(span["end"]):
            raise _parameter(f"The date span {span} is invalid.", "notAllowedDates")


def _require_schedule(schedule: Mapping[str, Any]) -> None:
    if len(schedule) != 1 or not set(schedule) <= set(_INTERVALS):
        raise _parameter("Exactly one of the types of schedules has to be specified.", "schedule")
    ((kind, given),) = schedule.items()
    interval, longest = _INTERVALS[kind]
    valid = given.get(interval) in range(1, longest + 1)
    if kind in ("weekly", "relativeMonthly"):
        valid = valid and given.get("dayOfWeek") in _DAYS
    if kind == "absoluteMonthly":
        valid = valid and given.get("dayOfMonth") in range(1, 32)
    if kind == "relativeMonthly":
        valid = valid and given.get("weekIndex") in _WEEKS
    if not valid:
        raise _parameter(f"The schedule {kind} {given} is invalid.", f"schedule.{kind}")


def _parameter(message: str, target: str) -> Refusal:
    return invalid("InvalidParameter", message, target)
