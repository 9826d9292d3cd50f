"""The control API through its client: looking into a world, making it misbehave, letting the customer act."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from simulators.aws import overlay
from simulators.aws.front import AwsEndpoint
from simulators.clock import Clock
from simulators.control import Control
from simulators.control_client import ControlClient, ControlError
from simulators.customer import OwnNetwork
from simulators.faults import Fault, FaultKind
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World
from tests.simulators.serving import serving

CUSTOMER = "222222222222"
REGION = "eu-west-1"


class Stage:
    """One world with its AWS and its control API."""

    def __init__(self) -> None:
        self.world = World(Clock(math.inf))
        kubernetes = KubernetesSimulator(self.world)
        overlay.install(self.world, kubernetes)
        self.aws = AwsEndpoint(self.world)
        self.server = Control(self.world, self.aws, kubernetes)
        self.control: ControlClient

    def client(self, service: str, **credentials: str) -> Any:
        """Return a client without retries; the customer's root unless other credentials are given."""
        credentials = credentials or {"aws_access_key_id": CUSTOMER, "aws_secret_access_key": "unchecked"}
        config = Config(retries={"total_max_attempts": 1})
        return boto3.client(service, region_name=REGION, endpoint_url=self.aws.url, config=config, **credentials)

    def connect(self) -> dict[str, str]:
        """Let the customer apply its template; return the credentials of the vendor's session there."""
        vendor = self.control.vendor()
        outputs = self.control.customer(CUSTOMER).apply_template(
            template(vendor.principal), region=REGION, parameters={"ExternalId": "ext-1"}
        )
        sts = self.client("sts", aws_access_key_id=vendor.access_key_id, aws_secret_access_key=vendor.secret_access_key)
        given = sts.assume_role(RoleArn=outputs["RoleArn"], RoleSessionName="byoc", ExternalId="ext-1")["Credentials"]
        return {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Serve a fresh world."""
    stage = Stage()
    with serving(stage.aws, stage.server):
        stage.control = ControlClient(stage.server.url)
        yield stage
        stage.control.reset()
        stage.control.close()


def template(trusted: str) -> dict[str, Any]:
    """Return a small template in the manner of ours: a role under a boundary, with two policies."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Parameters": {"ExternalId": {"Type": "String"}},
        "Resources": {
            "Boundary": {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {
                    "ManagedPolicyName": "byoc-boundary",
                    "Path": "/byoc/",
                    "PolicyDocument": _policy(
                        {"Effect": "Allow", "Action": ["ec2:*", "eks:*", "s3:*"], "Resource": "*"}
                    ),
                },
            },
            "Shared": {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {
                    "ManagedPolicyName": "byoc-shared",
                    "Path": "/byoc/",
                    "PolicyDocument": _policy({"Effect": "Allow", "Action": ["eks:ListClusters"], "Resource": "*"}),
                },
            },
            "Operate": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": "byoc-operate",
                    "Path": "/byoc/",
                    "PermissionsBoundary": {"Ref": "Boundary"},
                    "ManagedPolicyArns": [{"Ref": "Shared"}],
                    "AssumeRolePolicyDocument": _policy(
                        {
                            "Effect": "Allow",
                            "Principal": {"AWS": trusted},
                            "Action": "sts:AssumeRole",
                            "Condition": {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}},
                        }
                    ),
                    "Policies": [
                        {
                            "PolicyName": "operate",
                            "PolicyDocument": _policy(
                                {"Effect": "Allow", "Action": ["ec2:CreateVpc", "ec2:DescribeVpcs"], "Resource": "*"},
                                {"Effect": "Allow", "Action": ["s3:*", "kms:*"], "Resource": "*"},
                            ),
                        }
                    ],
                },
            },
        },
        "Outputs": {"RoleArn": {"Value": {"Fn::GetAtt": ["Operate", "Arn"]}}},
    }


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    """Return the error code of a refused call."""
    return str(caught.value.response["Error"]["Code"])


def test_the_customers_template_gives_the_vendor_a_bounded_role(stage: Stage) -> None:
    """CloudFormation makes the role with its trust, its policies and its boundary."""
    session = stage.connect()

    assert stage.client("ec2", **session).create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    assert stage.client("eks", **session).list_clusters()["clusters"] == []
    with pytest.raises(ClientError) as beyond_the_boundary:
        stage.client("kms", **session).list_keys()
    assert code(beyond_the_boundary) == "AccessDeniedException"


