"""A network of the customer's own, verified for what a deployment needs and never changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from activities.aws.ec2 import ROUTE_TABLE, SUBNET, VPC, DeploymentEc2, Description, tags_of
from activities.failures import refused
from domain.deployment import ExistingNetwork
from domain.facts import Network
from domain.failure import FailureClass

FREE_PRIVATE_ADDRESSES = 100
"""At least so many in each private subnet: nodes, control plane and every pod take one each."""
FREE_PUBLIC_ADDRESSES = 8
"""At least so many in each public subnet (Elastic Load Balancing user guide, "Subnets")."""

PRIVATE_ROLE = "kubernetes.io/role/internal-elb"
PUBLIC_ROLE = "kubernetes.io/role/elb"
"""Tags by which the load balancer controller finds the subnets for internal and for public load balancers."""

_ANYWHERE = "0.0.0.0/0"


def verified_network(ec2: DeploymentEc2, existing: ExistingNetwork, zones: Sequence[str]) -> Network:
    """Return the customer's network with its subnets in the order of `zones`.

    Raises:
        CONFIG: something is not as it has to be; the message names every finding.
    """
    vpc = next(iter(ec2.matching(VPC, {"vpc-id": existing.network_id})), None)
    subnets = {subnet["SubnetId"]: subnet for subnet in ec2.matching(SUBNET, {"vpc-id": existing.network_id})}
    tables = ec2.matching(ROUTE_TABLE, {"vpc-id": existing.network_id})
    findings = [*_about_vpc(ec2, existing, vpc), *_about_subnets(existing, subnets, tables, zones)]
    if findings:
        message = f"The network {existing.network_id} cannot be used: {'; '.join(findings)}"
        raise refused(FailureClass.CONFIG, message, resource=existing.network_id)
    return Network(
        network_id=existing.network_id,
        private_subnet_ids=_in_order(existing.private_subnet_ids, subnets, zones),
        public_subnet_ids=_in_order(existing.public_subnet_ids, subnets, zones),
        ours=False,
    )


def _in_order(ids: Sequence[str], subnets: dict[str, Description], zones: Sequence[str]) -> tuple[str, ...]:
    """Return one subnet for each zone."""
    by_zone = {subnets[subnet_id]["AvailabilityZone"]: subnet_id for subnet_id in reversed(ids)}
    return tuple(by_zone[zone] for zone in zones if zone in by_zone)


def _about_vpc(ec2: DeploymentEc2, existing: ExistingNetwork, vpc: Description | None) -> Iterator[str]:
    if vpc is None:
        yield f"it does not exist in {ec2.site.region}"
        return
    for attribute, key in (("enableDnsSupport", "EnableDnsSupport"), ("enableDnsHostnames", "EnableDnsHostnames")):
        reply = ec2.client.describe_vpc_attribute(VpcId=existing.network_id, Attribute=attribute)
        if not reply[key]["Value"]:
            yield f"{attribute} is off, which private endpoints of the cluster need"


def _about_subnets(
    existing: ExistingNetwork, subnets: dict[str, Description], tables: Sequence[Description], zones: Sequence[str]
) -> Iterator[str]:
    for ids, role, free, tag in (
        (existing.private_subnet_ids, "private", FREE_PRIVATE_ADDRESSES, PRIVATE_ROLE),
        (existing.public_subnet_ids, "public", FREE_PUBLIC_ADDRESSES, PUBLIC_ROLE),
    ):
        for subnet_id in ids:
            if subnet_id not in subnets:
                yield f"the {role} subnet {subnet_id} is not in it"
                continue
            subnet = subnets[subnet_id]
            available = subnet["AvailableIpAddressCount"]
            if available < free:
                yield f"the {role} subnet {subnet_id} has {available} free addresses, needs {free}"
            if tags_of(subnet).get(tag) != "1":
                yield f"the {role} subnet {subnet_id} lacks the tag {tag}=1, by which load balancers find it"
            target = _way_out(subnet_id, tables)
            if role == "public" and not target.startswith("igw-"):
                yield f"the public subnet {subnet_id} has no route to an internet gateway"
            if role == "private" and (not target or target.startswith("igw-")):
                yield f"the private subnet {subnet_id} has no route to the internet through a NAT or transit gateway"
        covered = {subnets[subnet_id]["AvailabilityZone"] for subnet_id in ids if subnet_id in subnets}
        if ids and (missing := [zone for zone in zones if zone not in covered]):
            yield f"it has no {role} subnet in {', '.join(missing)}"
    if not existing.private_subnet_ids:
        yield "no private subnets are named"


def _way_out(subnet: str, tables: Sequence[Description]) -> str:
    """Return the id of what the subnet's default route leads to, empty if it has none; else the main table decides."""
    own = [t for t in tables if any(each.get("SubnetId") == subnet for each in t.get("Associations", ()))]
    main = [t for t in tables if any(each.get("Main") for each in t.get("Associations", ()))]
    for table in (own or main)[:1]:
        for route in table.get("Routes", ()):
            if route.get("DestinationCidrBlock") == _ANYWHERE:
                targets = ("GatewayId", "NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "InstanceId")
                return next((str(route[key]) for key in targets if route.get(key)), "")
    return ""
