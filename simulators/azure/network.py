"""Microsoft.Network: virtual networks and what surrounds them."""

from __future__ import annotations

import copy
import ipaddress
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulators.azure.api import Check, Request
from simulators.azure.cloud import Cloud
from simulators.azure.ids import ResourceId
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, conflict, invalid

_SUBNET = "Microsoft.Network/virtualNetworks/subnets"
_RESERVED_ADDRESSES = 5
_PUBLIC_ADDRESSES = int(ipaddress.IPv4Address("20.50.0.0"))


@dataclass(frozen=True)
class NetworkKind(Kind):
    """What all types of Microsoft.Network have in common."""

    seconds: str = "network"
    tag: str = "etag"
    creating: str = "Updating"


@dataclass(frozen=True)
class Subnet(NetworkKind):
    """A range of a virtual network."""

    type: str = _SUBNET
    regional: bool = False
    in_use: str = "InUseSubnetCannotBeDeleted"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse a range outside the network, one that overlaps a sibling's, and a change beside another change."""
        del before
        network = cloud.records.get(record.id.parent.key if record.id.parent is not None else "")
        assert network is not None
        siblings = [entry for entry in cloud.records.of_type(_SUBNET, network.id.text) if entry.id.key != record.id.key]
        if request.resource.lower() == record.id.key:
            self._refuse_busy(siblings)
        ranges = list(_prefixes(record.properties))
        if not ranges:
            raise invalid("InvalidRequestFormat", "A subnet needs an addressPrefix.", "properties.addressPrefix")
        spaces = [_range(text) for text in network.properties["addressSpace"]["addressPrefixes"]]
        for given in ranges:
            if not any(given.subnet_of(space) for space in spaces):
                message = f"Subnet '{record.id.name}' is not valid because its IP address range is outside the IP"
                text = f"{message} address range of virtual network '{network.id.name}'."
                raise invalid("NetcfgInvalidSubnet", text)
            for sibling in siblings:
                if any(given.overlaps(other) for other in _prefixes(sibling.properties)):
                    message = f"Subnet '{record.id.name}' is not valid because its IP address range overlaps with that"
                    raise invalid("NetcfgSubnetRangesOverlap", f"{message} of '{sibling.id.name}'.")
        record.properties.setdefault("privateEndpointNetworkPolicies", "Disabled")
        record.properties.setdefault("privateLinkServiceNetworkPolicies", "Enabled")

    def _refuse_busy(self, siblings: list[Record]) -> None:
        """Refuse a change beside another change in the same network."""
        for sibling in siblings:
            if sibling.busy:
                message = f"Another operation on this or dependent resource is in progress: {sibling.id.text}."
                raise conflict(self.busy, message)


SUBNET = Subnet()


@dataclass(frozen=True)
class VirtualNetwork(NetworkKind):
    """A network; its subnets can be written with it."""

    type: str = "Microsoft.Network/virtualNetworks"
    in_use: str = "InUseSubnetCannotBeDeleted"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Bring the subnets in line where the request names any."""
        del before
        prefixes = (record.properties.get("addressSpace") or {}).get("addressPrefixes") or []
        if not prefixes:
            raise invalid("InvalidRequestFormat", "A virtual network needs an address space.", "addressSpace")
        for text in prefixes:
            _range(text)
        given = record.properties.pop("subnets", None)
        if given is None:
            return
        wanted = {f"{record.id.key}/subnets/{subnet['name']}".lower(): subnet for subnet in given}
        self._remove_others(cloud, record, wanted)
        network = cloud.records.get(record.id.key)
        added = network is None
        if network is None:
            # The subnets look at their network.
            network = cloud.records.add(record)
        try:
            for subnet in wanted.values():
                self._write(cloud, request, record.id, subnet)
        except Exception:
            if added:
                cloud.records.remove(record)
            raise

    @staticmethod
    def _remove_others(cloud: Cloud, record: Record, wanted: dict[str, Json]) -> None:
        """Remove the subnets that are no longer wanted, or refuse where one is in use."""
        for former in cloud.records.of_type(_SUBNET, record.id.text):
            if former.id.key not in wanted:
                if next(cloud.records.users_of(former), None) is not None:
                    message = f"Subnet {former.id.name} is in use and cannot be deleted."
                    raise invalid("InUseSubnetCannotBeDeleted", message)
                cloud.records.remove(former)

    @staticmethod
    def _write(cloud: Cloud, request: Request, network: ResourceId, subnet: Json) -> None:
        resource = ResourceId(network.scope, network.namespace, (*network.parts, "subnets", subnet["name"]))
        document = {
            "id": resource.text,
            "name": subnet["name"],
            "type": _SUBNET,
            "properties": copy.deepcopy(subnet.get("properties") or {}),
        }
        made = Record(resource, SUBNET, document)
        SUBNET.prepare(cloud, request, made, None)
        cloud.records.add(made)
        made.settle()

    def shown(self, cloud: Cloud, record: Record) -> Json:
        """Return the network with its subnets."""
        document = copy.deepcopy(record.document)
        subnets = [
            copy.deepcopy(subnet.document) | {"etag": f'W/"{subnet.etag}"'}
            for subnet in cloud.records.of_type(_SUBNET, record.id.text)
        ]
        document["properties"] |= {"subnets": subnets, "virtualNetworkPeerings": []}
        document["properties"].setdefault("enableDdosProtection", False)
        return document


@dataclass(frozen=True)
class PublicAddress(NetworkKind):
    """A public address; a static one is known as soon as it is made."""

    type: str = "Microsoft.Network/publicIPAddresses"
    seconds: str = "public_address"
    in_use: str = "PublicIPAddressCannotBeDeleted"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse a standard address that is not static; keep the address of one that exists."""
        del cloud, request
        record.document.setdefault("sku", {"name": "Basic", "tier": "Regional"})
        record.properties.setdefault("publicIPAddressVersion", "IPv4")
        record.properties.setdefault("publicIPAllocationMethod", "Dynamic")
        if record.document["sku"]["name"] != "Basic" and record.properties["publicIPAllocationMethod"] != "Static":
            message = f"Standard sku publicIp {record.id.text} must have AllocationMethod set to Static."
            raise invalid("StandardSkuPublicIPMustBeStatic", message)
        if before is not None and "ipAddress" in before["properties"]:
            record.properties["ipAddress"] = before["properties"]["ipAddress"]

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Give it an address that no other one has."""
        taken = {entry.properties.get("ipAddress") for entry in cloud.records.of_type(self.type)}
        number = _PUBLIC_ADDRESSES + zlib.crc32(record.id.key.encode()) % 2**16
        while "ipAddress" not in record.properties:
            text = str(ipaddress.IPv4Address(number))
            if text not in taken:
                record.properties["ipAddress"] = text
            number += 1


@dataclass(frozen=True)
class NatGateway(NetworkKind):
    """A NAT gateway."""

    type: str = "Microsoft.Network/natGateways"
    seconds: str = "nat"
    in_use: str = "InUseNatGatewayCannotBeDeleted"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse addresses that are not standard ones."""
        del request, before
        record.document.setdefault("sku", {"name": "Standard"})
        for address in record.properties.get("publicIpAddresses") or ():
            found = cloud.records.get(address["id"])
            if found is not None and found.document["sku"]["name"] == "Basic":
                message = f"Basic SKU public IP address {found.id.text} cannot be used by a NAT gateway."
                raise invalid("NatGatewayPublicIpSkuNotSupported", message)

    def shown(self, cloud: Cloud, record: Record) -> Json:
        """Return the gateway with the subnets that use it."""
        subnets = [user.id.text for user in cloud.records.users_of(record) if user.kind.type == _SUBNET]
        return _using(record, subnets)


