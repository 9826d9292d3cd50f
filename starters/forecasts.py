"""Forecasts of rollouts: the fleet with its windows, from the control plane or from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from domain.forecast import Openings
from domain.maintenance import Exclusion, MaintenancePolicy, MaintenanceWindow, Opening, Work
from domain.model import Model
from domain.waves import Member
from domain.windows import openings


class FleetEntry(Model):
    """One deployment in a file of a fleet."""

    deployment: str
    customer: str
    cloud: str
    shape: str = "v1-small"
    windows: tuple[MaintenanceWindow, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()

    @property
    def member(self) -> Member:
        """The deployment as a rollout knows it."""
        return Member(self.deployment, self.customer, self.cloud, self.shape)

    @property
    def policy(self) -> MaintenancePolicy:
        """Its windows."""
        return MaintenancePolicy(windows=self.windows, exclusions=self.exclusions)


class Fleet(Model):
    """A file of a fleet."""

    deployments: tuple[FleetEntry, ...]


def openings_of(policies: Mapping[str, MaintenancePolicy], work: Work, need: timedelta) -> Openings:
    """Return how a forecast finds the windows of each deployment; `policies` is keyed by its name."""

    def find(member: Member, after: datetime) -> Opening | None:
        policy = policies[member.deployment]
        return next(openings(policy, work, now=after, need=need, spread_by=member.deployment), None)

    return find


def always(member: Member, after: datetime) -> Opening | None:  # noqa: ARG001 - in place of windows
    """Return that a deployment may start at once, as with an override."""
    return Opening(start=after, end=after + timedelta(days=365), at=after)


def policies_of(entries: Sequence[FleetEntry]) -> dict[str, MaintenancePolicy]:
    """Return the policies of a file's deployments, keyed by name."""
    return {entry.deployment: entry.policy for entry in entries}
