"""The address ranges of a network."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.addresses import (
    LARGEST,
    SMALLEST,
    AddressesUnusableError,
    first_overlap,
    overlay_ranges,
    plan_overlaid_subnets,
    plan_ranges,
    plan_regional_subnets,
    plan_subnets,
)
from domain.clouds import Cloud

PRIVATE = IPv4Network("10.0.0.0/8")


@st.composite
def private_ranges(draw: st.DrawFn) -> IPv4Network:
    """Any range in 10.0.0.0/8 of a size that a network may have."""
    prefix = draw(st.integers(LARGEST, SMALLEST))
    number = draw(st.integers(0, 2 ** (prefix - PRIVATE.prefixlen) - 1))
    return IPv4Network((int(PRIVATE.network_address) + number * 2 ** (32 - prefix), prefix))


@given(cidr=private_ranges(), zones=st.integers(2, 3))
def test_the_subnets_lie_in_the_network_and_never_overlap(cidr: IPv4Network, zones: int) -> None:
    """Whatever the range: one private and one public subnet a zone, apart, and none smaller than clouds make (/28)."""
    plan = plan_subnets(cidr, zones)

    assert (len(plan.private_cidrs), len(plan.public_cidrs)) == (zones, zones)
    subnets = [IPv4Network(subnet) for subnet in (*plan.private_cidrs, *plan.public_cidrs)]
    assert all(subnet.subnet_of(cidr) and subnet.prefixlen <= 28 for subnet in subnets)
    assert not any(one.overlaps(other) for one, other in combinations(subnets, 2))


@given(cidr=private_ranges())
def test_a_third_zone_moves_no_subnet(cidr: IPv4Network) -> None:
    """The ranges of the first two zones are the same with and without a third one."""
    two, three = plan_subnets(cidr, 2), plan_subnets(cidr, 3)

    assert three.private_cidrs[:2] == two.private_cidrs
    assert three.public_cidrs[:2] == two.public_cidrs


def test_the_default_range_is_divided_as_documented() -> None:
    """A /16 gives private /19 and public /24."""
    plan = plan_subnets(IPv4Network("10.64.0.0/16"), 3)

    assert plan.private_cidrs == ("10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/19")
    assert plan.public_cidrs == ("10.64.224.0/24", "10.64.225.0/24", "10.64.226.0/24")


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "10.0.0.0/21", "8.8.0.0/16"])
def test_an_unusable_range_is_refused(cidr: str) -> None:
    """Too large, too small, or public: the error names the range."""
    with pytest.raises(AddressesUnusableError, match=cidr):
        plan_subnets(IPv4Network(cidr), 3)


@given(cidr=private_ranges())
def test_regional_subnets_lie_in_the_network_and_never_overlap(cidr: IPv4Network) -> None:
    """Whatever the range: nodes, proxies (64 addresses at least), pods and services, the pods' the largest."""
    plan = plan_regional_subnets(cidr)

    (nodes,), (proxies,) = plan.private_cidrs, plan.public_cidrs
    ranges = [IPv4Network(each) for each in (nodes, proxies, plan.pod_cidr, plan.service_cidr)]
    assert all(each.subnet_of(cidr) for each in ranges)
    assert not any(one.overlaps(other) for one, other in combinations(ranges, 2))
    assert IPv4Network(proxies).prefixlen <= 26
    assert max(ranges, key=lambda each: each.num_addresses) == IPv4Network(plan.pod_cidr)
    assert plan.cidr == str(cidr)


@pytest.mark.parametrize(
    ("cidr", "ranges"),
    [
        ("10.64.0.0/16", ("10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/24", "10.64.128.0/17")),
        ("10.64.16.0/20", ("10.64.16.0/23", "10.64.18.0/23", "10.64.20.0/24", "10.64.24.0/21")),
    ],
)
def test_regional_ranges_are_divided_as_documented(cidr: str, ranges: tuple[str, ...]) -> None:
    """The largest and the smallest network: nodes, services, proxies, pods."""
    plan = plan_regional_subnets(IPv4Network(cidr))

    assert (*plan.private_cidrs, plan.service_cidr, *plan.public_cidrs, plan.pod_cidr) == ranges


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "10.0.0.0/21", "8.8.0.0/16"])
def test_an_unusable_regional_range_is_refused(cidr: str) -> None:
    """By the same rules."""
    with pytest.raises(AddressesUnusableError, match=cidr):
        plan_regional_subnets(IPv4Network(cidr))


@given(cidr=private_ranges())
def test_overlaid_ranges_lie_apart(cidr: IPv4Network) -> None:
    """Whatever the range: nodes and API server (a /28 at least) in it, pods and services outside, apart."""
    plan = plan_overlaid_subnets(cidr)

    (nodes,), (server,) = plan.private_cidrs, plan.public_cidrs
    inside, outside = (nodes, server), (plan.pod_cidr, plan.service_cidr)
    assert all(IPv4Network(each).subnet_of(cidr) for each in inside)
    assert not any(IPv4Network(each).overlaps(cidr) for each in outside)
    assert not any(one.overlaps(other) for one, other in combinations(map(IPv4Network, (*inside, *outside)), 2))
    assert IPv4Network(server).prefixlen <= 28


def test_overlaid_ranges_are_divided_as_documented() -> None:
    """A /16 gives nodes /19 and the API server /24; pods and services have what AKS has by itself, or the next."""
    plan = plan_ranges(Cloud.AZURE, IPv4Network("10.64.0.0/16"), 3)

    assert (plan.private_cidrs, plan.public_cidrs) == (("10.64.0.0/19",), ("10.64.224.0/24",))
    assert (plan.pod_cidr, plan.service_cidr) == ("10.244.0.0/16", "10.245.0.0/16")
    assert plan_ranges(Cloud.AZURE, IPv4Network("10.244.0.0/16"), 3).pod_cidr == "10.245.0.0/16"


def test_what_is_taken_everywhere_is_refused() -> None:
    """Pods and services need two ranges, and the message names those that were tried."""
    taken = [IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12")]

    with pytest.raises(AddressesUnusableError, match=r"100\.64\.0\.0/16 for pods and services"):
        overlay_ranges(taken)


def test_an_overlap_is_found() -> None:
    """The first range that shares an address is returned, and none where there is none."""
    others = [IPv4Network("10.1.0.0/16"), IPv4Network("10.64.128.0/20")]

    assert first_overlap(IPv4Network("10.64.0.0/16"), others) == others[1]
    assert first_overlap(IPv4Network("10.65.0.0/16"), others) is None
