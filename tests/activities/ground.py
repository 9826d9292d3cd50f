"""What a cluster stands on, for the tests of clusters, and the orders that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from activities.contracts import AddOn, ClusterRequest, InCluster, NodePoolRequest, WorkloadIdentityRequest
from domain.facts import Cluster, Firewall, Key, Machine, Network, Placement, Roles
from domain.shape import PoolName
from tests.activities.tenant import Tenant

Account = TypeVar("Account", bound=Tenant)


@dataclass
class Ground(Generic[Account]):
    """Everything that has to exist before a cluster, and what its nodes may be."""

    account: Account
    zones: tuple[str, ...]
    machine: str
    kubernetes: str
    network: Network
    firewall: Firewall
    roles: Roles
    key: Key

    def cluster_request(self) -> ClusterRequest:
        """Return the order for the control plane."""
        return ClusterRequest(
            site=self.account.site,
            kubernetes=self.kubernetes,
            network=self.network,
            firewall=self.firewall,
            roles=self.roles,
            key=self.key,
        )

    def pool_request(
        self, cluster: Cluster, pool: PoolName = PoolName.STORE, *, minimum: int = 3, maximum: int = 6
    ) -> NodePoolRequest:
        """Return the order for one pool."""
        machine = Machine(pool=pool, instance_type=self.machine, minimum=minimum, maximum=maximum)
        return NodePoolRequest(
            site=self.account.site,
            cluster=cluster,
            network=self.network,
            firewall=self.firewall,
            roles=self.roles,
            key=self.key,
            placement=Placement(zones=self.zones, machines=(machine,)),
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
