"""Pools of nodes: AKS node pools.

A pool is one node pool over all zones, except where state lives: the store's volumes stay in their zone for ever, so
its pool is one node pool for each zone in which it has a node. One that spans zones could replace a lost node in a zone
from which its volume cannot be reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerservice import ContainerServiceClient
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.azure.aks import (
    CLUSTER,
    POOL,
    Document,
    find_cluster,
    is_settled,
    one_operation_at_a_time,
    pools_of_ours,
    state_of,
)
from activities.azure.cluster_settings import agrees
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import group_name, node_group_name
from activities.azure.health import health_failure
from activities.azure.node_configuration import UPGRADE, node_configuration
from activities.azure.ownership import require_ours
from activities.azure.part import AzurePart
from activities.azure.subnets import SUBNET
from activities.azure.versions import is_half_upgraded
from activities.contracts import ClusterContract, NodePoolRequest
from activities.kubernetes.manifests.identity import POOL_LABEL
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Machine, NodePool
from domain.naming import base_name, owner_tags
from domain.shape import PoolName

SCALE_SET = "Microsoft.Compute/virtualMachineScaleSets"
_POOL_TAG = "aks-managed-poolName"
"""By which AKS says whose machines a scale set has."""
_GIVEN_BY_AKS = ("eTag", "provisioningState", "status")


@dataclass(frozen=True)
class AgentPool:
    """One node pool of AKS as it has to be."""

    name: str
    """Letters and digits, at most twelve."""
    zones: tuple[str, ...]
    minimum: int
    maximum: int


class AzureAgentPools(AzurePart):
    """Begins to make and to delete node pools."""

    def _creating(self, aks: ContainerServiceClient, site: Site, name: str, wanted: Document) -> ApplicationError:
        """Begin to make a node pool, unless it is there already, and return the error that says so."""
        try:
            aks.agent_pools.begin_create_or_update(
                group_name(site),
                base_name(site),
                name,
                {"properties": wanted},
                match_condition=MatchConditions.IfMissing,
                polling=False,
            )
        except ResourceExistsError:
            return self._look_again(f"the node pool {name} is not visible yet")
        return self._look_again(f"AKS is creating the node pool {name}")

    def _deleting(
        self, aks: ContainerServiceClient, site: Site, pools: Sequence[Mapping[str, Any]]
    ) -> ApplicationError:
        """Begin to delete the first of these node pools, and return the error that names all that are left.

        AKS deletes one at a time: a second one waits for the next look.
        """
        for pool in pools:
            require_ours(pool.get("tags"), site, f"the node pool {pool['name']}")
        names = [str(pool["name"]) for pool in pools]
        with one_operation_at_a_time(self._look_again):
            if all(is_settled({"properties": pool}) for pool in pools):
                place = (group_name(site), base_name(site), names[0])
                if_exists(lambda: aks.agent_pools.begin_delete(*place, polling=False))
        return self._look_again(f"AKS is deleting the node pools {', '.join(names)}")


class AzureNodePools(AzureAgentPools, ClusterContract):
    """Makes, converges and deletes node pools."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        f"{POOL}/read", f"{POOL}/write", f"{POOL}/delete", f"{SUBNET}/join/action", f"{SCALE_SET}/read",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_node_pool(self, request: NodePoolRequest) -> NodePool:
        """Every node pool of the pool runs with at least its smallest number of nodes.

        Sizes, labels, taints and settings that differ are put back; the number of nodes between the limits is the
        autoscaler's. Machine type, image and disks never change: that takes another pool. A node pool that AKS failed
        to make and that has no machines is deleted, so that the next look makes it again; one with machines is written
        once more, which is how AKS cures it. One whose upgrade failed is left to the next upgrade: written, it would be
        upgraded further.
        """
        site = request.site
        with failures_named(resource=f"the node pool {request.pool}"):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            for pool in agent_pools(request):
                found = find_pool(aks, site, pool.name)
                with one_operation_at_a_time(self._look_again):
                    if found is None:
                        raise self._creating(aks, site, pool.name, wanted_pool(request, pool))
                    require_ours(found["properties"].get("tags"), site, f"the node pool {pool.name}")
                    if not is_settled(found):
                        raise self._look_again(f"AKS reports the node pool {pool.name} as {state_of(found)}")
                    if is_half_upgraded(found["properties"]):
                        continue
                    if state_of(found) != "Succeeded":
                        raise self._give_up_on_pool(aks, request, pool, found)
                    if changed := _put_back(aks, request, pool, found):
                        raise self._look_again(f"AKS is changing {', '.join(changed)} of the node pool {pool.name}")
        machine = machine_of(request)
        return NodePool(pool=request.pool, name=request.pool.value, instance_type=machine.instance_type)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{CLUSTER}/read", f"{POOL}/delete", purpose=Purpose.DELETE)
    def delete_node_pools(self, site: Site) -> None:
        """The cluster has no node pool left but that of AKS's own pods, which goes with the cluster."""
        with failures_named():
            aks = self._connections.client(ContainerServiceClient, site, Purpose.DELETE)
            cluster = find_cluster(aks, site)
            pools = pools_of_ours(cluster) if cluster is not None else []
            if pools:
                raise self._deleting(aks, site, pools)

    def _give_up_on_pool(
        self, aks: ContainerServiceClient, request: NodePoolRequest, pool: AgentPool, found: Mapping[str, Any]
    ) -> Exception:
        """Delete a node pool that never came up, or write it again, and return the failure that says why."""
        site = request.site
        compute = self._connections.client(ComputeManagementClient, site, Purpose.OPERATE)
        sets = if_exists(lambda: list(compute.virtual_machine_scale_sets.list(node_group_name(site)))) or []
        if any((each.tags or {}).get(_POOL_TAG) == pool.name for each in sets):
            write_pool(aks, site, pool.name, found["properties"], _settings(request, pool))
        else:
            place = (group_name(site), base_name(site), pool.name)
            if_exists(lambda: aks.agent_pools.begin_delete(*place, polling=False))
        return health_failure(found, f"the node pool {pool.name}")


