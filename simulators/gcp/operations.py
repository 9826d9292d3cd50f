"""Long-running operations (`google.longrunning`) of the APIs that answer with them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from simulators.faults import Fault
from simulators.gcp.api import Method, Place, Request, Rpc, RpcService, needs_nothing, place_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.refusals import CODES, Json, not_found

_INTERFACE = "google.longrunning.Operations"


class LongRunning(RpcService):
    """Keeps the operations, and fulfils `google.longrunning.Operations` for all of them."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._operations: dict[str, Json] = {}

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        get = Method("longrunning", "GetOperation", self._get, mutating=False, checks=needs_nothing, place=self._place)
        request = "google.longrunning.GetOperationRequest"
        yield Rpc(_INTERFACE, "GetOperation", request, "google.longrunning.Operation", get)

    def start(
        self,
        request: Request,
        parent: str,
        seconds: float,
        result: Callable[[], Json],
        *,
        fail: Callable[[], None] | None = None,
        metadata: Json | None = None,
    ) -> Json:
        """Return an operation that ends with `result` (with its `@type`) in some simulated seconds.

        A fault that the call met makes it end with an error instead; `fail` then undoes what was begun.
        """
        name = f"{parent}/operations/operation-{secrets.token_hex(8)}" if parent else _usage_name()
        operation: Json = {"name": name, "done": False, **({"metadata": metadata} if metadata else {})}
        self._operations[name] = operation

        def finish() -> None:
            operation.update(done=True, response=result())

        def failed(fault: Fault) -> None:
            if fail is not None:
                fail()
            error = {"code": CODES["INTERNAL"][0], "message": fault.message or "Internal error encountered."}
            operation.update(done=True, error=error)

        self._cloud.work.start(seconds, finish, fault=request.fault, fail=failed)
        return operation

    def _get(self, request: Request) -> Json:
        name = request.parameters["name"]
        if name not in self._operations:
            raise not_found(f"Operation {name} was not found.")
        return self._operations[name]

    @staticmethod
    def _place(parameters: Json) -> Place:
        return place_of(parameters.get("name", ""))

    def forget(self) -> None:
        """Forget every operation."""
        self._operations.clear()


def _usage_name() -> str:
    return f"operations/acat.p2-{secrets.token_hex(8)}"
