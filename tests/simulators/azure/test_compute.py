"""Disks, snapshots, keys for disks, machine sizes and quotas, by the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.compute import ComputeManagementClient

from tests.simulators.azure.conftest import GROUP, NETWORK, REGION, SUBSCRIPTION, Account
from tests.simulators.azure.test_vaults import KEY_USER, let_use, make_key

DISK: dict[str, Any] = {
    "location": REGION,
    "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 32},
}


def compute(account: Account) -> Any:
    """Return a client for disks."""
    return account.client(ComputeManagementClient)


def encryption_set(account: Account) -> dict[str, Any]:
    """Return what an encryption set with a new key is made of."""
    key = make_key(account)
    properties = {"activeKey": {"keyUrl": key.key_uri_with_version}}
    return {"location": REGION, "identity": {"type": "SystemAssigned"}, "properties": properties}


def test_a_disk_grows_and_does_not_shrink(account: Account) -> None:
    """It keeps its own id; without a size there is none."""
    disks = compute(account).disks
    made = disks.begin_create_or_update("byoc", "data", DISK).result()
    grown = disks.begin_update("byoc", "data", {"properties": {"diskSizeGB": 64}}).result()

    assert (made.disk_size_gb, grown.disk_size_gb) == (32, 64)
    assert made.unique_id == grown.unique_id
    with pytest.raises(HttpResponseError, match="cannot be decreased"):
        disks.begin_update("byoc", "data", {"properties": {"diskSizeGB": 8}})
    with pytest.raises(HttpResponseError, match="InvalidParameter"):
        disks.begin_create_or_update(
            "byoc", "other", {"location": REGION, "properties": {"creationData": {"createOption": "Empty"}}}
        )
    disks.begin_delete("byoc", "data").result()
    assert list(disks.list_by_resource_group("byoc")) == []


def test_a_snapshot_outlives_its_disk(account: Account) -> None:
    """It has the disk's size, and a disk can be made of it again."""
    client = compute(account)
    disk = client.disks.begin_create_or_update("byoc", "data", DISK).result()
    copied = {"creationData": {"createOption": "Copy", "sourceResourceId": disk.id}}
    snapshot = client.snapshots.begin_create_or_update(
        "byoc", "data", {"location": REGION, "properties": copied}
    ).result()
    client.disks.begin_delete("byoc", "data").result()
    source = {"creationData": {"createOption": "Copy", "sourceResourceId": snapshot.id}}
    again = client.disks.begin_create_or_update("byoc", "again", {"location": REGION, "properties": source}).result()

    assert snapshot.completion_percent == 100
    assert (snapshot.disk_size_gb, again.disk_size_gb) == (32, 32)
    with pytest.raises(HttpResponseError, match="was not found"):
        client.snapshots.begin_create_or_update("byoc", "more", {"location": REGION, "properties": copied})


def test_an_encryption_set_has_an_identity_and_is_kept_by_its_disks(account: Account) -> None:
    """Its identity can be granted roles; a disk that uses it counts as encrypted with the customer's key."""
    client, wanted = compute(account), encryption_set(account)
    sets = client.disk_encryption_sets
    made = sets.begin_create_or_update("byoc", "keys", wanted).result()
    encryption = {"type": "EncryptionAtRestWithCustomerKey", "diskEncryptionSetId": made.id}
    disk = {"location": REGION, "properties": DISK["properties"] | {"encryption": encryption}}
    with pytest.raises(HttpResponseError, match="KeyVaultAccessForbidden"):
        client.disks.begin_create_or_update("byoc", "data", disk)
    let_use(account, made.identity.principal_id, KEY_USER)
    client.disks.begin_create_or_update("byoc", "data", disk).result()
    again = sets.begin_create_or_update("byoc", "keys", wanted).result()
    held = {resource.type: resource.encrypted for resource in account.azure.inventory(SUBSCRIPTION)}

    assert account.azure.cloud.identities.find(made.identity.principal_id) is not None
    assert again.identity.principal_id == made.identity.principal_id
    assert held["disk"] is True
    with pytest.raises(HttpResponseError, match="OperationNotAllowed"):
        sets.begin_delete("byoc", "keys")
    client.disks.begin_delete("byoc", "data").result()
    sets.begin_delete("byoc", "keys").result()
    assert account.azure.cloud.identities.find(made.identity.principal_id) is None


