"""What a call must be allowed to do: every action and resource that AWS checks, not just what the call is named after.

ministack verifies signatures, resolves principals and evaluates policies, boundaries and session policies. It checks
one action on one approximate resource, though. This module says what to check instead (sources: the Service
Authorization Reference, and the permissions section of each API's page): resources with their paths, each resource that
an EC2 call touches, `iam:PassRole`, tagging on creation, and the condition keys that customers' templates use.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack
from uuid import uuid4

from ministack.core import iam_actions, iam_evaluator

from simulators.aws import emulator
from simulators.aws.requests import ApiRequest, tags

current_request: ContextVar[ApiRequest | None] = ContextVar("current_request", default=None)
"""The request that is being authorized; the front sets it."""

current_authorizer: ContextVar[Authorizer | None] = ContextVar("current_authorizer", default=None)
"""Who authorizes the current request; the front sets it, for services that check something on the caller's behalf."""

_failed: ContextVar[Check | None] = ContextVar("failed_check", default=None)


@dataclass(frozen=True)
class Check:
    """One action on one resource that the caller must be allowed."""

    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict)
    """Condition keys beyond the global ones."""
    alternatives: tuple[Mapping[str, Any], ...] = ()
    """Further contexts, any of which will do as well."""

    @property
    def contexts(self) -> tuple[Mapping[str, Any], ...]:
        """Every context that will do."""
        return (self.context, *self.alternatives)


class DenialOptions(TypedDict, total=False):
    """The further arguments of ministack's `access_denied_response`."""

    error_code: str
    message: str
    headers: dict[str, str] | None
    resource_arn: str
    explicit_deny: bool
    resource_policy_arn: str


@dataclass(frozen=True)
class Permission:
    """An action that some principal needed in the course of its calls."""

    account: str
    principal: str
    """ARN of the user or of the assumed role's session."""
    action: str
    agent: str = ""
    """The User-Agent of the call that needed it, which names the step."""


