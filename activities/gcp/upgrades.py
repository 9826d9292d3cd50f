"""Upgrading a GKE control plane, and what comes with it."""

from __future__ import annotations

from google.cloud import container_v1
from temporalio import activity

from activities.barrier import changes_are_barred
from activities.contracts import AddOn
from activities.failures import refused
from activities.gcp.add_ons import keep_add_on
from activities.gcp.errors import failures_named
from activities.gcp.gke import (
    UNDER_WAY,
    as_facts,
    cluster_name,
    find_cluster,
    minor_of,
    minors_between,
    one_operation_at_a_time,
)
from activities.gcp.health import health_failure
from activities.gcp.upgrade_failures import TellsFailuresOnce
from activities.needs import needs
from activities.upgrade_contracts import ControlPlaneUpgrade, UpgradeContract
from domain.clouds import Purpose
from domain.facts import Cluster
from domain.failure import FailureClass


class GcpControlPlaneUpgrade(TellsFailuresOnce, UpgradeContract):
    """Moves the control plane on."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    def upgrade_control_plane(self, request: ControlPlaneUpgrade) -> Cluster:
        """The control plane runs the newest patch of the minor version, one after the one before, or a later one.

        GKE finds the patch. A regional control plane has several replicas, which are replaced one after the other: its
        API answers all the while. Back it goes by patches alone. What keeps GKE from an end is raised once; then the
        upgrade is begun again.

        Raises:
            ApplicationError: CONFIG, if a version would be skipped.
        """
        site, wanted, name = request.site, request.kubernetes, request.cluster.name
        with failures_named(resource=name):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            cluster = find_cluster(gke, site)
            if cluster is None or cluster.status.name in UNDER_WAY:
                raise self._look_again(f"GKE cluster {name} is not running, or is being changed")
            ahead = minors_between(cluster.current_master_version, wanted)
            if ahead > 1 and not changes_are_barred():
                message = f"{name} runs {minor_of(cluster.current_master_version)}: {wanted} would skip a version"
                raise refused(FailureClass.CONFIG, message, resource=name)
            if ahead >= 1:
                self._tell_once(cluster, f"the GKE cluster {name}")
                with one_operation_at_a_time(self._look_again):
                    gke.update_cluster(name=cluster_name(site), update={"desired_master_version": wanted})
                self._begun_again(cluster)
                raise self._look_again(f"GKE is upgrading the control plane of {name} to {wanted}")
            if cluster.status.name != "RUNNING":
                raise health_failure(cluster, f"the GKE cluster {name}")
        return as_facts(cluster)

    @activity.defn(no_thread_cancel_exception=True)
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    def upgrade_add_on(self, request: AddOn) -> None:
        """The add-on is switched on and the cluster healthy: GKE gives it the version of the control plane."""
        with failures_named(resource=request.name):
            gke = self._connections.client(container_v1.ClusterManagerClient, request.site, Purpose.OPERATE)
            keep_add_on(gke, request, self._look_again)
