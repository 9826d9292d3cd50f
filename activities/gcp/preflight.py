"""Looking before anything is made: quotas, zones and machine types, address ranges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Network

from google.cloud import compute_v1
from temporalio import activity

import catalog
from activities.contracts import AddressQuestion, CapacityQuestion, PreflightContract
from activities.failures import refused
from activities.gcp.compute import DeploymentCompute, last_part
from activities.gcp.errors import failures_named
from activities.gcp.ownership import is_described_as_ours
from activities.gcp.part import GcpPart
from activities.gcp.quotas import UsedByOthers, cpus_of, family_metric
from activities.gcp.vpc import PROXY_ONLY
from activities.needs import needs
from activities.placement import MachineFamilies, place, pools_of
from domain.addresses import AddressesUnusableError, first_overlap, plan_regional_subnets
from domain.clouds import Cloud, Purpose
from domain.deployment import ExistingNetwork
from domain.facts import AddressPlan, Placement
from domain.failure import FailureClass
from domain.sizing import quota_needs

FAMILIES = MachineFamilies(
    names={
        2: ("c2d-highcpu-*",),
        4: ("n2-standard-*", "n2d-standard-*"),
        8: ("n2-highmem-*", "n2d-highmem-*"),
    },
    sizes={2: "2", 4: "4", 8: "8", 16: "16", 32: "32"},
)


class GcpPreflight(GcpPart, PreflightContract):
    """Looks, and changes nothing. Whether everything is permitted is another part's question."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.addresses.list", "compute.disks.list", "compute.instances.list", "compute.machineTypes.list",
        "compute.regions.get", "compute.zones.list",
        purpose=Purpose.OBSERVE, why="Compare the deployment's needs with quotas and their use",
    )  # fmt: skip
    def check_quotas(self, question: CapacityQuestion) -> None:
        """Each quota of the region has room for the deployment scaled to its maximum, beside what others use.

        The processors count against the quota of all families together and against that of the family that would be
        chosen now.

        Raises:
            QUOTA: some have no room; each is named with need, use and limit.
            CONFIG: no zones offer the machines.
        """
        site = question.site
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.OBSERVE)
            used = UsedByOthers(compute)
            placement = _placement(compute, question)
        exceeded = []
        for metric, (name, needed) in _wanted(question, placement).items():
            limit, in_use = used.limits.get(metric), used.of(metric)
            if limit is not None and in_use + needed > limit:
                exceeded.append((metric, f"{name} ({metric}): needs {needed}, {in_use} of {round(limit)} in use"))
        if exceeded:
            message = f"Quotas in {site.region} are too small: {'; '.join(text for _, text in exceeded)}"
            raise refused(FailureClass.QUOTA, message, quota=exceeded[0][0])

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.machineTypes.list", "compute.zones.list",
        purpose=Purpose.OBSERVE, why="Choose zones and machine types",
    )  # fmt: skip
    def choose_placement(self, question: CapacityQuestion) -> Placement:
        """Three zones (two, where there are no three) and for each pool a machine type that all of them offer.

        Raises:
            CONFIG: no two zones of the region offer what the shape needs.
        """
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, question.site, Purpose.OBSERVE)
            return _placement(compute, question)

    @activity.defn(no_thread_cancel_exception=True)
    @needs("compute.subnetworks.list", purpose=Purpose.OBSERVE, why="Find free address ranges")
    def plan_addresses(self, question: AddressQuestion) -> AddressPlan:
        """Ranges for nodes, pods, services and proxies, or those of the customer's own subnetworks.

        Raises:
            CONFIG: the range is unusable, or a subnetwork in the region has some of its addresses already.
        """
        site, existing, cidr = question.site, question.network.existing, question.network.cidr
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.OBSERVE)
            subnetworks = list(
                compute.client(compute_v1.SubnetworksClient).list(project=compute.project, region=compute.region)
            )
        if existing is not None:
            return _plan_of_existing(subnetworks, existing, site.region)
        try:
            plan = plan_regional_subnets(cidr)
        except AddressesUnusableError as error:
            raise refused(FailureClass.CONFIG, f"network.cidr: {error}", resource=str(cidr)) from error
        for other in (each for each in subnetworks if not is_described_as_ours(each.description, site)):
            if overlap := first_overlap(cidr, map(IPv4Network, _ranges(other).values())):
                message = (
                    f"network.cidr: {cidr} overlaps {overlap} of {other.name} in the network"
                    f" {last_part(other.network)} in {site.region}; networks that overlap can never be connected"
                )
                raise refused(FailureClass.CONFIG, message, resource=other.name)
        return plan


