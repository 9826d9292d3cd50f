"""Operations of GKE: one at a time for each cluster."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from simulators.faults import Fault, FaultKind
from simulators.gcp.api import Request
from simulators.gcp.cloud import Cloud
from simulators.gcp.container.records import ClusterRecord
from simulators.gcp.refusals import CODES, Json, failed_precondition, not_found

_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/operations/(?P<name>[^/]+)")


class Problem:
    """Why an operation failed."""

    def __init__(self, code: str, message: str, status: str = "INTERNAL") -> None:
        """`code` is that of a status condition: GCE_STOCKOUT, GCE_QUOTA_EXCEEDED, UNKNOWN and so on."""
        self.code = code
        self.message = message
        self.status = status

    @property
    def conditions(self) -> list[Json]:
        """The problem as clusters and node pools show it."""
        canonical = self.status if self.status in CODES else "UNKNOWN"
        return [{"code": self.code, "canonicalCode": canonical, "message": self.message}]


Ending = Callable[[Problem | None], None]


class Operations:
    """Every operation of every project."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._operations: dict[str, Json] = {}

    def require_idle(self, cluster: ClusterRecord) -> None:
        """Refuse while another operation changes the cluster."""
        if cluster.operation:
            message = f"Cluster is running incompatible operation {cluster.operation}."
            raise failed_precondition(
                message, reason="CLUSTER_ALREADY_HAS_OPERATION", domain="container.googleapis.com"
            )

    def start(
        self,
        request: Request,
        cluster: ClusterRecord,
        kind: str,
        seconds: float,
        *,
        finish: Callable[[], Problem | None],
        fail: Callable[[Problem], None],
        target: str = "",
    ) -> Json:
        """Return a running operation on the cluster (or on the `target` in it) that ends in some simulated seconds.

        `finish` may find a problem; then, or when the fault that the call met says so, `fail` is told about it.
        """

        def end_of(end: Ending) -> Callable[[], None]:
            return lambda: end(finish())

        return self.start_long(request, cluster, kind, seconds, then=end_of, fail=fail, target=target)

    def start_long(
        self,
        request: Request,
        cluster: ClusterRecord,
        kind: str,
        seconds: float,
        *,
        then: Callable[[Ending], Callable[[], None]],
        fail: Callable[[Problem], None],
        target: str = "",
    ) -> Json:
        """Return a running operation that goes on, after some simulated seconds, with what `then` returns.

        `then` is given the function by which the operation ends: with a problem, which `fail` is told about, or None.
        """
        self.require_idle(cluster)
        name = f"operation-{int(self._cloud.clock.time() * 1000)}-{secrets.token_hex(4)}"
        place = f"projects/{cluster.project}/locations/{cluster.location}"
        project = self._cloud.project(cluster.project)
        operation: Json = {
            "name": name,
            "operationType": kind,
            "status": "RUNNING",
            "location": cluster.location,
            "zone": cluster.location,
            "startTime": self._cloud.now(),
            "targetLink": f"https://container.googleapis.com/v1/{target or cluster.name}",
            "selfLink": f"https://container.googleapis.com/v1/projects/{project.number}/locations/"
            f"{cluster.location}/operations/{name}",
        }
        self._operations[f"{place}/operations/{name}"] = operation
        cluster.operation = name

        def end(problem: Problem | None) -> None:
            if cluster.operation == name:
                cluster.operation = ""
            operation.update(status="DONE", endTime=self._cloud.now())
            if problem is not None:
                operation["error"] = {"code": CODES[problem.status][0], "message": problem.message}
                operation["statusMessage"] = problem.message
                fail(problem)

        self._cloud.work.start(seconds, then(end), fault=request.fault, fail=lambda met: end(_problem_of(met, cluster)))
        return operation

    def get(self, name: str) -> Json:
        """Return an operation by its full name."""
        found = self._operations.get(name)
        if found is None:
            raise not_found(f"Not found: {name}.", domain="container.googleapis.com")
        return found

    def of(self, project: str, location: str) -> list[Json]:
        """Return the operations of a project, in one location or (`-`) in all of them."""
        listed = []
        for name, operation in self._operations.items():
            found = _NAME.fullmatch(name)
            if found and found["project"] == project and location in ("-", found["location"]):
                listed.append(operation)
        return listed

    def forget(self) -> None:
        """Forget every operation."""
        self._operations.clear()


def stockout(zone: str) -> Problem:
    """Return the problem of a zone without machines."""
    return Problem(
        "GCE_STOCKOUT",
        f"Google Compute Engine: The zone '{zone}' does not have enough resources available to fulfill the request"
        " (ZONE_RESOURCE_POOL_EXHAUSTED). Try a different zone, or try again later.",
        "RESOURCE_EXHAUSTED",
    )


def quota_exceeded(metric: str, limit: float, region: str) -> Problem:
    """Return the problem of a quota that does not suffice for the machines."""
    message = f"Google Compute Engine: Quota '{metric}' exceeded. Limit: {limit} in region {region}."
    return Problem("GCE_QUOTA_EXCEEDED", message, "RESOURCE_EXHAUSTED")


def _problem_of(fault: Fault, cluster: ClusterRecord) -> Problem:
    if fault.kind is FaultKind.CAPACITY:
        problem = stockout(f"projects/{cluster.project}/zones/{cluster.zones[0]}")
    else:
        problem = Problem("UNKNOWN", "All cluster resources were brought up, but the cluster API is reporting errors.")
    return Problem(fault.code or problem.code, fault.message or problem.message, problem.status)
