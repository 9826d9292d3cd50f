"""GKE through its official SDK: clusters, node pools and their operations."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from google.api_core.exceptions import (
    Aborted,
    AlreadyExists,
    BadRequest,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.cloud import compute_v1, container_v1, iam_admin_v1, kms_v1

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import labels_of
from tests.simulators.gcp.customers import CLUSTER, LOCATION, PROJECT, REGION, ZONES, Customer, refused


def status(account: Customer) -> str:
    """Return the cluster's status."""
    return str(account.containers.get_cluster(name=CLUSTER).status.name)


def outcome(account: Customer, operation: Any) -> Any:
    """Return an operation of GKE once its time has come."""
    account.pass_time(2000)
    return account.containers.get_operation(name=f"{LOCATION}/operations/{operation.name}")


def zones_of(account: Customer, pool: str = "system") -> list[str]:
    """Return the zones of a pool's Kubernetes nodes."""
    (cluster,) = account.kubernetes.clusters()
    nodes = [labels_of(node) for node in cluster.store.list(kinds.NODES)]
    return sorted(
        node["topology.kubernetes.io/zone"] for node in nodes if node["cloud.google.com/gke-nodepool"] == pool
    )


class TestClusters:
    """Control planes."""

    def test_run_after_their_time(self, slow_account: Customer) -> None:
        """PROVISIONING, then RUNNING with an endpoint and the certificate behind it, and nodes in every zone."""
        slow_account.make_network()
        wanted = slow_account.cluster()

        operation = slow_account.containers.create_cluster(parent=LOCATION, cluster=wanted)
        slow_account.pass_time(300)
        before = slow_account.containers.get_cluster(name=CLUSTER)
        done = outcome(slow_account, operation)
        after = slow_account.containers.get_cluster(name=CLUSTER)

        assert (operation.status.name, operation.operation_type.name) == ("RUNNING", "CREATE_CLUSTER")
        assert (before.status.name, before.endpoint) == ("PROVISIONING", "")
        assert (done.status.name, done.error.code) == ("DONE", 0)
        assert after.status.name == "RUNNING"
        assert f"https://{after.endpoint}" == slow_account.kubernetes.clusters()[0].url
        assert base64.b64decode(after.master_auth.cluster_ca_certificate) == slow_account.kubernetes.ca_pem
        assert (after.current_master_version, list(after.locations)) == ("1.34.4-gke.1400000", list(ZONES))
        assert dict(after.resource_labels) == {"byoc": "managed"}
        assert zones_of(slow_account) == list(ZONES)

    def test_put_machines_and_firewalls_into_the_project(self, account: Customer) -> None:
        """Instances with labelled boot disks in the network, which they keep from being deleted."""
        account.make_cluster()

        found = account.google.inventory(PROJECT)

        machines = [entry for entry in found if entry.type == "instance"]
        assert sorted(entry.id.split("/")[3] for entry in machines) == list(ZONES)
        assert all(entry.tags["byoc"] == "managed" for entry in machines)
        assert len([entry for entry in found if entry.type == "disk" and entry.tags["byoc"] == "managed"]) == 3
        assert len([entry for entry in found if entry.type == "firewall"]) == 3
        with refused(BadRequest, "already being used"):
            account.rest(compute_v1.SubnetworksClient).delete_unary(project=PROJECT, region=REGION, subnetwork="byoc")

    def test_exist_once(self, account: Customer) -> None:
        """After a lost reply the second attempt is refused, and the operation is found in the list."""
        account.make_network()
        account.inject(kind=FaultKind.LOST_REPLY, operation="CreateCluster", times=1)
        client = account.containers

        with refused(ServiceUnavailable):
            client.create_cluster(parent=LOCATION, cluster=account.cluster(), retry=None)
        with refused(AlreadyExists, f"Already exists: {CLUSTER}."):
            client.create_cluster(parent=LOCATION, cluster=account.cluster())

        (operation,) = client.list_operations(parent=LOCATION).operations
        assert operation.target_link.endswith(CLUSTER)
        assert [
            cluster.name for cluster in client.list_clusters(parent=f"projects/{PROJECT}/locations/-").clusters
        ] == ["byoc-1"]

    def test_have_one_operation_at_a_time(self, slow_account: Customer) -> None:
        """A second one is refused until the first is done."""
        slow_account.make_network()
        client = slow_account.containers
        operation = client.create_cluster(parent=LOCATION, cluster=slow_account.cluster())

        with refused(FailedPrecondition, f"incompatible operation {operation.name}"):
            client.create_node_pool(parent=CLUSTER, node_pool=slow_account.pool("store"))
        with refused(FailedPrecondition, f"incompatible operation {operation.name}"):
            client.delete_cluster(name=CLUSTER)

        assert status(slow_account) == "PROVISIONING"

    def test_reconcile_while_they_change(self, slow_account: Customer) -> None:
        """One setting at a time."""
        slow_account.make_cluster()
        client = slow_account.containers
        networks = {"enabled": True, "cidr_blocks": [{"cidr_block": "203.0.113.0/24"}]}
        change = {"desired_master_authorized_networks_config": networks}

        client.update_cluster(request={"name": CLUSTER, "update": change})
        changing = status(slow_account)
        slow_account.pass_time(300)
        found = client.get_cluster(name=CLUSTER)
        with refused(InvalidArgument, "Exactly one update"):
            client.update_cluster(request={"name": CLUSTER, "update": {**change, "desired_logging_service": "none"}})

        assert (changing, found.status.name) == ("RECONCILING", "RUNNING")
        assert found.master_authorized_networks_config.cidr_blocks[0].cidr_block == "203.0.113.0/24"

    def test_have_settings_for_logs_and_maintenance(self, account: Customer) -> None:
        """What was set is read; a maintenance policy changes only from what it is now."""
        account.make_cluster()
        client = account.containers
        logging = {"component_config": {"enable_components": ["SYSTEM_COMPONENTS"]}}
        window = {"window": {"daily_maintenance_window": {"start_time": "03:00"}}}

        client.update_cluster(request={"name": CLUSTER, "update": {"desired_logging_config": logging}})
        account.pass_time(300)
        client.set_maintenance_policy(request={"name": CLUSTER, "maintenance_policy": window})
        account.pass_time(300)
        found = client.get_cluster(name=CLUSTER)
        with refused(FailedPrecondition, "resource_version"):
            client.set_maintenance_policy(request={"name": CLUSTER, "maintenance_policy": window})

        assert [entry.name for entry in found.logging_config.component_config.enable_components] == [
            "SYSTEM_COMPONENTS"
        ]
        assert found.maintenance_policy.window.daily_maintenance_window.start_time == "03:00"

    def test_are_labelled_from_what_their_labels_are_now(self, account: Customer) -> None:
        """The machines get the labels too."""
        account.make_cluster()
        client = account.containers
        fingerprint = client.get_cluster(name=CLUSTER).label_fingerprint
        request = {"name": CLUSTER, "resource_labels": {"byoc": "d1"}, "label_fingerprint": fingerprint}

        client.set_labels(request=request)
        account.pass_time(300)
        with refused(FailedPrecondition, "fingerprint"):
            client.set_labels(request=request)

        instances = [entry for entry in account.google.inventory(PROJECT) if entry.type == "instance"]
        assert {entry.tags["byoc"] for entry in instances} == {"d1"}

    def test_are_upgraded_one_minor_version_at_a_time(self, account: Customer) -> None:
        """Never two, never back; the nodes come later."""
        account.make_cluster()
        client = account.containers

        with refused(InvalidArgument, "more than a minor version"):
            client.update_master(request={"name": CLUSTER, "master_version": "1.36"})
        done = outcome(account, client.update_master(request={"name": CLUSTER, "master_version": "1.35"}))
        with refused(InvalidArgument, "never back"):
            client.update_master(request={"name": CLUSTER, "master_version": "1.34"})

        found = client.get_cluster(name=CLUSTER)
        assert done.operation_type.name == "UPGRADE_MASTER"
        assert found.current_master_version == "1.35.2-gke.1300000"
        assert found.node_pools[0].version == "1.34.4-gke.1400000"
        assert account.kubernetes.clusters()[0].version == "1.35"

    def test_are_not_changed_by_an_old_etag(self, account: Customer) -> None:
        """Somebody else was faster."""
        account.make_cluster()
        update = {"etag": "b2xk", "desired_logging_service": "none"}

        with refused(Aborted, "etag"):
            account.containers.update_cluster(request={"name": CLUSTER, "update": update})

    def test_leave_nothing_of_their_own(self, slow_account: Customer) -> None:
        """STOPPING, then gone with machines and firewalls."""
        slow_account.make_cluster()
        client = slow_account.containers

        client.delete_cluster(name=CLUSTER)
        stopping = status(slow_account)
        slow_account.pass_time(300)

        assert stopping == "STOPPING"
        with refused(NotFound, CLUSTER):
            client.get_cluster(name=CLUSTER)
        assert {entry.type for entry in slow_account.google.inventory(PROJECT)} == {"network", "subnetwork"}
        assert slow_account.kubernetes.clusters() == []

    @pytest.mark.parametrize(("kind", "code"), [(FaultKind.CAPACITY, "GCE_STOCKOUT"), (FaultKind.CRASH, "UNKNOWN")])
    def test_end_in_error_with_a_condition(self, account: Customer, kind: FaultKind, code: str) -> None:
        """The operation tells why; the cluster stays until somebody deletes it."""
        account.make_network()
        account.inject(kind=kind, operation="CreateCluster", times=1)

        operation = account.containers.create_cluster(parent=LOCATION, cluster=account.cluster())
        done = outcome(account, operation)

        found = account.containers.get_cluster(name=CLUSTER)
        assert done.error.code != 0
        assert found.status.name == "ERROR"
        assert [condition.code.name for condition in found.conditions] == [code]
        account.containers.delete_cluster(name=CLUSTER)
        account.pass_time(300)
        assert account.google.containers.clusters.of(PROJECT) == []

    def test_are_degraded_by_a_change_that_fails(self, account: Customer) -> None:
        """They serve on, with a condition; the next change that succeeds ends it."""
        account.make_cluster()
        client = account.containers
        account.inject(kind=FaultKind.CRASH, operation="UpdateMaster", times=1)

        failed = outcome(account, client.update_master(request={"name": CLUSTER, "master_version": "1.35"}))
        degraded = client.get_cluster(name=CLUSTER)
        outcome(account, client.update_master(request={"name": CLUSTER, "master_version": "1.35"}))
        found = client.get_cluster(name=CLUSTER)

        assert failed.error.code != 0
        assert (degraded.status.name, degraded.current_master_version) == ("DEGRADED", "1.34.4-gke.1400000")
        assert len(degraded.conditions) == 1
        assert (found.status.name, list(found.conditions)) == ("RUNNING", [])
        assert found.current_master_version == "1.35.2-gke.1300000"

    def test_are_refused_at_once_where_the_quota_is_too_small(self, account: Customer) -> None:
        """With what is missing."""
        account.make_network()
        account.google.compute.quotas.set_limit(PROJECT, REGION, "CPUS", 4)

        with refused(ResourceExhausted, "is short '2.0'"):
            account.containers.create_cluster(parent=LOCATION, cluster=account.cluster())

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"name": "Byoc"}, "lower-case letters"),
            ({"network": "projects/acme-prod/global/networks/other"}, "does not exist"),
            ({"initial_cluster_version": "1.20"}, "No valid versions"),
            (
                {"ip_allocation_policy": {"use_ip_aliases": True, "cluster_secondary_range_name": "none"}},
                "does not exist in subnetwork",
            ),
            ({"locations": ["us-east1-b"]}, "is not in europe-west4"),
            (
                {"node_pools": [{"name": "system", "config": {"machine_type": "n2-huge-1"}}]},
                'Machine type with name "n2-huge-1"',
            ),
        ],
    )
    def test_are_checked_before_they_are_begun(self, account: Customer, options: dict[str, Any], text: str) -> None:
        """What is wrong is named."""
        account.make_network()

        with refused(InvalidArgument, text):
            account.containers.create_cluster(parent=LOCATION, cluster=account.cluster(**options))

    def test_encrypt_their_secrets_with_a_key_that_gke_may_use(self, account: Customer) -> None:
        """Its service agent needs the grant on the key."""
        account.make_network()
        client = account.containers
        for name, agent in (("wrong", "storage"), ("right", "container")):
            encryption = {"state": "ENCRYPTED", "key_name": account.make_key(name, agent)}
            wanted = account.cluster(database_encryption=encryption)
            if name == "wrong":
                with refused(InvalidArgument, "Cloud KMS error when using key"):
                    client.create_cluster(parent=LOCATION, cluster=wanted)
            else:
                client.create_cluster(parent=LOCATION, cluster=wanted)

        account.pass_time(600)
        assert client.get_cluster(name=CLUSTER).database_encryption.key_name.endswith("/cryptoKeys/right")

    def test_need_permissions_for_themselves_and_for_their_machines_identity(self, account: Customer) -> None:
        """Whoever makes machines that run as a service account must be allowed to act as it."""
        account.make_network()
        nodes = account.make_account("byoc-nodes")
        credentials = account.member("byoc-operate", "container.clusters.create", "container.clusters.get")
        client = account.rpc(container_v1.ClusterManagerClient, credentials)
        wanted = account.cluster(node_pools=[account.pool("system", config={"service_account": nodes})])

        with refused(PermissionDenied, '"iam.serviceAccounts.actAs"'):
            client.create_cluster(parent=LOCATION, cluster=wanted)
        with refused(PermissionDenied, '"container.clusters.delete"', reason="IAM_PERMISSION_DENIED"):
            client.delete_cluster(name=CLUSTER)

    def test_versions_are_offered(self, account: Customer) -> None:
        """With a default."""
        config = account.containers.get_server_config(name=LOCATION)

        assert config.default_cluster_version in config.valid_master_versions


