"""Service accounts, roles, policies, tokens and APIs, through the official SDKs."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.cloud import iam_admin_v1, iam_credentials_v1, kms_v1, resourcemanager_v3, service_usage_v1
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials

from simulators.gcp.vendor import make_vendor
from simulators.secrets import SecretKind
from tests.simulators.gcp.customers import LOCATION, PROJECT, SCOPES, Customer, refused

NAME = f"projects/{PROJECT}"
VIEWER = "resourcemanager.projects.get"


def projects(account: Customer, credentials: Credentials | None = None) -> resourcemanager_v3.ProjectsClient:
    """Return a client of Resource Manager."""
    client: resourcemanager_v3.ProjectsClient = account.rpc(resourcemanager_v3.ProjectsClient, credentials)
    return client


class TestServiceAccounts:
    """The IAM API."""

    def test_are_made_once_read_patched_and_deleted(self, account: Customer) -> None:
        """A second creation is refused; after the deletion there is none."""
        iam = account.rpc(iam_admin_v1.IAMClient)
        request = {"name": NAME, "account_id": "byoc-operate", "service_account": {"display_name": "Operate"}}

        made = iam.create_service_account(request=request)
        with refused(AlreadyExists, reason="ALREADY_EXISTS"):
            iam.create_service_account(request=request)
        changed = {"name": made.name, "display_name": "Operates"}
        iam.patch_service_account(request={"service_account": changed, "update_mask": {"paths": ["display_name"]}})

        assert made.email == f"byoc-operate@{PROJECT}.iam.gserviceaccount.com"
        assert [entry.display_name for entry in iam.list_service_accounts(name=NAME)] == ["Operates"]
        iam.delete_service_account(name=made.name)
        with refused(NotFound, reason="SERVICE_ACCOUNT_NOT_FOUND"):
            iam.get_service_account(name=made.name)

    def test_stay_in_policies_under_another_name(self, account: Customer) -> None:
        """The binding of a deleted account names it as deleted, with its unique id, and grants nobody anything."""
        email = account.make_account("byoc-operate")
        account.bind("roles/viewer", f"serviceAccount:{email}")

        account.rpc(iam_admin_v1.IAMClient).delete_service_account(name=f"{NAME}/serviceAccounts/{email}")

        policy = projects(account).get_iam_policy(request={"resource": NAME})
        (member,) = next(binding.members for binding in policy.bindings if binding.role == "roles/viewer")
        assert member.startswith(f"deleted:serviceAccount:{email}?uid=")

    def test_are_not_found_by_policies_at_first(self, slow_account: Customer) -> None:
        """A fresh service account does not exist for a binding until some seconds later."""
        iam = slow_account.rpc(iam_admin_v1.IAMClient)
        made = iam.create_service_account(request={"name": NAME, "account_id": "byoc-operate"})

        with refused(InvalidArgument, f"Service account {made.email} does not exist."):
            slow_account.bind("roles/viewer", f"serviceAccount:{made.email}")
        slow_account.pass_time(10)
        slow_account.bind("roles/viewer", f"serviceAccount:{made.email}")

        token = slow_account.credentials(made.email)
        assert projects(slow_account, token).get_project(name=NAME).project_id == PROJECT


class TestRoles:
    """Custom roles."""

    def test_grant_what_they_include(self, account: Customer) -> None:
        """A permission that is in no role of the caller's is refused, with its name."""
        credentials = account.member("byoc-observe", VIEWER)

        found = projects(account, credentials).get_project(name=NAME)
        with refused(PermissionDenied, "resourcemanager.projects.getIamPolicy", reason="IAM_PERMISSION_DENIED"):
            projects(account, credentials).get_iam_policy(request={"resource": NAME})

        assert found.name == f"projects/{account.project.number}"

    def test_have_effect_some_seconds_after_a_change(self, slow_account: Customer) -> None:
        """A permission that is taken away is still there for a moment."""
        credentials = slow_account.member("byoc-observe", VIEWER)
        slow_account.pass_time(30)
        iam = slow_account.rpc(iam_admin_v1.IAMClient)
        role = {"included_permissions": ["compute.networks.get"]}
        request = {"name": f"{NAME}/roles/byoc_observe", "role": role}

        iam.update_role(request={**request, "update_mask": {"paths": ["included_permissions"]}})
        projects(slow_account, credentials).get_project(name=NAME)
        slow_account.pass_time(10)

        with refused(PermissionDenied, VIEWER):
            projects(slow_account, credentials).get_project(name=NAME)

    def test_keep_their_id_for_a_while_after_their_deletion(self, account: Customer) -> None:
        """A deleted role cannot be made again, but it can be brought back; in between it grants nothing."""
        credentials = account.member("byoc-observe", VIEWER)
        iam, name = account.rpc(iam_admin_v1.IAMClient), f"{NAME}/roles/byoc_observe"

        iam.delete_role(request={"name": name})
        with refused(PermissionDenied):
            projects(account, credentials).get_project(name=NAME)
        with refused(FailedPrecondition, "marked for deletion"):
            account.make_role("byoc_observe", VIEWER)
        iam.undelete_role(request={"name": name})

        assert projects(account, credentials).get_project(name=NAME).project_id == PROJECT
        assert [role.name for role in iam.list_roles(request={"parent": NAME})] == [name]

    def test_are_not_made_twice(self, account: Customer) -> None:
        """The id of a role that lives is taken."""
        account.make_role("byoc_observe", VIEWER)

        with refused(AlreadyExists, "byoc_observe"):
            account.make_role("byoc_observe", VIEWER)


