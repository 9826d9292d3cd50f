"""Control plane, add-ons and node pools of a deployment."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from google.cloud import compute_v1, container_v1

from activities.contracts import AddOn, ClusterRequest, InCluster, InNetwork, NodePoolRequest
from activities.gcp.gke import cluster_name
from activities.gcp.ownership import owner_labels
from activities.kubernetes.manifests.identity import POOL_LABEL
from domain.facts import Cluster, Firewall, Key, Machine, Network, Placement, Roles
from domain.failure import FailureClass
from domain.shape import PoolName
from simulators.faults import FaultKind
from tests.activities.gcp.conftest import EGRESS, REGION, Account
from tests.activities.gcp.test_network import order

PLACEMENT = Placement(
    zones=tuple(f"{REGION}-{letter}" for letter in "abc"),
    machines=(
        Machine(pool=PoolName.STORE, instance_type="n2-standard-4", minimum=3, maximum=6),
        Machine(pool=PoolName.SERVICES, instance_type="n2-standard-2", minimum=2, maximum=8),
    ),
)


@dataclass
class Ground:
    """What a cluster stands on."""

    network: Network
    firewall: Firewall
    roles: Roles
    key: Key


@pytest.fixture
def ground(account: Account) -> Ground:
    """Everything that has to exist before a cluster."""
    network = account.run("create_network", order(account.site))
    return Ground(
        network=network,
        firewall=account.run("create_firewall", InNetwork(site=account.site, network=network)),
        roles=account.run("create_roles", account.site),
        key=account.run("create_encryption_key", account.site),
    )


@pytest.fixture
def cluster_request(account: Account, ground: Ground) -> ClusterRequest:
    """The order for the deployment's control plane."""
    return ClusterRequest(site=account.site, kubernetes="1.35", **vars(ground))


@pytest.fixture
def cluster(account: Account, cluster_request: ClusterRequest) -> Cluster:
    """The deployment's control plane."""
    cluster: Cluster = account.run("create_cluster", cluster_request)
    return cluster


def pool_order(account: Account, ground: Ground, cluster: Cluster, pool: PoolName) -> NodePoolRequest:
    """Return the order for one of the deployment's pools."""
    return NodePoolRequest(site=account.site, cluster=cluster, placement=PLACEMENT, pool=pool, **vars(ground))


def found(account: Account) -> container_v1.Cluster:
    """Return the cluster as the customer sees it."""
    return account.customer(container_v1.ClusterManagerClient).get_cluster(name=cluster_name(account.site))


