"""Looking before anything is made."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from google.cloud import compute_v1

import catalog
from activities.contracts import AddressQuestion, CapacityQuestion, NetworkRequest
from activities.gcp.compute import last_part
from activities.gcp.preflight import FAMILIES
from activities.needs import declared
from domain.clouds import Cloud
from domain.deployment import ExistingNetwork, NetworkSpec
from domain.facts import AddressPlan, Placement
from domain.failure import FailureClass
from domain.shape import PoolName, PoolSize, ShapeName
from simulators.gcp.documents import GcpOwnNetwork, Quota
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.ground import make_ground

ZONES = tuple(f"{REGION}-{letter}" for letter in "abc")
PLACEMENT = Placement(zones=ZONES, machines=())
ACTIVITIES = ("check_quotas", "choose_placement", "plan_addresses")


def capacity(account: Account, **changes: object) -> CapacityQuestion:
    """Ask for room for a highly available medium deployment."""
    shape = catalog.load().shape(ShapeName.V1_MEDIUM)
    question = CapacityQuestion(site=account.site, shape=shape, high_availability=True)
    return question.model_copy(update=changes)


def addresses(account: Account, network: NetworkSpec) -> AddressQuestion:
    """Ask for the ranges of a network over three zones."""
    return AddressQuestion(site=account.site, network=network, placement=PLACEMENT)


def own_network(account: Account) -> ExistingNetwork:
    """Let the customer make a network of their own."""
    made = account.control.project(account.project).make_network(GcpOwnNetwork(region=REGION))
    return ExistingNetwork(
        network_id=last_part(made.network),
        private_subnet_ids=(last_part(made.subnetwork),),
        pod_range=made.pods_range,
        service_range=made.services_range,
    )


def limit(account: Account, metric: str, value: float) -> None:
    """Give the project another limit in the region."""
    account.control.project(account.project).set_quota(Quota(metric=metric, limit=value, region=REGION))


def processors() -> int:
    """Return how many processors the deployment that is asked about has at its maximum."""
    pools = catalog.load().shape(ShapeName.V1_MEDIUM).highly_available_pools
    return sum(pool.cpu * pool.maximum for pool in pools.values())


def test_an_account_with_room_passes(account: Account) -> None:
    """Nothing is reported, and nothing is changed."""
    assert account.run("check_quotas", capacity(account)) is None
    assert account.changes() == []


@pytest.mark.parametrize("metric", ["CPUS", "N2_CPUS"])
def test_exactly_as_many_processors_as_are_needed_do(account: Account, metric: str) -> None:
    """Those of all families together and those of the chosen one are counted, each by itself."""
    limit(account, metric, processors())
    assert account.run("check_quotas", capacity(account)) is None
    limit(account, metric, processors() - 1)

    failure = account.failure("check_quotas", capacity(account))

    assert (failure.failure, failure.quota) == (FailureClass.QUOTA, metric)
    assert f"({metric}): needs {processors()}, 0 of {processors() - 1} in use" in failure.message


def test_every_exhausted_quota_is_named(account: Account) -> None:
    """Need, use and limit are in the message, for each quota of the catalogue that has no room."""
    codes = [quota.code for quota in catalog.load().clouds[Cloud.GCP].quotas]
    for code in codes:
        limit(account, code, 1)

    failure = account.failure("check_quotas", capacity(account))

    assert failure.quota == codes[0]
    assert all(f"({code}): needs " in failure.message for code in codes)
    assert failure.message.count("0 of 1 in use") == len(codes)


def test_what_the_deployment_has_already_is_not_counted_against_it(account: Account) -> None:
    """Of two disks that take the whole quota, the deployment's own leaves its room to a repetition."""
    needed = 3000
    disks = account.customer(compute_v1.DisksClient)
    where = {"project": account.project, "zone": ZONES[0]}
    ours = {"goog-k8s-cluster-name": f"byoc-{account.site.deployment}"}
    for name, size, labels in (("ours", needed, ours), ("theirs", 100, {})):
        disk = compute_v1.Disk(name=name, size_gb=size, labels=labels, type_=f"zones/{ZONES[0]}/diskTypes/pd-ssd")
        disks.insert_unary(**where, disk_resource=disk)
    limit(account, "SSD_TOTAL_GB", 100)

    failure = account.failure("check_quotas", capacity(account))

    assert "100 of 100 in use" in failure.message


def test_the_machines_of_the_deployment_are_not_counted_against_it(account: Account) -> None:
    """While its first machines run, both quotas of processors still have room for exactly the whole of it."""
    ground = make_ground(account)
    cluster = account.run("create_cluster", ground.cluster_request())
    account.run("create_node_pool", ground.pool_request(cluster))
    for metric in ("CPUS", "N2_CPUS"):
        limit(account, metric, processors())
    region = account.customer(compute_v1.RegionsClient).get(project=account.project, region=REGION)

    assert {quota.metric: quota.usage for quota in region.quotas}["N2_CPUS"] > 0
    assert account.run("check_quotas", capacity(account)) is None


def test_machines_are_chosen_that_all_zones_offer(account: Account) -> None:
    """Three zones, and for each pool the preferred family of the size that the shape asks for."""
    placement: Placement = account.run("choose_placement", capacity(account))

    assert placement.zones == ZONES
    assert {machine.pool for machine in placement.machines} == set(PoolName)
    assert {machine.instance_type for machine in placement.machines} == {"n2-standard-4"}


