"""The network of a deployment: a VPC over several zones, its ways out, its endpoints and its security groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.customer_network import verified_network
from activities.aws.ec2 import (
    ADDRESS,
    ENDPOINT,
    INTERNET_GATEWAY,
    NAT_GATEWAY,
    NETWORK_INTERFACE,
    ROUTE_TABLE,
    SECURITY_GROUP,
    SUBNET,
    VPC,
    DeploymentEc2,
    Description,
    state_of,
    tags_of,
)
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import gone_is_success
from activities.aws.part import AwsPart
from activities.contracts import InNetwork, NetworkContract, NetworkRequest
from activities.failures import refused
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Firewall, Network
from domain.failure import FailureClass
from domain.naming import base_name, resource_name, token

ANYWHERE = "0.0.0.0/0"

INTERFACE_ENDPOINTS = ("ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "logs", "sts")
"""Services that nodes and pods call all the time; S3 is reached by a gateway endpoint, which costs nothing."""

PRIVATE_ROLE = "kubernetes.io/role/internal-elb"
PUBLIC_ROLE = "kubernetes.io/role/elb"
"""Tags by which the load balancer controller finds the subnets for internal and for public load balancers."""

CLUSTER_OF_INTERFACE = "cluster.k8s.amazonaws.com/name"
"""Tag of the network interfaces that the network plug-in makes; it leaks some when a node goes away in a hurry."""
CLUSTER_OF_GROUP = "elbv2.k8s.aws/cluster"
"""Tag of the `k8s-*` security groups that the load balancer controller makes."""


class AwsNetwork(AwsPart, NetworkContract):
    """Makes the network and takes it away, or verifies the customer's own and leaves it as it is."""

    @activity.defn
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
            private = [
                self._ensure_subnet(ec2, network, "private", zone, cidr, known)
                for zone, cidr in zip(zones, plan.private_cidrs, strict=True)
            ]
            public = [
                self._ensure_subnet(ec2, network, "public", zone, cidr, known)
                for zone, cidr in zip(zones, plan.public_cidrs, strict=True)
            ]
            tables = ec2.by_resource(ROUTE_TABLE)
            self._ensure_route_table(ec2, network, "public-routes", public, tables)
            for zone, subnet in zip(zones, private, strict=True):
                # One table for each zone, so that each zone goes out by its own NAT gateway.
                self._ensure_route_table(ec2, network, f"private-routes-{zone}", [subnet], tables)
        return Network(network_id=network, private_subnet_ids=tuple(private), public_subnet_ids=tuple(public))

    @activity.defn
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

    @activity.defn
    @needs(
        "ec2:AllocateAddress", "ec2:AttachInternetGateway", "ec2:CreateInternetGateway", "ec2:CreateNatGateway",
        "ec2:CreateRoute", "ec2:DescribeAddresses", "ec2:DescribeInternetGateways", "ec2:DescribeNatGateways",
        "ec2:DescribeRouteTables", "ec2:DescribeSubnets", "ec2:ReleaseAddress", "ec2:ReplaceRoute",
        purpose=Purpose.OPERATE, why="Make internet gateway, NAT gateways and routes",
    )  # fmt: skip
    def create_egress(self, request: InNetwork) -> None:
        """Public subnets reach the internet directly, private ones through an available NAT gateway of their zone."""
        if not request.network.ours:
            return
        site, network = request.site, request.network
        with failures_named():
            ec2 = self._ec2(site, Purpose.OPERATE)
            zone_of = {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in ec2.ours(SUBNET)}
            gateway = self._ensure_internet_gateway(ec2, network.network_id)
            # All gateways are begun before any is waited for: each takes minutes.
            gateways = self._ensure_nat_gateways(ec2, {zone_of[subnet]: subnet for subnet in network.public_subnet_ids})
            tables = ec2.by_resource(ROUTE_TABLE)
            _ensure_route(ec2, tables["public-routes"], GatewayId=gateway)
            pending = [zone for zone, nat in gateways.items() if state_of(nat) != "available"]
            if pending:
                raise self._look_again(f"the NAT gateways of {', '.join(pending)} are not available yet")
            for zone, nat in gateways.items():
                _ensure_route(ec2, tables[f"private-routes-{zone}"], NatGatewayId=nat["NatGatewayId"])

    @activity.defn
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

    @activity.defn
    @needs(
        "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateSecurityGroup", "ec2:CreateVpcEndpoint",
        "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs",
        purpose=Purpose.OPERATE, why="Make endpoints of AWS services in the VPC",
    )  # fmt: skip
    def create_private_endpoints(self, request: InNetwork) -> None:
        """S3 and the services that a cluster calls are reached by endpoints inside the VPC, and all are available."""
        if not request.network.ours:
            return
        site, network = request.site, request.network
        with failures_named():
            ec2 = self._ec2(site, Purpose.OPERATE)
            tables = [table["RouteTableId"] for table in ec2.ours(ROUTE_TABLE)]
            cidr = next(vpc["CidrBlock"] for vpc in ec2.ours(VPC) if vpc["VpcId"] == network.network_id)
            group = self._ensure_group(ec2, network.network_id, "endpoints", "Endpoints of AWS services")
            _ensure_ingress(ec2, group, [_tcp(443, 443, IpRanges=[{"CidrIp": cidr}])])
            known = ec2.by_resource(ENDPOINT)
            endpoints = [
                self._ensure_endpoint(ec2, network, "s3", known, VpcEndpointType="Gateway", RouteTableIds=tables)
            ]
            endpoints += [
                self._ensure_endpoint(
                    ec2, network, service, known, VpcEndpointType="Interface", PrivateDnsEnabled=True,
                    SubnetIds=list(network.private_subnet_ids), SecurityGroupIds=[group["GroupId"]],
                )
                for service in INTERFACE_ENDPOINTS
            ]  # fmt: skip
            pending = [each["ServiceName"] for each in endpoints if state_of(each) != "available"]
            if pending:
                raise self._look_again(f"endpoints are not available yet: {', '.join(pending)}")

    @activity.defn
    @needs(
        "ec2:DeleteSecurityGroup", "ec2:DeleteVpcEndpoints", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcEndpoints",
        purpose=Purpose.DELETE, why="Delete endpoints of AWS services in the VPC",
    )  # fmt: skip
    def delete_private_endpoints(self, site: Site) -> None:
        """No endpoint carries our tags any more, nor does their security group."""
        with failures_named():
            ec2 = self._ec2(site, Purpose.DELETE)
            alive = [endpoint["VpcEndpointId"] for endpoint in ec2.ours(ENDPOINT)]
            if alive:
                ec2.client.delete_vpc_endpoints(VpcEndpointIds=alive)
            left = [each for each in ec2.matching(ENDPOINT, {}) if ec2.is_ours(each) and state_of(each) != "deleted"]
            if left:
                raise self._look_again(f"{len(left)} endpoints are still being deleted")
            group = ec2.by_resource(SECURITY_GROUP).get("endpoints")
            if group is not None:
                with gone_is_success():
                    ec2.client.delete_security_group(GroupId=group["GroupId"])

    @activity.defn
    @needs(
        "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateSecurityGroup", "ec2:CreateTags",
        "ec2:DescribeSecurityGroups",
        purpose=Purpose.OPERATE, why="Make the security groups of control plane and nodes",
    )  # fmt: skip
    def create_firewall(self, request: InNetwork) -> Firewall:
        """The security groups of control plane and nodes exist with the rules that EKS needs, and no others of ours.

        Source of the rules: EKS best practices guide, "VPC and subnet considerations": the API server reaches kubelets
        and webhooks, nodes reach the API server and each other.
        """
        site, network = request.site, request.network.network_id
        with failures_named():
            ec2 = self._ec2(site, Purpose.OPERATE)
            control_plane = self._ensure_group(ec2, network, "control-plane", "Kubernetes API server")
            nodes = self._ensure_group(ec2, network, "nodes", "Nodes")
            # The load balancer controller opens the group with this tag to its load balancers.
            ec2.ensure_tags(SECURITY_GROUP, nodes, {f"kubernetes.io/cluster/{base_name(site)}": "owned"})
            from_nodes = {"UserIdGroupPairs": [{"GroupId": nodes["GroupId"]}]}
            from_control_plane = {"UserIdGroupPairs": [{"GroupId": control_plane["GroupId"]}]}
            _ensure_ingress(ec2, control_plane, [_tcp(443, 443, **from_nodes)])
            _ensure_ingress(
                ec2,
                nodes,
                [
                    {"IpProtocol": "-1", **from_nodes},
                    _tcp(443, 443, **from_control_plane),
                    _tcp(1025, 65535, **from_control_plane),
                ],
            )
        return Firewall(control_plane_group_id=control_plane["GroupId"], node_group_id=nodes["GroupId"])

    @activity.defn
    @needs(
        "ec2:DeleteNetworkInterface", "ec2:DeleteSecurityGroup", "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups", "ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress",
        purpose=Purpose.DELETE, why="Delete security groups and what the cluster's controllers leaked",
    )  # fmt: skip
    def delete_firewall(self, site: Site) -> None:
        """No security group or network interface is left that is ours or that the cluster's controllers made."""
        with failures_named():
            ec2 = self._ec2(site, Purpose.DELETE)
            cluster = base_name(site)
            for interface in ec2.matching(NETWORK_INTERFACE, {f"tag:{CLUSTER_OF_INTERFACE}": cluster}):
                if interface["Status"] != "available":
                    raise self._look_again(f"{interface['NetworkInterfaceId']} is still attached to a node")
                with gone_is_success():
                    ec2.client.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
            own = ec2.eventually(lambda: ec2.ours(SECURITY_GROUP) or None) or []
            made_by_controller = ec2.matching(SECURITY_GROUP, {f"tag:{CLUSTER_OF_GROUP}": cluster})
            groups = {group["GroupId"]: group for group in (*made_by_controller, *own)}
            # Groups whose rules name each other cannot be deleted one by one.
            for group in own:
                _revoke_references(ec2, group)
            for group_id in groups:
                with gone_is_success():
                    ec2.client.delete_security_group(GroupId=group_id)

    def _ec2(self, site: Site, purpose: Purpose) -> DeploymentEc2:
        client = self._connections.client("ec2", site, purpose)
        return DeploymentEc2(client, site, self._settings.consistency_wait, self._settings.poll_interval)

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
        self, ec2: DeploymentEc2, network: str, role: str, zone: str, cidr: str, known: Mapping[str, Description]
    ) -> str:
        """Return the id of one subnet, tagged for its role with load balancers."""
        role_tag = {PUBLIC_ROLE if role == "public" else PRIVATE_ROLE: "1"}

        def make(TagSpecifications: list[Description]) -> Description:  # noqa: N803 (the SDK's spelling)
            tags = [{"Key": name, "Value": value} for name, value in role_tag.items()]
            specification = {**TagSpecifications[0], "Tags": [*TagSpecifications[0]["Tags"], *tags]}
            try:
                subnet: Description = ec2.once_found(
                    lambda: ec2.client.create_subnet(
                        VpcId=network, CidrBlock=cidr, AvailabilityZone=zone, TagSpecifications=[specification]
                    )
                )["Subnet"]
            except ClientError as error:
                if code_of(error) != "InvalidSubnet.Conflict":
                    raise
                # A VPC has each range once: what was made without a reply shows itself in a moment.
                raise self._look_again(f"a subnet with the range {cidr} exists and is not listed yet") from error
            return subnet

        subnet = ec2.found_or_made(SUBNET, f"{role}-{zone}", make, known)
        if (subnet["VpcId"], subnet["CidrBlock"]) != (network, cidr):
            message = f"{subnet['SubnetId']} has the range {subnet['CidrBlock']} in {subnet['VpcId']}, not {cidr}"
            raise refused(FailureClass.CONFIG, message, resource=subnet["SubnetId"])
        ec2.ensure_tags(SUBNET, subnet, role_tag)
        return str(subnet["SubnetId"])

    def _ensure_route_table(
        self, ec2: DeploymentEc2, network: str, resource: str, subnets: Sequence[str], known: Mapping[str, Description]
    ) -> None:
        """Make the table, and let `subnets` use it."""
        table = ec2.found_or_made(
            ROUTE_TABLE,
            resource,
            lambda **tags: ec2.client.create_route_table(
                VpcId=network, ClientToken=token(ec2.site, f"{resource}-of-{network}"), **tags
            )["RouteTable"],
            known,
        )
        table_id = table["RouteTableId"]
        associated = {association.get("SubnetId") for association in table.get("Associations", ())}
        for subnet in subnets:
            if subnet not in associated:
                # Associating a subnet again moves it: a lost reply leaves no trace.
                ec2.once_found(
                    lambda subnet=subnet: ec2.client.associate_route_table(RouteTableId=table_id, SubnetId=subnet)
                )

    def _ensure_internet_gateway(self, ec2: DeploymentEc2, network: str) -> str:
        """Return the id of the internet gateway, attached; a duplicate that a lost reply left is deleted."""
        found = sorted(ec2.ours(INTERNET_GATEWAY), key=lambda each: not each.get("Attachments"))
        for duplicate in found[1:]:
            self._delete_internet_gateway(ec2, duplicate)
        gateway = ec2.found_or_made(
            INTERNET_GATEWAY,
            "internet-gateway",
            lambda **tags: ec2.client.create_internet_gateway(**tags)["InternetGateway"],
            known={"internet-gateway": found[0]} if found else {},
        )
        gateway_id = str(gateway["InternetGatewayId"])
        if network not in {attachment["VpcId"] for attachment in gateway.get("Attachments", ())}:
            with _already("Resource.AlreadyAssociated"):
                ec2.once_found(lambda: ec2.client.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=network))
        return gateway_id

    def _delete_internet_gateway(self, ec2: DeploymentEc2, gateway: Description) -> None:
        gateway_id = gateway["InternetGatewayId"]
        for attachment in gateway.get("Attachments", ()):
            with gone_is_success(), _already("Gateway.NotAttached"):
                ec2.client.detach_internet_gateway(InternetGatewayId=gateway_id, VpcId=attachment["VpcId"])
        with gone_is_success():
            ec2.client.delete_internet_gateway(InternetGatewayId=gateway_id)

    def _ensure_nat_gateways(self, ec2: DeploymentEc2, subnets: Mapping[str, str]) -> dict[str, Description]:
        """Return a NAT gateway for each zone, keyed by zone as `subnets` is; one that failed is replaced."""
        self._release_spare_addresses(ec2)
        addresses, known = ec2.by_resource(ADDRESS), ec2.by_resource(NAT_GATEWAY)
        failed = {resource: nat for resource, nat in known.items() if state_of(nat) == "failed"}
        for nat in failed.values():
            ec2.client.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
        alive = {resource: nat for resource, nat in known.items() if resource not in failed}
        gateways = {}
        for zone, subnet in subnets.items():
            resource = f"nat-{zone}"
            address = ec2.found_or_made(
                ADDRESS,
                f"nat-address-{zone}",
                lambda **tags: ec2.client.allocate_address(Domain="vpc", **tags),
                addresses,
            )
            # The token is another one after a failure: with the same EC2 would answer with the gateway that failed.
            attempt = f"{resource}-after-{failed[resource]['NatGatewayId']}" if resource in failed else resource
            gateways[zone] = alive.get(resource) or self._make_nat_gateway(ec2, resource, attempt, subnet, address)
        return gateways

    def _make_nat_gateway(
        self, ec2: DeploymentEc2, resource: str, attempt: str, subnet: str, address: Description
    ) -> Description:
        gateway: Description = ec2.once_found(
            lambda: ec2.client.create_nat_gateway(
                SubnetId=subnet,
                AllocationId=address["AllocationId"],
                ClientToken=token(ec2.site, f"{attempt}-in-{subnet}"),
                TagSpecifications=[ec2.tag_specification(NAT_GATEWAY, resource)],
            )
        )["NatGateway"]
        return gateway

    def _release_spare_addresses(self, ec2: DeploymentEc2) -> None:
        """Release addresses of ours that a lost reply left beside the one that plays their part."""
        kept = {address["AllocationId"]: address for address in ec2.by_resource(ADDRESS).values()}
        for address in ec2.ours(ADDRESS):
            if address["AllocationId"] not in kept and "AssociationId" not in address:
                with gone_is_success():
                    ec2.client.release_address(AllocationId=address["AllocationId"])

    def _ensure_group(self, ec2: DeploymentEc2, network: str, resource: str, description: str) -> Description:
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
                return self._group_of_that_name(ec2, network, name, error)
            return {"GroupId": group_id, "IpPermissions": [], "Tags": tags["TagSpecifications"][0]["Tags"]}

        return ec2.found_or_made(SECURITY_GROUP, resource, make, ec2.by_resource(SECURITY_GROUP))

    def _group_of_that_name(self, ec2: DeploymentEc2, network: str, name: str, error: ClientError) -> Description:
        """Return our group that was made without a reply; refuse one that is not ours."""
        filters = {"vpc-id": network, "group-name": name}
        group = ec2.eventually(lambda: next(iter(ec2.matching(SECURITY_GROUP, filters)), None))
        if group is None:
            raise self._look_again(f"the security group {name} exists and is not listed yet") from error
        if not ec2.is_ours(group):
            message = f"The security group {name} in {network} does not carry our tags; it is left as it is"
            raise refused(FailureClass.NOT_OURS, message, resource=group["GroupId"]) from error
        return group

    def _ensure_endpoint(
        self, ec2: DeploymentEc2, network: Network, service: str, known: Mapping[str, Description],
        **parameters: object,
    ) -> Description:  # fmt: skip
        """Return the endpoint of one service, which may still be pending."""
        resource = f"endpoint-{service}"
        return ec2.found_or_made(
            ENDPOINT,
            resource,
            lambda **tags: ec2.client.create_vpc_endpoint(
                VpcId=network.network_id,
                ServiceName=f"com.amazonaws.{ec2.site.region}.{service}",
                ClientToken=token(ec2.site, f"{resource}-in-{network.network_id}"),
                **parameters,
                **tags,
            )["VpcEndpoint"],
            known,
        )