def test_every_credential_that_was_issued_is_told_until_the_reset(stage: Stage) -> None:
    """The vendor's key and what STS gave for it; a reset forgets them with the world."""
    session = stage.connect()
    vendor = stage.control.vendor()

    issued = {secret.value: secret.kind.value for secret in stage.control.secrets()}
    stage.control.reset()

    assert issued[vendor.secret_access_key] == "secret access key"
    assert issued[session["aws_secret_access_key"]] == "secret access key"
    assert issued[session["aws_session_token"]] == "session token"
    assert stage.control.secrets() == []


def test_a_template_can_be_applied_again_and_deleted(stage: Stage) -> None:
    """An equal template changes nothing; after the deletion no role and no policy is left."""
    stage.connect()
    stage.connect()

    stage.control.customer(CUSTOMER).delete_template(region=REGION)

    assert [resource for resource in stage.control.inventory(CUSTOMER) if resource.service == "iam"] == []


def test_a_template_that_fails_says_why(stage: Stage) -> None:
    """The control API passes CloudFormation's reason on."""
    broken = {"Resources": {"Role": {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "r"}}}}

    with pytest.raises(ControlError, match="AssumeRolePolicyDocument"):
        stage.control.customer(CUSTOMER).apply_template(broken)


@pytest.mark.parametrize(
    ("action", "service", "operation"),
    [
        ("ec2:CreateVpc", "ec2", lambda ec2: ec2.create_vpc(CidrBlock="10.0.0.0/16")),
        ("eks:ListClusters", "eks", lambda eks: eks.list_clusters()),
        ("s3:ListAllMyBuckets", "s3", lambda s3: s3.list_buckets()),
    ],
)
def test_the_customer_takes_an_action_away_and_gives_it_back(
    stage: Stage, action: str, service: str, operation: Any
) -> None:
    """It works for an action of the role's own policy, of an attached one, and for one that a wildcard grants."""
    client = stage.client(service, **stage.connect())
    customer = stage.control.customer(CUSTOMER)
    operation(client)

    customer.deny("byoc-operate", action)
    with pytest.raises(ClientError, match=f"not authorized to perform: {action}"):
        operation(client)

    customer.allow("byoc-operate", action)
    operation(client)


def test_what_the_role_never_had_cannot_be_taken_away(stage: Stage) -> None:
    """A typing error in a test is not taken for a denial."""
    stage.connect()

    with pytest.raises(ControlError, match="grants rds:CreateDBInstance"):
        stage.control.customer(CUSTOMER).deny("byoc-operate", "rds:CreateDBInstance")


def test_the_customer_makes_a_network_of_its_own(stage: Stage) -> None:
    """Three private and three public subnets, routed through gateways."""
    network = stage.control.customer(CUSTOMER).make_network(OwnNetwork(region=REGION))

    ec2 = stage.client("ec2")
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [network.vpc]}])["RouteTables"]
    routed = {association.get("SubnetId") for table in tables for association in table["Associations"]}
    assert len(network.private_subnets) == len(network.public_subnets) == 3
    assert {*network.private_subnets, *network.public_subnets} <= routed


def test_the_inventory_lists_what_an_account_holds_and_nothing_else(stage: Stage) -> None:
    """Things of two regions and global ones; not what AWS puts into every account, and not what is gone."""
    stage.control.customer(CUSTOMER).make_network(OwnNetwork(region=REGION))
    stage.connect()
    s3 = stage.client("s3")
    s3.create_bucket(Bucket="byoc-backup", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="byoc-backup", Key="k", Body=b"x")
    stage.client("kms").create_key(Tags=[{"TagKey": "byoc", "TagValue": "d1"}])
    gone = stage.client("ec2").create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    stage.client("ec2").delete_vpc(VpcId=gone)

    resources = stage.control.inventory(CUSTOMER)

    counts: dict[str, int] = {}
    for resource in resources:
        counts[resource.type] = counts.get(resource.type, 0) + 1
    assert counts == {
        "vpc": 1,
        "subnet": 6,
        "route-table": 4,
        "internet-gateway": 1,
        "nat-gateway": 3,
        "elastic-ip": 3,
        "network-interface": 3,
        "bucket": 1,
        "key": 1,
        "role": 1,
        "policy": 2,
    }
    bucket = next(resource for resource in resources if resource.type == "bucket")
    key = next(resource for resource in resources if resource.type == "key")
    assert (bucket.region, bucket.details) == (REGION, {"object_versions": 1})
    assert (key.tags, key.state) == ({"byoc": "d1"}, "Enabled")


def test_looking_at_the_inventory_leaves_no_trace(stage: Stage) -> None:
    """Its calls are not in the journal, and no fault strikes them."""
    stage.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")
    before = stage.control.position()
    stage.control.inject(Fault(kind=FaultKind.ERROR))

    resources = stage.control.inventory(CUSTOMER)

    assert [resource.type for resource in resources] == ["vpc"]
    assert stage.control.position() == before