class TestPolicies:
    """Policies of projects and service accounts."""

    def test_are_not_written_over_a_newer_one(self, account: Customer) -> None:
        """The etag of a policy that was changed meanwhile is refused."""
        client = projects(account)
        old = client.get_iam_policy(request={"resource": NAME})
        account.bind("roles/viewer", "user:eve@acme.example")

        with refused(Aborted, "ETag does not match"):
            client.set_iam_policy(request={"resource": NAME, "policy": old})

    def test_refuse_a_role_that_does_not_exist(self, account: Customer) -> None:
        """As the real one does."""
        with refused(InvalidArgument, "roles/made.up"):
            account.bind("roles/made.up", "user:eve@acme.example")

    def test_count_only_where_their_condition_holds(self, account: Customer) -> None:
        """A condition on the resource's name limits a role to the product's own keys."""
        condition = f'resource.name.startsWith("{LOCATION}/keyRings/byoc")'
        permissions = ("cloudkms.keyRings.create", "cloudkms.keyRings.get")
        credentials = account.member("byoc-operate", *permissions, condition=condition)
        kms = account.rpc(kms_v1.KeyManagementServiceClient, credentials)

        kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})
        with refused(PermissionDenied, "cloudkms.keyRings.create"):
            kms.create_key_ring(parent=LOCATION, key_ring_id="theirs", key_ring={})

        assert kms.get_key_ring(name=f"{LOCATION}/keyRings/byoc").name == f"{LOCATION}/keyRings/byoc"

    def test_limit_the_roles_that_may_be_granted(self, account: Customer) -> None:
        """Whoever may grant only some roles, by the attribute of the roles that a policy changes, grants no others."""
        modified = 'api.getAttribute("iam.googleapis.com/modifiedGrantsByRole", [])'
        credentials = account.member(
            "byoc-operate",
            "resourcemanager.projects.getIamPolicy",
            "resourcemanager.projects.setIamPolicy",
            condition=f'{modified}.hasOnly(["roles/logging.logWriter"])',
        )
        client = projects(account, credentials)
        asked = {"resource": NAME, "options": {"requested_policy_version": 3}}

        policy = client.get_iam_policy(request=asked)
        policy.bindings.add(role="roles/logging.logWriter", members=["user:eve@acme.example"])
        client.set_iam_policy(request={"resource": NAME, "policy": policy})
        policy = client.get_iam_policy(request=asked)
        policy.bindings.add(role="roles/owner", members=["user:eve@acme.example"])
        with refused(PermissionDenied, "resourcemanager.projects.setIamPolicy"):
            client.set_iam_policy(request={"resource": NAME, "policy": policy})

        roles = [binding.role for binding in client.get_iam_policy(request=asked).bindings]
        assert roles.count("roles/logging.logWriter") == 1
        assert roles.count("roles/owner") == 1

    def test_with_a_condition_need_version_3(self, account: Customer) -> None:
        """An older version would lose the condition."""
        policy = projects(account).get_iam_policy(request={"resource": NAME})
        binding = policy.bindings.add(role="roles/viewer", members=["user:eve@acme.example"])
        binding.condition.expression = 'resource.type == "x"'
        policy.version = 1

        with refused(InvalidArgument, "version is not 3"):
            projects(account).set_iam_policy(request={"resource": NAME, "policy": policy})

    def test_read_without_conditions_cannot_be_written_back(self, account: Customer) -> None:
        """Who forgets to ask for version 3 sees another role, and does not lose the condition by writing it."""
        account.bind("roles/viewer", "user:eve@acme.example", condition='resource.type == "x"')
        client = projects(account)

        old = client.get_iam_policy(request={"resource": NAME})
        with refused(InvalidArgument, "_withcond_"):
            client.set_iam_policy(request={"resource": NAME, "policy": old})

        found = client.get_iam_policy(request={"resource": NAME, "options": {"requested_policy_version": 3}})
        (binding,) = [entry for entry in found.bindings if entry.role == "roles/viewer"]
        assert binding.condition.expression == 'resource.type == "x"'

    def test_answer_which_permissions_the_caller_has(self, account: Customer) -> None:
        """The daily check asks for all of them at once."""
        credentials = account.member("byoc-observe", VIEWER, "compute.networks.get")
        asked = ["compute.networks.get", "compute.networks.delete", VIEWER]

        held = projects(account, credentials).test_iam_permissions(resource=NAME, permissions=asked)

        assert list(held.permissions) == ["compute.networks.get", VIEWER]


