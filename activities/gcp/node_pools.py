"""The node pools of a deployment: that of the store, and that of everything else."""

from __future__ import annotations

from math import ceil

from google.api_core.exceptions import NotFound
from google.cloud import container_v1
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.contracts import ClusterContract, NodePoolRequest
from activities.gcp.cluster import FIRST_POOL, node_config
from activities.gcp.compute import if_exists
from activities.gcp.errors import failures_named
from activities.gcp.gke import Gke, PoolState, cluster_name, find_cluster, health_failure, one_at_a_time
from activities.gcp.ownership import is_ours, require_ours
from activities.gcp.part import GcpPart
from activities.kubernetes.manifests.identity import POOL_LABEL
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Machine, NodePool
from domain.naming import base_name
from domain.shape import PoolName

_UNDER_WAY = (PoolState.PROVISIONING, PoolState.RECONCILING, PoolState.STOPPING)
_SURGE = container_v1.NodePool.UpgradeSettings(strategy="SURGE", max_surge=1, max_unavailable=0)
_MANAGED = container_v1.NodeManagement(auto_repair=True, auto_upgrade=False)


class GcpNodePools(GcpPart, ClusterContract):
    """Makes, converges and deletes node pools."""

    @activity.defn
    @needs(
        "container.clusters.get", "container.clusters.update", "iam.serviceAccounts.actAs",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_node_pool(self, request: NodePoolRequest) -> NodePool:
        """The pool runs with at least its smallest number of nodes, over its zones.

        Sizes, labels, taints and settings that differ are put back; the number of nodes between the limits is the
        autoscaler's. Machine type, image and disks never change: that takes another pool. A pool that GKE failed to
        make is deleted, so that the next look makes it again. The pool that a new cluster came with goes with it.
        """
        site, machine, name = request.site, _machine(request), request.pool.value
        with failures_named(resource=name), one_at_a_time(self._settings, f"the pool {name}"):
            gke = self._connections.client(Gke, site, Purpose.OPERATE)
            full = _full_name(site, name)
            found = if_exists(lambda: gke.get_node_pool(name=full))
            if found is None:
                gke.create_node_pool(parent=cluster_name(site), node_pool=_creation(request))
                raise self._look_again(f"GKE is creating the pool {name}")
            require_ours(f"node pool {name}", site, ours=is_ours(found.config.resource_labels, site))
            if found.status in _UNDER_WAY:
                raise self._look_again(f"GKE reports the pool {name} as {found.status.name}")
            if found.status == PoolState.ERROR:
                gke.delete_node_pool(name=full)
                raise health_failure(found.conditions, found.status_message, f"the pool {name}")
            self._converge(gke, request, found)
            if found.status == PoolState.RUNNING_WITH_ERROR:
                raise health_failure(found.conditions, found.status_message, f"the nodes of {name}")
            if request.pool is PoolName.SERVICES:
                self._delete_first_pool(gke, site)
        return NodePool(pool=request.pool, name=name, instance_type=machine.instance_type)

    @activity.defn
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.DELETE)
    def delete_node_pools(self, site: Site) -> None:
        """No pool of the cluster is left."""
        with failures_named(resource=base_name(site)), one_at_a_time(self._settings, "the deletion of the pools"):
            gke = self._connections.client(Gke, site, Purpose.DELETE)
            cluster = find_cluster(gke, site)
            if cluster is None or not cluster.node_pools:
                return
            require_ours(f"GKE cluster {cluster.name}", site, ours=is_ours(cluster.resource_labels, site))
            for pool in cluster.node_pools:
                if pool.status != PoolState.STOPPING:
                    gke.delete_node_pool(name=_full_name(site, pool.name))
                    break
            raise self._look_again(f"GKE is deleting {', '.join(pool.name for pool in cluster.node_pools)}")

    def _converge(self, gke: Gke, request: NodePoolRequest, found: container_v1.NodePool) -> None:
        """Put back one setting that differs, and raise `NotReadyYet` while GKE works on it."""
        wanted, name = _creation(request), _full_name(request.site, request.pool)
        if _scaling(found) != _scaling(wanted):
            gke.set_node_pool_autoscaling(request={"name": name, "autoscaling": wanted.autoscaling})
            raise self._changing(request, "the limits")
        if not found.management.auto_repair or found.management.auto_upgrade:
            gke.set_node_pool_management(request={"name": name, "management": _MANAGED})
            raise self._changing(request, "the management")
        missing = {key: value for key, value in wanted.config.labels.items() if found.config.labels.get(key) != value}
        if missing:
            labels = container_v1.NodeLabels(labels={**found.config.labels, **missing})
            gke.update_node_pool(request={"name": name, "labels": labels})
            raise self._changing(request, "the labels")
        if _taints(found) != _taints(wanted):
            taints = container_v1.NodeTaints(taints=list(wanted.config.taints))
            gke.update_node_pool(request={"name": name, "taints": taints})
            raise self._changing(request, "the taints")

    def _changing(self, request: NodePoolRequest, what: str) -> ApplicationError:
        return self._look_again(f"GKE is changing {what} of the pool {request.pool}")

    def _delete_first_pool(self, gke: Gke, site: Site) -> None:
        """Take away the pool that GKE wanted of a new cluster, now that there is room for what runs in it."""
        name = _full_name(site, FIRST_POOL)
        found = if_exists(lambda: gke.get_node_pool(name=name))
        if found is None or not is_ours(found.config.resource_labels, site):
            return
        if found.status != PoolState.STOPPING:
            try:
                gke.delete_node_pool(name=name)
            except NotFound:
                return
        raise self._look_again("GKE is deleting the pool that the cluster came with")


def _creation(request: NodePoolRequest) -> container_v1.NodePool:
    """Return the pool as it has to be.

    The store's nodes are in as many zones as it has replicas at least, for a replica's volume cannot leave its zone.
    """
    machine, site = _machine(request), request.site
    zones = list(request.placement.zones)
    if request.pool is PoolName.STORE:
        zones = zones[: max(1, machine.minimum)]
    config = node_config(site, request.roles.nodes, request.key.key_id, machine.instance_type, request.pool)
    config.labels = {POOL_LABEL: request.pool.value}
    if request.pool is PoolName.STORE:
        config.taints = [container_v1.NodeTaint(key=POOL_LABEL, value=request.pool.value, effect="NO_SCHEDULE")]
    return container_v1.NodePool(
        name=request.pool.value,
        # It counts for each zone.
        initial_node_count=ceil(machine.minimum / len(zones)),
        locations=zones,
        config=config,
        autoscaling=container_v1.NodePoolAutoscaling(
            enabled=True,
            total_min_node_count=machine.minimum,
            total_max_node_count=machine.maximum,
            location_policy="BALANCED",
        ),
        management=_MANAGED,
        upgrade_settings=_SURGE,
        network_config=container_v1.NodeNetworkConfig(enable_private_nodes=True),
    )


def _machine(request: NodePoolRequest) -> Machine:
    return next(machine for machine in request.placement.machines if machine.pool is request.pool)


def _scaling(pool: container_v1.NodePool) -> tuple[object, ...]:
    scaling = pool.autoscaling
    return scaling.enabled, scaling.total_min_node_count, scaling.total_max_node_count, scaling.location_policy


def _taints(pool: container_v1.NodePool) -> set[tuple[object, ...]]:
    return {(taint.key, taint.value, taint.effect) for taint in pool.config.taints}


def _full_name(site: Site, pool: str) -> str:
    return f"{cluster_name(site)}/nodePools/{pool}"
