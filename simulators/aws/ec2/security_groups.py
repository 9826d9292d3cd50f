"""Security groups: rules that are not given twice, and groups that are not deleted while in use."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ministack.services import ec2

from simulators.aws import fabric, scope
from simulators.aws.ec2.listing import Document, Guard, Operation
from simulators.aws.quotas import Quotas
from simulators.aws.refusals import Refusal

_RULE_SOURCES = (
    ("IpRanges", "CidrIp"),
    ("Ipv6Ranges", "CidrIpv6"),
    ("PrefixListIds", "PrefixListId"),
    ("UserIdGroupPairs", "GroupId"),
)


class SecurityGroups:
    """Checks before ministack acts."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    def operations(self) -> dict[str, Operation]:
        """Nothing is replaced here."""
        return {}

    def guards(self) -> dict[str, Guard]:
        """Return the checks, keyed by operation."""
        return {
            "CreateSecurityGroup": self._check_new_group,
            "DeleteSecurityGroup": _check_unused,
            "AuthorizeSecurityGroupIngress": lambda parameters: _check_new_rules(parameters, "IpPermissions"),
            "AuthorizeSecurityGroupEgress": lambda parameters: _check_new_rules(parameters, "IpPermissionsEgress"),
            "RevokeSecurityGroupIngress": lambda parameters: _check_rules_exist(parameters, "IpPermissions"),
            "RevokeSecurityGroupEgress": lambda parameters: _check_rules_exist(parameters, "IpPermissionsEgress"),
        }

    def _check_new_group(self, parameters: Document) -> None:
        vpc = parameters.get("VpcId")
        if vpc and vpc not in ec2._vpcs:
            raise Refusal("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist")
        self._quotas.require(
            scope.current(), "vpc", "L-E79EC296", len(ec2._security_groups) + 1,
            lambda _limit: Refusal(
                "SecurityGroupLimitExceeded", "The maximum number of security groups has been reached."
            ),
        )  # fmt: skip


def _group(parameters: Document) -> dict[str, Any]:
    group = parameters.get("GroupId", "")
    record = fabric.security_group(group)
    if record is None:
        raise Refusal("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
    return record


def _check_unused(parameters: Document) -> None:
    """Refuse while an interface has the group, or a rule of another group refers to it."""
    group = _group(parameters)["GroupId"]
    worn = any(entry["GroupId"] == group for record in fabric.interfaces() for entry in record["Groups"])
    referred = any(
        source == group
        for record in ec2._security_groups.values()
        if record["GroupId"] != group
        for _, _, _, source in (*_rules(record["IpPermissions"]), *_rules(record["IpPermissionsEgress"]))
    )
    if worn or referred:
        raise Refusal("DependencyViolation", f"resource {group} has a dependent object")


def _rules(permissions: list[dict[str, Any]]) -> Iterator[tuple[str, int, int, str]]:
    """Yield protocol, ports and source of each single rule."""
    for permission in permissions:
        ports = (int(permission.get("FromPort") or -1), int(permission.get("ToPort") or -1))
        protocol = str(permission.get("IpProtocol"))
        ports = (-1, -1) if protocol == "-1" else ports
        for member, source in _RULE_SOURCES:
            for entry in permission.get(member) or ():
                yield protocol, *ports, str(entry.get(source))


def _check_new_rules(parameters: Document, member: str) -> None:
    group = _group(parameters)
    asked = list(_rules(parameters.get("IpPermissions") or []))
    for _, _, _, source in asked:
        if source.startswith("sg-") and fabric.security_group(source) is None:
            raise Refusal("InvalidGroup.NotFound", f"The security group '{source}' does not exist")
    if repeated := set(asked) & set(_rules(group[member])):
        protocol, first, last, source = min(repeated)
        message = (
            f'the specified rule "peer: {source}, {protocol.upper()}, from port: {first}, to port: {last}, ALLOW"'
            " already exists"
        )
        raise Refusal("InvalidPermission.Duplicate", message)


def _check_rules_exist(parameters: Document, member: str) -> None:
    group = _group(parameters)
    if set(_rules(parameters.get("IpPermissions") or [])) - set(_rules(group[member])):
        message = "The specified rule does not exist in this security group."
        raise Refusal("InvalidPermission.NotFound", message)
