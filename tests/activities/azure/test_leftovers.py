"""The proof that nothing of a deployment is left in the customer's subscription."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.storage.blob import BlobServiceClient

from activities.azure.alarms import AzureAlarms
from activities.azure.backup_locks import AzureBackupLocks
from activities.azure.backups import CONTAINER, account_name
from activities.azure.bucket import AzureBackupBucket
from activities.azure.cluster import AzureCluster
from activities.azure.connection import AzureConnections
from activities.azure.controller_made import AzureControllerMade
from activities.azure.dns import AzureDomain
from activities.azure.granting import BuiltInRole
from activities.azure.groups import group_name, node_group_name
from activities.azure.ids import group_scope, role_definition_id
from activities.azure.leftovers import AzureLeftovers
from activities.azure.node_pools import AzureNodePools
from activities.azure.settings import AzureSettings
from activities.azure.transport import LoopbackTransport
from activities.azure.vault import keys_vault
from activities.cloud import Activity
from activities.contracts import BackupLock, BucketRequest, DomainRequest, Retention
from domain.facts import Backup, Leftover
from domain.naming import base_name, owner_tags, resource_name
from domain.shape import PoolName
from tests.activities.azure.conftest import REGION, Account, Owner, activities_of
from tests.activities.azure.ground import GROUND, make_ground
from tests.activities.azure.networks import own_network
from tests.activities.azure.test_node_pools import leave_behind

DOMAIN = "left.db.acme.example"
DELETIONS = (
    "delete_alarms", "delete_node_pools", "delete_load_balancers_and_volumes", "delete_cluster", "delete_domain",
    "delete_private_endpoints", "delete_egress", "delete_firewall", "delete_network", "delete_roles",
)  # fmt: skip


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """Whatever makes something that could be left."""
    parts = (
        AzureBackupBucket, AzureBackupLocks, AzureDomain, AzureCluster, AzureNodePools, AzureControllerMade,
        AzureAlarms, AzureLeftovers,
    )  # fmt: skip
    return activities_of(*GROUND, *parts)(settings, connections)


def leftovers(account: Account, *, keep_backups: bool = False) -> tuple[Leftover, ...]:
    """Return what is left."""
    retention = Retention(site=account.site, keep_backups=keep_backups)
    found: tuple[Leftover, ...] = account.run("find_leftovers", retention)
    return found


def test_an_empty_subscription_has_no_leftovers(account: Account) -> None:
    """What the customer's template made belongs to the customer, and nothing else is there; nothing is changed."""
    assert leftovers(account) == ()
    assert account.changes() == []


def test_everything_is_found_until_it_is_deleted(account: Account) -> None:
    """Each kind of thing that a deployment has is listed; after the deletion, the vault that cannot be purged alone."""
    site, run = account.site, account.run
    ground = make_ground(account)
    run("create_backup_bucket", BucketRequest(site=site, key=ground.key))
    run("create_domain", DomainRequest(site=site, domain=DOMAIN))
    cluster = run("create_cluster", ground.cluster_request())
    run("create_node_pool", ground.pool_request(cluster, PoolName.SERVICES, minimum=1, maximum=1))
    leave_behind(account)
    run("create_alarms", ground.in_cluster(cluster))

    found = leftovers(account)

    assert {left.kind for left in found} == {
        "compute:diskEncryptionSets", "compute:disks", "compute:virtualMachineScaleSets",
        "containerservice:managedClusters", "insights:metricAlerts", "keyvault:vaults",
        "managedidentity:userAssignedIdentities",
        "network:dnsZones", "network:loadBalancers", "network:natGateways", "network:networkSecurityGroups",
        "network:publicIPAddresses", "network:virtualNetworks", "resources:resourceGroups", "storage:storageAccounts",
    }  # fmt: skip
    assert {left.kept_because for left in found} == {""}
    assert len({left.resource_id for left in found}) == len(found)
    groups = {left.resource_id.rpartition("/")[2] for left in found if left.kind == "resources:resourceGroups"}
    assert groups == {group_name(site), node_group_name(site)}

    for activity in DELETIONS:
        run(activity, site)
    for activity in ("delete_backup_bucket", "delete_encryption_key"):
        run(activity, Retention(site=site))

    (vault,) = leftovers(account)
    assert (vault.kind, vault.resource_id.rpartition("/")[2]) == ("keyvault:deletedVaults", keys_vault(site))
    assert vault.kept_because.startswith("Azure keeps the deleted vault until 20")
    assert [each.name for each in account.resources() if each.type == "resource-group"] == []


def test_what_bears_our_tags_elsewhere_is_found(account: Account) -> None:
    """A disk that somebody made of a volume of ours, in a group of their own."""
    groups = account.customer(ResourceManagementClient).resource_groups
    groups.create_or_update("theirs", {"location": REGION})
    add_disk(account, "copy", owner_tags(account.site, "volume"))

    (left,) = leftovers(account)

    assert (left.kind, left.resource_id.rpartition("/")[2]) == ("compute:disks", "copy")


