"""Where a deployment runs: zones that all offer the machines of its pools, whatever the cloud calls them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from activities.contracts import CapacityQuestion
from activities.failures import refused
from domain.facts import Machine, Placement
from domain.failure import FailureClass
from domain.shape import PoolName, PoolSize

_ZONES_WANTED = 3
_ZONES_NEEDED = 2
"""EKS refuses a control plane in one zone, and elsewhere one zone would be all that a failure needs."""


@dataclass(frozen=True)
class MachineFamilies:
    """The machine types among which one cloud's preflight chooses."""

    names: Mapping[int, tuple[str, ...]]
    """How the types of each family are called, `*` being the size; keyed by GiB of memory for each virtual processor,
    the smallest first. The family that we prefer comes first."""
    sizes: Mapping[int, str]
    """What a size is called; keyed by number of virtual processors, the smallest first."""

    def machine_types(self, size: PoolSize) -> tuple[str, ...]:
        """Return the machine types that have at least this size, the preferred one first."""
        cpu = next((count for count in self.sizes if count >= size.cpu), 0)
        memory = next((gib for gib in self.names if gib * cpu >= size.memory_gib), 0)
        return tuple(family.replace("*", self.sizes[cpu]) for family in self.names.get(memory, ()))


def pools_of(question: CapacityQuestion) -> Mapping[PoolName, PoolSize]:
    """Return the pools that a deployment will have, keyed by name."""
    if question.high_availability and question.shape.highly_available_pools:
        return question.shape.highly_available_pools
    return question.shape.pools


def place(
    pools: Mapping[PoolName, PoolSize],
    zones: Sequence[str],
    offers: Mapping[str, Collection[str]],
    machine_types: Callable[[PoolSize], Iterable[str]],
    *,
    region: str,
) -> Placement:
    """Return the first zones that offer machines for all pools together.

    Args:
        pools: what is to run, keyed by pool.
        zones: the zones that may be chosen, in order of preference.
        offers: the zones that offer a machine type, keyed by machine type.
        machine_types: the machine types that suit a pool, the preferred one first.
        region: named in the error.

    Raises:
        CONFIG: there are no such zones.
    """
    for number in range(min(_ZONES_WANTED, len(zones)), _ZONES_NEEDED - 1, -1):
        for chosen in combinations(zones, number):
            types = {pool: _first_offered(machine_types(size), chosen, offers) for pool, size in pools.items()}
            if all(types.values()):
                machines = tuple(
                    Machine(pool=pool, instance_type=types[pool], minimum=size.minimum, maximum=size.maximum)
                    for pool, size in pools.items()
                )
                return Placement(zones=chosen, machines=machines)
    sizes = ", ".join(f"{size.cpu} vCPU with {size.memory_gib} GiB" for size in pools.values())
    message = f"No two zones of {region} (looked at: {', '.join(zones) or 'none'}) offer machines of {sizes}"
    raise refused(FailureClass.CONFIG, message, resource=region)


def _first_offered(names: Iterable[str], zones: Iterable[str], offers: Mapping[str, Collection[str]]) -> str:
    """Return the first machine type that all `zones` offer, empty if there is none."""
    zones = set(zones)
    return next((name for name in names if zones <= set(offers.get(name, ()))), "")
