"""What AWS refuses, in the domain's words: `failures_named` turns an SDK error into the failure that says what follows.

The structured code decides, then the message (lifecycles.md, section 6). Sources of the codes: the common errors of the
EC2, EKS, IAM, S3, KMS and Service Quotas API references, and botocore's service models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as SdkConnectionError

from activities.aws.actions import action_of
from activities.failures import failure
from domain.failure import FailureClass, FailureDetail

SIGNING_NAME = "SigningName"
"""Key in `ResponseMetadata` under which `connection` notes the service: the SDK's error names the operation alone."""

_ABOUT_AN_ACTION = frozenset({FailureClass.AUTH, FailureClass.PERMISSION, FailureClass.POLICY})

_LONGEST_RETRY_AFTER = timedelta(minutes=5)

_CODES: dict[FailureClass, frozenset[str]] = {
    FailureClass.AUTH: frozenset({
        "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidAccessKeyId",
        "InvalidClientTokenId", "InvalidToken", "RequestExpired", "SignatureDoesNotMatch", "TokenRefreshRequired",
        "UnrecognizedClientException",
    }),
    FailureClass.PERMISSION: frozenset({
        # A HEAD has no body, so S3's refusal of one has nothing but the status.
        "403", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation", "UnauthorizedAccess",
        "UnauthorizedException", "UnauthorizedOperation",
    }),
    FailureClass.POLICY: frozenset({
        "Blocked", "KMSInvalidStateException", "KmsGrantRevoked", "OptInRequired", "PendingVerification",
        "RegionDisabledException", "SubscriptionRequiredException",
    }),
    FailureClass.QUOTA: frozenset({
        "AddressLimitExceeded", "AttachmentLimitExceeded", "InstanceLimitExceeded", "InternetGatewayLimitExceeded",
        "LimitExceeded", "LimitExceededException", "LimitsExceeded", "MaxSpotInstanceCountExceeded",
        "NatGatewayLimitExceeded", "NetworkInterfaceLimitExceeded", "PendingVpcPeeringConnectionLimitExceeded",
        "QuotaExceededException", "ResourceLimitExceeded", "ResourceLimitExceededException",
        "RouteTableLimitExceeded", "RulesPerSecurityGroupLimitExceeded", "SecurityGroupLimitExceeded",
        "SecurityGroupsPerInstanceLimitExceeded", "ServiceQuotaExceededException", "SubnetLimitExceeded",
        "TooManyAccessPoints", "TooManyBuckets", "TooManyHostedZones", "TooManyLoadBalancers", "VcpuLimitExceeded",
        "VolumeLimitExceeded", "VpcEndpointLimitExceeded", "VpcLimitExceeded",
    }),
    FailureClass.CAPACITY: frozenset({
        "AsgInstanceLaunchFailures", "InsufficientAddressCapacity", "InsufficientCapacity",
        "InsufficientCapacityOnHost", "InsufficientHostCapacity", "InsufficientInstanceCapacity",
        "InsufficientVolumeCapacity", "UnfulfillableCapacity", "Unsupported",
        "UnsupportedAvailabilityZoneException",
    }),
    FailureClass.THROTTLE: frozenset({
        "BandwidthLimitExceeded", "EC2ThrottledException", "PriorRequestNotComplete", "RequestLimitExceeded",
        "RequestThrottled", "RequestThrottledException", "SlowDown", "ThrottledException", "Throttling",
        "ThrottlingException", "TooManyRequestsException",
    }),
    FailureClass.CONFLICT: frozenset({
        "BucketAlreadyOwnedByYou", "ConcurrentModification", "ConcurrentModificationException", "ConflictException",
        "DeleteConflict", "DependencyViolation", "EntityAlreadyExists", "EntityTemporarilyUnmodifiable",
        "IncorrectInstanceState", "IncorrectState", "InvalidRequestException", "OperationAborted",
        "OperationInProgress", "Resource.AlreadyAssociated", "ResourceInUse", "ResourceInUseException", "VolumeInUse",
    }),
    FailureClass.TRANSIENT: frozenset({
        "InternalError", "InternalFailure", "InternalServerError", "InternalServiceError", "RequestTimeout",
        "RequestTimeoutException", "ServerException", "ServiceFailure", "ServiceUnavailable",
        "ServiceUnavailableException", "Unavailable",
    }),
    FailureClass.CONFIG: frozenset({
        "IdempotentParameterMismatch", "InvalidArgument", "InvalidInput", "InvalidParameter",
        "InvalidParameterCombination", "InvalidParameterException", "InvalidParameterValue",
        "InvalidParameterValueException", "MalformedPolicyDocument", "MalformedXML", "MissingParameter",
        "UnknownParameter", "ValidationError", "ValidationException",
    }),
}  # fmt: skip

