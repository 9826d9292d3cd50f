"""Key vaults: what all of a deployment's have in common, from the first look to the soft deletion and its end.

A vault that is deleted stays for a week in which it can be recovered, and its name stays taken: in all of Azure. One
that is protected from purging, which keys for disks and storage need to be, stays so long whatever anybody does.
"""

from __future__ import annotations

from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.mgmt.keyvault import KeyVaultManagementClient

from activities.azure.errors import code_of
from activities.azure.existing import if_exists
from activities.azure.groups import group_name
from activities.azure.ids import resource_id
from activities.azure.ownership import ours_or_none, require_ours, tags_with_ours
from activities.azure.part import AzurePart
from activities.failures import refused
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import TAG_RETAINED_UNTIL, owner_tags, short_name

VAULT = "Microsoft.KeyVault/vaults"
ENSURING_VAULT = (f"{VAULT}/read", f"{VAULT}/write", "Microsoft.KeyVault/locations/deletedVaults/read")
"""What making a vault needs."""
REMOVING_VAULT = (f"{VAULT}/delete", f"{VAULT}/read")
"""What deleting one needs."""
RECOVERABLE_DAYS = 7
"""The shortest that there is."""
LONGEST_NAME = 24
_TAKEN = frozenset({"VaultAlreadyExists", "ConflictError"})


class AzureVaults(AzurePart):
    """Makes and deletes vaults."""

    def _ensure_vault(
        self, vaults: KeyVaultManagementClient, site: Site, name: str, resource: str, *, protected: bool
    ) -> Any:  # noqa: ANN401 - the SDK is not typed here
        """Return the vault of this name: ours, for roles alone, soft deletion on, protected from purging if wanted.

        `resource` is what it is for, as its tag says.

        Raises:
            ApplicationError: NOT_READY while it is being made; NOT_OURS.
        """
        what = f"key vault {name}"
        found = if_exists(lambda: vaults.vaults.get(group_name(site), name))
        if found is None:
            self._create_vault(vaults, site, name, resource, protected=protected)
            found = vaults.vaults.get(group_name(site), name)
        require_ours(found.tags, site, what)
        self._made(lambda: vaults.vaults.get(group_name(site), name).properties, what)
        tags = _tags(found.tags, site, resource)
        settings = _settings(protected=protected)
        differs = any(getattr(found.properties, key) != value for key, value in settings.items())
        if differs or dict(found.tags) != tags:
            # Only what differs: the rest of the properties stays as it is.
            change = {"tags": tags, "properties": _as_json(settings)}
            found = vaults.vaults.update(group_name(site), name, change)
        return found

    def _create_vault(
        self, vaults: KeyVaultManagementClient, site: Site, name: str, resource: str, *, protected: bool
    ) -> None:
        properties: dict[str, object] = {
            "tenantId": self._connections.tenant(site, Purpose.OPERATE),
            "sku": {"family": "A", "name": "standard"},
            "accessPolicies": [],
            "softDeleteRetentionInDays": RECOVERABLE_DAYS,
            **_as_json(_settings(protected=protected)),
        }
        deleted = if_exists(lambda: vaults.vaults.get_deleted(name, site.region))
        if deleted is not None:
            tags = deleted.properties.tags if deleted.properties is not None else {}
            require_ours(tags, site, f"deleted key vault {name}")
            properties["createMode"] = "recover"
        wanted = {"location": site.region, "tags": owner_tags(site, resource), "properties": properties}
        try:
            vaults.vaults.begin_create_or_update(group_name(site), name, wanted, polling=False)
        except HttpResponseError as error:
            if code_of(error) not in _TAKEN:
                raise
            if if_exists(lambda: vaults.vaults.get(group_name(site), name)) is None:
                message = f"The name {name} of the key vault is taken by another subscription"
                raise refused(FailureClass.NOT_OURS, message, resource=name) from error

    def _remove_vault(self, vaults: KeyVaultManagementClient, site: Site, name: str) -> None:
        """Let a vault of ours be gone from the group; one of somebody else's stays."""
        found = if_exists(lambda: vaults.vaults.get(group_name(site), name))
        if ours_or_none(found, site) is not None:
            if_exists(lambda: vaults.vaults.delete(group_name(site), name))
            self._gone(lambda: if_exists(lambda: vaults.vaults.get(group_name(site), name)), f"key vault {name}")


def keys_vault(site: Site) -> str:
    """Return the name of the vault of this generation's key: a former one may still be there, deleted softly."""
    return short_name(site, f"keys{site.generation}", limit=LONGEST_NAME)


def certificates_vault(site: Site) -> str:
    """Return the name of the vault of the endpoint's certificate."""
    return short_name(site, "certs", limit=LONGEST_NAME)


def vault_id(site: Site, name: str) -> str:
    """Return the resource id of a vault of the deployment."""
    return resource_id(site, VAULT, name)


def vault_url(name: str) -> str:
    """Return where the data plane of a vault is."""
    return f"https://{name}.vault.azure.net"


def _settings(*, protected: bool) -> dict[str, object]:
    """Return what has to be so, keyed as the SDK names it."""
    settings: dict[str, object] = {"enable_rbac_authorization": True, "enable_soft_delete": True}
    return settings | ({"enable_purge_protection": True} if protected else {})


def _as_json(settings: dict[str, object]) -> dict[str, object]:
    """Return the same, keyed as the API names it."""
    names = {
        "enable_rbac_authorization": "enableRbacAuthorization",
        "enable_soft_delete": "enableSoftDelete",
        "enable_purge_protection": "enablePurgeProtection",
    }
    return {names[key]: value for key, value in settings.items()}


def _tags(present: dict[str, str] | None, site: Site, resource: str) -> dict[str, str]:
    """Return the tags of a vault in use; those that the customer added stay."""
    tags = tags_with_ours(present, owner_tags(site, resource))
    # A deployment that is ordered again uses what was merely kept.
    tags.pop(TAG_RETAINED_UNTIL, None)
    return tags
