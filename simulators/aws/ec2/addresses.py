"""Elastic addresses and the NAT gateways that use them."""

# ministack keeps its records in module-level stores that have no public names.
# ruff: noqa: SLF001

from __future__ import annotations

from typing import Any

from ministack.services import ec2

from simulators.aws import fabric, identities, scope
from simulators.aws.context import report_no_effect
from simulators.aws.durations import Durations
from simulators.aws.ec2.listing import Document, Guard, Listing, Operation, tags_given
from simulators.aws.identifiers import new_id
from simulators.aws.quotas import Quotas
from simulators.aws.refusals import Refusal
from simulators.aws.work import Work
from simulators.clock import Clock
from simulators.faults import Fault

_REMEMBERED = 3600.0
"""Simulated seconds for which a deleted gateway is still described."""


class Addresses:
    """NAT gateways that take their time, and addresses that are not released while in use."""

    def __init__(self, work: Work, clock: Clock, quotas: Quotas, durations: Durations) -> None:
        self._work = work
        self._clock = clock
        self._quotas = quotas
        self._durations = durations

    def operations(self) -> dict[str, Operation]:
        """Return the operations, keyed by name."""
        return {
            "CreateNatGateway": self._create,
            "DescribeNatGateways": _NAT_GATEWAYS.describe,
            "DeleteNatGateway": self._delete,
            "DescribeAddresses": _describe_addresses,
        }

    def guards(self) -> dict[str, Guard]:
        """Return the checks, keyed by operation."""
        return {
            "AllocateAddress": self._check_new_address,
            "ReleaseAddress": _check_address_unused,
            "DisassociateAddress": _check_association_exists,
        }

    def _check_new_address(self, _parameters: Document) -> None:
        self._quotas.require(
            scope.current(), "ec2", "L-0263D0A3", len(ec2._addresses) + 1,
            lambda _limit: Refusal("AddressLimitExceeded", "The maximum number of addresses has been reached."),
        )  # fmt: skip

    def _create(self, parameters: Document) -> Document:
        """CreateNatGateway."""
        subnet, allocation = parameters.get("SubnetId", ""), parameters.get("AllocationId")
        home = fabric.subnet(subnet)
        kind = parameters.get("ConnectivityType", "public")
        if home is None:
            raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
        if kind == "public" and not allocation:
            raise Refusal("MissingParameter", "The request must contain the parameter AllocationId")
        address = ec2._addresses.get(allocation) if allocation else None
        if allocation and address is None:
            message = f"The elastic-ip ID '{allocation}' does not exist"
            raise Refusal("InvalidAllocationID.NotFound", message)
        if address is not None and address["AssociationId"]:
            raise Refusal("Resource.AlreadyAssociated", f"Elastic IP address [{allocation}] is already associated")
        self._check_room(home["AvailabilityZone"])
        identities.require_service_linked_role("natgateway.amazonaws.com")
        gateway_id = new_id("nat")
        interface = fabric.add_interface(
            subnet, f"Interface for NAT Gateway {gateway_id}", kind="nat_gateway", owner="amazon-vpc-nat"
        )
        if address is not None:
            address["AssociationId"] = new_id("eipassoc")
            address["NetworkInterfaceId"] = interface["NetworkInterfaceId"]
            address["PrivateIpAddress"] = interface["PrivateIpAddress"]
        gateway: dict[str, Any] = {
            "NatGatewayId": gateway_id,
            "SubnetId": subnet,
            "VpcId": home["VpcId"],
            "AllocationId": allocation,
            "ConnectivityType": kind,
            "State": "pending",
            "CreateTime": self._clock.time(),
            "NatGatewayAddresses": [
                {
                    "AllocationId": allocation,
                    "NetworkInterfaceId": interface["NetworkInterfaceId"],
                    "PrivateIp": interface["PrivateIpAddress"],
                    "PublicIp": address["PublicIp"] if address is not None else None,
                    "AssociationId": address["AssociationId"] if address is not None else None,
                    "IsPrimary": True,
                    "Status": "succeeded",
                }
            ],
        }
        ec2._nat_gateways[gateway_id] = gateway
        fabric.set_tags(gateway_id, tags_given(parameters, "natgateway"))

        def become_available() -> None:
            if gateway["State"] == "pending":
                gateway["State"] = "available"

        def become_failed(fault: Fault) -> None:
            message = fault.message or "Subnet has insufficient free addresses to create this NAT gateway"
            code = fault.code or "InsufficientFreeAddressesInSubnet"
            code = fault.code or "InsufficientFreeAddressesInSubnet"
            gateway.update(State="failed", FailureCode=code, FailureMessage=message)
            _release(gateway)

        self._work.start(self._durations.nat_gateway, become_available, become_failed)
        return {"NatGateway": _NAT_GATEWAYS.complete(gateway), "ClientToken": parameters.get("ClientToken")}

    def _check_room(self, zone: str) -> None:
        present = [
            record
            for record in ec2._nat_gateways.values()
            if record["State"] in ("pending", "available", "deleting")
            and (fabric.subnet(record["SubnetId"]) or {}).get("AvailabilityZone") == zone
        ]
        self._quotas.require(
            scope.current(), "vpc", "L-FE5A380F", len(present) + 1,
            lambda limit: Refusal(
                "NatGatewayLimitExceeded",
                f"Performing this operation would exceed the limit of {limit:.0f} NAT gateways",
            ),
        )  # fmt: skip

    def _delete(self, parameters: Document) -> Document:
        """DeleteNatGateway; deleting one that is on its way out changes nothing."""
        gateway_id = parameters.get("NatGatewayId", "")
        gateway = ec2._nat_gateways.get(gateway_id)
        if gateway is None:
            raise Refusal("NatGatewayNotFound", f"The Nat Gateway {gateway_id} was not found")
        if gateway["State"] in ("deleting", "deleted"):
            report_no_effect()
            return {"NatGatewayId": gateway_id}
        gateway["State"] = "deleting"

        def become_deleted() -> None:
            _release(gateway)
            gateway.update(State="deleted", DeleteTime=self._clock.time())
            for table in ec2._route_tables.values():
                for route in table["Routes"]:
                    if route.get("NatGatewayId") == gateway_id:
                        route["State"] = "blackhole"
            self._work.start(_REMEMBERED, lambda: _forget(gateway_id))

        self._work.start(self._durations.nat_gateway_deletion, become_deleted)
        return {"NatGatewayId": gateway_id}


