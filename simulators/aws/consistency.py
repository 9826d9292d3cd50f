"""Eventual consistency: what was just made is not seen everywhere yet, as in the real cloud.

A fresh role cannot be assumed, a fresh EC2 resource is not found, a changed policy still has its old effect, each for
some seconds of simulated time. At infinite speed nothing of this happens. Only what is made through the API lags: what
a CloudFormation stack made has settled by the time the stack is complete.
"""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree as ET

from pydantic import BaseModel, ConfigDict

from simulators.aws import emulator
from simulators.aws.errors import ApiError
from simulators.aws.requests import ApiRequest
from simulators.clock import Clock


class Delays(BaseModel):
    """How long changes take to be seen, in simulated seconds."""

    model_config = ConfigDict(frozen=True)

    role: float = 8.0
    """Until a new role can be assumed, and is known to EKS."""
    resource: float = 5.0
    """Until a new EC2 resource is found by id and listed."""
    policy: float = 8.0
    """Until a changed policy of a role has effect."""


# EC2: creation -> (element of the reply that holds the new id, describing operation, error of a describe by id).
_EC2 = {
    "CreateVpc": ("vpcId", "DescribeVpcs", "InvalidVpcID.NotFound"),
    "CreateSubnet": ("subnetId", "DescribeSubnets", "InvalidSubnetID.NotFound"),
    "CreateRouteTable": ("routeTableId", "DescribeRouteTables", "InvalidRouteTableID.NotFound"),
    "CreateSecurityGroup": ("groupId", "DescribeSecurityGroups", "InvalidGroup.NotFound"),
    "CreateInternetGateway": ("internetGatewayId", "DescribeInternetGateways", "InvalidInternetGatewayID.NotFound"),
    "CreateNatGateway": ("natGatewayId", "DescribeNatGateways", "NatGatewayNotFound"),
    "CreateVpcEndpoint": ("vpcEndpointId", "DescribeVpcEndpoints", "InvalidVpcEndpointId.NotFound"),
    "AllocateAddress": ("allocationId", "DescribeAddresses", "InvalidAllocationID.NotFound"),
    "CreateVolume": ("volumeId", "DescribeVolumes", "InvalidVolume.NotFound"),
    "CreateSnapshot": ("snapshotId", "DescribeSnapshots", "InvalidSnapshot.NotFound"),
    "CreateLaunchTemplate": ("launchTemplateId", "DescribeLaunchTemplates", "InvalidLaunchTemplateId.NotFound"),
}
_DESCRIBES = {describe: (element, error) for element, describe, error in _EC2.values()}

_ROLE_POLICY_CHANGES = frozenset({"PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy"})
_POLICY_CHANGES = frozenset({"CreatePolicyVersion", "SetDefaultPolicyVersion"})


