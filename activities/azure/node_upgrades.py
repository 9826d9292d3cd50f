"""Upgrading the nodes of AKS: a canary of one machine, and then node pool by node pool.

AKS replaces the machines of a node pool one by one: a new one first, the old one drained by eviction. It forces
nothing: a pod that may not go fails the upgrade after the drain's time, and its machine is in service again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from azure.mgmt.containerservice import ContainerServiceClient
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.azure.aks import (
    CLUSTER,
    POOL,
    SYSTEM_POOL,
    Document,
    find_cluster,
    is_settled,
    one_operation_at_a_time,
    pools_of_ours,
    state_of,
)
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import group_name
from activities.azure.health import health_failure
from activities.azure.node_configuration import UPGRADE, node_configuration
from activities.azure.node_pools import AzureAgentPools, agent_pools, find_pool, machine_of, write_pool
from activities.azure.ownership import require_ours
from activities.azure.subnets import SUBNET
from activities.azure.versions import is_half_upgraded, minor_of, version_of
from activities.failures import refused
from activities.kubernetes.manifests.identity import POOL_LABEL, canary_of
from activities.needs import needs
from activities.upgrade_contracts import NodePoolUpgrade, UpgradeContract
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import NodePool
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags
from domain.shape import PoolName

TAG_STEP = "byoc:upgraded-by"
"""On a node pool: the step that asked AKS for its upgrade last. What failed for another one is begun anew."""
_LONGEST_NAME = 12
_ENDED = frozenset({"Failed", "Canceled"})
_BLOCKED = re.compile(r"(?P<pod>[\w.-]+/[\w.-]+) blocked by pdb (?P<budget>[\w./-]+)")
_NOT_DRAINED = re.compile(r"when evicting pod (?P<pod>[\w./-]+)|disruption budget|Drain (of|node) ", re.IGNORECASE)


class AzureNodeUpgrades(AzureAgentPools, UpgradeContract):
    """Tries and replaces machines."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{POOL}/read", f"{POOL}/write", f"{POOL}/delete", f"{SUBNET}/join/action", purpose=Purpose.OPERATE)
    def create_canary_node(self, request: NodePoolUpgrade) -> NodePool:
        """A node pool of one machine runs at the new version; its taint keeps everything but its validation away.

        One of an older version, or that AKS failed to make, is deleted first.
        """
        site, name = request.site, canary_pool(request.pool)
        with failures_named(resource=f"the node pool {name}"):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            found = find_pool(aks, site, name)
            with one_operation_at_a_time(self._look_again):
                if found is None:
                    raise self._creating(aks, site, name, _canary(request))
                require_ours(found["properties"].get("tags"), site, f"the node pool {name}")
                if not is_settled(found):
                    raise self._look_again(f"AKS reports the node pool {name} as {state_of(found)}")
                failed = state_of(found) in _ENDED
                if failed or minor_of(version_of(found["properties"])) < minor_of(request.kubernetes):
                    place = (group_name(site), base_name(site), name)
                    if_exists(lambda: aks.agent_pools.begin_delete(*place, polling=False))
                    if failed:
                        raise health_failure(found, f"the node pool {name}")
                    raise self._look_again(f"AKS is deleting the node pool {name} of an older version")
        return NodePool(pool=request.pool, name=name, instance_type=machine_of(request).instance_type)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{CLUSTER}/read", f"{POOL}/delete", purpose=Purpose.OPERATE)
    def delete_canary_nodes(self, site: Site) -> None:
        """The cluster has no node pool of a canary left."""
        canaries = {canary_pool(pool) for pool in PoolName}
        with failures_named():
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            cluster = find_cluster(aks, site)
            pools = [pool for pool in pools_of_ours(cluster or {"properties": {}}) if pool["name"] in canaries]
            if pools:
                raise self._deleting(aks, site, pools)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{POOL}/read", f"{POOL}/write", f"{SUBNET}/join/action", purpose=Purpose.OPERATE)
    def upgrade_node_pool(self, request: NodePoolUpgrade) -> NodePool:
        """Every node of the pool is at the asked minor version, or beyond it.

        The pool of AKS's own pods goes first, with the pool of the services: it holds no state of ours either.

        Raises:
            ApplicationError: CONFIG, with the pod and its budget, if a machine could not be drained. A later step
                begins anew with the machines that are left.
        """
        site = request.site
        with failures_named(resource=f"the node pool {request.pool}"):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            for name in _names(request):
                found = find_pool(aks, site, name)
                if found is None:
                    message = (
                        f"AKS cluster {base_name(site)} has no node pool {name}: the deployment has to be converged"
                    )
                    raise refused(FailureClass.CONFIG, message, resource=name)
                require_ours(found["properties"].get("tags"), site, f"the node pool {name}")
                if not is_settled(found):
                    raise self._look_again(f"AKS reports the node pool {name} as {state_of(found)}")
                if minor_of(version_of(found["properties"])) < minor_of(request.kubernetes):
                    with one_operation_at_a_time(self._look_again):
                        raise self._move_on(aks, request, name, found)
        return NodePool(pool=request.pool, name=request.pool.value, instance_type=machine_of(request).instance_type)

    def _move_on(
        self, aks: ContainerServiceClient, request: NodePoolUpgrade, name: str, found: Document
    ) -> ApplicationError:
        """Let AKS upgrade a node pool, unless it could not empty a machine for this step; return what that means."""
        properties, what = found["properties"], f"the node pool {name}"
        tags, step = properties.get("tags") or {}, _step()
        failed = is_half_upgraded(properties) and tags.get(TAG_STEP) == step
        if failed and (blocked := _not_drained(found, what)):
            return blocked
        change = {
            "orchestratorVersion": request.kubernetes,
            "upgradeSettings": {**(properties.get("upgradeSettings") or {}), **UPGRADE},
            "tags": {**tags, TAG_STEP: step},
        }
        write_pool(aks, request.site, name, properties, change)
        if failed:
            return health_failure(found, what)
        return self._look_again(f"AKS is upgrading {what} to Kubernetes {request.kubernetes}")


