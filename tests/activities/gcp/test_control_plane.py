"""The GKE control plane: made, converged, entered and deleted."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import container_v1, iam_admin_v1, storage

from activities.gcp.bucket import backup_bucket
from activities.gcp.cluster_settings import LOGS
from activities.gcp.cluster_token import GcpClusterTokens
from activities.gcp.connection import GcpConnections
from activities.gcp.gke import cluster_name
from activities.gcp.settings import GcpSettings
from activities.gcp.workload_identity import WORKLOAD_ROLE
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.naming import base_name, owner_labels
from tests.activities.gcp.conftest import EGRESS, Account
from tests.activities.gcp.ground import Ground


def gke(account: Account) -> Any:
    """Return the customer's client of GKE."""
    return account.customer(container_v1.ClusterManagerClient)


def described(account: Account) -> container_v1.Cluster:
    """Return the cluster as the customer sees it."""
    return gke(account).get_cluster(name=cluster_name(account.site))


def test_the_control_plane_is_closed_and_encrypted(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Only the network and our own addresses reach the API, and secrets are encrypted with the deployment's key."""
    found = described(account)

    endpoints = found.control_plane_endpoints_config
    by_address = endpoints.ip_endpoints_config
    assert (by_address.enabled, by_address.enable_public_endpoint) == (True, True)
    assert [each.cidr_block for each in by_address.authorized_networks_config.cidr_blocks] == list(EGRESS)
    assert not endpoints.dns_endpoint_config.allow_external_traffic
    assert found.network_config.default_enable_private_nodes
    assert (found.database_encryption.state.name, found.database_encryption.key_name) == (
        "ENCRYPTED",
        ground.key.key_id,
    )
    assert found.release_channel.channel.name == "EXTENDED"
    assert found.network_config.datapath_provider.name == "ADVANCED_DATAPATH"
    assert found.network_config.gateway_api_config.channel.name == "CHANNEL_STANDARD"
    assert found.workload_identity_config.workload_pool == f"{account.project}.svc.id.goog"
    assert found.shielded_nodes.enabled
    assert list(found.logging_config.component_config.enable_components) == list(LOGS)
    assert dict(found.resource_labels) == owner_labels(account.site, "cluster")
    assert found.ip_allocation_policy.cluster_secondary_range_name == ground.network.pod_range


def test_the_facts_lead_into_the_cluster(account: Account, cluster: Cluster, settings: GcpSettings) -> None:
    """A deletion finds the same cluster without them, and a token is the operating account's."""
    tokens = GcpClusterTokens(GcpConnections(settings))
    found = described(account)

    assert (cluster.name, cluster.version) == (base_name(account.site), "1.34")
    assert cluster.endpoint == f"https://{found.endpoint}"
    assert cluster.certificate_authority == found.master_auth.cluster_ca_certificate
    assert tokens.find(account.site) == cluster
    assert tokens.token(account.site, cluster)


def test_the_pool_that_gke_insists_on_is_gone(account: Account, cluster: Cluster) -> None:
    """Its machines went with it: nodes come with the pools that are ordered."""
    assert list(described(account).node_pools) == []
    assert [each for each in account.resources() if each.type == "instance"] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (
            "desired_control_plane_endpoints_config",
            {"ip_endpoints_config": {"authorized_networks_config": {"enabled": False}}},
        ),
        ("desired_control_plane_endpoints_config", {"dns_endpoint_config": {"allow_external_traffic": True}}),
        ("desired_database_encryption", {"state": "DECRYPTED"}),
        ("desired_logging_config", {"component_config": {"enable_components": ["SYSTEM_COMPONENTS"]}}),
        ("desired_release_channel", {"channel": "RAPID"}),
        ("desired_default_enable_private_nodes", False),
        ("desired_shielded_nodes", {"enabled": False}),
        ("desired_workload_identity_config", {}),
    ],
    ids=lambda value: value.removeprefix("desired_") if isinstance(value, str) else "",
)
def test_a_changed_setting_is_put_back(
    account: Account, ground: Ground, cluster: Cluster, field: str, value: object
) -> None:
    """Whatever somebody changed of the control plane is as before after the next run."""
    before = described(account)
    gke(account).update_cluster(name=cluster_name(account.site), update={field: value})

    account.run("create_cluster", ground.cluster_request())

    after = described(account)
    assert _without_state(after) == _without_state(before)