def agent_pools(request: NodePoolRequest) -> tuple[AgentPool, ...]:
    """Return the node pools of a pool, in the order of their zones."""
    machine, zones = machine_of(request), request.placement.zones
    if request.pool is not PoolName.STORE:
        used = zones[: max(1, machine.maximum)]
        return (AgentPool(request.pool.value, used, machine.minimum, machine.maximum),)
    used = zones[: max(1, machine.minimum)]
    # Rounded up: what does not divide by the zones would leave one of them short.
    least, most = -(-machine.minimum // len(used)), -(-machine.maximum // len(used))
    return tuple(AgentPool(f"{request.pool}{zone}", (zone,), least, most) for zone in used)


def wanted_pool(request: NodePoolRequest, pool: AgentPool) -> Document:
    """Return the properties of a node pool to be made, of the version of the control plane."""
    common = node_configuration(
        request.site,
        machine_type=machine_of(request).instance_type,
        network=request.network,
        zones=pool.zones,
        resource=_resource(pool),
    )
    return {**common, **_settings(request, pool), "count": max(1, pool.minimum)}


def _settings(request: NodePoolRequest, pool: AgentPool) -> Document:
    """Return what can be changed of a pool and has to be so."""
    return {
        "mode": "User",
        "enableAutoScaling": True,
        "minCount": pool.minimum,
        "maxCount": max(pool.minimum, pool.maximum),
        "nodeLabels": {POOL_LABEL: request.pool.value},
        "nodeTaints": _taints(request.pool),
        "upgradeSettings": UPGRADE,
        "tags": owner_tags(request.site, _resource(pool)),
    }


def machine_of(request: NodePoolRequest) -> Machine:
    """Return of which machines a pool is."""
    return next(machine for machine in request.placement.machines if machine.pool is request.pool)


def _resource(pool: AgentPool) -> str:
    return f"pool-{pool.name}"


def _taints(pool: PoolName) -> list[str]:
    """Return what keeps everything but the store off the store's nodes."""
    return [f"{POOL_LABEL}={pool.value}:NoSchedule"] if pool is PoolName.STORE else []


def find_pool(aks: ContainerServiceClient, site: Site, name: str) -> Document | None:
    """Return a node pool of the cluster by its name, None if there is none."""
    found = if_exists(lambda: aks.agent_pools.get(group_name(site), base_name(site), name))
    document: Document | None = found.as_dict() if found is not None else None
    return document


def _put_back(
    aks: ContainerServiceClient, request: NodePoolRequest, pool: AgentPool, found: Mapping[str, Any]
) -> list[str]:
    """Begin to put back whatever differs of a node pool, and return what that is."""
    present = found["properties"]
    differing = dict(_differing(present, _settings(request, pool)))
    if not differing:
        return []
    write_pool(aks, request.site, pool.name, present, differing)
    return list(differing)


def write_pool(
    aks: ContainerServiceClient, site: Site, name: str, present: Mapping[str, Any], change: Mapping[str, Any]
) -> None:
    """Write a node pool with a change, unless somebody else has changed it since it was read."""
    wanted = {field: value for field, value in present.items() if field not in _GIVEN_BY_AKS}
    aks.agent_pools.begin_create_or_update(
        group_name(site),
        base_name(site),
        name,
        {"properties": {**wanted, **change}},
        etag=present["eTag"],
        match_condition=MatchConditions.IfNotModified,
        polling=False,
    )


def _differing(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields that differ, each with the value to write; what others added beside ours stays."""
    for field, value in wanted.items():
        there = present.get(field)
        if isinstance(value, list):
            if missing := [each for each in value if each not in (there or [])]:
                yield field, [*(there or []), *missing]
        elif not agrees(there, value):
            yield field, {**(there or {}), **value} if isinstance(value, dict) else value
