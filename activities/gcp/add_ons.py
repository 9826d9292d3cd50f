"""What other clouds install as add-ons: on GKE a part of every cluster, or a setting of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.cloud import container_v1
from temporalio import activity

from activities.contracts import AddOn, ClusterContract
from activities.failures import refused
from activities.gcp.cluster_settings import (
    AUTOSCALING,
    GATEWAY,
    LOAD_BALANCING,
    STORAGE,
    Setting,
    differing,
    workload_identity,
)
from activities.gcp.errors import failures_named
from activities.gcp.gke import UNDER_WAY, cluster_name, find_cluster, one_operation_at_a_time
from activities.gcp.health import health_failure
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass

ADD_ONS: Mapping[str, Callable[[Site], tuple[Setting, ...]]] = {
    # Dataplane V2 is network plug-in, network policies and kube-proxy in one; it is chosen when a cluster is made.
    "network": lambda _: (),
    "dns": lambda _: (),
    "storage": lambda _: (STORAGE,),
    "metrics": lambda _: (AUTOSCALING,),
    "proxy": lambda _: (LOAD_BALANCING, GATEWAY),
    "identity": lambda site: (workload_identity(site),),
}
"""The settings on which each add-on depends, keyed by the contract's name. What has none, GKE runs in every cluster."""


class GcpAddOns(GcpPart, ClusterContract):
    """Keeps add-ons switched on."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    def install_add_on(self, request: AddOn) -> None:
        """The add-on is switched on, in the version that GKE gives the cluster, and the cluster is healthy."""
        with failures_named(resource=request.name):
            gke = self._connections.client(container_v1.ClusterManagerClient, request.site, Purpose.OPERATE)
            keep_add_on(gke, request, self._look_again)


def keep_add_on(gke: container_v1.ClusterManagerClient, request: AddOn, look_again: Callable[[str], Exception]) -> None:
    """Return if the add-on is switched on and the cluster healthy; raise what is the matter, or is being done."""
    site, name = request.site, request.name
    if name not in ADD_ONS:
        message = f"There is no add-on {name!r} on GKE; there are {', '.join(ADD_ONS)}"
        raise refused(FailureClass.CONFIG, message, resource=name)
    cluster = find_cluster(gke, site)
    if cluster is None or cluster.status.name in UNDER_WAY:
        raise look_again(f"GKE cluster {request.cluster.name} is not running")
    if name == "network":
        _require_dataplane(cluster)
    with one_operation_at_a_time(look_again):
        for setting in differing(cluster, ADD_ONS[name](site)):
            gke.update_cluster(name=cluster_name(site), update={setting.update: setting.value})
            raise look_again(f"GKE is switching on {name} of {cluster.name}")
    if cluster.status.name != "RUNNING":
        raise health_failure(cluster, f"the add-on {name} of {cluster.name}")


def _require_dataplane(cluster: container_v1.Cluster) -> None:
    """Refuse a cluster in which nothing enforces network policies."""
    if cluster.network_config.datapath_provider != container_v1.DatapathProvider.ADVANCED_DATAPATH:
        message = f"GKE cluster {cluster.name} was made without Dataplane V2, which can only be chosen then"
        raise refused(FailureClass.CONFIG, message, resource=cluster.name)
