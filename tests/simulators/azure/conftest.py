"""A simulated Azure with one subscription, and clients of the real SDKs for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.identity import ClientAssertionCredential, ClientSecretCredential
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from activities.azure.transport import LoopbackTransport
from simulators.azure.identities import Application
from simulators.azure.simulator import Azure
from simulators.clock import Clock
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World
from tests.simulators.serving import serving

SUBSCRIPTION = "00000000-0000-0000-0000-0000000000aa"
REGION = "westeurope"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/byoc"
NETWORKS = f"{GROUP}/providers/Microsoft.Network"
NETWORK: dict[str, Any] = {
    "location": REGION,
    "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "subnets": [{"name": "nodes", "properties": {"addressPrefix": "10.0.0.0/20"}}],
    },
}
NAMESPACES = tuple(
    f"microsoft.{name}"
    for name in ("network", "compute", "managedidentity", "containerservice", "keyvault", "storage", "insights")
)


class Owner:
    """The owner of the subscription."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the owner's token."""
        return AccessToken(f"owner:{SUBSCRIPTION}", int(time.time()) + 3600)


class Account:
    """The subscription, by the SDKs."""

    def __init__(self, azure: Azure) -> None:
        self.azure = azure
        self._opened: list[Any] = []

    @property
    def tenant(self) -> str:
        """The subscription's tenant."""
        return self.azure.cloud.identities.subscriptions[SUBSCRIPTION].tenant

    def client(self, kind: Any, credential: Any = None, **options: Any) -> Any:
        """Return a client of the SDK that is as in production, but for its transport; by default the owner's."""
        transport = LoopbackTransport(self.azure.url)
        made = kind(
            credential or Owner(), SUBSCRIPTION, transport=transport, retry_total=0, polling_interval=0, **options
        )
        self._opened.append(made)
        return made

    def network(self, credential: Any = None) -> Any:
        """Return a client for networks."""
        return self.client(NetworkManagementClient, credential)

    def resources(self, credential: Any = None) -> Any:
        """Return a client for groups."""
        return self.client(ResourceManagementClient, credential)

    def application(self) -> tuple[Application, Any]:
        """Let a new application of the vendor into the tenant; return it and its credential."""
        made = self.azure.cloud.identities.add_application("operate")
        self.azure.cloud.identities.consent(self.tenant, made.client_id)
        return made, self.credential(made.client_id, made.secret)

    def credential(self, client_id: str, secret: str) -> Any:
        """Return an application's credential, by its secret."""
        return self._kept(ClientSecretCredential(self.tenant, client_id, secret, **self._entra()))

    def assertion(self, client_id: str, assertion: Callable[[], str]) -> Any:
        """Return the credential of a client that has a signed token instead of a secret."""
        return self._kept(ClientAssertionCredential(self.tenant, client_id, assertion, **self._entra()))

    def principal(self, application: Application) -> str:
        """Return the object id of an application in the tenant."""
        found = self.azure.cloud.identities.by_client(self.tenant, application.client_id)
        assert found is not None
        return found.object_id

    def close(self) -> None:
        """Close every connection."""
        for opened in self._opened:
            opened.close()

    def _entra(self) -> dict[str, Any]:
        transport = LoopbackTransport(self.azure.url)
        return {"transport": transport, "disable_instance_discovery": True, "retry_total": 0}

    def _kept(self, credential: Any) -> Any:
        self._opened.append(credential)
        return credential


def serve(speed: float) -> Iterator[Account]:
    """Serve an Azure with one subscription and one group in it."""
    world = World(Clock(speed))
    kubernetes = KubernetesSimulator(world)
    azure = Azure(world, kubernetes)
    azure.cloud.subscription_ready(SUBSCRIPTION)
    azure.cloud.identities.subscriptions[SUBSCRIPTION].registered.update(NAMESPACES)
    with serving(kubernetes, azure):
        account = Account(azure)
        account.resources().resource_groups.create_or_update("byoc", {"location": REGION})
        yield account
        account.close()


@pytest.fixture
def account() -> Iterator[Account]:
    """A subscription where everything is finished at once."""
    yield from serve(math.inf)


@pytest.fixture
def slow_account() -> Iterator[Account]:
    """A subscription in which time passes as in reality; tests let it jump."""
    yield from serve(1.0)
