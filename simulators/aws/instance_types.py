"""The machine types that the simulated regions offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class InstanceType:
    """One machine type."""

    name: str
    cpu: int
    """Virtual processors."""
    memory_mib: int

    @property
    def family(self) -> str:
        """The part before the dot."""
        return self.name.partition(".")[0]


_SIZES = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64}
_GIB_FOR_EACH_CPU = {"m6i": 4, "m7i": 4, "r6i": 8, "r7i": 8, "c6i": 2}
_BURSTABLE = {
    "t3.micro": (2, 1024),
    "t3.small": (2, 2048),
    "t3.medium": (2, 4096),
    "t3.large": (2, 8192),
    "t3.xlarge": (4, 16384),
    "t3.2xlarge": (8, 32768),
}

INSTANCE_TYPES: Mapping[str, InstanceType] = MappingProxyType(
    {
        f"{family}.{size}": InstanceType(f"{family}.{size}", cpu, cpu * gib * 1024)
        for family, gib in _GIB_FOR_EACH_CPU.items()
        for size, cpu in _SIZES.items()
    }
    | {name: InstanceType(name, cpu, memory) for name, (cpu, memory) in _BURSTABLE.items()}
)
"""Keyed by name."""

ZONE_LETTERS = "abc"
"""Each simulated region has three zones, as ministack's."""


def zones_of(region: str) -> tuple[str, ...]:
    """Return the names of the region's zones."""
    return tuple(f"{region}{letter}" for letter in ZONE_LETTERS)


def offered_in(zone: str) -> frozenset[str]:
    """Return the names of the types that a zone offers: everywhere but in the third zone also the newest families.

    As in the real cloud not every zone has every family, so that whoever chooses has to look.
    """
    newest = {"r7i"} if zone.endswith(ZONE_LETTERS[-1]) else set()
    return frozenset(name for name, type_ in INSTANCE_TYPES.items() if type_.family not in newest)
