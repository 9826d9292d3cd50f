"""Looking before anything is made: quotas, zones and sizes of machines, address ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, ip_network
from typing import Any

from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from temporalio import activity

import catalog
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.ids import group_of, name_of, same_id
from activities.azure.machines import FAMILIES, SYSTEM_POOL
from activities.azure.offers import Offer, offers_of
from activities.azure.ownership import is_ours
from activities.azure.part import AzurePart
from activities.azure.quotas import CORES, UsedByOthers
from activities.contracts import AddressQuestion, CapacityQuestion, PreflightContract
from activities.failures import refused
from activities.needs import needs
from activities.placement import place, pools_of
from domain.addresses import AddressesUnusableError, first_overlap, overlay_ranges, plan_overlaid_subnets
from domain.clouds import Cloud, Purpose
from domain.deployment import ExistingNetwork, Site
from domain.facts import AddressPlan, Placement
from domain.failure import FailureClass
from domain.sizing import quota_needs


class AzurePreflight(AzurePart, PreflightContract):
    """Looks, and changes nothing. Whether everything is permitted is another part's question."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "Microsoft.Compute/locations/usages/read", "Microsoft.Compute/skus/read",
        "Microsoft.ContainerService/managedClusters/agentPools/read", "Microsoft.Network/locations/usages/read",
        "Microsoft.Network/publicIPAddresses/read",
        purpose=Purpose.OBSERVE, why="Compare the deployment's needs with quotas and their use",
    )  # fmt: skip
    def check_quotas(self, question: CapacityQuestion) -> None:
        """Each quota of the region has room for the deployment scaled to its maximum, beside what others use.

        The cores count against the quota of the region and against that of the family that would be chosen now; the
        machines that AKS has for itself count too.

        Raises:
            QUOTA: some have no room; each is named with need, use and limit.
            CONFIG: no zones offer the machines.
        """
        site = question.site
        with failures_named():
            offers = offers_of(self._connections.client(ComputeManagementClient, site, Purpose.OBSERVE), site.region)
            used = UsedByOthers(self._connections, site, offers)
        exceeded = []
        for code, (name, needed) in _wanted(question, _placement(question, offers), offers).items():
            limit, in_use = used.limits.get(code), used.of(code)
            if limit is not None and in_use + needed > limit:
                exceeded.append((code, f"{name} ({code}): needs {needed}, {in_use} of {limit} in use"))
        if exceeded:
            message = f"Quotas in {site.region} are too small: {'; '.join(text for _, text in exceeded)}"
            raise refused(FailureClass.QUOTA, message, quota=exceeded[0][0])

    @activity.defn(no_thread_cancel_exception=True)
    @needs("Microsoft.Compute/skus/read", purpose=Purpose.OBSERVE, why="Choose zones and sizes of machines")
    def choose_placement(self, question: CapacityQuestion) -> Placement:
        """Three zones (two, where there are no three) and for each pool a size of machines that all of them offer.

        Raises:
            CONFIG: no two zones of the region offer what the shape needs.
        """
        with failures_named():
            compute = self._connections.client(ComputeManagementClient, question.site, Purpose.OBSERVE)
            return _placement(question, offers_of(compute, question.site.region))

    @activity.defn(no_thread_cancel_exception=True)
    @needs("Microsoft.Network/virtualNetworks/read", purpose=Purpose.OBSERVE, why="Find free address ranges")
    def plan_addresses(self, question: AddressQuestion) -> AddressPlan:
        """Ranges for nodes, API server, pods and services, or those of the customer's own subnets.

        Raises:
            CONFIG: the range is unusable, or a network in the region has some of its addresses already.
        """
        site, existing, cidr = question.site, question.network.existing, question.network.cidr
        with failures_named():
            client = self._connections.client(NetworkManagementClient, site, Purpose.OBSERVE)
            if existing is not None:
                return _plan_of_existing(client, existing)
            networks = [each for each in client.virtual_networks.list_all() if each.location == site.region]
        try:
            plan = plan_overlaid_subnets(cidr)
        except AddressesUnusableError as error:
            raise refused(FailureClass.CONFIG, f"network.cidr: {error}", resource=str(cidr)) from error
        _require_free(cidr, networks, site)
        return plan


