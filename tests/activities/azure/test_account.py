"""Verification of a subscription, proof of its revocation, and the template that both are about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.authorization import AuthorizationManagementClient

from activities.azure.account import AzureAccount, AzurePermissionCheck
from activities.azure.bicep import as_bicep
from activities.azure.connection import AzureConnections
from activities.azure.granting import BuiltInRole
from activities.azure.identity import control_role_name
from activities.azure.ids import role_definition_id, subscription_scope
from activities.azure.permissions import permissions
from activities.azure.settings import AzureSettings
from activities.azure.template import as_json, protections, template
from activities.cloud import Activity
from activities.contracts import AccessQuestion
from activities.needs import Need, declared
from domain.account import AccountAccess, access_to
from domain.clouds import Cloud, Purpose
from domain.failure import FailureClass
from simulators.azure.documents import AzureTemplate
from tests.activities.azure.conftest import REGION, Account, activities_of

ACCESS = AccountAccess(
    account="acme-azure",
    customer="acme",
    cloud=Cloud.AZURE,
    cloud_account_id="00000000-0000-0000-0000-0000000000a1",
    external_id="x1",
)
APPLICATIONS = {purpose: f"00000000-0000-0000-0000-00000000000{number}" for number, purpose in enumerate(Purpose)}
ASSIGN = "Microsoft.Authorization/roleAssignments/write"
WRITE_NETWORK = "Microsoft.Network/virtualNetworks/write"
READ_SECRET = "Microsoft.KeyVault/vaults/secrets/getSecret/action"
NEEDS = (
    Need(WRITE_NETWORK, Purpose.OPERATE, "create_network", "Make it"),
    Need(ASSIGN, Purpose.OPERATE, "create_roles", "Give it"),
    Need(READ_SECRET, Purpose.OPERATE, "create_certificate", "Read it"),
    Need("Microsoft.Network/virtualNetworks/delete", Purpose.DELETE, "delete_network", "Delete it"),
    Need("Microsoft.Network/virtualNetworks/read", Purpose.OBSERVE, "find_leftovers", "Look"),
)


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """Verification and check, as if the activities of a cloud declared these needs beside their own."""

    def all_needs() -> tuple[Need, ...]:
        return (*NEEDS, *declared(made))

    made: list[Activity] = activities_of(AzureAccount, AzurePermissionCheck)(settings, connections, all_needs)
    return made


@pytest.fixture
def declared_needs(activities: Sequence[Activity]) -> tuple[Need, ...]:
    """What the subscription has to grant."""
    return tuple(sorted({*NEEDS, *declared(activities)}))


def question(account: Account) -> AccessQuestion:
    """Return the question about the account."""
    return AccessQuestion(access=access_to(account.site), regions=(REGION,))


def role_of(account: Account, purpose: Purpose) -> str:
    """Return the name of our custom role for a purpose."""
    return control_role_name(account.site, purpose)


def authorization(account: Account) -> Any:
    """Return the client with which the owner looks at roles."""
    return account.customer(AuthorizationManagementClient)


def our_assignment(account: Account, purpose: Purpose) -> Any:
    """Return the assignment of our role."""
    client, scope = authorization(account), subscription_scope(account.site)
    (role,) = client.role_definitions.list(scope, filter=f"roleName eq '{role_of(account, purpose)}'")
    return next(each for each in client.role_assignments.list_for_subscription() if each.role_definition_id == role.id)


class TestVerification:
    """Is everything granted?"""

    def test_a_subscription_with_the_template_is_complete(
        self, account: Account, settings: AzureSettings, declared_needs: tuple[Need, ...]
    ) -> None:
        """Nothing is missing and nothing is surplus, and nothing is changed by asking."""
        report = account.run("verify_access", question(account))

        assert report.complete
        assert (report.missing, report.surplus, report.withheld) == ((), (), ())
        assert settings.applications[Purpose.OBSERVE] in report.principal
        assert report.checked_actions == len({(need.action, need.purpose) for need in declared_needs})
        assert account.changes() == []

    @pytest.mark.parametrize("action", [WRITE_NETWORK, READ_SECRET])
    def test_an_action_that_was_taken_away_is_named(self, account: Account, action: str) -> None:
        """In the report, and by the check before a provisioning; data actions as well."""
        account.owner.deny(role_of(account, Purpose.OPERATE), action)

        report = account.run("verify_access", question(account))
        detail = account.failure("check_permissions", account.site)

        assert [(each.action, each.purpose) for each in report.missing] == [(action, Purpose.OPERATE)]
        assert (detail.failure, detail.action) == (FailureClass.PERMISSION, action)

    def test_what_is_granted_otherwise_counts(self, account: Account) -> None:
        """An action that another role of ours grants is not missing, though that role is surplus."""
        account.owner.deny(role_of(account, Purpose.OPERATE), WRITE_NETWORK)
        give(account, Purpose.OPERATE, BuiltInRole.NETWORK_CONTRIBUTOR)

        report = account.run("verify_access", question(account))

        assert report.missing == ()
        assert [(each.granted_by, each.action) for each in report.surplus] == [("Network Contributor", "*")]
        assert account.run("check_permissions", account.site).complete

    def test_what_is_granted_beyond_the_template_is_surplus(self, account: Account) -> None:
        """An action in our role, another role, and a role without its condition."""
        client = authorization(account)
        scope = subscription_scope(account.site)
        (role,) = client.role_definitions.list(scope, filter=f"roleName eq '{role_of(account, Purpose.DELETE)}'")
        role.permissions[0].actions.append("Microsoft.Network/*")
        client.role_definitions.create_or_update(scope, role.name, role)
        give(account, Purpose.OBSERVE, BuiltInRole.READER)
        assignment = our_assignment(account, Purpose.OPERATE)
        client.role_assignments.create(scope, assignment.name, {"properties": _without_condition(assignment)})

        report = account.run("verify_access", question(account))

        assert report.complete
        assert {(each.purpose, each.action, each.granted_by) for each in report.surplus} == {
            (Purpose.DELETE, "Microsoft.Network/*", role_of(account, Purpose.DELETE)),
            (Purpose.OBSERVE, "*", "Reader"),
            (Purpose.OPERATE, "*", role_of(account, Purpose.OPERATE)),
        }

    def test_a_withheld_role_for_deletions_narrows_the_subscription(self, account: Account) -> None:
        """Without it everything but deletions goes on; without the operating one nothing does."""
        client = authorization(account)
        for purpose in (Purpose.DELETE, Purpose.OPERATE):
            client.role_assignments.delete_by_id(our_assignment(account, purpose).id)
            report = account.run("verify_access", question(account))

            assert report.complete == (purpose is Purpose.DELETE)
            assert purpose in report.withheld
        failure = account.failure("check_permissions", account.site)
        assert failure.failure in {FailureClass.AUTH, FailureClass.PERMISSION}


class TestRevocation:
    """Is it really gone?"""

    def test_is_proven_by_azures_refusals(self, account: Account, settings: AzureSettings) -> None:
        """Each application is named with the answer; before, the subscription still lets us in."""
        early = account.attempt_once("prove_revoked", question(account))
        account.owner.delete_template()

        proof = account.run("prove_revoked", question(account))

        assert early is not None
        assert early.failure is FailureClass.NOT_READY
        assert [refusal.partition(":")[0] for refusal in proof.refusals] == list(Purpose)
        assert all("does not have authorization" in refusal for refusal in proof.refusals)
        for purpose, refusal in zip(Purpose, proof.refusals, strict=True):
            assert settings.applications[purpose] in refusal


class TestTemplate:
    """What the customer applies."""

    def test_each_purpose_has_what_its_activities_declare(self) -> None:
        """Actions and data actions apart; the one action beyond is that of the first look."""
        document = template(ACCESS, APPLICATIONS, NEEDS)

        operate = next(role for role in document.roles if role.name == control_role_name(ACCESS, Purpose.OPERATE))
        assert operate.data_actions == (READ_SECRET,)
        assert operate.actions == (ASSIGN, "Microsoft.Authorization/roleDefinitions/read", WRITE_NETWORK)
        assert [each.client_id for each in document.assignments] == list(APPLICATIONS.values())
        assert "Microsoft.KeyVault" in document.providers
        assert "Microsoft.Authorization" not in document.providers

    def test_what_may_be_given_to_whom_is_limited(self) -> None:
        """The assignment of the role that gives roles carries a condition; the others need none."""
        conditions = {each.role: each.condition for each in template(ACCESS, APPLICATIONS, NEEDS).assignments}

        limited = conditions[control_role_name(ACCESS, Purpose.OPERATE)]
        assert all(role.value in limited for role in BuiltInRole)
        assert "'ServicePrincipal'" in limited
        assert [condition for condition in conditions.values() if condition] == [limited]

    def test_azure_understands_the_condition(self, account: Account, connections: AzureConnections) -> None:
        """With the role of the template, our application gives a listed role, and is refused another one."""
        ours = connections.client(AuthorizationManagementClient, account.site, Purpose.OPERATE)
        assignments, scope = ours.role_assignments, subscription_scope(account.site)
        principal = our_assignment(account, Purpose.OBSERVE).principal_id

        assignments.create(scope, GUIDS[0], wanted(account, BuiltInRole.BLOB_READER, principal))
        with pytest.raises(HttpResponseError, match="AuthorizationFailed"):
            assignments.create(scope, GUIDS[1], wanted(account, OWNER, principal))

    def test_another_customer_who_names_the_subscription_is_led_to_other_roles(self) -> None:
        """The external id is a part of the names."""
        theirs = ACCESS.model_copy(update={"external_id": "x2"})

        names = {role.name for access in (ACCESS, theirs) for role in template(access, APPLICATIONS, NEEDS).roles}

        assert len(names) == 2 * len(Purpose)

    def test_each_form_says_the_same(self) -> None:
        """Bicep names every role, action, application and condition of the document, each with balanced brackets."""
        document = template(ACCESS, APPLICATIONS, NEEDS)
        plain = json.loads(as_json(document))

        text = as_bicep(document, ACCESS, (REGION,))

        AzureTemplate(**plain)
        for role in plain["roles"]:
            assert f"'{role['name']}'" in text
            assert all(f"'{action}'" in text for action in (*role["actions"], *role["dataActions"]))
        for assignment in plain["assignments"]:
            assert f"az ad sp create --id {assignment['clientId']}" in text
            assert assignment["condition"].replace("'", "\\'") in text
        assert all(f"az provider register --namespace {provider} --wait" in text for provider in plain["providers"])
        code = [line for line in text.splitlines() if not line.startswith("//")]
        assert all(
            sum(line.count(left) for line in code) == sum(line.count(right) for line in code)
            for left, right in ("{}", "[]", "()")
        )
        assert text.count("param ") == text.count("Role 'Microsoft.Authorization/roleDefinitions@") == len(Purpose)

    def test_the_table_has_a_line_for_each_action(self) -> None:
        """With who needs it, and what limits it."""
        lines = permissions(NEEDS, ACCESS)

        assert {(line.action, line.purpose) for line in lines} == {(need.action, need.purpose) for need in NEEDS}
        assert {line.action for line in lines if line.conditions} == {ASSIGN, READ_SECRET}
        assert all(line.resources == (subscription_scope(ACCESS),) for line in lines)
        assert any(
            APPLICATIONS[Purpose.DELETE] in sentence for sentence in protections(ACCESS, (REGION,), APPLICATIONS)
        )


GUIDS = ("00000000-0000-0000-0000-0000000000b1", "00000000-0000-0000-0000-0000000000b2")
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


def wanted(account: Account, role: str, principal: str) -> dict[str, Any]:
    """Return an assignment to make."""
    properties = {"roleDefinitionId": role_definition_id(account.site, role), "principalId": principal}
    return {"properties": properties | {"principalType": "ServicePrincipal"}}


def give(account: Account, purpose: Purpose, role: BuiltInRole) -> None:
    """Let the owner give one of our applications a role that the template does not give it."""
    principal = our_assignment(account, purpose).principal_id
    client = authorization(account)
    client.role_assignments.create(subscription_scope(account.site), GUIDS[0], wanted(account, role, principal))


def _without_condition(assignment: Any) -> dict[str, str]:
    return {
        "roleDefinitionId": assignment.role_definition_id,
        "principalId": assignment.principal_id,
        "principalType": assignment.principal_type,
    }
