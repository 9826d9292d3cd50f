"""VPCs, subnets, route tables and internet gateways: what is valid, and what is still in use."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import ipaddress
from typing import Any

from ministack.services import ec2

from simulators.aws import fabric, scope
from simulators.aws.ec2.listing import Document, Guard, Operation, tags_given
from simulators.aws.identifiers import new_id
from simulators.aws.instance_types import zones_of
from simulators.aws.quotas import Quotas
from simulators.aws.refusals import Refusal


class Networks:
    """Checks before ministack acts, and makes subnets itself."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    def operations(self) -> dict[str, Operation]:
        """Return the operations, keyed by name."""
        return {"CreateSubnet": self._create_subnet, "ModifyVpcAttribute": _modify_vpc_attribute}

    def guards(self) -> dict[str, Guard]:
        """Return the checks, keyed by operation."""
        return {
            "CreateVpc": self._check_new_vpc,
            "DeleteVpc": _check_vpc_unused,
            "DeleteSubnet": _check_subnet_unused,
            "CreateInternetGateway": self._check_new_gateway,
            "AttachInternetGateway": _check_attachment,
            "DetachInternetGateway": _check_detachment,
            "DeleteInternetGateway": _check_gateway_unused,
            "CreateRouteTable": _check_vpc_exists,
            "DeleteRouteTable": _check_route_table_unused,
            "CreateRoute": _check_new_route,
            "DeleteRoute": _check_route_exists,
            "AssociateRouteTable": _check_association,
            "DisassociateRouteTable": _check_association_exists,
            "CreateTags": _check_tagged_exist,
        }

    def _check_new_vpc(self, parameters: Document) -> None:
        network = _network(parameters.get("CidrBlock", ""))
        if not 16 <= network.prefixlen <= 28:
            raise Refusal("InvalidVpc.Range", f"The CIDR '{parameters['CidrBlock']}' is invalid.")
        self._quotas.require(
            scope.current(), "vpc", "L-F678F1CE", len(ec2._vpcs) + 1,
            lambda _limit: Refusal("VpcLimitExceeded", "The maximum number of VPCs has been reached."),
        )  # fmt: skip

    def _check_new_gateway(self, _parameters: Document) -> None:
        self._quotas.require(
            scope.current(), "vpc", "L-A4707A72", len(ec2._internet_gateways) + 1,
            lambda _limit: Refusal(
                "InternetGatewayLimitExceeded", "The maximum number of internet gateways has been reached."
            ),
        )  # fmt: skip

    def _create_subnet(self, parameters: Document) -> Document:
        here = scope.current()
        _check_vpc_exists(parameters)
        vpc = parameters["VpcId"]
        zone = parameters.get("AvailabilityZone") or ec2._zone_name_for_az_id(parameters.get("AvailabilityZoneId", ""))
        zone = zone or zones_of(here.region)[0]
        if zone not in zones_of(here.region):
            message = (
                f"Value ({zone}) for parameter availabilityZone is invalid."
                " Subnets can currently only be created in the following availability zones:"
                f" {', '.join(zones_of(here.region))}."
            )
            raise Refusal("InvalidParameterValue", message)
        cidr = parameters.get("CidrBlock", "")
        network = _network(cidr)
        if not 16 <= network.prefixlen <= 28 or not network.subnet_of(_network(ec2._vpcs[vpc]["CidrBlock"])):
            raise Refusal("InvalidSubnet.Range", f"The CIDR '{cidr}' is invalid.")
        siblings = [record for record in ec2._subnets.values() if record["VpcId"] == vpc]
        if any(network.overlaps(_network(record["CidrBlock"])) for record in siblings):
            raise Refusal("InvalidSubnet.Conflict", f"The CIDR '{cidr}' conflicts with another subnet")
        self._quotas.require(
            here, "vpc", "L-407747CB", len(siblings) + 1,
            lambda _limit: Refusal("SubnetLimitExceeded", "The maximum number of subnets has been reached."),
        )  # fmt: skip
        subnet_id = new_id("subnet")
        ec2._subnets[subnet_id] = {
            "SubnetId": subnet_id,
            "VpcId": vpc,
            "CidrBlock": cidr,
            "AvailabilityZone": zone,
            "AvailabilityZoneId": ec2._az_id_for_zone_name(zone),
            "AvailableIpAddressCount": network.num_addresses - 5,
            "State": "available",
            "DefaultForAz": False,
            "MapPublicIpOnLaunch": False,
            "OwnerId": here.account,
        }
        tags = tags_given(parameters, "subnet")
        fabric.set_tags(subnet_id, tags)
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        return {"Subnet": {**ec2._subnets[subnet_id], "Tags": listed}}


