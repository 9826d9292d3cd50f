"""What a deployment costs for a month, by list price: an estimate of what stands there, without its use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.facts import Machine, Placement
from domain.model import Model
from domain.operation import OperationKind
from domain.plan import CostItem
from domain.shape import Component, PoolSize
from domain.sizing import component_sizes
from domain.state import OperationOrder


class MachineFamily(Model):
    """Machines of one kind, in several sizes; the price is proportional to the size."""

    name: str
    """How its machine types are called, `*` being the size: `m6i.*`, `n2-standard-*`."""
    gib_for_each_cpu: int
    cpu_hour: float
    """Of one virtual processor, with its memory."""

    def machine_type(self, size: str) -> str:
        """Return what the cloud calls a machine of this size."""
        return self.name.replace("*", size)


class PriceList(Model):
    """List prices of one cloud, in USD."""

    as_of: date
    source: str
    base_region: str
    hours: float
    """Hours of a month."""
    control_plane_hour: float
    nat_gateway_hour: float
    regional_egress: bool = False
    """Whether one NAT gateway with its address, and one load balancer address, serve all zones of a region."""
    load_balancer_hour: float
    private_endpoint_hour: float
    """Of one endpoint in one zone."""
    public_address_hour: float
    volume_gib_month: float
    """Of the store's volumes."""
    machine_volume_gib_month: float | None = None
    """Of the machines' own volumes, where they are of another kind."""
    backup_gib_month: float
    key_month: float
    zone_month: float
    """Of a DNS zone."""
    private_endpoints: int
    """How many a deployment has in each zone."""
    machine_volume_gib: int
    """A machine's own volume."""
    families: tuple[MachineFamily, ...]
    """The preferred ones first."""
    sizes: dict[str, int]
    """Virtual processors, keyed by the size's name."""
    regions: dict[str, float]
    """What a region costs against the base region, keyed by region."""

    def machine_types(self) -> dict[str, float]:
        """Return the price of an hour in the base region, keyed by machine type."""
        return {
            family.machine_type(size): family.cpu_hour * cpu
            for family in self.families
            for size, cpu in self.sizes.items()
        }

    def preferred(self, size: PoolSize) -> str:
        """Return the machine type that is chosen for a pool's machines where every zone offers it; empty if none is."""
        for name, cpu in sorted(self.sizes.items(), key=lambda each: each[1]):
            for family in sorted(self.families, key=lambda each: each.gib_for_each_cpu):
                if cpu >= size.cpu and family.gib_for_each_cpu * cpu >= size.memory_gib:
                    return family.machine_type(name)
        return ""


class Prices(Model):
    """The price lists of the clouds of which we have one."""

    clouds: dict[Cloud, PriceList]
    """Keyed by cloud."""


def monthly_costs(
    prices: PriceList, kind: OperationKind, order: OperationOrder, placement: Placement
) -> tuple[CostItem, ...]:
    """Return what stands in the account after an operation, line by line, for a month at the lowest scale.

    Machines of a type that the list does not have are left out. A volume's share of a backup is not known before there
    is data: the backup is counted as large as the volume, which it cannot exceed.
    """
    factor = prices.regions.get(order.site.region, 1.0)
    if kind is OperationKind.RETIRE:
        lines = _kept(prices, order) if order.final_backup is FinalBackup.KEEP else iter(())
    else:
        lines = _standing(prices, order, placement)
    return tuple(CostItem(what=what, monthly_usd=round(usd * factor, 2)) for what, usd in lines)


def _standing(prices: PriceList, order: OperationOrder, placement: Placement) -> Iterator[tuple[str, float]]:
    hours, zones = prices.hours, len(placement.zones)
    yield "Kubernetes control plane", prices.control_plane_hour * hours
    yield from _machines(prices, placement.machines)
    machines = sum(machine.minimum for machine in placement.machines)
    own = machines * prices.machine_volume_gib
    own_price = prices.machine_volume_gib_month
    own_price = prices.volume_gib_month if own_price is None else own_price
    yield f"{own} GiB of the machines' own volumes", own * own_price
    store = component_sizes(order.shape, high_availability=order.spec.high_availability)[Component.STORE]
    volumes = store.scale.minimum * store.volume_gib
    yield f"{volumes} GiB of the store's volumes", volumes * prices.volume_gib_month
    if order.spec.network.existing is None:
        gateways = 1 if prices.regional_egress else zones
        yield _counted(gateways, "NAT gateway"), gateways * prices.nat_gateway_hour * hours
        if endpoints := zones * prices.private_endpoints:
            yield f"{endpoints} private endpoints", endpoints * prices.private_endpoint_hour * hours
        yield f"{2 * gateways} public addresses", 2 * gateways * prices.public_address_hour * hours
    yield "Load balancer", prices.load_balancer_hour * hours
    yield "DNS zone", prices.zone_month
    yield from _kept(prices, order)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _machines(prices: PriceList, machines: tuple[Machine, ...]) -> Iterator[tuple[str, float]]:
    known = prices.machine_types()
    for machine in machines:
        if machine.instance_type in known:
            hourly = known[machine.instance_type] * machine.minimum
            yield f"{machine.minimum} {machine.instance_type} for the {machine.pool} pool", hourly * prices.hours


def _kept(prices: PriceList, order: OperationOrder) -> Iterator[tuple[str, float]]:
    """What stays with a final backup as well."""
    gib = component_sizes(order.shape, high_availability=order.spec.high_availability)[Component.STORE].volume_gib
    yield "Encryption key", prices.key_month
    yield f"Backup of at most {gib} GiB", gib * prices.backup_gib_month
