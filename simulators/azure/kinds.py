"""What Resource Manager has to know of a type of resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simulators.azure.api import Check, Request
from simulators.azure.cloud import Cloud
from simulators.azure.ids import ResourceId
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, conflict

LINKED: Mapping[str, str] = {
    "microsoft.network/virtualnetworks": "join/action",
    "microsoft.network/virtualnetworks/subnets": "join/action",
    "microsoft.network/natgateways": "join/action",
    "microsoft.network/publicipaddresses": "join/action",
    "microsoft.network/networksecuritygroups": "join/action",
    "microsoft.network/routetables": "join/action",
    "microsoft.network/loadbalancers/backendaddresspools": "join/action",
    "microsoft.managedidentity/userassignedidentities": "assign/action",
    "microsoft.compute/diskencryptionsets": "read",
}
"""What the caller needs on a resource that another one is made to use, keyed by type; whoever reads it may be named."""


@dataclass(frozen=True)
class Kind:
    """One type of resource, as simple as they come; a subclass says what is special."""

    type: str
    """`Microsoft.Network/virtualNetworks`."""
    seconds: str = ""
    """The duration (of `Durations`) of each change; empty for a type whose changes are done with the call."""
    created: int = 201
    """The status with which a creation is answered."""
    changed: int = 200
    regional: bool = True
    """Whether it has a region and tags; children have none."""
    tag: str = ""
    """The field that shows the entity tag: `etag`, `eTag`."""
    busy: str = "AnotherOperationInProgress"
    """The error code of a change while another one is under way."""
    in_use: str = ""
    """The error code of a deletion while something uses it; empty if nothing holds it."""
    in_use_status: int = 400
    binds: bool = True
    """Whether what it refers to cannot be deleted meanwhile."""
    has_state: bool = True
    """Whether it has a provisioning state."""
    creating: str = "Creating"
    updating: str = "Updating"

    @property
    def service(self) -> str:
        """What the journal calls the namespace."""
        return self.type.partition("/")[0].rpartition(".")[2].lower()

    @property
    def short_type(self) -> str:
        """The type without its namespace."""
        return self.type.partition("/")[2]

    @property
    def is_child(self) -> bool:
        """Whether it lies in a resource of the same namespace."""
        return self.type.count("/") > 1

    def takes(self, _change: str) -> str:
        """Return the duration of one kind of change: `create`, `update` or `delete`."""
        return self.seconds

    def checks(self, _request: Request, _cloud: Cloud, _id: ResourceId) -> Iterable[Check]:
        """Return what a PUT needs beside the action on the resource and on what it links to."""
        return ()

    def attributes(self, _request: Request, _record: Record | None) -> Mapping[str, str]:
        """Return what conditions can ask about a change."""
        return {}

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Complete the document of a new or changed resource, or refuse it; `before` is what it was."""

    def require_usable(self, cloud: Cloud, record: Record) -> None:
        """Refuse what uses something that cannot be used; it is made without a call, for a cluster."""

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Do what happens when a change is done."""

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Refuse a deletion that cannot be."""

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Do what happens when the resource is gone; its children had their turn before."""

    def shown(self, _cloud: Cloud, record: Record) -> Json:
        """Return the document as it is read."""
        return record.document

    def default(self, _cloud: Cloud, _id: ResourceId) -> Json | None:
        """Return the document of a resource that exists without having been made, or None."""
        return None

    def passing(self, _record: Record, before: Json | None) -> str:
        """Return the state that a change passes through."""
        return self.creating if before is None else self.updating

    def lasts(self, cloud: Cloud, _record: Record, before: Json | None) -> float:
        """Return how many simulated seconds a creation or a change takes."""
        return float(getattr(cloud.durations, self.takes("create" if before is None else "update")))

    def require_idle(self, _cloud: Cloud, record: Record) -> None:
        """Refuse a change or deletion beside another one that is under way."""
        if record.busy:
            raise conflict(
                self.busy,
                f"Another operation on this or dependent resource is in progress: {record.id.text} is {record.busy}.",
            )

    def failed(self, _cloud: Cloud, record: Record, _error: Refusal) -> None:
        """Do what happens when a change has failed."""
        record.settle("Failed")
