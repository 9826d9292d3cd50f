"""Eventual consistency: what was just made is not seen yet, until its delay has passed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from simulators.aws import overlay
from simulators.aws.front import AwsEndpoint
from simulators.clock import Clock
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World
from tests.simulators.serving import serving

CUSTOMER = "222222222222"
SLOW = 0.001
"""So slow that nothing settles while a test looks."""


@dataclass
class Aws:
    """A simulated AWS, and the root of a customer's account in it."""

    world: World
    endpoint: AwsEndpoint

    def client(self, service: str, **credentials: str) -> Any:
        """Return a client without retries; the account's root unless other credentials are given."""
        credentials = credentials or {"aws_access_key_id": CUSTOMER, "aws_secret_access_key": "unchecked"}
        config = Config(retries={"total_max_attempts": 1})
        return boto3.client(
            service, region_name="eu-west-1", endpoint_url=self.endpoint.url, config=config, **credentials
        )

    def settle(self) -> None:
        """Let a simulated minute pass."""
        self.world.clock.set_speed(600)
        time.sleep(0.1)
        self.world.clock.set_speed(SLOW)


@pytest.fixture
def aws() -> Iterator[Aws]:
    """Serve an AWS whose time all but stands still."""
    world = World(Clock(SLOW))
    overlay.install(world, KubernetesSimulator(world))
    aws = Aws(world, AwsEndpoint(world))
    with serving(aws.endpoint):
        yield aws
        aws.endpoint.reset()


def policy(*statements: dict[str, Any]) -> str:
    """Return a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


TRUST = policy({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": "sts:AssumeRole"})


def assume(aws: Aws, role: str) -> dict[str, str]:
    """Return the credentials of a session of `role`, assumed by the vendor."""
    sts = aws.client("sts", aws_access_key_id="111111111111", aws_secret_access_key="unchecked")
    given = sts.assume_role(RoleArn=role, RoleSessionName="byoc")["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def test_a_fresh_network_is_not_found_yet(aws: Aws) -> None:
    """Neither by its id nor by its tag, until it has settled."""
    ec2 = aws.client("ec2")
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "byoc", "Value": "d1"}]}]
    by_tag = [{"Name": "tag:byoc", "Values": ["d1"]}]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)["Vpc"]["VpcId"]

    with pytest.raises(ClientError, match=r"InvalidVpcID\.NotFound"):
        ec2.describe_vpcs(VpcIds=[vpc])
    assert ec2.describe_vpcs(Filters=by_tag)["Vpcs"] == []
    assert [found["IsDefault"] for found in ec2.describe_vpcs()["Vpcs"]] == [True]

    aws.settle()

    assert [found["VpcId"] for found in ec2.describe_vpcs(Filters=by_tag)["Vpcs"]] == [vpc]
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["VpcId"] == vpc


def test_a_fresh_role_cannot_be_assumed_yet(aws: Aws) -> None:
    """The denial is the one of a role that does not trust the caller."""
    role = aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]

    with pytest.raises(ClientError, match="AccessDenied"):
        assume(aws, role)

    aws.settle()
    assert assume(aws, role)["aws_session_token"]


def test_eks_does_not_know_a_fresh_role_yet(aws: Aws) -> None:
    """A cluster with a role that was just made is refused as EKS does."""
    role = aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]

    with pytest.raises(ClientError, match=r"InvalidParameterException.*could not be assumed"):
        aws.client("eks").create_cluster(name="c", roleArn=role, resourcesVpcConfig={"subnetIds": ["subnet-1"]})


def test_a_changed_policy_takes_effect_late(aws: Aws) -> None:
    """Both a grant and its withdrawal are felt only after their delay."""
    iam = aws.client("iam")
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    aws.settle()
    ec2 = aws.client("ec2", **assume(aws, role))

    allowed = policy({"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"})
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=allowed)
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.describe_vpcs()
    aws.settle()
    ec2.describe_vpcs()

    iam.delete_role_policy(RoleName="r", PolicyName="p")
    ec2.describe_vpcs()
    aws.settle()
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.describe_vpcs()


def test_at_infinite_speed_everything_is_seen_at_once(aws: Aws) -> None:
    """The delays are off."""
    aws.world.clock.set_speed(math.inf)

    role = aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    vpc = aws.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]

    assert assume(aws, role)["aws_session_token"]
    assert aws.client("ec2").describe_vpcs(VpcIds=[vpc])["Vpcs"]
