"""The storage account for backups, with one container in it: versioned, lockable, encrypted with the deployment's key.

Only Entra's tokens open it: there are no shared keys and no public access. It is not limited to networks, as the
control plane looks at backups too, and a network of the customer's own is not ours to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.storage import StorageManagementClient
from temporalio import activity

from activities.azure.backups import (
    ACCOUNT,
    BLOBS,
    CHANGE_LOCKS,
    CONTAINER,
    CONTAINERS,
    READ_BLOBS,
    account_name,
    blob_service,
    bucket_name,
    container_id,
    lock_of,
    needing,
    versions,
)
from activities.azure.encryption import key_resource_id
from activities.azure.errors import code_of, failures_named
from activities.azure.existing import if_exists
from activities.azure.granting import ASSIGNING, BuiltInRole, give_role
from activities.azure.groups import EMPTYING, ENSURING, group_name
from activities.azure.ownership import find_ours, ours_or_none, require_ours, tags_with_ours
from activities.azure.part import AzurePart
from activities.azure.roles import IDENTITY, RoleName
from activities.contracts import BucketRequest, FoundationContract, Retention
from activities.failures import refused
from activities.needs import needs
from activities.patience import is_young
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Bucket
from domain.failure import FailureClass
from domain.naming import TAG_RETAINED_UNTIL, owner_tags, resource_name

_ROLES = {RoleName.STORE: BuiltInRole.BLOB_CONTRIBUTOR, RoleName.RESTORE: BuiltInRole.BLOB_READER}
"""What the deployment's identities may do with backups."""
_KEY_REFUSED = "KeyVaultAuthenticationFailure"
_DELETE_BLOBS, _DELETE_VERSIONS = f"{BLOBS}/delete", f"{BLOBS}/deleteBlobVersion/action"


