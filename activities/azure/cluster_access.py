"""Who may enter the cluster: Azure's roles decide, verb by verb, and nothing in the cluster lets in anybody else."""

from __future__ import annotations

from azure.mgmt.containerservice import ContainerServiceClient
from temporalio import activity

from activities.azure.aks import CLUSTER
from activities.azure.cluster_settings import ACCESS, differing
from activities.azure.cluster_writing import AzureClusterWriting
from activities.azure.errors import failures_named
from activities.contracts import ClusterContract, InCluster
from activities.needs import needs
from domain.clouds import Purpose

_KEPT = (
    "namespaces", "serviceaccounts", "services", "configmaps", "secrets", "apps/deployments", "apps/statefulsets",
    "batch/jobs", "autoscaling/horizontalpodautoscalers", "policy/poddisruptionbudgets",
    "networking.k8s.io/networkpolicies", "storage.k8s.io/storageclasses", "scheduling.k8s.io/priorityclasses",
    "customresources",
)  # fmt: skip
"""Kinds of which the control plane keeps objects; the last stands for all custom resources, such as Gateways."""
_CLEARED = ("pods", "persistentvolumeclaims", "persistentvolumes")
"""Kinds of which it looks at objects, and takes away those that a deletion of the rest has left."""

IN_CLUSTER = (
    *(f"{CLUSTER}/{kind}/{verb}" for kind in _KEPT for verb in ("read", "write", "delete")),
    *(f"{CLUSTER}/{kind}/{verb}" for kind in _CLEARED for verb in ("read", "delete")),
    f"{CLUSTER}/events/read",
    f"{CLUSTER}/nodes/read",
    f"{CLUSTER}/admissionregistration.k8s.io/validatingwebhookconfigurations/read",
    f"{CLUSTER}/admissionregistration.k8s.io/mutatingwebhookconfigurations/read",
)
"""Data actions for what `activities.kubernetes` does in a cluster. None of them makes roles or bindings there."""


class AzureClusterAccess(AzureClusterWriting, ClusterContract):
    """Lets the control plane into the cluster, and nobody past Azure's roles."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{CLUSTER}/read", f"{CLUSTER}/write", purpose=Purpose.OPERATE)
    @needs(*IN_CLUSTER, purpose=Purpose.OPERATE, why="Run the server in the cluster")
    def grant_cluster_access(self, request: InCluster) -> None:
        """Beside whom Azure's roles let in, nobody may do anything in the cluster.

        Our own application needs nothing here: the customer's template gives it `IN_CLUSTER`. There are no local
        accounts, no groups of administrators, and no commands that AKS runs in the cluster for somebody.
        """
        site, name = request.site, request.cluster.name
        with failures_named(resource=name):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            cluster = self._running(aks, site)
            self._put_back(aks, site, cluster, differing(cluster, ACCESS))
