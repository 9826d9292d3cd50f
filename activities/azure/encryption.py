"""The encryption key of a deployment: of the cluster's secrets, of disks (by an encryption set) and of backups.

Each generation has a vault of its own, protected from purging: a deleted one goes for good after a week, and with it
everything that was encrypted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from azure.keyvault.keys import KeyClient, KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from temporalio import activity

from activities.azure.backups import LOOKING_FOR_LOCKS, locked_until
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.granting import ASSIGNING, BuiltInRole, give_role
from activities.azure.groups import EMPTYING, ENSURING, group_name
from activities.azure.ids import resource_id
from activities.azure.ownership import find_ours, is_ours, ours_or_none, tags_with_ours
from activities.azure.vault import ENSURING_VAULT, REMOVING_VAULT, VAULT, AzureVaults, keys_vault, vault_id, vault_url
from activities.contracts import FoundationContract, Retention
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Key
from domain.naming import TAG_RESOURCE, TAG_RETAINED_UNTIL, owner_tags, resource_name

KEY = "deployment"
"""The key's name in its vault."""
ROTATION = "P365D"
_SIZE = 3072
"""Bits."""
_SET = "Microsoft.Compute/diskEncryptionSets"


class AzureEncryption(AzureVaults, FoundationContract):
    """Makes the key and the encryption set of disks, and takes them away."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *ENSURING, *ENSURING_VAULT, f"{VAULT}/keys/read", f"{VAULT}/keys/write",
        f"{VAULT}/keyrotationpolicies/write", f"{_SET}/read", f"{_SET}/write", *ASSIGNING,
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_encryption_key(self, site: Site) -> Key:
        """One key of this generation exists, rotated every year, and the encryption set with which disks use it.

        Nobody else is given a role at the key here. Its vault takes roles alone, and nobody can purge it.
        """
        with failures_named(resource=keys_vault(site)):
            self._ensure_group(site)
            vaults = self._connections.client(KeyVaultManagementClient, site, Purpose.OPERATE)
            vault = self._ensure_vault(vaults, site, keys_vault(site), "key", protected=True)
            key = self._ensure_key(vaults, site)
            self._ensure_set(site, str(vault.id), key)
        return Key(key_id=str(key.key_uri))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *EMPTYING, *REMOVING_VAULT, f"{VAULT}/write", f"{_SET}/delete", f"{_SET}/read", *LOOKING_FOR_LOCKS,
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_encryption_key(self, retention: Retention) -> None:
        """The encryption set is gone, and every vault with a key, unless kept backups need it until a lock ends.

        A vault that is gone can be recovered for a week; then the key is gone for good.
        """
        site = retention.site
        with failures_named(resource=keys_vault(site)):
            self._remove_set(site)
            vaults = self._connections.client(KeyVaultManagementClient, site, Purpose.DELETE)
            listed = if_exists(lambda: list(vaults.vaults.list_by_resource_group(group_name(site)))) or []
            ours = [vault for vault in listed if is_ours(vault.tags, site) and vault.tags.get(TAG_RESOURCE) == "key"]
            needed_until = self._backups_locked_until(site) if retention.keep_backups else None
            for vault in ours:
                if needed_until is None:
                    self._remove_vault(vaults, site, str(vault.name))
                    continue
                tags = {**vault.tags, TAG_RETAINED_UNTIL: needed_until.date().isoformat()}
                if tags != dict(vault.tags):
                    vaults.vaults.update(group_name(site), str(vault.name), {"tags": tags})
            self._delete_group_if_empty(site)

    def _backups_locked_until(self, site: Site) -> datetime | None:
        """Return when the last lock on a backup ends; None if no backup is locked."""
        return locked_until(self._connections, site, now=datetime.now(UTC))

    def _ensure_key(self, vaults: KeyVaultManagementClient, site: Site) -> Any:  # noqa: ANN401 - the SDK is not typed here
        place = (group_name(site), keys_vault(site), KEY)
        found = if_exists(lambda: vaults.keys.get(*place))
        if found is None:
            rotation = {"trigger": {"timeAfterCreate": ROTATION}, "action": {"type": "rotate"}}
            properties = {"kty": "RSA", "keySize": _SIZE, "rotationPolicy": {"lifetimeActions": [rotation]}}
            wanted = {"tags": owner_tags(site, "key"), "properties": properties}
            # An existing key is returned as it is, whatever is asked for.
            return vaults.keys.create_if_not_exist(*place, wanted)
        if not _is_rotated(found):
            self._rotate_yearly(site)
        return found

    def _rotate_yearly(self, site: Site) -> None:
        """Put the rotation of the key back; Resource Manager makes keys and does not change them."""
        credential = self._connections.credential(site, Purpose.OPERATE)
        keys = KeyClient(vault_url(keys_vault(site)), credential, **self._connections.options())
        action = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create=ROTATION)
        keys.update_key_rotation_policy(KEY, KeyRotationPolicy(lifetime_actions=[action]))

    def _ensure_set(self, site: Site, vault: str, key: Any) -> None:  # noqa: ANN401 - the SDK is not typed here
        name = encryption_set_name(site)
        sets = self._connections.client(ComputeManagementClient, site, Purpose.OPERATE).disk_encryption_sets
        found = find_ours(lambda: sets.get(group_name(site), name), site, f"disk encryption set {name}")
        if found is None or not _encrypts_with(found, str(key.key_uri)):
            # Azure itself replaces the version by the newest one whenever the key is rotated.
            properties = {
                "activeKey": {"sourceVault": {"id": vault}, "keyUrl": str(key.key_uri_with_version)},
                "encryptionType": "EncryptionAtRestWithCustomerKey",
                "rotationToLatestKeyVersionEnabled": True,
            }
            tags = tags_with_ours(found.tags if found is not None else None, owner_tags(site, "disks"))
            identity = {"type": "SystemAssigned"}
            wanted = {"location": site.region, "tags": tags, "identity": identity, "properties": properties}
            sets.begin_create_or_update(group_name(site), name, wanted, polling=False)
        made = self._made(lambda: sets.get(group_name(site), name), f"disk encryption set {name}")
        authorization = self._connections.client(AuthorizationManagementClient, site, Purpose.OPERATE)
        give_role(
            authorization, site, key_resource_id(site), BuiltInRole.KEY_ENCRYPTION_USER, str(made.identity.principal_id)
        )

    def _remove_set(self, site: Site) -> None:
        name = encryption_set_name(site)
        sets = self._connections.client(ComputeManagementClient, site, Purpose.DELETE).disk_encryption_sets
        found = ours_or_none(if_exists(lambda: sets.get(group_name(site), name)), site)
        if found is not None:
            if str(found.provisioning_state) != "Deleting":
                if_exists(lambda: sets.begin_delete(group_name(site), name, polling=False))
            self._gone(lambda: if_exists(lambda: sets.get(group_name(site), name)), f"disk encryption set {name}")


def encryption_set_name(site: Site) -> str:
    """Return the name of the deployment's disk encryption set."""
    return resource_name(site, "disks")


