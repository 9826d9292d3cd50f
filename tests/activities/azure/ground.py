"""What a cluster stands on, for the tests of clusters."""

from __future__ import annotations

from dataclasses import dataclass

from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from activities.azure.ids import resource_id
from activities.contracts import (
    AddOn,
    ClusterRequest,
    InCluster,
    NodePoolRequest,
    WorkloadIdentityRequest,
)
from domain.deployment import Site
from domain.facts import Cluster, Firewall, Key, Machine, Network, Placement, Roles
from domain.naming import base_name, owner_tags, resource_name
from domain.shape import PoolName
from tests.activities.azure.conftest import REGION, Account

ZONES = ("1", "2", "3")
MACHINE = "Standard_D2s_v5"
PODS, SERVICES = "10.244.0.0/16", "10.245.0.0/16"
IDENTITIES = ("cluster", "nodes", "store", "restore", "endpoint")


@dataclass
class Ground:
    """Everything that has to exist before a cluster."""

    account: Account
    network: Network
    firewall: Firewall
    roles: Roles
    key: Key

    def cluster_request(self) -> ClusterRequest:
        """Return the order for the control plane."""
        return ClusterRequest(
            site=self.account.site,
            kubernetes="1.34",
            network=self.network,
            firewall=self.firewall,
            roles=self.roles,
            key=self.key,
        )

    def pool_request(
        self, cluster: Cluster, pool: PoolName = PoolName.STORE, *, minimum: int = 3, maximum: int = 6
    ) -> NodePoolRequest:
        """Return the order for one pool."""
        machine = Machine(pool=pool, instance_type=MACHINE, minimum=minimum, maximum=maximum)
        return NodePoolRequest(
            site=self.account.site,
            cluster=cluster,
            network=self.network,
            firewall=self.firewall,
            roles=self.roles,
            key=self.key,
            placement=Placement(zones=ZONES, machines=(machine,)),
            pool=pool,
        )

    def in_cluster(self, cluster: Cluster) -> InCluster:
        """Return the argument of what is about the cluster alone."""
        return InCluster(site=self.account.site, cluster=cluster)

    def add_on(self, cluster: Cluster, name: str) -> AddOn:
        """Return the order for an add-on."""
        return AddOn(site=self.account.site, cluster=cluster, roles=self.roles, name=name)

    def identities(self, cluster: Cluster) -> WorkloadIdentityRequest:
        """Return the order for the identities of workloads."""
        return WorkloadIdentityRequest(site=self.account.site, cluster=cluster, roles=self.roles)


def make_ground(account: Account, *, gateway: bool = True) -> Ground:
    """Make network (with its way out, unless told otherwise), identities, key and encryption set."""
    site = account.site
    groups = account.customer(ResourceManagementClient).resource_groups
    groups.create_or_update(base_name(site), {"location": REGION, "tags": owner_tags(site, "group")})
    network = _make_network(account)
    if gateway:
        open_way_out(account)
    roles = _make_identities(account)
    key = account.run("create_encryption_key", site)
    group = resource_id(site, "Microsoft.Network/networkSecurityGroups", resource_name(site, "nodes"))
    return Ground(account, network, Firewall(control_plane_group_id=group, node_group_id=group), roles, key)


def open_way_out(account: Account) -> None:
    """Make the NAT gateway and connect the nodes' subnet with it."""
    site, client = account.site, account.customer(NetworkManagementClient)
    name, tags = resource_name(site, "nat"), owner_tags(site, "egress")
    address = {
        "location": REGION, "tags": tags, "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static"},
    }  # fmt: skip
    client.public_ip_addresses.begin_create_or_update(base_name(site), name, address).result()
    addresses = {"publicIpAddresses": [{"id": resource_id(site, "Microsoft.Network/publicIPAddresses", name)}]}
    gateway = {"location": REGION, "tags": tags, "sku": {"name": "Standard"}, "properties": addresses}
    client.nat_gateways.begin_create_or_update(base_name(site), name, gateway).result()
    subnet = client.subnets.get(base_name(site), base_name(site), "nodes").as_dict()
    subnet["properties"]["natGateway"] = {"id": resource_id(site, "Microsoft.Network/natGateways", name)}
    client.subnets.begin_create_or_update(base_name(site), base_name(site), "nodes", subnet).result()


def _make_network(account: Account) -> Network:
    site, client = account.site, account.customer(NetworkManagementClient)
    delegation = {"name": "aks", "properties": {"serviceName": "Microsoft.ContainerService/managedClusters"}}
    subnets = [
        {"name": "nodes", "properties": {"addressPrefix": "10.64.0.0/19"}},
        {"name": "apiserver", "properties": {"addressPrefix": "10.64.224.0/24", "delegations": [delegation]}},
    ]
    wanted = {
        "location": REGION,
        "tags": owner_tags(site, "network"),
        "properties": {"addressSpace": {"addressPrefixes": ["10.64.0.0/16"]}, "subnets": subnets},
    }
    client.virtual_networks.begin_create_or_update(base_name(site), base_name(site), wanted).result()
    nodes, server = (_subnet(site, name) for name in ("nodes", "apiserver"))
    return Network(
        network_id=resource_id(site, "Microsoft.Network/virtualNetworks", base_name(site)),
        private_subnet_ids=(nodes,),
        public_subnet_ids=(server,),
        pod_range=PODS,
        service_range=SERVICES,
    )


def _subnet(site: Site, name: str) -> str:
    return resource_id(site, "Microsoft.Network/virtualNetworks/subnets", base_name(site), name)


def _make_identities(account: Account) -> Roles:
    site, client = account.site, account.customer(ManagedServiceIdentityClient)
    clients = {}
    for role in IDENTITIES:
        wanted = {"location": REGION, "tags": owner_tags(site, role)}
        made = client.user_assigned_identities.create_or_update(base_name(site), resource_name(site, role), wanted)
        clients[role] = str(made.client_id)
    return Roles(
        control_plane=clients["cluster"],
        nodes=clients["nodes"],
        storage_driver=clients["cluster"],
        store=clients["store"],
        restore=clients["restore"],
        endpoint=clients["endpoint"],
    )