def _placement(compute: DeploymentCompute, question: CapacityQuestion) -> Placement:
    zones = sorted(
        zone.name
        for zone in compute.client(compute_v1.ZonesClient).list(project=compute.project)
        if last_part(zone.region) == compute.region and zone.status == "UP"
    )
    offers: dict[str, set[str]] = defaultdict(set)
    kinds = compute.client(compute_v1.MachineTypesClient)
    for zone in zones:
        for kind in kinds.list(project=compute.project, zone=zone):
            offers[kind.name].add(zone)
    return place(pools_of(question), zones, offers, FAMILIES.machine_types, region=compute.region)


def _wanted(question: CapacityQuestion, placement: Placement) -> dict[str, tuple[str, int]]:
    """Return what each quota is called and how much the deployment takes of it at its maximum, keyed by metric."""
    found = {
        need.quota.code: (need.quota.name, need.needed)
        for need in quota_needs(
            catalog.load().clouds[Cloud.GCP].quotas,
            question.shape,
            high_availability=question.high_availability,
            our_network=question.network.existing is None,
        )
    }
    for machine in placement.machines:
        metric = family_metric(machine.instance_type)
        _, so_far = found.get(metric, ("", 0))
        needed = so_far + cpus_of(machine.instance_type) * machine.maximum
        found[metric] = (f"{metric.partition('_')[0]} CPUs", needed)
    return found


def _plan_of_existing(
    subnetworks: Iterable[compute_v1.Subnetwork], existing: ExistingNetwork, region: str
) -> AddressPlan:
    inside = [each for each in subnetworks if last_part(each.network) == existing.network_id]
    wanted = next(iter(existing.private_subnet_ids), "")
    nodes = next((each for each in inside if each.name == wanted), None)
    if nodes is None:
        message = f"network.existing: {existing.network_id} has no subnetwork {wanted} in {region}"
        raise refused(FailureClass.CONFIG, message, resource=existing.network_id)
    ranges = _ranges(nodes)
    names = (existing.pod_range, existing.service_range)
    if missing := [name for name in names if not name or name not in ranges]:
        absent = " and ".join(repr(name) for name in missing)
        message = f"network.existing: the subnetwork {wanted} has no secondary range {absent}"
        raise refused(FailureClass.CONFIG, message, resource=wanted)
    return AddressPlan(
        cidr=nodes.ip_cidr_range,
        private_cidrs=(nodes.ip_cidr_range,),
        public_cidrs=tuple(
            each.ip_cidr_range for each in inside if each.purpose == PROXY_ONLY and each.role == "ACTIVE"
        ),
        pod_cidr=ranges[existing.pod_range],
        service_cidr=ranges[existing.service_range],
    )


def _ranges(subnetwork: compute_v1.Subnetwork) -> dict[str, str]:
    """Return a subnetwork's ranges of IPv4, keyed by name, which its own has not; of IPv6 alone it has none."""
    secondary = {each.range_name: each.ip_cidr_range for each in subnetwork.secondary_ip_ranges}
    own = {"": subnetwork.ip_cidr_range} if subnetwork.ip_cidr_range else {}
    return own | secondary