def _network(cidr: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(cidr)
    except ValueError:
        message = f"Value ({cidr}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
        raise Refusal("InvalidParameterValue", message) from None


def _modify_vpc_attribute(parameters: Document) -> Document:
    """ModifyVpcAttribute: one attribute a call, and host names need DNS support."""
    _check_vpc_exists(parameters)
    record = ec2._vpcs[parameters["VpcId"]]
    asked = {
        name: parameters[name]["Value"] for name in ("EnableDnsSupport", "EnableDnsHostnames") if name in parameters
    }
    if len(asked) > 1:
        raise Refusal("InvalidParameterCombination", "Fields for multiple attribute types specified")
    record.update(asked)
    return {}


def _check_vpc_exists(parameters: Document) -> None:
    vpc = parameters.get("VpcId", "")
    if vpc not in ec2._vpcs:
        raise Refusal("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist")


def in_use(message: str) -> Refusal:
    """Something depends on what is to be deleted."""
    return Refusal("DependencyViolation", message)


def _check_vpc_unused(parameters: Document) -> None:
    """Refuse while anything is left in the VPC that does not go with it."""
    _check_vpc_exists(parameters)
    vpc = parameters["VpcId"]
    main = ec2._vpcs[vpc]["MainRouteTableId"]
    dependents = (
        any(record["VpcId"] == vpc for record in ec2._subnets.values()),
        any(record["VpcId"] == vpc and record["GroupName"] != "default" for record in ec2._security_groups.values()),
        any(entry["VpcId"] == vpc for record in ec2._internet_gateways.values() for entry in record["Attachments"]),
        any(record["VpcId"] == vpc and record["State"] != "deleted" for record in ec2._vpc_endpoints.values()),
        any(record["VpcId"] == vpc and record["State"] != "deleted" for record in ec2._nat_gateways.values()),
        any(record["VpcId"] == vpc for record in fabric.interfaces()),
        any(record["VpcId"] == vpc and record["RouteTableId"] != main for record in ec2._route_tables.values()),
    )
    if any(dependents):
        raise in_use(f"The vpc '{vpc}' has dependencies and cannot be deleted.")


def _check_subnet_unused(parameters: Document) -> None:
    subnet = parameters.get("SubnetId", "")
    if fabric.subnet(subnet) is None:
        raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
    if any(record["SubnetId"] == subnet for record in fabric.interfaces()):
        raise in_use(f"The subnet '{subnet}' has dependencies and cannot be deleted.")
    for table in ec2._route_tables.values():
        table["Associations"] = [entry for entry in table["Associations"] if entry.get("SubnetId") != subnet]


def _gateway(parameters: Document) -> dict[str, Any]:
    gateway = parameters.get("InternetGatewayId", "")
    record: dict[str, Any] | None = ec2._internet_gateways.get(gateway)
    if record is None:
        raise Refusal("InvalidInternetGatewayID.NotFound", f"The internetGateway ID '{gateway}' does not exist")
    return record


def _check_attachment(parameters: Document) -> None:
    """Refuse a second gateway for a VPC; ministack refuses a second VPC for a gateway."""
    _gateway(parameters)
    _check_vpc_exists(parameters)
    vpc = parameters["VpcId"]
    for record in ec2._internet_gateways.values():
        attached = any(entry["VpcId"] == vpc for entry in record["Attachments"])
        if attached and record["InternetGatewayId"] != parameters["InternetGatewayId"]:
            raise Refusal("InvalidParameterValue", f"Network {vpc} already has an internet gateway attached")


def _check_detachment(parameters: Document) -> None:
    record, vpc = _gateway(parameters), parameters.get("VpcId", "")
    if not any(entry["VpcId"] == vpc for entry in record["Attachments"]):
        raise Refusal("Gateway.NotAttached", f"resource {record['InternetGatewayId']} is not attached to network {vpc}")
    public_balancers = (
        entry
        for entry in fabric.interfaces()
        if entry["VpcId"] == vpc and entry["InterfaceType"] == "network_load_balancer"
    )
    public_nats = (
        nat
        for nat in ec2._nat_gateways.values()
        if nat["VpcId"] == vpc and nat["State"] != "deleted" and nat["ConnectivityType"] == "public"
    )
    if any(public_balancers) or any(public_nats):
        message = (
            f"Network {vpc} has some mapped public address(es). Please unmap those public address(es) before"
            " detaching the gateway."
        )
        raise in_use(message)


def _check_gateway_unused(parameters: Document) -> None:
    record = _gateway(parameters)
    if record["Attachments"]:
        message = f"The internetGateway '{record['InternetGatewayId']}' has dependencies and cannot be deleted."
        raise in_use(message)


def _route_table(parameters: Document) -> dict[str, Any]:
    table = parameters.get("RouteTableId", "")
    record: dict[str, Any] | None = ec2._route_tables.get(table)
    if record is None:
        raise Refusal("InvalidRouteTableID.NotFound", f"The routeTable ID '{table}' does not exist")
    return record


def _check_route_table_unused(parameters: Document) -> None:
    record = _route_table(parameters)
    if record["Associations"]:
        raise in_use(f"The routeTable '{record['RouteTableId']}' has dependencies and cannot be deleted.")


def _check_new_route(parameters: Document) -> None:
    record = _route_table(parameters)
    destination = parameters.get("DestinationCidrBlock", "")
    if any(route.get("DestinationCidrBlock") == destination for route in record["Routes"]):
        raise Refusal("RouteAlreadyExists", f"The route identified by {destination} already exists.")
    gateway, nat = parameters.get("GatewayId"), parameters.get("NatGatewayId")
    if gateway and gateway.startswith("igw-"):
        attached = (ec2._internet_gateways.get(gateway) or {}).get("Attachments", ())
        if not any(entry["VpcId"] == record["VpcId"] for entry in attached):
            message = f"route table {record['RouteTableId']} and network gateway {gateway} belong to different networks"
            raise Refusal("InvalidParameterValue", message)
    if nat and (ec2._nat_gateways.get(nat) or {}).get("State") not in ("pending", "available"):
        raise Refusal("InvalidNatGatewayID.NotFound", f"The natGateway ID '{nat}' does not exist")


def _check_route_exists(parameters: Document) -> None:
    record, destination = _route_table(parameters), parameters.get("DestinationCidrBlock", "")
    if not any(route.get("DestinationCidrBlock") == destination for route in record["Routes"]):
        message = f"no route with destination-cidr-block {destination} in route table {record['RouteTableId']}"
        raise Refusal("InvalidRoute.NotFound", message)


def _check_association(parameters: Document) -> None:
    _route_table(parameters)
    subnet = parameters.get("SubnetId", "")
    if fabric.subnet(subnet) is None:
        raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
    for table in ec2._route_tables.values():
        if any(entry.get("SubnetId") == subnet for entry in table["Associations"]):
            message = (
                f"the specified association for route table {table['RouteTableId']} conflicts with an existing"
                " association"
            )
            raise Refusal("Resource.AlreadyAssociated", message)


def _check_association_exists(parameters: Document) -> None:
    association = parameters.get("AssociationId", "")
    for table in ec2._route_tables.values():
        for entry in table["Associations"]:
            if entry["RouteTableAssociationId"] == association:
                if entry.get("Main"):
                    raise Refusal("InvalidParameterValue", "cannot disassociate the main route table association")
                return
    raise Refusal("InvalidAssociationID.NotFound", f"The association ID '{association}' does not exist")


_STORES = {
    "vpc": ec2._vpcs,
    "subnet": ec2._subnets,
    "rtb": ec2._route_tables,
    "igw": ec2._internet_gateways,
    "nat": ec2._nat_gateways,
    "eipalloc": ec2._addresses,
    "sg": ec2._security_groups,
    "eni": ec2._network_interfaces,
    "vpce": ec2._vpc_endpoints,
    "vol": ec2._volumes,
    "snap": ec2._snapshots,
    "i": ec2._instances,
    "lt": ec2._launch_templates,
}
"""Keyed by the prefix of ids."""


def _check_tagged_exist(parameters: Document) -> None:
    for id_ in parameters.get("Resources") or ():
        store = _STORES.get(id_.partition("-")[0])
        if store is not None and id_ not in store:
            raise Refusal("InvalidID", f"The ID '{id_}' is not valid")
