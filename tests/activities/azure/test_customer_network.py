"""A network of the customer's own: verified, used, and left as it is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from activities.azure.connection import AzureConnections
from activities.azure.network import AzureNetwork
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.contracts import InNetwork
from domain.facts import Machine
from domain.failure import FailureClass
from domain.shape import PoolName
from tests.activities.azure.conftest import Account, activities_of
from tests.activities.azure.networks import DELETIONS, PLACEMENT, PLAN, order, own_network, theirs


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run."""
    return activities_of(AzureNetwork)(settings, connections)


@pytest.mark.parametrize("routes", [False, True])
def test_the_customers_own_network_is_used_and_left_alone(account: Account, routes: bool) -> None:
    """It is verified, and nothing in it is changed, by no step; it may lead out by a gateway or by routes."""
    existing = own_network(account, routes=routes)
    before = account.control.position()

    network = account.run("create_network", order(account.site, existing))
    inside = InNetwork(site=account.site, network=network)
    for step in ("create_firewall", "create_egress", "create_private_endpoints"):
        account.run(step, inside)
    for deletion in DELETIONS:
        account.run(deletion, account.site)

    assert not network.ours
    assert network.private_subnet_ids == existing.private_subnet_ids
    assert (network.pod_range, network.service_range) == (PLAN.pod_cidr, PLAN.service_cidr)
    assert account.changes(before) == []


def test_every_finding_about_the_customers_network_is_in_one_error(account: Account) -> None:
    """What is missing is said at once, so that it is mended at once."""
    existing = own_network(account, nat=False, ready=False)

    failure = account.failure("create_network", order(account.site, existing))

    assert failure.failure is FailureClass.CONFIG
    for finding in (
        "has 8 addresses, needs 16",
        "not delegated to Microsoft.ContainerService/managedClusters",
        "no service endpoints for Microsoft.KeyVault, Microsoft.Storage",
        "nothing leads out",
    ):
        assert finding in failure.message


def test_endpoints_that_the_customer_takes_away_are_asked_for(account: Account) -> None:
    """A network of the customer's own is not mended; who can is told."""
    existing = own_network(account)
    network = account.run("create_network", order(account.site, existing))
    client, group = theirs(account), "customer-network"
    nodes = client.subnets.get(group, group, "customer-subnet").as_dict(exclude_readonly=True)
    nodes["properties"].pop("serviceEndpoints")
    client.subnets.begin_create_or_update(group, group, "customer-subnet", nodes).result()

    failure = account.failure("create_private_endpoints", InNetwork(site=account.site, network=network))

    assert failure.failure is FailureClass.POLICY


def test_room_for_the_nodes_is_looked_for(account: Account) -> None:
    """As many as there may be, with one more of each pool for its renewal, AKS's own, and what Azure keeps."""
    existing = own_network(account)
    many = Machine(pool=PoolName.STORE, instance_type="Standard_D4s_v5", minimum=3, maximum=5000)
    placement = PLACEMENT.model_copy(update={"machines": (many,)})

    failure = account.failure("create_network", order(account.site, existing, placement))

    assert f"has 4096 addresses, needs {5000 + 1 + 3 + 1 + 5}" in failure.message
