"""Private endpoints: how the cluster reaches the services of AWS without leaving its network."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio import activity

from activities.aws.ec2 import (
    ENDPOINT,
    ROUTE_TABLE,
    SECURITY_GROUP,
    SUBNET,
    VPC,
    DeploymentEc2,
    Description,
    Ec2Part,
    state_of,
)
from activities.aws.errors import failures_named
from activities.aws.existence import gone_is_success
from activities.aws.security_groups import ensure_group, ensure_ingress, tcp
from activities.aws.vpc import PUBLIC_ROUTES, private_routes
from activities.contracts import InNetwork, NetworkContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Network

INTERFACE_ENDPOINTS = ("ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "logs", "sts")
"""Services that nodes and pods call all the time; S3 is reached by a gateway endpoint, which costs nothing."""


class AwsPrivateEndpoints(Ec2Part, NetworkContract):
    """Makes the endpoints of a network of ours, and takes them away."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateSecurityGroup", "ec2:CreateVpcEndpoint",
        "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcEndpoints",
        "ec2:DescribeVpcs",
        purpose=Purpose.OPERATE, why="Make endpoints of AWS services in the VPC",
    )  # fmt: skip
    def create_private_endpoints(self, request: InNetwork) -> None:
        """S3 and the services that a cluster calls are reached by endpoints inside the VPC, and all are available."""
        if not request.network.ours:
            return
        site, network = request.site, request.network
        with failures_named():
            ec2 = self._ec2(site, Purpose.OPERATE)
            subnets = ec2.by_id(SUBNET, network.private_subnet_ids)
            zones = [subnets[subnet]["AvailabilityZone"] for subnet in network.private_subnet_ids]
            tables = ec2.parts(ROUTE_TABLE, [PUBLIC_ROUTES, *map(private_routes, zones)])
            table_ids = sorted(table["RouteTableId"] for table in tables.values())
            cidr = ec2.by_id(VPC, [network.network_id])[network.network_id]["CidrBlock"]
            group = ensure_group(ec2, network.network_id, "endpoints", "Endpoints of AWS services")
            ensure_ingress(ec2, group, [tcp(443, 443, IpRanges=[{"CidrIp": cidr}])])
            known = ec2.by_resource(ENDPOINT)
            endpoints = [
                self._ensure_endpoint(
                    ec2,
                    network,
                    "s3",
                    known,
                    VpcEndpointType="Gateway",
                    RouteTableIds=table_ids,
                )
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

    @activity.defn(no_thread_cancel_exception=True)
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

    def _ensure_endpoint(
        self, ec2: DeploymentEc2, network: Network, service: str, known: Mapping[str, Description],
        **parameters: object,
    ) -> Description:  # fmt: skip
        """Return the endpoint of one service, which may still be pending."""
        resource = f"endpoint-{service}"

        def make(**tags: object) -> Description:
            # A VPC has one way to each service: EC2 refuses a second one, by its route or by its private name.
            with self._unless_not_listed_yet(resource, "RouteAlreadyExists", "conflicting DNS domain"):
                endpoint: Description = ec2.client.create_vpc_endpoint(
                    VpcId=network.network_id,
                    ServiceName=f"com.amazonaws.{ec2.site.region}.{service}",
                    **parameters,
                    **tags,
                )["VpcEndpoint"]
            return endpoint

        return ec2.found_or_made(ENDPOINT, resource, make, known)
