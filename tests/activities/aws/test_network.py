"""The network of a deployment, in a simulated account in which the template is applied and enforced."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.aws.network import AwsNetwork
from activities.aws.settings import AwsSettings
from activities.contracts import InNetwork, NetworkRequest
from domain.addresses import plan_subnets
from domain.deployment import ExistingNetwork, NetworkSpec
from domain.facts import Firewall, Machine, Network, Placement
from domain.failure import FailureClass
from domain.shape import PoolName
from simulators.customer import OwnNetwork
from simulators.faults import FaultKind
from tests.activities.aws.conftest import REGION, Account

ZONES = tuple(f"{REGION}{letter}" for letter in "abc")
PLACEMENT = Placement(
    zones=ZONES, machines=(Machine(pool=PoolName.STORE, instance_type="m7i.large", minimum=1, maximum=2),)
)
SPEC = NetworkSpec()
PARTS = {
    "vpc": 1,
    "subnet": 6,
    "route-table": 4,
    "internet-gateway": 1,
    "elastic-ip": 3,
    "nat-gateway": 3,
    "vpc-endpoint": 8,
    "security-group": 3,
}
"""How many of each type a network over three zones has."""


def request(account: Account, spec: NetworkSpec = SPEC) -> NetworkRequest:
    return NetworkRequest(
        site=account.site, network=spec, placement=PLACEMENT, addresses=plan_subnets(spec.cidr, len(ZONES))
    )


def build(account: Account, run: Callable[[str, object], Any]) -> tuple[Network, Firewall]:
    """Make everything of the network, in the order of a provisioning."""
    network = run("create_network", request(account))
    inside = InNetwork(site=account.site, network=network)
    run("create_egress", inside)
    run("create_private_endpoints", inside)
    return network, run("create_firewall", inside)


def tear_down(account: Account, run: Callable[[str, object], Any]) -> None:
    """Take everything of the network away, in the order of a retirement."""
    for activity in ("delete_firewall", "delete_private_endpoints", "delete_egress", "delete_network"):
        run(activity, account.site)


def parts(account: Account) -> dict[str, int]:
    return dict(Counter(resource.type for resource in account.resources("ec2")))


def test_a_network_over_three_zones_is_made(account: Account) -> None:
    """Every part exists once (or once for each zone), and the private subnets go out through their zone's gateway."""
    network, firewall = build(account, account.run)

    assert parts(account) == PARTS
    ec2 = account.customer("ec2")
    subnets = ec2.describe_subnets(SubnetIds=list(network.private_subnet_ids))["Subnets"]
    assert {subnet["AvailabilityZone"] for subnet in subnets} == set(ZONES)
    assert firewall.control_plane_group_id != firewall.node_group_id
    gateways = {nat["NatGatewayId"]: nat["SubnetId"] for nat in ec2.describe_nat_gateways()["NatGateways"]}
    zone_of = {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in ec2.describe_subnets()["Subnets"]}
    for subnet in network.private_subnet_ids:
        (table,) = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])[
            "RouteTables"
        ]
        (out,) = [route for route in table["Routes"] if route.get("DestinationCidrBlock") == "0.0.0.0/0"]
        assert zone_of[gateways[out["NatGatewayId"]]] == zone_of[subnet]


def test_the_subnets_can_be_found_by_load_balancers(account: Account) -> None:
    """Public subnets carry the tag for public load balancers, private ones that for internal ones."""
    network, _ = build(account, account.run)

    ec2 = account.customer("ec2")
    public = ec2.describe_subnets(Filters=[{"Name": "tag:kubernetes.io/role/elb", "Values": ["1"]}])["Subnets"]
    private = ec2.describe_subnets(Filters=[{"Name": "tag:kubernetes.io/role/internal-elb", "Values": ["1"]}])[
        "Subnets"
    ]
    assert {subnet["SubnetId"] for subnet in public} == set(network.public_subnet_ids)
    assert {subnet["SubnetId"] for subnet in private} == set(network.private_subnet_ids)


