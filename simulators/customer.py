"""The simulated customer: what the administrator of a customer's account does there, with the real SDK.

The administrator signs as the account's root, whose access key is the account's number.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from simulators.vendor import UNCHECKED

AGENT = "customer-administrator"
"""Part of the User-Agent of every call of a customer's administrator."""

_STACK_TIMEOUT = 60.0
_LARGEST_VERSION_COUNT = 5
"""Versions that IAM keeps of one managed policy."""

# Every principal may do this anyway: what stays of a policy from which the last action was taken.
_HARMLESS = {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}


BotoClient = Any
"""boto3 makes the classes of its clients at run time."""


def make_client(service: str, region: str, endpoint: str, account: str, config: Config) -> BotoClient:
    """Return a client that acts in `account` as its root."""
    with _MAKING:
        return _session().client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=account,
            aws_secret_access_key=UNCHECKED,
            config=config,
        )


_MAKING = threading.Lock()
"""Sessions are not safe for threads, as clients are."""


@functools.cache
def _session() -> boto3.Session:
    """Return the session that all accounts share, because it keeps the parsed service models (EC2's is large)."""
    return boto3.Session()


class OwnNetwork(BaseModel):
    """The layout of a network that a customer makes before we come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    cidr: str = "10.80.0.0/16"
    zones: tuple[str, ...] = ()
    """Zone names; by default the first three of the region."""
    private_cidrs: tuple[str, ...] = ("10.80.0.0/20", "10.80.16.0/20", "10.80.32.0/20")
    """One subnet a zone, in the order of `zones`."""
    public_cidrs: tuple[str, ...] = ("10.80.128.0/24", "10.80.129.0/24", "10.80.130.0/24")
    """Likewise; empty for a network without public subnets, and so without a way out."""
    nat_gateways: bool = True
    dns_hostnames: bool = True
    name: str = "customer-network"


class OwnNetworkFacts(BaseModel):
    """What the customer has made."""

    model_config = ConfigDict(frozen=True)

    vpc: str
    private_subnets: tuple[str, ...]
    public_subnets: tuple[str, ...]


class CustomerError(Exception):
    """The customer's administrator met something that the caller of the control API must know."""