class TestImpersonation:
    """From the vendor's key to a token of a customer's service account."""

    def test_is_possible_for_whom_the_account_trusts(self, account: Customer) -> None:
        """The vendor signs with its key, is given a token, and with it one of the customer's service account."""
        vendor = make_vendor(account.google)
        email = account.make_account("byoc-observe")
        account.bind("roles/viewer", f"serviceAccount:{email}")
        resource = f"{NAME}/serviceAccounts/{email}"
        source = service_account.Credentials.from_service_account_info(vendor.key, scopes=SCOPES)
        credentials = account.impersonated(source, email)

        with pytest.raises(RefreshError, match=r"iam\.serviceAccounts\.getAccessToken"):
            credentials.refresh(Request())
        iam = account.rpc(iam_admin_v1.IAMClient)
        policy = iam.get_iam_policy(request={"resource": resource})
        policy.bindings.add(role="roles/iam.serviceAccountTokenCreator", members=[f"serviceAccount:{vendor.principal}"])
        iam.set_iam_policy(request={"resource": resource, "policy": policy})
        found = projects(account, credentials).get_project(name=NAME)

        assert found.project_id == PROJECT
        noted = {secret.value: secret.kind for secret in account.world.secrets.listed()}
        assert noted[credentials.token] == SecretKind.ACCESS_TOKEN
        assert any(value in vendor.key["private_key"] for value in noted)
        (call,) = account.world.journal.calls(service="resourcemanager", operation="GetProject")
        assert call.principal == f"serviceAccount:{email}"

    def test_works_by_grpc_too(self, account: Customer) -> None:
        """The client of IAM Credentials gets the same tokens."""
        email = account.make_account("byoc-observe")
        account.bind("roles/viewer", f"serviceAccount:{email}")
        client = account.rpc(iam_credentials_v1.IAMCredentialsClient)

        given = client.generate_access_token(name=f"projects/-/serviceAccounts/{email}", scope=SCOPES)

        assert projects(account, Credentials(given.access_token)).get_project(name=NAME).project_id == PROJECT

    def test_of_a_disabled_account_is_refused(self, account: Customer) -> None:
        """And the tokens that it has stand for nobody any more."""
        email = account.make_account("byoc-observe")
        credentials = account.credentials(email)
        account.rpc(iam_admin_v1.IAMClient).disable_service_account(request={"name": f"{NAME}/serviceAccounts/{email}"})
        client = account.rpc(iam_credentials_v1.IAMCredentialsClient)

        with refused(FailedPrecondition, "disabled"):
            client.generate_access_token(name=f"projects/-/serviceAccounts/{email}", scope=SCOPES)
        with refused(Unauthenticated):
            projects(account, credentials).get_project(name=NAME)

    def test_is_refused_to_a_key_that_nobody_trusts(self, account: Customer) -> None:
        """An assertion that another key has signed is no proof."""
        vendor = make_vendor(account.google)
        account.google.cloud.identities.trust_key(
            vendor.principal, "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"
        )
        source = service_account.Credentials.from_service_account_info(vendor.key, scopes=SCOPES)

        with pytest.raises(RefreshError):
            source.refresh(Request())

    def test_needs_credentials(self, account: Customer) -> None:
        """A token that nobody issued is refused as such."""
        with refused(Unauthenticated, "invalid authentication credentials"):
            projects(account, Credentials("made-up")).get_project(name=NAME)


