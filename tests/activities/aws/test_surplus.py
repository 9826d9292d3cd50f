"""What our roles have beyond the template is found and named, with the policy that grants it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from activities.access_report import MOST_SURPLUS
from activities.aws.identity import boundary_arn
from activities.contracts import AccessQuestion
from domain.account import AccessReport, SurplusPermission, access_to
from domain.clouds import Purpose
from domain.failure import FailureClass
from tests.activities.aws.conftest import REGION, Account


def report_of(account: Account) -> AccessReport:
    """Verify the account and return the report."""
    report: AccessReport = account.run(
        "verify_access", AccessQuestion(access=access_to(account.site), regions=(REGION,))
    )
    return report


def role(account: Account, purpose: Purpose) -> str:
    """Return the name of one of the control plane's roles."""
    return f"byoc-{account.site.account}-{purpose}"


def policy(*statements: dict[str, Any]) -> str:
    """Return a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str | list[str], resource: str = "*", **condition: Any) -> dict[str, Any]:
    """Return a statement that allows something."""
    return {
        "Effect": "Allow",
        "Action": action,
        "Resource": resource,
        **({"Condition": condition} if condition else {}),
    }


def first_policy(account: Account, purpose: Purpose) -> str:
    """Return the ARN of the template's first policy of a role."""
    return f"arn:aws:iam::{account.site.cloud_account_id}:policy/byoc/{role(account, purpose)}-1"


def rewrite(account: Account, arn: str, change: Any) -> None:
    """Let the customer change a policy: `change` is given the document's statements and returns the new ones."""
    iam = account.customer("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy(*change(document["Statement"])), SetAsDefault=True)


def test_the_template_as_it_is_holds_nothing_surplus(account: Account) -> None:
    """What is applied unchanged is exactly what is declared."""
    report = report_of(account)

    assert (report.missing, report.surplus, report.withheld) == ((), (), ())


def test_a_wildcard_is_surplus_as_such(account: Account) -> None:
    """`ec2:*` is reported as it is written, with the policy that grants it, and blocks nothing."""
    account.customer("iam").put_role_policy(
        RoleName=role(account, Purpose.OPERATE), PolicyName="generous", PolicyDocument=policy(allow("ec2:*"))
    )

    report = report_of(account)

    assert report.surplus == (
        SurplusPermission(
            purpose=Purpose.OPERATE,
            action="ec2:*",
            granted_by="inline policy generous",
            because="no step declares it",
        ),
    )
    assert report.missing == ()
    assert account.run("check_permissions", account.site).missing == ()


@pytest.mark.parametrize(
    ("statement", "because"),
    [
        (allow("ec2:CreateVpc"), "the template's condition is gone"),
        (allow("s3:PutBucketPolicy", "arn:aws:s3:::*"), "limits it to other resources"),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "no step declares it"),
        ({"Effect": "Allow", "Action": "iam:GetRole", "NotResource": "arn:aws:s3:::x"}, "limits it to other resources"),
    ],
    ids=["condition", "resource", "not-action", "not-resource"],
)
def test_a_wider_scope_is_surplus(account: Account, statement: dict[str, Any], because: str) -> None:
    """An action of the template without its condition, or on further resources, is named with what is wider."""
    account.customer("iam").put_role_policy(
        RoleName=role(account, Purpose.OPERATE), PolicyName="wider", PolicyDocument=policy(statement)
    )

    (surplus,) = report_of(account).surplus

    assert because in surplus.because
    assert surplus.granted_by == "inline policy wider"


def test_a_condition_that_was_removed_from_the_template_is_noticed(account: Account) -> None:
    """Each statement without its condition is surplus, and names the condition."""
    arn = first_policy(account, Purpose.DELETE)

    def without_conditions(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{name: part for name, part in each.items() if name != "Condition"} for each in statements
                if each["Effect"] == "Allow" or "Condition" not in each]  # fmt: skip

    rewrite(account, arn, without_conditions)

    surplus = report_of(account).surplus

    deletion = next(each for each in surplus if each.action == "ec2:DeleteVpc")
    assert (deletion.purpose, deletion.granted_by) == (Purpose.DELETE, arn)
    assert "aws:ResourceTag/byoc = managed" in deletion.because
    assert any("the denial is gone" in each.because for each in surplus)


def test_what_is_narrower_than_the_template_is_not_surplus(account: Account) -> None:
    """A customer may grant again, within the template's limits, what it grants already."""
    within = allow(
        "ec2:CreateVpc",
        f"arn:aws:ec2:{REGION}:*:vpc/*",
        StringEquals={"aws:RequestedRegion": REGION, "aws:RequestTag/byoc": "managed", "aws:RequestTag/team": "a"},
    )
    account.customer("iam").put_role_policy(
        RoleName=role(account, Purpose.OPERATE), PolicyName="narrower", PolicyDocument=policy(within)
    )

    assert report_of(account).surplus == ()


