"""Looking before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.models import ResourceSku
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

import catalog
from activities.azure.connection import AzureConnections
from activities.azure.groups import node_group_name
from activities.azure.machines import FAMILIES
from activities.azure.offers import Offer, offers_of
from activities.azure.preflight import AzurePreflight
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.contracts import AddressQuestion, CapacityQuestion
from activities.needs import declared
from domain.clouds import Cloud
from domain.deployment import ExistingNetwork, NetworkSpec
from domain.facts import AddressPlan, Placement
from domain.failure import FailureClass
from domain.naming import owner_tags
from domain.shape import PoolName, PoolSize, ShapeName
from simulators.azure.documents import AzureOwnNetwork, AzureQuota
from tests.activities.azure.conftest import REGION, Account, activities_of

ZONES = ("1", "2", "3")
PLACEMENT = Placement(zones=ZONES, machines=())
SYSTEM = 2 * len(ZONES)
"""Cores of the machines that AKS has for itself."""


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run."""
    return activities_of(AzurePreflight)(settings, connections)


def capacity(account: Account, **changes: object) -> CapacityQuestion:
    """Ask for room for a highly available medium deployment."""
    shape = catalog.load().shape(ShapeName.V1_MEDIUM)
    question = CapacityQuestion(site=account.site, shape=shape, high_availability=True)
    return question.model_copy(update=changes)


def addresses(account: Account, network: NetworkSpec) -> AddressQuestion:
    """Ask for the ranges of a network over three zones."""
    return AddressQuestion(site=account.site, network=network, placement=PLACEMENT)


def own_network(account: Account, **details: Any) -> ExistingNetwork:
    """Let the customer make a network of their own, with one subnet."""
    made = account.owner.make_network(AzureOwnNetwork(region=REGION, **details))
    return ExistingNetwork(network_id=made.network, private_subnet_ids=(made.subnet,), public_subnet_ids=(made.subnet,))


def limit(account: Account, name: str, value: int) -> None:
    """Give the subscription another limit in the region."""
    account.owner.set_quota(AzureQuota(region=REGION, name=name, limit=value))


def cores() -> int:
    """Return how many cores the deployment that is asked about has at its maximum."""
    pools = catalog.load().shape(ShapeName.V1_MEDIUM).highly_available_pools
    return SYSTEM + sum(pool.cpu * pool.maximum for pool in pools.values())


def test_an_account_with_room_passes(account: Account) -> None:
    """Nothing is reported, and nothing is changed."""
    assert account.run("check_quotas", capacity(account)) is None
    assert account.changes() == []


@pytest.mark.parametrize("name", ["cores", "standardDSv5Family"])
def test_exactly_as_many_cores_as_are_needed_do(account: Account, name: str) -> None:
    """Those of all families together and those of the chosen one are counted, each by itself, AKS's own with them."""
    limit(account, name, cores())
    assert account.run("check_quotas", capacity(account)) is None
    limit(account, name, cores() - 1)

    failure = account.failure("check_quotas", capacity(account))

    assert (failure.failure, failure.quota) == (FailureClass.QUOTA, name)
    assert f"({name}): needs {cores()}, 0 of {cores() - 1} in use" in failure.message


def test_every_exhausted_quota_is_named(account: Account) -> None:
    """Need, use and limit are in the message, for each quota of the catalogue that has no room."""
    codes = [quota.code for quota in catalog.load().clouds[Cloud.AZURE].quotas]
    for code in codes:
        limit(account, code, 1)

    failure = account.failure("check_quotas", capacity(account))

    assert failure.quota == codes[0]
    assert all(f"({code}): needs " in failure.message for code in codes)
    assert failure.message.count("0 of 1 in use") == len(codes)


