"""What Azure does for its Kubernetes clusters: identities, load balancers, Gateways, disks, and the way to storage.

The controllers act as the cluster's own identity, which may do what it likes in the group of the nodes and needs its
permissions everywhere else.
"""

from __future__ import annotations

from collections.abc import Collection

from simulators.azure.blob_plane import BlobPlane
from simulators.azure.cloud import Cloud
from simulators.azure.container.fleet import Fleet
from simulators.azure.container.machines import Machines
from simulators.azure.gateways import Gateways
from simulators.azure.identities import Principal
from simulators.azure.kubernetes_access import user_of
from simulators.azure.load_balancers import LoadBalancers
from simulators.azure.records import Record
from simulators.azure.refusals import Refusal
from simulators.azure.secret_reader import SecretReader
from simulators.azure.volumes import Volumes
from simulators.azure.workloads import Workloads
from simulators.kubernetes import kinds
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object, name_of, namespace_of
from simulators.kubernetes.provider import Destination, Entrance, HinderedError, User

_ENVOY_S_OLDEST = "1.2"


class AzureProvider:
    """Fulfils `CloudProvider` for every cluster of AKS."""

    def __init__(
        self,
        cloud: Cloud,
        fleet: Fleet,
        machines: Machines,
        blobs: BlobPlane,
        workloads: Workloads,
        secrets: SecretReader,
    ) -> None:
        self._cloud = cloud
        self._fleet = fleet
        self._blobs = blobs
        self._workloads = workloads
        self._gateways = Gateways(fleet.kubernetes, workloads, secrets)
        self._balancers = LoadBalancers(cloud, machines)
        self._volumes = Volumes(cloud, machines)
        self.complaints: dict[tuple[str, str], str] = {}
        """Why something cannot be made yet, keyed by cluster id and the object's `kind/namespace/name`."""

    def authenticate(self, cluster_id: str, token: str) -> User | None:
        """Return whom a token of Entra stands for, with what Azure RBAC lets it do in the cluster."""
        cluster = self._fleet.by_id(cluster_id)
        return user_of(self._cloud, cluster, token) if cluster is not None else None

    def destination_at(self, address: str, port: int) -> Destination | None:
        """Return what is behind a port of the load balancer at an address: of a Gateway, where its routes lead."""
        found = self._balancers.destination_at(address, port)
        return self._gateways.behind(found) if found is not None else None

    def presents(self, address: str, port: int, hostname: str) -> bool:
        """Return whether proxies behind a port of an address present a certificate that covers a name."""
        found = self._balancers.destination_at(address, port)
        cluster = self._fleet.by_id(found.cluster_id) if found is not None else None
        gateway = self._gateways.gateway_behind(found) if found is not None else None
        if found is None or cluster is None or gateway is None:
            return False
        self._gateways.renew(cluster, gateway)
        return self._gateways.covers(found, hostname)

    def cluster_at(self, address: str, port: int) -> Record | None:
        """Return the cluster whose load balancer leads in at a port of an address, or None."""
        found = self._balancers.destination_at(address, port)
        return self._fleet.by_id(found.cluster_id) if found is not None else None

    def oldest_tls(self, address: str, port: int) -> str:
        """Return the oldest version of TLS that is spoken behind a port of an address, empty where none is.

        Load balancers pass everything on. The proxies of Gateways are Envoy, which takes nothing older than 1.2.
        """
        found = self._balancers.destination_at(address, port)
        listener = self._gateways.listener_behind(found) if found is not None else None
        return _ENVOY_S_OLDEST if listener is not None and listener["protocol"] == "HTTPS" else ""

    def ensure_load_balancer(self, cluster_id: str, service: Object) -> str | None:
        """Make the Service's load balancer, or bring it up to date; return its address once it leads in."""
        cluster = self._fleet.by_id(cluster_id)
        if cluster is None:
            return None
        subject = (cluster_id, f"service/{namespace_of(service)}/{name_of(service)}")
        try:
            address = self._balancers.ensure(cluster, service)
        except HinderedError as hindrance:
            self.complaints[subject] = str(hindrance)
            return None
        self.complaints.pop(subject, None)
        return address

    def delete_load_balancer(self, cluster_id: str, service: Object) -> bool:
        """Take the Service's load balancer away; it is gone at once."""
        cluster = self._fleet.by_id(cluster_id)
        if cluster is not None:
            self._balancers.delete(cluster, service)
        return True

    def custom_kinds(self, cluster_id: str) -> Collection[Kind]:
        """Return the kinds of the Gateway API where the managed ones are installed."""
        cluster = self._fleet.by_id(cluster_id)
        served = cluster is not None and self._gateways.are_served(cluster)
        return (kinds.GATEWAYS, kinds.HTTP_ROUTES) if served else ()

    def ensure_gateway(self, cluster_id: str, entrance: Entrance) -> str | None:
        """Make the Gateway's proxies and the Service before them; return the address once everything serves."""
        cluster = self._fleet.by_id(cluster_id)
        return self._gateways.ensure(cluster, entrance) if cluster is not None else None

    def delete_gateway(self, cluster_id: str, gateway: Object) -> bool:
        """Find nothing to take away: what was made for a Gateway goes as its dependents."""
        del cluster_id, gateway
        return True

    def ensure_volume(self, cluster_id: str, claim: Object, storage_class: Object, zone: str) -> str | None:
        """Make the claim's disk, or grow it to what the claim asks for; return its id once it is ready."""
        cluster = self._fleet.by_id(cluster_id)
        if cluster is None:
            return None
        subject = (cluster_id, f"persistentvolumeclaim/{namespace_of(claim)}/{name_of(claim)}")
        try:
            volume = self._volumes.ensure(cluster, claim, storage_class, zone)
        except (HinderedError, Refusal) as hindrance:
            self.complaints[subject] = str(hindrance)
            return None
        self.complaints.pop(subject, None)
        return volume

    def delete_volume(self, cluster_id: str, volume_id: str) -> bool:
        """Take a disk away; it is gone at once."""
        if self._fleet.by_id(cluster_id) is not None:
            self._volumes.delete(volume_id)
        return True

    def put_object(self, cluster_id: str, service_account: str, bucket: str, key: str, body: bytes) -> str | None:
        """Write a blob as the identity of the pod's service account; `bucket` is `<account>/<container>`."""
        try:
            return self._blobs.put_as(self._principal(cluster_id, service_account), bucket, key, body)
        except (HinderedError, Refusal) as hindrance:
            return str(hindrance)

    def get_object(self, cluster_id: str, service_account: str, bucket: str, key: str) -> bytes | str:
        """Read a blob as the identity of the pod's service account; `bucket` is `<account>/<container>`."""
        try:
            return self._blobs.get_as(self._principal(cluster_id, service_account), bucket, key)
        except (HinderedError, Refusal) as hindrance:
            return str(hindrance)

    def _principal(self, cluster_id: str, subject: str) -> Principal:
        cluster = self._fleet.by_id(cluster_id)
        if cluster is None:
            raise HinderedError("the cluster is gone")
        namespace, _, name = subject.removeprefix("system:serviceaccount:").partition(":")
        return self._workloads.of_pods(cluster, namespace, name)

    def forget_cluster(self, cluster_id: str) -> None:
        """Forget what went with a cluster."""
        self._balancers.forget_cluster(cluster_id)
        self._volumes.forget_cluster(cluster_id)
        self._gateways.forget_cluster(cluster_id)
        self.complaints = {key: text for key, text in self.complaints.items() if key[0] != cluster_id}

    def forget(self) -> None:
        """Forget every load balancer, Gateway and volume."""
        self._balancers.forget()
        self._volumes.forget()
        self._gateways.forget()
        self.complaints.clear()
