"""Describing resources: by id, by filter, page by page."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ministack.services import ec2

from simulators.aws import fabric, scope
from simulators.aws.refusals import Refusal

Document = dict[str, Any]
Operation = Callable[[Document], Mapping[str, Any]]
Guard = Callable[[Document], None]

_PAGE_SIZE = 1000


@dataclass(frozen=True)
class Listing:
    """How one kind of resource is described."""

    member: str
    """Of the result."""
    identity: str
    """Member of a resource that holds its id."""
    identities: str
    """Parameter that asks for ids."""
    missing: str
    """Error code for an id that does not exist."""
    noun: str
    """What the error message calls the resource."""
    records: Callable[[], Iterable[Document]]
    filters: Mapping[str, str] = field(default_factory=dict)
    """Where the values that a filter compares are, as `Member.Member`, keyed by the filter's name."""
    view: Callable[[Document], Document] = dict
    """Makes a resource in the API's shape, without tags, from a record."""
    tags: str = "Tags"
    """Member that holds the tags."""

    def describe(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return one page of the resources that are asked for; refuse an unknown id or filter."""
        wanted = parameters.get(self.identities) or []
        found = {record[self.identity]: record for record in self.records()}
        if unknown := [id_ for id_ in wanted if id_ not in found]:
            raise Refusal(self.missing, f"The {self.noun} ID '{unknown[0]}' does not exist")
        filters = parameters.get("Filters") or parameters.get("Filter") or []
        for entry in filters:
            self._check_name(entry["Name"])
        views = (self.complete(record) for id_, record in found.items() if not wanted or id_ in wanted)
        passing = [view for view in views if all(self._passes(view, entry) for entry in filters)]
        start = int(parameters.get("NextToken") or 0)
        size = int(parameters.get("MaxResults") or _PAGE_SIZE)
        page: dict[str, Any] = {self.member: passing[start : start + size]}
        if start + size < len(passing):
            page["NextToken"] = str(start + size)
        return page

    def complete(self, record: Document) -> Document:
        """Return a record in the shape in which the API describes it, with its tags."""
        view = self.view(record)
        tags = fabric.tags_of(record[self.identity])
        return {**view, self.tags: [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _check_name(self, name: str) -> None:
        if name != "tag-key" and not name.startswith("tag:") and name not in self.filters:
            raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")

    def _passes(self, view: Document, entry: Mapping[str, Any]) -> bool:
        """Return whether one of the filter's values (patterns with * and ?) fits one of the resource's."""
        name, patterns = entry["Name"], entry.get("Values") or []
        tags = {tag["Key"]: tag["Value"] for tag in view[self.tags]}
        if name.startswith("tag:"):
            values: Iterable[object] = [tags[name[4:]]] if name[4:] in tags else []
        elif name == "tag-key":
            values = tags
        else:
            values = values_at(view, self.filters[name])
        return any(fnmatch.fnmatchcase(_spelled(value), pattern) for value in values for pattern in patterns)


def values_at(value: object, path: str) -> Iterator[object]:
    """Yield what `Member.Member` leads to, through lists."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from values_at(item, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        first, _, rest = path.partition(".")
        if value.get(first) is not None:
            yield from values_at(value[first], rest)


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def tags_given(parameters: Mapping[str, Any], resource_type: str) -> dict[str, str]:
    """Return the tags that a creating call gives to what it makes."""
    return {
        tag["Key"]: tag.get("Value", "")
        for specification in parameters.get("TagSpecifications") or ()
        if specification.get("ResourceType") == resource_type
        for tag in specification.get("Tags") or ()
    }


class Listings:
    """Describes what ministack makes: networks, groups, interfaces, tags."""

    def operations(self) -> dict[str, Operation]:
        """Return the operations, keyed by name."""
        described: dict[str, Operation] = {name: listing.describe for name, listing in _LISTINGS.items()}
        return described | {"DescribeTags": _describe_tags}

    def guards(self) -> dict[str, Guard]:
        """Nothing is guarded here."""
        return {}


def _vpc(record: Document) -> Document:
    association = {
        "AssociationId": record["VpcId"].replace("vpc-", "vpc-cidr-assoc-"),
        "CidrBlock": record["CidrBlock"],
        "CidrBlockState": {"State": "associated"},
    }
    return {**record, "CidrBlockAssociationSet": [association]}


def _subnet(record: Document) -> Document:
    subnet_id = record["SubnetId"]
    return {
        **record,
        "AvailableIpAddressCount": fabric.addresses_left(subnet_id),
        "SubnetArn": scope.current().arn("ec2", f"subnet/{subnet_id}"),
    }


def _route_table(record: Document) -> Document:
    return {**record, "PropagatingVgws": []}


def _security_group(record: Document) -> Document:
    return {**record, "SecurityGroupArn": scope.current().arn("ec2", f"security-group/{record['GroupId']}")}


def _interface(record: Document) -> Document:
    address = {"Primary": True, "PrivateIpAddress": record["PrivateIpAddress"]}
    return {**record, "PrivateIpAddresses": [address]}


_LISTINGS = {
    "DescribeVpcs": Listing(
        "Vpcs", "VpcId", "VpcIds", "InvalidVpcID.NotFound", "vpc", ec2._vpcs.values, view=_vpc,
        filters={"vpc-id": "VpcId", "cidr": "CidrBlock", "cidr-block": "CidrBlock", "state": "State",
                 "cidr-block-association.cidr-block": "CidrBlockAssociationSet.CidrBlock",
                 "owner-id": "OwnerId", "is-default": "IsDefault", "dhcp-options-id": "DhcpOptionsId"},
    ),
    "DescribeSubnets": Listing(
        "Subnets", "SubnetId", "SubnetIds", "InvalidSubnetID.NotFound", "subnet", ec2._subnets.values,
        view=_subnet,
        filters={"vpc-id": "VpcId", "subnet-id": "SubnetId", "state": "State", "availability-zone": "AvailabilityZone",
                 "availabilityZone": "AvailabilityZone", "availability-zone-id": "AvailabilityZoneId",
                 "cidr-block": "CidrBlock", "cidr": "CidrBlock", "default-for-az": "DefaultForAz",
                 "map-public-ip-on-launch": "MapPublicIpOnLaunch", "owner-id": "OwnerId"},
    ),
    "DescribeRouteTables": Listing(
        "RouteTables", "RouteTableId", "RouteTableIds", "InvalidRouteTableID.NotFound", "routeTable",
        ec2._route_tables.values, view=_route_table,
        filters={"vpc-id": "VpcId", "route-table-id": "RouteTableId", "owner-id": "OwnerId",
                 "association.main": "Associations.Main", "association.subnet-id": "Associations.SubnetId",
                 "association.route-table-id": "Associations.RouteTableId",
                 "association.route-table-association-id": "Associations.RouteTableAssociationId",
                 "route.destination-cidr-block": "Routes.DestinationCidrBlock", "route.gateway-id": "Routes.GatewayId",
                 "route.nat-gateway-id": "Routes.NatGatewayId", "route.state": "Routes.State"},
    ),
    "DescribeInternetGateways": Listing(
        "InternetGateways", "InternetGatewayId", "InternetGatewayIds", "InvalidInternetGatewayID.NotFound",
        "internetGateway", ec2._internet_gateways.values,
        filters={"internet-gateway-id": "InternetGatewayId", "attachment.vpc-id": "Attachments.VpcId",
                 "attachment.state": "Attachments.State", "owner-id": "OwnerId"},
    ),
    "DescribeSecurityGroups": Listing(
        "SecurityGroups", "GroupId", "GroupIds", "InvalidGroup.NotFound", "security group",
        ec2._security_groups.values, view=_security_group,
        filters={"vpc-id": "VpcId", "group-id": "GroupId", "group-name": "GroupName", "description": "Description",
                 "owner-id": "OwnerId", "ip-permission.group-id": "IpPermissions.UserIdGroupPairs.GroupId",
                 "egress.ip-permission.group-id": "IpPermissionsEgress.UserIdGroupPairs.GroupId",
                 "ip-permission.from-port": "IpPermissions.FromPort", "ip-permission.to-port": "IpPermissions.ToPort",
                 "ip-permission.cidr": "IpPermissions.IpRanges.CidrIp"},
    ),
    "DescribeNetworkInterfaces": Listing(
        "NetworkInterfaces", "NetworkInterfaceId", "NetworkInterfaceIds", "InvalidNetworkInterfaceID.NotFound",
        "networkInterface", ec2._network_interfaces.values, view=_interface, tags="TagSet",
        filters={"vpc-id": "VpcId", "subnet-id": "SubnetId", "group-id": "Groups.GroupId",
                 "group-name": "Groups.GroupName", "status": "Status", "description": "Description",
                 "attachment.instance-id": "Attachment.InstanceId", "attachment.status": "Attachment.Status",
                 "network-interface-id": "NetworkInterfaceId", "private-ip-address": "PrivateIpAddress",
                 "addresses.private-ip-address": "PrivateIpAddress", "interface-type": "InterfaceType",
                 "requester-id": "RequesterId", "requester-managed": "RequesterManaged", "owner-id": "OwnerId",
                 "availability-zone": "AvailabilityZone"},
    ),
}  # fmt: skip
"""Keyed by operation."""


def _describe_tags(parameters: Document) -> Document:
    """DescribeTags of what exists."""
    entries = [
        {"ResourceId": id_, "ResourceType": ec2._guess_resource_type(id_), **tag}
        for id_, tags in ec2._tags.items()
        for tag in tags
    ]
    paths = {"resource-id": "ResourceId", "resource-type": "ResourceType", "key": "Key", "value": "Value"}
    for entry in parameters.get("Filters") or []:
        name, patterns = entry["Name"], entry.get("Values") or []
        if name.startswith("tag:"):
            entries = [tag for tag in entries if tag["Key"] == name[4:] and tag["Value"] in patterns]
        elif name not in paths:
            raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
        else:
            member = paths[name]
            entries = [tag for tag in entries if any(fnmatch.fnmatchcase(tag[member], pattern) for pattern in patterns)]
    return {"Tags": entries}
