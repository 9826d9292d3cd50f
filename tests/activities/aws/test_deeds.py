"""Deeds: the table of what each operation changes is complete, and fits the SDK."""

from __future__ import annotations

import boto3
import pytest
from temporalio.exceptions import CancelledError

from activities import deeds
from activities.aws.actions import changes
from activities.aws.cloud import AwsCloud
from activities.aws.deeds import RESOURCES, resources_of
from activities.aws.settings import AwsSettings
from activities.cancellation import before_call
from domain.audit import Resource

PERMISSIONS = {
    "DeleteObjects": {"DeleteObject", "DeleteObjectVersion", "BypassGovernanceRetention"},
    "PutBucketEncryption": {"PutEncryptionConfiguration"},
    "PutBucketLifecycleConfiguration": {"PutLifecycleConfiguration"},
    "PutPublicAccessBlock": {"PutBucketPublicAccessBlock"},
}
"""Operations of S3 whose permissions have other names."""

OPERATIONS = sorted((kind, operation) for kind, operations in RESOURCES.items() for operation in operations)


def test_every_changing_action_that_is_declared_has_its_resource() -> None:
    """Who declares a new action is told here to say what it changes; what is not used any more goes."""
    needs = AwsCloud(AwsSettings(principal="arn:aws:iam::111122223333:role/us")).needs()
    declared = {(service, name) for service, name in (need.action.split(":") for need in needs) if changes(name)}

    known = {
        (kind.partition(":")[0], permission)
        for kind, operation in OPERATIONS
        for permission in PERMISSIONS.get(operation, {operation})
    }

    assert known == declared


@pytest.mark.parametrize(("kind", "operation"), OPERATIONS)
def test_an_operation_names_its_resource_where_the_table_says(kind: str, operation: str) -> None:
    """The parameter, or the part of the reply, exists in the SDK's model of the operation."""
    service = {"elasticloadbalancing": "elbv2"}.get(kind.partition(":")[0], kind.partition(":")[0])
    client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    model = client.meta.service_model.operation_model(operation)
    path = RESOURCES[kind][operation]

    shape = model.output_shape if path.startswith("reply.") else model.input_shape
    for part in path.removeprefix("reply.").split("."):
        assert part in shape.members
        shape = shape.members[part]

    assert shape.type_name in {"string", "list"}


def test_a_creation_is_known_by_its_reply_and_a_deletion_by_its_request() -> None:
    """Lists name each of their parts; a zone has one id, however Route 53 writes it."""
    made = resources_of("ec2", "CreateVpc", {"CidrBlock": "10.0.0.0/16"}, {"Vpc": {"VpcId": "vpc-1"}})
    gone = resources_of("ec2", "DeleteVpcEndpoints", {"VpcEndpointIds": ["vpce-1", "vpce-2"]}, {})
    zone = resources_of("route53", "CreateHostedZone", {}, {"HostedZone": {"Id": "/hostedzone/Z1"}})
    lost = resources_of("ec2", "CreateVpc", {"CidrBlock": "10.0.0.0/16"}, {})

    assert made == (Resource(kind="ec2:vpc", id="vpc-1"),)
    assert [str(each) for each in gone] == ["ec2:vpc-endpoint vpce-1", "ec2:vpc-endpoint vpce-2"]
    assert zone == (Resource(kind="route53:hostedzone", id="Z1"),)
    assert lost == ()


def test_deeds_are_kept_for_who_collects_them_and_not_without_end() -> None:
    """Outside of a collection a note goes nowhere; inside, the first of very many are kept."""
    ledger = deeds.Ledger()

    deeds.begin("ec2", "CreateVpc").answered()
    with deeds.collected(ledger):
        for _ in range(deeds.MOST + 1):
            deeds.begin("ec2", "DeleteVpc").answered()

    assert {deed.operation for deed in ledger.told()} == {"DeleteVpc"}
    assert len(ledger.told()) == deeds.MOST


def test_a_call_is_entered_before_it_is_made() -> None:
    """Until something is heard of it, it counts as one whose reply was lost; what was refused is no deed."""
    ledger = deeds.Ledger()
    with deeds.collected(ledger):
        made, refused = deeds.begin("ec2", "CreateVpc"), deeds.begin("ec2", "RunInstances")
        deeds.begin("ec2", "DeleteVpc")
        under_way = ledger.told()
        made.answered((Resource(kind="ec2:vpc", id="vpc-1"),))
        refused.refused()

    assert [(deed.operation, deed.answered) for deed in under_way] == [
        ("CreateVpc", False), ("RunInstances", False), ("DeleteVpc", False),
    ]  # fmt: skip
    assert [(deed.operation, deed.answered, len(deed.resources)) for deed in ledger.told()] == [
        ("CreateVpc", True, 1), ("DeleteVpc", False, 0),
    ]  # fmt: skip


def test_an_attempt_does_nothing_more_once_the_next_one_has_begun() -> None:
    """What it is in the middle of is told by the next one; what was heard of by heartbeat is told once."""
    ledger = deeds.Ledger()
    with deeds.collected(ledger):
        late = deeds.begin("ec2", "CreateVpc")
        by_heartbeat = ledger.told()
        with deeds.collected(ledger):
            ledger.add(by_heartbeat)
            deeds.begin("ec2", "CreateSubnet").answered()
            before = ledger.told()
        with pytest.raises(CancelledError):
            before_call()
        with pytest.raises(CancelledError):
            deeds.begin("ec2", "DeleteVpc")
        late.answered()

    assert [(deed.operation, deed.answered) for deed in before] == [("CreateVpc", False), ("CreateSubnet", True)]
    assert [(deed.operation, deed.answered) for deed in ledger.told()] == [
        ("CreateVpc", True), ("CreateSubnet", True),
    ]  # fmt: skip
