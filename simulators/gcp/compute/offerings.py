"""Regions, zones and machine types: a selection, with the real sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_ODD_ZONES: Mapping[str, str] = {"europe-west1": "bcd", "us-east1": "bcd", "us-central1": "abcf"}
_REGIONS = (
    "asia-east1",
    "asia-northeast1",
    "asia-south1",
    "asia-southeast1",
    "australia-southeast1",
    "europe-north1",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west9",
    "northamerica-northeast1",
    "southamerica-east1",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-west1",
    "us-west2",
)
REGIONS: Mapping[str, tuple[str, ...]] = {
    region: tuple(f"{region}-{letter}" for letter in _ODD_ZONES.get(region, "abc")) for region in _REGIONS
}
"""The zones of each region."""

_CONTINENTS = {"asia": "asia", "europe": "eu", "us": "us", "northamerica": "us"}
_SIZES: Mapping[str, tuple[int, ...]] = {
    "e2": (2, 4, 8, 16, 32),
    "n2": (2, 4, 8, 16, 32, 48, 64, 80),
    "n2d": (2, 4, 8, 16, 32, 48, 64, 80, 96),
    "n4": (2, 4, 8, 16, 32, 48, 64, 80),
    "c3": (4, 8, 22, 44, 88, 176),
    "c4": (2, 4, 8, 16, 24, 32, 48, 96),
    "c2d": (2, 4, 8, 16, 32, 56, 112),
    "t2d": (1, 2, 4, 8, 16, 32, 48, 60),
}
_MEMORY_GIB: Mapping[str, float] = {"standard": 4, "highmem": 8, "highcpu": 2}
"""GiB for each virtual processor."""
_SMALL: Mapping[str, tuple[int, int]] = {"e2-medium": (2, 4096), "e2-small": (2, 2048), "e2-micro": (2, 1024)}
_NAME = re.compile(r"([a-z0-9]+)-(standard|highmem|highcpu)-(\d+)")


@dataclass(frozen=True)
class MachineType:
    """One machine type, which every zone has."""

    name: str
    cpu: int
    memory_mib: int

    @property
    def quota(self) -> str:
        """The metric of the family's processors, beside `CPUS` for the older families."""
        family = self.name.partition("-")[0].upper()
        return "CPUS" if family == "E2" else f"{family}_CPUS"


def machine_type(name: str) -> MachineType | None:
    """Return the machine type of that name, or None."""
    if name in _SMALL:
        return MachineType(name, *_SMALL[name])
    found = _NAME.fullmatch(name)
    if found is None or int(found[3]) not in _SIZES.get(found[1], ()):
        return None
    cpu = int(found[3])
    return MachineType(name, cpu, int(cpu * _MEMORY_GIB[found[2]] * 1024))


def machine_types() -> list[MachineType]:
    """Return every machine type."""
    names = [f"{family}-{kind}-{size}" for family, sizes in _SIZES.items() for kind in _MEMORY_GIB for size in sizes]
    return [found for name in (*_SMALL, *names) if (found := machine_type(name))]


def multi_region_of(region: str) -> str:
    """Return where snapshots of a region's disks are kept unless the call says otherwise."""
    return _CONTINENTS.get(region.partition("-")[0], region)
