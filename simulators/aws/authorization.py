"""What a call must be allowed to do: every action and resource that AWS checks, not just the one the call is named after.

ministack verifies signatures, resolves principals and evaluates policies, boundaries and session policies. It checks one
action on one approximate resource, though. This module says what to check instead (sources: the Service Authorization
Reference, and the permissions section of each API's page): resources with their paths, each resource that an EC2 call
touches, `iam:PassRole`, tagging on creation, and the condition keys that customers' templates use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import ec2

from simulators.aws import emulator
from simulators.aws.requests import ApiRequest, tags

current_request: ContextVar[ApiRequest | None] = ContextVar("current_request", default=None)
"""The request that is being authorized; the front sets it."""

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


@dataclass(frozen=True)
class Permission:
    """An action that some principal needed in the course of its calls."""

    account: str
    principal: str
    """ARN of the user or of the assumed role's session."""
    action: str


class Authorizations:
    """Every permission that was ever checked, so that a test can compare it with what a template grants."""

    def __init__(self) -> None:
        self._checked: dict[Permission, bool] = {}

    def record(self, permission: Permission, *, allowed: bool) -> None:
        """Remember the newest outcome for `permission`."""
        self._checked[permission] = allowed

    def checked(self) -> list[tuple[Permission, bool]]:
        """Return each permission with whether it was allowed when it was last checked."""
        return list(self._checked.items())

    def clear(self) -> None:
        """Forget all."""
        self._checked.clear()


def install(authorizations: Authorizations) -> None:
    """Let ministack check what this module says, and word its denials as AWS does."""
    global _authorizations
    _authorizations = authorizations
    iam_evaluator.enforce = _enforce
    iam_actions.access_denied_response = _denied_reply
    iam_evaluator.parse_policy_document = _parse_policy_document


_authorizations = Authorizations()
_ministack_enforce = iam_evaluator.enforce
_ministack_denied_reply = iam_actions.access_denied_response
_ministack_parse = iam_evaluator.parse_policy_document
_parsed_policies: dict[str, list[iam_evaluator.ParsedStatement]] = {}


def _parse_policy_document(document: str | dict[str, Any]) -> list[iam_evaluator.ParsedStatement]:
    """Parse each policy text once: ministack would parse all of a role's policies on every call."""
    if not isinstance(document, str):
        return _ministack_parse(document)
    if document not in _parsed_policies:
        if len(_parsed_policies) >= 1000:
            _parsed_policies.clear()
        _parsed_policies[document] = _ministack_parse(document)
    return _parsed_policies[document]


def _enforce(
    access_key_id: str,
    iam_action: str,
    service: str,
    region: str,
    resource_arn: str = "*",
    service_context: dict[str, Any] | None = None,
) -> Any:
    """Stand in for ministack's `enforce`: None if everything that the current request needs is allowed."""
    request = current_request.get()
    checks = tuple(required_checks(request, iam_action, resource_arn)) if request is not None else ()
    if not checks:
        checks = (Check(iam_action, resource_arn),)
    for check in checks:
        denied: Any = None
        for extra in (check.context, *check.alternatives):
            own = service_context if check.action == iam_action else None
            denied = _ministack_enforce(
                access_key_id, check.action, service, region, check.resource, {**(own or {}), **extra}
            )
            if denied is None or isinstance(denied, iam_evaluator.AuthError):
                break
        if isinstance(denied, iam_evaluator.AuthError):
            return denied
        if request is not None and not request.principal.endswith(":root"):
            permission = Permission(request.account, request.principal, check.action)
            _authorizations.record(permission, allowed=denied is None)
        if denied is not None:
            _failed.set(check)
            return denied
    return None


def _denied_reply(
    service: str, action: str, principal_arn: str, request_id: str, *, message: str = "", **options: Any
) -> Any:
    """Word a denial as AWS does, naming the check that failed, which may be `iam:PassRole`."""
    failed = _failed.get()
    _failed.set(None)
    if failed is None or options.get("error_code") or options.get("resource_policy_arn"):
        return _ministack_denied_reply(service, action, principal_arn, request_id, message=message, **options)
    return _ministack_denied_reply(
        service,
        failed.action,
        principal_arn,
        request_id,
        message=denial_message(
            principal_arn, failed.action, failed.resource, service=service, explicit=bool(options.get("explicit_deny"))
        ),
        **{**options, "resource_arn": failed.resource},
    )


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
        case "kms" | "elasticloadbalancing" | "logs" | "acm":
            yield Check(action, resource)
            tagging = _TAGGING_ON_CREATION.get(f"{request.service}:{request.operation}")
            if tagging and _gives_tags(request):
                yield Check(tagging, resource, _request_tags(request))


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