def test_another_policy_is_surplus_as_a_whole_where_it_cannot_be_read(account: Account) -> None:
    """The template lets us read our own policies and those of AWS; of others it is told that they are attached."""
    iam = account.customer("iam")
    theirs = iam.create_policy(PolicyName="theirs", PolicyDocument=policy(allow("s3:*")))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=role(account, Purpose.OBSERVE), PolicyArn=theirs)
    administrator = "arn:aws:iam::aws:policy/AdministratorAccess"
    iam.attach_role_policy(RoleName=role(account, Purpose.DELETE), PolicyArn=administrator)

    found = {(each.purpose, each.action, each.granted_by) for each in report_of(account).surplus}

    assert found == {(Purpose.OBSERVE, "*", theirs), (Purpose.DELETE, "*", administrator)}


def test_a_wider_trust_is_surplus(account: Account) -> None:
    """Whom a role lets in beside us is named, and a trust without our external id."""
    iam = account.customer("iam")
    principal = account.control.vendor().principal
    open_door = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": ["sts:AssumeRole", "sts:TagSession"]}
    stranger = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::999999999999:root"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(RoleName=role(account, Purpose.OBSERVE), PolicyDocument=policy(open_door, stranger))

    found = report_of(account).surplus

    assert {each.granted_by for each in found} == {"trust policy"}
    assert any("sts:ExternalId" in each.because for each in found)
    assert any("999999999999" in each.because for each in found)


def test_a_wider_boundary_is_surplus(account: Account) -> None:
    """The boundary bounds what any role that we make can do; what it allows beyond the template's is named."""
    arn = boundary_arn(account.site)
    rewrite(account, arn, lambda statements: [*statements, allow("iam:*")])

    (surplus,) = report_of(account).surplus

    assert (surplus.action, surplus.granted_by) == ("iam:*", arn)


def test_a_long_list_is_cut_and_says_so(account: Account) -> None:
    """A report goes into a history every day: it names so much, and counts the rest."""
    many = [f"ec2:Unheard{number}" for number in range(MOST_SURPLUS + 7)]
    account.customer("iam").put_role_policy(
        RoleName=role(account, Purpose.OPERATE), PolicyName="many", PolicyDocument=policy(allow(many))
    )

    report = report_of(account)

    assert (len(report.surplus), report.more_surplus) == (MOST_SURPLUS, 7)


def test_without_the_right_to_look_nothing_is_called_surplus(account: Account) -> None:
    """Not being allowed to read the policies is missing; it does not end the verification."""
    customer = account.control.customer(account.site.cloud_account_id)
    customer.deny(role(account, Purpose.OBSERVE), "iam:GetPolicyVersion")
    customer.deny(role(account, Purpose.OBSERVE), "iam:GetRole")

    report = report_of(account)

    assert {missing.action for missing in report.missing} == {"iam:GetPolicyVersion", "iam:GetRole"}
    assert report.surplus == ()


@pytest.mark.parametrize("way", ["deleted", "trust removed"])
def test_a_role_that_the_customer_takes_away_is_withheld(account: Account, way: str) -> None:
    """Without the deleting role nothing is missing and a provisioning may begin."""
    take_away(account, Purpose.DELETE, way)

    report = report_of(account)
    before_provisioning: AccessReport = account.run("check_permissions", account.site)

    assert (report.withheld, report.missing) == ((Purpose.DELETE,), ())
    assert (before_provisioning.withheld, before_provisioning.missing) == ((Purpose.DELETE,), ())


def test_without_the_operating_role_a_provisioning_waits_for_it(account: Account) -> None:
    """It is withheld, not missing; and the preflight names it."""
    take_away(account, Purpose.OPERATE, "trust removed")

    report = report_of(account)
    failure = account.failure("check_permissions", account.site)

    assert (report.withheld, report.missing) == ((Purpose.OPERATE,), ())
    assert (failure.failure, role(account, Purpose.OPERATE) in failure.resource) == (FailureClass.AUTH, True)


def test_without_the_observing_role_the_account_is_not_entered(account: Account) -> None:
    """Then nothing can be said about the other two."""
    take_away(account, Purpose.OBSERVE, "deleted")

    failure = account.failure("verify_access", AccessQuestion(access=access_to(account.site), regions=(REGION,)))

    assert failure.failure is FailureClass.AUTH


def take_away(account: Account, purpose: Purpose, way: str) -> None:
    """Let the customer take one of the three roles away."""
    iam, name = account.customer("iam"), role(account, purpose)
    if way == "deleted":
        for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=attached["PolicyArn"])
        iam.delete_role(RoleName=name)
    else:
        nobody = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=policy(nobody))
