"""EC2 as the real SDK meets it, where ministack alone is too obliging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulators.aws.scope import Scope
from tests.simulators.aws.customers import ACCOUNT, REGION, Customer, allow, refused

HOME = Scope(ACCOUNT, REGION)


def tagged(kind: str, **tags: str) -> list[dict[str, Any]]:
    """Return tag specifications for one new resource."""
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def nat_gateway(account: Customer, subnet: str) -> tuple[str, str]:
    """Make a NAT gateway and return its id and that of its address."""
    ec2 = account.client("ec2")
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
    return gateway, allocation


class TestTokensAndDryRuns:
    """What holds for every operation."""

    def test_a_repeated_token_makes_nothing_twice(self, account: Customer) -> None:
        """The same token answers with the same gateway; with other parameters it is refused."""
        ec2 = account.client("ec2")
        _, subnets = account.make_network()
        allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
        request = {"SubnetId": subnets[0], "AllocationId": allocation, "ClientToken": "token-1"}
        first = ec2.create_nat_gateway(**request)["NatGateway"]
        position = account.world.journal.position

        second = ec2.create_nat_gateway(**request)["NatGateway"]

        assert second["NatGatewayId"] == first["NatGatewayId"]
        assert len(ec2.describe_nat_gateways()["NatGateways"]) == 1
        assert not account.world.journal.calls(after=position, changed=True)
        with refused("IdempotentParameterMismatch"):
            ec2.create_nat_gateway(**{**request, "SubnetId": subnets[1]})

    def test_a_dry_run_tells_whether_it_would_be_allowed(self, account: Customer) -> None:
        """Permission is checked before the dry run ends the call."""
        allowed = account.client("ec2", credentials=account.make_user("one", allow("ec2:CreateVpc")))
        denied = account.client("ec2", credentials=account.make_user("two"))

        with refused("DryRunOperation"):
            allowed.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True)
        with refused("UnauthorizedOperation"):
            denied.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True)

        assert [vpc["IsDefault"] for vpc in account.client("ec2").describe_vpcs()["Vpcs"]] == [True]

    def test_an_unknown_filter_is_an_error(self, account: Customer) -> None:
        """A filter is never ignored."""
        with refused("InvalidParameterValue", "shape"):
            account.client("ec2").describe_vpcs(Filters=[{"Name": "shape", "Values": ["round"]}])

    def test_tags_given_on_creation_are_found_by_filters(self, account: Customer) -> None:
        """tag:KEY and tag-key find what carries the tag, with patterns, and nothing else."""
        ec2 = account.client("ec2")
        ours = ec2.create_vpc(CidrBlock="10.1.0.0/16", TagSpecifications=tagged("vpc", byoc="managed"))["Vpc"]["VpcId"]
        ec2.create_vpc(CidrBlock="10.2.0.0/16", TagSpecifications=tagged("vpc", other="x"))

        for name, value in (("tag:byoc", "managed"), ("tag:byoc", "man*"), ("tag-key", "byoc")):
            found = ec2.describe_vpcs(Filters=[{"Name": name, "Values": [value]}])["Vpcs"]
            assert [vpc["VpcId"] for vpc in found] == [ours], name
        assert ec2.describe_vpcs(Filters=[{"Name": "tag:byoc", "Values": ["man"]}])["Vpcs"] == []

    def test_lists_come_in_pages(self, account: Customer) -> None:
        """A paginator sees every subnet."""
        vpc, _ = account.make_network()
        pages = (
            account.client("ec2")
            .get_paginator("describe_subnets")
            .paginate(Filters=[{"Name": "vpc-id", "Values": [vpc]}], PaginationConfig={"PageSize": 5})
        )

        assert sum(len(page["Subnets"]) for page in pages) == 3


class TestNetworks:
    """VPCs, subnets and routes."""

    @pytest.mark.parametrize("cidr", ["10.0.0.0/8", "10.0.0.0/29"])
    def test_a_vpc_has_a_sensible_size(self, account: Customer, cidr: str) -> None:
        """Only /16 to /28 are allowed."""
        with refused("InvalidVpc.Range"):
            account.client("ec2").create_vpc(CidrBlock=cidr)

    @pytest.mark.parametrize(
        ("cidr", "code"),
        [
            ("10.0.0.128/25", "InvalidSubnet.Conflict"),
            ("10.9.0.0/24", "InvalidSubnet.Range"),
            ("10.0.9.0/29", "InvalidSubnet.Range"),
            ("10.0.9.1/24", "InvalidParameterValue"),
        ],
    )
    def test_a_subnet_fits_into_its_vpc(self, account: Customer, cidr: str, code: str) -> None:
        """Ranges that overlap, lie outside, are too small or are no range are refused."""
        vpc, _ = account.make_network()

        with refused(code):
            account.client("ec2").create_subnet(VpcId=vpc, CidrBlock=cidr)

    def test_a_subnet_counts_its_addresses(self, account: Customer) -> None:
        """AWS keeps five; each interface takes one more."""
        ec2 = account.client("ec2")
        _, subnets = account.make_network()

        def left() -> int:
            count: int = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["AvailableIpAddressCount"]
            return count

        before = left()
        nat_gateway(account, subnets[0])

        assert (before, left()) == (251, 250)

    def test_stops_at_the_quota(self, account: Customer) -> None:
        """One VPC more than allowed is refused; the default VPC counts."""
        account.overlay.quotas.set_limit(HOME, "vpc", "L-F678F1CE", 2)
        ec2 = account.client("ec2")
        ec2.create_vpc(CidrBlock="10.1.0.0/16")

        with refused("VpcLimitExceeded"):
            ec2.create_vpc(CidrBlock="10.2.0.0/16")

    def test_a_route_leads_somewhere_and_only_once(self, account: Customer) -> None:
        """A second route to one destination, and one to a gateway elsewhere, are refused."""
        ec2 = account.client("ec2")
        vpc, _ = account.make_network()
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        route = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway}

        with refused("InvalidParameterValue"):
            ec2.create_route(**route)
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        ec2.create_route(**route)
        with refused("RouteAlreadyExists"):
            ec2.create_route(**route)

    def test_a_subnet_has_one_route_table(self, account: Customer) -> None:
        """A second association is refused."""
        ec2 = account.client("ec2")
        vpc, subnets = account.make_network()
        tables = [ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2)]
        ec2.associate_route_table(RouteTableId=tables[0], SubnetId=subnets[0])

        with refused("Resource.AlreadyAssociated"):
            ec2.associate_route_table(RouteTableId=tables[1], SubnetId=subnets[0])


class TestGateways:
    """NAT gateways, their addresses, and internet gateways."""

    def test_a_nat_gateway_takes_its_time(self, slow_account: Customer) -> None:
        """It is pending, then available; deleting, then deleted; its address is free again."""
        ec2 = slow_account.client("ec2")
        _, subnets = slow_account.make_network()
        gateway, allocation = nat_gateway(slow_account, subnets[0])
        slow_account.pass_time(10)

        def state() -> str:
            found: str = ec2.describe_nat_gateways(NatGatewayIds=[gateway])["NatGateways"][0]["State"]
            return found

        states = [state()]
        slow_account.pass_time(100)
        states.append(state())
        with refused("InvalidIPAddress.InUse"):
            ec2.release_address(AllocationId=allocation)
        ec2.delete_nat_gateway(NatGatewayId=gateway)
        states.append(state())
        slow_account.pass_time(100)
        states.append(state())

        assert states == ["pending", "available", "deleting", "deleted"]
        ec2.release_address(AllocationId=allocation)

    def test_a_nat_gateway_tells_its_address(self, account: Customer) -> None:
        """Gateway and address know each other."""
        ec2 = account.client("ec2")
        _, subnets = account.make_network()
        gateway, allocation = nat_gateway(account, subnets[0])

        (described,) = ec2.describe_nat_gateways(NatGatewayIds=[gateway])["NatGateways"]
        (address,) = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"]

        assert described["NatGatewayAddresses"][0]["PublicIp"] == address["PublicIp"]
        assert address["AssociationId"]

    def test_a_nat_gateway_fails_on_request(self, account: Customer) -> None:
        """After a crash fault it is failed and its address is free."""
        ec2 = account.client("ec2")
        _, subnets = account.make_network()
        account.inject(kind="crash", service="ec2", operation="CreateNatGateway")
        gateway, allocation = nat_gateway(account, subnets[0])

        (described,) = ec2.describe_nat_gateways(NatGatewayIds=[gateway])["NatGateways"]

        assert described["State"] == "failed"
        ec2.release_address(AllocationId=allocation)

    def test_an_internet_gateway_stays_while_public_addresses_are_mapped(self, account: Customer) -> None:
        """It cannot be detached under a NAT gateway, nor deleted while attached."""
        ec2 = account.client("ec2")
        vpc, subnets = account.make_network()
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        nat_gateway(account, subnets[0])

        with refused("DependencyViolation", "mapped public address"):
            ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        with refused("DependencyViolation"):
            ec2.delete_internet_gateway(InternetGatewayId=gateway)

    def test_addresses_stop_at_the_quota(self, account: Customer) -> None:
        """One address more than allowed is refused."""
        account.overlay.quotas.set_limit(HOME, "ec2", "L-0263D0A3", 1)
        ec2 = account.client("ec2")
        ec2.allocate_address(Domain="vpc")

        with refused("AddressLimitExceeded"):
            ec2.allocate_address(Domain="vpc")


def _with_subnet(account: Customer, vpc: str) -> None:
    """Nothing more: the network has subnets."""


def _with_group(account: Customer, vpc: str) -> None:
    account.client("ec2").create_security_group(GroupName="g", Description="g", VpcId=vpc)
    _without_subnets(account, vpc)


def _with_table(account: Customer, vpc: str) -> None:
    account.client("ec2").create_route_table(VpcId=vpc)
    _without_subnets(account, vpc)


def _with_gateway(account: Customer, vpc: str) -> None:
    gateway = account.client("ec2").create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    account.client("ec2").attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    _without_subnets(account, vpc)


def _with_endpoint(account: Customer, vpc: str) -> None:
    account.client("ec2").create_vpc_endpoint(VpcId=vpc, ServiceName=f"com.amazonaws.{REGION}.s3")
    _without_subnets(account, vpc)


def _without_subnets(account: Customer, vpc: str) -> None:
    ec2 = account.client("ec2")
    for subnet in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])


class TestDependencies:
    """What is in use is not deleted."""

    @pytest.mark.parametrize("dependent", [_with_subnet, _with_group, _with_table, _with_gateway, _with_endpoint])
    def test_keep_a_vpc(self, account: Customer, dependent: Callable[[Customer, str], None]) -> None:
        """Each of these alone keeps the VPC."""
        vpc, _ = account.make_network()
        dependent(account, vpc)

        with refused("DependencyViolation"):
            account.client("ec2").delete_vpc(VpcId=vpc)

    def test_let_an_empty_vpc_go(self, account: Customer) -> None:
        """Without them the VPC goes, with what AWS made for it and all its tags."""
        ec2 = account.client("ec2")
        vpc, _ = account.make_network()
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "byoc", "Value": "managed"}])
        _without_subnets(account, vpc)

        ec2.delete_vpc(VpcId=vpc)

        assert ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"] == []
        assert ec2.describe_tags(Filters=[{"Name": "key", "Values": ["byoc"]}])["Tags"] == []

    def test_keep_a_security_group(self, account: Customer) -> None:
        """A group that another one's rule names, or that an interface has, stays."""
        ec2 = account.client("ec2")
        vpc, subnets = account.make_network()
        one, two, three = (
            ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in "abc"
        )
        rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [{"GroupId": one}]}
        ec2.authorize_security_group_ingress(GroupId=two, IpPermissions=[rule])
        service = f"com.amazonaws.{REGION}.sts"
        ec2.create_vpc_endpoint(
            VpcId=vpc, ServiceName=service, VpcEndpointType="Interface", SubnetIds=subnets[:1], SecurityGroupIds=[three]
        )

        for group in (one, three):
            with refused("DependencyViolation"):
                ec2.delete_security_group(GroupId=group)
        ec2.delete_security_group(GroupId=two)
        ec2.delete_security_group(GroupId=one)

    def test_rules_are_given_once(self, account: Customer) -> None:
        """A rule that is there already is refused, one that is not there cannot be revoked."""
        ec2 = account.client("ec2")
        vpc, _ = account.make_network()
        group = ec2.create_security_group(GroupName="a", Description="a", VpcId=vpc)["GroupId"]
        rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
        other = {**rule, "FromPort": 80, "ToPort": 80}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])

        with refused("InvalidPermission.Duplicate"):
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        with refused("InvalidPermission.NotFound"):
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[other])
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])

        assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"] == []