def _ec2_checks(request: ApiRequest) -> Iterator[Check]:
    """A creation is checked on the new thing with the request's tags, and on each thing it uses with that thing's tags."""
    action = f"ec2:{request.operation}"
    if not request.mutating or request.operation == "RunInstances":
        yield Check(action, "*")
        return
    arn = f"arn:aws:ec2:{request.region}:{request.account}"
    used = [Check(action, f"{arn}:{kind}/{id}", _ec2_tags(id)) for kind, id in _ec2_resources(request)]
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
        if names is not None and name not in names:
            continue
        if name == "LaunchTemplateName" and request.operation != "CreateLaunchTemplate":
            value = _launch_template_id(str(value))
        elif name == "AssociationId":
            value = _owner_of_association(str(value))
        found = _EC2_ID.fullmatch(str(value))
        if found and value not in seen:
            seen.add(value)
            yield _EC2_TYPES[found[1]], str(value)


def _launch_template_id(name: str) -> str:
    for id, template in ec2._launch_templates.items():
        if template.get("LaunchTemplateName") == name:
            return str(id)
    return ""


def _owner_of_association(association: str) -> str:
    """Return the route table or address that an association belongs to."""
    for id, table in ec2._route_tables.items():
        if any(entry.get("RouteTableAssociationId") == association for entry in table.get("Associations", ())):
            return str(id)
    for id, address in ec2._addresses.items():
        if address.get("AssociationId") == association:
            return str(id)
    return ""


def _ec2_tags(resource: str) -> dict[str, Any]:
    """Return `aws:ResourceTag/…` and `ec2:ResourceTag/…` for an EC2 resource in the caller's account and region."""
    context: dict[str, Any] = {}
    for tag in ec2._tags.get(resource) or ():
        context[f"aws:ResourceTag/{tag['Key']}"] = context[f"ec2:ResourceTag/{tag['Key']}"] = tag["Value"]
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
        role = emulator.iam._roles.get_scoped(request.account, None, parameters.get("RoleName")) or {}
        yield _pass_role(str(role.get("Arn", "*")), "ec2.amazonaws.com")


def _boundary_of(request: ApiRequest) -> str:
    role = emulator.iam._roles.get_scoped(request.account, None, request.parameters.get("RoleName")) or {}
    return str(role.get("PermissionsBoundary") or "")


def _iam_resource(request: ApiRequest) -> str:
    """Return the ARN, with its path, of what an IAM call is about."""
    parameters, operation = request.parameters, request.operation
    arn = f"arn:aws:iam::{request.account}"
    path = str(parameters.get("Path", "/"))
    if operation == "CreateServiceLinkedRole":
        return f"{arn}:role/aws-service-role/{parameters.get('AWSServiceName', '')}/*"
    if operation in ("SimulatePrincipalPolicy", "GetContextKeysForPrincipalPolicy"):
        return str(parameters.get("PolicySourceArn", "*"))
    stores = (
        ("InstanceProfileName", "instance-profile", "CreateInstanceProfile", emulator.iam._instance_profiles),
        ("RoleName", "role", "CreateRole", emulator.iam._roles),
        ("UserName", "user", "CreateUser", emulator.iam._users),
    )
    for name, kind, creation, store in stores:
        if name not in parameters:
            continue
        known = store.get_scoped(request.account, None, parameters[name])
        if known is not None and operation != creation:
            return str(known["Arn"])
        return f"{arn}:{kind}{path}{parameters[name]}"
    if operation == "CreatePolicy":
        return f"{arn}:policy{path}{parameters.get('PolicyName', '')}"
    if operation == "CreateOpenIDConnectProvider":
        return f"{arn}:oidc-provider/{re.sub('^https?://', '', str(parameters.get('Url', '')))}"
    return str(parameters.get("PolicyArn") or parameters.get("OpenIDConnectProviderArn") or "*")


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
    if arn := parameters.get("resourceArn"):
        return str(arn)
    arn = f"arn:aws:eks:{request.region}:{request.account}"
    cluster = str(parameters.get("clusterName") or parameters.get("name") or "")
    if not cluster:
        return "*"
    if not request.operation.startswith(("Create", "List")):
        if nodegroup := parameters.get("nodegroupName"):
            return f"{arn}:nodegroup/{cluster}/{nodegroup}/*"
        if addon := parameters.get("addonName"):
            return f"{arn}:addon/{cluster}/{addon}/*"
        if association := parameters.get("associationId"):
            return f"{arn}:podidentityassociation/{cluster}/{association}"
        if principal := parameters.get("principalArn"):
            return f"{arn}:access-entry/{cluster}/{'/'.join(str(principal).split(':', 5)[4:])}/*"
    return f"{arn}:cluster/{cluster}"


def _pass_role(role: str, *services: str) -> Check:
    contexts = tuple({"iam:PassedToService": service} for service in services)
    return Check("iam:PassRole", role, contexts[0], contexts[1:])


def denial(
    request: ApiRequest, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Return the reply to a caller whose policy lacks the action of `request`."""
    action = iam_actions.extract_iam_action(request.service, method, path, dict(headers), body, dict(query))
    action = action or f"{request.service}:{request.operation}"
    check = next(iter(required_checks(request, action, "*")), Check(action, "*"))
    message = denial_message(request.principal, action, check.resource, service=request.service)
    status, reply_headers, reply_body = _ministack_denied_reply(
        request.service,
        action,
        request.principal,
        "revoked-by-fault",
        message=message,
        headers=dict(headers),
        resource_arn=check.resource,
    )
    return status, reply_headers, reply_body
