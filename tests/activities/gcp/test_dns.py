"""The endpoint's zone, its certificate, and the record that leads to the load balancer."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from google.cloud import certificate_manager_v1, compute_v1, dns

from activities.contracts import CertificateRequest, DomainRequest, PublicationRequest
from activities.gcp.ownership import owner_description
from activities.kubernetes.manifests import gcp as manifests
from domain.facts import Certificate, Domain, LoadBalancer
from domain.failure import FailureClass
from simulators.faults import FaultKind
from tests.activities.gcp.conftest import REGION, Account

DOMAIN = "prod.db.acme.example"
LATE = timedelta(minutes=11)


@pytest.fixture
def domain(account: Account) -> Domain:
    """The deployment's zone."""
    domain: Domain = account.run("create_domain", DomainRequest(site=account.site, domain=DOMAIN))
    return domain


@pytest.fixture
def certificate(account: Account, domain: Domain) -> Certificate:
    """The deployment's certificate."""
    certificate: Certificate = account.run("create_certificate", CertificateRequest(site=account.site, domain=domain))
    return certificate


def records(account: Account, domain: Domain) -> dict[tuple[str, str], list[str]]:
    """Return the zone's records as the customer sees them, keyed by name and type."""
    zone = account.customer(dns.Client).zone(domain.zone_id)
    return {(each.name, each.record_type): list(each.rrdatas) for each in zone.list_resource_record_sets()}


def test_the_customer_is_told_where_to_delegate(account: Account, domain: Domain) -> None:
    """The zone is public, and its name servers are known."""
    assert domain.name == DOMAIN
    assert len(domain.name_servers) == 4
    assert all(server.endswith(".googledomains.com.") for server in domain.name_servers)


def test_the_certificate_lives_in_the_region(account: Account, domain: Domain, certificate: Certificate) -> None:
    """It is issued, and the record that proves the domain is in our zone."""
    assert f"/locations/{REGION}/" in certificate.certificate_id
    manager = account.customer(certificate_manager_v1.CertificateManagerClient)
    found = manager.get_certificate(name=certificate.certificate_id)
    assert list(found.managed.domains) == [DOMAIN]
    assert found.managed.state.name == "ACTIVE"
    assert [kind for name, kind in records(account, domain) if name.startswith("_acme-challenge_")] == ["CNAME"]


def tls_policy(account: Account) -> compute_v1.SslPolicy:
    """Return how the load balancer is to speak TLS, as the customer sees it."""
    policies = account.customer(compute_v1.RegionSslPoliciesClient)
    (found,) = policies.list(project=account.project, region=REGION)
    return found


def test_nobody_may_speak_an_old_tls(account: Account, domain: Domain, certificate: Certificate) -> None:
    """The policy that the Gateway names asks for TLS 1.2 at least, and is put back if somebody loosens it."""
    policies = account.customer(compute_v1.RegionSslPoliciesClient)
    before = tls_policy(account)
    loose = compute_v1.SslPolicy(min_tls_version="TLS_1_0", profile="COMPATIBLE", fingerprint=before.fingerprint)
    where = {"project": account.project, "region": REGION, "ssl_policy": before.name}
    policies.patch_unary(**where, ssl_policy_resource=loose)
    loosened = tls_policy(account)

    account.run("create_certificate", CertificateRequest(site=account.site, domain=domain))

    after = tls_policy(account)
    assert before.name == manifests.tls_policy(account.site)
    assert loosened.min_tls_version == "TLS_1_0"
    assert [(each.min_tls_version, each.profile) for each in (before, after)] == [("TLS_1_2", "MODERN")] * 2


def test_a_tls_policy_of_somebody_else_is_refused(account: Account, domain: Domain) -> None:
    """One that has our name is neither used nor deleted."""
    policies = account.customer(compute_v1.RegionSslPoliciesClient)
    theirs = compute_v1.SslPolicy(name=manifests.tls_policy(account.site), min_tls_version="TLS_1_0")
    policies.insert_unary(project=account.project, region=REGION, ssl_policy_resource=theirs)

    refused = account.failure("create_certificate", CertificateRequest(site=account.site, domain=domain))
    account.run("delete_certificate", account.site)

    assert refused.failure is FailureClass.NOT_OURS
    assert tls_policy(account).min_tls_version == "TLS_1_0"


def test_the_domain_leads_to_the_load_balancer(account: Account, domain: Domain) -> None:
    """The record follows the load balancer's address, and is left alone while it does not change."""
    for address in ("203.0.113.9", "203.0.113.10"):
        request = PublicationRequest(site=account.site, domain=domain, load_balancer=LoadBalancer(hostname=address))
        account.run("publish_endpoint", request)
        before = account.control.position()
        account.run("publish_endpoint", request)

        assert account.changes(before) == []
        assert records(account, domain)[f"{DOMAIN}.", "A"] == [address]


def test_a_domain_that_nobody_delegates_waits_for_the_customer(account: Account) -> None:
    """First it may be on its way; after the grace the customer is asked, with the name servers."""
    url = f"{account.endpoints.gcp_url}/dns/v1/projects/{account.project}/managedZones"
    owner = {"Authorization": f"Bearer owner:{account.project}"}
    # What nobody delegates, nobody sees: as if it were private.
    unseen = {
        "name": f"byoc-{account.site.deployment}",
        "dnsName": f"{DOMAIN}.",
        "description": owner_description(account.site, "domain"),
        "visibility": "private",
    }
    requests.post(url, json=unseen, headers=owner, timeout=30).raise_for_status()
    domain = account.run("create_domain", DomainRequest(site=account.site, domain=DOMAIN))
    again = CertificateRequest(site=account.site, domain=domain)
    for _ in range(4):
        early = account.attempt_once("create_certificate", again)

    late = account.attempt_once("create_certificate", again, age=LATE)

    assert early is not None
    assert early.failure is FailureClass.NOT_READY
    assert late is not None
    assert late.failure is FailureClass.POLICY
    assert domain.name_servers[0] in late.message


def test_what_is_being_made_is_waited_for(account: Account, domain: Domain) -> None:
    """A certificate that Google is still making is not made a second time, and is no conflict."""
    account.inject(FaultKind.STUCK, "CreateCertificate")
    for _ in range(4):
        detail = account.attempt_once("create_certificate", CertificateRequest(site=account.site, domain=domain))

    assert detail is not None
    assert detail.failure is FailureClass.NOT_READY


def test_a_certificate_that_google_gives_up_is_ordered_anew(account: Account, domain: Domain) -> None:
    """Google never tries such a one again, so waiting for it would last for ever."""
    account.inject(FaultKind.CRASH, "CreateCertificate", times=1)

    certificate = account.run("create_certificate", CertificateRequest(site=account.site, domain=domain))

    manager = account.customer(certificate_manager_v1.CertificateManagerClient)
    assert manager.get_certificate(name=certificate.certificate_id).managed.state.name == "ACTIVE"
    operations = [call.operation for call in account.changes()]
    assert operations.count("CreateCertificate") == 2
