"""One simulated Azure with all its planes, served on one loopback port."""

from __future__ import annotations

from simulators.azure.authorization import LOCK, AuthorizationLists, RoleAssignment, RoleDefinition
from simulators.azure.cloud import Cloud
from simulators.azure.compute import KINDS as COMPUTE
from simulators.azure.compute import Quotas
from simulators.azure.durations import Delays, Durations
from simulators.azure.entra import Entra
from simulators.azure.front import Front
from simulators.azure.groups import Groups
from simulators.azure.inventory import inventory
from simulators.azure.managed_identity import FederatedIdentityCredential, UserAssignedIdentity
from simulators.azure.network import KINDS as NETWORK
from simulators.azure.operations import Operations
from simulators.azure.resource_manager import ResourceManager
from simulators.azure.resources import Resources
from simulators.inventory import Resource
from simulators.world import World


class Azure:
    """Every subscription of one world."""

    def __init__(self, world: World, *, durations: Durations | None = None, delays: Delays | None = None) -> None:
        self.cloud = Cloud.make(world, durations, delays)
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
        routes = (*groups.routes(), *AuthorizationLists(self.cloud).routes(), *self.quotas.routes())
        self.entra = Entra(self.cloud)
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
        """Forget every subscription."""
        for plane in self._front.planes:
            plane.forget()
        self.quotas.forget()
        self.cloud.forget()
