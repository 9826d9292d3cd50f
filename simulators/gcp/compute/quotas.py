"""Quotas of projects and regions: limits that a customer may have raised, and what is in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simulators.gcp.compute.offerings import machine_type
from simulators.gcp.compute.records import Record, Records
from simulators.gcp.refusals import Json

GLOBAL_LIMITS: Mapping[str, float] = {
    "NETWORKS": 15.0,
    "FIREWALLS": 200.0,
    "ROUTES": 250.0,
    "ROUTERS": 20.0,
    "SUBNETWORKS": 275.0,
    "SNAPSHOTS": 5000.0,
}
REGIONAL_LIMITS: Mapping[str, float] = {
    "CPUS": 200.0,
    "N2_CPUS": 200.0,
    "N2D_CPUS": 200.0,
    "N4_CPUS": 200.0,
    "C2D_CPUS": 200.0,
    "C3_CPUS": 200.0,
    "C4_CPUS": 200.0,
    "T2D_CPUS": 200.0,
    "INSTANCES": 720.0,
    "DISKS_TOTAL_GB": 81920.0,
    "SSD_TOTAL_GB": 40960.0,
    "STATIC_ADDRESSES": 24.0,
    "IN_USE_ADDRESSES": 69.0,
    "FORWARDING_RULES": 45.0,
    "TARGET_POOLS": 150.0,
}
"""What a project has unless it asked for more; typical values."""


class Quotas:
    """Limits and usage."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._limits: dict[tuple[str, str, str], float] = {}
        """Keyed by project, region (empty for the whole project) and metric."""

    def set_limit(self, project: str, region: str, metric: str, limit: float) -> None:
        """Give a project another limit than usual; `region` is empty for what counts in the whole project.

        Raises ValueError if there is no such quota there.
        """
        if metric not in (REGIONAL_LIMITS if region else GLOBAL_LIMITS):
            raise ValueError(f"there is no quota {metric} of {region or 'the whole project'}")
        self._limits[project, region, metric] = limit

    def limit(self, project: str, region: str, metric: str) -> float:
        """Return the limit."""
        usual = REGIONAL_LIMITS if region else GLOBAL_LIMITS
        return self._limits.get((project, region, metric), usual[metric])

    def listed(self, project: str, region: str = "") -> list[Json]:
        """Return the quotas as the API lists them, of a region or of the whole project."""
        return [
            {
                "metric": metric,
                "limit": self.limit(project, region, metric),
                "usage": self.usage(project, region, metric),
            }
            for metric in (REGIONAL_LIMITS if region else GLOBAL_LIMITS)
        ]

    def left(self, project: str, region: str, metric: str) -> float:
        """Return how much of a quota is free."""
        return self.limit(project, region, metric) - self.usage(project, region, metric)

    def usage(self, project: str, region: str, metric: str) -> float:
        """Return how much of a quota is in use."""
        return float(sum(self._amounts(project, region, metric)))

    def _amounts(self, project: str, region: str, metric: str) -> Iterator[float]:
        for record in self._records.of(project):
            if region and f"/{region}/" not in record.name and f"/{region}-" not in record.name:
                continue
            yield self._amount(record, metric)

    def _amount(self, record: Record, metric: str) -> float:
        collection, document = record.collection, record.document
        if metric == collection.quota and not record.automatic:
            return 1
        match collection.path:
            case "instances":
                found = machine_type(document["machineType"].rpartition("/")[2])
                if found is not None and metric in ("CPUS", found.quota):
                    # The newer families count by themselves alone.
                    older = found.quota in ("CPUS", "N2_CPUS", "N2D_CPUS")
                    return found.cpu if metric == found.quota or older else 0
                return 1 if metric == "INSTANCES" else 0
            case "disks":
                ssd = not str(document.get("type", "")).endswith("pd-standard")
                return float(document["sizeGb"]) if metric == ("SSD_TOTAL_GB" if ssd else "DISKS_TOTAL_GB") else 0
            case "addresses" | "forwardingRules":
                external = document.get("addressType", document.get("loadBalancingScheme", "EXTERNAL")) == "EXTERNAL"
                serving = collection.path == "forwardingRules" or self._records.users_of(record.name)
                return 1 if metric == "IN_USE_ADDRESSES" and external and serving else 0
        return 0

    def forget(self) -> None:
        """Let every limit be the usual one."""
        self._limits.clear()
