"""Azure's SDKs against the simulator: groups, networks, identity, permissions and faults."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import ClientSecretCredential
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from simulators.azure.simulator import Azure
from simulators.azure.transport import LoopbackTransport
from simulators.clock import Clock
from simulators.faults import Fault, FaultKind
from simulators.world import World
from tests.simulators.serving import serving

SUBSCRIPTION = "00000000-0000-0000-0000-0000000000aa"
NETWORK = {
    "location": "westeurope",
    "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "subnets": [{"name": "nodes", "properties": {"addressPrefix": "10.0.0.0/20"}}],
    },
}


class Owner:
    """The owner of the subscription."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the owner's token."""
        return AccessToken(f"owner:{SUBSCRIPTION}", int(time.time()) + 3600)


@pytest.fixture
def azure() -> Iterator[Azure]:
    """An Azure with one subscription that is registered for networks, where everything is finished at once."""
    made = Azure(World(Clock(math.inf)))
    made.cloud.subscription_ready(SUBSCRIPTION)
    made.cloud.identities.subscriptions[SUBSCRIPTION].registered.add("microsoft.network")
    with serving(made):
        yield made


def client(azure: Azure, kind: Any, credential: Any = None) -> Any:
    """Return a client of the SDK that is as in production, but for its transport."""
    transport = LoopbackTransport(azure.url)
    return kind(credential or Owner(), SUBSCRIPTION, transport=transport, retry_total=0, polling_interval=0)


def make_group(azure: Azure) -> None:
    """Make the group of the tests."""
    client(azure, ResourceManagementClient).resource_groups.create_or_update("byoc", {"location": "westeurope"})


def test_a_group_is_deleted_with_everything_in_it(azure: Azure) -> None:
    """A network is made, found, and gone with its group."""
    make_group(azure)
    networks = client(azure, NetworkManagementClient).virtual_networks

    made = networks.begin_create_or_update("byoc", "main", NETWORK).result()
    held = {resource.type for resource in azure.inventory(SUBSCRIPTION)}
    client(azure, ResourceManagementClient).resource_groups.begin_delete("byoc").result()

    assert made.subnets[0].name == "nodes"
    assert held == {"resource-group", "virtual-network", "subnet"}
    assert azure.inventory(SUBSCRIPTION) == []


def test_a_namespace_has_to_be_registered(azure: Azure) -> None:
    """An unregistered namespace refuses to make anything."""
    azure.cloud.identities.subscriptions[SUBSCRIPTION].registered.discard("microsoft.network")
    make_group(azure)

    with pytest.raises(HttpResponseError) as caught:
        client(azure, NetworkManagementClient).virtual_networks.begin_create_or_update("byoc", "main", NETWORK)

    assert caught.value.error is not None
    assert caught.value.error.code == "MissingSubscriptionRegistration"


def test_throttling_is_429_with_a_time_to_wait(azure: Azure) -> None:
    """A fault is answered in Azure's shape, and changes nothing."""
    azure.cloud.world.faults.add(Fault(kind=FaultKind.THROTTLE, operation="virtualNetworks/write"))
    make_group(azure)

    with pytest.raises(HttpResponseError) as caught:
        client(azure, NetworkManagementClient).virtual_networks.begin_create_or_update("byoc", "main", NETWORK)

    assert caught.value.status_code == 429
    assert caught.value.response is not None
    assert caught.value.response.headers["Retry-After"] == "1"


def test_an_application_enters_only_tenants_that_let_it_in(azure: Azure) -> None:
    """Its token comes after consent; without a role it is refused in Azure's words."""
    application = azure.cloud.identities.add_application("operate")
    tenant = azure.cloud.identities.subscriptions[SUBSCRIPTION].tenant
    options: Any = {"transport": LoopbackTransport(azure.url), "disable_instance_discovery": True, "retry_total": 0}
    early = ClientSecretCredential(tenant, application.client_id, application.secret, **options)

    with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
        early.get_token("https://management.azure.com/.default")
    azure.cloud.identities.consent(tenant, application.client_id)
    # A credential remembers for a minute that it was refused.
    credential = ClientSecretCredential(tenant, application.client_id, application.secret, **options)
    with pytest.raises(HttpResponseError) as caught:
        client(azure, ResourceManagementClient, credential).resource_groups.get("byoc")

    assert caught.value.error is not None
    assert caught.value.error.code == "AuthorizationFailed"
