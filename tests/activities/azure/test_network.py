"""The network: made once, adopted, put back, verified where it is the customer's own, and taken away."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from activities.azure.connection import AzureConnections
from activities.azure.groups import EMPTYING, group_name
from activities.azure.ids import name_of
from activities.azure.network import AzureNetwork
from activities.azure.own_network import NODES, SERVER, subnet_id, vnet_id
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.contracts import InNetwork
from activities.needs import declared
from domain.addresses import plan_overlaid_subnets
from domain.deployment import NetworkSpec
from domain.facts import Network
from domain.failure import FailureClass
from domain.naming import base_name
from simulators.faults import FaultKind
from tests.activities.azure.conftest import REGION, Account, activities_of
from tests.activities.azure.networks import DELETIONS, order, own_network, theirs


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run."""
    return activities_of(AzureNetwork)(settings, connections)


def make(account: Account, run: Any = None) -> Network:
    """Make everything around the network."""
    run = run or account.run
    network: Network = run("create_network", order(account.site))
    inside = InNetwork(site=account.site, network=network)
    run("create_firewall", inside)
    run("create_egress", inside)
    run("create_private_endpoints", inside)
    return network


@pytest.fixture
def network(account: Account) -> Network:
    """The deployment's network, whole."""
    return make(account)


def subnet(account: Account, name: str) -> Any:
    """Return a subnet of ours as the customer sees it."""
    return theirs(account).subnets.get(group_name(account.site), base_name(account.site), name)


def test_the_network_has_the_planned_ranges(account: Account, network: Network) -> None:
    """Nodes and API server have theirs; those of pods and services go on to the cluster."""
    nodes, server = subnet(account, NODES), subnet(account, SERVER)

    assert network.network_id == vnet_id(account.site)
    assert network.private_subnet_ids == (subnet_id(account.site, NODES),)
    assert network.public_subnet_ids == (subnet_id(account.site, SERVER),)
    assert (nodes.address_prefix, server.address_prefix) == ("10.64.0.0/19", "10.64.224.0/24")
    assert [each.service_name for each in server.delegations] == ["Microsoft.ContainerService/managedClusters"]
    assert {each.service for each in nodes.service_endpoints} == {"Microsoft.Storage", "Microsoft.KeyVault"}
    assert (network.pod_range, network.service_range) == ("10.244.0.0/16", "10.245.0.0/16")


def test_nodes_go_out_by_one_address_of_their_own(account: Account, network: Network) -> None:
    """The gateway has an address of all zones that stays, and serves the nodes' subnet alone."""
    (gateway,) = theirs(account).nat_gateways.list(group_name(account.site))
    (address,) = theirs(account).public_ip_addresses.list(group_name(account.site))

    assert [each.id for each in gateway.public_ip_addresses] == [address.id]
    assert (address.sku.name, address.zones, address.public_ip_allocation_method) == (
        "Standard", ["1", "2", "3"], "Static"
    )  # fmt: skip
    assert subnet(account, NODES).nat_gateway.id == gateway.id
    assert subnet(account, SERVER).nat_gateway is None
    assert address.tags["byoc:deployment"] == account.site.deployment


def test_only_the_cluster_its_clients_and_probes_come_in(account: Account, network: Network) -> None:
    """Whatever no rule lets in is denied, before the rule of Azure's that lets in connected networks."""
    (group,) = theirs(account).network_security_groups.list(group_name(account.site))
    rules = {rule.name: rule for rule in group.security_rules}

    assert subnet(account, NODES).network_security_group.id == group.id
    assert {rule.direction for rule in rules.values()} == {"Inbound"}
    assert set(rules["cluster"].source_address_prefixes) == {"10.64.0.0/19", "10.64.224.0/24", "10.244.0.0/16"}
    assert rules["clients"].source_address_prefix == "Internet"
    assert rules["clients"].destination_port_ranges == ["443", "8443"]
    assert rules["probes"].source_address_prefix == "AzureLoadBalancer"
    assert [rule.name for rule in rules.values() if rule.access == "Deny"] == ["closed"]
    assert rules["closed"].priority == max(rule.priority for rule in rules.values())


def test_every_part_keeps_what_the_others_have_made(account: Account, network: Network) -> None:
    """The nodes' subnet has its way out, its firewall and its endpoints, in whatever order they came."""
    inside = InNetwork(site=account.site, network=network)
    change(account, natGateway=None, networkSecurityGroup=None, serviceEndpoints=[])

    account.run("create_private_endpoints", inside)
    account.run("create_egress", inside)
    account.run("create_firewall", inside)

    nodes = subnet(account, NODES)
    assert nodes.nat_gateway
    assert nodes.network_security_group
    assert len(nodes.service_endpoints) == 2


