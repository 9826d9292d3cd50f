"""Azure in the simulators' own process: the vendor, the customer and the control API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from activities.azure.transport import LoopbackTransport
from simulators.azure.documents import AzureAssignment, AzureOwnNetwork, AzureQuota, AzureRole, AzureTemplate
from simulators.control_client import ControlClient, ControlError
from simulators.endpoints import Endpoints
from simulators.launch import running_simulators
from tests.simulators.azure.conftest import REGION, SUBSCRIPTION

GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
ACTIONS = (f"{GROUPS}/read", f"{GROUPS}/write", "Microsoft.Network/*/read", "Microsoft.Compute/*/read")


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Endpoints]:
    """The simulators, with Azure among them."""
    with running_simulators(azure=True) as served:
        yield served


@pytest.fixture
def control(endpoints: Endpoints) -> Iterator[ControlClient]:
    """The control API of a fresh world."""
    client = ControlClient(endpoints.control_url)
    client.reset()
    yield client
    client.close()


class Vendor:
    """The control plane's way into a customer's subscription, with one role there."""

    def __init__(self, endpoints: Endpoints, control: ControlClient) -> None:
        self._endpoints = endpoints
        self.application = control.azure_vendor().applications["operate"]
        self.template = AzureTemplate(
            providers=("Microsoft.Network", "Microsoft.Compute"),
            roles=(AzureRole(name="byoc-operate", actions=ACTIONS),),
            assignments=(AzureAssignment(role="byoc-operate", client_id=self.application.client_id),),
        )
        self.outputs = control.subscription(SUBSCRIPTION).apply_template(self.template)

    def client(self, kind: Any) -> Any:
        """Return a client of the SDK."""
        options: Any = {"transport": LoopbackTransport(self._endpoints.azure_url), "retry_total": 0}
        credential = ClientSecretCredential(
            self.outputs.tenant,
            self.application.client_id,
            self.application.client_secret,
            disable_instance_discovery=True,
            **options,
        )
        return kind(credential, SUBSCRIPTION, polling_interval=0, **options)


@pytest.fixture
def vendor(endpoints: Endpoints, control: ControlClient) -> Vendor:
    """A vendor that the customer has let in."""
    return Vendor(endpoints, control)


def test_the_template_lets_the_vendor_in(control: ControlClient, vendor: Vendor) -> None:
    """The application does what its role allows; inventory, journal and log of permissions know of it."""
    groups = vendor.client(ResourceManagementClient).resource_groups
    groups.create_or_update("byoc", {"location": REGION, "tags": {"byoc": "acme"}})

    found = {resource.name: resource for resource in control.inventory(SUBSCRIPTION)}
    needed = {entry.action: entry for entry in control.authorizations(SUBSCRIPTION)}

    assert found["byoc"].tags == {"byoc": "acme"}
    assert needed[f"{GROUPS}/write"].allowed
    assert needed[f"{GROUPS}/write"].principal == "app:byoc-operate"


def test_the_customer_takes_an_action_away_and_gives_it_back(control: ControlClient, vendor: Vendor) -> None:
    """The role is changed in the subscription, so the next call sees it."""
    groups, customer = vendor.client(ResourceManagementClient).resource_groups, control.subscription(SUBSCRIPTION)

    customer.deny("byoc-operate", f"{GROUPS}/write")
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        groups.create_or_update("byoc", {"location": REGION})
    customer.allow("byoc-operate", f"{GROUPS}/write")

    assert groups.create_or_update("byoc", {"location": REGION}).name == "byoc"
    with pytest.raises(ControlError, match="was not taken away"):
        customer.allow("byoc-operate", f"{GROUPS}/write")
    with pytest.raises(ControlError, match="does not grant"):
        customer.deny("byoc-operate", "Microsoft.Storage/everything")
    with pytest.raises(ControlError, match="has no role"):
        customer.deny("other", f"{GROUPS}/write")


def test_without_the_template_nothing_is_allowed(control: ControlClient, vendor: Vendor) -> None:
    """Role and assignment are gone; applied again, they are back."""
    groups, customer = vendor.client(ResourceManagementClient).resource_groups, control.subscription(SUBSCRIPTION)
    groups.create_or_update("byoc", {"location": REGION})

    customer.delete_template()
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        groups.get("byoc")
    left = {resource.type for resource in control.inventory(SUBSCRIPTION)}
    customer.apply_template(vendor.template)

    assert left == {"resource-group"}
    assert groups.get("byoc").name == "byoc"


def test_the_customer_makes_a_network_and_has_limits(control: ControlClient, vendor: Vendor) -> None:
    """Both can be read by the vendor."""
    customer = control.subscription(SUBSCRIPTION)
    facts = customer.make_network(AzureOwnNetwork(region=REGION))
    customer.set_quota(AzureQuota(region=REGION, name="cores", limit=4))

    subnet = vendor.client(NetworkManagementClient).subnets.get(
        "customer-network", "customer-network", "customer-subnet"
    )
    usages = {usage.name.value: usage.limit for usage in vendor.client(ComputeManagementClient).usage.list(REGION)}

    assert subnet.id == facts.subnet
    assert subnet.nat_gateway.id.endswith("/natGateways/nat")
    assert usages["cores"] == 4


def test_a_reset_forgets_every_subscription(control: ControlClient, vendor: Vendor) -> None:
    """The vendor's old application opens nothing any more."""
    control.reset()

    with pytest.raises(ClientAuthenticationError):
        vendor.client(ResourceManagementClient).resource_groups.get("byoc")
    assert control.azure_vendor().applications["operate"].client_id != vendor.application.client_id


def test_a_subscription_is_a_guid(control: ControlClient) -> None:
    """Anything else is refused."""
    with pytest.raises(ControlError, match="GUID"):
        control.subscription("acme").delete_template()