@pytest.fixture
def slowly(account: Account) -> Iterator[AwsNetwork]:
    """The activities with patience, while what is made is not listed for 5 simulated seconds: a tenth of a real one."""
    settings = AwsSettings(
        principal="unused", consistency_wait=timedelta(seconds=1), poll_interval=timedelta(milliseconds=50)
    )
    account.control.set_speed(50)
    yield AwsNetwork(settings, account.cloud.connections)
    account.control.set_speed(math.inf)


def retried(network: AwsNetwork) -> Callable[[str, object], Any]:
    """Return a function that runs an activity as Temporal does, counting the attempts, for a minute at most."""

    def run(activity: str, argument: object) -> Any:
        environment = ActivityEnvironment()
        deadline = time.monotonic() + 60
        attempts = count(1)
        while True:
            environment.info = replace(environment.info, attempt=next(attempts))
            try:
                return environment.run(getattr(network, activity), argument)
            except ApplicationError as error:
                if error.non_retryable or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    return run


def test_each_step_waits_for_what_the_step_before_has_made(account: Account, slowly: AwsNetwork) -> None:
    """EC2 lists nothing at once, and still everything is made once."""
    build(account, retried(slowly))

    account.control.set_speed(math.inf)
    assert parts(account) == PARTS


def test_nothing_is_made_twice_while_the_first_one_is_not_seen_yet(account: Account, slowly: AwsNetwork) -> None:
    """After a lost reply the next attempt waits until EC2 lists what there is, and adopts it."""
    for operation in ("CreateVpc", "CreateSubnet", "CreateInternetGateway", "AllocateAddress", "CreateSecurityGroup"):
        account.inject(FaultKind.LOST_REPLY, operation, times=1)

    build(account, retried(slowly))

    account.control.set_speed(math.inf)
    assert parts(account) == PARTS
    assert [call.operation for call in account.changes()].count("CreateVpc") == 1


def test_duplicates_of_ours_are_removed(account: Account) -> None:
    """A VPC, a gateway and an address that carry our tags beside the ones in use are deleted."""
    network, _ = build(account, account.run)
    ec2 = account.customer("ec2")
    for kind, make in (
        ("vpc", lambda **tags: ec2.create_vpc(CidrBlock="10.64.0.0/16", **tags)),
        ("internet-gateway", ec2.create_internet_gateway),
        ("elastic-ip", lambda **tags: ec2.allocate_address(Domain="vpc", **tags)),
    ):
        (original,) = [each for each in account.resources("ec2") if each.type == kind][:1]
        tags = [{"Key": key, "Value": value} for key, value in original.tags.items()]
        make(TagSpecifications=[{"ResourceType": kind, "Tags": tags}])

    again, _ = build(account, account.run)

    assert parts(account) == PARTS
    assert again == network


def test_what_is_not_ours_stays(account: Account) -> None:
    """The customer's own VPC, group and address survive the deletion of a deployment's network."""
    ec2 = account.customer("ec2")
    theirs = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    build(account, account.run)

    tear_down(account, account.run)

    assert theirs in {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]}
    assert address in {each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]}


def test_a_route_that_somebody_removed_is_put_back(account: Account) -> None:
    """Converging repairs drift: the way out of a private subnet."""
    network, _ = build(account, account.run)
    ec2 = account.customer("ec2")
    of_zone = [{"Name": "tag:byoc:resource", "Values": [f"private-routes-{ZONES[0]}"]}]
    (table,) = ec2.describe_route_tables(Filters=of_zone)["RouteTables"]
    ec2.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")

    account.run("create_egress", InNetwork(site=account.site, network=network))

    (table,) = ec2.describe_route_tables(Filters=of_zone)["RouteTables"]
    assert "0.0.0.0/0" in {route.get("DestinationCidrBlock") for route in table["Routes"]}


def test_a_nat_gateway_that_somebody_deleted_is_made_again(account: Account) -> None:
    """A new gateway takes the old one's address, and the zone's route leads to it."""
    network, _ = build(account, account.run)
    ec2 = account.customer("ec2")
    lost = ec2.describe_nat_gateways()["NatGateways"][0]["NatGatewayId"]
    ec2.delete_nat_gateway(NatGatewayId=lost)

    account.run("create_egress", InNetwork(site=account.site, network=network))

    alive = {nat["NatGatewayId"] for nat in ec2.describe_nat_gateways()["NatGateways"] if nat["State"] == "available"}
    tables = ec2.describe_route_tables(Filters=[{"Name": "tag:byoc:resource", "Values": ["private-routes-*"]}])
    targets = {route.get("NatGatewayId") for table in tables["RouteTables"] for route in table["Routes"]} - {None}
    assert len(alive) == len(ZONES)
    assert targets == alive
    assert parts(account)["elastic-ip"] == len(ZONES)


