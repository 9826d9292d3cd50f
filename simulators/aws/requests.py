"""What one HTTP request asks of AWS: service, operation, account, region, caller, parameters.

The sources are the signature's credential scope (service, region, access key), the `Action` of the query protocols, the
`X-Amz-Target` of the JSON protocols, and for the REST services the method and path of botocore's service models.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from botocore.loaders import create_loader

from simulators.aws import emulator

_SCOPE = re.compile(r"(?:Credential=)?([^,/\s=]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_RPC_PATH = re.compile(r"^/service/[^/]+/operation/(\w+)$")

# Signed by these names, described by botocore under others.
_REST_MODELS = {"eks": "eks", "s3": "s3", "route53": "route53", "ssm-quicksetup": "ssm-quicksetup"}

_QUERY_SERVICES = frozenset(
    {"ec2", "iam", "sts", "elasticloadbalancing", "autoscaling", "cloudformation", "monitoring"}
)

# Operations that read. Assuming a role and the data-key operations of KMS are reads in CloudTrail's sense too.
_READ_ONLY = re.compile(
    r"(Describe|Get|List|Head|Simulate|Check|Lookup|Search|Select|Filter|Validate|Estimate|Preview|Test|Assume|Decode"
    r"|BatchGet|Encrypt|Decrypt|ReEncrypt|GenerateDataKey|GenerateMac|VerifyMac|Verify)"
)

# Which parameters name the thing that a call is about, the most telling first.
_NAMING_PARAMETERS = (
    "name",
    "nodegroupName",
    "addonName",
    "RoleName",
    "PolicyName",
    "PolicyArn",
    "InstanceProfileName",
    "UserName",
    "LoadBalancerName",
    "AliasName",
    "TargetKeyId",
    "KeyId",
    "RoleArn",
    "RoleSessionName",
    "AutoScalingGroupName",
    "LaunchTemplateName",
    "LaunchTemplateId",
    "GroupName",
    "GroupId",
    "VpcEndpointId.1",
    "NatGatewayId",
    "SubnetId",
    "RouteTableId",
    "InternetGatewayId",
    "AllocationId",
    "VolumeId",
    "SnapshotId",
    "NetworkInterfaceId",
    "VpcId",
    "ResourceId.1",
    "StackName",
    "logGroupName",
    "AlarmName",
    "CertificateArn",
    "DomainName",
    "QuotaCode",
    "ServiceCode",
    "Name",
    "LoadBalancerArn",
    "ResourceArns.member.1",
    "OpenIDConnectProviderArn",
    "CidrBlock",
)


@dataclass(frozen=True)
class ApiRequest:
    """One call of an AWS API, understood."""

    service: str
    """The name in the credential scope: `ec2`, `eks`, `elasticloadbalancing`, `servicequotas`, `monitoring`, …"""
    operation: str
    """The SDK's operation name (`CreateVpc`), empty where it could not be told."""
    protocol: str
    """How the caller wants to be answered: ec2, query, json, rest-json, rest-xml or cbor."""
    account: str
    region: str
    principal: str
    """ARN of the holder of the access key, whether or not the signature is good; empty for an unknown key."""
    access_key: str
    agent: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Query protocols: flat (`TagSpecification.1.Tag.1.Key`). JSON: the body. REST: path labels, query, JSON body."""
    resource: str = ""

    @property
    def mutating(self) -> bool:
        """Whether a success of this operation changes the world."""
        return not _READ_ONLY.match(self.operation)


def understand(method: str, raw_path: str, query: str, headers: Mapping[str, str], body: bytes) -> ApiRequest:
    """Read one HTTP request; `headers` has lower-case names. Nothing is verified here."""
    access_key, region, service = _credential_scope(headers, query)
    content_type = headers.get("content-type", "")
    fields = dict(parse_qsl(query, keep_blank_values=True))
    parameters: dict[str, Any] = {}
    if target := headers.get("x-amz-target"):
        operation, protocol = target.rpartition(".")[2], "json"
        parameters = _json_object(body)
    elif rpc := _RPC_PATH.match(raw_path):
        operation, protocol = rpc[1], "cbor"
    elif service in _REST_MODELS:
        operation, labels = rest_operation(service, method, raw_path, fields, headers)
        protocol = "rest-json" if service == "eks" else "rest-xml"
        parameters = {**fields, **labels, **(_json_object(body) if protocol == "rest-json" else {})}
        if service == "s3":
            parameters |= _what_s3_authorizes(operation, headers, body)
    else:
        if content_type.startswith("application/x-www-form-urlencoded"):
            fields |= dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        parameters = dict(fields)
        operation = fields.get("Action", "")
        protocol = "ec2" if service == "ec2" else "query" if service in _QUERY_SERVICES else "rest-json"
        service = service or ("sts" if operation == "GetCallerIdentity" else "")
    account, principal = caller(access_key)
    return ApiRequest(
        service=service,
        operation=operation,
        protocol=protocol,
        account=account,
        region=region,
        principal=principal,
        access_key=access_key,
        agent=headers.get("user-agent", ""),
        parameters=parameters,
        resource=_resource(service, parameters),
    )


def caller(access_key: str) -> tuple[str, str]:
    """Return account and ARN of the holder of `access_key`; both are empty for a key that nobody holds."""
    if re.fullmatch(r"\d{12}", access_key):
        return access_key, f"arn:aws:iam::{access_key}:root"
    if arn := emulator.session_arn(access_key):
        return arn.split(":")[4], arn
    account, name = emulator.user_of_access_key(access_key)
    return account, str((emulator.user(account, name) or {}).get("Arn", ""))


def rest_operation(
    service: str, method: str, raw_path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Return operation and path labels of a REST request, by botocore's model of the service.

    Among the operations whose method and path fit, the one with the most literal query keys wins; S3's copies differ
    from its uploads by a header alone.
    """
    path = raw_path.rstrip("/") or "/"
    best: tuple[int, str, dict[str, str]] = (-1, "", {})
    for operation, pattern, literals, required, verb in _routes(_REST_MODELS[service]):
        if verb != method or literals.items() - query.items():
            continue
        match = pattern.match(path)
        if match is None or any(name not in query for name in required):
            continue
        score = 10 * len(literals) + len(required) + (1 if _copies(operation, headers) else 0)
        if "Copy" in operation and service == "s3" and not _copies(operation, headers):
            continue
        if score > best[0]:
            best = (score, operation, {name: unquote(value) for name, value in match.groupdict().items()})
    return best[1], best[2]


