"""Is the template applied, whole and unchanged; and is it gone after a revocation?"""

from __future__ import annotations

import pytest
from temporalio.exceptions import ApplicationError

from activities.aws.identity import control_role_arn
from activities.contracts import AccessQuestion
from domain.account import AccessReport, RevocationProof, access_to
from domain.clouds import Purpose
from domain.failure import FailureClass
from tests.activities.aws.conftest import REGION, Account


def question(account: Account) -> AccessQuestion:
    """Ask about the account in its one region."""
    return AccessQuestion(access=access_to(account.site), regions=(REGION,))


def role(account: Account, purpose: Purpose) -> str:
    """Return the name of one of the control plane's roles."""
    return f"byoc-{account.site.account}-{purpose}"


def test_the_template_grants_everything_that_is_declared(account: Account) -> None:
    """IAM allows each action of each purpose under the conditions of the template."""
    report: AccessReport = account.run("verify_access", question(account))

    assert report.missing == ()
    assert report.checked_actions > 100
    assert role(account, Purpose.OBSERVE) in report.principal


def test_what_the_customer_took_away_is_named(account: Account) -> None:
    """Missing actions are a result, each with the role that lacks it."""
    customer = account.control.customer(account.site.cloud_account_id)
    customer.deny(role(account, Purpose.OPERATE), "eks:CreateCluster")
    customer.deny(role(account, Purpose.DELETE), "ec2:DeleteSubnet")

    report: AccessReport = account.run("verify_access", question(account))

    assert {(missing.action, missing.purpose) for missing in report.missing} == {
        ("eks:CreateCluster", Purpose.OPERATE),
        ("ec2:DeleteSubnet", Purpose.DELETE),
    }


def test_a_region_that_the_template_does_not_name_is_missing(account: Account) -> None:
    """A template for one region does not do for another."""
    elsewhere = AccessQuestion(access=access_to(account.site), regions=(REGION, "us-west-2"))

    report: AccessReport = account.run("verify_access", elsewhere)

    assert ("ec2:CreateVpc", Purpose.OPERATE) in {(missing.action, missing.purpose) for missing in report.missing}


def test_without_the_right_to_verify_that_is_what_is_missing(account: Account) -> None:
    """The verification says that it could not verify, not that all is well."""
    account.control.customer(account.site.cloud_account_id).deny(
        role(account, Purpose.OBSERVE), "iam:SimulatePrincipalPolicy"
    )

    report: AccessReport = account.run("verify_access", question(account))

    assert {missing.action for missing in report.missing} == {"iam:SimulatePrincipalPolicy"}


def test_an_account_without_the_template_is_not_entered(account: Account) -> None:
    """Before the customer has applied the template the failure says which role cannot be assumed."""
    access = access_to(account.site).model_copy(update={"cloud_account_id": "999999999999"})

    failure = account.failure("verify_access", AccessQuestion(access=access, regions=(REGION,)))

    assert failure.failure is FailureClass.AUTH
    assert failure.resource == control_role_arn(access, Purpose.OBSERVE)


def test_a_revocation_is_proven_by_the_clouds_refusals(account: Account) -> None:
    """As long as a role lets us in there is no proof; then there is one refusal for each purpose."""
    with pytest.raises(ApplicationError, match="still lets us in"):
        account.attempt("prove_revoked", question(account))
    account.control.customer(account.site.cloud_account_id).delete_template()

    proof: RevocationProof = account.run("prove_revoked", question(account))

    assert [refusal.partition(":")[0] for refusal in proof.refusals] == list(Purpose)
    assert all("AccessDenied" in refusal for refusal in proof.refusals)


def test_a_provisioning_stops_at_the_first_missing_permission(account: Account) -> None:
    """The preflight names it as the step's failure."""
    account.control.customer(account.site.cloud_account_id).deny(role(account, Purpose.OPERATE), "kms:CreateKey")

    failure = account.failure("check_permissions", account.site)

    assert (failure.failure, failure.action) == (FailureClass.PERMISSION, "kms:CreateKey")


def test_a_fully_permitted_account_passes_the_preflight(account: Account) -> None:
    """The report of the preflight has nothing missing."""
    report: AccessReport = account.run("check_permissions", account.site)

    assert report.missing == ()
