"""Storage accounts, containers and blobs, by the SDKs: keys of customers, versions, locks, and who may do what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import BlobServiceClient, ImmutabilityPolicy

from activities.azure.transport import LoopbackTransport
from tests.simulators.azure.conftest import GROUP, REGION, SUBSCRIPTION, Account, Owner
from tests.simulators.azure.test_vaults import KEY_USER, let_use, make_key

ACCOUNT_ID = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/acmebackups"
CONTAINER_ID = f"{ACCOUNT_ID}/blobServices/default/containers/backups"
CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
OWNER = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
BODY = {"location": REGION, "kind": "StorageV2", "sku": {"name": "Standard_ZRS"}}


def storage(account: Account) -> Any:
    """Return a client for accounts."""
    return account.client(StorageManagementClient)


def make_account(account: Account, *, lockable: bool = True, **properties: Any) -> Any:
    """Make an account with a container."""
    client = storage(account)
    client.storage_accounts.begin_create("byoc", "acmebackups", BODY | {"properties": properties}).result()
    client.blob_services.set_service_properties("byoc", "acmebackups", {"properties": {"isVersioningEnabled": True}})
    settings = {"immutableStorageWithVersioning": {"enabled": True}} if lockable else {}
    client.blob_containers.create("byoc", "acmebackups", "backups", {"properties": settings})
    return client


def blobs(account: Account, credential: Any = None) -> Any:
    """Return a client for what is in the container."""
    url = "https://acmebackups.blob.core.windows.net"
    transport = LoopbackTransport(account.azure.url)
    service = BlobServiceClient(url, credential or Owner(), transport=transport, retry_total=0)
    return service.get_container_client("backups")


def encrypted(account: Account) -> tuple[str, dict[str, Any]]:
    """Return the principal of a new identity, and an account's document that has it use a new key."""
    key = make_key(account)
    identities = account.client(ManagedServiceIdentityClient).user_assigned_identities
    identity = identities.create_or_update("byoc", "backups", {"location": REGION})
    encryption = {
        "keySource": "Microsoft.Keyvault",
        "keyvaultproperties": {"keyvaulturi": key.key_uri.partition("/keys/")[0], "keyname": "disks"},
        "identity": {"userAssignedIdentity": identity.id},
    }
    assigned = {"type": "UserAssigned", "userAssignedIdentities": {identity.id: {}}}
    return identity.principal_id, BODY | {"identity": assigned, "properties": {"encryption": encryption}}


def lock(blob: Any, *, days: int = 1, mode: str = "Unlocked", **which: Any) -> None:
    """Lock a blob or a version of it."""
    policy = ImmutabilityPolicy(expiry_time=datetime.now(UTC) + timedelta(days=days), policy_mode=mode)
    blob.set_immutability_policy(policy, **which)


def test_an_account_encrypts_with_a_key_that_its_identity_may_use(account: Account) -> None:
    """Without a role it is refused; without the key's vault nothing can be read any more."""
    principal, wanted = encrypted(account)
    accounts = storage(account).storage_accounts
    with pytest.raises(HttpResponseError, match="KeyVaultAuthenticationFailure"):
        accounts.begin_create("byoc", "acmebackups", wanted)
    let_use(account, principal, KEY_USER)

    made = accounts.begin_create("byoc", "acmebackups", wanted).result()

    assert made.encryption.key_vault_properties.current_versioned_key_identifier.startswith(
        "https://acme.vault.azure.net/keys/disks/"
    )
    held = {each.type: each.encrypted for each in account.azure.inventory(SUBSCRIPTION)}
    assert held["storage-account"] is True
    storage(account).blob_containers.create("byoc", "acmebackups", "backups", {})
    blobs(account).upload_blob("one", b"1")
    account.client(KeyVaultManagementClient).vaults.delete("byoc", "acme")
    with pytest.raises(HttpResponseError, match="KeyVaultEncryptionKeyNotFound"):
        blobs(account).download_blob("one")


def test_an_account_wants_a_protected_vault(account: Account) -> None:
    """A key that could be purged is refused, and so is one that is not there."""
    make_key(account, protected=False)
    identities = account.client(ManagedServiceIdentityClient).user_assigned_identities
    identity = identities.create_or_update("byoc", "backups", {"location": REGION})
    for name, code in (("disks", "KeyVaultPolicyError"), ("other", "KeyVaultEncryptionKeyNotFound")):
        encryption = {
            "keySource": "Microsoft.Keyvault",
            "keyvaultproperties": {"keyvaulturi": "https://acme.vault.azure.net", "keyname": name},
            "identity": {"userAssignedIdentity": identity.id},
        }
        assigned = {"type": "UserAssigned", "userAssignedIdentities": {identity.id: {}}}
        wanted = BODY | {"identity": assigned, "properties": {"encryption": encryption}}
        with pytest.raises(HttpResponseError, match=code):
            storage(account).storage_accounts.begin_create("byoc", "acmebackups", wanted)


