"""The endpoint's DNS zone and the record that leads to the load balancer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.api_core.exceptions import NotFound
from google.cloud import dns
from temporalio import activity

from activities.contracts import ClusterContract, DomainRequest, FoundationContract, PublicationRequest
from activities.failures import refused
from activities.gcp.compute import if_exists
from activities.gcp.errors import failures_named
from activities.gcp.ownership import is_described_as_ours, owner_description, require_ours
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Domain
from domain.failure import FailureClass
from domain.naming import base_name

_TTL = 300
"""Seconds."""
_BORN_WITH = frozenset({"NS", "SOA"})
"""Records that the zone's own name has from the beginning, and that go with the zone."""


class GcpDomain(GcpPart, FoundationContract):
    """Makes and deletes the zone."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs("dns.managedZones.create", "dns.managedZones.get", purpose=Purpose.OPERATE)
    def create_domain(self, request: DomainRequest) -> Domain:
        """A public zone of the domain exists; its name servers are those to which the customer delegates."""
        site, name = request.site, base_name(request.site)
        with failures_named(resource=request.domain):
            client = self._connections.client(dns.Client, site, Purpose.OPERATE)
            zone = client.zone(name, f"{request.domain}.", owner_description(site, "domain"))
            found = _reloaded(client.zone(name))
            if found is None:
                zone.create()
                found = zone
            require_ours(f"DNS zone {name}", site, ours=is_described_as_ours(found.description or "", site))
        if found.dns_name.rstrip(".") != request.domain:
            message = (
                f"The DNS zone {name} is of {found.dns_name}, not of {request.domain}; a zone cannot change its name"
            )
            raise refused(FailureClass.CONFIG, message, resource=name)
        return Domain(zone_id=name, name=request.domain, name_servers=tuple(found.name_servers))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "dns.changes.create", "dns.managedZones.delete", "dns.managedZones.get", "dns.resourceRecordSets.delete",
        "dns.resourceRecordSets.list",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_domain(self, site: Site) -> None:
        """No zone of the deployment is left, nor any record in it."""
        name = base_name(site)
        with failures_named():
            client = self._connections.client(dns.Client, site, Purpose.DELETE)
            zone = _reloaded(client.zone(name))
            if zone is None or not is_described_as_ours(zone.description or "", site):
                return
            doomed = [record for record in records(zone) if not _belongs_to_zone(record, zone)]
            if doomed:
                change_records(zone, remove=doomed)
            if_exists(zone.delete)


class GcpEndpointRecord(GcpPart, ClusterContract):
    """Publishes the endpoint."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "dns.changes.create", "dns.managedZones.get", "dns.resourceRecordSets.create", "dns.resourceRecordSets.delete",
        "dns.resourceRecordSets.list",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def publish_endpoint(self, request: PublicationRequest) -> None:
        """The domain resolves to the load balancer's address."""
        site, domain = request.site, request.domain
        with failures_named(resource=domain.name):
            client = self._connections.client(dns.Client, site, Purpose.OPERATE)
            zone = our_zone(client, site, domain)
            put_record(zone, f"{domain.name}.", "A", [request.load_balancer.hostname])


def our_zone(client: dns.Client, site: Site, domain: Domain) -> dns.ManagedZone:
    """Return the deployment's zone.

    Raises:
        ApplicationError: NOT_OURS if it is somebody else's.
        google.api_core.exceptions.NotFound: It does not exist (any more).
    """
    zone = client.zone(domain.zone_id)
    zone.reload()
    require_ours(f"DNS zone {domain.zone_id}", site, ours=is_described_as_ours(zone.description or "", site))
    return zone


def put_record(zone: dns.ManagedZone, name: str, kind: str, values: Sequence[str]) -> None:
    """Make the zone hold this record; no call that changes anything if it does already."""
    wanted = zone.resource_record_set(name, kind, _TTL, list(values))
    present = [record for record in records(zone) if (record.name.lower(), record.record_type) == (name.lower(), kind)]
    if [_comparable(record) for record in present] != [_comparable(wanted)]:
        change_records(zone, add=[wanted], remove=present)


def records(zone: dns.ManagedZone) -> Iterator[dns.ResourceRecordSet]:
    """Yield every record of a zone."""
    yield from zone.list_resource_record_sets()


def change_records(
    zone: dns.ManagedZone, *, add: Sequence[dns.ResourceRecordSet] = (), remove: Sequence[dns.ResourceRecordSet] = ()
) -> None:
    """Add and remove records, all of them or none."""
    changes = zone.changes()
    for record in remove:
        changes.delete_record_set(record)
    for record in add:
        changes.add_record_set(record)
    changes.create()


def _reloaded(zone: dns.ManagedZone) -> dns.ManagedZone | None:
    """Return the zone as it is, or None if it does not exist."""
    try:
        zone.reload()
    except NotFound:
        return None
    return zone


def _belongs_to_zone(record: dns.ResourceRecordSet, zone: dns.ManagedZone) -> bool:
    return record.record_type in _BORN_WITH and record.name == zone.dns_name


def _comparable(record: dns.ResourceRecordSet) -> tuple[object, ...]:
    return (record.ttl, *sorted(record.rrdatas))
