"""The pool of AKS's own pods: a small machine in each zone, with which a cluster is made and goes.

AKS keeps no cluster without one. What it runs there (name service, metrics, the controllers of disks and Gateways)
tolerates the taint; nothing of ours is placed there.
"""

from __future__ import annotations

from azure.mgmt.compute import ComputeManagementClient

from activities.azure.aks import Document
from activities.azure.machines import FAMILIES, SYSTEM_POOL
from activities.azure.node_configuration import node_configuration
from activities.azure.offers import offers_of
from activities.failures import refused
from domain.deployment import Site
from domain.facts import Network
from domain.failure import FailureClass

READ_SIZES = "Microsoft.Compute/skus/read"
_ZONES_WANTED, _ZONES_NEEDED = 3, 2
_TAINT = "CriticalAddonsOnly=true:NoSchedule"


def system_pool(compute: ComputeManagementClient, site: Site, network: Network) -> Document:
    """Return the properties of the pool, in as many zones as the region offers for one of its sizes.

    Raises:
        ApplicationError: CONFIG, if no size is offered in two zones.
    """
    size, zones = _choice(compute, site)
    common = node_configuration(site, machine_type=size, network=network, zones=zones, resource="pool-system")
    return {**common, "mode": "System", "count": len(zones), "enableAutoScaling": False, "nodeTaints": [_TAINT]}


def _choice(compute: ComputeManagementClient, site: Site) -> tuple[str, tuple[str, ...]]:
    """Return the preferred size among those that are offered in most zones, and these zones."""
    offers = offers_of(compute, site.region)
    sizes = FAMILIES.machine_types(SYSTEM_POOL)
    zones = {size: sorted(offers[size].zones)[:_ZONES_WANTED] for size in sizes if size in offers}
    suitable = [size for size in zones if len(zones[size]) >= _ZONES_NEEDED]
    if not suitable:
        message = f"None of the sizes {', '.join(sizes)} is offered in two zones of {site.region}"
        raise refused(FailureClass.CONFIG, message, resource=site.region)
    # The first one wins among those with as many.
    chosen = max(suitable, key=lambda size: len(zones[size]))
    return chosen, tuple(zones[chosen])
