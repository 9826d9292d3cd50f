"""Operations of Compute Engine: what a change has started, polled until it is DONE."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

from simulators.faults import Fault, FaultKind
from simulators.gcp.api import Request, region_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.records import ROOT
from simulators.gcp.refusals import Json, invalid, not_found

_REQUEST_IDS_KEPT = 3600.0
"""Simulated seconds for which a request id stands for the operation that it started."""
_LONGEST_WAIT = 120.0
"""Real seconds of one `wait`."""
_LOOK_INTERVAL = 0.02
"""Real seconds."""


@dataclass(frozen=True)
class Problem:
    """Why an operation fails."""

    code: str
    message: str
    http: int


class Operations:
    """Every operation of every project."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._operations: dict[str, Json] = {}
        self._requests: dict[tuple[str, str], tuple[float, str]] = {}

    def repeated(self, request: Request) -> Json | None:
        """Return the operation that a call with the same `requestId` has started already, or None."""
        given = request.parameters.get("requestId")
        if not given:
            return None
        try:
            zero = UUID(given).int == 0
        except ValueError:
            zero = True
        if zero:
            raise invalid(f"Invalid value for field 'requestId': '{given}'. The value must be a valid UUID.")
        until, name = self._requests.get((request.project, given), (0.0, ""))
        if name and self._cloud.clock.time() < until:
            request.had_effect = False
            return self._operations[name]
        return None

    def start(
        self,
        request: Request,
        kind: str,
        target: str,
        seconds: float,
        *,
        finish: Callable[[], None],
        fail: Callable[[], None],
        problem: Problem | None = None,
    ) -> Json:
        """Return a running operation on `target` that ends in some simulated seconds.

        It ends as failed if there is a `problem`, or if the fault that the call met says so.
        """
        place = target.split("/global/", maxsplit=1)[0] + "/global"
        if "/global/" not in target:
            place = "/".join(target.split("/")[:4])
        name = f"operation-{secrets.token_hex(6)}-{secrets.token_hex(6)}"
        operation = {
            "kind": "compute#operation",
            "id": str(secrets.randbelow(10**18) + 10**18),
            "name": name,
            "operationType": kind,
            "targetLink": ROOT + target,
            "targetId": str(secrets.randbelow(10**18) + 10**18),
            "status": "RUNNING",
            "progress": 0,
            "user": request.principal.partition(":")[2],
            "insertTime": self._cloud.now(),
            "startTime": self._cloud.now(),
            "selfLink": f"{ROOT}{place}/operations/{name}",
        }
        if "/regions/" in place:
            operation["region"] = ROOT + place
        elif "/zones/" in place:
            operation["zone"] = ROOT + place
        self._operations[f"{place}/operations/{name}"] = operation
        if given := request.parameters.get("requestId"):
            operation["clientOperationId"] = given
            until = self._cloud.clock.time() + _REQUEST_IDS_KEPT
            self._requests[request.project, given] = (until, f"{place}/operations/{name}")

        def end(problem: Problem | None) -> None:
            operation.update(status="DONE", progress=100, endTime=self._cloud.now())
            if problem is None:
                finish()
                return
            error = {"code": problem.code, "message": problem.message}
            operation.update(error={"errors": [error]}, httpErrorStatusCode=problem.http, httpErrorMessage=problem.code)
            fail()

        fault = request.fault
        if problem is None and fault is not None and fault.kind is FaultKind.QUOTA:
            problem = exhausted(target.split("/")[-2], fault)
        self._cloud.work.start(
            seconds, lambda: end(problem), fault=fault, fail=lambda met: end(_problem_of(met, place))
        )
        return operation

    def get(self, name: str) -> Json:
        """Return an operation by its full name."""
        if name not in self._operations:
            raise not_found(f"The resource '{name}' was not found")
        return self._operations[name]

    def of(self, place: str) -> list[Json]:
        """Return the operations of one place (`projects/p/global`)."""
        return [entry for name, entry in self._operations.items() if name.startswith(f"{place}/operations/")]

    async def wait(self, name: str) -> Json:
        """Return an operation once it is DONE, or after two minutes as it is then."""
        deadline = asyncio.get_running_loop().time() + _LONGEST_WAIT
        while self.get(name)["status"] != "DONE" and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_INTERVAL)
            self._cloud.work.settle()
        return self.get(name)

    def forget(self) -> None:
        """Forget every operation."""
        self._operations.clear()
        self._requests.clear()


def exhausted(metric: str, fault: Fault | None = None, *, limit: float = 0.0, region: str = "") -> Problem:
    """Return the problem of a quota that does not suffice."""
    where = f"in region {region_of(region)}" if region else "globally"
    message = f"Quota '{metric.upper()}' exceeded.  Limit: {limit} {where}."
    return Problem((fault and fault.code) or "QUOTA_EXCEEDED", (fault and fault.message) or message, 403)


def _problem_of(fault: Fault, place: str) -> Problem:
    if fault.kind is FaultKind.CAPACITY:
        message = (
            f"The zone '{place}' does not have enough resources available to fulfill the request."
            " Try a different zone, or try again later."
        )
        return Problem(fault.code or "ZONE_RESOURCE_POOL_EXHAUSTED", fault.message or message, 503)
    message = f"Internal error. Please try again or contact Google Support. (Code: '{uuid4().hex[:16].upper()}')"
    return Problem(fault.code or "INTERNAL_ERROR", fault.message or message, 500)
