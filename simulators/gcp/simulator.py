"""One simulated Google Cloud with all its services, served on two loopback ports: HTTP and gRPC."""

from __future__ import annotations

from simulators.gcp.certificates import CertificateManager
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.service import ComputeService
from simulators.gcp.container.service import ContainerService
from simulators.gcp.dns import DnsService
from simulators.gcp.durations import Delays, Durations
from simulators.gcp.front import Front
from simulators.gcp.http_server import HttpServer
from simulators.gcp.iam.credentials import CredentialsService
from simulators.gcp.iam.service import IamService
from simulators.gcp.inventory import inventory
from simulators.gcp.kms import KmsService
from simulators.gcp.kubernetes_provider import GcpProvider
from simulators.gcp.log_routing import LoggingService
from simulators.gcp.monitoring import MonitoringService
from simulators.gcp.names import Names
from simulators.gcp.operations import LongRunning
from simulators.gcp.resource_manager import ResourceManager
from simulators.gcp.rpc_server import RpcServer
from simulators.gcp.service_usage import ServiceUsage
from simulators.gcp.storage.service import StorageService
from simulators.inventory import Resource
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World


class GoogleCloud:
    """Every project of one world."""

    def __init__(
        self,
        world: World,
        kubernetes: KubernetesSimulator,
        *,
        durations: Durations | None = None,
        delays: Delays | None = None,
    ) -> None:
        self.cloud = Cloud.make(world, durations, delays)
        operations = LongRunning(self.cloud)
        self.kms = KmsService(self.cloud)
        self.compute = ComputeService(self.cloud, self.kms)
        self.storage = StorageService(self.cloud, self.kms)
        self.dns = DnsService(self.cloud)
        self.certificates = CertificateManager(self.cloud, self.dns, operations)
        self.monitoring = MonitoringService(self.cloud)
        self.logging = LoggingService(self.cloud, self.kms)
        self.containers = ContainerService(self.cloud, self.compute, self.kms, kubernetes)
        self.certificates.presented_by = self.compute.presenting
        self.provider = GcpProvider(
            self.cloud, self.compute, self.containers, self.storage.buckets, self.certificates, kubernetes
        )
        self.containers.provider = self.provider
        self.names = Names(self.dns, self.certificates, self.provider, self.cloud.work)
        self._front = Front(
            self.cloud,
            (
                CredentialsService(self.cloud),
                IamService(self.cloud),
                ResourceManager(self.cloud),
                ServiceUsage(self.cloud, operations),
                operations,
                self.compute,
                self.containers,
                self.kms,
                self.storage,
                self.dns,
                self.certificates,
                self.monitoring,
                self.logging,
            ),
        )
        self._http = HttpServer(self._front)
        self._rpc = RpcServer(self._front)

    @property
    def url(self) -> str:
        """HTTP: compute, storage, DNS, tokens."""
        return self._http.url

    @property
    def grpc_address(self) -> str:
        """Host and port of gRPC, for local channel credentials: everything else."""
        return self._rpc.address

    async def start(self, port: int = 0, grpc_port: int = 0) -> None:
        """Serve on 127.0.0.1."""
        await self._http.start(port)
        await self._rpc.start(grpc_port)

    async def stop(self) -> None:
        """Stop serving; the projects keep what they hold."""
        await self._rpc.stop()
        await self._http.stop()

    def inventory(self, project: str) -> list[Resource]:
        """Return everything that a project holds."""
        self.cloud.work.settle()
        return list(inventory(self, project))

    def reset(self) -> None:
        """Forget every project; the Kubernetes simulator forgets its clusters itself."""
        self.provider.forget()
        for service in self._front.services:
            service.forget()
        self.cloud.forget()