def test_what_the_deployment_has_already_is_not_counted_against_it(account: Account) -> None:
    """Of three addresses, ours and that of the cluster's load balancer leave their room to a repetition."""
    groups = account.customer(ResourceManagementClient).resource_groups
    client = account.customer(NetworkManagementClient).public_ip_addresses
    wanted = {"location": REGION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    for group, tags in (
        ("ours", owner_tags(account.site, "egress")),
        (node_group_name(account.site), {}),
        ("theirs", {}),
    ):
        groups.create_or_update(group, {"location": REGION})
        client.begin_create_or_update(group, "address", {**wanted, "tags": tags}).result()
    limit(account, "PublicIPAddresses", 2)

    failure = account.failure("check_quotas", capacity(account))

    assert "(PublicIPAddresses): needs 2, 1 of 2 in use" in failure.message


def test_machines_are_chosen_that_all_zones_offer(account: Account) -> None:
    """Three zones, and for each pool the preferred family of the size that the shape asks for."""
    placement: Placement = account.run("choose_placement", capacity(account))

    assert placement.zones == ZONES
    assert {machine.pool for machine in placement.machines} == set(PoolName)
    assert {machine.instance_type for machine in placement.machines} == {"Standard_D4s_v5"}


def test_every_size_of_every_family_is_offered(account: Account) -> None:
    """Whatever may be chosen is the name of a size that there is, with as many cores."""
    offers = offers_of(account.customer(ComputeManagementClient), REGION)

    for gib in FAMILIES.names:
        for cpu in FAMILIES.sizes:
            for name in FAMILIES.machine_types(PoolSize(cpu=cpu, memory_gib=cpu * gib, minimum=1, maximum=1)):
                assert offers[name].cores == cpu


def test_machines_that_no_region_offers_are_refused(account: Account) -> None:
    """The message says which size was looked for, and where."""
    question = capacity(account)
    huge = {PoolName.STORE: PoolSize(cpu=4, memory_gib=4000, minimum=3, maximum=3)}
    question = question.model_copy(update={"shape": question.shape.model_copy(update={"highly_available_pools": huge})})

    failure = account.failure("choose_placement", question)

    assert failure.failure is FailureClass.CONFIG
    assert "4 vCPU with 4000 GiB" in failure.message


@pytest.mark.parametrize(
    ("restrictions", "zones"),
    [
        ([], {"1", "2", "3"}),
        ([{"type": "Zone", "restrictionInfo": {"locations": [REGION], "zones": ["2"]}}], {"1", "3"}),
        ([{"type": "Location", "restrictionInfo": {"locations": [REGION]}}], set()),
    ],
)
def test_sizes_that_are_kept_from_the_subscription_do_not_count(
    restrictions: list[dict[str, Any]], zones: set[str]
) -> None:
    """Azure withholds sizes from a subscription in a zone, or in all of them."""
    sku = ResourceSku(
        {
            "resourceType": "virtualMachines",
            "name": "Standard_D4s_v5",
            "family": "standardDSv5Family",
            "locationInfo": [{"location": REGION, "zones": ["3", "1", "2"]}],
            "capabilities": [{"name": "vCPUs", "value": "4"}],
            "restrictions": restrictions,
        }
    )
    listed = SimpleNamespace(resource_skus=SimpleNamespace(list=lambda **_: [sku]))

    assert offers_of(listed, REGION) == {"Standard_D4s_v5": Offer("standardDSv5Family", 4, frozenset(zones))}


def test_addresses_are_planned(account: Account) -> None:
    """A free range is divided, and a second look answers the same; pods and services lie elsewhere."""
    plan: AddressPlan = account.run("plan_addresses", addresses(account, NetworkSpec()))

    assert (plan.private_cidrs, plan.public_cidrs) == (("10.64.0.0/19",), ("10.64.224.0/24",))
    assert account.run("plan_addresses", addresses(account, NetworkSpec())) == plan


def test_a_range_that_is_taken_is_refused(account: Account) -> None:
    """The error names the network."""
    own_network(account)

    failure = account.failure("plan_addresses", addresses(account, NetworkSpec(cidr=IPv4Network("10.80.0.0/16"))))

    assert (failure.failure, failure.resource) == (FailureClass.CONFIG, "customer-network")
    assert failure.message.startswith("network.cidr: 10.80.0.0/16 overlaps 10.80.0.0/20")


def test_a_network_elsewhere_takes_nothing(account: Account) -> None:
    """Another region's networks are another matter."""
    account.owner.make_network(AzureOwnNetwork(region="eastus"))

    assert account.run("plan_addresses", addresses(account, NetworkSpec(cidr=IPv4Network("10.80.0.0/16"))))


def test_an_unusable_range_is_refused(account: Account) -> None:
    """The field of the order is named."""
    failure = account.failure("plan_addresses", addresses(account, NetworkSpec(cidr=IPv4Network("10.0.0.0/24"))))

    assert failure.failure is FailureClass.CONFIG
    assert failure.message.startswith("network.cidr: 10.0.0.0/24")


def test_the_customers_own_ranges_are_returned(account: Account) -> None:
    """For a network of the customer's own the plan says what is there, and leaves it to pods and services to avoid."""
    existing = own_network(account, cidr="10.244.0.0/16")

    plan = account.run("plan_addresses", addresses(account, NetworkSpec(existing=existing)))

    assert plan == AddressPlan(
        cidr="10.244.0.0/16",
        private_cidrs=("10.244.0.0/16",),
        public_cidrs=("10.244.0.0/16",),
        pod_cidr="10.245.0.0/16",
        service_cidr="172.20.0.0/16",
    )


@pytest.mark.parametrize(
    ("field", "words"), [("network_id", "there is no network"), ("private_subnet_ids", "has no subnet nope")]
)
def test_what_the_customers_network_lacks_is_named(account: Account, field: str, words: str) -> None:
    """Network and subnets have to be there."""
    existing = own_network(account)
    given = getattr(existing, field)
    changed = f"{given}-nope" if isinstance(given, str) else (f"{existing.network_id}/subnets/nope",)

    failure = account.failure(
        "plan_addresses",
        addresses(account, NetworkSpec(existing=existing.model_copy(update={field: changed}))),
    )

    assert failure.failure is FailureClass.CONFIG
    assert words in failure.message


@pytest.mark.parametrize("activity", ["choose_placement", "plan_addresses"])
def test_what_is_declared_is_what_is_called(account: Account, activity: str) -> None:
    """Every action that an activity asks the customer for is used, and no other."""
    question = addresses(account, NetworkSpec()) if activity == "plan_addresses" else capacity(account)

    account.run(activity, question)

    assert account.used_by(activity) == {need.action for need in declared([account.activities[activity]])}