def _placement(question: CapacityQuestion, offers: Mapping[str, Offer]) -> Placement:
    zones = sorted({zone for offer in offers.values() for zone in offer.zones})
    offered = {name: offer.zones for name, offer in offers.items()}
    return place(pools_of(question), zones, offered, FAMILIES.machine_types, region=question.site.region)


def _wanted(
    question: CapacityQuestion, placement: Placement, offers: Mapping[str, Offer]
) -> dict[str, tuple[str, int]]:
    """Return what each quota is called and how much the deployment takes of it at its maximum, keyed by usage."""
    found = {
        need.quota.code: (need.quota.name, need.needed)
        for need in quota_needs(
            catalog.load().clouds[Cloud.AZURE].quotas,
            question.shape,
            high_availability=question.high_availability,
            our_network=question.network.existing is None,
        )
    }
    system = next((offers[name] for name in FAMILIES.machine_types(SYSTEM_POOL) if name in offers), None)
    families: Counter[str] = Counter()
    for machine in placement.machines:
        offer = offers[machine.instance_type]
        families[offer.family] += offer.cores * machine.maximum
    if system is not None:
        families[system.family] += system.cores * len(placement.zones)
    name, _ = found.get(CORES, (CORES, 0))
    return found | {CORES: (name, families.total())} | {family: (family, cores) for family, cores in families.items()}


def _require_free(cidr: IPv4Network, networks: Iterable[Any], site: Site) -> None:
    """Refuse a range that a network of somebody else's has a part of.

    Raises:
        ApplicationError: CONFIG.
    """
    for other in (each for each in networks if not is_ours(each.tags, site)):
        if overlap := first_overlap(cidr, _ranges(other.address_space)):
            message = (
                f"network.cidr: {cidr} overlaps {overlap} of the network {other.name} in {site.region}; networks that"
                " overlap can never be connected"
            )
            raise refused(FailureClass.CONFIG, message, resource=other.name)


def _plan_of_existing(client: NetworkManagementClient, existing: ExistingNetwork) -> AddressPlan:
    """Return the ranges of a customer's own subnets, and for pods and services what the network leaves free."""
    group, name = group_of(existing.network_id), name_of(existing.network_id)
    network = if_exists(lambda: client.virtual_networks.get(group, name))
    if network is None:
        message = f"network.existing: there is no network {existing.network_id}"
        raise refused(FailureClass.CONFIG, message, resource=existing.network_id)
    ranges = []
    for wanted in (*existing.private_subnet_ids[:1], *existing.public_subnet_ids[:1]):
        found = next((each for each in network.subnets or () if same_id(each.id, wanted)), None)
        if found is None:
            message = f"network.existing: {name} has no subnet {name_of(wanted)}"
            raise refused(FailureClass.CONFIG, message, resource=wanted)
        ranges.append(found.address_prefix or next(iter(found.address_prefixes or ()), ""))
    try:
        pods, services = overlay_ranges(_ranges(network.address_space))
    except AddressesUnusableError as error:
        raise refused(FailureClass.CONFIG, f"network.existing: {error}", resource=name) from error
    return AddressPlan(
        cidr=ranges[0],
        private_cidrs=tuple(ranges[:1]),
        public_cidrs=tuple(ranges[1:]),
        pod_cidr=str(pods),
        service_cidr=str(services),
    )


def _ranges(space: Any) -> list[IPv4Network]:  # noqa: ANN401 - a model of the SDK
    """Return the ranges of IPv4 of an address space."""
    given = [ip_network(each) for each in (space.address_prefixes if space is not None else None) or ()]
    return [each for each in given if isinstance(each, IPv4Network)]