class TestControlPlane:
    """The cluster."""

    def test_is_private_encrypted_and_ours_to_upgrade(self, account: Account, ground: Ground, cluster: Cluster) -> None:
        """Nodes have no public addresses, secrets are encrypted, and the API answers to our addresses alone."""
        made = found(account)

        assert cluster.version == "1.35"
        assert cluster.endpoint.startswith("https://")
        assert made.network_config.default_enable_private_nodes
        assert made.database_encryption.key_name == ground.key.key_id
        by_address = made.control_plane_endpoints_config.ip_endpoints_config.authorized_networks_config
        assert tuple(each.cidr_block for each in by_address.cidr_blocks) == EGRESS
        assert made.release_channel.channel == container_v1.ReleaseChannel.Channel.UNSPECIFIED
        assert made.workload_identity_config.workload_pool == f"{account.project}.svc.id.goog"
        assert made.network_config.gateway_api_config.channel.name == "CHANNEL_STANDARD"
        assert dict(made.resource_labels) == owner_labels(account.site, "cluster")

    def test_making_it_again_changes_nothing(
        self, account: Account, cluster_request: ClusterRequest, cluster: Cluster
    ) -> None:
        """It is only looked at; its add-ons and maintenance policy too."""
        before = account.control.position()

        assert account.run("create_cluster", cluster_request) == cluster
        for name in ("network", "storage", "dns", "metrics", "proxy"):
            account.run(
                "install_add_on",
                AddOn(site=account.site, cluster=cluster, roles=cluster_request.roles, name=name),
            )
        account.run("set_maintenance_policy", InCluster(site=account.site, cluster=cluster))
        assert account.changes(before) == []

    def test_what_somebody_changed_is_put_back(
        self, account: Account, cluster_request: ClusterRequest, cluster: Cluster
    ) -> None:
        """Open to everybody, on a release channel, without labels: it is as before after the next run."""
        gke = account.customer(container_v1.ClusterManagerClient)
        endpoints = container_v1.ControlPlaneEndpointsConfig.IPEndpointsConfig(
            enabled=True, enable_public_endpoint=True
        )
        for change in (
            {"desired_control_plane_endpoints_config": {"ip_endpoints_config": endpoints}},
            {"desired_release_channel": {"channel": "RAPID"}},
        ):
            gke.update_cluster(request={"name": cluster_name(account.site), "update": change})
        gke.set_labels(
            request={
                "name": cluster_name(account.site),
                "resource_labels": {"byoc": "managed", "byoc-deployment": account.site.deployment, "team": "data"},
                "label_fingerprint": found(account).label_fingerprint,
            }
        )

        account.run("create_cluster", cluster_request)
        account.run("set_maintenance_policy", InCluster(site=account.site, cluster=cluster))

        made = found(account)
        by_address = made.control_plane_endpoints_config.ip_endpoints_config.authorized_networks_config
        assert tuple(each.cidr_block for each in by_address.cidr_blocks) == EGRESS
        assert made.release_channel.channel == container_v1.ReleaseChannel.Channel.UNSPECIFIED
        assert dict(made.resource_labels) == {**owner_labels(account.site, "cluster"), "team": "data"}

    def test_a_lost_reply_makes_no_second_one(self, account: Account, cluster_request: ClusterRequest) -> None:
        """The cluster that was made without being acknowledged is adopted."""
        account.inject(FaultKind.LOST_REPLY, "CreateCluster", times=1)

        account.run_through("create_cluster", cluster_request)

        gke = account.customer(container_v1.ClusterManagerClient)
        listed = gke.list_clusters(parent=f"projects/{account.project}/locations/-").clusters
        assert [each.name for each in listed] == [f"byoc-{account.site.deployment}"]

    def test_one_of_somebody_else_is_refused(
        self, account: Account, ground: Ground, cluster_request: ClusterRequest
    ) -> None:
        """A cluster that has our name and not our labels is neither used nor deleted."""
        gke = account.customer(container_v1.ClusterManagerClient)
        theirs = {
            "name": f"byoc-{account.site.deployment}",
            "network": f"projects/{account.project}/global/networks/{ground.network.network_id}",
            "subnetwork": f"projects/{account.project}/regions/{REGION}/subnetworks/"
            f"{ground.network.private_subnet_ids[0]}",
            "node_pools": [{"name": "theirs", "initial_node_count": 1}],
        }
        gke.create_cluster(parent=f"projects/{account.project}/locations/{REGION}", cluster=theirs)

        assert account.failure("create_cluster", cluster_request).failure is FailureClass.NOT_OURS
        assert account.failure("delete_cluster", account.site).failure is FailureClass.NOT_OURS
        assert found(account).name == theirs["name"]

    @pytest.mark.parametrize(
        ("kind", "failure"),
        [
            (FaultKind.QUOTA, FailureClass.QUOTA),
            (FaultKind.CAPACITY, FailureClass.CAPACITY),
            (FaultKind.REVOKE, FailureClass.PERMISSION),
            (FaultKind.THROTTLE, FailureClass.THROTTLE),
            (FaultKind.ERROR, FailureClass.TRANSIENT),
        ],
    )
    def test_what_google_lacks_or_refuses_is_named(
        self, account: Account, cluster_request: ClusterRequest, kind: FaultKind, failure: FailureClass
    ) -> None:
        """At once or as the cluster's condition; a failed cluster is made again once that is over."""
        fault = account.inject(kind, "CreateCluster", times=1)

        detail = account.failure("create_cluster", cluster_request)
        account.control.remove_fault(fault.id)

        assert detail.failure is failure
        assert account.run_through("create_cluster", cluster_request).name == f"byoc-{account.site.deployment}"

    def test_deleting_leaves_nothing_and_may_be_repeated(self, account: Account, cluster: Cluster) -> None:
        """Pools, machines and GKE's own firewall rules are gone."""
        for _ in range(2):
            account.run("delete_node_pools", account.site)
            account.run("delete_cluster", account.site)

        left = {each.type for each in account.resources()}
        assert left.isdisjoint({"cluster", "node-pool", "instance", "disk"})


