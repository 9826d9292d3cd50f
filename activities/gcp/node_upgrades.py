"""Replacing the machines of GKE node pools by ones of another version, the first one by itself."""

from __future__ import annotations

from typing import Any

from google.cloud import container_v1
from temporalio import activity

from activities.barrier import changes_are_barred
from activities.failures import refused
from activities.gcp.budgets import NEEDED, ClusterLook, Hindrance
from activities.gcp.cluster_settings import MANAGEMENT
from activities.gcp.compute import if_exists
from activities.gcp.errors import failures_named
from activities.gcp.gke import (
    UNDER_WAY,
    as_facts,
    find_cluster,
    minor_of,
    minors_between,
    one_operation_at_a_time,
    pool_path,
)
from activities.gcp.health import health_failure
from activities.gcp.node_configuration import node_config
from activities.gcp.node_pools import SURGE, GcpPools, machine_of, zones_of
from activities.gcp.ownership import is_ours, require_ours
from activities.gcp.upgrade_failures import TellsFailuresOnce
from activities.kubernetes.manifests.identity import POOL_LABEL, canary_of
from activities.needs import needs
from activities.upgrade_contracts import NodePoolUpgrade, UpgradeContract
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import NodePool
from domain.failure import FailureClass
from domain.shape import PoolName


