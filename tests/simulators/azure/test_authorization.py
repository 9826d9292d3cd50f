"""What applications may do: custom and built-in roles, their scopes, conditions, and when they have effect."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.mgmt.authorization import AuthorizationManagementClient

from simulators.azure.identities import Application
from tests.simulators.azure.conftest import GROUP, NETWORK, REGION, SUBSCRIPTION, Account

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
ACCESS_ADMINISTRATOR = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"


def built_in(guid: str) -> str:
    """Return the id of a built-in role."""
    return f"{SCOPE}/providers/Microsoft.Authorization/roleDefinitions/{guid}"


def define(account: Account, name: str, *actions: str) -> str:
    """Make a custom role; return its id."""
    roles = account.client(AuthorizationManagementClient).role_definitions
    properties = {"roleName": name, "assignableScopes": [SCOPE], "permissions": [{"actions": list(actions)}]}
    made = roles.create_or_update(SCOPE, str(uuid4()), {"properties": properties})
    return str(made.id)


def assign(account: Account, role: str, principal: str, scope: str = SCOPE, **further: Any) -> Any:
    """Give a principal a role."""
    credential = further.pop("credential", None)
    assignments = account.client(AuthorizationManagementClient, credential).role_assignments
    properties = {"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal", **further}
    return assignments.create(scope, str(uuid4()), {"properties": properties})


def grant(account: Account, role: str, scope: str = SCOPE, **further: Any) -> tuple[Application, Any]:
    """Return a new application with a role, and its credential."""
    application, credential = account.application()
    assign(account, role, account.principal(application), scope, **further)
    return application, credential


def test_a_custom_role_grants_its_actions_and_no_others(account: Account) -> None:
    """The refusal names client, object, action and scope, in Azure's words."""
    application, credential = grant(account, define(account, "reads-groups", f"{GROUPS}/read"))
    groups = account.resources(credential).resource_groups

    assert groups.get("byoc").location == REGION
    with pytest.raises(HttpResponseError) as caught:
        groups.create_or_update("other", {"location": REGION})

    assert caught.value.status_code == 403
    assert caught.value.error is not None
    assert caught.value.error.code == "AuthorizationFailed"
    assert caught.value.error.message == (
        f"The client '{application.client_id}' with object id '{account.principal(application)}' does not have"
        f" authorization to perform action '{GROUPS}/write' over scope '{SCOPE}/resourceGroups/other' or the scope is"
        " invalid. If access was recently granted, please refresh your credentials."
    )


def test_a_role_of_the_group_ends_there(account: Account) -> None:
    """What is granted at the subscription holds in its groups; what is granted at a group holds in it alone."""
    account.resources().resource_groups.create_or_update("other", {"location": REGION})
    _, of_all = grant(account, built_in(READER))
    _, of_one = grant(account, built_in(READER), GROUP)

    assert account.resources(of_all).resource_groups.get("other").name == "other"
    assert account.resources(of_one).resource_groups.get("byoc").name == "byoc"
    assert list(account.network(of_one).virtual_networks.list("byoc")) == []
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        account.resources(of_one).resource_groups.get("other")


def test_a_contributor_makes_networks_but_grants_nothing(account: Account) -> None:
    """What a role excludes stays denied."""
    application, credential = grant(account, built_in(CONTRIBUTOR))

    account.network(credential).virtual_networks.begin_create_or_update("byoc", "main", NETWORK).result()
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        assign(account, built_in(READER), account.principal(application), credential=credential)


@pytest.mark.parametrize(
    "operator",
    ["ForAnyOfAnyValues:GuidEquals {{{role}}}", "StringEqualsIgnoreCase '{role}'"],
)
def test_a_condition_limits_which_roles_may_be_granted(account: Account, operator: str) -> None:
    """An administrator of access under a condition grants the named role and no other one, and takes it away again."""
    attribute = "[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"
    actions = "(!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{verb}'}})"
    test = operator.format(role=READER)
    condition = " AND ".join(
        f"({actions.format(verb=verb)} OR (@{where}{attribute} {test})))"
        for verb, where in (("write", "Request"), ("delete", "Resource"))
    )
    _, credential = grant(account, built_in(ACCESS_ADMINISTRATOR), condition=condition, conditionVersion="2.0")
    somebody, _ = account.application()

    made = assign(account, built_in(READER), account.principal(somebody), credential=credential)
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        assign(account, built_in(CONTRIBUTOR), account.principal(somebody), credential=credential)
    kept = assign(account, built_in(CONTRIBUTOR), account.principal(somebody))
    assignments = account.client(AuthorizationManagementClient, credential).role_assignments
    assignments.delete_by_id(made.id)
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        assignments.delete_by_id(kept.id)