def test_every_size_of_every_family_is_offered(account: Account) -> None:
    """Whatever may be chosen is the name of a machine type that there is, of at least that size."""
    kinds = {
        kind.name: kind
        for kind in account.customer(compute_v1.MachineTypesClient).list(project=account.project, zone=ZONES[0])
    }

    for gib in FAMILIES.names:
        for cpu in FAMILIES.sizes:
            for name in FAMILIES.machine_types(PoolSize(cpu=cpu, memory_gib=cpu * gib, minimum=1, maximum=1)):
                assert (kinds[name].guest_cpus, kinds[name].memory_mb) == (cpu, cpu * gib * 1024)


def test_machines_that_no_region_offers_are_refused(account: Account) -> None:
    """The message says which size was looked for, and where."""
    question = capacity(account)
    huge = {PoolName.STORE: PoolSize(cpu=4, memory_gib=4000, minimum=3, maximum=3)}
    question = question.model_copy(update={"shape": question.shape.model_copy(update={"highly_available_pools": huge})})

    failure = account.failure("choose_placement", question)

    assert failure.failure is FailureClass.CONFIG
    assert "4 vCPU with 4000 GiB" in failure.message


@pytest.mark.parametrize(
    ("cpu", "memory", "types"),
    [
        (2, 4, ("c2d-highcpu-2",)),
        (4, 16, ("n2-standard-4", "n2d-standard-4")),
        (8, 64, ("n2-highmem-8", "n2d-highmem-8")),
        (6, 16, ("c2d-highcpu-8",)),
        (64, 64, ()),
    ],
)
def test_the_machine_has_at_least_the_size_of_the_pool(cpu: int, memory: int, types: tuple[str, ...]) -> None:
    """The ratio of memory to processors chooses the kind of family, the processors its size."""
    assert FAMILIES.machine_types(PoolSize(cpu=cpu, memory_gib=memory, minimum=1, maximum=1)) == types


def test_addresses_are_planned_and_make_a_network(account: Account) -> None:
    """A free range is divided, the network has these ranges, and a second look answers the same."""
    question = addresses(account, NetworkSpec())
    plan: AddressPlan = account.run("plan_addresses", question)

    request = NetworkRequest(site=account.site, network=question.network, placement=PLACEMENT, addresses=plan)
    network = account.run("create_network", request)

    nodes = account.customer(compute_v1.SubnetworksClient).get(
        project=account.project, region=REGION, subnetwork=network.private_subnet_ids[0]
    )
    assert (nodes.ip_cidr_range, plan.pod_cidr) == (plan.private_cidrs[0], "10.64.128.0/17")
    assert account.run("plan_addresses", question) == plan


@pytest.mark.parametrize("cidr", ["10.80.0.0/16", "10.96.0.0/16", "10.100.0.0/20"])
def test_a_range_that_is_taken_is_refused(account: Account, cidr: str) -> None:
    """Nodes', pods' and services' ranges of another network count; the error names the subnetwork."""
    theirs = own_network(account)

    failure = account.failure("plan_addresses", addresses(account, NetworkSpec(cidr=IPv4Network(cidr))))

    assert (failure.failure, failure.resource) == (FailureClass.CONFIG, theirs.private_subnet_ids[0])
    assert failure.message.startswith(f"network.cidr: {cidr} overlaps")


def test_an_unusable_range_is_refused(account: Account) -> None:
    """The field of the order is named."""
    failure = account.failure("plan_addresses", addresses(account, NetworkSpec(cidr=IPv4Network("10.0.0.0/24"))))

    assert failure.failure is FailureClass.CONFIG
    assert failure.message.startswith("network.cidr: 10.0.0.0/24")


def test_the_customers_own_ranges_are_returned(account: Account) -> None:
    """For a network of the customer's own the plan says what is there."""
    plan = account.run("plan_addresses", addresses(account, NetworkSpec(existing=own_network(account))))

    assert plan == AddressPlan(
        cidr="10.80.0.0/20",
        private_cidrs=("10.80.0.0/20",),
        public_cidrs=(),
        pod_cidr="10.96.0.0/14",
        service_cidr="10.100.0.0/20",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network_id": "nope"}, "nope has no subnetwork"),
        ({"private_subnet_ids": ("nope",)}, "has no subnetwork nope"),
        ({"pod_range": "nope"}, "no secondary range 'nope'"),
        ({"service_range": ""}, "no secondary range ''"),
    ],
)
def test_what_the_customers_network_lacks_is_named(account: Account, change: dict[str, Any], words: str) -> None:
    """Network, subnetwork and both ranges have to be there."""
    existing = own_network(account).model_copy(update=change)

    failure = account.failure("plan_addresses", addresses(account, NetworkSpec(existing=existing)))

    assert failure.failure is FailureClass.CONFIG
    assert words in failure.message


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_what_is_declared_is_what_is_called(account: Account, activity: str) -> None:
    """Every permission that an activity asks the customer for is used, and no other."""
    question = addresses(account, NetworkSpec()) if activity == "plan_addresses" else capacity(account)

    account.run(activity, question)

    used = {each.action for each in account.control.authorizations(account.project)}
    assert {each for each in used if each.startswith("compute.")} == {
        need.action for need in declared([account.activities[activity]])
    }