def test_names_are_taken_all_over_the_world(account: Account) -> None:
    """They are short, and no two accounts have the same."""
    make_account(account)
    account.resources().resource_groups.create_or_update("other", {"location": REGION})

    with pytest.raises(ResourceExistsError, match="StorageAccountAlreadyTaken"):
        storage(account).storage_accounts.begin_create("other", "acmebackups", BODY)
    with pytest.raises(HttpResponseError, match="AccountNameInvalid"):
        storage(account).storage_accounts.begin_create("byoc", "acme-backups", BODY)


def test_what_is_replaced_or_deleted_stays_as_a_version(account: Account) -> None:
    """Versions are listed, read, and deleted one by one; the current one only with its blob."""
    make_account(account)
    client = blobs(account)
    client.upload_blob("one", b"first")
    client.upload_blob("one", b"second", overwrite=True)
    first, second = client.list_blobs(include=["versions"])

    assert (first.is_current_version, second.is_current_version) == (None, True)
    assert client.download_blob("one").readall() == b"second"
    blob = client.get_blob_client("one")
    assert blob.download_blob(version_id=first.version_id).readall() == b"first"
    with pytest.raises(HttpResponseError, match="OperationNotAllowedOnRootBlob"):
        blob.delete_blob(version_id=second.version_id)
    blob.delete_blob()
    assert list(client.list_blobs()) == []
    assert not blob.exists()
    for version in client.list_blobs(include=["versions"]):
        blob.delete_blob(version_id=version.version_id)
    assert list(client.list_blobs(include=["versions"])) == []


def test_a_blob_is_not_overwritten_by_mistake(account: Account) -> None:
    """Only if the caller says so; what is not there is not found, and ranges are read."""
    make_account(account)
    client = blobs(account)
    client.upload_blob("one", b"0123456789", metadata={"records": "3"})

    with pytest.raises(ResourceExistsError, match="BlobAlreadyExists"):
        client.upload_blob("one", b"second")
    with pytest.raises(ResourceNotFoundError, match="BlobNotFound"):
        client.download_blob("two")
    assert client.download_blob("one", offset=2, length=3).readall() == b"234"
    found = client.get_blob_client("one").get_blob_properties()
    assert (found.size, found.metadata, found.blob_type) == (10, {"records": "3"}, "BlockBlob")


def test_a_locked_version_is_not_deleted(account: Account) -> None:
    """While its blob can be replaced. An unlocked policy can be lifted; a locked one can only grow."""
    make_account(account)
    client = blobs(account)
    client.upload_blob("one", b"first")
    blob = client.get_blob_client("one")

    lock(blob)
    with pytest.raises(ResourceExistsError, match="BlobImmutableDueToPolicy"):
        blob.delete_blob()
    client.upload_blob("one", b"second", overwrite=True)
    (former, _) = client.list_blobs(include=["versions", "immutabilitypolicy"])
    assert former.immutability_policy.policy_mode == "unlocked"
    with pytest.raises(ResourceExistsError, match="BlobImmutableDueToPolicy"):
        blob.delete_blob(version_id=former.version_id)
    blob.delete_immutability_policy(version_id=former.version_id)
    blob.delete_blob(version_id=former.version_id)
    lock(blob, mode="Locked", days=2)
    for shorter in (blob.delete_immutability_policy, lambda: lock(blob, mode="Locked", days=1)):
        with pytest.raises(ResourceExistsError, match="BlobImmutableDueToPolicy"):
            shorter()
    lock(blob, mode="Locked", days=3)


def test_a_lock_ends(slow_account: Account) -> None:
    """Then the blob can be deleted as any other."""
    client = storage(slow_account)
    client.storage_accounts.begin_create("byoc", "acmebackups", BODY, polling=False)
    slow_account.azure.cloud.clock.advance(60)
    client.blob_services.set_service_properties("byoc", "acmebackups", {"properties": {"isVersioningEnabled": True}})
    lockable = {"immutableStorageWithVersioning": {"enabled": True}}
    client.blob_containers.create("byoc", "acmebackups", "backups", {"properties": lockable})
    blobs(slow_account).upload_blob("one", b"1")
    lock(blobs(slow_account).get_blob_client("one"))

    slow_account.azure.cloud.clock.advance(2 * 86400)

    blobs(slow_account).delete_blob("one")
    assert list(blobs(slow_account).list_blobs()) == []


