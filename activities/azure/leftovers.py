"""The proof that nothing is left: everything in the deployment's groups, and whatever bears its tags elsewhere.

Resource Manager lists all kinds of resources at once. What it does not list as resources is looked for where it lives:
groups, role assignments, and vaults that are deleted and can be recovered for a while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource.resources import ResourceManagementClient
from temporalio import activity

from activities.azure.controller_made import is_node_group
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.granting import is_given_by_us
from activities.azure.groups import group_name, node_group_name
from activities.azure.ids import lies_with_us
from activities.azure.ownership import is_ours
from activities.azure.part import AzurePart
from activities.contracts import ClusterContract, Retention
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Leftover
from domain.naming import TAG_DEPLOYMENT, TAG_RESOURCE, TAG_RETAINED_UNTIL

_KEPT_WITH_BACKUPS = {
    "Microsoft.Storage/storageAccounts": "holds backups that are locked until {until}",
    "Microsoft.KeyVault/vaults": "the backups that are kept until {until} cannot be read without it",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "backups kept until {until} use their key through it",
}
"""Why something may stay while backups are kept, keyed by type."""
_BACKUPS = "backups"
"""What the tags of account and identity say that they are for."""


class AzureLeftovers(AzurePart, ClusterContract):
    """Looks for what is left of a deployment."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "Microsoft.Authorization/roleAssignments/read", "Microsoft.KeyVault/deletedVaults/read",
        "Microsoft.ManagedIdentity/userAssignedIdentities/read",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Microsoft.Resources/subscriptions/resourceGroups/resources/read",
        "Microsoft.Resources/subscriptions/resources/read",
        purpose=Purpose.OBSERVE, why="Look for anything that is left of the deployment",
    )  # fmt: skip
    def find_leftovers(self, retention: Retention) -> tuple[Leftover, ...]:
        """Return everything of the deployment that exists, ordered by id, each once; what may stay says why.

        What keeps backups may stay as long as they are locked. A deleted vault that is protected from purging stays
        for a week, and nobody can end that.
        """
        site = retention.site
        with failures_named():
            resources = self._connections.client(ResourceManagementClient, site, Purpose.OBSERVE)
            found = [
                *_left_resources(resources, retention),
                *self._left_assignments(site),
                *self._left_vaults(site),
            ]
        return tuple(sorted({left.resource_id: left for left in found}.values(), key=lambda left: left.resource_id))

    def _left_assignments(self, site: Site) -> Iterator[Leftover]:
        """Yield roles that identities of the deployment have outside its groups, and those that outlived theirs.

        What is assigned at a resource of ours is gone with the resource.
        """
        identities = self._connections.client(ManagedServiceIdentityClient, site, Purpose.OBSERVE)
        ours = {
            str(each.principal_id)
            for each in identities.user_assigned_identities.list_by_subscription()
            if is_ours(each.tags, site)
        }
        authorization = self._connections.client(AuthorizationManagementClient, site, Purpose.OBSERVE)
        for assignment in authorization.role_assignments.list_for_subscription():
            is_theirs = str(assignment.principal_id) in ours or is_given_by_us(assignment, site)
            if is_theirs and not lies_with_us(str(assignment.scope), site):
                yield Leftover(resource_id=str(assignment.id), kind="authorization:roleAssignments")

    def _left_vaults(self, site: Site) -> Iterator[Leftover]:
        """Yield vaults that are deleted and can still be recovered."""
        vaults = self._connections.client(KeyVaultManagementClient, site, Purpose.OBSERVE)
        for vault in vaults.vaults.list_deleted():
            properties = vault.properties
            if properties is None or not is_ours(properties.tags, site):
                continue
            until: datetime | None = properties.scheduled_purge_date
            protected = properties.purge_protection_enabled and until is not None
            kept = f"Azure keeps the deleted vault until {until.date().isoformat()}" if protected and until else ""
            yield Leftover(resource_id=str(vault.id), kind="keyvault:deletedVaults", kept_because=kept)


def _left_resources(resources: ResourceManagementClient, retention: Retention) -> Iterator[Leftover]:
    """Yield the deployment's groups with what is in them, and what bears its tags anywhere else."""
    site = retention.site
    tagged = f"tagName eq '{TAG_DEPLOYMENT}' and tagValue eq '{site.deployment}'"
    everything = {str(each.id).lower(): each for each in resources.resources.list(filter=tagged)}
    everything = {key: each for key, each in everything.items() if is_ours(each.tags, site)}
    for group in _groups(resources, site):
        held = {str(each.id).lower(): each for each in resources.resources.list_by_resource_group(group.name)}
        everything |= held
        kept = _why_group_stays(held, retention)
        yield Leftover(resource_id=str(group.id), kind="resources:resourceGroups", kept_because=kept)
    for each in everything.values():
        yield Leftover(
            resource_id=str(each.id),
            kind=_kind_of(str(each.type)),
            kept_because=_why_it_stays(each, everything, retention),
        )


def _groups(resources: ResourceManagementClient, site: Site) -> Iterator[Any]:
    """Yield the group of the deployment and that of its cluster's nodes."""
    group = if_exists(lambda: resources.resource_groups.get(group_name(site)))
    if group is not None and is_ours(group.tags, site):
        yield group
    nodes = if_exists(lambda: resources.resource_groups.get(node_group_name(site)))
    if nodes is not None and is_node_group(nodes, site):
        yield nodes


def _kind_of(resource_type: str) -> str:
    """Return the kind as people read it, `network:virtualNetworks`."""
    namespace, _, types = resource_type.partition("/")
    return f"{namespace.rpartition('.')[2].lower()}:{types}"


def _retained_until(held: Mapping[str, Any]) -> str:
    """Return until when the backups are locked, as the account's tag says; empty if none are kept."""
    for each in held.values():
        if str(each.type) == "Microsoft.Storage/storageAccounts":
            return str((each.tags or {}).get(TAG_RETAINED_UNTIL) or "")
    return ""


def _why_it_stays(resource: Any, held: Mapping[str, Any], retention: Retention) -> str:  # noqa: ANN401 - a model of the SDK
    tags = resource.tags or {}
    if not retention.keep_backups or not is_ours(tags, retention.site):
        return ""
    of_backups = tags.get(TAG_RESOURCE) == _BACKUPS
    until = str(tags.get(TAG_RETAINED_UNTIL) or (_retained_until(held) if of_backups else ""))
    why = _KEPT_WITH_BACKUPS.get(str(resource.type), "")
    return why.format(until=until) if until else ""


def _why_group_stays(held: Mapping[str, Any], retention: Retention) -> str:
    """Return why a group stays: because everything in it does, for the backups."""
    reasons = [_why_it_stays(each, held, retention) for each in held.values()]
    if not reasons or not all(reasons):
        return ""
    return f"holds what the backups that are kept until {_retained_until(held)} need"
