"""The pool of AKS's own pods: a small machine in each zone, with which a cluster is made and goes.

AKS keeps no cluster without one. What it runs there (name service, metrics, the controllers of disks and Gateways)
tolerates the taint; nothing of ours is placed there.
"""

from __future__ import annotations

from collections.abc import Iterable

from azure.mgmt.compute import ComputeManagementClient

from activities.azure.aks import Document
from activities.azure.node_configuration import node_configuration
from activities.failures import refused
from domain.deployment import Site
from domain.facts import Network
from domain.failure import FailureClass

READ_SIZES = "Microsoft.Compute/skus/read"
_SIZES = (
    "Standard_D2s_v5", "Standard_D2ds_v5", "Standard_D2as_v5", "Standard_D2s_v6", "Standard_D2ads_v5",
    "Standard_D2s_v4", "Standard_D2s_v3",
)  # fmt: skip
"""The smallest on which AKS's own pods find room, the preferred one first."""
_ZONES_WANTED, _ZONES_NEEDED = 3, 2
_TAINT = "CriticalAddonsOnly=true:NoSchedule"


def system_pool(compute: ComputeManagementClient, site: Site, network: Network) -> Document:
    """Return the properties of the pool, in as many zones as the region offers for one of the sizes.

    Raises:
        ApplicationError: CONFIG, if no size is offered in two zones.
    """
    size, zones = _choice(compute, site)
    common = node_configuration(site, machine_type=size, network=network, zones=zones, resource="pool-system")
    return {**common, "mode": "System", "count": len(zones), "enableAutoScaling": False, "nodeTaints": [_TAINT]}


def _choice(compute: ComputeManagementClient, site: Site) -> tuple[str, tuple[str, ...]]:
    offered: dict[str, tuple[str, ...]] = {}
    for sku in compute.resource_skus.list(filter=f"location eq '{site.region}'"):
        if sku.resource_type == "virtualMachines" and sku.name in _SIZES:
            offered[sku.name] = _zones(sku.location_info or (), sku.restrictions or ())
    suitable = [size for size in _SIZES if len(offered.get(size, ())) >= _ZONES_NEEDED]
    if not suitable:
        message = f"None of the sizes {', '.join(_SIZES)} is offered in two zones of {site.region}"
        raise refused(FailureClass.CONFIG, message, resource=site.region)
    # Stable, so that of those with as many zones the preferred one comes first.
    size = max(suitable, key=lambda name: min(len(offered[name]), _ZONES_WANTED))
    return size, offered[size][:_ZONES_WANTED]


def _zones(places: Iterable[object], restrictions: Iterable[object]) -> tuple[str, ...]:
    """Return the zones in which the subscription may use a size."""
    found = {zone for place in places for zone in getattr(place, "zones", None) or ()}
    for restriction in restrictions:
        if getattr(restriction, "type", "") == "Location":
            return ()
        information = getattr(restriction, "restriction_info", None)
        found -= set(getattr(information, "zones", None) or ())
    return tuple(sorted(found))