def test_strangers_are_no_leftovers(account: Account) -> None:
    """Neither what nobody tagged nor what belongs to a deployment whose name begins as ours does."""
    other = account.site.model_copy(update={"deployment": f"{account.site.deployment}-2"})
    groups = account.customer(ResourceManagementClient).resource_groups
    groups.create_or_update("theirs", {"location": REGION})
    groups.create_or_update(node_group_name(account.site), {"location": REGION})
    add_disk(account, "tagged", owner_tags(other, "volume"))
    add_disk(account, "half", {"byoc:deployment": account.site.deployment})
    account.run("create_roles", other)
    account.run("create_encryption_key", other)

    assert leftovers(account) == ()


def test_what_an_earlier_generation_left_is_found(account: Account) -> None:
    """A deployment that was ordered again answers for what its earlier life has left."""
    account.run("create_domain", DomainRequest(site=account.site, domain=DOMAIN))
    again = Retention(site=account.site.model_copy(update={"generation": 2}))

    found = account.run("find_leftovers", again)

    assert {left.kind for left in found} == {"network:dnsZones", "resources:resourceGroups"}


def test_a_role_that_outlived_its_identity_is_found(account: Account) -> None:
    """In a network of the customer's own it stays when somebody deletes the identity; a role of theirs is no matter."""
    ground = make_ground(account)
    existing = own_network(account)
    theirs = ground.network.model_copy(
        update={"private_subnet_ids": existing.private_subnet_ids, "public_subnet_ids": (), "ours": False}
    )
    account.run("create_cluster", ground.cluster_request().model_copy(update={"network": theirs}))
    account.run("delete_cluster", account.site)
    identities = account.customer(ManagedServiceIdentityClient).user_assigned_identities
    group, name = base_name(account.site), resource_name(account.site, "cluster")
    principal = identities.get(group, name).principal_id
    give_reader(account, str(identities.get(group, resource_name(account.site, "store")).principal_id))
    before = [left for left in leftovers(account) if left.kind == "authorization:roleAssignments"]
    identities.delete(group, name)

    found = [left for left in leftovers(account) if left.kind == "authorization:roleAssignments"]

    assignments = account.customer(AuthorizationManagementClient).role_assignments
    assert {assignments.get_by_id(left.resource_id).principal_id for left in found} >= {principal}
    assert any(left.resource_id.startswith(existing.private_subnet_ids[0]) for left in found)
    assert len(found) == len(before)
    account.run("delete_roles", account.site)
    left = [left for left in leftovers(account) if left.kind == "authorization:roleAssignments"]
    assert left == []


def test_kept_backups_say_until_when(account: Account) -> None:
    """What keeps backups stays for a reason as long as they are to be kept; else it is an orphan."""
    site = account.site
    account.run("create_roles", site)
    key = account.run("create_encryption_key", site)
    bucket = account.run("create_backup_bucket", BucketRequest(site=site, key=key))
    write_backup(account)
    backup = Backup(bucket=bucket.name, key="b", size_bytes=4, sha256="", records=1, taken_at=datetime.now(UTC))
    locked = account.run("lock_backup", BackupLock(site=site, backup=backup, retain_days=3))
    account.run("delete_roles", site)
    for activity in ("delete_backup_bucket", "delete_encryption_key"):
        account.run(activity, Retention(site=site, keep_backups=True))
    until = locked.retain_until.date().isoformat()

    reasons = {left.kind: left.kept_because for left in leftovers(account, keep_backups=True)}

    assert reasons == {
        "storage:storageAccounts": f"holds backups that are locked until {until}",
        "keyvault:vaults": f"the backups that are kept until {until} cannot be read without it",
        "managedidentity:userAssignedIdentities": f"backups kept until {until} use their key through it",
        "resources:resourceGroups": f"holds what the backups that are kept until {until} need",
    }
    assert {left.kept_because for left in leftovers(account)} == {""}


def add_disk(account: Account, name: str, tags: dict[str, str]) -> None:
    """Make a disk as the customer, in a group of theirs."""
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 10}
    wanted = {"location": REGION, "tags": tags, "sku": {"name": "Premium_LRS"}, "properties": properties}
    account.customer(ComputeManagementClient).disks.begin_create_or_update("theirs", name, wanted).result()


def give_reader(account: Account, principal: str) -> None:
    """Give an identity a role in the deployment's group, as the customer."""
    properties = {
        "roleDefinitionId": role_definition_id(account.site, BuiltInRole.READER),
        "principalId": principal,
        "principalType": "ServicePrincipal",
    }
    client = account.customer(AuthorizationManagementClient)
    client.role_assignments.create(group_scope(account.site), str(uuid4()), {"properties": properties})


def write_backup(account: Account) -> None:
    """Write a blob as the customer."""
    service = BlobServiceClient(
        f"https://{account_name(account.site)}.blob.core.windows.net",
        credential=Owner(account.subscription),
        transport=LoopbackTransport(account.endpoints.azure_url),
        retry_total=0,
    )
    service.get_blob_client(CONTAINER, "b").upload_blob(b"data")
