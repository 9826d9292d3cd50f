"""Deeds: the table of what each operation changes is complete, and fits the SDK."""

from __future__ import annotations

import boto3
import pytest

from activities import deeds
from activities.aws.actions import changes
from activities.aws.cloud import AwsCloud
from activities.aws.deeds import RESOURCES, resources_of
from activities.aws.settings import AwsSettings
from domain.audit import Deed, Resource

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
    kept: list[Deed] = []

    deeds.note("ec2", "CreateVpc", ())
    with deeds.collected(kept):
        for _ in range(deeds.MOST + 1):
            deeds.note("ec2", "DeleteVpc", ())

    assert {deed.operation for deed in kept} == {"DeleteVpc"}
    assert len(kept) == deeds.MOST
