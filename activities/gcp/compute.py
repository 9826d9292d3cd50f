"""Compute Engine for one deployment: looking, and starting what takes time without waiting for minutes.

Resources have unique names, so a second insertion after a lost reply is refused (CONFLICT), and the next look finds
what the first one made. Request ids are not used: one that is repeated within an hour stands for the first operation
even if what that made is gone since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from google.api_core.exceptions import NotFound
from google.cloud import compute_v1
from temporalio.exceptions import ApplicationError

from activities.failures import failure, not_ready
from activities.gcp.connection import Client, GcpConnections
from activities.gcp.errors import described
from activities.gcp.settings import GcpSettings
from domain.clouds import Purpose
from domain.deployment import Site

Found = TypeVar("Found")
Operation = Any
"""`compute_v1.Operation`, as the methods named `…_unary` return it. Their `…` twins poll Google's public endpoint,
whatever endpoint they were given."""

LOOKING = ("compute.globalOperations.get", "compute.regionOperations.get", "compute.zoneOperations.get")
"""What waiting for an operation needs: on a global resource, in a region, in a zone."""
GLOBAL_OPERATION, REGION_OPERATION, ZONE_OPERATION = LOOKING

_LOOK_INTERVAL = timedelta(milliseconds=500)


class DeploymentCompute:
    """Compute Engine in the project and region of one deployment, as one of our service accounts."""

    def __init__(self, settings: GcpSettings, connections: GcpConnections, site: Site, purpose: Purpose) -> None:
        self.site = site
        self.project = site.cloud_account_id
        self.region = site.region
        self._settings = settings
        self._connections = connections
        self._purpose = purpose

    def client(self, kind: type[Client]) -> Client:
        """Return a client of one of Compute Engine's collections."""
        return self._connections.client(kind, self.site, self._purpose)

    def settle(self, operation: Operation, what: str) -> None:
        """Return once an operation has ended well; one that takes longer than a moment is looked at again.

        Raises:
            ApplicationError: NOT_READY while it is under way; what went wrong, if it ended badly.
        """
        self.settle_all([operation], what)

    def settle_all(self, operations: Iterable[Operation], what: str) -> None:
        """Return once several operations, which run side by side, have ended well."""
        deadline = time.monotonic() + self._settings.consistency_wait.total_seconds()
        interval = min(_LOOK_INTERVAL, self._settings.consistency_wait / 10).total_seconds()
        for operation in operations:
            ended = operation
            while ended.status != compute_v1.Operation.Status.DONE:
                if time.monotonic() > deadline:
                    raise not_ready(f"{what} is under way", look_again_in=self._settings.poll_interval)
                time.sleep(interval)
                ended = self._looked_at(ended)
            if ended.error.errors:
                raise operation_failed(ended, what)

    def _looked_at(self, operation: Operation) -> Operation:
        if operation.zone:
            zones = self.client(compute_v1.ZoneOperationsClient)
            return zones.get(project=self.project, zone=last_part(operation.zone), operation=operation.name)
        if operation.region:
            regions = self.client(compute_v1.RegionOperationsClient)
            return regions.get(project=self.project, region=last_part(operation.region), operation=operation.name)
        return self.client(compute_v1.GlobalOperationsClient).get(project=self.project, operation=operation.name)


def operation_failed(operation: Operation, what: str) -> ApplicationError:
    """Return the failure of an operation that ended badly."""
    first = operation.error.errors[0]
    return failure(described(first.code, f"{what}: {first.message}", resource=last_part(operation.target_link)))


def if_exists(get: Callable[[], Found]) -> Found | None:
    """Return what a look finds, or None if there is no such thing."""
    try:
        return get()
    except NotFound:
        return None


def last_part(name: str) -> str:
    """Return the last part of a resource's name or URL."""
    return name.rpartition("/")[2]


def path_of(url: str) -> str:
    """Return a resource's URL from its project on: what two spellings of one resource have in common."""
    _, separator, path = url.rpartition("/projects/")
    return f"projects/{path}" if separator else url
