"""Waves of a rollout: everybody once, each wave a fair sample, a canary in each cloud."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from domain.waves import Member, WaveName, stratified, waves_of

CLOUDS, SHAPES = ("aws", "azure", "gcp"), ("v1-large", "v1-medium", "v1-small")

fleets = st.lists(
    st.tuples(st.sampled_from(CLOUDS), st.sampled_from(SHAPES), st.integers(0, 5)), min_size=1, max_size=250
).map(
    lambda rows: [
        Member(f"d{number}", f"customer-{customer}", cloud, shape)
        for number, (cloud, shape, customer) in enumerate(rows)
    ]
)


@given(fleets, st.booleans())
def test_everybody_is_in_exactly_one_wave_and_no_wave_is_empty(fleet: list[Member], urgent: bool) -> None:
    """The waves are a partition of the fleet, in order."""
    waves = waves_of(fleet, release="4.13.0", internal=("customer-0",), urgent=urgent)

    assert sorted(member for wave in waves for member in wave.members) == sorted(fleet)
    assert all(wave.members for wave in waves)
    assert [wave.name for wave in waves] == [name for name in WaveName if name in {wave.name for wave in waves}]


@given(fleets)
def test_every_beginning_of_the_order_is_a_fair_sample(fleet: list[Member]) -> None:
    """Of any first part each stratum has its share of the fleet, give or take one."""
    order = stratified(fleet, seed="4.13.0")
    sizes = Counter((member.cloud, member.shape) for member in fleet)

    for cut in range(len(order) + 1):
        counted = Counter((member.cloud, member.shape) for member in order[:cut])
        # The position of the cut among all strata is known up to half a member of each of them.
        slack = 1 + len(sizes) / 2
        for stratum, size in sizes.items():
            assert abs(counted[stratum] - size * cut / len(fleet)) <= slack


@given(fleets)
def test_the_canaries_are_in_each_cloud_and_shares_are_cumulative(fleet: list[Member]) -> None:
    """After the canary every cloud has had one; after 10 % and 30 % so many of the fleet were asked."""
    waves = {wave.name: wave.members for wave in waves_of(fleet, release="4.13.0")}
    clouds = {member.cloud for member in fleet}

    assert {member.cloud for member in waves[WaveName.CANARY]} == clouds
    asked = len(waves[WaveName.CANARY])
    assert asked == max(len(clouds), ceil(0.01 * len(fleet)))
    for name, share in ((WaveName.TENTH, 0.10), (WaveName.THIRD, 0.30)):
        asked += len(waves.get(name, ()))
        assert asked >= ceil(share * len(fleet))
        assert not waves.get(name) or asked == ceil(share * len(fleet))


def test_the_vendors_own_deployments_come_first_and_bakes_are_as_agreed() -> None:
    """Internal, canary, 10 %, 30 %, the rest; 24, 24, 12 and 12 hours."""
    fleet = [Member(f"d{number}", "vendor" if number < 4 else "acme", "aws", "v1-small") for number in range(104)]

    waves = waves_of(fleet, release="4.13.0", internal=("vendor",))

    assert {member.customer for member in waves[0].members} == {"vendor"}
    assert [(wave.name, len(wave.members), wave.bake / timedelta(hours=1)) for wave in waves] == [
        (WaveName.INTERNAL, 4, 24),
        (WaveName.CANARY, 1, 24),
        (WaveName.TENTH, 9, 12),
        (WaveName.THIRD, 20, 12),
        (WaveName.REST, 70, 0),
    ]


def test_an_urgent_release_goes_to_one_then_to_a_tenth_then_to_all() -> None:
    """Half an hour each; the vendor's own deployments have no wave of their own."""
    fleet = [Member(f"d{number}", "vendor" if number < 4 else "acme", "aws", "v1-small") for number in range(100)]

    waves = waves_of(fleet, release="4.13.1", internal=("vendor",), urgent=True)

    assert [(len(wave.members), wave.bake / timedelta(minutes=1)) for wave in waves] == [(1, 30), (9, 30), (90, 0)]


def test_another_release_comes_to_others_first() -> None:
    """Nobody is the canary of every release."""
    fleet = [Member(f"d{number}", "acme", "aws", "v1-small") for number in range(50)]

    canaries = {waves_of(fleet, release=f"4.{minor}.0")[0].members for minor in range(20)}

    assert len(canaries) > 10
