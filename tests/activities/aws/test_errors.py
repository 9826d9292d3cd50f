"""What AWS's errors mean (lifecycles.md, section 6)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ParamValidationError
from temporalio.exceptions import ApplicationError

from activities.aws.errors import SIGNING_NAME, classify, describe, failures_named, is_not_found, retry_after
from domain.failure import FailureClass, FailureDetail


def error(
    code: str, message: str = "", *, operation: str = "CreateVpc", service: str = "ec2", **metadata: Any
) -> ClientError:
    """Return an error as the SDK raises it through our connections."""
    reply = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 400, SIGNING_NAME: service, **metadata},
    }
    return ClientError(reply, operation)


def test_where_no_code_decides_the_message_does_in_order_of_precedence() -> None:
    """A message that refuses a permission and mentions a limit is about the permission."""
    message = "User x is not authorized to perform: eks:CreateCluster; the limit would be exceeded"

    assert classify("Strange", message) is FailureClass.PERMISSION
    assert classify("Strange", "the quota of rules is exceeded") is FailureClass.QUOTA
    assert classify("Strange", status=503) is FailureClass.TRANSIENT
    assert classify("Strange", status=429) is FailureClass.THROTTLE


def test_the_missing_action_is_read_from_the_message() -> None:
    """The action that AWS names is the one that is missing, which need not be the one that was called."""
    caller, role = "arn:aws:sts::1:assumed-role/x", "arn:aws:iam::1:role/y"
    message = f"User: {caller} is not authorized to perform: iam:PassRole on resource: {role}"

    detail = describe(error("AccessDeniedException", message, operation="CreateCluster", service="eks"))

    assert (detail.failure, detail.action, detail.resource) == (
        FailureClass.PERMISSION,
        "iam:PassRole",
        role,
    )


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("ec2", "CreateVpc", "ec2:CreateVpc"),
        ("s3", "HeadBucket", "s3:ListBucket"),
        ("s3", "PutPublicAccessBlock", "s3:PutBucketPublicAccessBlock"),
        ("monitoring", "PutMetricAlarm", "cloudwatch:PutMetricAlarm"),
        ("tagging", "GetResources", "tag:GetResources"),
    ],
)
def test_where_the_message_names_no_action_the_call_does(service: str, operation: str, action: str) -> None:
    """The action is derived from the operation, in IAM's spelling."""
    assert describe(error("AccessDenied", "Access Denied", operation=operation, service=service)).action == action


def test_the_encoded_part_of_a_message_is_left_out() -> None:
    """EC2's encoded explanation says nothing to people."""
    detail = describe(
        error("UnauthorizedOperation", "You are not authorized. Encoded authorization failure message: Zm9v")
    )

    assert "Zm9v" not in detail.message
    assert detail.action == "ec2:CreateVpc"


def test_a_policy_of_the_organization_is_told_apart() -> None:
    """What a service control policy forbids, the customer's account administrator cannot grant."""
    message = "User x is not authorized to perform: ec2:CreateVpc with an explicit deny in a service control policy"

    assert describe(error("UnauthorizedOperation", message)).failure is FailureClass.POLICY


def test_a_role_that_cannot_be_assumed_is_a_matter_of_authentication() -> None:
    """The permission is not missing from our role: we do not get into it."""
    assert describe(error("AccessDenied", operation="AssumeRole", service="sts")).failure is FailureClass.AUTH


def test_a_quota_is_named() -> None:
    """The code of the refusal says which quota."""
    detail = describe(error("VpcLimitExceeded", "The maximum number of VPCs has been reached."))

    assert (detail.failure, detail.quota) == (FailureClass.QUOTA, "VpcLimitExceeded")


@pytest.mark.parametrize(("header", "expected"), [("7", 7), ("100000", 300), ("soon", None)])
def test_retry_after_is_kept_within_reason(header: str, expected: int | None) -> None:
    """Seconds are honoured up to five minutes; what is no number is ignored."""
    throttled = error("Throttling", HTTPHeaders={"retry-after": header})

    assert retry_after(throttled) == (None if expected is None else timedelta(seconds=expected))


@pytest.mark.parametrize(
    "code", ["InvalidVpcID.NotFound", "NoSuchEntity", "ResourceNotFoundException", "NatGatewayNotFound"]
)
def test_not_found_has_many_spellings(code: str) -> None:
    """Each service says it in its own way."""
    assert is_not_found(error(code))


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (EndpointConnectionError(endpoint_url="https://ec2"), FailureClass.TRANSIENT),
        (NoCredentialsError(), FailureClass.AUTH),
        (ParamValidationError(report="VpcId: missing"), FailureClass.CONFIG),
    ],
)
def test_what_never_reached_aws_is_named_too(raised: Exception, expected: FailureClass) -> None:
    """Network faults pass; missing credentials and malformed requests do not."""
    with pytest.raises(ApplicationError) as caught, failures_named():
        raise raised

    detail: FailureDetail = caught.value.details[0]
    assert detail.failure is expected
    assert caught.value.non_retryable is (expected is not FailureClass.TRANSIENT)


def test_a_refusal_to_start_machines_is_a_missing_permission() -> None:
    """EKS words it as a conflict and names no action; waiting for time to cure it would be in vain."""
    message = "You are not authorized to launch instances with this launch template."

    detail = describe(error("InvalidRequestException", message, operation="CreateNodegroup", service="eks"))

    assert (detail.failure, detail.action) == (FailureClass.PERMISSION, "ec2:RunInstances")


def test_a_refused_head_names_its_action() -> None:
    """It has no body: the status and the operation are all that there is."""
    detail = describe(error("403", "Forbidden", operation="HeadBucket", service="s3"))

    assert (detail.failure, detail.action) == (FailureClass.PERMISSION, "s3:ListBucket")