def test_labels_come_back(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Ours are as before, and what the customer added stays."""
    found = described(account)
    theirs = {**found.resource_labels, "byoc-resource": "mine", "cost-centre": "42"}
    gke(account).set_labels(
        request={
            "name": cluster_name(account.site),
            "resource_labels": theirs,
            "label_fingerprint": found.label_fingerprint,
        }
    )

    account.run("create_cluster", ground.cluster_request())

    labels = dict(described(account).resource_labels)
    assert labels == {**owner_labels(account.site, "cluster"), "cost-centre": "42"}


def test_access_to_the_cluster_is_iams_alone(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Attribute-based access and role bindings for everybody are off again after the next run."""
    name = cluster_name(account.site)
    gke(account).set_legacy_abac(request={"name": name, "enabled": True})
    open_to_all = {"enable_insecure_binding_system_authenticated": True}
    gke(account).update_cluster(name=name, update={"desired_rbac_binding_config": open_to_all})

    account.run("grant_cluster_access", ground.in_cluster(cluster))

    found = described(account)
    assert not found.legacy_abac.enabled
    assert not found.rbac_binding_config.enable_insecure_binding_system_authenticated
    assert found.anonymous_authentication_config.mode.name == "LIMITED"


def test_workloads_act_as_their_service_accounts(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Each account lets exactly its workload in, also after somebody let in another."""
    request = ground.identities(cluster)
    account.run("create_workload_identity", request)
    iam = account.customer(iam_admin_v1.IAMClient)
    resource = f"projects/{account.project}/serviceAccounts/{ground.roles.store}"
    policy = iam.get_iam_policy(request={"resource": resource})
    policy.bindings[0].members.append(f"serviceAccount:{account.project}.svc.id.goog[default/intruder]")
    policy.bindings.add(role="roles/iam.serviceAccountTokenCreator", members=[f"serviceAccount:{ground.roles.nodes}"])
    iam.set_iam_policy(request={"resource": resource, "policy": policy})

    account.run("create_workload_identity", request)

    after = iam.get_iam_policy(request={"resource": resource})
    assert {each.role: list(each.members) for each in after.bindings} == {
        WORKLOAD_ROLE: [f"serviceAccount:{account.project}.svc.id.goog[byoc-server/store]"],
        "roles/iam.serviceAccountTokenCreator": [f"serviceAccount:{ground.roles.nodes}"],
    }
    restore = iam.get_iam_policy(
        request={"resource": f"projects/{account.project}/serviceAccounts/{ground.roles.restore}"}
    )
    assert list(restore.bindings[0].members) == [f"serviceAccount:{account.project}.svc.id.goog[byoc-restore/restore]"]


def test_the_store_writes_backups_and_deletes_none(account: Account, ground: Ground, cluster: Cluster) -> None:
    """The restore may only read; what others may do in the bucket stays, and a role more for the store does not."""
    request = ground.identities(cluster)
    account.run("create_workload_identity", request)
    bucket = account.customer(storage.Client).bucket(backup_bucket(account.site))
    policy = bucket.get_iam_policy(requested_policy_version=3)
    store, restore = f"serviceAccount:{ground.roles.store}", f"serviceAccount:{ground.roles.restore}"
    policy.bindings.append({"role": "roles/storage.objectAdmin", "members": [store, "user:ada@acme.example"]})
    bucket.set_iam_policy(policy)

    account.run("create_workload_identity", request)
    before = account.control.position()
    account.run("create_workload_identity", request)

    roles = {each["role"]: set(each["members"]) for each in bucket.get_iam_policy(requested_policy_version=3).bindings}
    assert roles["roles/storage.objectCreator"] == {store}
    assert roles["roles/storage.objectViewer"] == {store, restore}
    assert roles["roles/storage.objectAdmin"] == {"user:ada@acme.example"}
    assert account.changes(before) == []


@pytest.mark.parametrize(
    ("name", "update", "place"),
    [
        (
            "storage",
            {"desired_addons_config": {"gce_persistent_disk_csi_driver_config": {"enabled": False}}},
            "addons_config",
        ),
        ("metrics", {"desired_addons_config": {"horizontal_pod_autoscaling": {"disabled": True}}}, "addons_config"),
        ("proxy", {"desired_addons_config": {"http_load_balancing": {"disabled": True}}}, "addons_config"),
        ("proxy", {"desired_gateway_api_config": {"channel": "CHANNEL_DISABLED"}}, "network_config"),
        ("identity", {"desired_workload_identity_config": {}}, "workload_identity_config"),
    ],
)
def test_what_an_add_on_needs_is_switched_on_again(
    account: Account, ground: Ground, cluster: Cluster, name: str, update: object, place: str
) -> None:
    """GKE's own add-ons are settings of the cluster."""
    before = getattr(described(account), place)
    gke(account).update_cluster(name=cluster_name(account.site), update=update)

    account.run("install_add_on", ground.add_on(cluster, name))

    assert getattr(described(account), place) == before


def test_an_unknown_add_on_is_refused(account: Account, ground: Ground, cluster: Cluster) -> None:
    """The message names those that there are."""
    detail = account.failure("install_add_on", ground.add_on(cluster, "mesh"))

    assert (detail.failure, "storage" in detail.message) == (FailureClass.CONFIG, True)


def _without_state(cluster: container_v1.Cluster) -> dict[str, Any]:
    found = container_v1.Cluster.to_dict(cluster)
    return {field: value for field, value in found.items() if field not in ("etag", "label_fingerprint")}
