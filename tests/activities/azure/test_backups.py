"""The storage account for backups, its container, and the locks on backups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import BlobServiceClient, ImmutabilityPolicy

from activities.azure.backup_locks import AzureBackupLocks
from activities.azure.backups import CHANGE_LOCKS, CONTAINER, account_name, bucket_name, container_id
from activities.azure.bucket import AzureBackupBucket
from activities.azure.connection import AzureConnections
from activities.azure.encryption import AzureEncryption
from activities.azure.granting import BuiltInRole
from activities.azure.groups import group_name
from activities.azure.roles import AzureRoles
from activities.azure.settings import AzureSettings
from activities.azure.transport import LoopbackTransport
from activities.azure.vault import keys_vault
from activities.cloud import Activity
from activities.contracts import BackupLock, BucketRequest, Retention
from domain.facts import Backup, Bucket, Key
from domain.failure import FailureClass
from domain.naming import TAG_RETAINED_UNTIL, owner_tags, resource_name
from simulators.faults import FaultKind
from tests.activities.azure.conftest import REGION, Account, Owner, activities_of


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run."""
    return activities_of(AzureEncryption, AzureBackupBucket, AzureBackupLocks, AzureRoles)(settings, connections)


@pytest.fixture
def key(account: Account) -> Key:
    """The deployment's key; beside it are the identities of workloads."""
    key: Key = account.run("create_encryption_key", account.site)
    account.run("create_roles", account.site)
    return key


@pytest.fixture
def bucket(account: Account, key: Key) -> Bucket:
    """The deployment's bucket."""
    bucket: Bucket = account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))
    return bucket


def blobs(account: Account) -> Any:
    """Return the owner's client for the container."""
    url = f"https://{account_name(account.site)}.blob.core.windows.net"
    transport = LoopbackTransport(account.endpoints.azure_url)
    service = BlobServiceClient(url, Owner(account.subscription), transport=transport, retry_total=0)  # type: ignore[arg-type]
    return service.get_container_client(CONTAINER)


def stored(account: Account, key: str) -> Backup:
    """Put a backup into the bucket, as the store's job does."""
    body = key.encode()
    blobs(account).upload_blob(key, body)
    return Backup(
        bucket=bucket_name(account.site),
        key=key,
        size_bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        records=1,
        taken_at=datetime.now(UTC),
    )


def storage(account: Account) -> StorageManagementClient:
    """Return the owner's client for accounts."""
    return account.customer(StorageManagementClient)


def properties(account: Account) -> Any:
    """Return the account as the customer sees it."""
    return storage(account).storage_accounts.get_properties(group_name(account.site), account_name(account.site))


def held(account: Account) -> set[str]:
    """Return the types of what the subscription holds."""
    return {each.type for each in account.resources()}


def test_the_account_is_closed_encrypted_and_lockable(account: Account, key: Key, bucket: Bucket) -> None:
    """Everything that protects backups is set, in the deployment's region and over its zones."""
    found = properties(account)
    container = storage(account).blob_containers.get(group_name(account.site), found.name, CONTAINER)
    service = storage(account).blob_services.get_service_properties(group_name(account.site), found.name)

    assert bucket.name == f"{found.name}/{CONTAINER}"
    assert (found.location, found.sku.name) == (REGION, "Standard_ZRS")
    assert found.encryption.key_vault_properties.current_versioned_key_identifier.startswith(f"{key.key_id}/")
    assert not found.allow_blob_public_access
    assert not found.allow_shared_key_access
    assert found.enable_https_traffic_only
    assert found.minimum_tls_version == "TLS1_2"
    assert found.tags == owner_tags(account.site, "backups")
    assert service.is_versioning_enabled
    assert container.immutable_storage_with_versioning.enabled


def test_workloads_get_what_they_need(account: Account, bucket: Bucket) -> None:
    """The store writes there, the proof of a restore reads, each by a role at the container."""
    granted = {
        each.details["roleDefinitionId"].rpartition("/")[2]
        for each in account.resources()
        if each.type == "role-assignment" and each.id.startswith(f"{container_id(account.site)}/")
    }

    assert granted == {BuiltInRole.BLOB_CONTRIBUTOR, BuiltInRole.BLOB_READER}


def test_identities_that_are_made_meanwhile_are_waited_for(account: Account) -> None:
    """Roles and bucket are made at the same time."""
    key = account.run("create_encryption_key", account.site)
    request = BucketRequest(site=account.site, key=key)
    for _ in range(5):
        waiting = account.attempt_once("create_backup_bucket", request)
    account.run("create_roles", account.site)

    assert waiting is not None
    assert waiting.failure is FailureClass.NOT_READY
    assert resource_name(account.site, "store") in waiting.message
    assert account.run("create_backup_bucket", request).name == bucket_name(account.site)


def test_what_was_changed_is_put_back(account: Account, key: Key, bucket: Bucket) -> None:
    """Settings are as before after the next run; tags that the customer added stay."""
    found = properties(account)
    change = {
        "tags": {**found.tags, "cost-center": "42"},
        "properties": {"allowBlobPublicAccess": True, "encryption": {"keySource": "Microsoft.Storage"}},
    }
    storage(account).storage_accounts.update(group_name(account.site), found.name, change)

    account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))

    found = properties(account)
    assert not found.allow_blob_public_access
    assert found.encryption.key_source == "Microsoft.Keyvault"
    assert found.tags["cost-center"] == "42"


