"""One simulated Azure with all its planes, served on one loopback port."""

from __future__ import annotations

from simulators.azure.authorization import LOCK, AuthorizationLists, RoleAssignment, RoleDefinition
from simulators.azure.blob_plane import BlobPlane
from simulators.azure.cloud import Cloud
from simulators.azure.compute import Quotas
from simulators.azure.compute import kinds_of as compute_kinds
from simulators.azure.container.calls import Calls
from simulators.azure.container.clusters import ManagedCluster
from simulators.azure.container.fleet import Fleet
from simulators.azure.container.machines import Machines
from simulators.azure.container.maintenance import MaintenanceConfiguration
from simulators.azure.container.pools import AgentPool
from simulators.azure.customer_keys import CustomerKeys
from simulators.azure.dns import KINDS as DNS
from simulators.azure.dns import PublicRecords, RecordLists
from simulators.azure.durations import Delays, Durations
from simulators.azure.entra import Entra
from simulators.azure.front import Front
from simulators.azure.groups import Groups
from simulators.azure.inventory import inventory
from simulators.azure.kubernetes_provider import AzureProvider
from simulators.azure.managed_identity import FederatedIdentityCredential, UserAssignedIdentity
from simulators.azure.monitor import KINDS as MONITOR
from simulators.azure.names import Names
from simulators.azure.network import KINDS as NETWORK
from simulators.azure.operations import Operations
from simulators.azure.resource_manager import ResourceManager
from simulators.azure.resources import Resources
from simulators.azure.secret_reader import SecretReader
from simulators.azure.storage_accounts import Storage
from simulators.azure.storage_accounts import kinds_of as storage_kinds
from simulators.azure.vault_plane import VaultPlane
from simulators.azure.vaults import Vaults
from simulators.azure.vaults import kinds_of as vault_kinds
from simulators.azure.workloads import Workloads
from simulators.inventory import Resource
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World


class Azure:
    """Every subscription of one world."""

    def __init__(
        self,
        world: World,
        kubernetes: KubernetesSimulator | None = None,
        *,
        durations: Durations | None = None,
        delays: Delays | None = None,
    ) -> None:
        """`kubernetes` serves the clusters; without one they are there and nobody can reach them."""
        self.cloud = Cloud.make(world, durations, delays)
        self.kubernetes = kubernetes or KubernetesSimulator(world)
        operations = Operations(self.cloud)
        self.resources = Resources(self.cloud, operations)
        self.vaults = Vaults(self.cloud, operations)
        keys = CustomerKeys(self.cloud, self.vaults)
        self.storage = Storage(self.cloud, keys)
        self.resources.register(
            RoleDefinition(),
            RoleAssignment(),
            LOCK,
            UserAssignedIdentity(),
            FederatedIdentityCredential(),
            *NETWORK,
            *MONITOR,
            *DNS,
            *compute_kinds(keys),
            *vault_kinds(self.vaults),
            *storage_kinds(self.storage),
        )
        groups = Groups(self.cloud, self.resources, operations)
        self.quotas = Quotas(self.cloud)
        self.public_records = PublicRecords(self.cloud)
        self.entra = Entra(self.cloud)
        self.certificates = VaultPlane(self.cloud, self.vaults)
        self.blobs = BlobPlane(self.cloud, self.storage)
        machines = Machines(self.cloud, self.resources, self.quotas, self.kubernetes)
        self.fleet = Fleet(self.cloud, self.entra, machines, self.kubernetes)
        workloads = Workloads(self.cloud, self.entra, self.kubernetes)
        secrets = SecretReader(self.cloud, self.vaults, self.certificates.certificates)
        self.provider = AzureProvider(self.cloud, self.fleet, machines, self.blobs, workloads, secrets)
        self.fleet.provider = self.provider
        self.names = Names(self.public_records, self.provider, self.cloud.work)
        pools = AgentPool(machines=machines)
        cluster = ManagedCluster(fleet=self.fleet, machines=machines, pools=pools, vaults=self.vaults)
        self.resources.register(cluster, pools, MaintenanceConfiguration())
        routes = (
            *groups.routes(),
            *AuthorizationLists(self.cloud).routes(),
            *self.quotas.routes(),
            *RecordLists(self.cloud, self.resources).routes(),
            *self.vaults.routes(),
            *Calls(self.cloud, self.fleet, operations).routes(),
        )
        manager = ResourceManager(self.cloud, self.resources, routes)
        self._front = Front(self.cloud, (self.entra, self.certificates, self.blobs, manager))

    @property
    def url(self) -> str:
        """HTTP: every host of Azure, told apart by `Host`."""
        return self._front.url

    async def start(self, port: int = 0) -> None:
        """Serve on 127.0.0.1."""
        await self._front.start(port)

    async def stop(self) -> None:
        """Stop serving; the subscriptions keep what they hold."""
        await self._front.stop()

    def inventory(self, subscription: str) -> list[Resource]:
        """Return everything that a subscription holds."""
        self.cloud.work.settle()
        return list(inventory(self.cloud, self.vaults, self.storage, self.provider, subscription))

    def reset(self) -> None:
        """Forget every subscription; the Kubernetes simulator forgets its clusters itself."""
        self.provider.forget()
        for plane in self._front.planes:
            plane.forget()
        self.quotas.forget()
        self.cloud.forget()
