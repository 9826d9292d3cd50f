"""How large: replicas of the components, machines of the pools, and the share of the account's quotas that this takes.

A pool is sized by placing pods on machines, because requests that fit in sum may still fit on no single machine.

- Without high availability the replicas go wherever they fit.
- With it they are spread evenly over the zones. The services pool carries one zone's worth of headroom: when any one
  zone is lost, what ran there fits into the others. The store pool carries none, because a replica's volume cannot
  leave its zone: what keeps the store available then is its quorum, not a spare machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

from domain.catalogue import Quota, QuotaUnit
from domain.deployment import DeploymentSpec
from domain.model import Model
from domain.shape import POOL_OF_COMPONENT, Component, ComponentSize, PoolName, PoolSize, Scale, Shape

ZONES = 3
"""Zones over which a deployment is spread where the region has as many."""


class Requests(NamedTuple):
    """What one pod asks for, or what a machine has left for pods."""

    cpu_millis: int
    memory_mib: int


DAEMONS_OF_A_NODE = Requests(300, 512)
"""What the network, proxy and storage daemons take on every machine."""

CONTROLLERS = (Requests(100, 170),) * 6
"""The pods of DNS (2), metrics (2) and storage (2); they run in the services pool."""

_CPU_RESERVED = ((1, 0.06), (1, 0.01), (2, 0.005), (None, 0.0025))
_MEMORY_RESERVED = ((4096, 0.25), (4096, 0.20), (8192, 0.10), (114688, 0.06), (None, 0.02))
"""Part of a machine that the kubelet keeps for itself, in steps of (amount, share of it). GKE publishes these; EKS and
AKS reserve less, so that a size that fits here fits everywhere."""

_EVICTION_MIB = 100


class DoesNotFit(ValueError):  # noqa: N818 - it names what is so, as style has it
    """A replica asks for more than a machine of its pool has."""


class QuotaNeed(Model):
    """What one deployment takes from one quota."""

    quota: Quota
    needed: int


def component_sizes(
    shape: Shape, *, high_availability: bool, overrides: Mapping[Component, Scale] | None = None
) -> dict[Component, ComponentSize]:
    """Return the size of each component; its scale is the order's, else that of high availability, else the shape's."""
    scales = {component: size.scale for component, size in shape.components.items()}
    if high_availability:
        scales |= shape.highly_available_replicas
    scales |= overrides or {}
    return {
        component: size.model_copy(update={"scale": scales[component]}) for component, size in shape.components.items()
    }


def pool_sizes(
    shape: Shape, *, high_availability: bool, overrides: Mapping[Component, Scale] | None = None, zones: int = ZONES
) -> dict[PoolName, PoolSize]:
    """Return the pools with as many machines as the components need, at least and at most; keyed by pool.

    Raises:
        DoesNotFit: a component asks for more than a machine of its pool has.
    """
    components = component_sizes(shape, high_availability=high_availability, overrides=overrides)
    pools = shape.highly_available_pools if high_availability and shape.highly_available_pools else shape.pools
    return {
        name: size.model_copy(
            update={
                "minimum": _machines(name, size, components, "minimum", zones=zones if high_availability else 0),
                "maximum": _machines(name, size, components, "maximum", zones=zones if high_availability else 0),
            }
        )
        for name, size in pools.items()
    }


def shape_as_ordered(shape: Shape, spec: DeploymentSpec, *, zones: int = ZONES) -> Shape:
    """Return the shape with the order's own limits and the pools that these need.

    Every later question (capacity, node pools, components) is asked with this shape, so that all get one answer.
    """
    spread = (
        pool_sizes(shape, high_availability=True, overrides=spec.scaling, zones=zones)
        if shape.high_availability_offered
        else {}
    )
    return shape.model_copy(
        update={
            "components": component_sizes(shape, high_availability=False, overrides=spec.scaling),
            "highly_available_replicas": shape.highly_available_replicas | spec.scaling,
            "pools": pool_sizes(shape, high_availability=False, overrides=spec.scaling),
            "highly_available_pools": spread,
        }
    )


def quota_needs(
    quotas: Sequence[Quota], shape: Shape, *, high_availability: bool, our_network: bool = True, zones: int = ZONES
) -> tuple[QuotaNeed, ...]:
    """Return what a deployment of this shape (as ordered) takes from each quota when it is scaled to its maximum.

    In the customer's own network (`our_network` is false) it takes nothing from the quotas of addresses and gateways.
    """
    pools = shape.highly_available_pools if high_availability and shape.highly_available_pools else shape.pools
    store = component_sizes(shape, high_availability=high_availability)[Component.STORE]
    units = {
        QuotaUnit.DEPLOYMENT: 1,
        QuotaUnit.ZONE: zones,
        QuotaUnit.VCPU: sum(pool.cpu * pool.maximum for pool in pools.values()),
        QuotaUnit.VOLUME_GIB: store.volume_gib * store.scale.maximum,
    }
    return tuple(
        QuotaNeed(quota=quota, needed=quota.amount * units[quota.unit])
        for quota in quotas
        if our_network or not quota.only_our_network
    )


def room_on(machine: PoolSize) -> Requests:
    """Return what pods may ask for on one machine: its size less kubelet, eviction threshold and daemons."""
    cpu = machine.cpu * 1000 - ceil(1000 * _reserved(machine.cpu, _CPU_RESERVED))
    memory = machine.memory_gib * 1024
    memory -= ceil(_reserved(memory, _MEMORY_RESERVED)) + _EVICTION_MIB
    return Requests(cpu - DAEMONS_OF_A_NODE.cpu_millis, memory - DAEMONS_OF_A_NODE.memory_mib)


def machines_for(pods: Sequence[Requests], room: Requests) -> int:
    """Return how many machines with this room carry the pods, placed largest first on the first machine with room.

    Raises:
        DoesNotFit: one pod alone asks for more than a machine has.
    """
    free: list[Requests] = []
    for pod in sorted(pods, reverse=True):
        if pod.cpu_millis > room.cpu_millis or pod.memory_mib > room.memory_mib:
            raise DoesNotFit(
                f"a replica asks for {pod.cpu_millis}m CPU and {pod.memory_mib} MiB, "
                f"a machine has room for {room.cpu_millis}m and {room.memory_mib} MiB"
            )
        for number, left in enumerate(free):
            if pod.cpu_millis <= left.cpu_millis and pod.memory_mib <= left.memory_mib:
                free[number] = _less(left, pod)
                break
        else:
            free.append(_less(room, pod))
    return len(free)


def _machines(
    pool: PoolName, machine: PoolSize, components: Mapping[Component, ComponentSize], bound: str, *, zones: int
) -> int:
    """Return the machines of one pool at the lower or upper bound of the scales; `zones` is 0 without spreading."""
    groups: list[tuple[Requests, int]] = [
        (
            Requests(size.cpu_millis, size.memory_mib),
            size.scale.minimum if bound == "minimum" else size.scale.maximum,
        )
        for component, size in components.items()
        if POOL_OF_COMPONENT[component] is pool
    ]
    if pool is PoolName.SERVICES:
        groups.append((CONTROLLERS[0], len(CONTROLLERS)))
    if not zones:
        return machines_for([pod for pod, count in groups for _ in range(count)], room_on(machine))

    surviving = zones - 1 if pool is PoolName.SERVICES and zones > 1 else zones
    busiest_zone = [pod for pod, count in groups for _ in range(ceil(count / surviving))]
    return zones * machines_for(busiest_zone, room_on(machine))


def _reserved(amount: int, steps: Sequence[tuple[int | None, float]]) -> float:
    reserved = 0.0
    for step, share in steps:
        part = amount if step is None else min(amount, step)
        reserved += part * share
        amount -= part
    return reserved


def _less(room: Requests, pod: Requests) -> Requests:
    return Requests(room.cpu_millis - pod.cpu_millis, room.memory_mib - pod.memory_mib)