class GcpNodeUpgrade(TellsFailuresOnce, GcpPools, UpgradeContract):
    """Upgrades one pool at a time."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "container.clusters.get", "container.clusters.update", "iam.serviceAccounts.actAs",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_canary_node(self, request: NodePoolUpgrade) -> NodePool:
        """A pool of one machine like the pool's runs, at the control plane's version, with a taint of its own.

        One that an earlier upgrade has left at an older version, or that GKE failed to make, is made again.
        """
        site, name = request.site, canary_of(request.pool)
        with failures_named(resource=f"the node pool {name}"):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            cluster = self._cluster(gke, request)
            pool = _pool_of(cluster, name)
            with one_operation_at_a_time(self._look_again):
                wanted = canary_pool(request, cluster.current_master_version)
                pool = self._settled(gke, request, pool, wanted)
                if minors_between(pool.version, request.kubernetes) > 0:
                    if_exists(lambda: gke.delete_node_pool(name=pool_path(site, name)))
                    raise self._look_again(f"GKE is deleting the node pool {name}, which is of an earlier upgrade")
            if pool.status.name != "RUNNING":
                raise health_failure(pool, f"the nodes of {name}")
        return NodePool(pool=request.pool, name=name, instance_type=machine_of(request).instance_type)

    @activity.defn(no_thread_cancel_exception=True)
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    def delete_canary_nodes(self, site: Site) -> None:
        """The cluster has no pool of a first machine left."""
        with failures_named():
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            cluster = find_cluster(gke, site)
            names = [] if cluster is None else [pool.name for pool in cluster.node_pools if _is_canary(pool, site)]
            if cluster is not None and names:
                raise self._deleting(gke, site, cluster, names)

    @activity.defn(no_thread_cancel_exception=True)
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    @needs(*NEEDED, purpose=Purpose.OPERATE, why="Look for pods that may not be evicted from a machine")
    def upgrade_node_pool(self, request: NodePoolUpgrade) -> NodePool:
        """Every machine of the pool has the control plane's version, or a later one than was asked for.

        GKE adds a machine before it drains one, by eviction. It honours budgets for an hour, so that nothing is begun
        while a budget allows no eviction. What keeps GKE from an end is raised once; then the upgrade is begun again,
        for the machines that are left.

        Raises:
            ApplicationError: CONFIG, for a pod whose budget never allows an eviction; that and the budget are named.
        """
        site, name = request.site, request.pool.value
        with failures_named(resource=f"the node pool {name}"):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            cluster = self._cluster(gke, request)
            pool = _pool_of(cluster, name)
            if pool is None:
                message = f"{cluster.name} has no node pool {name}: converge the deployment first"
                raise refused(FailureClass.CONFIG, message, resource=name)
            require_ours(f"the node pool {name}", site, ours=is_ours(pool.config.resource_labels, site))
            if pool.status.name in UNDER_WAY:
                hindered = self._require_no_standstill(cluster, pool, request)
                reason = f": {hindered[0]}" if hindered else ""
                raise self._look_again(f"GKE reports the node pool {name} as {pool.status.name}{reason}")
            if minors_between(pool.version, request.kubernetes) > 0:
                raise self._upgrade(gke, cluster, pool, request)
            if pool.status.name != "RUNNING":
                raise health_failure(pool, f"the nodes of {name}")
        return NodePool(pool=request.pool, name=name, instance_type=machine_of(request).instance_type)

    def _cluster(self, gke: container_v1.ClusterManagerClient, request: NodePoolUpgrade) -> container_v1.Cluster:
        """Return the cluster, whose control plane has to be as new as the nodes are to be."""
        cluster = find_cluster(gke, request.site)
        if cluster is None or cluster.status.name in ("PROVISIONING", "STOPPING"):
            raise self._look_again(f"GKE cluster {request.cluster.name} is not running")
        if minors_between(cluster.current_master_version, request.kubernetes) > 0 and not changes_are_barred():
            message = (
                f"The control plane of {cluster.name} runs {minor_of(cluster.current_master_version)}; nodes of "
                f"{request.kubernetes} would be ahead of it"
            )
            raise refused(FailureClass.CONFIG, message, resource=cluster.name)
        return cluster

    def _upgrade(
        self,
        gke: container_v1.ClusterManagerClient,
        cluster: container_v1.Cluster,
        pool: container_v1.NodePool,
        request: NodePoolUpgrade,
    ) -> Exception:
        """Begin to replace the machines and return the error that says so, or why GKE did not get to an end before."""
        which = {"name": pool_path(request.site, pool.name)}
        self._tell_once(pool, f"the nodes of {pool.name}")
        if cluster.status.name in UNDER_WAY:
            return self._look_again(f"GKE reports {cluster.name} as {cluster.status.name}")
        if hindered := self._require_no_standstill(cluster, pool, request):
            return self._look_again(f"{pool.name} waits to be upgraded: {hindered[0]}")
        with one_operation_at_a_time(self._look_again):
            settings = pool.upgrade_settings
            if (settings.strategy, settings.max_surge, settings.max_unavailable) != tuple(SURGE.values()):
                gke.update_node_pool(request={**which, "upgrade_settings": SURGE})
                return self._look_again(f"GKE is changing how the node pool {pool.name} is upgraded")
            version, image = cluster.current_master_version, pool.config.image_type
            gke.update_node_pool(request={**which, "node_version": version, "image_type": image})
        self._begun_again(pool)
        return self._look_again(f"GKE is upgrading the node pool {pool.name} to {version}")

    def _require_no_standstill(
        self, cluster: container_v1.Cluster, pool: container_v1.NodePool, request: NodePoolUpgrade
    ) -> list[Hindrance]:
        """Return what may not be evicted for the moment; refuse what never may."""
        token, _ = self._connections.token(request.site, Purpose.OPERATE)
        timeout = self._settings.timeout.total_seconds()
        look = ClusterLook(request.site, as_facts(cluster), token, timeout=timeout)
        found = look.hindrances(pool.name, cluster.current_master_version)
        if lasting := [each for each in found if each.for_good]:
            message = f"The node pool {pool.name} cannot be upgraded: {'; '.join(map(str, lasting))}"
            raise refused(FailureClass.CONFIG, message, resource=lasting[0].pod)
        return found


def canary_pool(request: NodePoolUpgrade, version: str) -> container_v1.NodePool:
    """Return the pool of one machine: the pool's own configuration, where nothing lands that does not tolerate it."""
    name = canary_of(request.pool)
    config: dict[str, Any] = node_config(
        request.site,
        machine_type=machine_of(request).instance_type,
        roles=request.roles,
        key=request.key,
        firewall=request.firewall,
        resource=f"pool-{name}",
    )
    taint = {"key": POOL_LABEL, "value": name, "effect": container_v1.NodeTaint.Effect.NO_SCHEDULE}
    return container_v1.NodePool(
        name=name,
        version=version,
        config={**config, "labels": {POOL_LABEL: name}, "taints": [taint]},
        initial_node_count=1,
        locations=zones_of(request)[:1],
        management=MANAGEMENT,
        upgrade_settings=SURGE,
        network_config={"enable_private_nodes": True},
    )


def _pool_of(cluster: container_v1.Cluster, name: str) -> container_v1.NodePool | None:
    return next((pool for pool in cluster.node_pools if pool.name == name), None)


def _is_canary(pool: container_v1.NodePool, site: Site) -> bool:
    names = {canary_of(name) for name in PoolName}
    return pool.name in names and is_ours(pool.config.resource_labels, site)
