"""Key vaults and the keys in them: soft deletion, recovery, purging, rotation, and who may do what."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.keys import KeyClient, KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient

from activities.azure.transport import LoopbackTransport
from simulators.azure.roles import DEFINITIONS
from tests.simulators.azure.conftest import GROUP, REGION, SUBSCRIPTION, Account, Owner

VAULT_ID = f"{GROUP}/providers/Microsoft.KeyVault/vaults/acme"
URL = "https://acme.vault.azure.net"
KEY_USER = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
KEY: dict[str, Any] = {"tags": {"who": "us"}, "properties": {"kty": "RSA", "keySize": 2048}}
WEEK = 7 * 86400


def vaults(account: Account, credential: Any = None) -> Any:
    """Return a client for vaults."""
    return account.client(KeyVaultManagementClient, credential)


def wanted(account: Account, *, protected: bool = True) -> dict[str, Any]:
    """Return what a vault is made of."""
    properties: dict[str, Any] = {
        "tenantId": account.tenant,
        "sku": {"family": "A", "name": "standard"},
        "accessPolicies": [],
        "enableRbacAuthorization": True,
        "softDeleteRetentionInDays": 7,
    }
    if protected:
        properties["enablePurgeProtection"] = True
    return {"location": REGION, "tags": {"who": "us"}, "properties": properties}


def make_vault(account: Account, *, protected: bool = True) -> Any:
    """Make a vault."""
    document = wanted(account, protected=protected)
    return vaults(account).vaults.begin_create_or_update("byoc", "acme", document).result()


def make_key(account: Account, *, protected: bool = True) -> Any:
    """Make a vault with a key in it."""
    make_vault(account, protected=protected)
    return vaults(account).keys.create_if_not_exist("byoc", "acme", "disks", KEY)


def let_use(account: Account, principal: str, role: str, scope: str = VAULT_ID) -> None:
    """Give a principal a role of Azure's own."""
    properties = {
        "roleDefinitionId": f"/subscriptions/{SUBSCRIPTION}{DEFINITIONS}{role}",
        "principalId": principal,
        "principalType": "ServicePrincipal",
    }
    assignments = account.client(AuthorizationManagementClient).role_assignments
    assignments.create(scope, str(uuid4()), {"properties": properties})


def keys(account: Account, credential: Any = None) -> Any:
    """Return a client for the keys in the vault."""
    return KeyClient(URL, credential or Owner(), transport=LoopbackTransport(account.azure.url), retry_total=0)


def states(account: Account) -> dict[str, str]:
    """Return the vaults of the subscription with their states, keyed by type."""
    held = account.azure.inventory(SUBSCRIPTION)
    return {each.type: each.state for each in held if each.service == "keyvault"}


def test_a_vault_is_put_away_and_recovered_with_its_keys(account: Account) -> None:
    """Its name is taken meanwhile; roles that were given at it are not brought back."""
    key = make_key(account)
    client = vaults(account)
    let_use(account, account.azure.cloud.identities.add_identity(account.tenant, "x").object_id, KEY_USER)

    client.vaults.delete("byoc", "acme")

    assert states(account) == {"deleted-vault": "SoftDeleted"}
    deleted = client.vaults.get_deleted("acme", REGION)
    assert (deleted.properties.vault_id, deleted.properties.tags) == (VAULT_ID, {"who": "us"})
    assert [each.name for each in client.vaults.list_deleted()] == ["acme"]
    with pytest.raises(HttpResponseError, match="deleted state"):
        make_vault(account)
    again = wanted(account)
    again["properties"]["createMode"] = "recover"
    client.vaults.begin_create_or_update("byoc", "acme", again).result()
    assert client.keys.get("byoc", "acme", "disks").key_uri_with_version == key.key_uri_with_version
    assert states(account) == {"vault": "Succeeded", "key": ""}
    assert "role-assignment" not in {each.type for each in account.azure.inventory(SUBSCRIPTION)}


