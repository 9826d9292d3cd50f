"""The endpoint's DNS zone and the record that leads to the load balancer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from azure.mgmt.dns import DnsManagementClient
from temporalio import activity

from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import EMPTYING, ENSURING, group_name
from activities.azure.ownership import is_ours, require_ours
from activities.azure.part import AzurePart
from activities.contracts import ClusterContract, DomainRequest, FoundationContract, PublicationRequest
from activities.failures import refused
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Domain
from domain.failure import FailureClass
from domain.naming import owner_tags

ZONE = "Microsoft.Network/dnsZones"
APEX = "@"
"""What a record of the zone's own name is called."""
TTL = 300
"""Seconds."""


class AzureDomain(AzurePart, FoundationContract):
    """Makes and deletes the zone."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(*ENSURING, f"{ZONE}/read", f"{ZONE}/write", purpose=Purpose.OPERATE)
    def create_domain(self, request: DomainRequest) -> Domain:
        """A public zone of the domain exists; its name servers are those to which the customer delegates."""
        site, name = request.site, request.domain
        with failures_named(resource=name):
            self._ensure_group(site)
            zones = self._connections.client(DnsManagementClient, site, Purpose.OPERATE).zones
            found = if_exists(lambda: zones.get(group_name(site), name))
            if found is None:
                self._refuse_another(zones, site, name)
                wanted = {"location": "global", "tags": owner_tags(site, "domain")}
                found = zones.create_or_update(group_name(site), name, wanted)
            require_ours(found.tags, site, f"DNS zone {name}")
        return Domain(zone_id=str(found.id), name=name, name_servers=tuple(found.name_servers))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(*EMPTYING, f"{ZONE}/delete", f"{ZONE}/read", purpose=Purpose.DELETE)
    def delete_domain(self, site: Site) -> None:
        """No zone of the deployment is left, nor any record in it."""
        with failures_named():
            zones = self._connections.client(DnsManagementClient, site, Purpose.DELETE).zones
            for zone in self._ours(zones, site):
                if_exists(partial(zones.begin_delete, group_name(site), str(zone.name), polling=False))
            self._gone(lambda: self._ours(zones, site) or None, "the DNS zone")
            self._delete_group_if_empty(site)

    def _refuse_another(self, zones: Any, site: Site, name: str) -> None:  # noqa: ANN401 - the SDK is not typed here
        """Refuse a second domain: a zone cannot change its name."""
        for zone in self._ours(zones, site):
            message = f"The DNS zone of the deployment is of {zone.name}, not of {name}; a zone cannot change its name"
            raise refused(FailureClass.CONFIG, message, resource=str(zone.name))

    @staticmethod
    def _ours(zones: Any, site: Site) -> list[Any]:  # noqa: ANN401 - the SDK is not typed here
        listed = if_exists(lambda: list(zones.list_by_resource_group(group_name(site)))) or []
        return [zone for zone in listed if is_ours(zone.tags, site)]


class AzureEndpointRecord(AzurePart, ClusterContract):
    """Publishes the endpoint."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{ZONE}/read", f"{ZONE}/A/read", f"{ZONE}/A/write", purpose=Purpose.OPERATE)
    def publish_endpoint(self, request: PublicationRequest) -> None:
        """The domain resolves to the load balancer's address."""
        site, domain = request.site, request.domain
        with failures_named(resource=domain.name):
            client = self._connections.client(DnsManagementClient, site, Purpose.OPERATE)
            require_our_zone(client, site, domain)
            records = [{"ipv4Address": request.load_balancer.hostname}]
            put_records(client, site, domain, APEX, "A", {"ARecords": records})


def require_our_zone(client: DnsManagementClient, site: Site, domain: Domain) -> None:
    """Refuse to touch the records of a zone that is somebody else's.

    Raises:
        ApplicationError: NOT_OURS.
        azure.core.exceptions.ResourceNotFoundError: It does not exist (any more).
    """
    zone = client.zones.get(group_name(site), domain.name)
    require_ours(zone.tags, site, f"DNS zone {domain.name}")


def put_records(
    client: DnsManagementClient, site: Site, domain: Domain, name: str, kind: str, values: Mapping[str, object]
) -> None:
    """Make the zone hold exactly these records of a name, relative to the zone; no change if it does already.

    `values` are the records as the API spells them: `{"ARecords": [{"ipv4Address": "203.0.113.9"}]}`.
    """
    found = if_exists(lambda: client.record_sets.get(group_name(site), domain.name, name, kind))
    present = found.serialize(keep_readonly=True)["properties"] if found is not None else {}
    wanted = {"TTL": TTL, **values}
    if any(present.get(field) != value for field, value in wanted.items()):
        client.record_sets.create_or_update(group_name(site), domain.name, name, kind, {"properties": wanted})
