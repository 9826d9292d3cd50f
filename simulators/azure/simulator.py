"""One simulated Azure with all its planes, served on one loopback port."""

from __future__ import annotations

from simulators.azure.authorization import LOCK, AuthorizationLists, RoleAssignment, RoleDefinition
from simulators.azure.cloud import Cloud
from simulators.azure.compute import KINDS as COMPUTE
from simulators.azure.compute import Quotas
from simulators.azure.container.calls import Calls
from simulators.azure.container.clusters import ManagedCluster
from simulators.azure.container.fleet import Fleet
from simulators.azure.container.machines import Machines
from simulators.azure.container.pools import AgentPool
from simulators.azure.durations import Delays, Durations
from simulators.azure.entra import Entra
from simulators.azure.front import Front
from simulators.azure.groups import Groups
from simulators.azure.inventory import inventory
from simulators.azure.kubernetes_provider import AzureProvider
from simulators.azure.managed_identity import FederatedIdentityCredential, UserAssignedIdentity
from simulators.azure.network import KINDS as NETWORK
from simulators.azure.operations import Operations
from simulators.azure.resource_manager import ResourceManager
from simulators.azure.resources import Resources
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
        self.resources.register(
            RoleDefinition(),
            RoleAssignment(),
            LOCK,
            UserAssignedIdentity(),
            FederatedIdentityCredential(),
            *NETWORK,
            *COMPUTE,
        )
        groups = Groups(self.cloud, self.resources, operations)
        self.quotas = Quotas(self.cloud)
        self.entra = Entra(self.cloud)
        machines = Machines(self.cloud, self.resources, self.quotas, self.kubernetes)
        self.fleet = Fleet(self.cloud, self.entra, machines, self.kubernetes)
        self.provider = AzureProvider(self.cloud, self.fleet, machines)
        self.fleet.provider = self.provider
        pools = AgentPool(machines=machines)
        self.resources.register(ManagedCluster(fleet=self.fleet, machines=machines, pools=pools), pools)
        routes = (
            *groups.routes(),
            *AuthorizationLists(self.cloud).routes(),
            *self.quotas.routes(),
            *Calls(self.cloud, self.fleet).routes(),
        )
        self._front = Front(self.cloud, (self.entra, ResourceManager(self.cloud, self.resources, routes)))

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
        return list(inventory(self.cloud, subscription))

    def reset(self) -> None:
        """Forget every subscription; the Kubernetes simulator forgets its clusters itself."""
        self.provider.forget()
        for plane in self._front.planes:
            plane.forget()
        self.quotas.forget()
        self.cloud.forget()