def _tcp(first: int, last: int, **source: object) -> Description:
    return {"IpProtocol": "tcp", "FromPort": first, "ToPort": last, **source}


def _route_out(table: Description) -> Description | None:
    """Return the table's route to everywhere, if it has one."""
    return next((route for route in table.get("Routes", ()) if route.get("DestinationCidrBlock") == ANYWHERE), None)


def _ensure_route(ec2: DeploymentEc2, table: Description, **target: str) -> None:
    """Let the table lead everywhere by `target`; a route that leads elsewhere (to a gateway that failed) is replaced."""
    route = _route_out(table)
    if route is not None and target.items() <= route.items() and route.get("State", "active") == "active":
        return
    change = ec2.client.create_route if route is None else ec2.client.replace_route
    with _already("RouteAlreadyExists"):
        ec2.once_found(lambda: change(RouteTableId=table["RouteTableId"], DestinationCidrBlock=ANYWHERE, **target))


def _ensure_ingress(ec2: DeploymentEc2, group: Description, rules: Sequence[Description]) -> None:
    """Add those of `rules` that the group lacks; what controllers have added stays."""
    present = {rule for permission in group.get("IpPermissions", ()) for rule in _single_rules(permission)}
    for rule in rules:
        if not present.issuperset(_single_rules(rule)):
            with _already("InvalidPermission.Duplicate"):
                ec2.once_found(
                    lambda rule=rule: ec2.client.authorize_security_group_ingress(
                        GroupId=group["GroupId"], IpPermissions=[rule]
                    )
                )