class Consistency:
    """Remembers what is too fresh to be seen."""

    def __init__(self, clock: Clock, delays: Delays | None = None) -> None:
        self._clock = clock
        self._delays = delays or Delays()
        self._fresh_roles: dict[str, float] = {}
        self._fresh_resources: dict[str, float] = {}
        self._former_policies: dict[tuple[str, str], tuple[float, list[Any]]] = {}

    def install(self) -> None:
        """Let the policies of roles be read through this object."""
        emulator.read_role_policies_by(self._policies_in_effect)

    def forget(self) -> None:
        """Treat everything as settled."""
        for memory in (self._fresh_roles, self._fresh_resources, self._former_policies):
            memory.clear()

    def refusal(self, request: ApiRequest) -> ApiError | None:
        """Return the error that refuses `request` if it came too early; to be called before the deed."""
        if math.isinf(self._clock.speed):
            return None
        match request.service:
            case "iam":
                self._keep_former_policies(request)
            case "sts" if request.operation == "AssumeRole":
                role = str(request.parameters.get("RoleArn", ""))
                if self._is_fresh(self._fresh_roles, role):
                    message = (
                        f"User: {request.principal} is not authorized to perform: sts:AssumeRole on resource: {role}"
                    )
                    return ApiError(403, "AccessDenied", message)
            case "eks":
                return self._unknown_to_eks(request)
            case "ec2" if request.operation in _DESCRIBES:
                for value in request.parameters.values():
                    if self._is_fresh(self._fresh_resources, str(value)):
                        code = _DESCRIBES[request.operation][1]
                        return ApiError(400, code, f"The ID '{value}' does not exist")
        return None

    def seen(self, request: ApiRequest, status: int, body: bytes) -> bytes:
        """Return what the caller sees of a reply, and remember what the call has made; call it after the deed."""
        if math.isinf(self._clock.speed) or status >= 300:
            return body
        if request.service == "iam" and request.operation == "CreateRole":
            if found := re.search(rb"<Arn>([^<]+)</Arn>", body):
                self._fresh_roles[found[1].decode()] = self._clock.time() + self._delays.role
        elif request.service == "ec2" and request.operation in _EC2:
            element = _EC2[request.operation][0]
            if found := re.search(rf"<{element}>([^<]+)</{element}>".encode(), body):
                self._fresh_resources[found[1].decode()] = self._clock.time() + self._delays.resource
        elif request.service == "ec2" and request.operation in _DESCRIBES and self._fresh_resources:
            return self._without_fresh(body, _DESCRIBES[request.operation][0])
        return body

    def _unknown_to_eks(self, request: ApiRequest) -> ApiError | None:
        for parameter in ("roleArn", "nodeRole"):
            role = str(request.parameters.get(parameter, ""))
            if self._is_fresh(self._fresh_roles, role):
                message = (
                    f"Role with arn: {role}, could not be assumed because it does not exist"
                    " or the trusted entity is not correct"
                )
                return ApiError(400, "InvalidParameterException", message)
        return None

    def _is_fresh(self, memory: dict[str, float], key: str) -> bool:
        settled_at = memory.get(key)
        if settled_at is None:
            return False
        if self._clock.time() < settled_at:
            return True
        del memory[key]
        return False

    def _without_fresh(self, body: bytes, element: str) -> bytes:
        """Drop the listed items whose id is too fresh from an EC2 reply."""
        text = body.decode()
        if not any(
            self._is_fresh(self._fresh_resources, name) and name in text for name in list(self._fresh_resources)
        ):
            return body
        root = ET.fromstring(text)  # noqa: S314 (what ministack wrote)
        namespace = root.tag.partition("}")[0].lstrip("{") if root.tag.startswith("{") else ""
        prefix = f"{{{namespace}}}" if namespace else ""
        for listing in root:
            for item in listing.findall(f"{prefix}item"):
                if self._is_fresh(self._fresh_resources, item.findtext(f"{prefix}{element}") or ""):
                    listing.remove(item)
        ET.register_namespace("", namespace)
        remaining: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        return remaining

    def _keep_former_policies(self, request: ApiRequest) -> None:
        """Remember the policies of each role that `request` is about to change."""
        if request.operation in _ROLE_POLICY_CHANGES:
            roles = [str(request.parameters.get("RoleName", ""))]
        elif request.operation in _POLICY_CHANGES:
            roles = emulator.roles_with_policy(request.account, str(request.parameters.get("PolicyArn", "")))
        else:
            return
        for role in roles:
            policies = self._policies_in_effect(role, request.account)
            self._former_policies[request.account, role] = (self._clock.time() + self._delays.policy, policies)

    def _policies_in_effect(self, role: str, account: str) -> list[Any]:
        """Stand in for ministack's lookup of a role's policies: the former ones as long as a change is under way."""
        former = self._former_policies.get((account, role))
        if former is not None:
            if self._clock.time() < former[0] and not math.isinf(self._clock.speed):
                return former[1]
            del self._former_policies[account, role]
        return emulator.role_policies(role, account)