def test_a_nat_gateway_that_failed_is_replaced(account: Account) -> None:
    """A gateway that ends as failed is deleted, and another one takes its place and address."""
    network = account.run("create_network", request(account))
    fault = account.inject(FaultKind.CRASH, "CreateNatGateway", times=1)
    inside = InNetwork(site=account.site, network=network)

    account.run("create_egress", inside)

    assert [each.hits for each in account.control.faults() if each.fault.id == fault.id] == [1]
    states = Counter(nat["State"] for nat in account.customer("ec2").describe_nat_gateways()["NatGateways"])
    assert states["available"] == len(ZONES)
    assert parts(account)["elastic-ip"] == len(ZONES)


def test_what_the_clusters_controllers_leaked_is_taken_away(account: Account) -> None:
    """A network interface and a `k8s-*` group of the cluster do not block the deletion of the network."""
    network, _ = build(account, account.run)
    ec2 = account.customer("ec2")
    cluster = f"byoc-{account.site.deployment}"
    interface = ec2.create_network_interface(SubnetId=network.private_subnet_ids[0])["NetworkInterface"]
    ec2.create_tags(
        Resources=[interface["NetworkInterfaceId"]], Tags=[{"Key": "cluster.k8s.amazonaws.com/name", "Value": cluster}]
    )
    ec2.create_security_group(
        GroupName="k8s-traffic-acme", Description="leaked", VpcId=network.network_id,
        TagSpecifications=[
            {"ResourceType": "security-group", "Tags": [{"Key": "elbv2.k8s.aws/cluster", "Value": cluster}]}
        ],
    )  # fmt: skip

    tear_down(account, account.run)

    vpcs = {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]}
    assert network.network_id not in vpcs


def own_network(account: Account, layout: OwnNetwork) -> NetworkSpec:
    facts = account.control.customer(account.site.cloud_account_id).make_network(layout)
    return NetworkSpec(
        existing=ExistingNetwork(
            network_id=facts.vpc, private_subnet_ids=facts.private_subnets, public_subnet_ids=facts.public_subnets
        )
    )


def test_the_customers_own_network_is_used_as_it_is(account: Account) -> None:
    """A network that has what we need is taken, in the order of the zones, and nothing in it is changed."""
    spec = own_network(account, OwnNetwork(region=REGION))
    assert spec.existing is not None
    ec2 = account.customer("ec2")
    for role, subnets in (
        ("internal-elb", spec.existing.private_subnet_ids), ("elb", spec.existing.public_subnet_ids)
    ):  # fmt: skip
        ec2.create_tags(Resources=list(subnets), Tags=[{"Key": f"kubernetes.io/role/{role}", "Value": "1"}])

    network = account.run("create_network", request(account, spec))
    inside = InNetwork(site=account.site, network=network)
    account.run("create_egress", inside)
    account.run("create_private_endpoints", inside)

    assert not network.ours
    assert network.private_subnet_ids == spec.existing.private_subnet_ids
    assert account.changes() == []


def test_every_fault_of_the_customers_network_is_in_one_error(account: Account) -> None:
    """No DNS names, no way out and a zone that is missing: the customer reads all of it at once."""
    layout = OwnNetwork(
        region=REGION, zones=ZONES[:2], private_cidrs=("10.80.0.0/20", "10.80.16.0/20"), public_cidrs=(),
        nat_gateways=False, dns_hostnames=False,
    )  # fmt: skip
    spec = own_network(account, layout)

    failure = account.failure("create_network", request(account, spec))

    assert failure.failure is FailureClass.CONFIG
    assert "enableDnsHostnames is off" in failure.message
    assert failure.message.count("has no route to the internet") == 2
    assert f"no private subnet in {ZONES[2]}" in failure.message