_CLASS_OF_CODE = {code: refused for refused, codes in _CODES.items() for code in codes}

# In the order of precedence: a message may mention a quota while it refuses a permission.
_MESSAGES: tuple[tuple[FailureClass, re.Pattern[str]], ...] = (
    (FailureClass.PERMISSION, re.compile(r"not authorized to (perform|launch instances)", re.IGNORECASE)),
    (FailureClass.QUOTA, re.compile(r"(limit|quota) .*(exceeded|reached)|exceed.* (limit|quota)", re.IGNORECASE)),
    (FailureClass.CAPACITY, re.compile(r"insufficient capacity|not have sufficient .*capacity", re.IGNORECASE)),
    (FailureClass.THROTTLE, re.compile(r"rate exceeded|throttl", re.IGNORECASE)),
)

_NOT_FOUND = re.compile(r"NotFound(Exception|Fault)?$|^NoSuch|^404$")
_EXCEEDED = re.compile(r"LimitExceeded(Exception|Fault)?$|^TooMany\w+$")
"""Each kind of resource has a code of its own for its limit (`MaxTemplateLimitExceeded`, `TooManyTargetGroups`)."""
_MALFORMED = re.compile(r"^Invalid\w*\.(Malformed|Range|Conflict)$|^InvalidParameter")
_REFUSED_ACTION = re.compile(r"not authorized to perform:? ([\w-]+:\w+)")
_ACTIONS_IN_WORDS = {"not authorized to launch instances": "ec2:RunInstances"}
"""What a refusal says in place of an action; keyed by a part of its message."""

_REFUSED_RESOURCE = re.compile(r"on resource:? (\S+?)[.,]?(?=\s|$)")
_BY_ORGANIZATION = re.compile(r"service control policy|resource control policy|organizations? policy", re.IGNORECASE)


@contextmanager
def failures_named(*, resource: str = "") -> Iterator[None]:
    """Let any error of the SDK leave the block as the domain's failure, with the missing action or quota named.

    Failures that the block raises itself pass unchanged. `resource` says what the block is about, for messages of AWS
    that do not.
    """
    try:
        yield
    except ClientError as error:
        detail = describe(error, resource=resource)
        raise failure(detail, retry_after=retry_after(error)) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        message = f"The control plane has no AWS credentials of its own: {error}"
        raise failure(FailureDetail(failure=FailureClass.AUTH, message=message, code=type(error).__name__)) from error
    except ParamValidationError as error:
        message = f"A request to AWS is malformed: {error}"
        detail = FailureDetail(failure=FailureClass.CONFIG, message=message, code="ParamValidation", resource=resource)
        raise failure(detail) from error
    except (SdkConnectionError, HTTPClientError) as error:
        message = f"AWS did not answer: {error}"
        detail = FailureDetail(failure=FailureClass.TRANSIENT, message=message, code=type(error).__name__)
        raise failure(detail) from error
    except BotoCoreError as error:
        detail = FailureDetail(failure=FailureClass.UNKNOWN, message=str(error), code=type(error).__name__)
        raise failure(detail) from error


def describe(error: ClientError, *, resource: str = "") -> FailureDetail:
    """Return what `error` means: its class, the action, resource or quota, and a sentence for who must act."""
    code, text = code_of(error), _message_of(error)
    refused = classify(code, text, status=_status_of(error))
    if error.operation_name == "AssumeRole" and refused is FailureClass.PERMISSION:
        refused = FailureClass.AUTH
    action = _action_of(error) if refused in _ABOUT_AN_ACTION else ""
    named = _REFUSED_RESOURCE.search(text) if refused in _ABOUT_AN_ACTION else None
    return FailureDetail(
        failure=refused,
        message=_sentence(refused, action, error.operation_name, code, text),
        code=code,
        action=action,
        resource=named[1] if named else resource,
        quota=code if refused is FailureClass.QUOTA else "",
    )


