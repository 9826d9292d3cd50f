"""Security groups and their rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from activities.aws.ec2 import SECURITY_GROUP, DeploymentEc2, Description, already_done
from activities.aws.errors import code_of
from activities.aws.existence import gone_is_success
from activities.failures import refused
from domain.failure import FailureClass
from domain.naming import base_name, resource_name


def ensure_group(ec2: DeploymentEc2, network: str, resource: str, description: str) -> Description:
    """Return one security group; its name is unique in the VPC, so there is never a second one."""

    def make(**tags: Any) -> Description:  # noqa: ANN401 (passed through to the SDK)
        name = resource_name(ec2.site, resource)
        try:
            group_id = ec2.client.create_security_group(
                GroupName=name, Description=f"{description} of {base_name(ec2.site)}", VpcId=network, **tags
            )["GroupId"]
        except ClientError as error:
            if code_of(error) != "InvalidGroup.Duplicate":
                raise
            return _group_of_that_name(ec2, network, name, error)
        return {"GroupId": group_id, "IpPermissions": [], "Tags": tags["TagSpecifications"][0]["Tags"]}

    return ec2.found_or_made(SECURITY_GROUP, resource, make, ec2.by_resource(SECURITY_GROUP))


def _group_of_that_name(ec2: DeploymentEc2, network: str, name: str, error: ClientError) -> Description:
    """Return our group that was made without a reply; refuse one that is not ours."""
    filters = {"vpc-id": network, "group-name": name}
    group = ec2.eventually(lambda: next(iter(ec2.matching(SECURITY_GROUP, filters)), None))
    if group is None:
        raise ec2.look_again(f"the security group {name} exists and is not listed yet") from error
    if not ec2.is_ours(group):
        message = f"The security group {name} in {network} does not carry our tags; it is left as it is"
        raise refused(FailureClass.NOT_OURS, message, resource=group["GroupId"]) from error
    return group


def ensure_ingress(ec2: DeploymentEc2, group: Description, rules: Sequence[Description]) -> None:
    """Add those of `rules` that the group lacks; what controllers have added stays."""
    present = {rule for permission in group.get("IpPermissions", ()) for rule in _single_rules(permission)}
    for rule in rules:
        if not present.issuperset(_single_rules(rule)):
            with already_done("InvalidPermission.Duplicate"):
                authorize = partial(ec2.client.authorize_security_group_ingress, GroupId=group["GroupId"])
                ec2.once_found(partial(authorize, IpPermissions=[rule]))


def revoke_references(ec2: DeploymentEc2, group: Description) -> None:
    """Remove the rules of `group` that let other groups in: as long as a rule names a group, it cannot be deleted."""
    rules = [
        {**permission, "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": []}
        for permission in group.get("IpPermissions", ())
        if permission.get("UserIdGroupPairs")
    ]
    if rules:
        with gone_is_success():
            ec2.client.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=rules)


def tcp(first: int, last: int, **source: object) -> Description:
    """Return the rule that lets TCP in to a range of ports from `source`, spelled as EC2 spells it."""
    return {"IpProtocol": "tcp", "FromPort": first, "ToPort": last, **source}


def _single_rules(permission: Description) -> Iterator[tuple[object, ...]]:
    """Yield what one permission allows, source by source: EC2 merges and splits permissions as it likes."""
    ports = (permission["IpProtocol"], permission.get("FromPort", -1), permission.get("ToPort", -1))
    for group in permission.get("UserIdGroupPairs", ()):
        yield (*ports, group["GroupId"])
    for block in permission.get("IpRanges", ()):
        yield (*ports, block["CidrIp"])
