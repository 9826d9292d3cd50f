"""The AWS endpoint as the real SDK meets it: journal, authorization, faults, holds."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from simulators.aws import context, emulator, overlay
from simulators.aws.front import AwsEndpoint
from simulators.clock import Clock
from simulators.faults import Fault, FaultKind
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World
from tests.simulators.serving import serving

CUSTOMER = "222222222222"
REGION = "eu-west-1"
ROLE = f"arn:aws:iam::{CUSTOMER}:role/byoc/operate"


class Aws:
    """One simulated AWS with a customer's role that the vendor may assume."""

    def __init__(self) -> None:
        self.world = World(Clock(math.inf))
        overlay.install(self.world, KubernetesSimulator(self.world))
        self.endpoint = AwsEndpoint(self.world)
        self.operator: dict[str, str] = {}

    def client(self, service: str, key: str = CUSTOMER, region: str = REGION, **config: Any) -> Any:
        """Return a client for the root of an account, without retries."""
        credentials = {"aws_access_key_id": key, "aws_secret_access_key": "unchecked"}
        return self._client(service, region, credentials, config)

    def as_operator(self, service: str, region: str = REGION, **config: Any) -> Any:
        """Return a client that has assumed the customer's role."""
        return self._client(service, region, self.operator, config)

    def allow(self, *statements: dict[str, Any]) -> None:
        """Let the role do what `statements` say, and assume it anew."""
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        self.client("iam").put_role_policy(RoleName="operate", PolicyName="operate", PolicyDocument=document)

    def make_role(self) -> None:
        """Make the role, trusting the vendor's account under an external id, and assume it."""
        trust = {
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "ext-1"}},
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        self.client("iam").create_role(RoleName="operate", Path="/byoc/", AssumeRolePolicyDocument=document)
        sts = self.client("sts", "111111111111")
        assumed = sts.assume_role(RoleArn=ROLE, RoleSessionName="byoc", ExternalId="ext-1")["Credentials"]
        self.operator = {
            "aws_access_key_id": assumed["AccessKeyId"],
            "aws_secret_access_key": assumed["SecretAccessKey"],
            "aws_session_token": assumed["SessionToken"],
        }

    def _client(self, service: str, region: str, credentials: dict[str, str], config: dict[str, Any]) -> Any:
        options = Config(retries={"total_max_attempts": 1}, **config)
        return boto3.client(service, region_name=region, endpoint_url=self.endpoint.url, config=options, **credentials)


@pytest.fixture
def aws() -> Iterator[Aws]:
    """Serve an AWS in which nothing has happened but the making of the role."""
    aws = Aws()
    with serving(aws.endpoint):
        aws.make_role()
        yield aws
        aws.endpoint.reset()


def refusal(call: Callable[[], object]) -> tuple[int, str, str]:
    """Return HTTP status, code and message with which `call` is refused."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def test_a_call_is_in_the_journal_with_everything_that_tells_who_did_what(aws: Aws) -> None:
    """Service, operation, account, region, principal, agent, resource and outcome are recorded."""
    aws.allow({"Effect": "Allow", "Action": ["ec2:CreateVpc", "ec2:CreateTags"], "Resource": "*"})
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "byoc-d1"}]}]

    aws.as_operator("ec2", user_agent_extra="deployment/d1").create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)

    call = aws.world.journal.calls(service="ec2")[-1]
    assert (call.operation, call.account, call.region, call.resource) == ("CreateVpc", CUSTOMER, REGION, "byoc-d1")
    assert call.principal == f"arn:aws:sts::{CUSTOMER}:assumed-role/operate/byoc"
    assert "deployment/d1" in call.agent
    assert (call.mutating, call.changed, call.status, call.error) == (True, True, 200, "")


@pytest.mark.parametrize(
    ("service", "call", "operation", "mutating"),
    [
        ("eks", lambda eks: eks.describe_nodegroup(clusterName="c", nodegroupName="n"), "DescribeNodegroup", False),
        ("eks", lambda eks: eks.tag_resource(resourceArn=f"arn:aws:eks:{REGION}:{CUSTOMER}:cluster/c", tags={"a": "b"}),
         "TagResource", True),
        ("s3", lambda s3: s3.put_bucket_versioning(Bucket="b", VersioningConfiguration={"Status": "Enabled"}),
         "PutBucketVersioning", True),
        ("s3", lambda s3: s3.copy_object(Bucket="b", Key="k", CopySource="b/old"), "CopyObject", True),
        ("s3", lambda s3: s3.list_objects_v2(Bucket="b"), "ListObjectsV2", False),
        ("route53", lambda dns: dns.get_hosted_zone(Id="Z1"), "GetHostedZone", False),
        ("kms", lambda kms: kms.schedule_key_deletion(KeyId="k"), "ScheduleKeyDeletion", True),
        ("cloudwatch", lambda watch: watch.describe_alarms(), "DescribeAlarms", False),
        ("iam", lambda iam: iam.simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=["ec2:CreateVpc"]),
         "SimulatePrincipalPolicy", False),
    ],
)  # fmt: skip
def test_every_protocol_is_understood(
    aws: Aws, service: str, call: Callable[[Any], object], operation: str, mutating: bool
) -> None:
    """The SDK's own operation name is found for query, JSON, CBOR and REST calls alike."""
    with contextlib.suppress(ClientError):
        call(aws.client(service))

    recorded = aws.world.journal.calls()[-1]

    assert (recorded.operation, recorded.mutating) == (operation, mutating)


