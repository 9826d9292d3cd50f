"""When a customer lets us work on a deployment: maintenance windows and what is excluded from them.

These are values that travel in histories; `domain.windows` computes instants from them, outside of workflows, because
time zone data differs between machines. Instants in the models here are in UTC.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, NaiveDatetime, StringConstraints

from domain.model import Model, OrderedModel

DEFAULT_DURATION = timedelta(hours=4)
MARGIN = timedelta(minutes=15)
"""What is left of a window when the work in it has to be done."""


class Work(StrEnum):
    """What is to be done in a window, by what it disturbs; decides which exclusions apply."""

    SERVER = "server"
    """A release of the server, or a patch: pods are replaced one by one."""
    NODES = "nodes"
    """Machines are replaced."""
    MINOR = "minor"
    """A Kubernetes minor version of the control plane."""


class ExclusionScope(StrEnum):
    """What an exclusion keeps from happening."""

    ALL = "ALL"
    NO_MINOR = "NO_MINOR"
    """No Kubernetes minor version."""
    NO_MINOR_OR_NODE = "NO_MINOR_OR_NODE"
    """No Kubernetes minor version, and no machine is replaced."""

    def excludes(self, work: Work) -> bool:
        """Return whether work of this kind may not be done."""
        match self:
            case ExclusionScope.ALL:
                return True
            case ExclusionScope.NO_MINOR:
                return work is Work.MINOR
            case ExclusionScope.NO_MINOR_OR_NODE:
                return work is not Work.SERVER


class MaintenanceWindow(OrderedModel):
    """A recurring time in which we may disturb the deployment."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$")]
    """Name of the window, unique in the deployment: lower-case letters, digits, hyphens."""
    timezone: str
    """IANA name, `Europe/Berlin`; a fixed offset is refused, because it knows no daylight saving time."""
    start: NaiveDatetime
    """Local date and time of the first window, without an offset: `2026-01-04T02:00`."""
    rrule: str
    """How it recurs (RFC 5545): FREQ=DAILY, WEEKLY or MONTHLY with INTERVAL, BYDAY, BYMONTHDAY, WKST."""
    duration: timedelta = DEFAULT_DURATION
    """Elapsed time from start to end, 2 to 24 hours (ISO 8601, PT4H)."""


class Exclusion(OrderedModel):
    """Dates on which nothing is done by itself, or nothing of some kind; lost availability is restored all the same."""

    from_: Annotated[date, Field(alias="from")]
    """First day, in the local time of each window."""
    to: date
    """Last day, itself included."""
    scope: ExclusionScope = ExclusionScope.ALL
    """ALL, NO_MINOR (no Kubernetes minor version) or NO_MINOR_OR_NODE (nor are machines replaced)."""


class MaintenancePolicy(Model):
    """The windows of a deployment, read as a union, and what is excluded."""

    windows: tuple[MaintenanceWindow, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()


DEFAULT_WINDOW = MaintenanceWindow(
    id="default",
    timezone="Etc/UTC",
    start=datetime(2000, 1, 2, 2),  # noqa: DTZ001 - a local time
    rrule="FREQ=WEEKLY;BYDAY=SU",
)
"""Sundays from 02:00 UTC, four hours."""


def windows_of(policy: MaintenancePolicy) -> tuple[MaintenanceWindow, ...]:
    """Return the windows that hold for a deployment: its own, or the default one if it has none."""
    return policy.windows or (DEFAULT_WINDOW,)


class Opening(Model):
    """One window as it comes, after merging and exclusions."""

    start: datetime
    end: datetime
    """The first instant that is not in it."""
    at: datetime
    """The earliest instant at which the work that was asked about may start in it."""
