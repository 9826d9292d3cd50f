"""The managed identities of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from temporalio import activity

from activities.azure.connection import AzureConnections
from activities.azure.errors import failures_named
from activities.azure.granting import ASSIGNING, WITHDRAWING, BuiltInRole, give_role, take_role
from activities.azure.groups import group_name
from activities.azure.ids import role_definition_id, subscription_scope
from activities.azure.part import AzurePart
from activities.azure.roles import AzureRoles, RoleName, identity_id
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.needs import declared, needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Roles
from domain.naming import resource_name
from simulators.faults import FaultKind
from tests.activities.azure.conftest import Account, activities_of


class Granting(AzurePart):
    """Gives the store's identity a role at itself, and takes it away, as later steps do elsewhere."""

    @activity.defn
    @needs(*ASSIGNING, "Microsoft.ManagedIdentity/userAssignedIdentities/read", purpose=Purpose.OPERATE)
    def give(self, site: Site) -> None:
        """Give it."""
        with failures_named():
            client = self._connections.client(AuthorizationManagementClient, site, Purpose.OPERATE)
            give_role(client, site, identity_id(site, RoleName.STORE), BuiltInRole.READER, self._principal(site))

    @activity.defn
    @needs(*WITHDRAWING, purpose=Purpose.DELETE)
    def take(self, site: Site) -> None:
        """Take it."""
        with failures_named():
            principal = self._principal(site)
            client = self._connections.client(AuthorizationManagementClient, site, Purpose.DELETE)
            take_role(client, identity_id(site, RoleName.STORE), BuiltInRole.READER, principal)

    def _principal(self, site: Site) -> str:
        client = self._connections.client(ManagedServiceIdentityClient, site, Purpose.OPERATE)
        name = resource_name(site, RoleName.STORE)
        return str(client.user_assigned_identities.get(group_name(site), name).principal_id)


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run."""
    return activities_of(AzureRoles, Granting)(settings, connections)


def identities(account: Account) -> dict[str, Any]:
    """Return the identities of the deployment's group, keyed by the end of their names."""
    client = account.customer(ManagedServiceIdentityClient).user_assigned_identities
    return {each.name.rpartition("-")[2]: each for each in client.list_by_resource_group(group_name(account.site))}


def assignments(account: Account, principal: str) -> list[Any]:
    """Return what an identity may do."""
    client = account.customer(AuthorizationManagementClient).role_assignments
    return list(client.list_for_subscription(filter=f"principalId eq '{principal}'"))


def test_every_identity_exists_and_is_known_by_its_client_id(account: Account) -> None:
    """Cluster, nodes, store, restoration and endpoint have one each, and may do nothing yet."""
    roles: Roles = account.run("create_roles", account.site)

    made = identities(account)
    assert set(made) == set(RoleName)
    clients = {name: identity.client_id for name, identity in made.items()}
    assert (roles.control_plane, roles.storage_driver) == (clients["cluster"], clients["cluster"])
    assert (roles.nodes, roles.store, roles.restore, roles.endpoint) == (
        clients["nodes"], clients["store"], clients["restore"], clients["endpoint"]
    )  # fmt: skip
    assert all(identity.tags["byoc:deployment"] == account.site.deployment for identity in made.values())
    assert not any(assignments(account, identity.principal_id) for identity in made.values())


def test_a_role_is_given_once_and_taken_away(account: Account) -> None:
    """The name of an assignment is the same for every attempt, so that nobody has it twice."""
    account.run("create_roles", account.site)
    account.inject(FaultKind.LOST_REPLY, "roleAssignments/write", times=1)
    principal = identities(account)[RoleName.STORE].principal_id

    account.run_through("give", account.site)
    account.run("give", account.site)
    given = assignments(account, principal)
    account.run("take", account.site)
    account.run("take", account.site)

    assert [each.role_definition_id.rpartition("/")[2] for each in given] == [BuiltInRole.READER]
    assert assignments(account, principal) == []


def test_deleting_takes_our_roles_too_and_may_be_repeated(account: Account) -> None:
    """What we gave goes with the identity; what the customer gave it is theirs."""
    account.run("create_roles", account.site)
    account.run("give", account.site)
    principal = identities(account)[RoleName.STORE].principal_id
    owner = {
        "roleDefinitionId": role_definition_id(account.site, "b24988ac-6180-42a0-ab88-20f7382dd24c"),
        "principalId": principal,
        "principalType": "ServicePrincipal",
    }
    client = account.customer(AuthorizationManagementClient).role_assignments
    name = "00000000-0000-0000-0000-0000000000c1"
    client.create(subscription_scope(account.site), name, {"properties": owner})

    for _ in range(2):
        account.run_through("delete_roles", account.site)

    assert account.resources() == [] or {each.type for each in account.resources()} == {"role-assignment"}
    assert [each.name for each in assignments(account, principal)] == [name]


def test_what_is_declared_is_what_is_called(account: Account) -> None:
    """Making and deleting needs each declared action, and no other."""
    account.run("create_roles", account.site)
    account.run("give", account.site)
    account.run("delete_roles", account.site)

    for name in ("create_roles", "delete_roles"):
        assert account.used_by(name) == {need.action for need in declared([account.activities[name]])}
