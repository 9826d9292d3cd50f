"""When GKE may maintain a cluster by itself."""

from __future__ import annotations

from datetime import UTC, datetime

from google.cloud import container_v1
from temporalio import activity

from activities.contracts import ClusterContract, MaintenanceRequest
from activities.failures import refused
from activities.gcp.cluster_settings import RELEASE_CHANNEL, differing
from activities.gcp.errors import failures_named
from activities.gcp.gke import UNDER_WAY, cluster_name, find_cluster, one_operation_at_a_time
from activities.gcp.maintenance_policy import PolicyRefusedError, wanted_policy
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.failure import FailureClass


class GcpMaintenance(GcpPart, ClusterContract):
    """Binds GKE to the deployment's windows."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    def set_maintenance_policy(self, request: MaintenanceRequest) -> None:
        """GKE upgrades no nodes by itself, and the control plane only in the deployment's first window, or its hours.

        A lasting exclusion makes minor versions and nodes ours. Patches of the control plane, and a new minor version
        once support of the old one ends, are Google's and cannot be refused for good; our own upgrades come long
        before. Exclusions that somebody has set stay.

        Raises:
            ApplicationError: CONFIG, if GKE takes no such exclusions.
        """
        site, name = request.site, request.cluster.name
        with failures_named(resource=name):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            cluster = find_cluster(gke, site)
            if cluster is None or cluster.status.name in UNDER_WAY:
                raise self._look_again(f"GKE cluster {name} is not running")
            with one_operation_at_a_time(self._look_again):
                for setting in differing(cluster, [RELEASE_CHANNEL]):
                    gke.update_cluster(name=cluster_name(site), update={setting.update: setting.value})
                    raise self._look_again(f"GKE is changing {setting.place} of {name}")
                try:
                    present = cluster.maintenance_policy
                    policy = wanted_policy(present, request.windows, request.exclusions, datetime.now(UTC))
                except PolicyRefusedError as error:
                    raise refused(FailureClass.CONFIG, str(error), resource=name) from error
                if policy != present:
                    gke.set_maintenance_policy(request={"name": cluster_name(site), "maintenance_policy": policy})
                    raise self._look_again(f"GKE is changing the maintenance policy of {name}")