class AzureBackupBucket(AzurePart, FoundationContract):
    """Makes and deletes the account."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *ENSURING, f"{IDENTITY}/read", f"{IDENTITY}/write", f"{IDENTITY}/assign/action", *ASSIGNING,
        f"{ACCOUNT}/read", f"{ACCOUNT}/write", f"{ACCOUNT}/blobServices/read", f"{ACCOUNT}/blobServices/write",
        f"{CONTAINERS}/read", f"{CONTAINERS}/write",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_backup_bucket(self, request: BucketRequest) -> Bucket:
        """The account exists in the region, over its zones, and in it the container, in which versions can be locked.

        Nothing is locked by default: each backup gets the lock of its own retention. The store's identity may write
        there and that of the proof of a restore may read, as soon as they exist.
        """
        site, name = request.site, account_name(request.site)
        with failures_named(resource=name):
            self._ensure_group(site)
            storage = self._connections.client(StorageManagementClient, site, Purpose.OPERATE)
            exists = self._has_account(storage, site)
            identity = self._ensure_identity(site)
            self._ensure_account(storage, site, identity, request.key.key_id, exists=exists)
            self._ensure_container(storage, site)
            self._let_workloads_in(site)
        return Bucket(name=bucket_name(site))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *EMPTYING, f"{IDENTITY}/delete", f"{IDENTITY}/read", f"{ACCOUNT}/delete", f"{ACCOUNT}/read",
        f"{ACCOUNT}/write", f"{CONTAINERS}/delete", f"{CONTAINERS}/read", READ_BLOBS, CHANGE_LOCKS, _DELETE_BLOBS,
        _DELETE_VERSIONS,
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_backup_bucket(self, retention: Retention) -> None:
        """The account is gone with every backup; with kept ones, the locked versions stay, and the account with them.

        With the account stays the identity by which it uses the key.
        """
        site, name = retention.site, account_name(retention.site)
        with failures_named(resource=name):
            storage = self._connections.client(StorageManagementClient, site, Purpose.DELETE)
            accounts = storage.storage_accounts
            found = find_ours(lambda: accounts.get_properties(group_name(site), name), site, f"storage account {name}")
            if found is not None:
                kept_until = self._empty(site, keep_locked=retention.keep_backups)
                if kept_until is not None:
                    tags = {**found.tags, TAG_RETAINED_UNTIL: kept_until.date().isoformat()}
                    if tags != dict(found.tags):
                        storage.storage_accounts.update(group_name(site), name, {"tags": tags})
                    return
                # An account with a container in which versions can be locked cannot be deleted.
                if if_exists(lambda: storage.blob_containers.get(group_name(site), name, CONTAINER)) is not None:
                    storage.blob_containers.delete(group_name(site), name, CONTAINER)
                storage.storage_accounts.delete(group_name(site), name)
            self._remove_identity(site)
            self._delete_group_if_empty(site)

    def _ensure_identity(self, site: Site) -> Any:  # noqa: ANN401 - the SDK is not typed here
        """Return the identity by which the account uses the key; it may do nothing else."""
        name = backup_identity(site)
        identities = self._connections.client(ManagedServiceIdentityClient, site, Purpose.OPERATE)
        found = if_exists(lambda: identities.user_assigned_identities.get(group_name(site), name))
        if found is None:
            wanted = {"location": site.region, "tags": owner_tags(site, "backups")}
            found = identities.user_assigned_identities.create_or_update(group_name(site), name, wanted)
        require_ours(found.tags, site, f"identity {name}")
        authorization = self._connections.client(AuthorizationManagementClient, site, Purpose.OPERATE)
        key, principal = key_resource_id(site), str(found.principal_id)
        give_role(authorization, site, key, BuiltInRole.KEY_ENCRYPTION_USER, principal)
        return found

    def _remove_identity(self, site: Site) -> None:
        name = backup_identity(site)
        identities = self._connections.client(ManagedServiceIdentityClient, site, Purpose.DELETE)
        found = if_exists(lambda: identities.user_assigned_identities.get(group_name(site), name))
        if ours_or_none(found, site) is not None:
            identities.user_assigned_identities.delete(group_name(site), name)

    @staticmethod
    def _has_account(storage: StorageManagementClient, site: Site) -> bool:
        """Return whether the account exists, as it has to be where it cannot change.

        Raises:
            ApplicationError: NOT_OURS, CONFIG.
        """
        name, what = account_name(site), f"storage account {account_name(site)}"
        found = find_ours(lambda: storage.storage_accounts.get_properties(group_name(site), name), site, what)
        if found is None:
            return False
        if found.location != site.region:
            message = f"The {what} lies in {found.location}, not in {site.region}; it cannot move"
            raise refused(FailureClass.CONFIG, message, resource=name)
        return True

    def _ensure_account(
        self,
        storage: StorageManagementClient,
        site: Site,
        identity: Any,  # noqa: ANN401 - the SDK is not typed here
        key: str,
        *,
        exists: bool,
    ) -> None:
        name, what = account_name(site), f"storage account {account_name(site)}"
        wanted = _settings(str(identity.id), key)
        if not exists:
            self._create_account(storage, site, str(identity.id), wanted)
        account = self._made(lambda: storage.storage_accounts.get_properties(group_name(site), name), what)
        tags = _tags(account.tags, site)
        if dict(account.tags) != tags or _differs(account, wanted):
            change = {"tags": tags, "identity": _assigned(str(identity.id)), "properties": wanted}
            storage.storage_accounts.update(group_name(site), name, change)

    def _create_account(
        self, storage: StorageManagementClient, site: Site, identity: str, properties: Mapping[str, object]
    ) -> None:
        name = account_name(site)
        wanted = {
            "location": site.region,
            "kind": "StorageV2",
            "sku": {"name": "Standard_ZRS"},
            "tags": owner_tags(site, "backups"),
            "identity": _assigned(identity),
            "properties": properties,
        }
        try:
            storage.storage_accounts.begin_create(group_name(site), name, wanted, polling=False)
        except HttpResponseError as error:
            if code_of(error) == "StorageAccountAlreadyTaken":
                message = f"The name {name} of the storage account is taken by another subscription"
                raise refused(FailureClass.NOT_OURS, message, resource=name) from error
            # A role takes minutes to count; after the grace the customer is told.
            if code_of(error) == _KEY_REFUSED and is_young(self._settings.delegation_grace):
                raise self._look_again("the identity's role at the key does not count yet") from error
            raise

    def _ensure_container(self, storage: StorageManagementClient, site: Site) -> None:
        group, account = group_name(site), account_name(site)
        if not storage.blob_services.get_service_properties(group, account).is_versioning_enabled:
            storage.blob_services.set_service_properties(group, account, {"properties": {"isVersioningEnabled": True}})
        found = if_exists(lambda: storage.blob_containers.get(group, account, CONTAINER))
        if found is None:
            properties = {"publicAccess": "None", "immutableStorageWithVersioning": {"enabled": True}}
            storage.blob_containers.create(group, account, CONTAINER, {"properties": properties})
        elif not (found.immutable_storage_with_versioning and found.immutable_storage_with_versioning.enabled):
            message = f"The container {account}/{CONTAINER} was made without locks for versions; it has to be made anew"
            raise refused(FailureClass.CONFIG, message, resource=f"{account}/{CONTAINER}")

    def _let_workloads_in(self, site: Site) -> None:
        """Give the identities of workloads their roles at the container.

        Raises:
            ApplicationError: NOT_READY while they, which are made meanwhile, do not exist.
        """
        identities = self._connections.client(ManagedServiceIdentityClient, site, Purpose.OPERATE)
        authorization = self._connections.client(AuthorizationManagementClient, site, Purpose.OPERATE)
        for workload, role in _ROLES.items():
            name = resource_name(site, workload)
            found = if_exists(partial(identities.user_assigned_identities.get, group_name(site), name))
            if found is None:
                raise self._look_again(f"the identity {name}, which uses the backups, does not exist yet")
            give_role(authorization, site, container_id(site), role, str(found.principal_id))

    def _empty(self, site: Site, *, keep_locked: bool) -> datetime | None:
        """Delete every version (with `keep_locked`, every one without a lock); return when the last kept lock ends."""
        found = if_exists(lambda: versions(self._connections, site, Purpose.DELETE)) or []
        now = datetime.now(UTC)
        locks = [until for until in map(lock_of, found) if until is not None and until > now]
        doomed = [blob for blob in found if not keep_locked or (lock_of(blob) or now) <= now]
        service = blob_service(self._connections, site, Purpose.DELETE, account_name(site))
        for blob in doomed:
            client = service.get_blob_client(CONTAINER, blob.name)
            if (lock_of(blob) or now) > now:
                with needing(CHANGE_LOCKS, bucket_name(site)):
                    client.delete_immutability_policy(version_id=blob.version_id)
            if blob.is_current_version:
                # A current version cannot be deleted as such; a blob that is deleted leaves it as a former one.
                with needing(_DELETE_BLOBS, bucket_name(site)):
                    client.delete_blob()
            with needing(_DELETE_VERSIONS, bucket_name(site)):
                if_exists(partial(client.delete_blob, version_id=blob.version_id))
        return max(locks, default=None) if keep_locked else None


def backup_identity(site: Site) -> str:
    """Return the name of the identity by which the account uses the key."""
    return resource_name(site, "backups")


def _assigned(identity: str) -> dict[str, object]:
    return {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}


def _settings(identity: str, key: str) -> dict[str, object]:
    """Return what has to be so, as the API spells it; the newest version of the key is used by itself."""
    vault, _, name = key.partition("/keys/")
    return {
        "allowBlobPublicAccess": False,
        "allowCrossTenantReplication": False,
        "allowSharedKeyAccess": False,
        "defaultToOAuthAuthentication": True,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
        "encryption": {
            "keySource": "Microsoft.Keyvault",
            "keyvaultproperties": {"keyvaulturi": vault, "keyname": name},
            "identity": {"userAssignedIdentity": identity},
            "services": {"blob": {"enabled": True, "keyType": "Account"}},
        },
    }


def _differs(account: Any, wanted: Mapping[str, object]) -> bool:  # noqa: ANN401 - the SDK is not typed here
    """Return whether an account is set otherwise."""
    properties = account.as_dict()["properties"]
    if any(properties.get(name) != value for name, value in wanted.items() if name != "encryption"):
        return True
    encryption, present = wanted["encryption"], properties.get("encryption") or {}
    assert isinstance(encryption, dict)
    key = present.get("keyvaultproperties") or {}
    asked = encryption["keyvaultproperties"]
    return (
        present.get("keySource") != encryption["keySource"]
        or str(key.get("keyvaulturi", "")).rstrip("/") != asked["keyvaulturi"]
        or key.get("keyname") != asked["keyname"]
        or bool(key.get("keyversion"))
        or str((present.get("identity") or {}).get("userAssignedIdentity", "")).lower()
        != str(encryption["identity"]["userAssignedIdentity"]).lower()
    )


def _tags(present: Mapping[str, str] | None, site: Site) -> dict[str, str]:
    """Return the tags of an account in use; those that the customer added stay."""
    tags = tags_with_ours(present, owner_tags(site, "backups"))
    tags.pop(TAG_RETAINED_UNTIL, None)
    return tags
