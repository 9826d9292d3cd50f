"""What a cluster stands on, for the tests of clusters."""

from __future__ import annotations

from dataclasses import dataclass

from activities.azure.encryption import AzureEncryption
from activities.azure.network import AzureNetwork
from activities.azure.part import AzurePart
from activities.azure.roles import AzureRoles
from activities.contracts import (
    AddOn,
    ClusterRequest,
    InCluster,
    InNetwork,
    NodePoolRequest,
    WorkloadIdentityRequest,
)
from domain.facts import Cluster, Firewall, Key, Machine, Network, Placement, Roles
from domain.shape import PoolName
from tests.activities.azure.conftest import Account
from tests.activities.azure.networks import order

ZONES = ("1", "2", "3")
MACHINE = "Standard_D2s_v5"
PODS, SERVICES = "10.244.0.0/16", "10.245.0.0/16"
GROUND: tuple[type[AzurePart], ...] = (AzureNetwork, AzureRoles, AzureEncryption)
"""Whose activities make it."""


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
    network = account.run("create_network", order(site))
    inside = InNetwork(site=site, network=network)
    firewall = account.run("create_firewall", inside)
    if gateway:
        account.run("create_egress", inside)
    roles = account.run("create_roles", site)
    key = account.run("create_encryption_key", site)
    return Ground(account, network, firewall, roles, key)