def test_a_disk_with_azures_own_key_does_not_count_as_encrypted(account: Account) -> None:
    """Proofs of encryption ask for the customer's key."""
    compute(account).disks.begin_create_or_update("byoc", "data", DISK).result()

    held = {resource.type: resource.encrypted for resource in account.azure.inventory(SUBSCRIPTION)}

    assert held["disk"] is False


def test_an_encryption_set_needs_a_key_by_its_version(account: Account) -> None:
    """Without one it is refused, and so are a key that is not there and a key whose version is not named."""
    sets, wanted = compute(account).disk_encryption_sets, encryption_set(account)
    for url in ("https://acme.vault.azure.net/keys/other/1", "https://acme.vault.azure.net/keys/disks"):
        with pytest.raises(HttpResponseError, match="KeyVaultKeyNotFound"):
            sets.begin_create_or_update("byoc", "keys", wanted | {"properties": {"activeKey": {"keyUrl": url}}})
    with pytest.raises(HttpResponseError, match="InvalidParameter"):
        compute(account).disk_encryption_sets.begin_create_or_update(
            "byoc", "keys", {"location": REGION, "properties": {}}
        )


def test_sizes_and_quotas_are_listed(account: Account) -> None:
    """Sizes by region with their zones; limits as the customer has them."""
    client = compute(account)
    account.azure.quotas.set_limit(SUBSCRIPTION, REGION, "standardDSv5Family", 12)

    usages = {usage.name.value: usage for usage in client.usage.list(REGION)}
    sizes = {size.name: size for size in client.resource_skus.list(filter=f"location eq '{REGION}'")}

    assert usages["standardDSv5Family"].limit == 12
    assert usages["cores"].limit == 350
    assert sizes["Standard_D4s_v5"].family == "standardDSv5Family"
    assert sizes["Standard_D4s_v5"].location_info[0].zones == ["1", "2", "3"]
    assert {size.locations[0] for size in sizes.values()} == {REGION}


def test_what_a_region_holds_of_networks_is_counted(account: Account) -> None:
    """Usages count what there is in the region; limits are as the customer has them."""
    client = account.network()
    client.virtual_networks.begin_create_or_update("byoc", "network", NETWORK).result()
    account.azure.quotas.set_limit(SUBSCRIPTION, REGION, "VirtualNetworks", 1)

    here = {usage.name.value: usage for usage in client.usages.list(REGION)}
    elsewhere = {usage.name.value: usage for usage in client.usages.list("eastus")}

    assert (here["VirtualNetworks"].current_value, here["VirtualNetworks"].limit) == (1, 1)
    assert (here["PublicIPAddresses"].current_value, here["PublicIPAddresses"].limit) == (0, 1000)
    assert elsewhere["VirtualNetworks"].current_value == 0


def test_a_group_goes_with_its_disks(account: Account) -> None:
    """The disks that use an encryption set go before it."""
    client = compute(account)
    made = client.disk_encryption_sets.begin_create_or_update("byoc", "keys", encryption_set(account)).result()
    let_use(account, made.identity.principal_id, KEY_USER)
    encryption = {"type": "EncryptionAtRestWithCustomerKey", "diskEncryptionSetId": made.id}
    disk = {"location": REGION, "properties": DISK["properties"] | {"encryption": encryption}}
    client.disks.begin_create_or_update("byoc", "data", disk).result()

    account.resources().resource_groups.begin_delete("byoc").result()

    assert made.id == f"{GROUP}/providers/Microsoft.Compute/diskEncryptionSets/keys"
    assert [resource.type for resource in account.azure.inventory(SUBSCRIPTION)] == ["deleted-vault"]