def _release(gateway: dict[str, Any]) -> None:
    """Give back the interface of a gateway, and its address to whom it was allocated."""
    for entry in gateway["NatGatewayAddresses"]:
        fabric.remove_interfaces([entry["NetworkInterfaceId"]])
        address = ec2._addresses.get(entry["AllocationId"]) if entry["AllocationId"] else None
        if address is not None and address["AssociationId"] == entry["AssociationId"]:
            address.update(AssociationId=None, NetworkInterfaceId=None, PrivateIpAddress=None)


def _forget(gateway_id: str) -> None:
    ec2._nat_gateways.pop(gateway_id, None)
    ec2._tags.pop(gateway_id, None)


_NAT_GATEWAYS = Listing(
    "NatGateways", "NatGatewayId", "NatGatewayIds", "NatGatewayNotFound", "Nat Gateway",
    ec2._nat_gateways.values,
    filters={"nat-gateway-id": "NatGatewayId", "state": "State", "subnet-id": "SubnetId", "vpc-id": "VpcId"},
)  # fmt: skip

_ADDRESSES = Listing(
    "Addresses", "AllocationId", "AllocationIds", "InvalidAllocationID.NotFound", "elastic-ip",
    ec2._addresses.values,
    filters={"allocation-id": "AllocationId", "association-id": "AssociationId", "domain": "Domain",
             "instance-id": "InstanceId", "network-interface-id": "NetworkInterfaceId", "public-ip": "PublicIp",
             "private-ip-address": "PrivateIpAddress"},
)  # fmt: skip


def _describe_addresses(parameters: Document) -> Document:
    """DescribeAddresses, also by public address."""
    described = _ADDRESSES.describe(parameters)
    wanted = parameters.get("PublicIps")
    if wanted:
        described["Addresses"] = [entry for entry in described["Addresses"] if entry["PublicIp"] in wanted]
        if not described["Addresses"]:
            raise Refusal("InvalidAddress.NotFound", f"Address '{wanted[0]}' not found.")
    return described


def _check_address_unused(parameters: Document) -> None:
    allocation = parameters.get("AllocationId", "")
    address = ec2._addresses.get(allocation)
    if address is None:
        raise Refusal("InvalidAllocationID.NotFound", f"The allocation ID '{allocation}' does not exist")
    if address["AssociationId"]:
        raise Refusal("InvalidIPAddress.InUse", f"Address {address['PublicIp']} is in use.")


def _check_association_exists(parameters: Document) -> None:
    association = parameters.get("AssociationId", "")
    for address in ec2._addresses.values():
        if address["AssociationId"] == association:
            if address["NetworkInterfaceId"] and not address["InstanceId"]:
                raise Refusal("AuthFailure", "You do not have permission to access the specified resource.", 403)
            return
    raise Refusal("InvalidAssociationID.NotFound", f"The association ID '{association}' does not exist")
