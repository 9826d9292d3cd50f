"""The deployment's key, its vault, and the encryption set of disks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from azure.keyvault.keys import KeyClient, KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient

from activities.azure.connection import AzureConnections
from activities.azure.encryption import (
    KEY,
    ROTATION,
    AzureEncryption,
    current_key_url,
    encryption_set_id,
    encryption_set_name,
    key_resource_id,
)
from activities.azure.granting import BuiltInRole
from activities.azure.groups import group_name
from activities.azure.settings import AzureSettings
from activities.azure.transport import LoopbackTransport
from activities.azure.vault import keys_vault, vault_url
from activities.cloud import Activity
from activities.contracts import Retention
from domain.facts import Key
from domain.failure import FailureClass
from domain.naming import owner_tags
from tests.activities.azure.conftest import REGION, Account, Owner, activities_of


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run."""
    return activities_of(AzureEncryption)(settings, connections)


@pytest.fixture
def key(account: Account) -> Key:
    """The deployment's key."""
    key: Key = account.run("create_encryption_key", account.site)
    return key


def vaults(account: Account) -> KeyVaultManagementClient:
    """Return the owner's client for vaults."""
    return account.customer(KeyVaultManagementClient)


def types(account: Account) -> list[str]:
    """Return the types of what the subscription holds."""
    return sorted(each.type for each in account.resources())


def make_disk(account: Account) -> Any:
    """Make a disk that is encrypted with the deployment's set."""
    encryption = {
        "type": "EncryptionAtRestWithCustomerKey",
        "diskEncryptionSetId": encryption_set_id(account.site),
    }
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 8, "encryption": encryption}
    disks = account.customer(ComputeManagementClient).disks
    wanted = {"location": REGION, "properties": properties}
    return disks.begin_create_or_update(group_name(account.site), "data", wanted).result()


def test_the_key_is_rotated_and_its_vault_protected(account: Account, key: Key) -> None:
    """Nobody can purge the vault, and it asks for roles; the key gets a new version each year."""
    vault = vaults(account).vaults.get(group_name(account.site), keys_vault(account.site))
    found = vaults(account).keys.get(group_name(account.site), keys_vault(account.site), KEY)

    assert vault.location == REGION
    assert vault.properties.enable_purge_protection
    assert vault.properties.enable_rbac_authorization
    assert vault.tags == owner_tags(account.site, "key")
    assert key.key_id == found.key_uri
    assert found.id == key_resource_id(account.site)
    (action,) = found.rotation_policy.lifetime_actions
    assert (action.action.type, action.trigger.time_after_create) == ("rotate", ROTATION)


def test_disks_are_encrypted_with_it(account: Account, key: Key) -> None:
    """The encryption set takes the key's newest version, and has the role at the key that it needs."""
    site, made = account.site, make_disk(account)

    assert made.provisioning_state == "Succeeded"
    sets = account.customer(ComputeManagementClient).disk_encryption_sets
    found = sets.get(group_name(site), encryption_set_name(site))
    assert found.active_key.key_url == current_key_url(vaults(account), site)
    assert found.rotation_to_latest_key_version_enabled
    (granted,) = [each for each in account.resources() if each.type == "role-assignment"]
    assert granted.id.startswith(key_resource_id(site))
    assert granted.details["roleDefinitionId"].endswith(BuiltInRole.KEY_ENCRYPTION_USER)


def test_making_it_again_changes_nothing(account: Account, key: Key) -> None:
    """Vault, key and set are only looked at, even after the key was rotated."""
    transport = LoopbackTransport(account.endpoints.azure_url)
    with KeyClient(vault_url(keys_vault(account.site)), Owner(account.subscription), transport=transport) as keys:  # type: ignore[arg-type]
        keys.rotate_key(KEY)
    before = account.control.position()

    assert account.run("create_encryption_key", account.site) == key
    assert account.changes(before) == []


def test_what_was_changed_is_put_back(account: Account, key: Key) -> None:
    """Rotation is as before after the next run, and tags that the customer added stay."""
    name = keys_vault(account.site)
    transport = LoopbackTransport(account.endpoints.azure_url)
    slower = KeyRotationLifetimeAction(KeyRotationPolicyAction.notify, time_before_expiry="P30D")
    with KeyClient(vault_url(name), Owner(account.subscription), transport=transport) as keys:  # type: ignore[arg-type]
        keys.update_key_rotation_policy(KEY, KeyRotationPolicy(lifetime_actions=[slower]))
    vault = vaults(account).vaults.get(group_name(account.site), name)
    vaults(account).vaults.update(group_name(account.site), name, {"tags": {**vault.tags, "cost-center": "42"}})

    account.run("create_encryption_key", account.site)

    found = vaults(account).keys.get(group_name(account.site), name, KEY)
    assert [entry.action.type for entry in found.rotation_policy.lifetime_actions] == ["rotate"]
    assert vaults(account).vaults.get(group_name(account.site), name).tags["cost-center"] == "42"


def test_a_deleted_key_goes_after_a_week_and_comes_back_before(account: Account, key: Key) -> None:
    """Its vault is deleted softly; what is made again in the same generation is what was there."""
    for _ in range(2):
        account.run("delete_encryption_key", Retention(site=account.site))
    held = types(account)

    again = account.run("create_encryption_key", account.site)

    assert held == ["deleted-vault"]
    assert again == key
    assert types(account) == ["disk-encryption-set", "key", "resource-group", "role-assignment", "vault"]


def test_another_generation_has_another_key(account: Account, key: Key) -> None:
    """The former one's vault is in nobody's way."""
    account.run("delete_encryption_key", Retention(site=account.site))

    again = account.run("create_encryption_key", account.site.model_copy(update={"generation": 2}))

    assert again.key_id != key.key_id


def test_a_set_that_disks_use_keeps_the_key(account: Account, key: Key) -> None:
    """The deletion says that it is in use, and the key stays."""
    make_disk(account)

    detail = account.attempt_once("delete_encryption_key", Retention(site=account.site))

    assert detail is not None
    assert detail.failure is FailureClass.CONFLICT
    assert "key" in types(account)