def test_what_somebody_changed_is_put_back(account: Account, network: Network) -> None:
    """Rules, gateway, delegation, endpoints and tags are as before after the next run."""
    client, group = theirs(account), group_name(account.site)
    (rules,) = client.network_security_groups.list(group)
    rules.security_rules[0].source_address_prefixes = ["0.0.0.0/0"]
    client.network_security_groups.begin_create_or_update(group, rules.name, rules).result()
    (gateway,) = client.nat_gateways.list(group)
    other = {"location": REGION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    address = client.public_ip_addresses.begin_create_or_update(group, "other", other).result()
    gateway.public_ip_addresses = [{"id": address.id}]
    client.nat_gateways.begin_create_or_update(group, gateway.name, gateway).result()
    change(account, serviceEndpoints=[], natGateway=None)
    server = subnet(account, SERVER)
    server.delegations = []
    client.subnets.begin_create_or_update(group, base_name(account.site), SERVER, server).result()
    tags = dict(client.virtual_networks.get(group, base_name(account.site)).tags) | {
        "byoc:generation": "7",
        "cost": "1",
    }
    client.virtual_networks.update_tags(group, base_name(account.site), {"tags": tags})

    make(account)

    (rules,) = client.network_security_groups.list(group)
    (gateway,) = client.nat_gateways.list(group)
    assert "0.0.0.0/0" not in rules.security_rules[0].source_address_prefixes
    assert [name_of(each.id) for each in gateway.public_ip_addresses] == [f"{base_name(account.site)}-egress"]
    assert subnet(account, NODES).nat_gateway.id == gateway.id
    assert len(subnet(account, NODES).service_endpoints) == 2
    assert len(subnet(account, SERVER).delegations) == 1
    tags = client.virtual_networks.get(group, base_name(account.site)).tags
    assert (tags["byoc:generation"], tags["cost"]) == ("1", "1")


def test_ranges_of_a_network_in_use_are_not_changed(account: Account, network: Network) -> None:
    """Another plan than the one it was made by is refused, with what there is."""
    other = plan_overlaid_subnets(NetworkSpec(cidr="10.128.0.0/16").cidr)
    request = order(account.site).model_copy(update={"addresses": other})

    failure = account.failure("create_network", request)

    assert failure.failure is FailureClass.CONFIG
    assert "10.64.0.0/16, not 10.128.0.0/16" in failure.message


@pytest.mark.parametrize("kind", ["virtualNetworks", "natGateways", "networkSecurityGroups"])
def test_what_azure_failed_to_make_is_written_again(account: Account, kind: str) -> None:
    """An operation that fails later leaves a resource that says so; the next look writes it once more."""
    account.inject(FaultKind.CRASH, f"{kind}/write", times=1)

    make(account, account.run_through)

    client = theirs(account)
    made = client.virtual_networks.get(group_name(account.site), base_name(account.site))
    assert made.provisioning_state == "Succeeded"
    assert subnet(account, NODES).nat_gateway


@contextmanager
def time_as_it_is(account: Account) -> Iterator[None]:
    """Let time in the simulated world pass as in ours; then an hour passes, and all is finished at once again."""
    account.control.set_speed(1)
    try:
        yield
    finally:
        account.control.set_speed(360_000)
        time.sleep(0.01)
        account.control.set_speed(math.inf)


def test_a_group_that_is_on_its_way_out_is_waited_for(account: Account) -> None:
    """The next generation's network comes once the former one's group is gone."""
    account.run("create_network", order(account.site))
    theirs(account).virtual_networks.begin_delete(group_name(account.site), base_name(account.site)).result()
    with time_as_it_is(account):
        leaving = account.attempt_once("delete_network", account.site)
        meanwhile = account.attempt_once("create_network", order(account.site))
    account.run("delete_network", account.site)

    assert [each.failure for each in (leaving, meanwhile) if each] == [FailureClass.NOT_READY, FailureClass.CONFLICT]
    assert account.resources() == []


def test_what_is_declared_is_what_is_called(account: Account, network: Network) -> None:
    """Making, converging and deleting needs each declared action, and no other."""
    theirs(account).subnets.begin_delete(group_name(account.site), base_name(account.site), SERVER).result()
    change(account, serviceEndpoints=[], networkSecurityGroup=None)
    assert make(account) == network
    change(account, natGateway=None)
    assert make(account) == network
    existing = own_network(account, routes=True)
    account.run("create_network", order(account.site, existing))
    for deletion in DELETIONS:
        account.run_through(deletion, account.site)

    for name in ("create_network", "create_firewall", "create_egress", "create_private_endpoints", *DELETIONS):
        wanted, used = {need.action for need in declared([account.activities[name]])}, account.used_by(name)
        # The group goes with the last thing in it, whatever that is.
        assert used <= wanted, name
        assert wanted - used <= ({EMPTYING[0]} if name in DELETIONS[:-1] else set()), name


def change(account: Account, **properties: Any) -> None:
    """Let the customer change properties of the nodes' subnet; None takes one away."""
    where = (group_name(account.site), base_name(account.site), NODES)
    client = theirs(account).subnets
    document = client.get(*where).as_dict(exclude_readonly=True)
    document["properties"] = {k: v for k, v in (document["properties"] | properties).items() if v is not None}
    client.begin_create_or_update(*where, document).result()