class Authorizer:
    """Checks what calls must be allowed, and remembers it for comparison with what a template grants."""

    def __init__(self) -> None:
        self._checked: dict[Permission, bool] = {}

    def install(self) -> None:
        """Let ministack check what this module says, and word its denials as AWS does."""
        iam_evaluator.enforce = self._enforce
        iam_evaluator.parse_policy_document = _parse_policy_document
        iam_actions.access_denied_response = _denied_reply

    def checked(self) -> list[tuple[Permission, bool]]:
        """Return each permission that was ever needed, with whether it was allowed when it was last checked."""
        return list(self._checked.items())

    def note(self, request: ApiRequest, action: str, *, allowed: bool) -> None:
        """Remember that `request` needed `action`; what the account's root does needs no permission."""
        if not request.principal.endswith(":root"):
            self._checked[Permission(request.account, request.principal, action, request.agent)] = allowed

    def forget(self) -> None:
        """Forget what was checked."""
        self._checked.clear()

    def _enforce(
        self,
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Verdict:
        """Stand in for ministack's `enforce`: None if everything that the current request needs is allowed."""
        request = current_request.get()
        checks = tuple(required_checks(request, iam_action, resource_arn)) if request is not None else ()
        for check in checks or (Check(iam_action, resource_arn),):
            own = service_context if check.action == iam_action else None
            verdict: Verdict = None
            for context in check.contexts:
                verdict = _ministack_enforce(
                    access_key_id, check.action, service, region, check.resource, {**(own or {}), **context}
                )
                if verdict is None or isinstance(verdict, iam_evaluator.AuthError):
                    break
            if isinstance(verdict, iam_evaluator.AuthError):
                return verdict
            if request is not None:
                self.note(request, check.action, allowed=verdict is None)
            if verdict is not None:
                _failed.set(check)
                return verdict
        return None


Verdict = Any
"""What ministack's `enforce` returns: None (allowed), `AuthError` (not authenticated) or `EvalResult` (denied)."""

HttpReply = tuple[int, dict[str, str], bytes]

_ministack_enforce = iam_evaluator.enforce
_ministack_denied_reply = iam_actions.access_denied_response
_ministack_parse = iam_evaluator.parse_policy_document


def _parse_policy_document(document: str | dict[str, Any]) -> list[Any]:
    """Parse each policy text once: ministack would parse all of a role's policies on every call."""
    return _parsed(document) if isinstance(document, str) else list(_ministack_parse(document))


@functools.lru_cache(maxsize=1000)
def _parsed(document: str) -> list[Any]:
    return list(_ministack_parse(document))


def _denied_reply(
    service: str, action: str, principal_arn: str, request_id: str, **options: Unpack[DenialOptions]
) -> HttpReply:
    """Word a denial as AWS does, naming the check that failed, which may be `iam:PassRole`."""
    failed = _failed.get()
    _failed.set(None)
    if failed is not None and not options.get("error_code") and not options.get("resource_policy_arn"):
        action = failed.action
        options["resource_arn"] = failed.resource
        options["message"] = denial_message(
            principal_arn, action, failed.resource, service=service, explicit=options.get("explicit_deny", False)
        )
    status, headers, body = _ministack_denied_reply(service, action, principal_arn, request_id, **options)
    # The JSON 1.x protocols refuse with 400 where the others do with 403.
    is_json = bool((options.get("headers") or {}).get("x-amz-target"))
    return 400 if is_json and status == 403 else status, headers, body


def denial_message(principal: str, action: str, resource: str, *, service: str, explicit: bool = False) -> str:
    """Return the sentence by which AWS tells a caller what it lacks."""
    reason = (
        "with an explicit deny in an identity-based policy"
        if explicit
        else f"because no identity-based policy allows the {action} action"
    )
    sentence = f"User: {principal} is not authorized to perform: {action} on resource: {resource} {reason}"
    return f"You are not authorized to perform this operation. {sentence}" if service == "ec2" else sentence


def required_checks(request: ApiRequest, action: str, resource: str) -> Iterator[Check]:
    """Yield what AWS checks for `request`; `action` and `resource` are what ministack would have checked.

    Nothing is yielded for a service whose own check is right as it is.
    """
    match request.service:
        case "ec2" if action == f"ec2:{request.operation}":
            yield from _ec2_checks(request)
        case "iam" if action == f"iam:{request.operation}":
            yield from _iam_checks(request)
        case "eks" if action == f"eks:{request.operation}":
            yield from _eks_checks(request)
        case "kms" if "AliasName" in request.parameters:
            yield from _kms_alias_checks(request, action)
        case "monitoring" if request.mutating:
            yield from _alarm_checks(request, action)
        case "s3" if action in ("s3:CreateBucket", "s3:DeleteObject"):
            yield from _s3_checks(request, action, resource)
        case "kms" | "elasticloadbalancing" | "logs" | "acm":
            yield Check(action, resource)
            tagging = _TAGGING_ON_CREATION.get(f"{request.service}:{request.operation}")
            if tagging and _gives_tags(request):
                yield Check(tagging, resource, _request_tags(request))


def _alarm_checks(request: ApiRequest, action: str) -> Iterator[Check]:
    """Yield each alarm that the call names, and the tags that a new one is given."""
    arn = f"arn:aws:cloudwatch:{request.region}:{request.account}:alarm"
    names = request.parameters.get("AlarmNames") or request.parameters.get("AlarmName") or []
    for alarm in names if isinstance(names, list) else [names]:
        yield Check(action, f"{arn}:{alarm}")
        if _gives_tags(request):
            yield Check("cloudwatch:TagResource", f"{arn}:{alarm}", _request_tags(request))


def _s3_checks(request: ApiRequest, action: str, resource: str) -> Iterator[Check]:
    """Yield what the creation of a bucket sets at once, and the versions that a deletion of objects names."""
    yield Check(action, resource)
    if request.parameters.get("ObjectLockEnabledForBucket"):
        yield Check("s3:PutBucketObjectLockConfiguration", resource)
        yield Check("s3:PutBucketVersioning", resource)
    if request.parameters.get("GivesTags"):
        yield Check("s3:TagResource", resource)
    if request.parameters.get("NamesVersions"):
        yield Check("s3:DeleteObjectVersion", resource)


def _kms_alias_checks(request: ApiRequest, action: str) -> Iterator[Check]:
    """Yield the alias, and the key to which the call points it: KMS checks both."""
    arn = f"arn:aws:kms:{request.region}:{request.account}"
    yield Check(action, f"{arn}:{request.parameters['AliasName']}")
    if key := str(request.parameters.get("TargetKeyId", "")):
        yield Check(action, key if key.startswith("arn:") else f"{arn}:key/{key}")


_TAGGING_ON_CREATION = {
    "kms:CreateKey": "kms:TagResource",
    "elasticloadbalancing:CreateLoadBalancer": "elasticloadbalancing:AddTags",
    "elasticloadbalancing:CreateTargetGroup": "elasticloadbalancing:AddTags",
    "logs:CreateLogGroup": "logs:TagResource",
    "acm:RequestCertificate": "acm:AddTagsToCertificate",
}


def _gives_tags(request: ApiRequest) -> bool:
    return bool(request.parameters.get("Tags") or request.parameters.get("tags")) or any(tags(request.parameters))


def _request_tags(request: ApiRequest) -> dict[str, Any]:
    """Return `aws:RequestTag/…` and `aws:TagKeys` for the tags that the request gives."""
    given = dict(tags(request.parameters))
    listed = request.parameters.get("Tags") or request.parameters.get("tags") or {}
    if isinstance(listed, dict):
        given |= {str(key): str(value) for key, value in listed.items()}
    elif isinstance(listed, list):
        given |= {
            str(tag.get("Key", tag.get("TagKey"))): str(tag.get("Value", tag.get("TagValue", ""))) for tag in listed
        }
    if not given:
        return {}
    return {**{f"aws:RequestTag/{key}": value for key, value in given.items()}, "aws:TagKeys": list(given)}


def _tag(tag: Mapping[str, Any]) -> tuple[str, str]:
    """Read one tag as KMS spells it (`TagKey`) or as the others do (`Key`)."""
    return str(tag.get("Key", tag.get("TagKey"))), str(tag.get("Value", tag.get("TagValue", "")))


# EC2: what a creation makes, by its ARN's resource type.
_EC2_CREATIONS = {
    "CreateVpc": "vpc",
    "CreateSubnet": "subnet",
    "CreateRouteTable": "route-table",
    "CreateSecurityGroup": "security-group",
    "CreateInternetGateway": "internet-gateway",
    "CreateNatGateway": "natgateway",
    "CreateVpcEndpoint": "vpc-endpoint",
    "CreateVolume": "volume",
    "CreateSnapshot": "snapshot",
    "CopySnapshot": "snapshot",
    "CreateLaunchTemplate": "launch-template",
    "CreateNetworkInterface": "network-interface",
    "AllocateAddress": "elastic-ip",
    "CreateFlowLogs": "vpc-flow-log",
    "CreateKeyPair": "key-pair",
    "CreateNetworkAcl": "network-acl",
    "CreateDhcpOptions": "dhcp-options",
}

_EC2_ID = re.compile(
    r"(vpc|subnet|rtb|sg|igw|nat|vpce|vol|snap|lt|eni|eipalloc|fl|key|acl|dopt|i|sgr|ami)-[0-9a-f]{8,17}"
)
_EC2_TYPES = {
    "vpc": "vpc",
    "subnet": "subnet",
    "rtb": "route-table",
    "sg": "security-group",
    "igw": "internet-gateway",
    "nat": "natgateway",
    "vpce": "vpc-endpoint",
    "vol": "volume",
    "snap": "snapshot",
    "lt": "launch-template",
    "eni": "network-interface",
    "eipalloc": "elastic-ip",
    "fl": "vpc-flow-log",
    "key": "key-pair",
    "acl": "network-acl",
    "dopt": "dhcp-options",
    "i": "instance",
    "sgr": "security-group-rule",
    "ami": "image",
}

# Calls that name other resources too, but are authorized on these parameters alone.
_EC2_AUTHORIZED_ON = {
    "CreateRoute": ("RouteTableId",),
    "ReplaceRoute": ("RouteTableId",),
    "DeleteRoute": ("RouteTableId",),
    "AuthorizeSecurityGroupIngress": ("GroupId",),
    "AuthorizeSecurityGroupEgress": ("GroupId",),
    "RevokeSecurityGroupIngress": ("GroupId",),
    "RevokeSecurityGroupEgress": ("GroupId",),
}

# Parameters whose values may look like ids, but name nothing that the call is authorized on.
_EC2_NOT_RESOURCES = ("Tag", "Filter", "LaunchTemplateData.", "ClientToken", "Description")


def _ec2_checks(request: ApiRequest) -> Iterator[Check]:
    """Yield, for a creation, the new thing with the request's tags, then each thing it uses with that thing's tags."""
    action = f"ec2:{request.operation}"
    if not request.mutating or request.operation == "RunInstances":
        yield Check(action, "*")
        return
    arn = f"arn:aws:ec2:{request.region}:{request.account}"
    used = [Check(action, f"{arn}:{kind}/{name}", _ec2_tags(name)) for kind, name in _ec2_resources(request)]
    created = _EC2_CREATIONS.get(request.operation)
    if created is None:
        if request.operation in ("CreateTags", "DeleteTags"):
            used = [Check(action, check.resource, {**check.context, **_request_tags(request)}) for check in used]
        yield from used or [Check(action, "*", _request_tags(request))]
        return
    own_keys = {"ec2:Encrypted": str(request.parameters.get("Encrypted", "false")).lower()}
    yield Check(action, f"{arn}:{created}/*", {**_request_tags(request), **own_keys})
    # The tags of a request belong to what it makes, not to what it uses.
    no_tags = dict.fromkeys(_request_tags(request))
    yield from (Check(action, check.resource, {**no_tags, **check.context}) for check in used)
    if any(tags(request.parameters)):
        context = {**_request_tags(request), "ec2:CreateAction": request.operation}
        yield Check("ec2:CreateTags", f"{arn}:{created}/*", context)
    if request.operation == "CreateFlowLogs" and (role := request.parameters.get("DeliverLogsPermissionArn")):
        yield _pass_role(str(role), "vpc-flow-logs.amazonaws.com")


def _ec2_resources(request: ApiRequest) -> Iterator[tuple[str, str]]:
    """Yield type and id of each existing resource that the call is authorized on."""
    names = _EC2_AUTHORIZED_ON.get(request.operation)
    seen = set()
    for name, value in request.parameters.items():
        if name.startswith(_EC2_NOT_RESOURCES) or (names is not None and name not in names):
            continue
        resource = str(value)
        if name == "LaunchTemplateName" and request.operation != "CreateLaunchTemplate":
            resource = emulator.launch_template_id(resource)
        elif name == "AssociationId":
            resource = emulator.owner_of_association(resource)
        found = _EC2_ID.fullmatch(resource)
        if found and resource not in seen:
            seen.add(resource)
            yield _EC2_TYPES[found[1]], resource


def _ec2_tags(resource: str) -> dict[str, Any]:
    """Return `aws:ResourceTag/…` and `ec2:ResourceTag/…` for an EC2 resource in the caller's account and region."""
    context: dict[str, Any] = {}
    for key, value in emulator.ec2_tags(resource).items():
        context[f"aws:ResourceTag/{key}"] = context[f"ec2:ResourceTag/{key}"] = value
    return context


_IAM_TAGGING = {
    "CreateRole": "iam:TagRole",
    "CreatePolicy": "iam:TagPolicy",
    "CreateInstanceProfile": "iam:TagInstanceProfile",
    "CreateOpenIDConnectProvider": "iam:TagOpenIDConnectProvider",
    "CreateUser": "iam:TagUser",
}


def _iam_checks(request: ApiRequest) -> Iterator[Check]:
    parameters = request.parameters
    resource = _iam_resource(request)
    context: dict[str, Any] = {}
    if boundary := parameters.get("PermissionsBoundary") or _boundary_of(request):
        context["iam:PermissionsBoundary"] = boundary
    if request.operation in ("AttachRolePolicy", "DetachRolePolicy", "AttachUserPolicy", "DetachUserPolicy"):
        context["iam:PolicyARN"] = parameters.get("PolicyArn", "")
    if service := parameters.get("AWSServiceName"):
        context["iam:AWSServiceName"] = service
    yield Check(f"iam:{request.operation}", resource, {**context, **_request_tags(request)})
    if (tagging := _IAM_TAGGING.get(request.operation)) and any(tags(parameters)):
        yield Check(tagging, resource, _request_tags(request))
    if request.operation == "AddRoleToInstanceProfile":
        role = emulator.role(request.account, str(parameters.get("RoleName", ""))) or {}
        yield _pass_role(str(role.get("Arn", "*")), "ec2.amazonaws.com")


def _boundary_of(request: ApiRequest) -> str:
    role = emulator.role(request.account, str(request.parameters.get("RoleName", ""))) or {}
    return str(role.get("PermissionsBoundary") or "")


def _iam_resource(request: ApiRequest) -> str:
    """Return the ARN, with its path, of what an IAM call is about."""
    parameters, operation = request.parameters, request.operation
    arn = f"arn:aws:iam::{request.account}"
    path = str(parameters.get("Path", "/"))
    match operation:
        case "CreateServiceLinkedRole":
            resource = f"{arn}:role/aws-service-role/{parameters.get('AWSServiceName', '')}/*"
        case "CreatePolicy":
            resource = f"{arn}:policy{path}{parameters.get('PolicyName', '')}"
        case "CreateOpenIDConnectProvider":
            resource = f"{arn}:oidc-provider/{re.sub('^https?://', '', str(parameters.get('Url', '')))}"
        case _:
            named = (str(parameters[name]) for name in _IAM_ARN_PARAMETERS if name in parameters)
            resource = _named_in_iam(request, arn, path) or next(named, "*")
    return resource


_IAM_ARN_PARAMETERS = ("PolicySourceArn", "PolicyArn", "OpenIDConnectProviderArn")


def _named_in_iam(request: ApiRequest, arn: str, path: str) -> str:
    """Return the ARN of the instance profile, role or user that the call names, empty if it names none."""
    kinds = (
        ("InstanceProfileName", "instance-profile", "CreateInstanceProfile", emulator.instance_profile),
        ("RoleName", "role", "CreateRole", emulator.role),
        ("UserName", "user", "CreateUser", emulator.user),
    )
    for parameter, kind, creation, find in kinds:
        if name := str(request.parameters.get(parameter, "")):
            known = find(request.account, name) if request.operation != creation else None
            return str(known["Arn"]) if known is not None else f"{arn}:{kind}{path}{name}"
    return ""


def _eks_checks(request: ApiRequest) -> Iterator[Check]:
    parameters = request.parameters
    action = f"eks:{request.operation}"
    resource = _eks_resource(request)
    given = parameters.get("tags")
    request_tags = _request_tags(request) if isinstance(given, dict) else {}
    yield Check(action, resource, request_tags)
    if given and request.operation.startswith("Create"):
        yield Check("eks:TagResource", resource, request_tags)
    if role := parameters.get("nodeRole") or parameters.get("serviceAccountRoleArn"):
        yield _pass_role(str(role), "eks.amazonaws.com")
    if role := parameters.get("roleArn"):
        services = (
            ("pods.eks.amazonaws.com", "eks.amazonaws.com") if "PodIdentity" in action else ("eks.amazonaws.com",)
        )
        yield _pass_role(str(role), *services)


def _eks_resource(request: ApiRequest) -> str:
    """Return the ARN that the Service Authorization Reference gives the call; creations are checked on the cluster."""
    parameters = request.parameters
    arn = f"arn:aws:eks:{request.region}:{request.account}"
    cluster = str(parameters.get("clusterName") or parameters.get("name") or "")
    on_the_cluster = request.operation.startswith(("Create", "List"))
    match parameters:
        case {"resourceArn": resource}:
            return str(resource)
        case {"nodegroupName": nodegroup} if not on_the_cluster:
            kind, name = "nodegroup", f"{cluster}/{nodegroup}/*"
        case {"addonName": addon} if not on_the_cluster and cluster:
            kind, name = "addon", f"{cluster}/{addon}/*"
        case {"associationId": association} if not on_the_cluster:
            kind, name = "podidentityassociation", f"{cluster}/{association}"
        case {"principalArn": principal} if not on_the_cluster:
            owner, entity = str(principal).split(":", 5)[4:]
            kind, name = "access-entry", f"{cluster}/{entity.partition('/')[0]}/{owner}/{entity.rpartition('/')[2]}/*"
        case _:
            kind, name = "cluster", cluster
    return f"{arn}:{kind}/{name}" if cluster else "*"


def _pass_role(role: str, *services: str) -> Check:
    contexts = tuple({"iam:PassedToService": service} for service in services)
    return Check("iam:PassRole", role, contexts[0], contexts[1:])


def denial(request: ApiRequest, action: str | None, headers: Mapping[str, str]) -> HttpReply:
    """Return the reply to a caller whose policy lacks `action`, by default the one that `request` is named after."""
    action = action or f"{request.service}:{request.operation}"
    check = next(iter(required_checks(request, action, "*")), Check(action, "*"))
    message = denial_message(request.principal, action, check.resource, service=request.service)
    return _denied_reply(
        request.service,
        action,
        request.principal,
        str(uuid4()),
        message=message,
        headers=dict(headers),
        resource_arn=check.resource,
    )
