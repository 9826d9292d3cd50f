"""Looking before anything is made."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from temporalio.exceptions import ApplicationError

import catalog
from activities.aws.preflight import machine_types
from activities.contracts import AddressQuestion, CapacityQuestion
from activities.placement import place
from domain.clouds import Cloud
from domain.deployment import ExistingNetwork, NetworkSpec
from domain.facts import AddressPlan, Placement
from domain.failure import FailureClass
from domain.shape import PoolName, PoolSize, ShapeName
from simulators.customer import OwnNetwork
from tests.activities.aws.conftest import REGION, Account

ZONES = tuple(f"{REGION}{letter}" for letter in "abc")
PLACEMENT = Placement(zones=ZONES, machines=())
STORE = PoolSize(cpu=4, memory_gib=16, minimum=3, maximum=6)


def capacity(account: Account, **changes: object) -> CapacityQuestion:
    """Ask for room for a highly available medium deployment."""
    shape = catalog.load().shape(ShapeName.V1_MEDIUM)
    question = CapacityQuestion(site=account.site, shape=shape, high_availability=True)
    return question.model_copy(update=changes)


def addresses(account: Account, network: NetworkSpec) -> AddressQuestion:
    """Ask for the ranges of a network over three zones."""
    return AddressQuestion(site=account.site, network=network, placement=PLACEMENT)


def own_network(account: Account) -> NetworkSpec:
    """Let the customer make a network of their own."""
    facts = account.control.customer(account.site.cloud_account_id).make_network(OwnNetwork(region=REGION))
    return NetworkSpec(
        existing=ExistingNetwork(
            network_id=facts.vpc, private_subnet_ids=facts.private_subnets, public_subnet_ids=facts.public_subnets
        )
    )


def test_an_account_with_room_passes(account: Account) -> None:
    """Nothing is reported, and nothing is changed."""
    assert account.run("check_quotas", capacity(account)) is None
    assert account.changes() == []


def test_every_exhausted_quota_is_named(account: Account) -> None:
    """Need, use and limit are in the message, for each quota that has no room."""
    ec2 = account.customer("ec2")
    for number in range(9):
        ec2.create_vpc(CidrBlock=f"10.{100 + number}.0.0/16")
    for _ in range(18):
        ec2.allocate_address(Domain="vpc")

    failure = account.failure("check_quotas", capacity(account))

    assert failure.failure is FailureClass.QUOTA
    assert "EC2-VPC Elastic IPs (ec2 L-0263D0A3): needs 3, 18 of 20 in use" in failure.message
    assert "VPCs per Region (vpc L-F678F1CE): needs 1" in failure.message


def test_a_deployment_in_the_customers_network_needs_no_room_for_one_of_ours(account: Account) -> None:
    """With the customer's own network neither VPCs nor addresses are counted."""
    network = own_network(account)
    for _ in range(17):
        account.customer("ec2").allocate_address(Domain="vpc")

    assert account.failure("check_quotas", capacity(account)).failure is FailureClass.QUOTA
    assert account.run("check_quotas", capacity(account, network=network)) is None


def test_every_quota_of_the_catalogue_can_be_counted(account: Account) -> None:
    """A quota that is added to the catalogue needs to be counted, or every preflight would fail."""
    limits = {quota.code for quota in catalog.load().clouds[Cloud.AWS].quotas}

    account.run("check_quotas", capacity(account))

    asked = account.control.journal(after=account.since, operation="GetServiceQuota")
    assert {call.resource for call in asked} == limits


def test_machines_are_chosen_that_all_zones_offer(account: Account) -> None:
    """Three zones, and for each pool the preferred family of the size that the shape asks for."""
    placement: Placement = account.run("choose_placement", capacity(account))

    assert placement.zones == ZONES
    assert {machine.pool for machine in placement.machines} == set(PoolName)
    assert {machine.instance_type for machine in placement.machines} == {"m7i.xlarge"}


