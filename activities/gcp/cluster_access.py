"""Who may enter the cluster: on GKE IAM decides, verb by verb, and nothing in the cluster may let in anybody else."""

from __future__ import annotations

from google.cloud import container_v1
from temporalio import activity

from activities.contracts import ClusterContract, InCluster
from activities.gcp.cluster_settings import ACCESS, differing
from activities.gcp.errors import failures_named
from activities.gcp.gke import UNDER_WAY, cluster_name, find_cluster, one_operation_at_a_time
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose

_KEPT = (
    "namespaces", "serviceAccounts", "services", "configMaps", "secrets", "deployments", "statefulSets", "jobs",
    "horizontalPodAutoscalers", "podDisruptionBudgets", "networkPolicies", "storageClasses", "priorityClasses",
    "thirdPartyObjects",
)  # fmt: skip
"""Kinds of which the control plane keeps objects; the last stands for all custom resources, such as Gateways."""
_CLEARED = ("pods", "persistentVolumeClaims", "persistentVolumes")
"""Kinds of which it looks at objects, and takes away those that a deletion of the rest has left."""

IN_CLUSTER = (
    *(f"container.{kind}.{verb}" for kind in _KEPT for verb in ("create", "delete", "get", "list", "update")),
    *(f"container.{kind}.{verb}" for kind in _CLEARED for verb in ("delete", "get", "list")),
    "container.events.list",
    "container.nodes.list",
    "container.pods.proxy",
    "container.validatingWebhookConfigurations.list",
    "container.mutatingWebhookConfigurations.list",
)
"""IAM's permissions for what `activities.kubernetes` does in a cluster. None of them makes roles or bindings there."""


class GcpClusterAccess(GcpPart, ClusterContract):
    """Lets the control plane into the cluster, and nobody by being somebody with a Google account."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs("container.clusters.get", "container.clusters.update", purpose=Purpose.OPERATE)
    @needs(*IN_CLUSTER, purpose=Purpose.OPERATE, why="Run the server in the cluster")
    def grant_cluster_access(self, request: InCluster) -> None:
        """Beside whom IAM lets in, nobody may do anything in the cluster.

        Our own service account needs nothing here: the customer's template gives it `IN_CLUSTER`. Attribute-based
        access is off, no role binding counts that names everybody, and without credentials only the health endpoints
        answer.
        """
        site, name = request.site, request.cluster.name
        with failures_named(resource=name):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            cluster = find_cluster(gke, site)
            if cluster is None or cluster.status.name in UNDER_WAY:
                raise self._look_again(f"GKE cluster {name} is not running")
            with one_operation_at_a_time(self._look_again):
                if cluster.legacy_abac.enabled:
                    gke.set_legacy_abac(request={"name": cluster_name(site), "enabled": False})
                    raise self._look_again(f"GKE is switching off attribute-based access to {name}")
                for setting in differing(cluster, ACCESS):
                    gke.update_cluster(name=cluster_name(site), update={setting.update: setting.value})
                    raise self._look_again(f"GKE is changing {setting.place} of {name}")