class TestNodePools:
    """Machines of one shape."""

    def test_spread_over_the_zones(self, slow_account: Customer) -> None:
        """The count is that of each zone; labels and taints are on the nodes."""
        slow_account.make_cluster()
        client = slow_account.containers
        taint = {"key": "dedicated", "value": "store", "effect": "NO_SCHEDULE"}
        wanted = slow_account.pool("store", initial_node_count=2, config={"labels": {"tier": "1"}, "taints": [taint]})

        client.create_node_pool(parent=CLUSTER, node_pool=wanted)
        before = client.get_node_pool(name=f"{CLUSTER}/nodePools/store").status.name
        slow_account.pass_time(200)

        assert before == "PROVISIONING"
        assert client.get_node_pool(name=f"{CLUSTER}/nodePools/store").status.name == "RUNNING"
        assert zones_of(slow_account, "store") == sorted([*ZONES, *ZONES])
        (cluster,) = slow_account.kubernetes.clusters()
        stores = [node for node in cluster.store.list(kinds.NODES) if labels_of(node).get("tier") == "1"]
        assert stores[0]["spec"]["taints"] == [{"key": "dedicated", "value": "store", "effect": "NoSchedule"}]
        assert stores[0]["spec"]["providerID"].startswith(f"gce://{PROJECT}/europe-west4-")

    def test_have_at_least_what_the_autoscaler_must_keep(self, account: Customer) -> None:
        """And change when its limits do."""
        account.make_cluster()
        client = account.containers
        scaling = {"enabled": True, "total_min_node_count": 3, "total_max_node_count": 9, "location_policy": "BALANCED"}

        client.create_node_pool(parent=CLUSTER, node_pool=account.pool("store", autoscaling=scaling))
        account.pass_time(200)
        first = len(zones_of(account, "store"))
        request = {"name": f"{CLUSTER}/nodePools/store", "autoscaling": {**scaling, "total_min_node_count": 6}}
        client.set_node_pool_autoscaling(request=request)
        account.pass_time(200)

        assert (first, len(zones_of(account, "store"))) == (3, 6)

    def test_change_their_size(self, account: Customer) -> None:
        """In every zone."""
        account.make_cluster()
        request = {"name": f"{CLUSTER}/nodePools/system", "node_count": 2}

        done = outcome(account, account.containers.set_node_pool_size(request=request))

        assert done.operation_type.name == "SET_NODE_POOL_SIZE"
        assert len(zones_of(account)) == 6

    def test_are_upgraded_to_the_control_planes_version_and_no_further(self, slow_account: Customer) -> None:
        """Every machine is replaced, in its zone; more surge is faster."""
        slow_account.make_cluster()
        client = slow_account.containers
        name = f"{CLUSTER}/nodePools/system"
        former = set(slow_account.google.containers.clusters.get(CLUSTER).pools["system"].instances)

        with refused(InvalidArgument, "must not have a newer minor version than master"):
            client.update_node_pool(request={"name": name, "node_version": "1.35"})
        client.update_master(request={"name": CLUSTER, "master_version": "1.35"})
        slow_account.pass_time(1000)
        surge = {"max_surge": 3, "max_unavailable": 0, "strategy": "SURGE"}
        client.update_node_pool(request={"name": name, "upgrade_settings": surge})
        slow_account.pass_time(100)
        client.update_node_pool(request={"name": name, "node_version": "1.35"})
        changing = client.get_node_pool(name=name).status.name
        slow_account.pass_time(200)

        pool = client.get_node_pool(name=name)
        assert (changing, pool.status.name, pool.version) == ("RECONCILING", "RUNNING", "1.35.2-gke.1300000")
        assert pool.upgrade_settings.max_surge == 3
        assert zones_of(slow_account) == list(ZONES)
        assert not former & set(slow_account.google.containers.clusters.get(CLUSTER).pools["system"].instances)

    def test_without_machines_show_why(self, account: Customer) -> None:
        """The cluster runs on; the pool is in ERROR with a condition, and can be deleted."""
        account.make_cluster()
        account.inject(kind=FaultKind.CAPACITY, operation="CreateNodePool", times=1)
        client = account.containers

        client.create_node_pool(parent=CLUSTER, node_pool=account.pool("store"))
        account.pass_time(200)
        pool = client.get_node_pool(name=f"{CLUSTER}/nodePools/store")
        client.delete_node_pool(name=f"{CLUSTER}/nodePools/store")
        account.pass_time(200)

        assert (pool.status.name, [entry.code.name for entry in pool.conditions]) == ("ERROR", ["GCE_STOCKOUT"])
        assert status(account) == "RUNNING"
        assert [entry.name for entry in client.list_node_pools(parent=CLUSTER).node_pools] == ["system"]

    def test_need_the_identity_and_the_key_that_they_were_given(self, account: Customer) -> None:
        """A service account that is gone, or a key that is disabled, keeps machines from coming up."""
        account.make_cluster()
        client, kms = account.containers, account.rpc(kms_v1.KeyManagementServiceClient)
        email, key = account.make_account("byoc-nodes"), account.make_key()
        pool = account.pool("store", config={"service_account": email, "boot_disk_kms_key": key})
        client.create_node_pool(parent=CLUSTER, node_pool=pool)
        account.pass_time(200)
        resize = {"name": f"{CLUSTER}/nodePools/store", "node_count": 2}

        version = {"name": f"{key}/cryptoKeyVersions/1", "state": "DISABLED"}
        kms.update_crypto_key_version(request={"crypto_key_version": version, "update_mask": {"paths": ["state"]}})
        without_key = outcome(account, client.set_node_pool_size(request=resize))
        account.rpc(iam_admin_v1.IAMClient).delete_service_account(name=f"projects/{PROJECT}/serviceAccounts/{email}")
        without_account = outcome(account, client.set_node_pool_size(request=resize))

        assert "is not enabled" in without_key.error.message
        assert f"{email} does not exist" in without_account.error.message
        found = client.get_node_pool(name=f"{CLUSTER}/nodePools/store")
        assert (found.status.name, found.conditions[0].code.name) == (
            "RUNNING_WITH_ERROR",
            "GKE_SERVICE_ACCOUNT_DELETED",
        )
        assert len(zones_of(account, "store")) == 3

    def test_go_with_their_machines(self, account: Customer) -> None:
        """Instances and nodes are gone."""
        account.make_cluster()
        account.containers.create_node_pool(parent=CLUSTER, node_pool=account.pool("store"))
        account.pass_time(200)

        account.containers.delete_node_pool(name=f"{CLUSTER}/nodePools/store")
        account.pass_time(200)

        assert zones_of(account, "store") == []
        machines = [entry for entry in account.google.inventory(PROJECT) if entry.type == "instance"]
        assert len(machines) == 3
