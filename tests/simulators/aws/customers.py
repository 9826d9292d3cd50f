"""A customer's account in a simulated AWS, for the tests of its services."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from simulators.aws import emulator, overlay
from simulators.aws.front import AwsEndpoint
from simulators.aws.overlay import Overlay
from simulators.clock import Clock
from simulators.faults import Fault
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World
from tests.simulators.serving import serving

ACCOUNT = "222222222222"
REGION = "eu-west-1"
_REAL_SECONDS = 0.02
"""How long any passing of simulated time takes."""


class Customer:
    """One account, its root user, and what deployments usually find or make there."""

    def __init__(self, world: World, kubernetes: KubernetesSimulator, url: str) -> None:
        self.world = world
        self.kubernetes = kubernetes
        self.url = url
        self._clients: dict[tuple[str, str, str], Any] = {}

    @property
    def overlay(self) -> Overlay:
        """The simulator's own view."""
        return overlay.installed()

    def client(self, service: str, *, credentials: dict[str, str] | None = None, region: str = REGION) -> Any:
        """Return a client without retries, of the account's root unless `credentials` are given."""
        caller = credentials or {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": "unchecked"}
        key = (service, region, caller["aws_access_key_id"])
        if key not in self._clients:
            config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
            self._clients[key] = boto3.client(
                service, endpoint_url=self.url, region_name=region, config=config, **caller
            )
        return self._clients[key]

    def pass_time(self, seconds: float) -> None:
        """Let simulated time pass and what is due happen; at infinite speed it happens anyway."""
        clock = self.world.clock
        if not math.isinf(clock.speed):
            speed, until = clock.speed, clock.time() + seconds
            clock.set_speed(seconds / _REAL_SECONDS)
            while clock.time() < until:
                time.sleep(0.001)
            clock.set_speed(speed)
        # What is due happens on the server's own thread, when a call arrives.
        self.client("ec2").describe_regions()

    def inject(self, **fault: Any) -> Fault:
        """Put a fault in force."""
        return self.world.faults.add(Fault(**fault))

    def make_role(
        self,
        name: str,
        service: str,
        *,
        managed: Sequence[str] = (),
        statements: Sequence[dict[str, Any]] = (),
        condition: dict[str, Any] | None = None,
    ) -> str:
        """Make a role that a service may assume, and return its ARN."""
        actions = ["sts:AssumeRole", "sts:TagSession"] if service.startswith("pods.") else ["sts:AssumeRole"]
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": actions}
        trust |= {"Condition": condition} if condition else {}
        iam = self.client("iam")
        arn: str = iam.create_role(RoleName=name, Path="/byoc/", AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
        for policy in managed:
            iam.attach_role_policy(RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=_policy(*statements))
        return arn

    def make_user(self, name: str, *statements: dict[str, Any]) -> dict[str, str]:
        """Make a user who may do what `statements` say, and return the credentials."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=_policy(*statements))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}

    def make_network(self, *, zones: int = 3) -> tuple[str, list[str]]:
        """Make a VPC with one subnet, tagged for load balancers, in each of some zones; return their ids."""
        ec2 = self.client("ec2")
        vpc: str = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        tag = {"ResourceType": "subnet", "Tags": [{"Key": "kubernetes.io/role/elb", "Value": "1"}]}
        subnets = [
            ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}", TagSpecifications=[tag]
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("abc"[:zones])
        ]
        self.pass_time(30)
        return vpc, subnets

    def make_cluster(self, name: str = "byoc-1", **options: Any) -> list[str]:
        """Make an ACTIVE cluster in a network of its own, and return the network's subnets."""
        _, subnets = self.make_network()
        role = self.make_role(f"{name}-control-plane", "eks.amazonaws.com", managed=["AmazonEKSClusterPolicy"])
        self.pass_time(30)
        request = {
            "name": name,
            "version": "1.33",
            "roleArn": role,
            "resourcesVpcConfig": {"subnetIds": subnets},
            "accessConfig": {"authenticationMode": "API"},
            **options,
        }
        self.client("eks").create_cluster(**request)
        self.pass_time(1000)
        return subnets

    def make_node_group(self, subnets: list[str], name: str = "store", cluster: str = "byoc-1", **options: Any) -> None:
        """Make a node group, and wait for the time that it takes."""
        role = self.make_role(f"{cluster}-{name}-nodes", "ec2.amazonaws.com", managed=["AmazonEKSWorkerNodePolicy"])
        self.pass_time(30)
        request = {
            "clusterName": cluster,
            "nodegroupName": name,
            "subnets": subnets,
            "nodeRole": role,
            "instanceTypes": ["m7i.large"],
            "scalingConfig": {"minSize": 1, "maxSize": 6, "desiredSize": 3},
            **options,
        }
        self.client("eks").create_nodegroup(**request)
        self.pass_time(300)


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    """Return a statement that allows `actions`; `condition` is keyed by operator."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


@contextlib.contextmanager
def refused(code: str, text: str = "") -> Iterator[None]:
    """Expect AWS to answer with this error code, and a message that contains `text`."""
    try:
        yield
    except ClientError as error:
        answer = error.response["Error"]
        assert answer["Code"] == code, answer
        assert text in answer["Message"], answer
    else:
        raise AssertionError(f"expected {code}, but the call succeeded")


@contextlib.contextmanager
def customer(speed: float = math.inf) -> Iterator[Customer]:
    """Serve an empty simulated AWS with its clusters while the context lasts."""
    emulator.reset()
    world = World(Clock(speed))
    kubernetes = KubernetesSimulator(world)
    overlay.install(world, kubernetes)
    endpoint = AwsEndpoint(world)
    with serving(kubernetes, endpoint):
        endpoint.reset()
        yield Customer(world, kubernetes, endpoint.url)