def canary_pool(pool: PoolName) -> str:
    """Return the name of the node pool of a canary: AKS allows twelve letters and digits."""
    return f"canary{pool}"[:_LONGEST_NAME]


def _canary(request: NodePoolUpgrade) -> Document:
    """Return the properties of a canary: a machine like those of its pool."""
    (first, *_), resource = agent_pools(request), f"pool-{canary_pool(request.pool)}"
    common = node_configuration(
        request.site,
        machine_type=machine_of(request).instance_type,
        network=request.network,
        zones=first.zones[:1],
        resource=resource,
    )
    mark = canary_of(request.pool)
    return {
        **common,
        "orchestratorVersion": request.kubernetes,
        "mode": "User",
        "count": 1,
        "enableAutoScaling": False,
        "nodeLabels": {POOL_LABEL: mark},
        "nodeTaints": [f"{POOL_LABEL}={mark}:NoSchedule"],
        "tags": owner_tags(request.site, resource),
    }


def _names(request: NodePoolUpgrade) -> Iterator[str]:
    """Yield the names of the node pools that are upgraded with a pool."""
    if request.pool is PoolName.SERVICES:
        yield SYSTEM_POOL
    for pool in agent_pools(request):
        yield pool.name


def _step() -> str:
    """Return what tells this step from every other one, and is the same at each of its attempts."""
    if not activity.in_activity():
        return ""
    info = activity.info()
    return f"{info.workflow_run_id}/{info.activity_id}"


def _not_drained(found: Mapping[str, Any], what: str) -> ApplicationError | None:
    """Return the failure that names the pod which kept a machine from being emptied, None if it was something else."""
    reported = (found["properties"].get("status") or {}).get("provisioningError") or {}
    message = str(reported.get("message") or "")
    if not _NOT_DRAINED.search(message):
        return None
    blocked = _BLOCKED.search(message)
    pod = blocked["pod"] if blocked else (_NOT_DRAINED.search(message) or {"pod": ""})["pod"] or ""
    budget = f", held by the disruption budget {blocked['budget']}" if blocked else ""
    told = f"A machine of {what} could not be emptied: the pod {pod or '(not named)'} may not be evicted{budget}"
    return refused(FailureClass.CONFIG, f"{told}. AKS says: {message}", resource=pod or what)
