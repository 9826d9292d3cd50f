"""The endpoint's zone and the record that leads to the load balancer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from azure.mgmt.dns import DnsManagementClient

from activities.azure.connection import AzureConnections
from activities.azure.dns import AzureDomain, AzureEndpointRecord
from activities.azure.groups import group_name
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.contracts import DomainRequest, PublicationRequest
from domain.facts import Domain, LoadBalancer
from domain.failure import FailureClass
from domain.naming import owner_tags
from simulators.faults import FaultKind
from tests.activities.azure.conftest import Account, activities_of

DOMAIN = "prod.db.acme.example"


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run."""
    return activities_of(AzureDomain, AzureEndpointRecord)(settings, connections)


@pytest.fixture
def domain(account: Account) -> Domain:
    """The deployment's zone."""
    domain: Domain = account.run("create_domain", DomainRequest(site=account.site, domain=DOMAIN))
    return domain


def records(account: Account) -> dict[tuple[str, str], list[str]]:
    """Return the addresses in the zone as the customer sees them, keyed by name and type."""
    listed = account.customer(DnsManagementClient).record_sets.list_by_dns_zone(group_name(account.site), DOMAIN)
    return {
        (each.name, each.type.rpartition("/")[2]): [record.ipv4_address for record in each.a_records or ()]
        for each in listed
    }


def publication(account: Account, domain: Domain, address: str) -> PublicationRequest:
    """Return the order to let the domain lead to an address."""
    return PublicationRequest(site=account.site, domain=domain, load_balancer=LoadBalancer(hostname=address))


def test_the_customer_is_told_where_to_delegate(account: Account, domain: Domain) -> None:
    """The zone is public, carries our tags, and its name servers are known."""
    zone = account.customer(DnsManagementClient).zones.get(group_name(account.site), DOMAIN)

    assert (domain.name, domain.zone_id) == (DOMAIN, zone.id)
    assert zone.tags == owner_tags(account.site, "domain")
    assert zone.zone_type == "Public"
    assert len(domain.name_servers) == 4
    assert all(".azure-dns." in server for server in domain.name_servers)


def test_a_zone_cannot_change_its_name(account: Account, domain: Domain) -> None:
    """Another domain for the same deployment is refused, and the zone stays."""
    detail = account.failure("create_domain", DomainRequest(site=account.site, domain="other.acme.example"))

    assert detail.failure is FailureClass.CONFIG
    assert DOMAIN in detail.message


def test_the_domain_leads_to_the_load_balancer(account: Account, domain: Domain) -> None:
    """The record follows the load balancer's address, and is left alone while it does not change."""
    for address in ("203.0.113.9", "203.0.113.10"):
        account.run("publish_endpoint", publication(account, domain, address))
        before = account.control.position()
        account.run("publish_endpoint", publication(account, domain, address))

        assert account.changes(before) == []
        assert records(account)["@", "A"] == [address]


def test_deleting_takes_the_records_along(account: Account, domain: Domain) -> None:
    """Nothing is left, not even the group, and a second time is no error."""
    account.run("publish_endpoint", publication(account, domain, "203.0.113.9"))
    account.inject(FaultKind.LOST_REPLY, "dnsZones/delete", times=1)

    for _ in range(2):
        account.run_through("delete_domain", account.site)

    assert account.resources() == []
