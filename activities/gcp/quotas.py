"""How much of a region's quotas is in use by others than the deployment, so that a repeated look answers the same."""

from __future__ import annotations

from collections.abc import Mapping

from google.cloud import compute_v1

from activities.gcp.compute import DeploymentCompute, last_part
from activities.gcp.ownership import is_ours
from domain.naming import base_name

CPUS, ADDRESSES, SSD = "CPUS", "IN_USE_ADDRESSES", "SSD_TOTAL_GB"
_LABEL_CLUSTER = "goog-k8s-cluster-name"
"""GKE puts this label on machines and disks."""


def family_metric(machine_type: str) -> str:
    """Return the metric of the processors of a machine type's family, which a region has for most families."""
    return f"{machine_type.partition('-')[0].upper()}_CPUS"


def cpus_of(machine_type: str) -> int:
    """Return the number of virtual processors, with which the name of a machine type of the usual families ends."""
    size = machine_type.rpartition("-")[2]
    return int(size) if size.isdecimal() else 0


def cpu_metrics(machine_type: str) -> tuple[str, ...]:
    """Return the metrics against which a machine's processors count.

    Newer families, such as C2D, count against their own quota alone.
    """
    family = family_metric(machine_type)
    return (family, CPUS) if family in ("N2_CPUS", "N2D_CPUS") else (family,)


class UsedByOthers:
    """What a region says is in use, less what the deployment has there already."""

    def __init__(self, compute: DeploymentCompute) -> None:
        self._compute = compute
        region = compute.client(compute_v1.RegionsClient).get(project=compute.project, region=compute.region)
        self.limits: dict[str, float] = {quota.metric: quota.limit for quota in region.quotas}
        """Keyed by metric; a metric that the region does not list is not limited."""
        self._usage: dict[str, float] = {quota.metric: quota.usage for quota in region.quotas}
        self._ours = {ADDRESSES: self._addresses(), SSD: self._ssd_gib(), **self._cpus()}

    def and_ours(self, metric: str) -> int:
        """Return how much is in use, by the deployment too."""
        return round(self._usage.get(metric, 0))

    def of(self, metric: str) -> int:
        """Return how much others use."""
        return max(0, round(self._usage.get(metric, 0) - self._ours.get(metric, 0)))

    def _cpus(self) -> dict[str, int]:
        """Return the processors of the deployment's machines, keyed by metric."""
        found: dict[str, int] = {CPUS: 0}
        for place, listed in self._compute.client(compute_v1.InstancesClient).aggregated_list(
            project=self._compute.project
        ):
            for machine in listed.instances if self._in_region(place) else ():
                if self._belongs(machine.labels):
                    kind = last_part(machine.machine_type)
                    for metric in cpu_metrics(kind):
                        found[metric] = found.get(metric, 0) + cpus_of(kind)
        return found

    def _ssd_gib(self) -> int:
        disks = self._compute.client(compute_v1.DisksClient).aggregated_list(project=self._compute.project)
        return sum(
            disk.size_gb
            for place, listed in disks
            if self._in_region(place)
            for disk in listed.disks
            if self._belongs(disk.labels) and last_part(disk.type_) != "pd-standard"
        )

    def _addresses(self) -> int:
        listed = self._compute.client(compute_v1.AddressesClient).list(
            project=self._compute.project, region=self._compute.region
        )
        return sum(
            address.address_type != "INTERNAL" and bool(address.users) and self._belongs(address.labels)
            for address in listed
        )

    def _in_region(self, place: str) -> bool:
        return last_part(place).startswith(f"{self._compute.region}-")

    def _belongs(self, labels: Mapping[str, str]) -> bool:
        site = self._compute.site
        return is_ours(labels, site) or labels.get(_LABEL_CLUSTER) == base_name(site)
