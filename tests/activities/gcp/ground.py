"""What a cluster stands on, for the tests of clusters: the network is ours, key and service accounts the customer's."""

from __future__ import annotations

from dataclasses import dataclass

from google.cloud import iam_admin_v1, kms_v1, resourcemanager_v3

from activities.contracts import AddOn, ClusterRequest, InCluster, InNetwork, NodePoolRequest, WorkloadIdentityRequest
from domain.facts import Cluster, Firewall, Key, Machine, Network, Placement, Roles
from domain.shape import PoolName
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.test_network import order

ZONES = tuple(f"{REGION}-{letter}" for letter in "abc")
MACHINE = "n2-standard-2"
_USES_KEY = "roles/cloudkms.cryptoKeyEncrypterDecrypter"


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
    """Make network, key and service accounts."""
    network = account.run("create_network", order(account.site))
    firewall = account.run("create_firewall", InNetwork(site=account.site, network=network))
    roles = Roles(
        control_plane="",
        storage_driver="",
        **{name: _service_account(account, f"byoc-{name}") for name in ("nodes", "store", "restore")},
    )
    return Ground(account, network, firewall, roles, Key(key_id=_key(account)))


def _service_account(account: Account, account_id: str) -> str:
    iam = account.customer(iam_admin_v1.IAMClient)
    made = iam.create_service_account(request={"name": f"projects/{account.project}", "account_id": account_id})
    return str(made.email)


def _key(account: Account) -> str:
    """Return the name of a new key that the agents of GKE and Compute Engine may use."""
    kms = account.customer(kms_v1.KeyManagementServiceClient)
    place = f"projects/{account.project}/locations/{REGION}"
    kms.create_key_ring(parent=place, key_ring_id="byoc", key_ring={})
    key = kms.create_crypto_key(
        parent=f"{place}/keyRings/byoc", crypto_key_id="byoc", crypto_key={"purpose": "ENCRYPT_DECRYPT"}
    )
    projects = account.customer(resourcemanager_v3.ProjectsClient)
    number = projects.get_project(name=f"projects/{account.project}").name.rpartition("/")[2]
    policy = kms.get_iam_policy(request={"resource": key.name})
    agents = (
        f"serviceAccount:service-{number}@container-engine-robot.iam.gserviceaccount.com",
        f"serviceAccount:service-{number}@compute-system.iam.gserviceaccount.com",
    )
    policy.bindings.add(role=_USES_KEY, members=agents)
    kms.set_iam_policy(request={"resource": key.name, "policy": policy})
    return str(key.name)
