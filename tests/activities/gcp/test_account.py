"""Verification of a project, proof of its revocation, and the template that both are about."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from google.cloud import iam_admin_v1, resourcemanager_v3

from activities.contracts import AccessQuestion
from activities.gcp.cloud import GcpCloud
from activities.gcp.identity import control_account, control_role_id
from activities.gcp.template import SET_PROJECT_POLICY, as_gcloud, as_json, as_terraform, template
from activities.needs import Need
from domain.account import AccountAccess, access_to
from domain.clouds import Cloud, Purpose
from domain.failure import FailureClass
from tests.activities.gcp.conftest import REGION, Account

ACCESS = AccountAccess(
    account="acme-gcp", customer="acme", cloud=Cloud.GCP, cloud_account_id="acme-prod", external_id="x1"
)
PRINCIPAL = "control-plane@byoc-vendor.iam.gserviceaccount.com"
NEEDS = (
    Need("compute.networks.create", Purpose.OPERATE, "create_network", "Make it"),
    Need(SET_PROJECT_POLICY, Purpose.OPERATE, "create_roles", "Grant it"),
    Need("compute.networks.delete", Purpose.DELETE, "delete_network", "Delete it"),
    Need("compute.networks.list", Purpose.OBSERVE, "find_leftovers", "Look"),
)


def question(account: Account) -> AccessQuestion:
    """Return the question about the account."""
    return AccessQuestion(access=access_to(account.site), regions=(REGION,))


def role_of(account: Account, purpose: Purpose) -> str:
    """Return the id of our custom role for a purpose."""
    return control_role_id(access_to(account.site), purpose)


class TestVerification:
    """Is everything granted?"""

    def test_a_project_with_the_template_is_complete(self, account: Account, cloud: GcpCloud) -> None:
        """Nothing is missing and nothing is surplus, and nothing is changed by asking."""
        report = account.run("verify_access", question(account))

        assert report.complete
        assert (report.missing, report.surplus, report.withheld) == ((), (), ())
        assert report.principal == control_account(account.site, Purpose.OBSERVE)
        assert report.checked_actions == len({(need.action, need.purpose) for need in cloud.needs()})
        assert account.changes() == []

    def test_a_permission_that_was_taken_away_is_named(self, account: Account) -> None:
        """In the report, and by the check before a provisioning."""
        customer = account.control.project(account.project)
        customer.deny(role_of(account, Purpose.OPERATE), "compute.networks.create")

        report = account.run("verify_access", question(account))
        detail = account.failure("check_permissions", account.site)

        assert [(each.action, each.purpose) for each in report.missing] == [
            ("compute.networks.create", Purpose.OPERATE)
        ]
        assert detail.failure is FailureClass.PERMISSION
        assert detail.action == "compute.networks.create"

    def test_what_is_granted_beyond_the_template_is_surplus(self, account: Account) -> None:
        """A permission in our role, another role, and a role without its condition."""
        iam = account.customer(iam_admin_v1.IAMClient)
        name = f"projects/{account.project}/roles/{role_of(account, Purpose.DELETE)}"
        role = iam.get_role(request={"name": name})
        role.included_permissions.append("compute.instances.setMetadata")
        iam.update_role(request={"name": name, "role": role, "update_mask": {"paths": ["included_permissions"]}})
        projects = account.customer(resourcemanager_v3.ProjectsClient)
        resource = f"projects/{account.project}"
        asked = {"resource": resource, "options": {"requested_policy_version": 3}}
        policy = projects.get_iam_policy(request=asked)
        observer = f"serviceAccount:{control_account(account.site, Purpose.OBSERVE)}"
        policy.bindings.add(role="roles/viewer", members=[observer])
        for binding in policy.bindings:
            if binding.role.endswith(role_of(account, Purpose.OPERATE)):
                binding.ClearField("condition")
        projects.set_iam_policy(request={"resource": resource, "policy": policy})

        report = account.run("verify_access", question(account))

        assert report.complete
        assert {(each.purpose, each.action, each.granted_by.rpartition("/")[2]) for each in report.surplus} == {
            (Purpose.DELETE, "compute.instances.setMetadata", role_of(account, Purpose.DELETE)),
            (Purpose.OBSERVE, "*", "viewer"),
            (Purpose.OPERATE, "*", role_of(account, Purpose.OPERATE)),
        }

    def test_a_withheld_account_for_deletions_narrows_the_project(self, account: Account) -> None:
        """Without it everything but deletions goes on; without the operating one nothing does."""
        iam = account.customer(iam_admin_v1.IAMClient)
        for purpose in (Purpose.DELETE, Purpose.OPERATE):
            email = control_account(account.site, purpose)
            iam.delete_service_account(name=f"projects/{account.project}/serviceAccounts/{email}")
            report = account.run("verify_access", question(account))

            assert report.complete == (purpose is Purpose.DELETE)
            assert purpose in report.withheld
        assert account.failure("check_permissions", account.site).failure is FailureClass.AUTH


class TestRevocation:
    """Is it really gone?"""

    def test_is_proven_by_googles_refusals(self, account: Account) -> None:
        """Each account is named with the answer; before, the project still lets us in."""
        early = account.attempt_once("prove_revoked", question(account))
        account.control.project(account.project).delete_template()

        proof = account.run("prove_revoked", question(account))

        assert early is not None
        assert early.failure is FailureClass.NOT_READY
        assert [refusal.partition(":")[0] for refusal in proof.refusals] == list(Purpose)
        assert all("iam.serviceAccounts.getAccessToken" in refusal for refusal in proof.refusals)


class TestTemplate:
    """What the customer applies."""

    def test_what_may_grant_roles_is_limited_to_those_of_nodes(self) -> None:
        """The permission stands alone in a role whose binding names the only roles that may be granted."""
        document = template(ACCESS, (REGION,), PRINCIPAL, NEEDS)

        (grants,) = (role for role in document.roles if SET_PROJECT_POLICY in role.permissions)
        (binding,) = (binding for binding in document.bindings if binding.role == grants.role_id)
        assert grants.permissions == (SET_PROJECT_POLICY,)
        assert "modifiedGrantsByRole" in binding.condition.expression
        assert "defaultNodeServiceAccount" in binding.condition.expression

    def test_of_log_buckets_only_ours_are_touched(self) -> None:
        """What names a bucket is in a role of its own, whose binding names ours; making one is not."""
        needs = [Need(f"logging.buckets.{verb}", Purpose.DELETE, "delete_egress", "") for verb in ("delete", "list")]
        document = template(ACCESS, (REGION, "us-east1"), PRINCIPAL, needs)

        (role,) = (role for role in document.roles if "logging.buckets.delete" in role.permissions)
        (binding,) = (binding for binding in document.bindings if binding.role == role.role_id)
        assert role.permissions == ("logging.buckets.delete",)
        for region in (REGION, "us-east1"):
            assert f'"projects/acme-prod/locations/{region}/buckets/byoc-"' in binding.condition.expression
        assert document.services == ("iamcredentials.googleapis.com", "logging.googleapis.com")

    def test_another_customer_who_names_the_project_is_led_to_other_accounts(self) -> None:
        """The external id is a part of the names."""
        theirs = ACCESS.model_copy(update={"external_id": "x2"})

        names = {
            role.role_id for access in (ACCESS, theirs) for role in template(access, (REGION,), PRINCIPAL, NEEDS).roles
        }

        assert len(names) == 2 * len(template(ACCESS, (REGION,), PRINCIPAL, NEEDS).roles)

    def test_each_form_says_the_same(self) -> None:
        """Script and Terraform name every account, role, permission and condition of the document."""
        document = template(ACCESS, (REGION,), PRINCIPAL, NEEDS)
        plain = json.loads(as_json(document))

        for form in (as_gcloud(document, ACCESS), as_terraform(document, ACCESS)):
            for account in plain["serviceAccounts"]:
                assert account["accountId"] in form
            for role in plain["roles"]:
                assert role["roleId"] in form
                assert all(permission in form for permission in role["includedPermissions"])
            assert PRINCIPAL in form
            assert "locations/europe-west4/keyRings/byoc-" in form

    @pytest.mark.parametrize("exists", [True, False])
    def test_the_script_makes_what_is_not_there_and_updates_what_is(self, tmp_path: Path, exists: bool) -> None:
        """It is a script that bash runs, and each of its calls has one subject."""
        bash = shutil.which("bash")
        assert bash
        log, fake = tmp_path / "log", tmp_path / "gcloud"
        fake.write_text(
            f'#!/usr/bin/env bash\nprintf "%s\\n" "$*" >> {log}\n'
            f'[[ "$*" == *" describe "* ]] && exit {0 if exists else 1}\nexit 0\n'
        )
        fake.chmod(0o755)
        script = tmp_path / "script"
        script.write_text(as_gcloud(template(ACCESS, (REGION,), PRINCIPAL, NEEDS), ACCESS))

        path = f"{tmp_path}:{os.environ['PATH']}"
        subprocess.run([bash, str(script)], check=True, env={**os.environ, "PATH": path})

        calls = log.read_text().splitlines()
        assert sum(" roles update " in call for call in calls) == (4 if exists else 0)
        assert sum(" roles create " in call for call in calls) == (0 if exists else 4)
        assert sum(" service-accounts create " in call for call in calls) == (0 if exists else 3)
        assert sum("projects add-iam-policy-binding" in call for call in calls) == 4
        assert any("^#^title=byoc" in call and "#expression=" in call for call in calls)