def test_the_journal_can_be_asked_for_what_matters(stage: Stage) -> None:
    """Filters narrow the calls; a position separates old from new."""
    ec2 = stage.client("ec2")
    ec2.describe_vpcs()
    position = stage.control.position()
    ec2.create_vpc(CidrBlock="10.0.0.0/16")
    ec2.describe_vpcs()

    after = stage.control.journal(after=position)
    changes = stage.control.journal(service="ec2", mutating=True, changed=True, account=CUSTOMER)

    assert [call.operation for call in after] == ["CreateVpc", "DescribeVpcs"]
    assert [call.operation for call in changes] == ["CreateVpc"]
    with pytest.raises(ControlError, match="speling"):
        stage.control.call("GET", "/journal", query={"speling": "x"})


def test_a_fault_strikes_until_it_is_removed(stage: Stage) -> None:
    """Its hits are counted."""
    fault = stage.control.inject(Fault(kind=FaultKind.THROTTLE, service="ec2"))
    with pytest.raises(ClientError):
        stage.client("ec2").describe_vpcs()

    listed = stage.control.faults()
    stage.control.remove_fault(fault.id)

    assert [(entry.fault.id, entry.hits) for entry in listed] == [(fault.id, 1)]
    stage.client("ec2").describe_vpcs()
    with pytest.raises(ControlError, match="no fault"):
        stage.control.remove_fault(fault.id)


def test_a_held_call_is_awaited_and_released(stage: Stage) -> None:
    """The wait returns as soon as a call is held."""
    stage.control.inject(Fault(kind=FaultKind.HOLD, operation="CreateVpc"))
    caller = threading.Thread(target=lambda: stage.client("ec2").create_vpc(CidrBlock="10.0.0.0/16"))
    caller.start()

    held = stage.control.held(wait=10)
    stage.control.release(held[0].id)
    caller.join(10)

    assert [entry.call.operation for entry in held] == ["CreateVpc"]
    assert not caller.is_alive()
    assert stage.control.held() == []


def test_a_reset_cancels_what_is_held_before_its_deed(stage: Stage) -> None:
    """A call of the former world must not take effect in the fresh one."""
    stage.control.inject(Fault(kind=FaultKind.HOLD_BEFORE, operation="CreateVpc"))
    failures: list[Exception] = []

    def create() -> None:
        try:
            stage.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")
        except ConnectionClosedError as error:
            failures.append(error)

    caller = threading.Thread(target=create)
    caller.start()
    stage.control.held(wait=10)

    stage.control.reset()
    caller.join(10)

    assert len(failures) == 1
    assert stage.control.inventory(CUSTOMER) == []


def test_the_clock_can_be_set(stage: Stage) -> None:
    """Also to infinite speed, which JSON cannot spell as a number."""
    assert stage.control.clock().speed == math.inf
    assert stage.control.set_speed(600).speed == 600
    assert stage.control.set_speed(math.inf).speed == math.inf
    with pytest.raises(ControlError, match="greater than 0"):
        stage.control.set_speed(-1)


def test_permissions_that_calls_needed_are_told(stage: Stage) -> None:
    """With whether they were granted."""
    session = stage.connect()
    stage.client("ec2", **session).describe_vpcs()
    with pytest.raises(ClientError):
        stage.client("kms", **session).list_keys()

    needed = {entry.action: entry.allowed for entry in stage.control.authorizations(CUSTOMER)}

    assert needed == {"ec2:DescribeVpcs": True, "kms:ListKeys": False}


def test_after_a_reset_the_world_is_fresh(stage: Stage) -> None:
    """No resource, no user, no fault, no journal; the vendor can be made again."""
    stage.connect()
    former = stage.control.vendor()
    stage.control.inject(Fault(kind=FaultKind.ERROR))

    stage.control.reset()

    assert (stage.control.position(), stage.control.faults(), stage.control.authorizations()) == (0, [], [])
    assert stage.control.inventory(CUSTOMER) == []
    assert stage.control.vendor().access_key_id != former.access_key_id
    assert stage.connect()["aws_session_token"]


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/faults", {"kind": "explode"}, "kind"),
        ("/faults", {"kind": "error", "opration": "x"}, "opration"),
        ("/aws/accounts/12/customer/deny", {"role": "r", "action": "a"}, "12 digits"),
        (f"/aws/accounts/{CUSTOMER}/customer/deny", {"role": "r"}, "action"),
    ],
)
def test_bad_input_is_refused_with_the_reason(stage: Stage, path: str, body: dict[str, str], problem: str) -> None:
    """HTTP 400 names the field or the value."""
    reply = requests.post(stage.server.url + path, json=body, timeout=10)

    assert reply.status_code == 400
    assert problem in reply.json()["error"]
