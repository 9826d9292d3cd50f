"""Pools of nodes: GKE node pools, each over all its zones.

Every zone of a pool has an instance group of its own, which replaces a lost node in that zone. The store's volumes stay
in their zone for ever, so its pool has limits for each zone, and every zone keeps its nodes; the others have limits for
all zones together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.api_core.exceptions import AlreadyExists, InvalidArgument
from google.cloud import container_v1
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.contracts import ClusterContract, NodePoolRequest
from activities.gcp.cluster import is_account_not_visible_yet
from activities.gcp.cluster_settings import MANAGEMENT
from activities.gcp.compute import if_exists
from activities.gcp.errors import failures_named
from activities.gcp.gke import UNDER_WAY, cluster_name, find_cluster, one_operation_at_a_time, pool_path
from activities.gcp.health import health_failure
from activities.gcp.node_configuration import node_config
from activities.gcp.ownership import is_ours, require_ours
from activities.gcp.part import GcpPart
from activities.kubernetes.manifests.identity import POOL_LABEL
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Machine, NodePool
from domain.naming import owner_labels
from domain.shape import PoolName

SURGE = {"strategy": container_v1.NodePoolUpdateStrategy.SURGE, "max_surge": 1, "max_unavailable": 0}
"""A new node is there before an old one goes."""
_BALANCED = container_v1.NodePoolAutoscaling.LocationPolicy.BALANCED


class GcpPools(GcpPart):
    """Begins to make and to delete node pools."""

    def _settled(
        self,
        gke: container_v1.ClusterManagerClient,
        request: NodePoolRequest,
        pool: container_v1.NodePool | None,
        wanted: container_v1.NodePool,
    ) -> container_v1.NodePool:
        """Return the pool if it is ours and nothing about it is under way; one that is not there is begun to be made.

        One that GKE failed to make holds nothing: it is deleted, so that the next look makes it again.
        """
        site, name = request.site, wanted.name
        if pool is None:
            self._start(gke, request, wanted)
            raise self._look_again(f"GKE is creating the node pool {name}")
        require_ours(f"the node pool {name}", site, ours=is_ours(pool.config.resource_labels, site))
        if pool.status.name in UNDER_WAY:
            raise self._look_again(f"GKE reports the node pool {name} as {pool.status.name}")
        if pool.status.name == "ERROR":
            if_exists(lambda: gke.delete_node_pool(name=pool_path(site, name)))
            raise health_failure(pool, f"the node pool {name}")
        return pool

    def _start(
        self, gke: container_v1.ClusterManagerClient, request: NodePoolRequest, pool: container_v1.NodePool
    ) -> None:
        """Begin to make a pool; what another attempt has begun, or has to be waited for, is looked at again."""
        try:
            gke.create_node_pool(parent=cluster_name(request.site), node_pool=pool)
        except AlreadyExists as error:
            raise self._look_again(f"the node pool {pool.name} is not visible yet") from error
        except InvalidArgument as error:
            if is_account_not_visible_yet(error, request.roles.nodes):
                raise self._look_again(f"the service account {request.roles.nodes} cannot be used yet") from error
            raise

    def _deleting(
        self,
        gke: container_v1.ClusterManagerClient,
        site: Site,
        cluster: container_v1.Cluster,
        names: Sequence[str],
    ) -> ApplicationError:
        """Begin to delete the first of these pools, and return the error that names all that are left.

        GKE deletes one at a time: a second one waits for the next look.
        """
        with one_operation_at_a_time(self._look_again):
            if all(pool.status.name not in UNDER_WAY for pool in cluster.node_pools):
                if_exists(lambda: gke.delete_node_pool(name=pool_path(site, names[0])))
        return self._look_again(f"GKE is deleting the node pools {', '.join(names)}")


class GcpNodePools(GcpPools, ClusterContract):
    """Makes, converges and deletes node pools."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "container.clusters.get", "container.clusters.update", "iam.serviceAccounts.actAs",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_node_pool(self, request: NodePoolRequest) -> NodePool:
        """The pool runs with at least its smallest number of nodes.

        Sizes, labels, taints and settings that differ are put back; the number of nodes between the limits is the
        autoscaler's. Machine type, image and disks of a pool never change: that takes another pool. A pool that GKE
        failed to make holds nothing: it is deleted, so that the next look makes it again.
        """
        site, name = request.site, request.pool.value
        with failures_named(resource=f"the node pool {name}"):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            pool = if_exists(lambda: gke.get_node_pool(name=pool_path(site, name)))
            with one_operation_at_a_time(self._look_again):
                pool = self._settled(gke, request, pool, wanted_pool(request))
                if changed := _put_back(gke, request, pool):
                    raise self._look_again(f"GKE is changing {changed} of the node pool {name}")
            if pool.status.name != "RUNNING":
                raise health_failure(pool, f"the nodes of {name}")
        return NodePool(pool=request.pool, name=name, instance_type=machine_of(request).instance_type)

    @activity.defn(no_thread_cancel_exception=True)
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.DELETE)
    def delete_node_pools(self, site: Site) -> None:
        """The cluster has no node pool left. One that never came up has its pools until it goes itself."""
        with failures_named():
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.DELETE)
            cluster = find_cluster(gke, site)
            if cluster is None or cluster.status.name == "ERROR" or not cluster.node_pools:
                return
            for pool in cluster.node_pools:
                require_ours(f"the node pool {pool.name}", site, ours=is_ours(pool.config.resource_labels, site))
            raise self._deleting(gke, site, cluster, [pool.name for pool in cluster.node_pools])