def test_a_role_at_the_key_that_does_not_count_yet_is_waited_for(account: Account, key: Key) -> None:
    """Azure speaks of minutes; whoever waits for more is told what is refused."""
    account.inject(FaultKind.ERROR, "storageAccounts/write", code="KeyVaultAuthenticationFailure", times=2)
    request = BucketRequest(site=account.site, key=key)

    early = account.attempt_once("create_backup_bucket", request)
    late = account.attempt_once("create_backup_bucket", request, age=timedelta(minutes=11))

    assert early is not None
    assert early.failure is FailureClass.NOT_READY
    assert late is not None
    assert late.code == "KeyVaultAuthenticationFailure"
    assert account.run("create_backup_bucket", request).name == bucket_name(account.site)


def test_a_locked_backup_stays_until_its_day(account: Account, bucket: Bucket) -> None:
    """Not even the subscription's owner deletes it by mistake; a longer lock is not shortened."""
    backup = stored(account, "backups/1")
    locked = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=30))
    before = account.control.position()
    shorter = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=3))

    assert locked.retain_until == backup.taken_at + timedelta(days=30)
    assert shorter.retain_until == pytest.approx(locked.retain_until, abs=timedelta(seconds=1))
    assert account.changes(before) == []
    with pytest.raises(HttpResponseError, match="BlobImmutableDueToPolicy"):
        blobs(account).delete_blob(backup.key)


def test_a_missing_permission_on_data_is_named(account: Account, bucket: Bucket) -> None:
    """The blob service itself says only that one is missing."""
    backup = stored(account, "backups/1")
    account.inject(FaultKind.REVOKE, "blobs/immutableStorage/*")

    detail = account.failure("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=30))

    assert detail.failure is FailureClass.PERMISSION
    assert detail.action == CHANGE_LOCKS


def test_kept_backups_keep_the_account_and_the_key(account: Account, bucket: Bucket) -> None:
    """What is not locked goes; account and vault say until when they are kept."""
    kept = stored(account, "backups/kept")
    stored(account, "backups/other")
    account.run("lock_backup", BackupLock(site=account.site, backup=kept, retain_days=30))
    retention = Retention(site=account.site, keep_backups=True)

    for _ in range(2):
        account.run("delete_backup_bucket", retention)
        account.run("delete_encryption_key", retention)

    assert [blob.name for blob in blobs(account).list_blobs(include=["versions"])] == [kept.key]
    assert blobs(account).download_blob(kept.key).readall() == kept.key.encode()
    until = (kept.taken_at + timedelta(days=30)).date().isoformat()
    vault = account.customer(KeyVaultManagementClient).vaults.get(group_name(account.site), keys_vault(account.site))
    assert vault.tags[TAG_RETAINED_UNTIL] == properties(account).tags[TAG_RETAINED_UNTIL] == until
    assert "disk-encryption-set" not in held(account)


def test_a_deployment_that_is_ordered_again_uses_what_was_kept(account: Account, bucket: Bucket) -> None:
    """Then it is not merely kept any more."""
    kept = stored(account, "backups/kept")
    account.run("lock_backup", BackupLock(site=account.site, backup=kept, retain_days=30))
    retention = Retention(site=account.site, keep_backups=True)
    account.run("delete_backup_bucket", retention)
    account.run("delete_encryption_key", retention)

    key = account.run("create_encryption_key", account.site)
    account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))

    assert TAG_RETAINED_UNTIL not in properties(account).tags


def test_what_the_customer_has_locked_for_good_stays(account: Account, bucket: Bucket) -> None:
    """Nobody can lift such a lock, and the customer is told so."""
    backup = stored(account, "backups/1")
    policy = ImmutabilityPolicy(expiry_time=datetime.now(UTC) + timedelta(days=30), policy_mode="Locked")
    blobs(account).get_blob_client(backup.key).set_immutability_policy(policy)

    detail = account.failure("delete_backup_bucket", Retention(site=account.site))

    assert detail.failure is FailureClass.POLICY
    assert detail.code == "BlobImmutableDueToPolicy"
    assert blobs(account).get_blob_client(backup.key).exists()


def test_only_the_deleted_vault_is_left_of_everything(account: Account, bucket: Bucket) -> None:
    """Azure keeps it for a week and then forgets it by itself."""
    account.run("delete_backup_bucket", Retention(site=account.site))
    account.run("delete_encryption_key", Retention(site=account.site))
    account.run("delete_roles", account.site)

    assert [(each.type, each.name, each.state) for each in account.resources()] == [
        ("deleted-vault", keys_vault(account.site), "SoftDeleted")
    ]


def test_deleting_leaves_nothing_not_even_what_was_locked(account: Account, bucket: Bucket) -> None:
    """The customer asked for it: locks are lifted, former versions go too, and a second time is no error."""
    backup = stored(account, "backups/1")
    blobs(account).upload_blob(backup.key, b"again", overwrite=True)
    account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=30))
    account.inject(FaultKind.LOST_REPLY, "blobs/delete", times=1)
    account.inject(FaultKind.LOST_REPLY, "storageAccounts/delete", times=1)

    for _ in range(2):
        account.run_through("delete_backup_bucket", Retention(site=account.site))

    assert held(account) & {"storage-account", "container", "blob-service"} == set()
    identities = [each.name for each in account.resources() if each.type == "user-assigned-identity"]
    assert resource_name(account.site, "backups") not in identities
