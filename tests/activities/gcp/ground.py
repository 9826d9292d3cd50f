"""What a cluster stands on, for the tests of clusters."""

from __future__ import annotations

from dataclasses import dataclass

from activities.contracts import (
    AddOn,
    BucketRequest,
    ClusterRequest,
    InCluster,
    InNetwork,
    NodePoolRequest,
    WorkloadIdentityRequest,
)
from domain.facts import Cluster, Firewall, Key, Machine, Network, Placement, Roles
from domain.shape import PoolName
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.test_network import order

ZONES = tuple(f"{REGION}-{letter}" for letter in "abc")
MACHINE = "n2-standard-2"


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


def make_ground(account: Account) -> Ground:
    """Make network, service accounts, key and bucket."""
    network = account.run("create_network", order(account.site))
    firewall = account.run("create_firewall", InNetwork(site=account.site, network=network))
    roles = account.run("create_roles", account.site)
    key = account.run("create_encryption_key", account.site)
    account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))
    return Ground(account, network, firewall, roles, key)
