"""In which waves a release goes over a fleet: internal, canary, 10 %, 30 %, the rest; each a fair sample of the rest.

Shares are of the whole fleet and cumulative: after the wave "30 %" three deployments of ten have been asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from math import ceil
from typing import NamedTuple

from pydantic import Field

from domain.model import Model


class Member(NamedTuple):
    """One deployment of a fleet. A tuple, because a rollout carries thousands of them."""

    deployment: str
    customer: str
    cloud: str
    shape: str


class WaveName(StrEnum):
    """The waves, in order."""

    INTERNAL = "internal"
    CANARY = "canary"
    TENTH = "10%"
    THIRD = "30%"
    REST = "rest"


class Wave(Model):
    """Deployments that are asked together, and how long they have to prove the release before the next ones are."""

    name: WaveName
    bake: timedelta
    members: tuple[Member, ...]
    """In the order in which they are asked."""


class WavePolicy(Model):
    """How large the waves are and how long they bake."""

    canary_share: float = 0.01
    """Of the fleet, but at least one deployment in each cloud."""
    tenth_share: float = 0.10
    third_share: float = 0.30
    bakes: dict[WaveName, timedelta] = Field(
        default_factory=lambda: {
            WaveName.INTERNAL: timedelta(hours=24),
            WaveName.CANARY: timedelta(hours=24),
            WaveName.TENTH: timedelta(hours=12),
            WaveName.THIRD: timedelta(hours=12),
            WaveName.REST: timedelta(0),
        }
    )
    """Keyed by wave."""
    urgent_bake: timedelta = timedelta(minutes=30)


def waves_of(
    members: Iterable[Member],
    *,
    release: str,
    internal: Sequence[str] = (),
    urgent: bool = False,
    policy: WavePolicy | None = None,
) -> tuple[Wave, ...]:
    """Return the waves of a release; none of them is empty, and every member is in exactly one.

    An urgent release goes to one deployment, then to a tenth of the fleet, then to all, each after a short bake.

    Args:
        members: The fleet.
        release: What is rolled out; decides, with the deployment's name, who comes early: not always the same ones.
        internal: Customers that are the vendor itself; theirs come before everybody else's.
        urgent: Whether nothing waits for a window.
        policy: Sizes and bakes; the usual ones if there is none.
    """
    policy = policy or WavePolicy()
    fleet = list(members)
    ours = [member for member in fleet if member.customer in internal]
    order = stratified([member for member in fleet if member.customer not in internal], seed=release)
    if urgent:
        order = stratified(fleet, seed=release)
        cuts = {WaveName.CANARY: 1, WaveName.TENTH: _share(policy.tenth_share, order), WaveName.REST: len(order)}
        waves = _cut(order, cuts)
        return tuple(Wave(name=name, bake=_urgent_bake(name, policy), members=part) for name, part in waves.items())
    order = _one_of_each_cloud_first(order)
    clouds = len({member.cloud for member in order})
    cuts = {
        WaveName.CANARY: max(clouds, _share(policy.canary_share, order)),
        WaveName.TENTH: _share(policy.tenth_share, order),
        WaveName.THIRD: _share(policy.third_share, order),
        WaveName.REST: len(order),
    }
    waves = _cut(order, cuts)
    if ours:
        waves = {WaveName.INTERNAL: tuple(stratified(ours, seed=release)), **waves}
    return tuple(Wave(name=name, bake=policy.bakes[name], members=part) for name, part in waves.items())


def stratified(members: Sequence[Member], *, seed: str) -> list[Member]:
    """Return the members in an order of which every beginning is a fair sample by cloud and shape.

    Within a stratum the order is that of a hash. Its k-th member of n stands at (k + 1/2) / n of the whole, so that of
    any first part of the fleet each stratum's share is what it has of the fleet, give or take one.
    """
    strata: dict[tuple[str, str], list[tuple[bytes, Member]]] = {}
    for member in members:
        digest = sha256(f"{seed}|{member.deployment}".encode()).digest()
        strata.setdefault((member.cloud, member.shape), []).append((digest, member))
    placed = [
        ((number + 0.5) / len(stratum), digest, member)
        for stratum in strata.values()
        for number, (digest, member) in enumerate(sorted(stratum, key=lambda entry: entry[0]))
    ]
    return [member for _, _, member in sorted(placed, key=lambda entry: entry[:2])]


def _one_of_each_cloud_first(order: Sequence[Member]) -> list[Member]:
    first: dict[str, Member] = {}
    for member in order:
        first.setdefault(member.cloud, member)
    early = set(first.values())
    return [*first.values(), *(member for member in order if member not in early)]


def _share(share: float, of: Sequence[Member]) -> int:
    return ceil(share * len(of))


def _cut(order: Sequence[Member], cuts: dict[WaveName, int]) -> dict[WaveName, tuple[Member, ...]]:
    """Return the parts between the cuts that are not empty."""
    waves: dict[WaveName, tuple[Member, ...]] = {}
    begun = 0
    for name, cut in cuts.items():
        if part := tuple(order[begun:cut]):
            waves[name] = part
        begun = max(begun, cut)
    return waves


def _urgent_bake(name: WaveName, policy: WavePolicy) -> timedelta:
    return timedelta(0) if name is WaveName.REST else policy.urgent_bake
