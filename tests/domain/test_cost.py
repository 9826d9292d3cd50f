"""List prices: complete for what can be chosen, and in proportion."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

import catalog
from activities.aws import preflight as aws_preflight
from activities.aws.node_groups import ROOT_VOLUME_GIB
from activities.aws.private_endpoints import INTERFACE_ENDPOINTS
from activities.azure import machines as azure_machines
from activities.gcp import preflight as gcp_preflight
from activities.placement import MachineFamilies
from domain.clouds import Cloud
from domain.cost import monthly_costs
from domain.deployment import ExistingNetwork, NetworkSpec
from domain.facts import Machine, Placement
from domain.operation import OperationKind
from domain.shape import PoolSize, ShapeName
from domain.state import OperationOrder
from tests.plans.orders import order

AWS = catalog.prices().clouds[Cloud.AWS]


def cost(asked: OperationOrder, zones: int = 3) -> dict[str, float]:
    """Return the lines of an order's estimate in the preferred machines, keyed by what they are for."""
    pools = asked.shape.pools
    if asked.spec.high_availability and asked.shape.highly_available_pools:
        pools = asked.shape.highly_available_pools
    placement = Placement(
        zones=tuple(f"eu-west-1{letter}" for letter in "abc"[:zones]),
        machines=tuple(
            Machine(pool=pool, instance_type=AWS.preferred(size), minimum=size.minimum, maximum=size.maximum)
            for pool, size in pools.items()
        ),
    )
    return {item.what: item.monthly_usd for item in monthly_costs(AWS, OperationKind.PROVISION, asked, placement)}


@pytest.mark.parametrize(
    ("cloud", "machine_types"),
    [
        (Cloud.AWS, aws_preflight.machine_types),
        (Cloud.GCP, gcp_preflight.FAMILIES.machine_types),
        (Cloud.AZURE, azure_machines.FAMILIES.machine_types),
    ],
)
def test_every_machine_type_that_can_be_chosen_has_a_price(
    cloud: Cloud, machine_types: Callable[[PoolSize], tuple[str, ...]]
) -> None:
    """Whatever size an order's pools have, the types among which the preflight chooses are in the list."""
    listed = catalog.prices().clouds[cloud]
    kinds = [(cpu, cpu * gib) for cpu in listed.sizes.values() for gib in (2, 4, 8)]
    sizes = [PoolSize(cpu=cpu, memory_gib=memory, minimum=1, maximum=1) for cpu, memory in kinds]
    sizes += [size for shape in catalog.load().shapes for size in shape.pools.values()]
    sizes += [size for shape in catalog.load().shapes for size in shape.highly_available_pools.values()]

    prices = listed.machine_types()

    for size in sizes:
        assert set(machine_types(size)) <= prices.keys()
        assert listed.preferred(size) == machine_types(size)[0]


@pytest.mark.parametrize(
    ("cloud", "chosen"), [(Cloud.GCP, gcp_preflight.FAMILIES), (Cloud.AZURE, azure_machines.FAMILIES)]
)
def test_the_families_of_a_cloud_are_those_of_the_price_list(cloud: Cloud, chosen: MachineFamilies) -> None:
    """Neither list has a family or a size that the other lacks, and both prefer the same ones."""
    listed = catalog.prices().clouds[cloud]

    assert [(each.gib_for_each_cpu, each.name) for each in listed.families] == [
        (gib, name) for gib, names in chosen.names.items() for name in names
    ]
    assert listed.sizes == {name: cpu for cpu, name in chosen.sizes.items()}


@pytest.mark.parametrize("cloud", Cloud)
def test_every_region_that_can_be_ordered_has_a_factor(cloud: Cloud) -> None:
    """The base region's is 1, and no other is far from it."""
    regions = {region.name for region in catalog.load().clouds[cloud].regions}
    listed = catalog.prices().clouds[cloud]

    assert listed.regions.keys() == regions
    assert listed.regions[listed.base_region] == 1.0
    assert all(0.9 <= factor <= 1.7 for factor in listed.regions.values())


def test_what_is_counted_by_the_piece_is_what_is_made() -> None:
    """As many private endpoints in each zone, and as large a volume of each machine, as the activities make."""
    assert AWS.private_endpoints == len(INTERFACE_ENDPOINTS)
    assert AWS.machine_volume_gib == ROOT_VOLUME_GIB


def test_a_larger_shape_costs_more() -> None:
    """Small costs less than medium, medium less than large, and high availability more than without."""
    totals = [sum(cost(order(shape)).values()) for shape in ShapeName]

    assert all(less < more for less, more in pairwise(totals))
    assert sum(cost(order(high_availability=True)).values()) > sum(cost(order()).values())


def test_lines_are_amounts_times_prices_times_the_region() -> None:
    """The control plane of a month in Dublin, and gateways in each of the zones."""
    lines = cost(order())

    assert lines["Kubernetes control plane"] == pytest.approx(0.10 * 730 * 1.11, abs=0.01)
    assert lines["3 NAT gateways"] == pytest.approx(3 * 0.045 * 730 * 1.11, abs=0.01)
    assert "2 NAT gateways" in cost(order(), zones=2)


def test_the_customers_own_network_is_not_ours_to_count() -> None:
    """Gateways, endpoints and addresses of a network that exists already cost nothing more."""
    plain = order()
    existing = NetworkSpec(existing=ExistingNetwork(network_id="vpc-1", private_subnet_ids=("a", "b")))
    own = plain.model_copy(update={"spec": plain.spec.model_copy(update={"network": existing})})

    assert cost(plain).keys() - cost(own).keys() == {"3 NAT gateways", "21 private endpoints", "6 public addresses"}
