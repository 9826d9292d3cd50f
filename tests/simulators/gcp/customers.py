"""A customer's project in a simulated Google Cloud, for the tests of its services."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import google.auth.credentials
import grpc
import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.api_core.gapic_v1.client_info import ClientInfo
from google.auth import impersonated_credentials
from google.auth.transport.grpc import secure_authorized_channel
from google.auth.transport.requests import Request
from google.cloud import compute_v1, container_v1, iam_admin_v1, kms_v1, resourcemanager_v3, storage
from google.oauth2.credentials import Credentials

from simulators.clock import Clock
from simulators.faults import Fault
from simulators.gcp.simulator import GoogleCloud
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World
from tests.simulators.serving import serving

PROJECT = "acme-prod"
REGION = "europe-west4"
ZONES = ("europe-west4-a", "europe-west4-b", "europe-west4-c")
LOCATION = f"projects/{PROJECT}/locations/{REGION}"
CLUSTER = f"{LOCATION}/clusters/byoc-1"
APIS = (
    "certificatemanager",
    "cloudkms",
    "cloudresourcemanager",
    "compute",
    "container",
    "dns",
    "iam",
    "iamcredentials",
    "logging",
    "monitoring",
    "serviceusage",
    "storage",
)
AGENT = "byoc-test/1.0 step/create_network"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


class Server:
    """The simulated Google Cloud as `serving` wants it: started on ports that the system chooses."""

    def __init__(self, google: GoogleCloud) -> None:
        self._google = google

    async def start(self, port: int = 0) -> None:
        """Listen."""
        await self._google.start(port)

    async def stop(self) -> None:
        """Stop."""
        await self._google.stop()


class Customer:
    """One project, its owner, and what deployments usually find or make there."""

    def __init__(self, world: World, kubernetes: KubernetesSimulator, google: GoogleCloud) -> None:
        self.world = world
        self.kubernetes = kubernetes
        self.google = google
        self.project = google.cloud.project(PROJECT)
        self.project.services |= {f"{api}.googleapis.com" for api in APIS}
        self._channels: list[grpc.Channel] = []

    @property
    def owner(self) -> Credentials:
        """Credentials of the project's owner."""
        return Credentials(f"owner:{PROJECT}")

    def credentials(self, email: str) -> Credentials:
        """Return credentials that stand for a service account, without the way to them."""
        return Credentials(self.google.cloud.identities.issue(f"serviceAccount:{email}", 3600))

    def impersonated(self, source: Any, email: str) -> impersonated_credentials.Credentials:
        """Return credentials that `source` gets by impersonating a service account, as in production."""
        return impersonated_credentials.Credentials(
            source,
            email,
            SCOPES,
            iam_endpoint_override=f"{self.google.url}/v1/projects/-/serviceAccounts/{email}:generateAccessToken",
        )

    def rpc(self, client: Any, credentials: google.auth.credentials.Credentials | None = None) -> Any:
        """Return a client of an API that is called by gRPC, of the owner unless `credentials` are given."""
        channel = secure_authorized_channel(
            credentials or self.owner,
            Request(),
            self.google.grpc_address,
            ssl_credentials=grpc.local_channel_credentials(),
        )
        self._channels.append(channel)
        # A transport that is given brings its own client information.
        transport = client.get_transport_class("grpc")(channel=channel, client_info=ClientInfo(user_agent=AGENT))
        return client(transport=transport)

    def rest(self, client: Any, credentials: google.auth.credentials.Credentials | None = None) -> Any:
        """Return a client of Compute Engine."""
        return client(
            credentials=credentials or self.owner,
            client_options=ClientOptions(api_endpoint=self.google.url),
            client_info=ClientInfo(user_agent=AGENT),
        )

    def storage(self, credentials: google.auth.credentials.Credentials | None = None) -> storage.Client:
        """Return a client of Cloud Storage."""
        return storage.Client(
            project=PROJECT,
            credentials=credentials or self.owner,
            client_options=ClientOptions(api_endpoint=self.google.url),
        )

    @property
    def containers(self) -> container_v1.ClusterManagerClient:
        """A client of GKE."""
        return self.rpc(container_v1.ClusterManagerClient)

    def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            channel.close()

    def pass_time(self, seconds: float) -> None:
        """Let simulated time pass and what is due happen; at infinite speed it happens anyway."""
        if not math.isinf(self.world.clock.speed):
            self.world.clock.advance(seconds)
        # What is due happens on the server's own thread, when a call arrives.
        self.rest(compute_v1.ZonesClient).get(project=PROJECT, zone=ZONES[0])

    def inject(self, **fault: Any) -> Fault:
        """Put a fault in force."""
        return self.world.faults.add(Fault(**fault))

    def done(self, operation: Any) -> Any:
        """Return an operation of Compute Engine once its time has come; it may have failed."""
        self.pass_time(60)
        if operation.zone:
            zone = operation.zone.rpartition("/")[2]
            return self.rest(compute_v1.ZoneOperationsClient).get(project=PROJECT, zone=zone, operation=operation.name)
        if operation.region:
            region = operation.region.rpartition("/")[2]
            client = self.rest(compute_v1.RegionOperationsClient)
            return client.get(project=PROJECT, region=region, operation=operation.name)
        return self.rest(compute_v1.GlobalOperationsClient).get(project=PROJECT, operation=operation.name)

    def make_network(self, name: str = "byoc") -> str:
        """Make a network with one subnetwork for a cluster; return the subnetwork's name in URLs."""
        networks = self.rest(compute_v1.NetworksClient)
        network = compute_v1.Network(name=name, auto_create_subnetworks=False)
        self.done(networks.insert_unary(project=PROJECT, network_resource=network))
        subnetwork = compute_v1.Subnetwork(
            name=name,
            network=f"global/networks/{name}",
            ip_cidr_range="10.0.0.0/20",
            secondary_ip_ranges=[
                compute_v1.SubnetworkSecondaryRange(range_name="pods", ip_cidr_range="10.4.0.0/14"),
                compute_v1.SubnetworkSecondaryRange(range_name="services", ip_cidr_range="10.8.0.0/20"),
            ],
        )
        subnetworks = self.rest(compute_v1.SubnetworksClient)
        self.done(subnetworks.insert_unary(project=PROJECT, region=REGION, subnetwork_resource=subnetwork))
        return f"regions/{REGION}/subnetworks/{name}"

    def make_account(self, account_id: str) -> str:
        """Make a service account that has settled, and return its email."""
        iam = self.rpc(iam_admin_v1.IAMClient)
        made = iam.create_service_account(request={"name": f"projects/{PROJECT}", "account_id": account_id})
        self.pass_time(30)
        return str(made.email)

    def make_role(self, role_id: str, *permissions: str) -> str:
        """Make a custom role, and return its name."""
        iam = self.rpc(iam_admin_v1.IAMClient)
        role = {"title": role_id, "included_permissions": list(permissions), "stage": "GA"}
        request = {"parent": f"projects/{PROJECT}", "role_id": role_id, "role": role}
        return str(iam.create_role(request=request).name)

    def bind(self, role: str, *members: str, condition: str = "") -> None:
        """Grant a role on the project, and wait until it has effect."""
        projects = self.rpc(resourcemanager_v3.ProjectsClient)
        resource = f"projects/{PROJECT}"
        policy = projects.get_iam_policy(request={"resource": resource, "options": {"requested_policy_version": 3}})
        binding = policy.bindings.add(role=role, members=members)
        if condition:
            binding.condition.expression = condition
            binding.condition.title = "limited"
        policy.version = 3
        projects.set_iam_policy(request={"resource": resource, "policy": policy})
        self.pass_time(30)

    def member(self, account_id: str, *permissions: str, condition: str = "") -> Credentials:
        """Return credentials of a new service account that has exactly these permissions."""
        email = self.make_account(account_id)
        role = self.make_role(account_id.replace("-", "_"), *permissions)
        self.bind(role, f"serviceAccount:{email}", condition=condition)
        return self.credentials(email)

    def make_key(self, name: str = "byoc", *agents: str) -> str:
        """Make an encryption key that some services' agents may use; return its name."""
        kms = self.rpc(kms_v1.KeyManagementServiceClient)
        ring = f"{LOCATION}/keyRings/byoc"
        with contextlib.suppress(GoogleAPICallError):
            kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})
        key = {"purpose": "ENCRYPT_DECRYPT"}
        made = kms.create_crypto_key(parent=ring, crypto_key_id=name, crypto_key=key)
        # The storage service's agent comes into existence when it is first asked for.
        self.storage().get_service_account_email()
        for agent in agents or ("container", "compute", "storage"):
            policy = kms.get_iam_policy(request={"resource": made.name})
            policy.bindings.add(
                role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
                members=[self.google.cloud.identities.agent_of(agent, PROJECT)],
            )
            kms.set_iam_policy(request={"resource": made.name, "policy": policy})
        self.pass_time(30)
        return str(made.name)

    def cluster(self, **options: Any) -> container_v1.Cluster:
        """Return a cluster to be made in the network of `make_network`, as the product asks for it."""
        wanted: dict[str, Any] = {
            "name": "byoc-1",
            "network": f"projects/{PROJECT}/global/networks/byoc",
            "subnetwork": f"projects/{PROJECT}/regions/{REGION}/subnetworks/byoc",
            "initial_cluster_version": "1.34",
            "ip_allocation_policy": {
                "use_ip_aliases": True,
                "cluster_secondary_range_name": "pods",
                "services_secondary_range_name": "services",
            },
            "private_cluster_config": {"enable_private_nodes": True},
            "workload_identity_config": {"workload_pool": f"{PROJECT}.svc.id.goog"},
            "shielded_nodes": {"enabled": True},
            "release_channel": {"channel": "REGULAR"},
            "resource_labels": {"byoc": "managed"},
            "node_pools": [self.pool("system")],
        }
        return container_v1.Cluster(wanted | options)

    @staticmethod
    def pool(name: str, **options: Any) -> dict[str, Any]:
        """Return a node pool of one machine a zone."""
        config = {"machine_type": "n2-standard-2", "disk_size_gb": 50, "disk_type": "pd-balanced"}
        return {"name": name, "initial_node_count": 1, "config": config | options.pop("config", {})} | options

    def make_cluster(self, **options: Any) -> None:
        """Make a running cluster in a network of its own."""
        self.make_network()
        self.containers.create_cluster(parent=LOCATION, cluster=self.cluster(**options))
        self.pass_time(600)

    def names(self, service: str = "*", *, changed: bool | None = None) -> list[str]:
        """Return the operations of the journal."""
        return [call.operation for call in self.world.journal.calls(service=service, changed=changed)]


@contextlib.contextmanager
def refused(kind: type[GoogleAPICallError], text: str = "", *, reason: str = "") -> Iterator[None]:
    """Expect Google to answer with this error, a message that contains `text`, and an ErrorInfo's reason."""
    with pytest.raises(kind) as caught:
        yield
    assert text in caught.value.message, caught.value.message
    assert not reason or caught.value.reason == reason, (caught.value.reason, caught.value.errors)


@contextlib.contextmanager
def customer(speed: float = math.inf) -> Iterator[Customer]:
    """Serve a simulated Google Cloud with one empty project, and its clusters, while the context lasts."""
    world = World(Clock(speed))
    kubernetes = KubernetesSimulator(world)
    google = GoogleCloud(world, kubernetes)
    with serving(kubernetes, Server(google)):
        made = Customer(world, kubernetes, google)
        try:
            yield made
        finally:
            made.close()
