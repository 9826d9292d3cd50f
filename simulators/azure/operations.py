"""Long-running operations: what a caller polls while something is made, changed or deleted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from simulators.azure.api import Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.faults import late_error
from simulators.azure.refusals import Json, Refusal
from simulators.faults import Fault

_POLL = "1"
"""Seconds, in `Retry-After`; none where simulated time is infinitely fast."""


@dataclass
class Operation:
    """Something under way."""

    id: str
    path: str
    """Where it is polled, up to `/operations/…`."""
    started: str
    result: Callable[[], Reply]
    """What is returned at `Location` once it has succeeded."""
    about: str = ""
    """The key of the resource that it changes, if it can be canceled."""
    ended: str = ""
    error: Refusal | None = None
    canceled: bool = False

    @property
    def status(self) -> str:
        """Its state in Azure's words."""
        if not self.ended:
            return "InProgress"
        if self.canceled:
            return "Canceled"
        return "Failed" if self.error is not None else "Succeeded"


class NotDoneYet(Exception):  # noqa: N818 - it is no error
    """Raised by what finishes something, to be called again and again: it waits for something that is no call."""


class Operations:
    """Every operation of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._operations: dict[str, Operation] = {}

    def start(
        self,
        request: Request,
        path: str,
        seconds: float,
        finish: Callable[[], None],
        *,
        fail: Callable[[Refusal], None],
        result: Callable[[], Reply],
        about: str = "",
    ) -> Operation:
        """Begin something that ends with `finish` in some simulated seconds, or with `fail` if a fault says so."""
        operation = Operation(str(uuid4()), path, self._cloud.now(), result, about)
        self._operations[operation.id] = operation

        def look() -> bool:
            if operation.canceled:
                return True
            try:
                finish()
            except NotDoneYet:
                return False
            except Refusal as refusal:
                operation.error = refusal
                fail(refusal)
            operation.ended = self._cloud.now()
            return True

        def done() -> None:
            self._cloud.work.when(look)

        def failed(fault: Fault) -> None:
            if operation.canceled:
                return
            operation.error = late_error(fault)
            operation.ended = self._cloud.now()
            fail(operation.error)

        self._cloud.work.start(seconds, done, fault=request.fault, fail=failed)
        return operation

    def cancel(self, about: str) -> None:
        """Let what changes a resource never be done."""
        for operation in self._operations.values():
            if operation.about == about and not operation.ended:
                operation.canceled = True
                operation.error = Refusal(409, "OperationPreempted", "The operation was aborted by another one.")
                operation.ended = self._cloud.now()

    def headers(self, request: Request, operation: Operation, *, by_location: bool = False) -> Mapping[str, str]:
        """Return the headers that tell where the operation is polled."""
        version = f"?api-version={request.query.get('api-version', '')}"
        base = f"{request.base}{operation.path}"
        headers = {
            "Location": f"{base}/operationresults/{operation.id}{version}",
            "Retry-After": self._interval,
        }
        if not by_location:
            headers["Azure-AsyncOperation"] = f"{base}/operations/{operation.id}{version}"
        return headers

    def status(self, operation_id: str) -> Reply:
        """Return the state of an operation."""
        operation = self._get(operation_id)
        body: Json = {"name": operation.id, "status": operation.status, "startTime": operation.started}
        if operation.ended:
            body["endTime"] = operation.ended
        if operation.error is not None:
            body["error"] = operation.error.error()
        return Reply(body, headers={} if operation.ended else {"Retry-After": self._interval})

    def result(self, operation_id: str, request: Request) -> Reply:
        """Return the outcome of an operation, or 202 while there is none."""
        operation = self._get(operation_id)
        if not operation.ended:
            version = request.query.get("api-version", "")
            headers = {"Location": f"{request.base}{request.path}?api-version={version}", "Retry-After": self._interval}
            return Reply(status=202, headers=headers)
        if operation.error is not None:
            raise operation.error
        return operation.result()

    def forget(self) -> None:
        """Forget every operation."""
        self._operations.clear()

    @property
    def _interval(self) -> str:
        return "0" if math.isinf(self._cloud.clock.speed) else _POLL

    def _get(self, operation_id: str) -> Operation:
        found = self._operations.get(operation_id)
        if found is None:
            raise Refusal(404, "OperationNotFound", f"The operation '{operation_id}' was not found.")
        return found
