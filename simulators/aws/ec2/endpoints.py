"""VPC endpoints: gateways in route tables, and interfaces in subnets."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

import functools
from typing import Any

from ministack.services import ec2

from simulators.aws import fabric, scope
from simulators.aws.durations import Durations
from simulators.aws.ec2.listing import Document, Guard, Listing, Operation, tags_given
from simulators.aws.identifiers import new_id
from simulators.aws.quotas import Quotas
from simulators.aws.refusals import Refusal
from simulators.aws.work import Work
from simulators.clock import Clock
from simulators.faults import Fault

_GATEWAY_SERVICES = ("s3", "dynamodb")


class Endpoints:
    """The operations on VPC endpoints."""

    def __init__(self, work: Work, clock: Clock, quotas: Quotas, durations: Durations) -> None:
        self._work = work
        self._clock = clock
        self._quotas = quotas
        self._durations = durations

    def operations(self) -> dict[str, Operation]:
        """Return the operations, keyed by name."""
        return {
            "CreateVpcEndpoint": self._create,
            "DescribeVpcEndpoints": _ENDPOINTS.describe,
            "DeleteVpcEndpoints": self._delete,
        }

    def guards(self) -> dict[str, Guard]:
        """Nothing is guarded here."""
        return {}

    def _create(self, parameters: Document) -> Document:
        """CreateVpcEndpoint."""
        kind = parameters.get("VpcEndpointType", "Gateway")
        vpc, service = parameters["VpcId"], parameters["ServiceName"]
        if vpc not in ec2._vpcs:
            raise Refusal("InvalidVpcId.NotFound", f"The Vpc Id {vpc} does not exist")
        self._validate_service(kind, service)
        tables, subnets = parameters.get("RouteTableIds") or [], parameters.get("SubnetIds") or []
        groups = parameters.get("SecurityGroupIds") or []
        _validate_places(vpc, tables=tables, subnets=subnets, groups=groups)
        if kind == "Gateway":
            self._validate_gateway(service, tables)
        else:
            self._validate_interface(vpc, service)
        if kind == "Interface" and not groups:
            groups = [ec2._vpcs[vpc]["DefaultSecurityGroupId"]]
        endpoint_id = new_id("vpce")
        interfaces = [
            fabric.add_interface(
                subnet,
                f"VPC Endpoint Interface {endpoint_id}",
                groups=groups,
                kind="vpc_endpoint",
                owner="amazon-vpc-endpoints",
            )["NetworkInterfaceId"]
            for subnet in subnets
        ]
        endpoint: dict[str, Any] = {
            "VpcEndpointId": endpoint_id,
            "VpcEndpointType": kind,
            "VpcId": vpc,
            "ServiceName": service,
            "State": "pending" if kind == "Interface" else "available",
            "PolicyDocument": parameters.get("PolicyDocument"),
            "RouteTableIds": tables,
            "SubnetIds": subnets,
            "Groups": [{"GroupId": group, "GroupName": ec2._security_groups[group]["GroupName"]} for group in groups],
            "PrivateDnsEnabled": kind == "Interface" and parameters.get("PrivateDnsEnabled", True),
            "RequesterManaged": False,
            "NetworkInterfaceIds": interfaces,
            "CreationTimestamp": self._clock.time(),
            "OwnerId": scope.current().account,
        }
        ec2._vpc_endpoints[endpoint_id] = endpoint
        fabric.set_tags(endpoint_id, tags_given(parameters, "vpc-endpoint"))
        if kind == "Interface":
            self._work.start(
                self._durations.vpc_endpoint,
                lambda: endpoint.update(State="available") if endpoint["State"] == "pending" else None,
                lambda fault: _become_failed(endpoint, fault),
            )
        return {"VpcEndpoint": _ENDPOINTS.complete(endpoint), "ClientToken": parameters.get("ClientToken")}

    def _validate_service(self, kind: str, service: str) -> None:
        prefix = f"com.amazonaws.{scope.current().region}."
        name = service.removeprefix(prefix)
        if not service.startswith(prefix) or (kind == "Gateway" and name not in _GATEWAY_SERVICES):
            message = f"The Vpc Endpoint Service '{service}' does not exist"
            raise Refusal("InvalidServiceName", message)

    def _validate_gateway(self, service: str, tables: list[str]) -> None:
        """Refuse a second gateway to the same service in one route table."""
        taken = {
            table
            for record in ec2._vpc_endpoints.values()
            if record["ServiceName"] == service and record["State"] not in ("deleting", "deleted")
            for table in record["RouteTableIds"]
        }
        if shared := taken & set(tables):
            message = f"route table {min(shared)} already has a route with destination-prefix-list-id of {service}"
            raise Refusal("RouteAlreadyExists", message)

    def _validate_interface(self, vpc: str, service: str) -> None:
        """Refuse a second endpoint under the service's private name, and more than the quota allows."""
        present = [
            record
            for record in ec2._vpc_endpoints.values()
            if record["VpcId"] == vpc and record["VpcEndpointType"] == "Interface" and record["State"] != "deleted"
        ]
        if any(record["ServiceName"] == service and record["PrivateDnsEnabled"] for record in present):
            message = f"private-dns-enabled cannot be set: there is already a conflicting DNS domain for {service}"
            raise Refusal("InvalidParameter", message)
        self._quotas.require(
            scope.current(), "vpc", "L-29B6F2EB", len(present) + 1,
            lambda _limit: Refusal("VpcEndpointLimitExceeded", "The maximum number of VPC endpoints has been reached."),
        )  # fmt: skip

    def _delete(self, parameters: Document) -> Document:
        """DeleteVpcEndpoints; those that cannot be deleted are in the answer."""
        unsuccessful = []
        for endpoint_id in parameters.get("VpcEndpointIds") or ():
            endpoint = ec2._vpc_endpoints.get(endpoint_id)
            if endpoint is None:
                message = f"The VpcEndpoint Id '{endpoint_id}' does not exist"
                error = {"Code": "InvalidVpcEndpoint.NotFound", "Message": message}
                unsuccessful.append({"ResourceId": endpoint_id, "Error": error})
            elif endpoint["State"] != "deleting":
                endpoint["State"] = "deleting"
                slow = endpoint["VpcEndpointType"] == "Interface"
                seconds = self._durations.vpc_endpoint_deletion if slow else 0.0
                self._work.start(seconds, functools.partial(_remove, endpoint))
        return {"Unsuccessful": unsuccessful}