@pytest.mark.parametrize(
    ("service", "call", "status", "code"),
    [
        ("iam", lambda iam: iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}"), 403, "AccessDenied"),
        ("ec2", lambda ec2: ec2.describe_vpcs(), 403, "UnauthorizedOperation"),
        ("eks", lambda eks: eks.describe_cluster(name="c"), 403, "AccessDeniedException"),
        ("kms", lambda kms: kms.create_key(), 400, "AccessDeniedException"),
        ("s3", lambda s3: s3.list_objects_v2(Bucket="b"), 403, "AccessDenied"),
        ("elbv2", lambda elb: elb.describe_load_balancers(), 403, "AccessDenied"),
        ("autoscaling", lambda scaling: scaling.describe_auto_scaling_groups(), 403, "AccessDenied"),
        ("route53", lambda dns: dns.list_hosted_zones(), 403, "AccessDenied"),
        ("acm", lambda acm: acm.list_certificates(), 400, "AccessDeniedException"),
        ("resourcegroupstaggingapi", lambda tagging: tagging.get_resources(), 400, "AccessDeniedException"),
        ("cloudwatch", lambda watch: watch.describe_alarms(), 400, "AccessDeniedException"),
        ("logs", lambda logs: logs.describe_log_groups(), 400, "AccessDeniedException"),
        ("ssm", lambda ssm: ssm.get_parameter(Name="/aws/service/x"), 400, "AccessDeniedException"),
        ("cloudformation", lambda formation: formation.describe_stacks(), 403, "AccessDenied"),
    ],
)
def test_a_role_is_denied_what_its_policy_does_not_grant(
    aws: Aws, service: str, call: Callable[[Any], object], status: int, code: str
) -> None:
    """Each service denies in its own shape, and names the action that is missing."""
    denied = refusal(lambda: call(aws.as_operator(service)))

    assert denied[:2] == (status, code)
    assert "is not authorized to perform: " in denied[2]
    assert "because no identity-based policy allows the " in denied[2]


def test_a_role_must_be_allowed_to_be_passed(aws: Aws) -> None:
    """Creating a cluster needs iam:PassRole on the cluster's role, for EKS."""
    create_cluster = lambda: aws.as_operator("eks").create_cluster(  # noqa: E731
        name="byoc-1", roleArn=f"arn:aws:iam::{CUSTOMER}:role/byoc/cluster", resourcesVpcConfig={"subnetIds": ["s"]}
    )
    aws.allow({"Effect": "Allow", "Action": "eks:CreateCluster", "Resource": "*"})

    _, code, message = refusal(create_cluster)

    assert code == "AccessDeniedException"
    assert f"iam:PassRole on resource: arn:aws:iam::{CUSTOMER}:role/byoc/cluster" in message


def test_tagging_on_creation_needs_its_own_permission(aws: Aws) -> None:
    """EC2 checks ec2:CreateTags when a creation carries tags."""
    aws.allow({"Effect": "Allow", "Action": "ec2:CreateVpc", "Resource": "*"})
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "byoc", "Value": "d1"}]}]

    _, _, message = refusal(lambda: aws.as_operator("ec2").create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags))

    assert "ec2:CreateTags" in message


