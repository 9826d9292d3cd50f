"""The GKE control plane."""

from __future__ import annotations

from google.api_core.exceptions import AlreadyExists, GoogleAPICallError, InvalidArgument
from google.cloud import container_v1
from google.cloud.logging_v2.services.config_service_v2 import ConfigServiceV2Client
from temporalio import activity

from activities.contracts import ClusterContract, ClusterRequest
from activities.gcp.cluster_settings import Setting, changeable, creation, differing
from activities.gcp.compute import DeploymentCompute, if_exists
from activities.gcp.egress import our_routers
from activities.gcp.errors import failures_named
from activities.gcp.gke import (
    FIRST_POOL,
    UNDER_WAY,
    as_facts,
    cluster_name,
    find_cluster,
    location_name,
    one_operation_at_a_time,
    pool_path,
)
from activities.gcp.health import health_failure
from activities.gcp.logs import PERMISSIONS_TO_ROUTE, PERMISSIONS_TO_STOP, route_logs, stop_routing
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name, owner_labels


class GcpCluster(GcpPart, ClusterContract):
    """Makes, converges and deletes the control plane."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "container.clusters.create", "container.clusters.get", "container.clusters.update",
        "container.clusters.delete", "iam.serviceAccounts.actAs", *PERMISSIONS_TO_ROUTE,
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_cluster(self, request: ClusterRequest) -> Cluster:
        """The control plane runs, set up as `creation` says; settings that differ are put back one by one.

        The pool with which GKE insists on making it is gone. Its Kubernetes version is left as it is: moving that is
        an upgrade. A control plane that GKE failed to make is deleted, as long as it has no nodes of ours, so that the
        next look makes it again. Whatever it logs is kept in the region, from the beginning.
        """
        site, name = request.site, base_name(request.site)
        with failures_named(resource=name):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            cluster = find_cluster(gke, site)
            if cluster is None:
                self._route_logs(site)
                self._create_cluster(gke, request)
                raise self._look_again(f"GKE is creating {name}")
            if cluster.status.name in UNDER_WAY:
                raise self._look_again(f"GKE reports {name} as {cluster.status.name}")
            with one_operation_at_a_time(self._look_again):
                if cluster.status.name == "ERROR":
                    raise self._give_up_on_failed_cluster(gke, site, cluster)
                self._converge_cluster(gke, request, cluster)
            if cluster.status.name != "RUNNING":
                raise health_failure(cluster, f"the GKE cluster {name}")
        return as_facts(cluster)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.routers.list", "container.clusters.get", "container.clusters.delete", *PERMISSIONS_TO_STOP,
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_cluster(self, site: Site) -> None:
        """The control plane is gone, and the routing of its logs, unless a NAT of ours still writes some.

        GKE has no protection to lift first: the permission to delete it is the guard.
        """
        name = base_name(site)
        with failures_named(resource=name):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.DELETE)
            cluster = find_cluster(gke, site)
            if cluster is None:
                if not our_routers(DeploymentCompute(self._settings, self._connections, site, Purpose.DELETE)):
                    stop_routing(self._connections.client(ConfigServiceV2Client, site, Purpose.DELETE), site)
                return
            if cluster.status.name in UNDER_WAY:
                raise self._look_again(f"GKE reports {name} as {cluster.status.name}")
            # The pools of a cluster that never came up cannot be deleted by themselves.
            if cluster.status.name != "ERROR" and _pools_of_ours(cluster):
                raise self._look_again(f"GKE cluster {name} still has node pools")
            with one_operation_at_a_time(self._look_again):
                if_exists(lambda: gke.delete_cluster(name=cluster_name(site)))
            raise self._look_again(f"GKE is deleting {name}")

    def _route_logs(self, site: Site) -> None:
        route_logs(self._connections.client(ConfigServiceV2Client, site, Purpose.OPERATE), site, self._look_again)

    def _create_cluster(self, gke: container_v1.ClusterManagerClient, request: ClusterRequest) -> None:
        site = request.site
        try:
            gke.create_cluster(parent=location_name(site), cluster=creation(request, self._settings.egress_cidrs))
        except AlreadyExists as error:
            raise self._look_again(f"GKE cluster {base_name(site)} is not visible yet") from error
        except InvalidArgument as error:
            if is_account_not_visible_yet(error, request.roles.nodes):
                raise self._look_again(f"the service account {request.roles.nodes} cannot be used yet") from error
            raise

    def _converge_cluster(
        self, gke: container_v1.ClusterManagerClient, request: ClusterRequest, cluster: container_v1.Cluster
    ) -> None:
        """Put back the first thing that differs and raise `NotReadyYet`; GKE takes one change at a time."""
        site = request.site
        self._route_logs(site)
        if any(pool.name == FIRST_POOL for pool in cluster.node_pools):
            if_exists(lambda: gke.delete_node_pool(name=pool_path(site, FIRST_POOL)))
            raise self._look_again(f"GKE is deleting the pool with which {cluster.name} was made")
        present, labels = dict(cluster.resource_labels), owner_labels(site, "cluster")
        if present | labels != present:
            gke.set_labels(
                request={
                    "name": cluster_name(site),
                    "resource_labels": present | labels,
                    "label_fingerprint": cluster.label_fingerprint,
                }
            )
            raise self._look_again(f"GKE is changing the labels of {cluster.name}")
        for setting in differing(cluster, changeable(site, request.key, self._settings.egress_cidrs)):
            raise self._change(gke, site, setting)

    def _change(self, gke: container_v1.ClusterManagerClient, site: Site, setting: Setting) -> Exception:
        """Begin to change one setting and return the `NotReadyYet` that says so."""
        gke.update_cluster(name=cluster_name(site), update={setting.update: setting.value})
        return self._look_again(f"GKE is changing {setting.place} of {base_name(site)}")

    @staticmethod
    def _give_up_on_failed_cluster(
        gke: container_v1.ClusterManagerClient, site: Site, cluster: container_v1.Cluster
    ) -> Exception:
        """Delete a control plane that never came up and return the failure that says why it did not."""
        if not _pools_of_ours(cluster):
            if_exists(lambda: gke.delete_cluster(name=cluster_name(site)))
        return health_failure(cluster, f"the GKE cluster {cluster.name}")


def is_account_not_visible_yet(error: GoogleAPICallError, account: str) -> bool:
    """Return whether GKE refuses a service account because IAM has not spread its creation yet; it takes seconds."""
    message = str(error.message)
    return account in message and ("does not exist" in message or "not found" in message)


def _pools_of_ours(cluster: container_v1.Cluster) -> list[str]:
    return [pool.name for pool in cluster.node_pools if pool.name != FIRST_POOL]
