"""Error replies as each AWS protocol spells them, and the error that each injected fault answers with.

Sources: the botocore parsers of each protocol, and the services' API references for codes and statuses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

from simulators.aws.requests import ApiRequest
from simulators.faults import Fault, FaultKind


@dataclass(frozen=True)
class ApiError:
    """What a service refuses a call with."""

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the error's shape, for the JSON protocols."""


def error_reply(protocol: str, error: ApiError) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body that carry `error` in `protocol`."""
    request_id = str(uuid4())
    code, message = escape(error.code), escape(error.message)
    headers = [("x-amzn-RequestId", request_id)]
    if protocol == "ec2":
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
            f"<Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
        return error.status, [("Content-Type", "text/xml;charset=UTF-8"), *headers], body.encode()
    if protocol == "query":
        fault = "Sender" if error.status < 500 else "Receiver"
        body = (
            f"<ErrorResponse><Error><Type>{fault}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return error.status, [("Content-Type", "text/xml"), *headers], body.encode()
    if protocol == "rest-xml":
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Error>'
            f"<Code>{code}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>"
        )
        return error.status, [("Content-Type", "application/xml"), *headers], body.encode()
    if protocol == "cbor":
        encoded = b"\xa2" + b"".join(map(_cbor_text, ("__type", error.code, "message", error.message)))
        return (
            error.status,
            [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor"), *headers],
            encoded,
        )
    content_type = "application/json" if protocol == "rest-json" else "application/x-amz-json-1.1"
    document = json.dumps({"__type": error.code, "message": error.message, **error.details}).encode()
    return error.status, [("Content-Type", content_type), ("x-amzn-ErrorType", error.code), *headers], document


def _cbor_text(text: str) -> bytes:
    """Encode one CBOR text string (RFC 8949, major type 3) with a two-byte length."""
    encoded = text.encode()
    return b"\x79" + len(encoded).to_bytes(2, "big") + encoded


_THROTTLED: Mapping[str, tuple[int, str]] = {
    "ec2": (503, "RequestLimitExceeded"),
    "s3": (503, "SlowDown"),
    "eks": (429, "ThrottlingException"),
    "servicequotas": (400, "TooManyRequestsException"),
}

_BROKEN: Mapping[str, tuple[int, str]] = {
    "ec2": (500, "InternalError"),
    "s3": (500, "InternalError"),
    "eks": (500, "ServerException"),
    "kms": (500, "KMSInternalException"),
    "iam": (500, "ServiceFailure"),
    "servicequotas": (500, "ServiceException"),
    "ssm": (500, "InternalServerError"),
    "logs": (503, "ServiceUnavailableException"),
}

_EXHAUSTED: Mapping[str, tuple[int, str]] = {
    "CreateVpc": (400, "VpcLimitExceeded"),
    "CreateSubnet": (400, "SubnetLimitExceeded"),
    "CreateInternetGateway": (400, "InternetGatewayLimitExceeded"),
    "CreateNatGateway": (400, "NatGatewayLimitExceeded"),
    "CreateRouteTable": (400, "RouteTableLimitExceeded"),
    "CreateRoute": (400, "RouteLimitExceeded"),
    "AllocateAddress": (400, "AddressLimitExceeded"),
    "CreateSecurityGroup": (400, "SecurityGroupLimitExceeded"),
    "AuthorizeSecurityGroupIngress": (400, "RulesPerSecurityGroupLimitExceeded"),
    "AuthorizeSecurityGroupEgress": (400, "RulesPerSecurityGroupLimitExceeded"),
    "CreateVpcEndpoint": (400, "VpcEndpointLimitExceeded"),
    "CreateVolume": (400, "VolumeLimitExceeded"),
    "CreateSnapshot": (400, "SnapshotLimitExceeded"),
    "RunInstances": (400, "VcpuLimitExceeded"),
    "CreateBucket": (400, "TooManyBuckets"),
    "CreateLaunchTemplate": (400, "MaxTemplateLimitExceeded"),
    "CreateLoadBalancer": (400, "TooManyLoadBalancers"),
    "CreateTargetGroup": (400, "TooManyTargetGroups"),
    "CreateHostedZone": (400, "TooManyHostedZones"),
}

_EXHAUSTED_SERVICES: Mapping[str, tuple[int, str]] = {
    "eks": (400, "ResourceLimitExceededException"),
    "iam": (409, "LimitExceeded"),
    "autoscaling": (400, "LimitExceeded"),
    "ec2": (400, "ResourceCountExceeded"),
    "servicequotas": (400, "QuotaExceededException"),
}


def fault_error(fault: Fault, request: ApiRequest) -> ApiError | None:
    """Return the error that `fault` answers `request` with at once, or None where the fault is of another nature."""
    match fault.kind:
        case FaultKind.THROTTLE:
            json_like = request.protocol in ("json", "rest-json", "cbor")
            default = (400, "ThrottlingException" if json_like else "Throttling")
            status, code = _THROTTLED.get(request.service, default)
            message = "Request limit exceeded." if request.service == "ec2" else "Rate exceeded"
        case FaultKind.QUOTA:
            default = _EXHAUSTED_SERVICES.get(request.service, (400, "LimitExceededException"))
            status, code = _EXHAUSTED.get(request.operation, default)
            message = f"The quota that {request.operation} draws on is exhausted for account {request.account}."
        case FaultKind.ERROR:
            status, code = _BROKEN.get(request.service, (500, "InternalFailure"))
            message = "An internal error has occurred"
        case FaultKind.CAPACITY if request.service != "eks":
            status, code = 500, "InsufficientInstanceCapacity"
            message = "There is not enough capacity to fulfil your request."
        case _:
            return None
    details = {"clusterName": request.parameters.get("name")} if request.service == "eks" else {}
    return ApiError(status, fault.code or code, fault.message or message, details)