def test_request_tags_bind_what_is_made_and_resource_tags_what_is_used(aws: Aws) -> None:
    """A subnet may be made in our network only, and only with our tag."""
    new = {"Effect": "Allow", "Action": "ec2:CreateSubnet", "Resource": "arn:aws:ec2:*:*:subnet/*",
           "Condition": {"StringEquals": {"aws:RequestTag/byoc": "d1"}}}  # fmt: skip
    used = {"Effect": "Allow", "Action": "ec2:CreateSubnet", "Resource": "arn:aws:ec2:*:*:vpc/*",
            "Condition": {"StringEquals": {"aws:ResourceTag/byoc": "d1"}}}  # fmt: skip
    aws.allow(new, used, {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*"})
    tag = [{"Key": "byoc", "Value": "d1"}]
    make_vpc = aws.client("ec2").create_vpc
    ours = make_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": tag}])["Vpc"]["VpcId"]
    theirs = make_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    create = aws.as_operator("ec2").create_subnet
    tagged = [{"ResourceType": "subnet", "Tags": tag}]

    made = create(VpcId=ours, CidrBlock="10.0.0.0/24", TagSpecifications=tagged)

    assert made["Subnet"]["VpcId"] == ours
    assert "subnet/* because" in refusal(lambda: create(VpcId=ours, CidrBlock="10.0.1.0/24"))[2]
    in_theirs = refusal(lambda: create(VpcId=theirs, CidrBlock="10.1.0.0/24", TagSpecifications=tagged))
    assert f"vpc/{theirs} because" in in_theirs[2]


def test_iam_is_checked_on_paths_and_boundaries(aws: Aws) -> None:
    """A role may be made on our path and under the boundary, and nowhere else."""
    policies = f"arn:aws:iam::{CUSTOMER}:policy/byoc/boundary"
    aws.client("iam").create_policy(PolicyName="boundary", Path="/byoc/", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))  # fmt: skip
    aws.allow({"Effect": "Allow", "Action": "iam:CreateRole", "Resource": f"arn:aws:iam::{CUSTOMER}:role/byoc/*",
               "Condition": {"StringEquals": {"iam:PermissionsBoundary": policies}}})  # fmt: skip
    trust = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}]})  # fmt: skip
    create = aws.as_operator("iam").create_role

    made = create(RoleName="a", Path="/byoc/", AssumeRolePolicyDocument=trust, PermissionsBoundary=policies)

    assert made["Role"]["Arn"] == f"arn:aws:iam::{CUSTOMER}:role/byoc/a"
    assert refusal(lambda: create(RoleName="b", Path="/byoc/", AssumeRolePolicyDocument=trust))[1] == "AccessDenied"
    elsewhere = {"RoleName": "c", "AssumeRolePolicyDocument": trust, "PermissionsBoundary": policies}
    assert refusal(lambda: create(**elsewhere))[1] == "AccessDenied"


def test_a_simulation_answers_as_the_call_would_be(aws: Aws) -> None:
    """Policies, boundary, resources and the given context decide; what the conditions lack is named."""
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["ec2:*", "s3:*"], "Resource": "*"}],
    }
    boundary = aws.client("iam").create_policy(PolicyName="boundary", PolicyDocument=json.dumps(document))["Policy"][
        "Arn"
    ]
    aws.client("iam").put_role_permissions_boundary(RoleName="operate", PermissionsBoundary=boundary)
    aws.allow(
        {"Effect": "Allow", "Action": ["kms:ListKeys", "ec2:DescribeVpcs"], "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::byoc-*"},
        {"Effect": "Deny", "Action": "s3:DeleteBucket", "Resource": "*"},
        {"Effect": "Allow", "Action": "ec2:CreateVpc", "Resource": "*",
         "Condition": {"StringEquals": {"aws:RequestTag/byoc": "d1"}}},
    )  # fmt: skip
    simulate = aws.client("iam").simulate_principal_policy
    actions = ["kms:ListKeys", "ec2:DescribeVpcs", "ec2:CreateVpc"]
    tag = {"ContextKeyName": "aws:RequestTag/byoc", "ContextKeyValues": ["d1"], "ContextKeyType": "string"}
    bucket = {
        "ActionNames": ["s3:GetObject", "s3:DeleteBucket"],
        "ResourceArns": ["arn:aws:s3:::byoc-a", "arn:aws:s3:::b"],
    }

    plain = simulate(PolicySourceArn=ROLE, ActionNames=actions)["EvaluationResults"]
    tagged = simulate(PolicySourceArn=ROLE, ActionNames=actions, ContextEntries=[tag])["EvaluationResults"]
    on_buckets = simulate(PolicySourceArn=ROLE, **bucket)["EvaluationResults"]

    assert [result["EvalDecision"] for result in plain] == ["implicitDeny", "allowed", "implicitDeny"]
    assert plain[0]["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
    assert plain[2]["MissingContextValues"] == ["aws:RequestTag/byoc"]
    assert [result["EvalDecision"] for result in tagged] == ["implicitDeny", "allowed", "allowed"]
    assert [(result["EvalActionName"], result["EvalDecision"]) for result in on_buckets] == [
        ("s3:GetObject", "allowed"), ("s3:GetObject", "implicitDeny"),
        ("s3:DeleteBucket", "explicitDeny"), ("s3:DeleteBucket", "explicitDeny"),
    ]  # fmt: skip


def test_every_needed_permission_is_remembered(aws: Aws) -> None:
    """Also those that no call is named after."""
    aws.allow({"Effect": "Allow", "Action": ["ec2:CreateVpc", "ec2:CreateTags"], "Resource": "*"})
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "byoc", "Value": "d1"}]}]

    aws.as_operator("ec2").create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)

    checked = {permission.action: allowed for permission, allowed in aws.endpoint.authorizer.checked()}
    assert checked == {"ec2:CreateVpc": True, "ec2:CreateTags": True}


