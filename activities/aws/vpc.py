"""The VPC of a deployment, over several zones, with a private and a public subnet in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from temporalio import activity

from activities.aws.customer_network import PRIVATE_ROLE, PUBLIC_ROLE, verified_network
from activities.aws.ec2 import ROUTE_TABLE, SUBNET, VPC, DeploymentEc2, Description, Ec2Part
from activities.aws.errors import failures_named
from activities.aws.existence import gone_is_success
from activities.aws.ownership import as_tag_list
from activities.contracts import NetworkContract, NetworkRequest
from activities.failures import refused
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Network
from domain.failure import FailureClass
from domain.naming import token

PUBLIC_ROUTES = "public-routes"
"""The part that the public subnets' route table plays."""


def private_routes(zone: str) -> str:
    """Return the part that the route table of a zone's private subnet plays: each zone goes out by its own gateway."""
    return f"private-routes-{zone}"


@dataclass(frozen=True)
class _SubnetWanted:
    """One subnet as planned."""

    role: str
    """`private` or `public`."""
    zone: str
    cidr: str

    @property
    def resource(self) -> str:
        """The part that it plays in the deployment, `private-eu-west-1a`."""
        return f"{self.role}-{self.zone}"

    @property
    def role_tag(self) -> dict[str, str]:
        """The tag by which the load balancer controller finds it."""
        return {PUBLIC_ROLE if self.role == "public" else PRIVATE_ROLE: "1"}