def _single_rules(permission: Description) -> Iterator[tuple[object, ...]]:
    """Yield what one permission allows, source by source: EC2 merges and splits permissions as it likes."""
    ports = (permission["IpProtocol"], permission.get("FromPort", -1), permission.get("ToPort", -1))
    for group in permission.get("UserIdGroupPairs", ()):
        yield (*ports, group["GroupId"])
    for block in permission.get("IpRanges", ()):
        yield (*ports, block["CidrIp"])


def _revoke_references(ec2: DeploymentEc2, group: Description) -> None:
    """Remove the rules of `group` that name other groups."""
    incoming, outgoing = (
        [
            {**permission, "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": []}
            for permission in group.get(key, ())
            if permission.get("UserIdGroupPairs")
        ]
        for key in ("IpPermissions", "IpPermissionsEgress")
    )
    with gone_is_success():
        if incoming:
            ec2.client.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=incoming)
        if outgoing:
            ec2.client.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=outgoing)


class _already(suppress):  # noqa: N801 (used as a statement, like contextlib's)
    """Let a call succeed that EC2 answers with one of these codes: the deed was done by an attempt before."""

    def __init__(self, *codes: str) -> None:
        super().__init__(ClientError)
        self._codes = codes

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:  # noqa: ANN401 (contextlib's own signature)
        return isinstance(error, ClientError) and code_of(error) in self._codes