class TestEndpoints:
    """VPC endpoints."""

    def test_an_interface_takes_its_time_and_addresses(self, slow_account: Customer) -> None:
        """It is pending, then available, and its interfaces keep the subnets until it is gone."""
        ec2 = slow_account.client("ec2")
        vpc, subnets = slow_account.make_network()
        service = f"com.amazonaws.{REGION}.ecr.api"
        endpoint = ec2.create_vpc_endpoint(
            VpcId=vpc, ServiceName=service, VpcEndpointType="Interface", SubnetIds=subnets,
            TagSpecifications=tagged("vpc-endpoint", byoc="managed"),
        )["VpcEndpoint"]  # fmt: skip
        slow_account.pass_time(100)

        (ready,) = ec2.describe_vpc_endpoints(Filters=[{"Name": "tag:byoc", "Values": ["managed"]}])["VpcEndpoints"]
        ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
        with refused("DependencyViolation"):
            ec2.delete_subnet(SubnetId=subnets[0])
        slow_account.pass_time(100)
        ec2.delete_subnet(SubnetId=subnets[0])

        assert (endpoint["State"], ready["State"]) == ("pending", "available")
        assert len(ready["NetworkInterfaceIds"]) == 3
        assert ready["Groups"][0]["GroupName"] == "default"

    def test_a_service_has_one_endpoint(self, account: Customer) -> None:
        """A second gateway in a route table, and a second interface in a VPC, are refused."""
        ec2 = account.client("ec2")
        vpc, subnets = account.make_network()
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        gateway = {"VpcId": vpc, "ServiceName": f"com.amazonaws.{REGION}.s3", "RouteTableIds": [table]}
        service = f"com.amazonaws.{REGION}.sts"
        interface = {"VpcId": vpc, "ServiceName": service, "VpcEndpointType": "Interface", "SubnetIds": subnets}
        ec2.create_vpc_endpoint(**gateway)
        ec2.create_vpc_endpoint(**interface)

        with refused("RouteAlreadyExists"):
            ec2.create_vpc_endpoint(**gateway)
        with refused("InvalidParameter"):
            ec2.create_vpc_endpoint(**interface)


