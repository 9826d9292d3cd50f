"""Which sizes of machines a region offers a subscription, and in which of its zones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azure.mgmt.compute import ComputeManagementClient


@dataclass(frozen=True)
class Offer:
    """One size."""

    family: str
    """As the region's usages call it, `standardDSv5Family`."""
    cores: int
    zones: frozenset[str]
    """Where the subscription may have such machines; the numbers of zones are the subscription's own."""


def offers_of(compute: ComputeManagementClient, region: str) -> Mapping[str, Offer]:
    """Return what a region offers, keyed by the size's name."""
    return {
        sku.name: Offer(family=sku.family or "", cores=_cores(sku), zones=_zones(sku, region))
        for sku in compute.resource_skus.list(filter=f"location eq '{region}'")
        if sku.resource_type == "virtualMachines"
    }


def _cores(sku: Any) -> int:  # noqa: ANN401 - a model of the SDK
    found = next((each.value for each in sku.capabilities or () if each.name == "vCPUs"), "0")
    return int(found) if str(found).isdecimal() else 0


def _zones(sku: Any, region: str) -> frozenset[str]:  # noqa: ANN401 - as above
    """Return the zones of a size, less those from which the subscription is kept; none where it is kept from all."""
    zones = {
        zone for info in sku.location_info or () if (info.location or "").lower() == region for zone in info.zones or ()
    }
    for restriction in sku.restrictions or ():
        kind = str(getattr(restriction.type, "value", restriction.type))
        if kind == "Location":
            return frozenset()
        zones -= set((restriction.restriction_info.zones if restriction.restriction_info else None) or ())
    return frozenset(zones)