class TestPools:
    """Node pools."""

    def test_have_encrypted_machines_over_the_zones(self, account: Account, ground: Ground, cluster: Cluster) -> None:
        """Each pool has its labels and taints; the pool that the cluster came with is gone."""
        for pool in PoolName:
            account.run("create_node_pool", pool_order(account, ground, cluster, pool))

        pools = {pool.name: pool for pool in found(account).node_pools}
        assert pools.keys() == {"store", "services"}
        assert pools["store"].config.boot_disk_kms_key == ground.key.key_id
        assert dict(pools["store"].config.labels) == {POOL_LABEL: "store"}
        assert [taint.value for taint in pools["store"].config.taints] == ["store"]
        assert not pools["services"].config.taints
        assert not pools["services"].management.auto_upgrade
        disks = account.customer(compute_v1.DisksClient).aggregated_list(project=account.project)
        keys = {disk.disk_encryption_key.kms_key_name for _, zone in disks for disk in zone.disks}
        assert {key.partition("/cryptoKeyVersions/")[0] for key in keys} == {ground.key.key_id}

    def test_making_them_again_changes_nothing(self, account: Account, ground: Ground, cluster: Cluster) -> None:
        """They are only looked at."""
        orders = [pool_order(account, ground, cluster, pool) for pool in PoolName]
        made = [account.run("create_node_pool", each) for each in orders]
        before = account.control.position()

        assert [account.run("create_node_pool", each) for each in orders] == made
        assert account.changes(before) == []

    def test_changed_limits_are_put_back(self, account: Account, ground: Ground, cluster: Cluster) -> None:
        """Limits, automatic upgrades and taints are as before after the next run."""
        wanted = pool_order(account, ground, cluster, PoolName.STORE)
        account.run("create_node_pool", wanted)
        gke, name = account.customer(container_v1.ClusterManagerClient), f"{cluster_name(account.site)}/nodePools/store"
        gke.set_node_pool_autoscaling(request={"name": name, "autoscaling": {"enabled": False}})
        gke.set_node_pool_management(request={"name": name, "management": {"auto_upgrade": True, "auto_repair": True}})
        gke.update_node_pool(request={"name": name, "taints": {"taints": []}})

        account.run("create_node_pool", wanted)

        pool = next(each for each in found(account).node_pools if each.name == "store")
        assert (pool.autoscaling.min_node_count, pool.autoscaling.max_node_count) == (1, 2)
        assert not pool.management.auto_upgrade
        assert len(pool.config.taints) == 1

    def test_missing_machines_are_named_and_asked_for_again(
        self, account: Account, ground: Ground, cluster: Cluster
    ) -> None:
        """A pool that could not be made is deleted, and made once there are machines."""
        wanted = pool_order(account, ground, cluster, PoolName.STORE)
        account.inject(FaultKind.CAPACITY, "CreateNodePool", times=1)

        detail = account.failure("create_node_pool", wanted)

        assert detail.failure is FailureClass.CAPACITY
        assert account.run_through("create_node_pool", wanted).name == "store"

    def test_while_gke_works_on_something_else_a_pool_waits(
        self, account: Account, ground: Ground, cluster: Cluster
    ) -> None:
        """GKE does one thing at a time for a cluster; the other one is no failure."""
        account.inject(FaultKind.STUCK, "CreateNodePool", times=1)
        account.attempt_once("create_node_pool", pool_order(account, ground, cluster, PoolName.STORE))

        detail = account.attempt_once("create_node_pool", pool_order(account, ground, cluster, PoolName.SERVICES))

        assert detail is not None
        assert detail.failure is FailureClass.NOT_READY
        assert PoolName.SERVICES not in {pool.name for pool in found(account).node_pools}
