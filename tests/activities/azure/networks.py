"""Networks for the tests: orders for them, and one that the customer makes."""

from __future__ import annotations

from typing import Any

from azure.mgmt.network import NetworkManagementClient

from activities.contracts import NetworkRequest
from domain.addresses import plan_overlaid_subnets
from domain.deployment import ExistingNetwork, NetworkSpec, Site
from domain.facts import Machine, Placement
from domain.shape import PoolName
from simulators.azure.documents import AzureOwnNetwork
from tests.activities.azure.conftest import REGION, Account

PLAN = plan_overlaid_subnets(NetworkSpec().cidr)
PLACEMENT = Placement(
    zones=("1", "2", "3"),
    machines=(Machine(pool=PoolName.STORE, instance_type="Standard_D4s_v5", minimum=3, maximum=6),),
)
DELETIONS = ("delete_private_endpoints", "delete_egress", "delete_firewall", "delete_network")


def order(site: Site, existing: ExistingNetwork | None = None, placement: Placement = PLACEMENT) -> NetworkRequest:
    """Return the order for a network of ours, or the customer's own."""
    return NetworkRequest(site=site, network=NetworkSpec(existing=existing), placement=placement, addresses=PLAN)


def theirs(account: Account) -> Any:
    """Return the client with which the customer looks at networks."""
    return account.customer(NetworkManagementClient)


def own_network(account: Account, *, nat: bool = True, ready: bool = True, routes: bool = False) -> ExistingNetwork:
    """Let the customer make a network of their own, with a subnet for nodes and one for the API server."""
    made = account.owner.make_network(AzureOwnNetwork(region=REGION, nat=nat))
    client, group = theirs(account), "customer-network"
    network = client.virtual_networks.get(group, group)
    network.address_space.address_prefixes.append("10.81.0.0/20")
    client.virtual_networks.begin_create_or_update(group, group, network).result()
    properties: dict[str, Any] = {"addressPrefix": "10.81.0.0/28" if ready else "10.81.0.0/29"}
    nodes = client.subnets.get(group, group, "customer-subnet").as_dict(exclude_readonly=True)
    if ready:
        delegation = {"name": "aks", "properties": {"serviceName": "Microsoft.ContainerService/managedClusters"}}
        properties["delegations"] = [delegation]
        services = ("Microsoft.Storage", "Microsoft.KeyVault")
        nodes["properties"]["serviceEndpoints"] = [{"service": service} for service in services]
    if routes:
        way = {"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.81.1.4"}
        table = {"location": REGION, "properties": {"routes": [{"name": "out", "properties": way}]}}
        table = client.route_tables.begin_create_or_update(group, "table", table).result()
        nodes["properties"].pop("natGateway", None)
        nodes["properties"]["routeTable"] = {"id": table.id}
    client.subnets.begin_create_or_update(group, group, "customer-subnet", nodes).result()
    server = client.subnets.begin_create_or_update(group, group, "api", {"properties": properties}).result()
    return ExistingNetwork(network_id=made.network, private_subnet_ids=(made.subnet,), public_subnet_ids=(server.id,))
