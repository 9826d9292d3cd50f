"""GKE's add-ons. They come with the cluster; here it is proven that they are on, and put back that they are."""

from __future__ import annotations

from google.cloud import container_v1
from temporalio import activity

from activities.contracts import AddOn, ClusterContract
from activities.failures import refused
from activities.gcp.errors import failures_named
from activities.gcp.gke import Gke, cluster_name, one_at_a_time
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.failure import FailureClass

_BUILT_IN = ("dns", "identity", "metrics", "proxy")
"""What every cluster has and nobody can switch off: DNS, the metadata server, metrics, and Dataplane V2 in place of
kube-proxy."""


class GcpAddOns(GcpPart, ClusterContract):
    """Sees to it that the add-ons are on."""

    @activity.defn
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    def install_add_on(self, request: AddOn) -> None:
        """The add-on is on: the disk driver and the Gateway controller can be switched off, and are put back."""
        site, name = request.site, request.name
        with failures_named(resource=name), one_at_a_time(self._settings, f"the add-on {name}"):
            gke = self._connections.client(Gke, site, Purpose.OPERATE)
            cluster = gke.get_cluster(name=cluster_name(site))
            match name:
                case "storage":
                    driver = cluster.addons_config.gce_persistent_disk_csi_driver_config
                    wanted = container_v1.AddonsConfig(
                        gce_persistent_disk_csi_driver_config=container_v1.GcePersistentDiskCsiDriverConfig(
                            enabled=True
                        )
                    )
                    if not driver.enabled:
                        self._switch_on(gke, request, container_v1.ClusterUpdate(desired_addons_config=wanted))
                case "network":
                    if cluster.network_config.datapath_provider != container_v1.DatapathProvider.ADVANCED_DATAPATH:
                        message = f"The cluster {cluster.name} was made without Dataplane V2, which enforces policies"
                        raise refused(FailureClass.CONFIG, message, resource=cluster.name)
                case _ if name in _BUILT_IN:
                    return
                case _:
                    message = f"There is no add-on {name!r} on Google Cloud; there are network, storage, {_BUILT_IN}"
                    raise refused(FailureClass.CONFIG, message, resource=name)

    def _switch_on(self, gke: Gke, request: AddOn, update: container_v1.ClusterUpdate) -> None:
        gke.update_cluster(request={"name": cluster_name(request.site), "update": update})
        raise self._look_again(f"GKE is switching on the add-on {request.name}")