def test_a_legal_hold_has_no_end(account: Account) -> None:
    """Until somebody clears it."""
    make_account(account)
    blobs(account).upload_blob("one", b"1")
    blob = blobs(account).get_blob_client("one")

    blob.set_legal_hold(legal_hold=True)
    with pytest.raises(ResourceExistsError, match="BlobImmutableDueToPolicy"):
        blob.delete_blob()
    assert blob.get_blob_properties().has_legal_hold
    blob.set_legal_hold(legal_hold=False)
    blob.delete_blob()


def test_containers_with_locks_go_empty_and_before_their_account(account: Account) -> None:
    """Whether or not anything in them is locked now."""
    client = make_account(account)
    blobs(account).upload_blob("one", b"1")

    with pytest.raises(ResourceExistsError, match="contains blobs"):
        client.blob_containers.delete("byoc", "acmebackups", "backups")
    with pytest.raises(ResourceExistsError, match="immutable storage"):
        client.storage_accounts.delete("byoc", "acmebackups")
    with pytest.raises(ResourceExistsError, match="Versioning cannot be disabled"):
        client.blob_services.set_service_properties("byoc", "acmebackups", {"properties": {}})
    blobs(account).delete_blob("one")
    (left,) = blobs(account).list_blobs(include=["versions"])
    blobs(account).get_blob_client("one").delete_blob(version_id=left.version_id)
    client.blob_containers.delete("byoc", "acmebackups", "backups")
    client.storage_accounts.delete("byoc", "acmebackups")
    assert {each.type for each in account.azure.inventory(SUBSCRIPTION)} == {"resource-group"}


def test_locks_need_a_container_that_supports_them(account: Account) -> None:
    """And an account in which blobs have versions."""
    make_account(account, lockable=False)
    blobs(account).upload_blob("one", b"1")

    with pytest.raises(HttpResponseError, match="not enabled for the container"):
        lock(blobs(account).get_blob_client("one"))


def test_data_needs_roles_for_data(account: Account) -> None:
    """A contributor writes and deletes, and neither removes versions nor locks; a reader only reads."""
    make_account(account)
    blobs(account).upload_blob("one", b"1")
    application, credential = account.application()
    client = blobs(account, credential)
    principal = account.principal(application)

    with pytest.raises(HttpResponseError, match="AuthorizationPermissionMismatch"):
        client.download_blob("one")
    let_use(account, principal, READER, CONTAINER_ID)
    assert client.download_blob("one").readall() == b"1"
    with pytest.raises(HttpResponseError, match="AuthorizationPermissionMismatch"):
        client.upload_blob("two", b"2")
    let_use(account, principal, CONTRIBUTOR, CONTAINER_ID)
    client.upload_blob("two", b"2")
    (version,) = client.list_blobs(name_starts_with="two", include=["versions"])
    for refused in (
        lambda: lock(client.get_blob_client("two")),
        lambda: client.get_blob_client("two").delete_blob(version_id=version.version_id),
    ):
        with pytest.raises(HttpResponseError) as caught:
            refused()
        assert caught.value.status_code == 403
    let_use(account, principal, OWNER, CONTAINER_ID)
    lock(client.get_blob_client("two"))


def test_pods_read_and_write_as_their_identity(account: Account) -> None:
    """By the functions that a cluster's provider calls."""
    make_account(account)
    store = account.azure.cloud.identities.add_identity(account.tenant, "store")
    refused = account.azure.blobs.put_as(store, "acmebackups/backups", "one", b"1")
    let_use(account, store.object_id, CONTRIBUTOR, CONTAINER_ID)

    assert refused is not None
    assert refused.startswith("AuthorizationPermissionMismatch")
    assert account.azure.blobs.put_as(store, "acmebackups/backups", "one", b"1") is None
    assert account.azure.blobs.get_as(store, "acmebackups/backups", "one") == b"1"
    assert account.azure.blobs.get_as(store, "acmebackups/backups", "two") == (
        "BlobNotFound: The specified blob does not exist."
    )
    assert "no storage account" in str(account.azure.blobs.get_as(store, "other/backups", "one"))
    assert blobs(account).download_blob("one").readall() == b"1"
