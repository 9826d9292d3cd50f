"""Certificate Manager through its official SDK."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from google.auth.transport.requests import AuthorizedSession
from google.cloud import certificate_manager_v1

from simulators.faults import FaultKind
from tests.simulators.gcp.customers import PROJECT, Customer, refused

PARENT = f"projects/{PROJECT}/locations/global"
CERTIFICATE = f"{PARENT}/certificates/byoc"
HOST = "acme-prod.db.acme.example"
LABELS = {"byoc": "managed"}

Manager = certificate_manager_v1.CertificateManagerClient


@pytest.fixture
def manager(account: Customer) -> Manager:
    """A client, of the owner."""
    client: Manager = account.rpc(Manager)
    return client


def make_certificate(account: Customer, manager: Manager) -> certificate_manager_v1.DnsAuthorization:
    """Ask for a certificate, and return the authorization that proves its domain."""
    wanted = {"domain": HOST, "labels": LABELS}
    manager.create_dns_authorization(parent=PARENT, dns_authorization=wanted, dns_authorization_id="byoc")
    account.pass_time(30)
    authorization: certificate_manager_v1.DnsAuthorization = manager.get_dns_authorization(
        name=f"{PARENT}/dnsAuthorizations/byoc"
    )
    managed = {"domains": [HOST, f"*.{HOST}"], "dns_authorizations": [authorization.name]}
    manager.create_certificate(parent=PARENT, certificate={"managed": managed, "labels": LABELS}, certificate_id="byoc")
    account.pass_time(30)
    return authorization


def publish(account: Customer, authorization: certificate_manager_v1.DnsAuthorization) -> None:
    """Put the record that proves the domain into a public zone."""
    session = AuthorizedSession(account.owner)
    url = f"{account.google.url}/dns/v1/projects/{PROJECT}/managedZones"
    session.post(url, json={"name": "byoc", "dnsName": f"{HOST}."})
    record = authorization.dns_resource_record
    body = {"name": record.name, "type": record.type_, "ttl": 60, "rrdatas": [record.data]}
    session.post(f"{url}/byoc/rrsets", json=body)


class TestCertificates:
    """Managed certificates with DNS authorizations."""

    def test_are_issued_once_their_domain_is_proven(self, slow_account: Customer) -> None:
        """PROVISIONING until the record is in the public DNS, then ACTIVE."""
        manager = slow_account.rpc(Manager)
        authorization = make_certificate(slow_account, manager)
        slow_account.pass_time(3600)

        waiting = manager.get_certificate(name=CERTIFICATE).managed
        publish(slow_account, authorization)
        for _ in range(2):  # until the next look, and until the certificate is there
            slow_account.pass_time(150)
        issued = manager.get_certificate(name=CERTIFICATE)

        assert waiting.state.name == "PROVISIONING"
        assert {attempt.state.name for attempt in waiting.authorization_attempt_info} == {"FAILED"}
        assert issued.managed.state.name == "ACTIVE"
        assert issued.expire_time.timestamp() > issued.create_time.timestamp()
        assert list(issued.san_dnsnames) == [HOST, f"*.{HOST}"]

    def test_are_issued_also_where_nothing_takes_time(self, account: Customer, manager: Manager) -> None:
        """The next look finds the record."""
        publish(account, make_certificate(account, manager))

        manager.get_certificate(name=CERTIFICATE)
        account.pass_time(1)

        assert manager.get_certificate(name=CERTIFICATE).managed.state.name == "ACTIVE"

    def test_are_kept_by_the_maps_that_present_them(self, account: Customer, manager: Manager) -> None:
        """And the map by its entries, and the authorization by the certificate."""
        make_certificate(account, manager)
        maps = f"{PARENT}/certificateMaps/byoc"
        manager.create_certificate_map(parent=PARENT, certificate_map={"labels": LABELS}, certificate_map_id="byoc")
        account.pass_time(30)
        entry = {"hostname": HOST, "certificates": [CERTIFICATE]}
        manager.create_certificate_map_entry(
            parent=maps, certificate_map_entry=entry, certificate_map_entry_id="primary"
        )
        account.pass_time(30)

        with refused(FailedPrecondition, "it is referenced by"):
            manager.delete_certificate(name=CERTIFICATE)
        with refused(FailedPrecondition, "it is referenced by"):
            manager.delete_certificate_map(name=maps)
        with refused(FailedPrecondition, "it is referenced by"):
            manager.delete_dns_authorization(name=f"{PARENT}/dnsAuthorizations/byoc")
        manager.delete_certificate_map_entry(name=f"{maps}/certificateMapEntries/primary").result(timeout=30)
        manager.delete_certificate_map(name=maps).result(timeout=30)
        manager.delete_certificate(name=CERTIFICATE).result(timeout=30)
        manager.delete_dns_authorization(name=f"{PARENT}/dnsAuthorizations/byoc").result(timeout=30)

        assert account.google.inventory(PROJECT) == []

    def test_exist_once_and_are_found_by_their_labels(self, account: Customer, manager: Manager) -> None:
        """A name that is being made is taken already."""
        make_certificate(account, manager)
        managed = {"domains": [HOST]}

        with refused(AlreadyExists, CERTIFICATE):
            manager.create_certificate(parent=PARENT, certificate={"managed": managed}, certificate_id="byoc")

        listed = manager.list_certificates(request={"parent": PARENT, "filter": "labels.byoc=managed"})
        assert [entry.name for entry in listed] == [CERTIFICATE]
        assert list(manager.list_certificates(request={"parent": PARENT, "filter": "labels.byoc=other"})) == []

    def test_need_what_they_refer_to(self, manager: Manager) -> None:
        """An authorization that is not there is named; without domains there is no certificate."""
        missing = {"domains": [HOST], "dns_authorizations": [f"{PARENT}/dnsAuthorizations/none"]}

        with refused(NotFound, "dnsAuthorizations/none"):
            manager.create_certificate(parent=PARENT, certificate={"managed": missing}, certificate_id="byoc")
        with refused(InvalidArgument, "domains"):
            manager.create_certificate(parent=PARENT, certificate={"managed": {}}, certificate_id="byoc")

    def test_need_the_permission_to_use_what_they_refer_to(self, account: Customer, manager: Manager) -> None:
        """Beyond that to make them."""
        make_certificate(account, manager)
        client = account.rpc(Manager, account.member("byoc-operate", "certificatemanager.certs.create"))
        managed = {"domains": [HOST], "dns_authorizations": [f"{PARENT}/dnsAuthorizations/byoc"]}

        with refused(PermissionDenied, "certificatemanager.dnsauthorizations.use"):
            client.create_certificate(parent=PARENT, certificate={"managed": managed}, certificate_id="other")

    def test_are_not_there_if_their_operation_fails(self, account: Customer, manager: Manager) -> None:
        """The operation has the error, and the name is free again."""
        account.inject(kind=FaultKind.CRASH, operation="CreateCertificateMap", times=1)

        operation = manager.create_certificate_map(parent=PARENT, certificate_map={}, certificate_map_id="byoc")
        error = operation.exception(timeout=30)
        manager.create_certificate_map(parent=PARENT, certificate_map={}, certificate_map_id="byoc").result(timeout=30)

        assert "Internal error" in str(error)
        assert [entry.name for entry in manager.list_certificate_maps(parent=PARENT)] == [
            f"{PARENT}/certificateMaps/byoc"
        ]