def _validate_places(vpc: str, *, tables: list[str], subnets: list[str], groups: list[str]) -> None:
    """Refuse what does not exist in the VPC, and two subnets in one zone."""
    for table in tables:
        if (ec2._route_tables.get(table) or {}).get("VpcId") != vpc:
            raise Refusal("InvalidRouteTableId.NotFound", f"The routeTable ID '{table}' does not exist")
    for subnet in subnets:
        if (fabric.subnet(subnet) or {}).get("VpcId") != vpc:
            raise Refusal("InvalidSubnetId.NotFound", f"The subnet ID '{subnet}' does not exist")
    if len({fabric.zone_of(subnet) for subnet in subnets}) < len(subnets):
        raise Refusal("DuplicateSubnetsInSameZone", "Found another VPC endpoint subnet in the availability zone")
    for group in groups:
        if (fabric.security_group(group) or {}).get("VpcId") != vpc:
            raise Refusal("InvalidGroup.NotFound", f"The security group '{group}' does not exist")


def _become_failed(endpoint: dict[str, Any], fault: Fault) -> None:
    error = {"Code": fault.code or "InternalError", "Message": fault.message or "The endpoint could not be created"}
    endpoint.update(State="failed", LastError=error)


def _remove(endpoint: dict[str, Any]) -> None:
    fabric.remove_interfaces(endpoint["NetworkInterfaceIds"])
    ec2._vpc_endpoints.pop(endpoint["VpcEndpointId"], None)
    ec2._tags.pop(endpoint["VpcEndpointId"], None)


_ENDPOINTS = Listing(
    "VpcEndpoints", "VpcEndpointId", "VpcEndpointIds", "InvalidVpcEndpointId.NotFound", "Vpc Endpoint",
    ec2._vpc_endpoints.values,
    filters={"service-name": "ServiceName", "vpc-id": "VpcId", "vpc-endpoint-id": "VpcEndpointId",
             "vpc-endpoint-state": "State", "vpc-endpoint-type": "VpcEndpointType"},
)  # fmt: skip
