"""Pools are as large as their components need, and no larger."""

from __future__ import annotations

from ipaddress import IPv4Network
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import catalog
from domain.catalogue import Quota, QuotaUnit
from domain.deployment import DeploymentSpec, Endpoint, NetworkSpec
from domain.shape import POOL_OF_COMPONENT, Component, PoolName, PoolSize, Scale, Shape, ShapeName
from domain.sizing import (
    CONTROLLERS,
    DoesNotFit,
    Requests,
    component_sizes,
    machines_for,
    pool_sizes,
    quota_needs,
    room_on,
    shape_as_ordered,
)

OFFERS = [
    (shape, highly_available)
    for shape in catalog.load().shapes
    for highly_available in (False, True)
    if shape.high_availability_offered or not highly_available
]


def placed(pods: list[Requests], machines: int, room: Requests) -> bool:
    """Return whether the pods go onto so many machines, tried in another way than the code does: best fit."""
    free = [room] * machines
    for pod in sorted(pods, reverse=True):
        fitting = [left for left in free if left.cpu_millis >= pod.cpu_millis and left.memory_mib >= pod.memory_mib]
        if not fitting:
            return False
        tightest = min(fitting)
        free.remove(tightest)
        free.append(Requests(tightest.cpu_millis - pod.cpu_millis, tightest.memory_mib - pod.memory_mib))
    return True


@pytest.mark.parametrize(("shape", "highly_available"), OFFERS)
def test_the_catalogue_has_exactly_the_machines_that_its_components_need(shape: Shape, highly_available: bool) -> None:
    """A change of a component's size that needs other pools fails here."""
    declared = shape.highly_available_pools if highly_available else shape.pools

    assert declared == pool_sizes(shape, high_availability=highly_available)


@st.composite
def overrides(draw: st.DrawFn, shape: Shape) -> dict[Component, Scale]:
    """Return limits within the bounds of a shape."""
    chosen: dict[Component, Scale] = {}
    for component in draw(st.sets(st.sampled_from(sorted(shape.scaling_bounds)))):
        bounds = shape.scaling_bounds[component]
        minimum = draw(st.integers(bounds.minimum, bounds.maximum))
        chosen[component] = Scale(minimum=minimum, maximum=draw(st.integers(minimum, bounds.maximum)))
    return chosen


@settings(deadline=None)
@given(st.data(), st.sampled_from(OFFERS), st.sampled_from(["minimum", "maximum"]))
def test_all_requests_fit(data: st.DataObject, offer: tuple[Shape, bool], bound: str) -> None:
    """At either end of every scale, the machines of each pool carry all its replicas."""
    shape, highly_available = offer
    limits = data.draw(overrides(shape))
    components = component_sizes(shape, high_availability=highly_available, overrides=limits)

    pools = pool_sizes(shape, high_availability=highly_available, overrides=limits)

    for name, pool in pools.items():
        pods = [
            Requests(size.cpu_millis, size.memory_mib)
            for component, size in components.items()
            if POOL_OF_COMPONENT[component] is name
            for _ in range(getattr(size.scale, bound))
        ]
        assert placed(pods, getattr(pool, bound), room_on(pool))