def test_nobody_purges_a_protected_vault_before_its_time(slow_account: Account) -> None:
    """After the days of its soft deletion it is gone by itself."""
    slow_account.azure.cloud.subscription_ready(SUBSCRIPTION)
    client = vaults(slow_account)
    client.vaults.begin_create_or_update("byoc", "acme", wanted(slow_account), polling=False)
    assert client.vaults.get("byoc", "acme").properties.provisioning_state == "RegisteringDns"
    slow_account.azure.cloud.clock.advance(60)
    client.vaults.delete("byoc", "acme")

    with pytest.raises(HttpResponseError, match="DeletedVaultPurge"):
        client.vaults.begin_purge_deleted("acme", REGION)
    slow_account.azure.cloud.clock.advance(WEEK)

    with pytest.raises(ResourceNotFoundError, match="DeletedVaultNotFound"):
        client.vaults.get_deleted("acme", REGION)


def test_an_unprotected_vault_can_be_purged(account: Account) -> None:
    """Then its name is free."""
    make_vault(account, protected=False)
    client = vaults(account)
    client.vaults.delete("byoc", "acme")

    client.vaults.begin_purge_deleted("acme", REGION).result()

    assert states(account) == {}
    assert make_vault(account).properties.provisioning_state == "Succeeded"


def test_what_cannot_be_undone_is_refused(account: Account) -> None:
    """Purge protection stays, and so do the days of soft deletion."""
    make_vault(account)
    client = vaults(account)

    for change in ({"enablePurgeProtection": False}, {"softDeleteRetentionInDays": 30}):
        with pytest.raises(HttpResponseError, match="BadRequest"):
            client.vaults.update("byoc", "acme", {"properties": change})
    client.vaults.update("byoc", "acme", {"tags": {}})
    assert client.vaults.get("byoc", "acme").tags == {}


def test_names_are_taken_all_over_the_world(account: Account) -> None:
    """Another group cannot have a vault of the same name."""
    make_vault(account)
    account.resources().resource_groups.create_or_update("other", {"location": REGION})

    with pytest.raises(HttpResponseError, match="VaultAlreadyExists"):
        vaults(account).vaults.begin_create_or_update("other", "acme", wanted(account))


def test_a_key_is_made_once(account: Account) -> None:
    """Another wish for the same key returns it as it is, and Resource Manager deletes none."""
    made = make_key(account)
    again = vaults(account).keys.create_if_not_exist("byoc", "acme", "disks", {"properties": {"kty": "EC"}})

    assert again.key_uri_with_version == made.key_uri_with_version
    assert again.kty == "RSA"
    assert not account.azure.cloud.world.journal.calls()[-1].changed
    assert "_all" not in made.as_dict()


def test_a_key_is_rotated_by_its_vault(account: Account) -> None:
    """A new version is the current one, by every way to look at it; the policy is set there too."""
    made = make_key(account)
    yearly = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P365D")
    with keys(account) as client:
        client.update_key_rotation_policy("disks", KeyRotationPolicy(lifetime_actions=[yearly]))
        rotated = client.rotate_key("disks")
        former = client.get_key("disks", made.key_uri_with_version.rpartition("/")[2])

    found = vaults(account).keys.get("byoc", "acme", "disks")
    assert found.key_uri_with_version == rotated.id != former.id == made.key_uri_with_version
    assert found.rotation_policy.lifetime_actions[0].trigger.time_after_create == "P365D"


def test_data_needs_roles_for_data(account: Account) -> None:
    """Whoever manages the vault may not use what is in it; the refusal names the action."""
    make_key(account)
    application, credential = account.application()
    let_use(account, account.principal(application), "b24988ac-6180-42a0-ab88-20f7382dd24c")

    with keys(account, credential) as client, pytest.raises(HttpResponseError) as caught:
        client.get_key("disks")

    assert caught.value.status_code == 403
    assert "Action: 'Microsoft.KeyVault/vaults/keys/read'" in str(caught.value.message)
    let_use(account, account.principal(application), KEY_USER)
    with keys(account, credential) as client:
        assert client.get_key("disks").name == "disks"
