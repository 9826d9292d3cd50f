"""Updates: changes of a cluster, a node group or an add-on that take time and can be followed by their id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

from simulators.aws.eks.records import ClusterRecord, Document, UpdateRecord, not_found
from simulators.aws.eks.surroundings import Surroundings
from simulators.aws.scope import Scope
from simulators.faults import Fault, FaultKind

Errors = Sequence[Document]
GOING_ON: Errors = []
"""What an update returns that is not done yet: no error so far."""

_INTERNAL_FAILURE = "An internal failure occurred while the update was in progress."
_NO_CAPACITY = "Could not launch On-Demand Instances. InsufficientInstanceCapacity"


class Updates:
    """Starts, describes and lists updates."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._has = surroundings

    def begin(
        self,
        cluster: ClusterRecord,
        kind: str,
        parameters: Sequence[tuple[str, object]],
        seconds: float,
        *,
        apply: Callable[[], Errors | None],
        revert: Callable[[], None],
        node_group: str = "",
        add_on: str = "",
    ) -> Document:
        """Start an update and return the answer of the call.

        When its time has come `apply` changes the resource, returns why it cannot be changed, or that it is still
        `GOING_ON`: then it is called again and again. After an error and after a fault, `revert` puts the resource back
        to how it was.
        """
        update: Document = {
            "id": str(uuid4()),
            "status": "InProgress",
            "type": kind,
            "params": [{"type": name, "value": str(value)} for name, value in parameters],
            "createdAt": self._has.clock.time(),
            "errors": [],
        }
        cluster.updates[update["id"]] = UpdateRecord(update, node_group, add_on)

        def look() -> bool:
            errors = apply()
            if errors is GOING_ON:
                return False
            update.update(status="Failed" if errors else "Successful", errors=list(errors or ()))
            if errors:
                revert()
            return True

        def finish() -> None:
            self._has.work.when(look)

        def fail(fault: Fault) -> None:
            lacking = fault.kind is FaultKind.CAPACITY
            code = fault.code or ("NodeCreationFailure" if lacking else "Unknown")
            message = fault.message or (_NO_CAPACITY if lacking else _INTERNAL_FAILURE)
            update.update(status="Failed", errors=[{"errorCode": code, "errorMessage": message, "resourceIds": []}])
            revert()

        self._has.work.start(seconds, finish, fail)
        return {"update": update}

    def describe_update(self, scope: Scope, parameters: Document) -> Document:
        """DescribeUpdate."""
        cluster = self._has.clusters.get(scope, parameters["name"])
        record = cluster.updates.get(parameters["updateId"])
        if record is None or record.node_group != parameters.get("nodegroupName", record.node_group):
            raise not_found(f"No update found for ID: {parameters['updateId']}.", clusterName=cluster.name)
        return {"update": record.description}

    def list_updates(self, scope: Scope, parameters: Document) -> Document:
        """ListUpdates: those of the cluster itself, of one node group or of one add-on."""
        cluster = self._has.clusters.get(scope, parameters["name"])
        wanted = (parameters.get("nodegroupName", ""), parameters.get("addonName", ""))
        found = [id_ for id_, record in cluster.updates.items() if (record.node_group, record.add_on) == wanted]
        return {"updateIds": found}