def test_a_wrong_external_id_opens_nothing(aws: Aws) -> None:
    """The trust policy's condition is enforced."""
    assume = aws.client("sts", "111111111111").assume_role

    denied = refusal(lambda: assume(RoleArn=ROLE, RoleSessionName="byoc", ExternalId="guess"))

    assert denied[:2] == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("kind", "service", "call", "status", "code"),
    [
        ("throttle", "ec2", lambda ec2: ec2.create_vpc(CidrBlock="10.0.0.0/16"), 503, "RequestLimitExceeded"),
        ("throttle", "eks", lambda eks: eks.list_clusters(), 429, "ThrottlingException"),
        ("throttle", "sts", lambda sts: sts.get_caller_identity(), 400, "Throttling"),
        ("throttle", "s3", lambda s3: s3.list_buckets(), 503, "SlowDown"),
        ("throttle", "route53", lambda dns: dns.list_hosted_zones(), 400, "Throttling"),
        ("throttle", "cloudwatch", lambda watch: watch.describe_alarms(), 400, "ThrottlingException"),
        ("quota", "ec2", lambda ec2: ec2.create_vpc(CidrBlock="10.0.0.0/16"), 400, "VpcLimitExceeded"),
        ("quota", "ec2", lambda ec2: ec2.allocate_address(), 400, "AddressLimitExceeded"),
        ("quota", "eks", lambda eks: eks.create_cluster(name="c", roleArn="r" * 20, resourcesVpcConfig={}), 400,
         "ResourceLimitExceededException"),
        ("quota", "iam", lambda iam: iam.create_user(UserName="u"), 409, "LimitExceeded"),
        ("error", "kms", lambda kms: kms.create_key(), 500, "KMSInternalException"),
        ("error", "ec2", lambda ec2: ec2.create_vpc(CidrBlock="10.0.0.0/16"), 500, "InternalError"),
        ("capacity", "ec2", lambda ec2: ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1), 500,
         "InsufficientInstanceCapacity"),
        ("revoke", "ec2", lambda ec2: ec2.create_vpc(CidrBlock="10.0.0.0/16"), 403, "UnauthorizedOperation"),
        ("revoke", "s3", lambda s3: s3.list_buckets(), 403, "AccessDenied"),
    ],
)  # fmt: skip
def test_a_fault_answers_in_the_shape_of_its_service(
    aws: Aws, kind: str, service: str, call: Callable[[Any], object], status: int, code: str
) -> None:
    """Status and code are those of the real service, nothing is done, and the journal names the fault."""
    fault = aws.world.faults.add(Fault(kind=FaultKind(kind)))

    refused = refusal(lambda: call(aws.client(service)))

    assert refused[:2] == (status, code)
    recorded = aws.world.journal.calls()[-1]
    assert (recorded.fault, recorded.status, recorded.error, recorded.changed) == (fault.id, status, code, False)


def test_a_revoked_action_is_named(aws: Aws) -> None:
    """The injected denial reads like one of a policy that lacks the action."""
    aws.world.faults.add(Fault(kind=FaultKind.REVOKE, service="s3"))

    _, _, message = refusal(lambda: aws.client("s3").list_objects_v2(Bucket="b"))

    assert "is not authorized to perform: s3:ListBucket" in message


def test_a_lost_reply_hides_a_deed_that_was_done(aws: Aws) -> None:
    """The caller sees a closed connection; the network is there."""
    aws.world.faults.add(Fault(kind=FaultKind.LOST_REPLY, operation="CreateVpc", times=1))

    with pytest.raises(ConnectionClosedError):
        aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")

    assert "10.9.0.0/16" in [vpc["CidrBlock"] for vpc in aws.client("ec2").describe_vpcs()["Vpcs"]]
    recorded = aws.world.journal.calls(operation="CreateVpc")[-1]
    assert (recorded.status, recorded.changed) == (0, True)