class Customer:
    """The administrator of one account."""

    def __init__(self, endpoint: str, account: str) -> None:
        self.account = account
        self._endpoint = endpoint
        self._clients: dict[tuple[str, str], BotoClient] = {}
        self._originals: dict[str, dict[str, Any]] = {}
        """Policy documents as they were before the first action was taken away, keyed by `inline/role/name` or ARN."""
        self._denied: dict[str, set[str]] = {}
        """Actions taken away, keyed by role name."""

    def apply_template(
        self, template: str, *, stack: str, region: str, parameters: dict[str, str] | None = None
    ) -> dict[str, str]:
        """Create or update a CloudFormation stack, wait until it is complete, and return its outputs.

        Raises CustomerError with CloudFormation's reason when the stack fails.
        """
        formation = self._client("cloudformation", region)
        request = {
            "StackName": stack,
            "TemplateBody": template,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in (parameters or {}).items()],
            "Capabilities": ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        }
        try:
            if self._stack(stack, region) is None:
                formation.create_stack(**request)
            else:
                formation.update_stack(**request)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise CustomerError(str(error)) from error
        self._originals.clear()
        self._denied.clear()
        description = self._settled(stack, region)
        if description is None or description["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            reasons = [
                f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
                for event in formation.describe_stack_events(StackName=stack)["StackEvents"]
                if event.get("ResourceStatus", "").endswith("FAILED")
            ]
            raise CustomerError(f"stack {stack} of account {self.account} failed: {'; '.join(reasons)}")
        return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", ())}

    def delete_template(self, *, stack: str, region: str) -> None:
        """Delete the stack with everything in it; a stack that is gone already is no error."""
        if self._stack(stack, region) is None:
            return
        self._client("cloudformation", region).delete_stack(StackName=stack)
        description = self._settled(stack, region)
        if description is not None and description["StackStatus"] != "DELETE_COMPLETE":
            raise CustomerError(f"stack {stack} of account {self.account} is {description['StackStatus']}")

    def deny(self, role: str, action: str) -> None:
        """Take one action away from all policies of a role.

        Where only a wildcard grants it, an explicit denial is added to the policy that does. Raises CustomerError if
        no policy of the role grants the action.
        """
        denied = self._denied.setdefault(role, set())
        granted = [key for key, document in self._policies(role) if _grants(self._original(key, document), action)]
        if not granted:
            raise CustomerError(f"no policy of role {role} in account {self.account} grants {action}")
        denied.add(action)
        self._rewrite(role)

    def allow(self, role: str, action: str) -> None:
        """Give an action back that was taken away; raises CustomerError if it was not."""
        if action not in self._denied.get(role, ()):
            raise CustomerError(f"{action} was not taken away from role {role} in account {self.account}")
        self._denied[role].discard(action)
        self._rewrite(role)

    def make_network(self, network: OwnNetwork) -> OwnNetworkFacts:
        """Make the network and return its ids; gateways may still be pending."""
        ec2 = self._client("ec2", network.region)
        zones = network.zones or tuple(
            zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"][:3]
        )
        vpc = ec2.create_vpc(CidrBlock=network.cidr, TagSpecifications=_named("vpc", network.name))["Vpc"]["VpcId"]
        ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": True})
        ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": network.dns_hostnames})
        public = self._subnets(vpc, network, "public", zones, network.public_cidrs)
        private = self._subnets(vpc, network, "private", zones, network.private_cidrs)
        if public:
            gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
            ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
            self._route(vpc, network.region, public, {"GatewayId": gateway})
        if public and network.nat_gateways:
            for public_subnet, private_subnet in zip(public, private, strict=False):
                address = ec2.allocate_address(Domain="vpc")["AllocationId"]
                nat = ec2.create_nat_gateway(SubnetId=public_subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
                self._route(vpc, network.region, (private_subnet,), {"NatGatewayId": nat})
        return OwnNetworkFacts(vpc=vpc, private_subnets=private, public_subnets=public)

    def _subnets(
        self, vpc: str, network: OwnNetwork, kind: str, zones: tuple[str, ...], cidrs: tuple[str, ...]
    ) -> tuple[str, ...]:
        ec2 = self._client("ec2", network.region)
        return tuple(
            ec2.create_subnet(
                VpcId=vpc,
                CidrBlock=cidr,
                AvailabilityZone=zone,
                TagSpecifications=_named("subnet", f"{network.name}-{kind}-{zone}"),
            )["Subnet"]["SubnetId"]
            for cidr, zone in zip(cidrs, zones, strict=False)
        )

    def _route(self, vpc: str, region: str, subnets: tuple[str, ...], target: dict[str, str]) -> None:
        ec2 = self._client("ec2", region)
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **target)
        for subnet in subnets:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)

    def _client(self, service: str, region: str) -> BotoClient:
        if (service, region) not in self._clients:
            config = Config(user_agent_extra=AGENT, retries={"total_max_attempts": 3})
            self._clients[service, region] = make_client(service, region, self._endpoint, self.account, config)
        return self._clients[service, region]

    def _stack(self, stack: str, region: str) -> dict[str, Any] | None:
        try:
            stacks = self._client("cloudformation", region).describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        description: dict[str, Any] | None = next(
            (entry for entry in stacks if entry["StackStatus"] != "DELETE_COMPLETE"), None
        )
        return description

    def _settled(self, stack: str, region: str) -> dict[str, Any] | None:
        deadline = time.monotonic() + _STACK_TIMEOUT
        while time.monotonic() < deadline:
            description = self._stack(stack, region)
            if description is None or not description["StackStatus"].endswith("_IN_PROGRESS"):
                return description
            time.sleep(0.02)
        raise CustomerError(f"stack {stack} of account {self.account} did not settle in {_STACK_TIMEOUT:.0f} s")

    def _policies(self, role: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield key and document of each policy of the role that the customer can change."""
        iam = self._client("iam", "us-east-1")
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            yield f"inline/{role}/{name}", iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
            arn = policy["PolicyArn"]
            if f"::{self.account}:" in arn:
                version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
                yield arn, iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]

    def _original(self, key: str, document: dict[str, Any]) -> dict[str, Any]:
        return self._originals.setdefault(key, document)

    def _rewrite(self, role: str) -> None:
        """Write each policy of the role anew: its original without the actions that are taken away now."""
        iam = self._client("iam", "us-east-1")
        for key, document in list(self._policies(role)):
            wanted = _without(self._original(key, document), self._denied[role])
            if wanted == document:
                continue
            if key.startswith("inline/"):
                name = key.rpartition("/")[2]
                iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(wanted))
                continue
            versions = iam.list_policy_versions(PolicyArn=key)["Versions"]
            if len(versions) >= _LARGEST_VERSION_COUNT:
                oldest = min(
                    (version for version in versions if not version["IsDefaultVersion"]),
                    key=lambda version: int(version["VersionId"].lstrip("v")),
                )
                iam.delete_policy_version(PolicyArn=key, VersionId=oldest["VersionId"])
            iam.create_policy_version(PolicyArn=key, PolicyDocument=json.dumps(wanted), SetAsDefault=True)


def _named(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


def _listed(value: str | list[Any] | dict[str, Any]) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _covers(pattern: str, action: str) -> bool:
    """Return whether an action pattern of a policy (case-insensitive, `*` and `?`) matches `action`."""
    return fnmatch.fnmatchcase(action.lower(), pattern.lower().replace("[", "[[]"))


def _grants(document: dict[str, Any], action: str) -> bool:
    return any(
        statement["Effect"] == "Allow"
        and any(_covers(pattern, action) for pattern in _listed(statement.get("Action", [])))
        for statement in _listed(document["Statement"])
    )


def _without(document: dict[str, Any], actions: set[str]) -> dict[str, Any]:
    """Return the policy without `actions`: struck where they are named, denied where a wildcard grants them."""
    gone = {action.lower() for action in actions}
    statements = []
    for statement in _listed(document["Statement"]):
        if statement["Effect"] != "Allow" or "Action" not in statement:
            statements.append(statement)
            continue
        named = _listed(statement["Action"])
        kept = [action for action in named if action.lower() not in gone]
        if len(kept) == len(named):
            statements.append(statement)
        elif kept:
            statements.append({**statement, "Action": kept})
    remaining = {**document, "Statement": statements or [_HARMLESS]}
    still_granted = sorted(action for action in actions if _grants(remaining, action))
    if still_granted:
        remaining["Statement"].append({"Effect": "Deny", "Action": still_granted, "Resource": "*"})
    return remaining
