"""Node pools of AKS as resources: `managedClusters/agentPools`."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from simulators.azure.api import Request
from simulators.azure.cloud import Cloud
from simulators.azure.container import versions
from simulators.azure.container.machines import POOL, Machines, at_once, wanted
from simulators.azure.container.pool_validation import completed, require_system_pool
from simulators.azure.ids import ResourceId
from simulators.azure.kinds import Kind
from simulators.azure.operations import NotDoneYet
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, conflict

UPGRADING = "Upgrading"


@dataclass(frozen=True, kw_only=True)
class AgentPool(Kind):
    """A node pool: its machines are in the group of the nodes."""

    machines: Machines
    type: str = POOL
    seconds: str = "node_pool_update"
    regional: bool = False
    busy: str = "OperationNotAllowed"
    binds: bool = False

    def takes(self, change: str) -> str:
        """Name the duration of a deletion; `lasts` has the others."""
        return "node_pool_deletion" if change == "delete" else self.seconds

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Complete or refuse what is wanted."""
        del request
        cluster = self._cluster(cloud, record)
        former = before["properties"] if before is not None else None
        record.document["properties"] = completed(cloud, cluster.document, record.id.name, record.properties, former)
        others = {pool.id.name: pool.properties for pool in self.machines.pools_of(cluster)}
        require_system_pool(cluster, {**others, record.id.name: record.properties})
        upgrades = before is not None and self.passing(record, before) == UPGRADING
        self.machines.require_quota(cluster, [record.document], surge=at_once(record) if upgrades else 0)

    def add(self, cloud: Cloud, cluster: ResourceId, document: Json) -> Record:
        """Let a pool be that comes with its cluster."""
        resource = ResourceId(cluster.scope, cluster.namespace, (*cluster.parts, "agentPools", document["name"]))
        whole = {"id": resource.text, "name": document["name"], "type": self.type, "properties": document["properties"]}
        record = cloud.records.add(Record(resource, self, whole))
        record.enter(self.creating)
        return record

    def passing(self, record: Record, before: Json | None) -> str:
        """Return `Upgrading` where the version changes, `Scaling` where only the number does."""
        if before is None:
            return self.creating
        return UPGRADING if _target(record) != record.properties["currentOrchestratorVersion"] else self.updating

    def lasts(self, cloud: Cloud, record: Record, before: Json | None) -> float:
        """Return the time of a creation, of an upgrade in batches, or of another change."""
        if before is None:
            return cloud.durations.node_pool
        if self.passing(record, before) == UPGRADING:
            batches = -(-wanted(record.properties) // at_once(record))
            return cloud.durations.node_upgrade * max(batches, 1)
        return cloud.durations.node_pool_update

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Let the machines be as the pool says."""
        cluster = self._cluster(cloud, record)
        version = _target(record)
        if version != record.properties["currentOrchestratorVersion"]:
            if not self.machines.are_replaced(cluster, record, version):
                raise NotDoneYet
            self._revive(cluster)
        record.properties["currentOrchestratorVersion"] = version
        record.properties.pop("status", None)
        record.properties["nodeImageVersion"] = f"AKSUbuntu-2404gen2containerd-{version}"
        self.machines.scale(cluster, record)
        self.machines.relabel(cluster, record)

    def failed(self, cloud: Cloud, record: Record, error: Refusal) -> None:
        """Let the pool be `Failed`, and say why; after an upgrade the cluster is, too."""
        if record.busy == UPGRADING:
            whole = self._cluster(cloud, record)
            whole.properties["status"] = provisioning_error(error)
            if not whole.busy:
                whole.settle("Failed")
        record.settle("Failed")
        record.properties["status"] = provisioning_error(error)

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Refuse to delete the last System pool of a cluster that stays."""
        cluster = self._cluster(cloud, record)
        others = {pool.id.name: pool.properties for pool in self.machines.pools_of(cluster)}
        others.pop(record.id.name)
        require_system_pool(cluster, others)

    def removed(self, cloud: Cloud, record: Record) -> None:
        """End the machines."""
        self.machines.end_all(self._cluster(cloud, record), record)

    def require_idle(self, cloud: Cloud, record: Record) -> None:
        """Refuse a change while the cluster or any of its pools changes."""
        require_idle(self.machines, self._cluster(cloud, record))

    def shown(self, _cloud: Cloud, record: Record) -> Json:
        """Return the pool with its entity tag, which is among its properties."""
        document = copy.deepcopy(record.document)
        document["properties"]["eTag"] = record.etag
        return document

    @staticmethod
    def _revive(cluster: Record) -> None:
        """Let the cluster be well again that failed with the upgrade of a pool."""
        asked, current = cluster.properties["kubernetesVersion"], cluster.properties["currentKubernetesVersion"]
        if not cluster.busy and versions.minor_of(asked) == versions.minor_of(current):
            cluster.properties.pop("status", None)
            cluster.settle()

    @staticmethod
    def _cluster(cloud: Cloud, record: Record) -> Record:
        parent = record.id.parent
        found = cloud.records.get(parent.key) if parent is not None else None
        assert found is not None
        return found


def provisioning_error(error: Refusal) -> Json:
    """Return the status in which clusters and pools say why the last change of them has failed."""
    return {"provisioningError": {"code": error.code, "message": error.message}}


def require_idle(machines: Machines, cluster: Record) -> None:
    """Refuse a second operation beside one that is changing the cluster or any of its pools."""
    for each in (cluster, *machines.pools_of(cluster)):
        if each.busy:
            raise in_progress(each)


def in_progress(record: Record) -> Refusal:
    """Return AKS's refusal of an operation beside another one."""
    what = "managed cluster" if record.kind.type != POOL else f"agent pool {record.id.name}"
    return conflict(
        "OperationNotAllowed",
        f"Operation is not allowed because there's an in progress {record.busy.lower()} {what} operation on the"
        " managed cluster. Please wait for it to finish before starting a new operation. See"
        " https://aka.ms/aks-pending-operation for more details.",
    )


def _target(record: Record) -> str:
    """Return the whole version that the pool is to have; a minor version that it has is what it has."""
    asked, current = record.properties["orchestratorVersion"], record.properties["currentOrchestratorVersion"]
    if asked == versions.minor_of(current):
        return str(current)
    return versions.resolved(asked, record.id.name)
