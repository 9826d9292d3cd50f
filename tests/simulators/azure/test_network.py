"""Networks and what surrounds them, by the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from tests.simulators.azure.conftest import GROUP, NETWORK, REGION, SUBSCRIPTION, Account
from tests.simulators.azure.test_authorization import define, grant
from tests.simulators.azure.test_resources import ADDRESS, NODES, make_network


def subnet(cidr: str, **further: Any) -> dict[str, Any]:
    """Return a subnet as it is written."""
    return {"properties": {"addressPrefix": cidr, **further}}


@pytest.mark.parametrize(
    ("cidr", "code"),
    [
        ("10.9.0.0/16", "NetcfgInvalidSubnet"),
        ("10.0.8.0/24", "NetcfgSubnetRangesOverlap"),
        ("10.0.300.0/24", "InvalidAddressPrefixFormat"),
    ],
)
def test_a_subnet_lies_in_its_network_beside_the_others(account: Account, cidr: str, code: str) -> None:
    """Outside, overlapping and malformed ranges are refused."""
    make_network(account)

    with pytest.raises(HttpResponseError, match=code):
        account.network().subnets.begin_create_or_update("byoc", "main", "more", subnet(cidr))


def test_subnets_are_of_their_network(account: Account) -> None:
    """They are made by themselves and with the network, and vanish when the network is written without them."""
    make_network(account)
    network = account.network()
    network.subnets.begin_create_or_update("byoc", "main", "more", subnet("10.0.16.0/24")).result()

    both = [entry.name for entry in network.virtual_networks.get("byoc", "main").subnets]
    after = [entry.name for entry in make_network(account).subnets]

    assert both == ["nodes", "more"]
    assert after == ["nodes"]
    assert [entry.name for entry in network.subnets.list("byoc", "main")] == ["nodes"]


def test_a_network_that_is_refused_is_not_there(account: Account) -> None:
    """A bad subnet lets no half of the network stay."""
    bad = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [{"name": "x", **subnet("10.1.0.0/24")}]}

    with pytest.raises(HttpResponseError, match="NetcfgInvalidSubnet"):
        account.network().virtual_networks.begin_create_or_update(
            "byoc", "main", {"location": REGION, "properties": bad}
        )

    assert [resource.type for resource in account.azure.inventory(SUBSCRIPTION)] == ["resource-group"]


def test_a_subnet_uses_a_security_group_and_a_route_table(account: Account) -> None:
    """Rules have ids and priorities of their own; both are kept while the subnet uses them."""
    make_network(account)
    network = account.network()
    rule = {
        "name": "https",
        "properties": {
            "priority": 100,
            "direction": "Inbound",
            "access": "Allow",
            "protocol": "Tcp",
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": "443",
        },
    }
    rules = {"location": REGION, "properties": {"securityRules": [rule]}}
    twice = {"location": REGION, "properties": {"securityRules": [rule, {**rule, "name": "again"}]}}
    route = {"name": "out", "properties": {"addressPrefix": "0.0.0.0/0", "nextHopType": "Internet"}}
    routes = {"location": REGION, "properties": {"routes": [route]}}
    groups, tables = network.network_security_groups, network.route_tables

    with pytest.raises(HttpResponseError, match="SecurityRuleConflict"):
        groups.begin_create_or_update("byoc", "nodes", twice)
    made = groups.begin_create_or_update("byoc", "nodes", rules).result()
    table = tables.begin_create_or_update("byoc", "nodes", routes).result()
    uses = {"networkSecurityGroup": {"id": made.id}, "routeTable": {"id": table.id}}
    network.subnets.begin_create_or_update("byoc", "main", "nodes", subnet("10.0.0.0/20", **uses)).result()

    assert made.security_rules[0].id == f"{made.id}/securityRules/https"
    assert table.routes[0].next_hop_type == "Internet"
    assert [entry.id for entry in groups.get("byoc", "nodes").subnets] == [NODES]
    with pytest.raises(HttpResponseError, match="InUseNetworkSecurityGroupCannotBeDeleted"):
        groups.begin_delete("byoc", "nodes")
    with pytest.raises(HttpResponseError, match="InUseRouteTableCannotBeDeleted"):
        tables.begin_delete("byoc", "nodes")


def test_public_addresses_differ_and_stay(account: Account) -> None:
    """Each has an address of its own, which a further write does not change; standard ones are static."""
    addresses = account.network().public_ip_addresses
    first = addresses.begin_create_or_update("byoc", "first", ADDRESS).result()
    second = addresses.begin_create_or_update("byoc", "second", ADDRESS).result()
    again = addresses.begin_create_or_update("byoc", "first", {**ADDRESS, "tags": {"a": "b"}}).result()

    assert first.ip_address
    assert first.ip_address != second.ip_address
    assert again.ip_address == first.ip_address
    with pytest.raises(HttpResponseError, match="StandardSkuPublicIPMustBeStatic"):
        addresses.begin_create_or_update(
            "byoc", "third", {**ADDRESS, "properties": {"publicIPAllocationMethod": "Dynamic"}}
        )


def test_a_nat_gateway_takes_standard_addresses_only(account: Account) -> None:
    """A basic one is refused."""
    network = account.network()
    basic = {"location": REGION, "properties": {}}
    made = network.public_ip_addresses.begin_create_or_update("byoc", "basic", basic).result()
    gateway = {"location": REGION, "properties": {"publicIpAddresses": [{"id": made.id}]}}

    with pytest.raises(HttpResponseError, match="NatGatewayPublicIpSkuNotSupported"):
        network.nat_gateways.begin_create_or_update("byoc", "nat", gateway)


def test_parts_of_a_load_balancer_have_ids(account: Account) -> None:
    """Frontends and pools can be referred to, and an address in a frontend is in use."""
    network = account.network()
    address = network.public_ip_addresses.begin_create_or_update("byoc", "front", ADDRESS).result()
    parts = {
        "frontendIPConfigurations": [{"name": "front", "properties": {"publicIPAddress": {"id": address.id}}}],
        "backendAddressPools": [{"name": "nodes"}],
    }
    balancer = {"location": REGION, "sku": {"name": "Standard"}, "properties": parts}

    made = network.load_balancers.begin_create_or_update("byoc", "outside", balancer).result()

    assert made.frontend_ip_configurations[0].id == f"{made.id}/frontendIPConfigurations/front"
    assert made.backend_address_pools[0].id == f"{made.id}/backendAddressPools/nodes"
    with pytest.raises(HttpResponseError, match="PublicIPAddressCannotBeDeleted"):
        network.public_ip_addresses.begin_delete("byoc", "front")


def test_a_private_endpoint_needs_the_approval_of_its_service(account: Account) -> None:
    """It is approved by itself for whoever may approve it there, and is refused to others."""
    make_network(account)
    target = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/backups"
    service = {"privateLinkServiceId": target, "groupIds": ["blob"]}
    endpoint = {
        "location": REGION,
        "properties": {
            "subnet": {"id": NODES},
            "privateLinkServiceConnections": [{"name": "backups", "properties": service}],
        },
    }
    _, credential = grant(account, define(account, "networks", "Microsoft.Network/*"))

    with pytest.raises(HttpResponseError, match="privateEndpointConnectionsApproval/action"):
        account.network(credential).private_endpoints.begin_create_or_update("byoc", "blob", endpoint)
    made = account.network().private_endpoints.begin_create_or_update("byoc", "blob", endpoint).result()

    state = made.private_link_service_connections[0].private_link_service_connection_state
    assert state.status == "Approved"
    with pytest.raises(HttpResponseError, match="InUseSubnetCannotBeDeleted"):
        account.network().subnets.begin_delete("byoc", "main", "nodes")


def test_a_network_without_space_is_refused(account: Account) -> None:
    """It has to say its ranges."""
    with pytest.raises(HttpResponseError, match="InvalidRequestFormat"):
        account.network().virtual_networks.begin_create_or_update(
            "byoc", "main", {"location": NETWORK["location"], "properties": {}}
        )
