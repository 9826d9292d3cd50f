"""A network of the customer's own, verified for what a deployment needs and never changed."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from azure.mgmt.network import NetworkManagementClient

from activities.azure.existing import if_exists
from activities.azure.ids import group_of, name_of, same_id, subscription_scope
from activities.azure.machines import SYSTEM_POOL
from activities.azure.subnets import (
    ENDPOINTS,
    SERVER_DELEGATION,
    delegations_of,
    endpoints_of,
    network_of,
    range_of,
)
from activities.contracts import NetworkRequest
from activities.failures import refused
from domain.deployment import ExistingNetwork, Site
from domain.facts import Network, Placement
from domain.failure import FailureClass

_RESERVED = 5
"""Addresses of a subnet that Azure keeps for itself (Virtual Network, "Frequently asked questions")."""
_LEAST_FOR_SERVER = 16
"""The least that AKS accepts for an API server: a /28 (AKS, "API Server VNet Integration")."""
_ANYWHERE = "0.0.0.0/0"


def verified_network(client: NetworkManagementClient, site: Site, request: NetworkRequest) -> Network:
    """Return the customer's network with its subnets, which have room for all nodes of the placement.

    Raises:
        ApplicationError: CONFIG if something is not as it has to be; the message names every finding.
    """
    existing = request.network.existing
    assert existing is not None
    name = name_of(existing.network_id)
    network = None
    if existing.network_id.lower().startswith(f"{subscription_scope(site)}/".lower()):
        network = if_exists(lambda: client.virtual_networks.get(group_of(existing.network_id), name))
    findings = [*_about(client, site, existing, network, request.placement)]
    if findings:
        message = f"The network {name} cannot be used: {'; '.join(findings)}"
        raise refused(FailureClass.CONFIG, message, resource=existing.network_id)
    return Network(
        network_id=existing.network_id,
        private_subnet_ids=existing.private_subnet_ids,
        public_subnet_ids=existing.public_subnet_ids,
        ours=False,
        pod_range=request.addresses.pod_cidr,
        service_range=request.addresses.service_cidr,
    )


def _about(
    client: NetworkManagementClient,
    site: Site,
    existing: ExistingNetwork,
    network: Any | None,  # noqa: ANN401 - the SDK is not typed here
    placement: Placement,
) -> Iterator[str]:
    if network is None:
        yield f"it does not exist in the subscription {site.cloud_account_id}"
        return
    if network.location != site.region:
        yield f"it is in {network.location}, and the deployment in {site.region}"
    found = []
    for what, ids in (("private", existing.private_subnet_ids), ("public", existing.public_subnet_ids)):
        if len(ids) != 1:
            yield f"{len(ids)} {what} subnets are named; one spans all zones of the region"
        found.append(_in(network, next(iter(ids), "")))
        if ids and found[-1] is None:
            yield f"it has no subnet {name_of(ids[0])}"
    nodes, server = found
    if nodes is not None:
        yield from _about_nodes(client, nodes, placement)
    if server is not None:
        yield from _about_server(server)
    if nodes is not None and server is not None and same_id(nodes.id, server.id):
        yield f"the subnet {nodes.name} is named for both nodes and API server"


def _about_nodes(client: NetworkManagementClient, nodes: Any, placement: Placement) -> Iterator[str]:  # noqa: ANN401 - as above
    """Yield what keeps nodes from standing in a subnet: the most that there may be, with one more for each renewal."""
    system = len(placement.zones) * SYSTEM_POOL.maximum
    most = system + 1 + sum(machine.maximum + 1 for machine in placement.machines)
    if finding := _too_small(nodes, most + _RESERVED):
        yield finding
    if delegated := delegations_of(nodes):
        yield f"the subnet {nodes.name} is delegated to {', '.join(sorted(delegated))}"
    if missing := set(ENDPOINTS) - endpoints_of(nodes):
        yield f"the subnet {nodes.name} has no service endpoints for {', '.join(sorted(missing))}"
    if not _has_way_out(client, nodes):
        yield f"nothing leads out of the subnet {nodes.name}: it has neither a NAT gateway nor a default route"


def _about_server(server: Any) -> Iterator[str]:  # noqa: ANN401 - as above
    if finding := _too_small(server, _LEAST_FOR_SERVER):
        yield finding
    if delegations_of(server) != {SERVER_DELEGATION}:
        yield f"the subnet {server.name} of the API server is not delegated to {SERVER_DELEGATION}"


def _too_small(subnet: Any, needed: int) -> str:  # noqa: ANN401 - as above
    """Return what there is to say about a range that has fewer addresses than are needed, empty if it has enough."""
    there_are = ip_network(range_of(subnet)).num_addresses
    if there_are >= needed:
        return ""
    return f"the subnet {subnet.name} ({range_of(subnet)}) has {there_are} addresses, needs {needed}"


def _has_way_out(client: NetworkManagementClient, nodes: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether nodes without public addresses can reach the internet."""
    if nodes.nat_gateway is not None:
        return True
    if nodes.route_table is None:
        return False
    identifier = nodes.route_table.id
    table = if_exists(lambda: client.route_tables.get(group_of(identifier), name_of(identifier)))
    routes = (table.routes if table is not None else None) or ()
    return any(route.address_prefix == _ANYWHERE and route.next_hop_type != "None" for route in routes)


def _in(network: Any, subnet: str) -> Any | None:  # noqa: ANN401 - as above
    """Return a subnet of a network by its id, None if there is none."""
    if not same_id(network_of(subnet), network.id):
        return None
    return next((each for each in network.subnets or () if same_id(each.id, subnet)), None)