def wanted_pool(request: NodePoolRequest) -> container_v1.NodePool:
    """Return the pool to be made."""
    zones, machine = zones_of(request), machine_of(request)
    config = node_config(
        request.site,
        machine_type=machine.instance_type,
        roles=request.roles,
        key=request.key,
        firewall=request.firewall,
        resource=_resource(request),
    )
    return container_v1.NodePool(
        name=request.pool.value,
        config={**config, "labels": _labels(request.pool), "taints": _taints(request.pool)},
        initial_node_count=_initial_count(machine, len(zones)),
        locations=zones,
        autoscaling=_autoscaling(request),
        management=MANAGEMENT,
        upgrade_settings=SURGE,
        network_config={"enable_private_nodes": True},
    )


def machine_of(request: NodePoolRequest) -> Machine:
    """Return what the pool's machines are."""
    return next(machine for machine in request.placement.machines if machine.pool is request.pool)


def _resource(request: NodePoolRequest) -> str:
    return f"pool-{request.pool}"


def zones_of(request: NodePoolRequest) -> list[str]:
    """Return the zones of the pool: for the store as many as it has nodes, else all in which there can be one."""
    machine = machine_of(request)
    most = machine.minimum if request.pool is PoolName.STORE else machine.maximum
    return list(request.placement.zones[: max(1, most)])


def _initial_count(machine: Machine, zones: int) -> int:
    """Return with how many nodes each zone begins: enough for the minimum, unless that would be beyond the maximum."""
    enough = -(-machine.minimum // zones)
    return enough if enough * zones <= max(machine.maximum, zones) else machine.minimum // zones


def _autoscaling(request: NodePoolRequest) -> dict[str, Any]:
    """Return the limits between which the autoscaler decides."""
    machine, zones = machine_of(request), len(zones_of(request))
    scaling: dict[str, Any] = {"enabled": True, "location_policy": _BALANCED}
    if request.pool is PoolName.STORE:
        # Rounded up: what does not divide by the zones would leave one of them short.
        limits = {"min_node_count": -(-machine.minimum // zones), "max_node_count": -(-machine.maximum // zones)}
    else:
        limits = {"total_min_node_count": machine.minimum, "total_max_node_count": machine.maximum}
    return scaling | limits


def _labels(pool: PoolName) -> dict[str, str]:
    return {POOL_LABEL: pool.value}


def _taints(pool: PoolName) -> list[dict[str, Any]]:
    """Return what keeps everything but the store off the store's nodes."""
    if pool is not PoolName.STORE:
        return []
    return [{"key": POOL_LABEL, "value": pool.value, "effect": container_v1.NodeTaint.Effect.NO_SCHEDULE}]


def _put_back(gke: container_v1.ClusterManagerClient, request: NodePoolRequest, pool: container_v1.NodePool) -> str:
    """Begin to put back the first thing of a pool that differs, and return what that is; empty if nothing does."""
    which = {"name": pool_path(request.site, pool.name)}
    wanted = container_v1.NodePoolAutoscaling(_autoscaling(request))
    if pool.autoscaling != wanted:
        gke.set_node_pool_autoscaling(request={**which, "autoscaling": wanted})
        return "the limits"
    if (pool.management.auto_upgrade, pool.management.auto_repair) != tuple(MANAGEMENT.values()):
        gke.set_node_pool_management(request={**which, "management": MANAGEMENT})
        return "the management"
    if change := _change(request, pool):
        # One at a time, and the zones first: GKE takes no two of them together.
        field = next(iter(change))
        gke.update_node_pool(request={**which, field: change[field]})
        return field
    return ""


def _change(request: NodePoolRequest, pool: container_v1.NodePool) -> dict[str, Any]:
    """Return what has to change of a pool, as fields of UpdateNodePoolRequest."""
    change: dict[str, Any] = {}
    if set(pool.locations) != set(zones_of(request)):
        change["locations"] = zones_of(request)
    upgrade = pool.upgrade_settings
    if (upgrade.strategy, upgrade.max_surge, upgrade.max_unavailable) != tuple(SURGE.values()):
        change["upgrade_settings"] = SURGE
    marks = owner_labels(request.site, _resource(request))
    for field, present, wanted in (
        ("resource_labels", dict(pool.config.resource_labels), marks),
        ("labels", dict(pool.config.labels), _labels(request.pool)),
    ):
        if present | wanted != present:
            change[field] = {"labels": present | wanted}
    taints = list(pool.config.taints)
    missing = [taint for taint in map(container_v1.NodeTaint, _taints(request.pool)) if taint not in taints]
    if missing:
        change["taints"] = {"taints": [*taints, *missing]}
    return change