def test_a_condition_that_is_not_understood_is_refused(account: Account) -> None:
    """Nothing is granted under a condition that nobody can check."""
    application, _ = account.application()

    with pytest.raises(HttpResponseError, match="RoleAssignmentConditionNotSupported"):
        assign(
            account,
            built_in(READER),
            account.principal(application),
            condition="@Request[x] Resembles 'y'",
            conditionVersion="2.0",
        )


def test_assignments_are_refused_as_azure_refuses_them(account: Account) -> None:
    """Twice the same, an unknown principal, an unknown role: each has its own code."""
    application, _ = grant(account, built_in(READER))

    with pytest.raises(HttpResponseError, match="RoleAssignmentExists"):
        assign(account, built_in(READER), account.principal(application))
    with pytest.raises(HttpResponseError, match="PrincipalNotFound"):
        assign(account, built_in(READER), str(uuid4()))
    with pytest.raises(HttpResponseError, match="RoleDefinitionDoesNotExist"):
        assign(account, built_in(str(uuid4())), account.principal(application))


def test_roles_and_assignments_are_found(account: Account) -> None:
    """Roles by their title; assignments by their principal, at and below a scope; one's own permissions."""
    role = define(account, "reads-groups", f"{GROUPS}/read", "Microsoft.Authorization/permissions/read")
    application, credential = grant(account, role, GROUP)
    owner = account.client(AuthorizationManagementClient)
    principal = account.principal(application)

    found = list(owner.role_definitions.list(SCOPE, filter="roleName eq 'reads-groups'"))
    assigned = list(owner.role_assignments.list_for_scope(SCOPE, filter=f"principalId eq '{principal}'"))
    above = list(owner.role_assignments.list_for_scope(SCOPE, filter="atScope()"))
    own = list(account.client(AuthorizationManagementClient, credential).permissions.list_for_resource_group("byoc"))

    assert [entry.id for entry in found] == [role]
    assert [entry.scope for entry in assigned] == [GROUP]
    assert above == []
    assert own[0].actions == [f"{GROUPS}/read", "Microsoft.Authorization/permissions/read"]


def test_roles_of_another_subscription_are_not_found(account: Account) -> None:
    """A custom role is known where it can be assigned: in its subscriptions, and not in others."""
    define(account, "of-here", f"{GROUPS}/read")
    other = "00000000-0000-0000-0000-0000000000bb"
    roles = account.client(AuthorizationManagementClient).role_definitions
    answer = requests.get(
        f"{account.azure.url}/subscriptions/{other}/providers/Microsoft.Authorization/roleDefinitions",
        params={"api-version": "2022-04-01", "$filter": "roleName eq 'of-here'"},
        headers={"Authorization": f"Bearer owner:{other}"},
        timeout=10,
    )

    assert len(list(roles.list(SCOPE, filter="roleName eq 'of-here'"))) == 1
    assert len(list(roles.list(GROUP, filter="roleName eq 'of-here'"))) == 1
    assert answer.json() == {"value": []}


def test_a_role_that_is_assigned_is_not_deleted(account: Account) -> None:
    """It can be deleted once nobody has it; its title is unique."""
    role = define(account, "reads-groups", f"{GROUPS}/read")
    owner = account.client(AuthorizationManagementClient)
    application, _ = account.application()
    assigned = assign(account, role, account.principal(application))
    guid = role.rpartition("/")[2]

    with pytest.raises(HttpResponseError, match="RoleDefinitionWithSameNameExists"):
        define(account, "reads-groups", "*/read")
    with pytest.raises(HttpResponseError, match="RoleDefinitionHasAssignments"):
        owner.role_definitions.delete(SCOPE, guid)
    owner.role_assignments.delete_by_id(assigned.id)
    owner.role_definitions.delete(SCOPE, guid)
    with pytest.raises(HttpResponseError):
        owner.role_definitions.get(SCOPE, guid)


def test_an_assignment_has_effect_after_a_while(slow_account: Account) -> None:
    """Until then its principal is refused; and for a while after its end it is not."""
    account = slow_account
    application, credential = account.application()
    made = assign(account, built_in(READER), account.principal(application))
    groups = account.resources(credential).resource_groups

    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        groups.get("byoc")
    account.azure.cloud.clock.advance(60)
    assert groups.get("byoc").name == "byoc"
    account.client(AuthorizationManagementClient).role_assignments.delete_by_id(made.id)
    assert groups.get("byoc").name == "byoc"
    account.azure.cloud.clock.advance(60)
    with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
        groups.get("byoc")


def test_a_wrong_secret_is_refused(account: Account) -> None:
    """Entra says so in its own words."""
    application, _ = account.application()

    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        account.credential(application.client_id, "wrong").get_token("https://management.azure.com/.default")