class TestProjects:
    """Resource Manager."""

    def test_are_found_by_id_and_by_number(self, account: Customer) -> None:
        """Either is a name of the project."""
        client = projects(account)

        by_number = client.get_project(name=f"projects/{account.project.number}")

        assert by_number == client.get_project(name=NAME)
        assert [entry.project_id for entry in client.search_projects(request={})] == [PROJECT]

    def test_of_others_are_closed(self, account: Customer) -> None:
        """A project that the caller has nothing to do with is refused like one that does not exist."""
        account.google.cloud.project("globex-prod")

        with refused(PermissionDenied):
            projects(account).get_project(name="projects/globex-prod")
        with refused(PermissionDenied):
            projects(account).get_project(name="projects/not-there")


class TestApis:
    """Service Usage."""

    def test_must_be_enabled(self, account: Customer) -> None:
        """A call to a disabled API is refused with SERVICE_DISABLED and goes through once it is enabled."""
        account.project.services.discard("cloudkms.googleapis.com")
        kms = account.rpc(kms_v1.KeyManagementServiceClient)
        usage = account.rpc(service_usage_v1.ServiceUsageClient)

        with refused(PermissionDenied, "has not been used in project", reason="SERVICE_DISABLED"):
            kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})
        enabled = usage.batch_enable_services(request={"parent": NAME, "service_ids": ["cloudkms.googleapis.com"]})
        services = enabled.result(timeout=30).services
        made = kms.create_key_ring(parent=LOCATION, key_ring_id="byoc", key_ring={})

        assert [service.state.name for service in services] == ["ENABLED"]
        assert made.name == f"{LOCATION}/keyRings/byoc"

    def test_are_enabled_after_their_time(self, slow_account: Customer) -> None:
        """The operation is under way until then."""
        slow_account.project.services.discard("dns.googleapis.com")
        usage = slow_account.rpc(service_usage_v1.ServiceUsageClient)
        name = f"{NAME}/services/dns.googleapis.com"

        operation = usage.enable_service(request={"name": name})
        before = usage.get_service(request={"name": name}).state.name
        slow_account.pass_time(30)

        assert (before, operation.operation.done) == ("DISABLED", False)
        assert usage.get_service(request={"name": name}).state.name == "ENABLED"
        listed = usage.list_services(request={"parent": NAME, "filter": "state:DISABLED"})
        assert [service.config.name for service in listed] == ["networkservices.googleapis.com"]

    def test_can_be_disabled_again(self, account: Customer) -> None:
        """Afterwards the API refuses calls."""
        usage = account.rpc(service_usage_v1.ServiceUsageClient)

        usage.disable_service(request={"name": f"{NAME}/services/cloudkms.googleapis.com"}).result(timeout=30)

        with refused(PermissionDenied, reason="SERVICE_DISABLED"):
            account.rpc(kms_v1.KeyManagementServiceClient).get_key_ring(name=f"{LOCATION}/keyRings/byoc")
