"""Settings of a cluster: what somebody changed is put back, by whichever activity keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from azure.mgmt.msi import ManagedServiceIdentityClient

from activities.azure.cluster_settings import changeable, differing
from activities.azure.connection import AzureConnections
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.contracts import ClusterRequest, MaintenanceRequest
from domain.deployment import Site
from domain.facts import Cluster, Firewall, Key, Network, Roles
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags, resource_name
from tests.activities.azure.clusters import PARTS, change, described, put, without_state
from tests.activities.azure.conftest import EGRESS, REGION, Account, activities_of
from tests.activities.azure.ground import GROUND, Ground

CREATION = "managedClusters/write"


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """The activities on clusters, and on what they stand on."""
    return activities_of(*GROUND, *PARTS)(settings, connections)


CHANGED: dict[str, object] = {
    "apiServerAccessProfile.authorizedIPRanges": ["0.0.0.0/0"],
    "apiServerAccessProfile.disableRunCommand": False,
    "disableLocalAccounts": False,
    "aadProfile.enableAzureRBAC": False,
    "aadProfile.adminGroupObjectIDs": ["5e5c6a3b-0000-4000-8000-000000000001"],
    "securityProfile.azureKeyVaultKms.enabled": False,
    "securityProfile.workloadIdentity.enabled": False,
    "autoUpgradeProfile.upgradeChannel": "stable",
    "autoUpgradeProfile.nodeOSUpgradeChannel": "NodeImage",
}
"""What somebody may have changed, each on its own."""


def test_every_changed_setting_is_put_back(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Whatever somebody changed of the control plane is as before after the next run, which writes it once."""
    before = described(account)

    def all_of_it(document: dict[str, Any]) -> None:
        for place, value in CHANGED.items():
            put(document["properties"], place, value)

    change(account, all_of_it)
    position = account.control.position()

    account.run("create_cluster", ground.cluster_request())

    assert without_state(described(account)) == without_state(before)
    assert [call.operation for call in account.changes(position)] == [CREATION]


@pytest.mark.parametrize("place", CHANGED)
def test_a_single_change_is_noticed(place: str) -> None:
    """Each of these settings is among those that are compared."""
    site = Site(
        deployment="acme", customer="acme", account="acme", cloud="azure", cloud_account_id="s", external_id="e",
        region=REGION,
    )  # fmt: skip
    network = Network(network_id="n", private_subnet_ids=("nodes",), public_subnet_ids=("server",))
    roles = Roles(control_plane="c", nodes="n", storage_driver="c", store="s")
    firewall = Firewall(control_plane_group_id="g", node_group_id="g")
    request = ClusterRequest(
        site=site,
        kubernetes="1.34",
        network=network,
        firewall=firewall,
        roles=roles,
        key=Key(key_id="https://v/keys/k"),
    )
    document: dict[str, Any] = {}
    for setting in changeable(request, EGRESS):
        setting.put(document)
    same = list(differing(document, changeable(request, EGRESS)))

    put(document["properties"], place, CHANGED[place])

    assert same == []
    assert len(list(differing(document, changeable(request, EGRESS)))) == 1


def test_tags_come_back(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Ours are as before, and what the customer added stays; a tier without a service level is put back, too."""

    def theirs(document: dict[str, Any]) -> None:
        document["tags"] |= {"byoc:resource": "mine", "cost-centre": "42"}
        document["sku"] = {"name": "Base", "tier": "Free"}

    change(account, theirs)

    account.run("create_cluster", ground.cluster_request())

    found = described(account)
    assert found["tags"] == {**owner_tags(account.site, "cluster"), "cost-centre": "42"}
    assert found["sku"]["tier"] == "Standard"


def test_only_azures_roles_let_anybody_in(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Local accounts and groups of administrators are gone again after the next run."""

    def open_up(document: dict[str, Any]) -> None:
        document["properties"]["disableLocalAccounts"] = False
        document["properties"]["aadProfile"]["adminGroupObjectIDs"] = ["5e5c6a3b-0000-4000-8000-000000000001"]

    change(account, open_up)

    account.run("grant_cluster_access", ground.in_cluster(cluster))

    properties = described(account)["properties"]
    assert properties["disableLocalAccounts"]
    assert properties["aadProfile"]["adminGroupObjectIDs"] == []


def test_workloads_act_as_their_identities(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Each identity trusts exactly its workload, also after somebody let in another."""
    request = ground.identities(cluster)
    account.run("create_workload_identity", request)
    credentials = account.customer(ManagedServiceIdentityClient).federated_identity_credentials
    group, store = base_name(account.site), resource_name(account.site, "store")
    intruder = {
        "issuer": cluster.oidc_issuer,
        "subject": "system:serviceaccount:default:intruder",
        "audiences": ["api://AzureADTokenExchange"],
    }
    credentials.create_or_update(group, store, "theirs", {"properties": intruder})
    changed = {**intruder, "subject": "system:serviceaccount:default:other"}
    credentials.create_or_update(group, store, "byoc-server-store", {"properties": changed})

    account.run("create_workload_identity", request)

    found = {
        role: [(each.issuer, each.subject) for each in credentials.list(group, resource_name(account.site, role))]
        for role in ("cluster", "nodes", "store", "restore", "endpoint")
    }
    assert found == {
        "cluster": [],
        "nodes": [],
        "store": [(cluster.oidc_issuer, "system:serviceaccount:byoc-server:store")],
        "restore": [(cluster.oidc_issuer, "system:serviceaccount:byoc-restore:restore")],
        "endpoint": [(cluster.oidc_issuer, "system:serviceaccount:byoc-server:endpoint")],
    }


def test_nothing_is_upgraded_by_itself(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Neither the cluster nor the images of its nodes."""

    def automatic(document: dict[str, Any]) -> None:
        channels = {"upgradeChannel": "rapid", "nodeOSUpgradeChannel": "SecurityPatch"}
        document["properties"]["autoUpgradeProfile"] = channels

    change(account, automatic)

    account.run("set_maintenance_policy", MaintenanceRequest(site=account.site, cluster=cluster))

    assert described(account)["properties"]["autoUpgradeProfile"] == {
        "upgradeChannel": "none", "nodeOSUpgradeChannel": "None",
    }  # fmt: skip


def test_what_add_ons_need_is_switched_on_again(account: Account, ground: Ground, cluster: Cluster) -> None:
    """AKS's own add-ons are settings of the cluster; each activity puts back those of its own."""
    before = described(account)

    def switch_off(document: dict[str, Any]) -> None:
        properties = document["properties"]
        properties["storageProfile"] = {"diskCSIDriver": {"enabled": False}}
        properties["ingressProfile"], properties["addonProfiles"] = {}, {}
        properties["securityProfile"]["workloadIdentity"] = {"enabled": False}

    change(account, switch_off)

    for name in ("storage", "proxy", "identity"):
        account.run("install_add_on", ground.add_on(cluster, name))

    assert without_state(described(account)) == without_state(before)


def test_an_unknown_add_on_is_refused(account: Account, ground: Ground, cluster: Cluster) -> None:
    """The message names those that there are."""
    detail = account.failure("install_add_on", ground.add_on(cluster, "mesh"))

    assert (detail.failure, "storage" in detail.message) == (FailureClass.CONFIG, True)