@settings(deadline=None)
@given(st.data(), st.sampled_from([offer for offer in OFFERS if offer[1]]), st.integers(2, 3))
def test_without_one_zone_the_services_still_fit(data: st.DataObject, offer: tuple[Shape, bool], zones: int) -> None:
    """High availability keeps one zone's worth of headroom, at most and at least."""
    shape, _ = offer
    limits = data.draw(overrides(shape))
    components = component_sizes(shape, high_availability=True, overrides=limits)

    services = pool_sizes(shape, high_availability=True, overrides=limits, zones=zones)[PoolName.SERVICES]

    for bound in ("minimum", "maximum"):
        machines = getattr(services, bound)
        assert machines % zones == 0
        survivors = [
            Requests(size.cpu_millis, size.memory_mib)
            for component, size in components.items()
            if POOL_OF_COMPONENT[component] is PoolName.SERVICES
            for _ in range(ceil(getattr(size.scale, bound) / (zones - 1)))
        ]
        assert placed(survivors, machines // zones, room_on(services))


@settings(deadline=None)
@given(st.data(), st.sampled_from(OFFERS), st.sampled_from(sorted(Component)))
def test_more_replicas_never_need_fewer_machines(
    data: st.DataObject, offer: tuple[Shape, bool], component: Component
) -> None:
    """Raising one limit shrinks no pool."""
    shape, highly_available = offer
    scale = component_sizes(shape, high_availability=highly_available)[component].scale
    more = Scale(minimum=scale.minimum, maximum=scale.maximum + data.draw(st.integers(0, 20)))

    before = pool_sizes(shape, high_availability=highly_available)
    after = pool_sizes(shape, high_availability=highly_available, overrides={component: more})

    assert all(after[name].maximum >= before[name].maximum for name in PoolName)


@given(st.lists(st.builds(Requests, st.integers(1, 1000), st.integers(1, 4000)), max_size=30))
def test_machines_are_enough_and_at_most_twice_the_least(pods: list[Requests]) -> None:
    """Any two machines together carry more than one machine has room for, else the second one would not be used."""
    room = Requests(1000, 4000)

    machines = machines_for(pods, room)

    cpu = ceil(sum(pod.cpu_millis for pod in pods) / room.cpu_millis)
    memory = ceil(sum(pod.memory_mib for pod in pods) / room.memory_mib)
    assert max(cpu, memory) <= machines <= 2 * (cpu + memory)


def test_a_replica_larger_than_a_machine_is_refused() -> None:
    """A pool that can never run its component is a mistake in the catalogue."""
    with pytest.raises(DoesNotFit, match="asks for 4000m CPU"):
        machines_for([Requests(4000, 100)], Requests(3620, 13000))


def test_kubelet_and_daemons_keep_their_share_of_a_machine() -> None:
    """A machine of 2 vCPU and 8 GiB has room for 1630m and 5736 MiB: 70m and 1844 MiB reserved, 300m and 612 more."""
    assert room_on(PoolSize(cpu=2, memory_gib=8, minimum=1, maximum=1)) == Requests(1630, 5736)


def test_the_cluster_s_own_controllers_are_counted() -> None:
    """They run in the services pool beside the components."""
    shape = catalog.load().shape(ShapeName.V1_SMALL)
    services = pool_sizes(shape, high_availability=False)[PoolName.SERVICES]
    requested = sum(shape.components[name].cpu_millis for name in Component if name is not Component.STORE)

    assert requested + sum(pod.cpu_millis for pod in CONTROLLERS) <= room_on(services).cpu_millis * services.minimum


def test_an_order_s_limits_are_in_the_shape_as_ordered() -> None:
    """Whoever asks the shape gets the order's answer, with and without high availability."""
    shape = catalog.load().shape(ShapeName.V1_MEDIUM)
    limits = {Component.API: Scale(minimum=6, maximum=24)}
    spec = DeploymentSpec(
        account="acme-aws",
        region="eu-central-1",
        release="4.12.1",
        kubernetes="1.35",
        network=NetworkSpec(cidr=IPv4Network("10.0.0.0/16")),
        endpoint=Endpoint(domain="a.example"),
        scaling=limits,
    )

    ordered = shape_as_ordered(shape, spec)

    assert ordered.components[Component.API].scale == limits[Component.API]
    assert ordered.highly_available_replicas[Component.API] == limits[Component.API]
    assert ordered.pools == pool_sizes(shape, high_availability=False, overrides=limits)
    assert ordered.highly_available_pools == pool_sizes(shape, high_availability=True, overrides=limits)
    assert shape_as_ordered(ordered, spec) == ordered


def test_quotas_are_needed_for_the_largest_size() -> None:
    """A deployment that cannot grow to its maximum would fail on the day it is needed."""
    shape = catalog.load().shape(ShapeName.V1_MEDIUM)
    quotas = [Quota(service="x", code=unit, name=unit, unit=unit, amount=2) for unit in QuotaUnit]

    needs = {need.quota.unit: need.needed for need in quota_needs(quotas, shape, high_availability=True)}

    assert needs == {
        QuotaUnit.DEPLOYMENT: 2,
        QuotaUnit.ZONE: 6,
        QuotaUnit.VCPU: 2 * 4 * (6 + 6),
        QuotaUnit.VOLUME_GIB: 2 * 5 * 200,
    }
