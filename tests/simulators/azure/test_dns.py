"""Public zones, their record sets, and where names lead, by the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.dns import DnsManagementClient

from tests.simulators.azure.conftest import SUBSCRIPTION, Account

ZONE = "prod.acme.example"


def make_zone(account: Account, *, kind: str = "Public") -> Any:
    """Make a zone and return a client."""
    client = account.client(DnsManagementClient)
    client.zones.create_or_update("byoc", ZONE, {"location": "global", "properties": {"zoneType": kind}})
    return client


def put(client: Any, name: str, record_type: str, properties: dict[str, Any]) -> Any:
    """Write a record set."""
    return client.record_sets.create_or_update(
        "byoc", ZONE, name, record_type, {"properties": {"TTL": 60, **properties}}
    )


def test_a_zone_is_born_with_its_name_servers(account: Account) -> None:
    """Writing it again changes nothing of that."""
    client = make_zone(account)
    zone = client.zones.get("byoc", ZONE)

    again = client.zones.create_or_update("byoc", ZONE, {"location": "global", "tags": {"who": "us"}})

    assert len(zone.name_servers) == 4
    assert again.name_servers == zone.name_servers
    assert again.number_of_record_sets == 2
    kinds = {record.type.rpartition("/")[2] for record in client.record_sets.list_by_dns_zone("byoc", ZONE)}
    assert kinds == {"NS", "SOA"}
    with pytest.raises(HttpResponseError, match="apex"):
        client.record_sets.delete("byoc", ZONE, "@", "NS")


def test_names_lead_to_addresses(account: Account) -> None:
    """Directly, by an alias, and by a wildcard; names ignore case."""
    client, names = make_zone(account), account.azure.public_records
    put(client, "@", "A", {"ARecords": [{"ipv4Address": "203.0.113.9"}]})
    put(client, "www", "CNAME", {"CNAMERecord": {"cname": f"{ZONE}."}})
    put(client, "*.apps", "A", {"ARecords": [{"ipv4Address": "203.0.113.10"}]})

    assert names.address_of(ZONE) == names.address_of(f"WWW.{ZONE}.") == "203.0.113.9"
    assert names.address_of(f"one.apps.{ZONE}") == "203.0.113.10"
    assert names.address_of(f"other.{ZONE}") is None


def test_texts_are_read_in_one_piece(account: Account) -> None:
    """A long one is written in several."""
    client = make_zone(account)
    made = put(client, "_acme-challenge", "TXT", {"TXTRecords": [{"value": ["one", "two"]}, {"value": ["three"]}]})

    assert made.fqdn == f"_acme-challenge.{ZONE}."
    assert account.azure.public_records.texts_of(f"_acme-challenge.{ZONE}") == ["onetwo", "three"]


def test_a_private_zone_is_not_seen(account: Account) -> None:
    """Nobody outside finds its records."""
    put(make_zone(account, kind="Private"), "@", "A", {"ARecords": [{"ipv4Address": "203.0.113.9"}]})

    assert account.azure.public_records.address_of(ZONE) is None


def test_what_cannot_be_is_refused(account: Account) -> None:
    """A set without records, an alias beside something else, a name of no domain, and a zone that is not there."""
    client = make_zone(account)
    put(client, "www", "A", {"ARecords": [{"ipv4Address": "203.0.113.9"}]})

    with pytest.raises(HttpResponseError, match="no records"):
        put(client, "api", "A", {})
    with pytest.raises(HttpResponseError, match="CNAME"):
        put(client, "www", "CNAME", {"CNAMERecord": {"cname": "elsewhere.example"}})
    with pytest.raises(HttpResponseError, match="domain name"):
        client.zones.create_or_update("byoc", "-x", {"location": "global"})
    with pytest.raises(ResourceNotFoundError, match="ParentResourceNotFound"):
        client.record_sets.create_or_update("byoc", "other.example", "@", "A", {"properties": {"TTL": 60}})


def test_a_zone_goes_with_its_records(account: Account) -> None:
    """Nothing of it is left."""
    client = make_zone(account)
    put(client, "@", "A", {"ARecords": [{"ipv4Address": "203.0.113.9"}]})
    assert {each.type for each in account.azure.inventory(SUBSCRIPTION)} == {"resource-group", "dns-zone", "record-set"}

    client.zones.begin_delete("byoc", ZONE).result()

    assert {each.type for each in account.azure.inventory(SUBSCRIPTION)} == {"resource-group"}
    assert account.azure.public_records.address_of(ZONE) is None