class AwsVpc(Ec2Part, NetworkContract):
    """Makes VPC, subnets and route tables, and takes them away; verifies the customer's own and leaves it as it is."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:AssociateRouteTable", "ec2:CreateRouteTable", "ec2:CreateSubnet", "ec2:CreateTags", "ec2:CreateVpc",
        "ec2:DeleteVpc", "ec2:DescribeRouteTables", "ec2:DescribeSubnets", "ec2:DescribeVpcAttribute",
        "ec2:DescribeVpcs", "ec2:ModifyVpcAttribute",
        purpose=Purpose.OPERATE, why="Make VPC, subnets and route tables",
    )  # fmt: skip
    def create_network(self, request: NetworkRequest) -> Network:
        """One VPC with DNS exists, and in each zone a private and a public subnet, each with a route table.

        The customer's own network is verified instead, and every finding is in one error.
        """
        site, plan = request.site, request.addresses
        with failures_named():
            ec2 = self._ec2(site, Purpose.OPERATE)
            if request.network.existing is not None:
                return verified_network(ec2, request.network.existing, request.placement.zones)
            network = self._ensure_vpc(ec2, plan.cidr)
            known = ec2.by_resource(SUBNET)
            zones = request.placement.zones
            private, public = (
                [
                    self._ensure_subnet(ec2, network, _SubnetWanted(role, zone, cidr), known)
                    for zone, cidr in zip(zones, cidrs, strict=True)
                ]
                for role, cidrs in (("private", plan.private_cidrs), ("public", plan.public_cidrs))
            )
            tables = ec2.by_resource(ROUTE_TABLE)
            self._ensure_route_table(ec2, network, PUBLIC_ROUTES, public, tables)
            for zone, subnet in zip(zones, private, strict=True):
                self._ensure_route_table(ec2, network, private_routes(zone), [subnet], tables)
        return Network(network_id=network, private_subnet_ids=tuple(private), public_subnet_ids=tuple(public))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:DeleteRouteTable", "ec2:DeleteSubnet", "ec2:DeleteVpc", "ec2:DescribeRouteTables", "ec2:DescribeSubnets",
        "ec2:DescribeVpcs", "ec2:DisassociateRouteTable",
        purpose=Purpose.DELETE, why="Delete VPC, subnets and route tables",
    )  # fmt: skip
    def delete_network(self, site: Site) -> None:
        """No VPC, subnet or route table carries our tags any more; what is still in use is looked at again."""
        with failures_named():
            ec2 = self._ec2(site, Purpose.DELETE)
            for table in ec2.ours(ROUTE_TABLE):
                for association in table.get("Associations", ()):
                    with gone_is_success():
                        ec2.client.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
                with gone_is_success():
                    ec2.client.delete_route_table(RouteTableId=table["RouteTableId"])
            for subnet in ec2.ours(SUBNET):
                with gone_is_success():
                    ec2.client.delete_subnet(SubnetId=subnet["SubnetId"])
            # An aborted creation may have made a VPC that is not seen yet.
            for network in ec2.eventually(lambda: ec2.ours(VPC) or None) or ():
                with gone_is_success():
                    ec2.client.delete_vpc(VpcId=network["VpcId"])

    def _ensure_vpc(self, ec2: DeploymentEc2, cidr: str) -> str:
        """Return the id of the VPC, available and with DNS.

        EC2 has no token for VPCs. Should a lost reply have left several, the one with our subnets stays; the others are
        empty, because nothing is made in a VPC before its id is known.
        """
        found = ec2.ours(VPC)
        if len(found) > 1:
            in_use = {subnet["VpcId"] for subnet in ec2.ours(SUBNET)}
            found.sort(key=lambda vpc: vpc["VpcId"] not in in_use)
            for duplicate in found[1:]:
                ec2.client.delete_vpc(VpcId=duplicate["VpcId"])
        vpc = ec2.found_or_made(
            VPC,
            "network",
            lambda **tags: ec2.client.create_vpc(CidrBlock=cidr, **tags)["Vpc"],
            known={"network": found[0]} if found else {},
        )
        if vpc["CidrBlock"] != cidr:
            message = f"{vpc['VpcId']} has the range {vpc['CidrBlock']}, not {cidr}; a network cannot change its range"
            raise refused(FailureClass.CONFIG, message, resource=vpc["VpcId"])
        network = str(vpc["VpcId"])
        # DNS support first: hostnames cannot be switched on without it.
        for attribute, parameter in (
            ("enableDnsSupport", "EnableDnsSupport"),
            ("enableDnsHostnames", "EnableDnsHostnames"),
        ):
            self._ensure_vpc_attribute(ec2, network, attribute, parameter)
        return network

    def _ensure_vpc_attribute(self, ec2: DeploymentEc2, network: str, attribute: str, parameter: str) -> None:
        reply = ec2.once_found(lambda: ec2.client.describe_vpc_attribute(VpcId=network, Attribute=attribute))
        if not reply[parameter]["Value"]:
            ec2.client.modify_vpc_attribute(VpcId=network, **{parameter: {"Value": True}})

    def _ensure_subnet(
        self, ec2: DeploymentEc2, network: str, wanted: _SubnetWanted, known: Mapping[str, Description]
    ) -> str:
        """Return the id of one subnet, tagged for its role with load balancers."""

        def make(**tags: list[Description]) -> Description:
            (specification,) = tags["TagSpecifications"]
            all_tags = [*specification["Tags"], *as_tag_list(wanted.role_tag)]
            # A VPC has each range once, so there is never a second subnet.
            with self._unless_not_listed_yet(f"the subnet {wanted.resource}", "InvalidSubnet.Conflict"):
                subnet: Description = ec2.once_found(
                    lambda: ec2.client.create_subnet(
                        VpcId=network,
                        CidrBlock=wanted.cidr,
                        AvailabilityZone=wanted.zone,
                        TagSpecifications=[{**specification, "Tags": all_tags}],
                    )
                )["Subnet"]
            return subnet

        subnet = ec2.found_or_made(SUBNET, wanted.resource, make, known)
        if (subnet["VpcId"], subnet["CidrBlock"]) != (network, wanted.cidr):
            message = (
                f"{subnet['SubnetId']} has the range {subnet['CidrBlock']} in {subnet['VpcId']}, not {wanted.cidr}"
            )
            raise refused(FailureClass.CONFIG, message, resource=subnet["SubnetId"])
        ec2.ensure_tags(SUBNET, subnet, wanted.role_tag)
        return str(subnet["SubnetId"])

    def _ensure_route_table(
        self, ec2: DeploymentEc2, network: str, resource: str, subnets: Sequence[str], known: Mapping[str, Description]
    ) -> None:
        """Make the table, and let `subnets` use it."""
        table = ec2.found_or_made(
            ROUTE_TABLE,
            resource,
            lambda **tags: ec2.client.create_route_table(
                VpcId=network, ClientToken=token(ec2.site, f"{resource}-in-{network}"), **tags
            )["RouteTable"],
            known,
        )
        table_id = table["RouteTableId"]
        associated = {association.get("SubnetId") for association in table.get("Associations", ())}
        for subnet in subnets:
            if subnet not in associated:
                # Associating a subnet again moves it: a lost reply leaves no trace.
                associate = partial(ec2.client.associate_route_table, RouteTableId=table_id, SubnetId=subnet)
                ec2.once_found(associate)