def encryption_set_id(site: Site) -> str:
    """Return its resource id, which a storage class and node pools name."""
    return resource_id(site, _SET, encryption_set_name(site))


def key_resource_id(site: Site) -> str:
    """Return the resource id of this generation's key, at which roles are given."""
    return f"{vault_id(site, keys_vault(site))}/keys/{KEY}"


def current_key_url(vaults: KeyVaultManagementClient, site: Site) -> str:
    """Return the URL of the key's newest version, for services that take no key without one."""
    return str(vaults.keys.get(group_name(site), keys_vault(site), KEY).key_uri_with_version)


def _is_rotated(key: Any) -> bool:  # noqa: ANN401 - the SDK is not typed here
    actions = (key.rotation_policy.lifetime_actions or []) if key.rotation_policy is not None else []
    return any(
        str(getattr(entry.action.type, "value", entry.action.type)).lower() == "rotate"
        and entry.trigger.time_after_create == ROTATION
        for entry in actions
    )


def _encrypts_with(encryption_set: Any, key_url: str) -> bool:  # noqa: ANN401 - the SDK is not typed here
    active = encryption_set.active_key
    return (
        active is not None
        and str(active.key_url).startswith(f"{key_url}/")
        and bool(encryption_set.rotation_to_latest_key_version_enabled)
    )