def _copies(operation: str, headers: Mapping[str, str]) -> bool:
    return "Copy" in operation and "x-amz-copy-source" in headers


@functools.cache
def _routes(model_name: str) -> list[tuple[str, re.Pattern[str], dict[str, str], tuple[str, ...], str]]:
    """Return (operation, path pattern, literal query, required query keys, method), the most literal path first."""
    model = create_loader().load_service_model(model_name, "service-2")
    routes = []
    for operation, description in model["operations"].items():
        if description.get("deprecated"):
            continue
        path, _, literal_query = description["http"]["requestUri"].partition("?")
        labels = 0

        def label(match: re.Match[str]) -> str:
            return f"(?P<{match[1]}>.+)" if match[2] else f"(?P<{match[1]}>[^/]+)"

        segments = re.split(r"(\{\w+\+?\})", path.rstrip("/") or "/")
        labels = sum(segment.startswith("{") for segment in segments)
        expression = "".join(
            re.sub(r"\{(\w+)(\+?)\}", label, segment) if segment.startswith("{") else re.escape(segment)
            for segment in segments
        )
        members = model["shapes"].get(description.get("input", {}).get("shape", ""), {})
        required = tuple(
            member["locationName"]
            for name, member in members.get("members", {}).items()
            if member.get("location") == "querystring" and name in members.get("required", ())
        )
        literals = dict(parse_qsl(literal_query, keep_blank_values=True))
        routes.append(
            (labels, (operation, re.compile(f"^{expression}$"), literals, required, description["http"]["method"]))
        )
    return [route for _, route in sorted(routes, key=lambda entry: (entry[0], entry[1][0]))]


def _credential_scope(headers: Mapping[str, str], query: str) -> tuple[str, str, str]:
    source = headers.get("authorization", "")
    if not source and "X-Amz-Credential=" in query:
        source = unquote(query.split("X-Amz-Credential=", 1)[1].split("&", 1)[0])
    match = _SCOPE.search(source)
    return (match[1], match[2], match[3]) if match else ("", "", "")


def _what_s3_authorizes(operation: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return what headers and body of a call ask for beyond what it is named after: S3 authorizes that as well."""
    if operation == "CreateBucket":
        locked = headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true"
        return {"ObjectLockEnabledForBucket": locked, "GivesTags": b"<Tag>" in body}
    return {"NamesVersions": b"<VersionId>" in body} if operation == "DeleteObjects" else {}


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body) if body else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _resource(service: str, parameters: Mapping[str, Any]) -> str:
    """Return the best known name of what the call is about; of nested REST resources, `outer/inner`."""
    if service == "s3":
        return "/".join(str(parameters[name]) for name in ("Bucket", "Key") if name in parameters)
    if service == "route53":
        return str(parameters.get("Id") or parameters.get("HostedZoneId") or "")
    found = [str(parameters[name]) for name in _NAMING_PARAMETERS if isinstance(parameters.get(name), str | int)]
    if service == "eks":
        labels = [
            parameters.get(name) for name in ("clusterName", "name", "nodegroupName", "addonName", "principalArn")
        ]
        return "/".join(dict.fromkeys(str(label) for label in labels if label))
    if service == "ec2" and (name := next((value for key, value in tags(parameters) if key == "Name"), "")):
        return name
    return found[0] if found else ""


def tags(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the tags that a query-protocol request gives, whichever way it spells the list.

    Those in a launch template's data are for instances to come, so they are not the request's own.
    """
    for name, value in parameters.items():
        if name.endswith(".Key") and "Tag" in name and not name.startswith("LaunchTemplateData."):
            yield str(value), str(parameters.get(f"{name[:-4]}.Value", ""))