@dataclass(frozen=True)
class SecurityGroup(NetworkKind):
    """A network security group; its rules are written with it."""

    type: str = "Microsoft.Network/networkSecurityGroups"
    in_use: str = "InUseNetworkSecurityGroupCannotBeDeleted"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse two rules of one priority and direction."""
        del cloud, request, before
        seen: set[tuple[str, int]] = set()
        for rule in record.properties.setdefault("securityRules", []):
            key = (rule["properties"]["direction"], int(rule["properties"]["priority"]))
            if key in seen:
                message = f"Security rule {rule['name']} conflicts with another rule of priority {key[1]}."
                raise invalid("SecurityRuleConflict", message)
            seen.add(key)
            rule["id"] = f"{record.id.text}/securityRules/{rule['name']}"
            rule["properties"]["provisioningState"] = "Succeeded"

    def shown(self, cloud: Cloud, record: Record) -> Json:
        """Return the group with the subnets that use it."""
        return _using(record, [user.id.text for user in cloud.records.users_of(record) if user.kind.type == _SUBNET])


@dataclass(frozen=True)
class LoadBalancer(NetworkKind):
    """A load balancer; its parts are written with it."""

    type: str = "Microsoft.Network/loadBalancers"
    seconds: str = "load_balancer"
    in_use: str = "InUseLoadBalancerCannotBeDeleted"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Give every part its id."""
        del request, before
        self.finish(cloud, record)

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Give every part its id, whoever made the load balancer."""
        del cloud
        for collection in ("frontendIPConfigurations", "backendAddressPools", "loadBalancingRules", "probes"):
            for part in record.properties.setdefault(collection, []):
                part["id"] = f"{record.id.text}/{collection}/{part['name']}"
                part.setdefault("properties", {})["provisioningState"] = "Succeeded"


@dataclass(frozen=True)
class PrivateEndpoint(NetworkKind):
    """An address in a subnet that leads to a service."""

    type: str = "Microsoft.Network/privateEndpoints"
    seconds: str = "private_endpoint"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Approve the connections."""
        del cloud, request, before
        for connection in record.properties.get("privateLinkServiceConnections") or ():
            state = {"status": "Approved", "description": "Auto-Approved", "actionsRequired": "None"}
            connection["properties"] |= {"privateLinkServiceConnectionState": state, "provisioningState": "Succeeded"}

    def checks(self, request: Request, cloud: Cloud, resource: ResourceId) -> Iterator[Check]:
        """Yield the approval on each service that it leads to."""
        del cloud, resource
        for connection in (request.body.get("properties") or {}).get("privateLinkServiceConnections") or ():
            target = str(connection["properties"]["privateLinkServiceId"])
            parts = target.partition("/providers/")[2].split("/")
            yield Check(f"{parts[0]}/{parts[1]}/privateEndpointConnectionsApproval/action", target)


KINDS: tuple[Kind, ...] = (
    VirtualNetwork(),
    SUBNET,
    PublicAddress(),
    NatGateway(),
    SecurityGroup(),
    NetworkKind("Microsoft.Network/routeTables", in_use="InUseRouteTableCannotBeDeleted"),
    LoadBalancer(),
    PrivateEndpoint(),
)


def _using(record: Record, subnets: list[str]) -> Json:
    document = copy.deepcopy(record.document)
    document["properties"]["subnets"] = [{"id": subnet} for subnet in subnets]
    return document


def _prefixes(properties: Json) -> Iterator[ipaddress.IPv4Network]:
    texts: list[Any] = properties.get("addressPrefixes") or [properties.get("addressPrefix")]
    for text in texts:
        if text:
            yield _range(str(text))


def _range(text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise invalid("InvalidAddressPrefixFormat", f"Address prefix {text} is formatted incorrectly.") from error