def test_the_customers_network_decides_the_zones(account: Account) -> None:
    """Only zones in which the customer has private subnets are chosen."""
    layout = OwnNetwork(
        region=REGION, zones=ZONES[1:], private_cidrs=("10.80.0.0/20", "10.80.16.0/20"),
        public_cidrs=("10.80.128.0/24", "10.80.129.0/24"),
    )  # fmt: skip
    facts = account.control.customer(account.site.cloud_account_id).make_network(layout)
    existing = ExistingNetwork(network_id=facts.vpc, private_subnet_ids=facts.private_subnets)

    placement = account.run("choose_placement", capacity(account, network=NetworkSpec(existing=existing)))

    assert placement.zones == ZONES[1:]


def test_a_family_that_one_zone_lacks_is_passed_over() -> None:
    """The next family is taken before a zone is given up."""
    offers = {"m7i.xlarge": {"a", "b"}, "m6i.xlarge": {"a", "b", "c"}}

    placement = place({PoolName.STORE: STORE}, ["a", "b", "c"], offers, machine_types, region=REGION)

    assert placement.zones == ("a", "b", "c")
    assert placement.machines[0].instance_type == "m6i.xlarge"


def test_two_zones_do_where_three_do_not_offer_the_machines() -> None:
    """The zone that offers nothing is left out."""
    placement = place({PoolName.STORE: STORE}, ["a", "b", "c"], {"m5.xlarge": {"a", "c"}}, machine_types, region=REGION)

    assert placement.zones == ("a", "c")


def test_a_region_without_the_machines_is_refused() -> None:
    """The message says which size was looked for, and where."""
    with pytest.raises(ApplicationError, match="4 vCPU with 16 GiB") as caught:
        place({PoolName.STORE: STORE}, ["a", "b"], {"m7i.xlarge": {"a"}}, machine_types, region=REGION)

    assert caught.value.type == FailureClass.CONFIG


@pytest.mark.parametrize(
    ("cpu", "memory", "first"),
    [(2, 4, "c7i.large"), (4, 16, "m7i.xlarge"), (8, 64, "r7i.2xlarge"), (6, 16, "c7i.2xlarge")],
)
def test_the_machine_has_at_least_the_size_of_the_pool(cpu: int, memory: int, first: str) -> None:
    """The ratio of memory to processors chooses the kind of family, the processors its size."""
    assert machine_types(PoolSize(cpu=cpu, memory_gib=memory, minimum=1, maximum=1))[0] == first


def test_addresses_are_planned_for_each_zone(account: Account) -> None:
    """A free range is divided."""
    plan: AddressPlan = account.run("plan_addresses", addresses(account, NetworkSpec()))

    assert len(plan.private_cidrs) == len(plan.public_cidrs) == len(ZONES)


def test_a_range_that_is_taken_is_refused(account: Account) -> None:
    """The error names the network that has some of the addresses."""
    theirs = account.customer("ec2").create_vpc(CidrBlock="10.64.32.0/20")["Vpc"]["VpcId"]

    failure = account.failure("plan_addresses", addresses(account, NetworkSpec()))

    assert (failure.failure, failure.resource) == (FailureClass.CONFIG, theirs)


def test_an_unusable_range_is_refused(account: Account) -> None:
    """The field of the order is named."""
    failure = account.failure("plan_addresses", addresses(account, NetworkSpec(cidr=IPv4Network("10.0.0.0/24"))))

    assert failure.failure is FailureClass.CONFIG
    assert failure.message.startswith("network.cidr: 10.0.0.0/24")


def test_the_customers_own_ranges_are_returned(account: Account) -> None:
    """For a network of the customer's own the plan says what is there."""
    plan = account.run("plan_addresses", addresses(account, own_network(account)))

    assert plan.cidr == "10.80.0.0/16"
    assert plan.private_cidrs[0] == "10.80.0.0/20"
