"""The ways out of a deployment's network: the internet gateway, a NAT gateway for each zone, and the routes to them."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio import activity

from activities.aws.ec2 import (
    ADDRESS,
    INTERNET_GATEWAY,
    NAT_GATEWAY,
    ROUTE_TABLE,
    SUBNET,
    DeploymentEc2,
    Description,
    Ec2Part,
    already_done,
    state_of,
    tags_of,
)
from activities.aws.errors import failures_named
from activities.aws.existence import gone_is_success
from activities.aws.vpc import PUBLIC_ROUTES, private_routes
from activities.contracts import InNetwork, NetworkContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import TAG_RESOURCE

ANYWHERE = "0.0.0.0/0"


class AwsEgress(Ec2Part, NetworkContract):
    """Makes gateways, their addresses and routes, and takes them away."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:AllocateAddress", "ec2:AttachInternetGateway", "ec2:CreateInternetGateway", "ec2:CreateNatGateway",
        "ec2:CreateRoute", "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DescribeAddresses",
        "ec2:DescribeInternetGateways", "ec2:DescribeNatGateways", "ec2:DescribeRouteTables", "ec2:DescribeSubnets",
        "ec2:ReleaseAddress", "ec2:ReplaceRoute",
        purpose=Purpose.OPERATE, why="Make internet gateway, NAT gateways and routes",
    )  # fmt: skip
    def create_egress(self, request: InNetwork) -> None:
        """Public subnets reach the internet directly, private ones through an available NAT gateway of their zone."""
        if not request.network.ours:
            return
        site, network = request.site, request.network
        with failures_named():
            ec2 = self._ec2(site, Purpose.OPERATE)
            subnets = ec2.by_id(SUBNET, network.public_subnet_ids)
            by_zone = {str(subnets[subnet]["AvailabilityZone"]): subnet for subnet in network.public_subnet_ids}
            tables = ec2.parts(ROUTE_TABLE, [PUBLIC_ROUTES, *map(private_routes, by_zone)])
            gateway = self._ensure_internet_gateway(ec2, network.network_id)
            # All gateways are begun before any is waited for: each takes minutes.
            gateways = self._ensure_nat_gateways(ec2, by_zone)
            _ensure_route(ec2, tables[PUBLIC_ROUTES], GatewayId=gateway)
            pending = [zone for zone, nat in gateways.items() if state_of(nat) != "available"]
            if pending:
                raise self._look_again(f"the NAT gateways of {', '.join(pending)} are not available yet")
            for zone, nat in gateways.items():
                _ensure_route(ec2, tables[private_routes(zone)], NatGatewayId=nat["NatGatewayId"])

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DescribeAddresses",
        "ec2:DescribeInternetGateways", "ec2:DescribeNatGateways", "ec2:DescribeRouteTables",
        "ec2:DetachInternetGateway", "ec2:ReleaseAddress",
        purpose=Purpose.DELETE, why="Delete internet gateway, NAT gateways and routes",
    )  # fmt: skip
    def delete_egress(self, site: Site) -> None:
        """No route of ours leads out, and no gateway or address carries our tags any more."""
        with failures_named():
            ec2 = self._ec2(site, Purpose.DELETE)
            for nat in ec2.ours(NAT_GATEWAY):
                with gone_is_success():
                    ec2.client.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
            for table in ec2.ours(ROUTE_TABLE):
                if _route_out(table) is not None:
                    with gone_is_success():
                        ec2.client.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock=ANYWHERE)
            on_their_way_out = [nat["NatGatewayId"] for nat in ec2.matching(NAT_GATEWAY, {"state": "deleting"})
                                if ec2.is_ours(nat)]  # fmt: skip
            if on_their_way_out:
                raise self._look_again(f"NAT gateways are still being deleted: {', '.join(on_their_way_out)}")
            for address in ec2.ours(ADDRESS):
                with gone_is_success():
                    ec2.client.release_address(AllocationId=address["AllocationId"])
            for gateway in ec2.ours(INTERNET_GATEWAY):
                self._delete_internet_gateway(ec2, gateway)

    def _ensure_internet_gateway(self, ec2: DeploymentEc2, network: str) -> str:
        """Return the id of the internet gateway, attached; a duplicate that a lost reply left is deleted.

        Such a one was never attached: its id was not learnt.
        """
        found = sorted(ec2.ours(INTERNET_GATEWAY), key=lambda each: not each.get("Attachments"))
        for duplicate in found[1:]:
            if not duplicate.get("Attachments"):
                self._delete_internet_gateway(ec2, duplicate)
        gateway = ec2.found_or_made(
            INTERNET_GATEWAY,
            "internet-gateway",
            lambda **tags: ec2.client.create_internet_gateway(**tags)["InternetGateway"],
            known={"internet-gateway": found[0]} if found else {},
        )
        gateway_id = str(gateway["InternetGatewayId"])
        if network not in {attachment["VpcId"] for attachment in gateway.get("Attachments", ())}:
            with already_done("Resource.AlreadyAssociated"):
                ec2.once_found(lambda: ec2.client.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=network))
        return gateway_id

    def _delete_internet_gateway(self, ec2: DeploymentEc2, gateway: Description) -> None:
        gateway_id = gateway["InternetGatewayId"]
        for attachment in gateway.get("Attachments", ()):
            with gone_is_success(), already_done("Gateway.NotAttached"):
                ec2.client.detach_internet_gateway(InternetGatewayId=gateway_id, VpcId=attachment["VpcId"])
        with gone_is_success():
            ec2.client.delete_internet_gateway(InternetGatewayId=gateway_id)

    def _ensure_nat_gateways(self, ec2: DeploymentEc2, subnets: Mapping[str, str]) -> dict[str, Description]:
        """Return a NAT gateway for each zone, keyed by zone as `subnets` is; one that failed is replaced."""
        addresses, gateways = self._settled_addresses(ec2), ec2.ours(NAT_GATEWAY)
        for gateway in gateways:
            if state_of(gateway) == "failed":
                ec2.client.delete_nat_gateway(NatGatewayId=gateway["NatGatewayId"])
        alive = {tags_of(gateway)[TAG_RESOURCE]: gateway for gateway in gateways if state_of(gateway) != "failed"}
        by_zone = {}
        for zone, subnet in subnets.items():
            resource = f"nat-{zone}"
            address = ec2.found_or_made(
                ADDRESS,
                f"nat-address-{zone}",
                lambda **tags: ec2.client.allocate_address(Domain="vpc", **tags),
                addresses,
            )
            by_zone[zone] = alive.get(resource) or self._make_nat_gateway(ec2, resource, subnet, address)
        return by_zone

    def _make_nat_gateway(self, ec2: DeploymentEc2, resource: str, subnet: str, address: Description) -> Description:
        """Make the gateway of one zone. Its address cannot serve two, so that there is never a second one.

        A client token would do harm: once the gateway is gone, EC2 would go on answering with it.
        """
        tags = ec2.tag_specification(NAT_GATEWAY, resource)
        with self._unless_not_listed_yet(f"the NAT gateway {resource}", "Resource.AlreadyAssociated"):
            gateway: Description = ec2.once_found(
                lambda: ec2.client.create_nat_gateway(
                    SubnetId=subnet, AllocationId=address["AllocationId"], TagSpecifications=[tags]
                )
            )["NatGateway"]
        return gateway

    def _settled_addresses(self, ec2: DeploymentEc2) -> dict[str, Description]:
        """Return our addresses, keyed by the part that each plays; a spare one that a lost reply left is released."""
        settled: dict[str, Description] = {}
        for address in sorted(ec2.ours(ADDRESS), key=lambda each: not each.get("AssociationId")):
            kept = settled.setdefault(tags_of(address).get(TAG_RESOURCE, ""), address)
            if kept is not address and not address.get("AssociationId"):
                with gone_is_success():
                    ec2.client.release_address(AllocationId=address["AllocationId"])
        return settled


def _route_out(table: Description) -> Description | None:
    """Return the table's route to everywhere, if it has one."""
    return next((route for route in table.get("Routes", ()) if route.get("DestinationCidrBlock") == ANYWHERE), None)


def _ensure_route(ec2: DeploymentEc2, table: Description, **target: str) -> None:
    """Let the table lead everywhere by `target`; a route to elsewhere (a gateway that failed) is replaced."""
    route = _route_out(table)
    if route is not None and target.items() <= route.items() and route.get("State", "active") == "active":
        return
    change = ec2.client.create_route if route is None else ec2.client.replace_route
    with already_done("RouteAlreadyExists"):
        ec2.once_found(lambda: change(RouteTableId=table["RouteTableId"], DestinationCidrBlock=ANYWHERE, **target))
