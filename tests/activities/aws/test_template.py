"""The template that customers apply, derived from what the activities declare."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from activities.aws.cloud import AwsCloud
from activities.aws.policy import Scopes, Statement, statements, with_dependents
from activities.aws.settings import AwsSettings
from activities.aws.template import (
    LARGEST_POLICY,
    MOST_POLICIES_OF_A_ROLE,
    NEVER,
    as_json,
    as_yaml,
    pack,
    permissions,
    template,
)
from activities.needs import Need
from domain.account import AccountAccess
from domain.clouds import Cloud, Purpose
from tests.activities.aws.conftest import REGION, Account

LARGEST_BODY = 51_200
"""Bytes of a template that is passed directly (CloudFormation quotas)."""
PRINCIPAL = "arn:aws:iam::111111111111:role/control-plane"
ACCESS = AccountAccess(
    account="acme-aws", customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", external_id="3b5b4a3e"
)
REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-west-2")
NEEDS = AwsCloud(AwsSettings(principal=PRINCIPAL)).needs()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The template of an account with several regions."""
    return template(ACCESS, REGIONS, PRINCIPAL, NEEDS)


def policies(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the policy documents of a template, keyed by logical id."""
    return {
        name: resource["Properties"]["PolicyDocument"]
        for name, resource in document["Resources"].items()
        if resource["Type"] == "AWS::IAM::ManagedPolicy"
    }


def test_everything_fits_into_the_limits_of_iam_and_cloudformation(document: dict[str, Any]) -> None:
    """Each policy, the policies of each role, and both texts of the whole."""
    for policy in policies(document).values():
        assert len("".join(json.dumps(policy).split())) <= LARGEST_POLICY
    for purpose in Purpose:
        attached = document["Resources"][f"{purpose.title()}Role"]["Properties"]["ManagedPolicyArns"]
        assert 0 < len(attached) <= MOST_POLICIES_OF_A_ROLE
    assert len(as_json(document).encode()) <= LARGEST_BODY
    assert len(as_yaml(document).encode()) <= LARGEST_BODY


@pytest.mark.parametrize("regions", [REGIONS[:1], REGIONS], ids=["one region", "four regions"])
def test_the_template_can_be_passed_directly(regions: tuple[str, ...]) -> None:
    """With however many regions, there is room for the actions of later releases."""
    document = template(ACCESS, regions, PRINCIPAL, NEEDS)

    assert len(as_json(document).encode()) <= LARGEST_BODY * 3 // 4
    assert len(as_yaml(document).encode()) <= LARGEST_BODY


def test_a_bucket_can_be_made_with_its_tags() -> None:
    """CreateBucket with tags is authorized as s3:TagResource too."""
    granted = {(need.action, need.activity) for need in with_dependents(NEEDS) if need.purpose is Purpose.OPERATE}

    assert ("s3:TagResource", "create_backup_bucket") in granted


def test_json_and_yaml_say_the_same(document: dict[str, Any]) -> None:
    """Either can be applied."""
    assert json.loads(as_json(document)) == yaml.safe_load(as_yaml(document)) == document
    assert "&id" not in as_yaml(document)


def test_only_the_vendor_with_the_external_id_is_trusted(document: dict[str, Any]) -> None:
    """Every role names one principal and requires the account's external id."""
    for purpose in Purpose:
        (trust,) = document["Resources"][f"{purpose.title()}Role"]["Properties"]["AssumeRolePolicyDocument"][
            "Statement"
        ]
        assert trust["Principal"] == {"AWS": PRINCIPAL}
        assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": ACCESS.external_id}}


def test_every_declared_action_can_be_scoped() -> None:
    """An activity cannot declare what the template does not know how to limit."""
    complete = with_dependents(NEEDS)

    scopes = Scopes(ACCESS, REGIONS, {need.action for need in complete})

    assert all(scopes.of(need.action) for need in complete)
    with pytest.raises(LookupError, match="organizations:LeaveOrganization"):
        scopes.of("organizations:LeaveOrganization")


def test_nothing_that_changes_something_is_granted_without_a_limit(document: dict[str, Any]) -> None:
    """An allowed action either only reads, or is limited by a resource or by a condition beyond the region."""
    global_creations = {"route53:CreateHostedZone"}
    for name, policy in policies(document).items():
        if name == "Boundary":
            continue
        for statement in policy["Statement"]:
            conditions = {key for block in statement.get("Condition", {}).values() for key in block}
            limited = statement["Resource"] != ["*"] or conditions - {"aws:RequestedRegion"}
            if statement["Effect"] == "Allow" and not limited:
                operations = {action.partition(":")[2] for action in set(statement["Action"]) - global_creations}
                assert all(operation.startswith(("Describe", "Get", "List")) for operation in operations)


def test_the_observing_role_changes_nothing() -> None:
    """What is for observing only reads."""
    granted = {
        action for statement in statements(NEEDS, ACCESS, REGIONS, Purpose.OBSERVE) for action in statement.actions
    }

    assert all(action.partition(":")[2].startswith(("Describe", "Get", "List", "Simulate")) for action in granted)


def test_policies_are_split_in_order_and_lose_nothing() -> None:
    """However many statements there are, each is in exactly one policy that is not too large."""
    many = [Statement(scope, (f"ec2:Action{number:04}",)) for number in range(200) for scope in _SOME_SCOPE]

    packed = pack(many)

    assert [statement for policy in packed for statement in policy["Statement"]] == [each.document() for each in many]
    assert all(len("".join(json.dumps(policy).split())) <= LARGEST_POLICY for policy in packed)


_SOME_SCOPE = Scopes(ACCESS, REGIONS, ()).of("ec2:CreateVpc")


def test_too_many_permissions_for_a_role_are_refused() -> None:
    """IAM would refuse the template; so do we, with the reason."""
    needs = [Need(f"eks:{'Long' * 20}{number:05}", Purpose.OPERATE, "step", "why") for number in range(1000)]

    with pytest.raises(ValueError, match="IAM attaches 10 to a role"):
        template(ACCESS, REGIONS, PRINCIPAL, needs)


def test_the_table_names_the_steps_of_every_action() -> None:
    """For a security review each action is listed with its limits and the steps that use it."""
    rows = permissions(NEEDS, ACCESS, REGIONS)

    assert {(row.action, row.purpose) for row in rows} == {
        (need.action, need.purpose) for need in with_dependents(NEEDS)
    }
    create_vpc = next(row for row in rows if row.action == "ec2:CreateVpc")
    assert [need.activity for need in create_vpc.needs] == ["create_network"]
    assert "aws:RequestTag/byoc = managed" in create_vpc.conditions


def test_what_is_said_never_to_be_granted_is_not(document: dict[str, Any]) -> None:
    """The table's promises hold of the template."""
    granted = {
        action
        for name, policy in policies(document).items()
        if name != "Boundary"
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in statement["Action"]
    }

    assert granted.isdisjoint(NEVER)
    assert not [action for action in granted if "*" in action]
    machines = next(each for each in statements(NEEDS, ACCESS, REGIONS, Purpose.OPERATE)
                    if "ec2:RunInstances" in each.actions)  # fmt: skip
    assert {condition.key for condition in machines.scope.conditions} == {"aws:RequestedRegion", "ec2:LaunchTemplate"}


def test_tagging_a_key_that_is_not_ours_is_only_for_the_role_that_makes_keys() -> None:
    """The deleting role could otherwise make any key ours, and then delete it."""
    scopes = [
        each.scope for each in statements(NEEDS, ACCESS, REGIONS, Purpose.DELETE) if "kms:TagResource" in each.actions
    ]

    assert [{condition.key for condition in scope.conditions} for scope in scopes] == [
        {"aws:RequestedRegion", "aws:ResourceTag/byoc"}
    ]


def as_control_plane(account: Account, service: str, purpose: Purpose) -> Any:
    """Return a client that acts as the control plane does, to try what it must not do."""
    return account.cloud.connections.client(service, account.site, purpose)


def refused(call: Any, **parameters: Any) -> bool:
    """Return whether AWS refuses a call for want of permission."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"] in {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}


def test_what_does_not_carry_our_tag_cannot_be_touched(account: Account) -> None:
    """Neither made without it, nor deleted, nor tagged so that it becomes ours."""
    theirs = account.customer("ec2").create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    tags = [{"Key": "byoc", "Value": "managed"}]

    assert refused(as_control_plane(account, "ec2", Purpose.OPERATE).create_vpc, CidrBlock="10.98.0.0/16")
    assert refused(as_control_plane(account, "ec2", Purpose.DELETE).delete_vpc, VpcId=theirs)
    assert refused(as_control_plane(account, "ec2", Purpose.OPERATE).create_tags, Resources=[theirs], Tags=tags)


def test_another_region_is_out_of_reach(account: Account) -> None:
    """What was agreed on for one region is refused in every other."""
    elsewhere = account.cloud.connections.client("ec2", account.site, Purpose.OBSERVE, region="us-west-2")

    assert account.site.region == REGION
    assert refused(elsewhere.describe_vpcs)


def test_the_control_plane_cannot_widen_its_own_rights(account: Account) -> None:
    """Not by a policy on its own roles, not by a role without the boundary, not by changing the boundary."""
    iam = as_control_plane(account, "iam", Purpose.OPERATE)
    own = f"byoc-{account.site.account}-operate"
    boundary = f"arn:aws:iam::{account.site.cloud_account_id}:policy/byoc/byoc-{account.site.account}-boundary"
    everything = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    )
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    )

    assert refused(iam.put_role_policy, RoleName=own, PolicyName="more", PolicyDocument=everything)
    assert refused(iam.create_role, RoleName="byoc-free", Path="/byoc/", AssumeRolePolicyDocument=trust)
    assert refused(
        iam.create_policy_version, PolicyArn=boundary, PolicyDocument=everything, SetAsDefault=True
    )  # fmt: skip
    assert refused(
        iam.create_role, RoleName="admin", Path="/", AssumeRolePolicyDocument=trust, PermissionsBoundary=boundary
    )  # fmt: skip
