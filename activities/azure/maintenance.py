"""AKS's own automatic upgrades: switched off."""

from __future__ import annotations

from azure.mgmt.containerservice import ContainerServiceClient
from temporalio import activity

from activities.azure.aks import CLUSTER
from activities.azure.cluster_settings import NO_AUTOMATIC_UPGRADES, differing
from activities.azure.cluster_writing import AzureClusterWriting
from activities.azure.errors import failures_named
from activities.contracts import ClusterContract, InCluster
from activities.needs import needs
from domain.clouds import Purpose


class AzureMaintenance(AzureClusterWriting, ClusterContract):
    """Keeps the versions of a cluster ours to decide."""

    @activity.defn
    @needs(f"{CLUSTER}/read", f"{CLUSTER}/write", purpose=Purpose.OPERATE)
    def set_maintenance_policy(self, request: InCluster) -> None:
        """AKS upgrades neither the cluster nor the images of its nodes by itself.

        Patches of what AKS runs for the cluster are Azure's and cannot be refused. Maintenance windows that the
        customer has set stay, and have nothing to act upon.
        """
        site, name = request.site, request.cluster.name
        with failures_named(resource=name):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            cluster = self._running(aks, site)
            self._put_back(aks, site, cluster, differing(cluster, [NO_AUTOMATIC_UPGRADES]))