def classify(code: str, message: str = "", *, status: int = 400) -> FailureClass:
    """Return the class of an error code, of a call or of a resource's health issue.

    `status` is the reply's HTTP status, which decides where neither code nor message is known.
    """
    known = _CLASS_OF_CODE.get(code)
    if known is FailureClass.PERMISSION and _BY_ORGANIZATION.search(message):
        return FailureClass.POLICY
    if known is FailureClass.CONFLICT and _class_of_message(message) is FailureClass.PERMISSION:
        # EKS answers so to a caller who may not start machines, and no time cures that.
        return FailureClass.PERMISSION
    if known is None and _NOT_FOUND.search(code):
        # What an activity did not expect to miss was just made (EC2 is eventually consistent) or has just been taken
        # away: looking again settles which.
        return FailureClass.CONFLICT
    if known is None and _EXCEEDED.search(code):
        return FailureClass.QUOTA
    if known is None and _MALFORMED.search(code):
        return FailureClass.CONFIG
    return known or _class_of_message(message) or _class_of_status(status)


def _class_of_message(message: str) -> FailureClass | None:
    return next((refused for refused, pattern in _MESSAGES if pattern.search(message)), None)


def _class_of_status(status: int) -> FailureClass:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureClass.THROTTLE
    return FailureClass.TRANSIENT if status >= HTTPStatus.INTERNAL_SERVER_ERROR else FailureClass.UNKNOWN


def is_not_found(error: ClientError) -> bool:
    """Return whether AWS says that the thing does not exist (or not yet: EC2 and IAM are eventually consistent)."""
    return bool(_NOT_FOUND.search(code_of(error)))


def code_of(error: ClientError) -> str:
    """Return the error code without the side prefix that some services send (`Client.`, `Server.`)."""
    code = str(_response(error).get("Error", {}).get("Code", ""))
    return code.removeprefix("Client.").removeprefix("Server.")


def retry_after(error: ClientError) -> timedelta | None:
    """Return how long AWS asks to wait (the header `Retry-After` in seconds), at most five minutes."""
    headers: dict[str, str] = _response(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    seconds = headers.get("retry-after", "")
    return min(timedelta(seconds=int(seconds)), _LONGEST_RETRY_AFTER) if seconds.isdecimal() else None


def _sentence(refused: FailureClass, action: str, operation: str, code: str, text: str) -> str:
    match refused:
        case FailureClass.AUTH if operation == "AssumeRole":
            return f"The control plane cannot assume its role in the account ({code}): {text}"
        case FailureClass.PERMISSION:
            return f"The permission {action} is missing: {text}"
        case FailureClass.POLICY if action:
            return f"A policy of the customer's organization forbids {action}: {text}"
        case FailureClass.QUOTA:
            return f"{operation} exceeds a quota of the account ({code}): {text}"
        case FailureClass.CAPACITY:
            return f"AWS has no capacity for {operation} ({code}): {text}"
        case _:
            return f"{operation} failed ({code}): {text}"


def _action_of(error: ClientError) -> str:
    message = _message_of(error)
    if named := _REFUSED_ACTION.search(message):
        return named[1]
    if in_words := next((action for words, action in _ACTIONS_IN_WORDS.items() if words in message), ""):
        return in_words
    service = str(_response(error).get("ResponseMetadata", {}).get(SIGNING_NAME, ""))
    return action_of(service, error.operation_name) if service else ""


def _response(error: ClientError) -> dict[str, Any]:
    response: dict[str, Any] = error.response
    return response


def _message_of(error: ClientError) -> str:
    # EC2 appends an encoded explanation of thousands of characters, which nobody can read without the account's keys.
    message = str(_response(error).get("Error", {}).get("Message", ""))
    return message.partition("Encoded authorization failure message")[0].strip()


def _status_of(error: ClientError) -> int:
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
