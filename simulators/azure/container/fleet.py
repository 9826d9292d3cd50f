"""The control planes of all clusters: their API servers in the Kubernetes simulator."""

from __future__ import annotations

from typing import Protocol

from simulators.azure.cloud import Cloud
from simulators.azure.container import versions
from simulators.azure.container.machines import Machines
from simulators.azure.container.validation import at
from simulators.azure.entra import Entra
from simulators.azure.ids import subscription_of
from simulators.azure.records import Record
from simulators.kubernetes.provider import CloudProvider
from simulators.kubernetes.simulator import KubernetesSimulator

CLUSTER = "Microsoft.ContainerService/managedClusters"
_BALANCER = "Microsoft.Network/loadBalancers"


class ProviderOfClusters(CloudProvider, Protocol):
    """What the clusters ask of the cloud, and what it keeps for them."""

    def forget_cluster(self, cluster_id: str) -> None:
        """Forget what went with a cluster."""


class Fleet:
    """Lets clusters serve, and ends them."""

    def __init__(self, cloud: Cloud, entra: Entra, machines: Machines, kubernetes: KubernetesSimulator) -> None:
        self._cloud = cloud
        self._entra = entra
        self.machines = machines
        self.kubernetes = kubernetes
        self.provider: ProviderOfClusters | None = None
        """What the clusters ask of the cloud; set once it exists, before the first call."""

    def clusters(self) -> list[Record]:
        """Return every cluster of every subscription."""
        return self._cloud.records.of_type(CLUSTER)

    def by_id(self, cluster_id: str) -> Record | None:
        """Return the cluster that the Kubernetes simulator knows by this id."""
        return next((each for each in self.clusters() if id_of(each) == cluster_id), None)

    def serve(self, cluster: Record) -> None:
        """Let the control plane serve, in the version that the cluster has now, beside the group of its nodes."""
        group = self.machines.group_of(cluster)
        group.make()
        self._put_api_server(cluster)
        group.retag()
        version = versions.minor_of(cluster.properties["currentKubernetesVersion"])
        running = self.kubernetes.cluster(id_of(cluster))
        if running is not None:
            running.version = version
            return
        assert self.provider is not None
        self.kubernetes.create_cluster(
            id_of(cluster),
            version=version,
            provider=self.provider,
            account=subscription_of(cluster.id.text),
            region=cluster.location,
        )

    def _put_api_server(self, cluster: Record) -> None:
        """Put the API server into its subnet, behind an internal load balancer."""
        subnet = at(cluster.properties, "apiServerAccessProfile.subnetId")
        if not subnet or not at(cluster.properties, "apiServerAccessProfile.enableVnetIntegration"):
            return
        front = {"name": "kube-apiserver-frontend", "properties": {"subnet": {"id": subnet}}}
        document = {"sku": {"name": "Standard"}, "properties": {"frontendIPConfigurations": [front]}}
        self.machines.group_of(cluster).put(_BALANCER, "kube-apiserver", document=document)

    def end(self, cluster: Record) -> None:
        """Let the control plane be gone, and the group of the nodes with everything in it."""
        self.kubernetes.delete_cluster(id_of(cluster))
        self.machines.group_of(cluster).delete()
        if self.provider is not None:
            self.provider.forget_cluster(id_of(cluster))
        self._entra.issuers.pop(at(cluster.properties, "oidcIssuerProfile.issuerURL") or "", None)


def id_of(cluster: Record) -> str:
    """Return the id of a cluster in the Kubernetes simulator."""
    return str(cluster.properties["resourceUID"])
