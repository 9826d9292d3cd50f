"""Cloud DNS through its official SDK, and by the newer calls that the SDK does not have."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound
from google.auth.transport.requests import AuthorizedSession
from google.cloud import dns
from google.oauth2.credentials import Credentials

from tests.simulators.gcp.customers import PROJECT, Customer, refused

DOMAIN = "acme-prod.db.acme.example."


def client(account: Customer, credentials: Credentials | None = None) -> dns.Client:
    """Return a client of DNS."""
    options = ClientOptions(api_endpoint=account.google.url)
    return dns.Client(project=PROJECT, credentials=credentials or account.owner, client_options=options)


@pytest.fixture
def zone(account: Customer) -> dns.zone.ManagedZone:
    """A zone."""
    made = client(account).zone("byoc", dns_name=DOMAIN, description="byoc")
    made.create()
    return made


def add(zone: dns.zone.ManagedZone, name: str, type_: str, *values: str) -> dns.changes.Changes:
    """Add a record set."""
    changes = zone.changes()
    changes.add_record_set(zone.resource_record_set(name, type_, 60, list(values)))
    changes.create()
    return changes


class TestZones:
    """Managed zones."""

    def test_come_with_name_servers(self, account: Customer, zone: dns.zone.ManagedZone) -> None:
        """To which somebody has to delegate the domain."""
        records = {record.record_type for record in zone.list_resource_record_sets()}

        assert len(zone.name_servers) == 4
        assert all(server.endswith(".googledomains.com.") for server in zone.name_servers)
        assert records == {"NS", "SOA"}
        assert [entry.name for entry in client(account).list_zones()] == ["byoc"]

    def test_exist_once(self, account: Customer, zone: dns.zone.ManagedZone) -> None:
        """A second one of that name is refused."""
        with refused(Conflict, "already exists"):
            client(account).zone("byoc", dns_name=DOMAIN).create()

    def test_are_deleted_when_only_their_own_records_are_left(self, zone: dns.zone.ManagedZone) -> None:
        """Others have to be deleted first."""
        changes = add(zone, f"api.{DOMAIN}", "A", "192.0.2.1")

        with pytest.raises(BadRequest) as caught:
            zone.delete()
        back = zone.changes()
        back.delete_record_set(changes.additions[0])
        back.create()
        zone.delete()

        assert caught.value.errors[0]["reason"] == "containerNotEmpty"
        assert not zone.exists()

    def test_need_permissions(self, account: Customer, zone: dns.zone.ManagedZone) -> None:
        """A change of records needs those of the changes and of the records."""
        credentials = account.member("byoc-operate", "dns.changes.create", "dns.managedZones.get")
        mine = client(account, credentials).zone("byoc", dns_name=DOMAIN)

        with refused(Forbidden, "dns.resourceRecordSets.create"):
            add(mine, f"api.{DOMAIN}", "A", "192.0.2.1")

    def test_have_labels(self, account: Customer) -> None:
        """Which the SDK does not know, but the API does."""
        session = AuthorizedSession(account.owner)
        url = f"{account.google.url}/dns/v1/projects/{PROJECT}/managedZones"
        body = {"name": "byoc", "dnsName": DOMAIN, "description": "", "labels": {"byoc": "managed"}}

        session.post(url, json=body)

        (found,) = account.google.inventory(PROJECT)
        assert (found.type, found.tags) == ("managed-zone", {"byoc": "managed"})


class TestRecords:
    """Record sets."""

    def test_change_all_or_none(self, account: Customer, zone: dns.zone.ManagedZone) -> None:
        """A change with one addition that is refused adds nothing."""
        add(zone, f"api.{DOMAIN}", "A", "192.0.2.1")
        changes = zone.changes()
        changes.add_record_set(zone.resource_record_set(f"other.{DOMAIN}", "A", 60, ["192.0.2.2"]))
        changes.add_record_set(zone.resource_record_set(f"api.{DOMAIN}", "A", 60, ["192.0.2.3"]))

        with refused(Conflict, f"api.{DOMAIN} (A)"):
            changes.create()

        found = {
            record.name: record.rrdatas for record in zone.list_resource_record_sets() if record.record_type == "A"
        }
        assert found == {f"api.{DOMAIN}": ["192.0.2.1"]}

    def test_are_deleted_as_they_are(self, zone: dns.zone.ManagedZone) -> None:
        """A deletion with other data is refused."""
        add(zone, f"api.{DOMAIN}", "A", "192.0.2.1")
        changes = zone.changes()
        changes.delete_record_set(zone.resource_record_set(f"api.{DOMAIN}", "A", 60, ["192.0.2.9"]))

        with refused(NotFound, "does not exist"):
            changes.create()

    def test_belong_into_the_zone(self, zone: dns.zone.ManagedZone) -> None:
        """Names outside of it are refused."""
        with refused(BadRequest, "is not in"):
            add(zone, "api.other.example.", "A", "192.0.2.1")

    def test_are_made_changed_and_deleted_one_by_one(self, account: Customer, zone: dns.zone.ManagedZone) -> None:
        """By the calls on single record sets."""
        session = AuthorizedSession(account.owner)
        root = f"{account.google.url}/dns/v1/projects/{PROJECT}/managedZones/byoc/rrsets"
        record: dict[str, Any] = {"name": f"api.{DOMAIN}", "type": "A", "ttl": 60, "rrdatas": ["192.0.2.1"]}
        single = f"{root}/api.{DOMAIN}/A"

        statuses = [
            session.post(root, json=record).status_code,
            session.post(root, json=record).status_code,
            session.patch(single, json={"rrdatas": ["192.0.2.2"]}).status_code,
        ]
        found = session.get(single).json()
        statuses += [session.delete(single).status_code, session.get(single).status_code]

        assert statuses == [200, 409, 200, 204, 404]
        assert found["rrdatas"] == ["192.0.2.2"]

    def test_are_public(self, account: Customer, zone: dns.zone.ManagedZone) -> None:
        """The world finds them by their name, and those of a wildcard."""
        add(zone, f"*.{DOMAIN}", "A", "192.0.2.1")

        found = list(account.google.dns.public_records(f"api.{DOMAIN}"))

        assert [record["rrdatas"] for record in found] == [["192.0.2.1"]]