def test_a_held_reply_arrives_when_it_is_released(aws: Aws) -> None:
    """While it is held the deed is done already."""
    aws.world.faults.add(Fault(kind=FaultKind.HOLD, operation="CreateVpc", times=1))
    replies: list[Any] = []
    caller = threading.Thread(target=lambda: replies.append(aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")))
    caller.start()

    held = _await_held(aws.world)
    during = [vpc["CidrBlock"] for vpc in aws.client("ec2").describe_vpcs()["Vpcs"]]
    aws.world.release(held.id)
    caller.join(10)

    assert held.deed_done
    assert held.call.operation == "CreateVpc"
    assert "10.9.0.0/16" in during
    assert replies[0]["Vpc"]["CidrBlock"] == "10.9.0.0/16"


@pytest.mark.parametrize(("kind", "done"), [(FaultKind.HOLD, True), (FaultKind.HOLD_BEFORE, False)])
def test_a_caller_that_hangs_up_ends_the_hold(aws: Aws, kind: FaultKind, done: bool) -> None:
    """After the deed it stays done; before the deed it never happens."""
    aws.world.faults.add(Fault(kind=kind, operation="CreateVpc"))

    with pytest.raises(ReadTimeoutError):
        aws.client("ec2", read_timeout=0.3).create_vpc(CidrBlock="10.9.0.0/16")

    _await(lambda: not aws.world.held())
    assert ("10.9.0.0/16" in [vpc["CidrBlock"] for vpc in aws.client("ec2").describe_vpcs()["Vpcs"]]) is done
    recorded = aws.world.journal.calls(operation="CreateVpc")[-1]
    assert (recorded.status, recorded.changed) == (0, done)


def test_a_service_is_told_of_the_fault_that_concerns_what_it_starts(aws: Aws) -> None:
    """Stuck, crash and no capacity reach the service; it can also say that a call changed nothing."""
    met: list[Fault | None] = []

    async def handle(*_: object) -> tuple[int, dict[str, Any], bytes]:
        met.append(context.current_fault.get())
        context.report_no_effect()
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, b"{}"

    emulator.add_service("shield", handle, target_prefix="AWSShield_20160616")
    fault = aws.world.faults.add(Fault(kind=FaultKind.STUCK, service="shield"))

    aws.client("shield").create_subscription()

    assert met == [fault]
    assert aws.world.journal.calls(service="shield")[-1].changed is False
    assert refusal(lambda: aws.as_operator("shield").create_subscription())[1] == "AccessDeniedException"


def test_objects_of_several_megabytes_pass(aws: Aws) -> None:
    """Uploads announce themselves with Expect: 100-continue, and HEAD replies tell the object's length."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="byoc-b", CreateBucketConfiguration={"LocationConstraint": REGION})

    s3.put_object(Bucket="byoc-b", Key="k", Body=b"x" * 5_000_000)

    assert s3.head_object(Bucket="byoc-b", Key="k")["ContentLength"] == 5_000_000
    assert len(s3.get_object(Bucket="byoc-b", Key="k")["Body"].read()) == 5_000_000


def test_nothing_else_listens(aws: Aws) -> None:
    """The ports of ministack itself (HTTP 4566, MQTT 8883, SFTP 2222) stay closed."""
    aws.client("ec2").describe_vpcs()

    for port in (4566, 8883, 2222):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_reset_forgets_every_account(aws: Aws) -> None:
    """Networks, roles and sessions are gone."""
    aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")

    aws.endpoint.reset()

    assert [vpc for vpc in aws.client("ec2").describe_vpcs()["Vpcs"] if not vpc["IsDefault"]] == []
    assert aws.client("iam").list_roles()["Roles"] == []
    assert refusal(lambda: aws.as_operator("sts").get_caller_identity())[0] == 403


def _await_held(world: World) -> Any:
    _await(lambda: bool(world.held()))
    return world.held()[0]


def _await(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(200):
        if condition():
            return
        waiting.wait(0.02)
    pytest.fail("the condition did not come true within four seconds")


def test_a_held_call_does_not_keep_the_endpoint_from_stopping() -> None:
    """The caller sees its connection closed."""
    aws = Aws()
    errors: list[Exception] = []
    with serving(aws.endpoint):
        aws.world.faults.add(Fault(kind=FaultKind.HOLD, operation="CreateVpc"))

        def create() -> None:
            try:
                aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")
            except ConnectionClosedError as error:
                errors.append(error)

        caller = threading.Thread(target=create)
        caller.start()
        _await_held(aws.world)

    caller.join(5)
    aws.endpoint.reset()
    assert len(errors) == 1
