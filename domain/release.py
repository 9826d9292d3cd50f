"""A release of the server: five component images, each pinned by digest, and what it may run on."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from domain.model import Model
from domain.shape import Component
from domain.version import within


class Severity(StrEnum):
    """How urgent it is to run this release."""

    ROUTINE = "routine"
    IMPORTANT = "important"
    CRITICAL = "critical"


class Release(Model):
    """One release, as lifecycles.md's section on upgrades declares it."""

    version: str
    components: dict[Component, str]
    """Image of each component, as `registry/name@sha256:digest`."""
    min_from: str
    """The oldest version from which one may upgrade to this one directly."""
    mandatory_stop: bool = False
    kubernetes_minimum: str
    kubernetes_maximum: str
    schema_epoch: int
    rollback_to: tuple[str, ...] = ()
    point_of_no_return: str = ""
    severity: Severity = Severity.ROUTINE
    notes: str = ""
    released_on: date | None = None
    withdrawn: str = ""
    """Why nobody may order or upgrade to this release any more; empty while they may."""

    def runs_on(self, kubernetes: str) -> bool:
        """Return whether this release may run on a Kubernetes minor version, `1.35`."""
        return within(kubernetes, minimum=self.kubernetes_minimum, maximum=self.kubernetes_maximum)