class TestStorage:
    """Volumes and snapshots."""

    def test_a_snapshot_takes_its_time_and_keeps_the_key(self, slow_account: Customer) -> None:
        """A volume is creating, then available; a snapshot pending, then completed; both name the key."""
        ec2 = slow_account.client("ec2")
        key = slow_account.client("kms").create_key()["KeyMetadata"]["Arn"]
        volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=10, Encrypted=True, KmsKeyId=key)
        slow_account.pass_time(10)
        snapshot = ec2.create_snapshot(VolumeId=volume["VolumeId"])
        slow_account.pass_time(100)

        (volume_after,) = ec2.describe_volumes(VolumeIds=[volume["VolumeId"]])["Volumes"]
        (snapshot_after,) = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]

        assert (volume["State"], volume_after["State"]) == ("creating", "available")
        assert (snapshot["State"], snapshot_after["State"]) == ("pending", "completed")
        assert volume_after["KmsKeyId"] == snapshot_after["KmsKeyId"] == key


class TestOfferings:
    """Zones and machine types."""

    def test_zones_differ_in_what_they_offer(self, account: Customer) -> None:
        """A type is offered in the region as soon as one zone has it, and not every zone has every type."""
        ec2 = account.client("ec2")
        wanted = [{"Name": "instance-type", "Values": ["m7i.large", "r7i.large"]}]

        offers = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=wanted)

        zones: dict[str, set[str]] = {}
        for offer in offers["InstanceTypeOfferings"]:
            zones.setdefault(offer["InstanceType"], set()).add(offer["Location"])
        assert len(zones["m7i.large"]) == 3
        assert len(zones["r7i.large"]) == 2

    def test_types_tell_their_size(self, account: Customer) -> None:
        """Processors and memory are those of the real type; an unknown type is named."""
        ec2 = account.client("ec2")

        (type_,) = ec2.describe_instance_types(InstanceTypes=["r6i.2xlarge"])["InstanceTypes"]

        assert (type_["VCpuInfo"]["DefaultVCpus"], type_["MemoryInfo"]["SizeInMiB"]) == (8, 65536)
        with refused("InvalidInstanceType", "x9.large"):
            ec2.describe_instance_types(InstanceTypes=["x9.large"])

    def test_launch_templates_keep_what_they_were_given(self, account: Customer) -> None:
        """The disk's key and the metadata options are described as they were given; names are unique."""
        ec2 = account.client("ec2")
        data = {
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": "alias/x"}}],
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        }
        ec2.create_launch_template(LaunchTemplateName="nodes", LaunchTemplateData=data)

        (version,) = ec2.describe_launch_template_versions(LaunchTemplateName="nodes")["LaunchTemplateVersions"]

        assert version["LaunchTemplateData"] == data
        with refused("InvalidLaunchTemplateName.AlreadyExistsException"):
            ec2.create_launch_template(LaunchTemplateName="nodes", LaunchTemplateData=data)
