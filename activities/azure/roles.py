"""The managed identities of a deployment: of its cluster, nodes, store, endpoint, and of the proof of restoration.

What each of them may do is said where it does it: at subnets, keys, vaults and containers.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any

from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from temporalio import activity

from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.granting import WITHDRAWING, BuiltInRole, is_given_by_us
from activities.azure.groups import EMPTYING, ENSURING, group_name
from activities.azure.ids import lies_with_us, name_of, resource_id
from activities.azure.ownership import ours_or_none, require_ours, tags_with_ours
from activities.azure.part import AzurePart
from activities.contracts import FoundationContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Roles
from domain.naming import owner_tags, resource_name

IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"


class RoleName(StrEnum):
    """The identities of one deployment; the value ends the identity's name."""

    CLUSTER = "cluster"
    NODES = "nodes"
    STORE = "store"
    RESTORE = "restore"
    ENDPOINT = "endpoint"


class AzureRoles(AzurePart, FoundationContract):
    """Makes and deletes the identities."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(*ENSURING, f"{IDENTITY}/read", f"{IDENTITY}/write", purpose=Purpose.OPERATE)
    def create_roles(self, site: Site) -> Roles:
        """Every identity exists with our tags. None of them has a role yet: that comes with what it is for."""
        with failures_named():
            self._ensure_group(site)
            identities = self._connections.client(ManagedServiceIdentityClient, site, Purpose.OPERATE)
            clients = {role: self._ensure_role_identity(identities, site, role) for role in RoleName}
        return Roles(
            control_plane=clients[RoleName.CLUSTER],
            nodes=clients[RoleName.NODES],
            storage_driver=clients[RoleName.CLUSTER],
            store=clients[RoleName.STORE],
            restore=clients[RoleName.RESTORE],
            endpoint=clients[RoleName.ENDPOINT],
        )

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *EMPTYING, *WITHDRAWING, f"{IDENTITY}/delete", f"{IDENTITY}/read",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_roles(self, site: Site) -> None:
        """No identity of the deployment is left, nor a role that we gave one, in whatever place.

        Roles stay behind when who has them is deleted, in a network of the customer's own for example.
        """
        with failures_named():
            identities = self._connections.client(ManagedServiceIdentityClient, site, Purpose.DELETE)
            group = group_name(site)
            present = {role: ours_or_none(_look(identities, site, role), site) for role in RoleName}
            self._take_roles(site, {str(found.principal_id) for found in present.values() if found is not None})
            for role, found in present.items():
                name = resource_name(site, role)
                if found is None:
                    continue
                if_exists(lambda name=name: identities.user_assigned_identities.delete(group, name))  # type: ignore[misc]
            self._delete_group_if_empty(site)

    def _ensure_role_identity(self, identities: ManagedServiceIdentityClient, site: Site, role: RoleName) -> str:
        """Return the client id of an identity that is there, made if it was not."""
        name, tags, found = resource_name(site, role), owner_tags(site, role), _look(identities, site, role)
        if found is not None:
            require_ours(found.tags, site, f"identity {name}")
        if found is None or tags_with_ours(found.tags, tags) != found.tags:
            wanted = {"location": site.region, "tags": tags_with_ours(found.tags if found else None, tags)}
            found = identities.user_assigned_identities.create_or_update(group_name(site), name, wanted)
        return str(found.client_id)

    def _take_roles(self, site: Site, principals: Collection[str]) -> None:
        """Let none of the roles be left that we gave, not even to an identity that somebody has deleted meanwhile.

        What is given at something of ours goes with that; what the customer gave is theirs to take.
        """
        client = self._connections.client(AuthorizationManagementClient, site, Purpose.DELETE)
        ours = {role.value for role in BuiltInRole}
        for assignment in client.role_assignments.list_for_subscription():
            is_theirs = assignment.principal_id in principals and name_of(assignment.role_definition_id) in ours
            outlived = is_given_by_us(assignment, site) and not lies_with_us(str(assignment.scope), site)
            if is_theirs or outlived:
                if_exists(lambda identifier=assignment.id: client.role_assignments.delete_by_id(identifier))  # type: ignore[misc]


def identity_id(site: Site, role: RoleName) -> str:
    """Return the resource id of one of the identities."""
    return resource_id(site, IDENTITY, resource_name(site, role))


def _look(identities: ManagedServiceIdentityClient, site: Site, role: RoleName) -> Any | None:  # noqa: ANN401 - the SDK is not typed here
    return if_exists(lambda: identities.user_assigned_identities.get(group_name(site), resource_name(site, role)))
