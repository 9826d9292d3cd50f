"""The endpoint's certificate: a key that a vault makes and keeps, signed by an authority that looks at our zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.keyvault.certificates import CertificateClient, CertificatePolicy, KeyVaultCertificate
from azure.mgmt.dns import DnsManagementClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from activities.azure.certificate import NAME, AzureCertificate
from activities.azure.connection import AzureConnections
from activities.azure.dns import AzureDomain
from activities.azure.granting import BuiltInRole
from activities.azure.groups import group_name
from activities.azure.roles import AzureRoles
from activities.azure.settings import AzureSettings
from activities.azure.transport import LoopbackTransport
from activities.azure.vault import certificates_vault, vault_id, vault_url
from activities.barrier import WouldChange, changes_barred
from activities.cloud import Activity
from activities.contracts import CertificateRequest, DomainRequest
from domain.facts import Certificate, Domain
from domain.failure import FailureClass
from domain.naming import owner_tags
from simulators.faults import Fault, FaultKind
from tests.activities.azure.conftest import Account, Owner, activities_of
from tests.activities.tenant import by_name

DOMAIN = "prod.db.acme.example"
LATE = timedelta(minutes=11)


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """What these tests run; they wait shortly."""
    settings = settings.model_copy(update={"consistency_wait": timedelta(milliseconds=20)})
    return activities_of(AzureDomain, AzureCertificate, AzureRoles)(settings, connections)


@pytest.fixture
def domain(account: Account) -> Domain:
    """The deployment's zone; beside it are the deployment's identities."""
    domain: Domain = account.run("create_domain", DomainRequest(site=account.site, domain=DOMAIN))
    account.run("create_roles", account.site)
    return domain


@pytest.fixture
def certificate(account: Account, domain: Domain) -> Certificate:
    """The deployment's certificate."""
    return ordered(account, domain)


def ordered(account: Account, domain: Domain) -> Certificate:
    """Run the step until it is done."""
    made: Certificate = account.run_through("create_certificate", CertificateRequest(site=account.site, domain=domain))
    return made


def client(account: Account) -> Any:
    """Return the owner's client for the certificates in the vault."""
    transport = LoopbackTransport(account.endpoints.azure_url)
    url = vault_url(certificates_vault(account.site))
    return CertificateClient(url, Owner(account.subscription), transport=transport, retry_total=0)  # type: ignore[arg-type]


def in_vault(account: Account) -> KeyVaultCertificate:
    """Return the certificate as the customer sees it."""
    found: KeyVaultCertificate = client(account).get_certificate(NAME)
    return found


def types(account: Account) -> set[str]:
    """Return the types of what the subscription holds, but for identities."""
    return {each.type for each in account.resources()} - {"user-assigned-identity"}


def short_lived(csr: bytes, days: int) -> bytes:
    """Return a certificate (DER) for a request, by an authority of the customer's own."""
    request, now = x509.load_der_x509_csr(csr), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    builder = x509.CertificateBuilder(name, request.subject, request.public_key(), 1, now, now + timedelta(days=days))
    signed = builder.add_extension(names, critical=False).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def test_the_certificate_is_of_the_domain_and_signed(
    account: Account, domain: Domain, certificate: Certificate
) -> None:
    """The authority that clients trust has signed it, for ninety days; its key was made in the vault."""
    found = x509.load_der_x509_certificate(bytes(in_vault(account).cer or b""))
    authority = x509.load_pem_x509_certificate(account.endpoints.internet_ca_file.read_bytes())

    found.verify_directly_issued_by(authority)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [DOMAIN]
    assert found.not_valid_after_utc - datetime.now(UTC) > timedelta(days=89)
    assert certificate.certificate_id == f"{vault_url(certificates_vault(account.site))}/secrets/{NAME}"
    assert in_vault(account).properties.tags == owner_tags(account.site, "certificate")


def test_the_endpoint_may_read_it(account: Account, certificate: Certificate) -> None:
    """Its identity has the role at the vault, and nobody else has one there."""
    scope = vault_id(account.site, certificates_vault(account.site))
    granted = [each for each in account.resources() if each.type == "role-assignment" and each.id.startswith(scope)]

    assert [each.details["roleDefinitionId"].rpartition("/")[2] for each in granted] == [BuiltInRole.SECRETS_USER]


def test_making_it_again_changes_nothing(account: Account, domain: Domain, certificate: Certificate) -> None:
    """It is only looked at; the authority is not asked."""
    before = account.control.position()

    assert ordered(account, domain) == certificate
    assert account.changes(before) == []
    assert account.control.journal(after=before, service="acme") == []


def test_one_that_ends_soon_is_renewed(account: Account, domain: Domain) -> None:
    """A new version with a new key takes its place, under the same address."""
    first = ordered(account, domain)
    policy = CertificatePolicy("Unknown", san_dns_names=[DOMAIN])
    csr = client(account).begin_create_certificate(NAME, policy).result().csr
    client(account).merge_certificate(NAME, [short_lived(bytes(csr), days=29)])
    ending = in_vault(account)

    renewed = ordered(account, domain)

    assert renewed == first
    assert in_vault(account).properties.version != ending.properties.version
    assert in_vault(account).properties.expires_on > datetime.now(UTC) + timedelta(days=80)


def test_a_domain_that_nobody_delegates_waits_for_the_customer(account: Account) -> None:
    """First it may be on its way; after the grace the customer is asked, with the name servers."""
    account.run("create_roles", account.site)
    # What nobody delegates, nobody sees: as if it were private.
    unseen = {"location": "global", "tags": owner_tags(account.site, "domain"), "properties": {"zoneType": "Private"}}
    account.customer(DnsManagementClient).zones.create_or_update(group_name(account.site), DOMAIN, unseen)
    domain = account.run("create_domain", DomainRequest(site=account.site, domain=DOMAIN))
    again = CertificateRequest(site=account.site, domain=domain)
    for _ in range(2):
        early = account.attempt_once("create_certificate", again)

    late = account.attempt_once("create_certificate", again, age=LATE)

    assert early is not None
    assert early.failure is FailureClass.NOT_READY
    assert late is not None
    assert late.failure is FailureClass.POLICY
    assert domain.name_servers[0] in late.message


def test_an_identity_that_is_made_meanwhile_is_waited_for(account: Account) -> None:
    """Roles and certificate are made at the same time; the certificate is issued only once."""
    domain = account.run("create_domain", DomainRequest(site=account.site, domain=DOMAIN))
    for _ in range(3):
        waiting = account.attempt_once("create_certificate", CertificateRequest(site=account.site, domain=domain))
    account.run("create_roles", account.site)
    issued = in_vault(account).properties.version

    ordered(account, domain)

    assert waiting is not None
    assert waiting.failure is FailureClass.NOT_READY
    assert in_vault(account).properties.version == issued


@pytest.mark.parametrize(
    ("kind", "expected"), [(FaultKind.THROTTLE, FailureClass.THROTTLE), (FaultKind.LOST_REPLY, FailureClass.TRANSIENT)]
)
def test_the_authority_may_be_busy(account: Account, domain: Domain, kind: FaultKind, expected: FailureClass) -> None:
    """Then the same request is signed later."""
    account.control.inject(Fault(kind=kind, service="acme", operation="new-order", times=1))

    detail = account.failure("create_certificate", CertificateRequest(site=account.site, domain=domain))
    request = client(account).get_certificate_operation(NAME).csr
    ordered(account, domain)

    assert detail.failure is expected
    signed = x509.load_der_x509_certificate(bytes(in_vault(account).cer or b""))
    assert signed.public_key() == x509.load_der_x509_csr(bytes(request)).public_key()


@pytest.mark.parametrize(
    "action",
    [
        "Microsoft.KeyVault/vaults/certificates/create/action",
        "Microsoft.KeyVault/vaults/certificates/read",
        "Microsoft.Network/dnsZones/TXT/write",
    ],
)
def test_a_missing_permission_is_named(account: Account, domain: Domain, action: str) -> None:
    """What Azure refuses, the vault itself too, says which action the customer has to allow."""
    account.inject(FaultKind.REVOKE, action.partition("vaults/")[2] or action.partition("/")[2])

    detail = account.failure("create_certificate", CertificateRequest(site=account.site, domain=domain))

    assert detail.failure is FailureClass.PERMISSION
    assert detail.action == action


def test_without_an_account_nothing_is_ordered(
    account: Account, settings: AzureSettings, connections: AzureConnections, domain: Domain
) -> None:
    """Who runs the control plane is told that the account's key is missing."""
    without = settings.model_copy(update={"acme_account_key_file": ""})
    tenant = replace(account, activities=by_name(activities_of(AzureCertificate)(without, connections)))

    detail = tenant.failure("create_certificate", CertificateRequest(site=account.site, domain=domain))

    assert detail.failure is FailureClass.CONFIG
    assert "no key of its account" in detail.message


def test_a_comparison_asks_no_authority(account: Account, domain: Domain) -> None:
    """An order is a change, although no cloud sees it."""
    account.inject(FaultKind.THROTTLE, "dnsZones/TXT/read", times=1)
    account.failure("create_certificate", CertificateRequest(site=account.site, domain=domain))
    before = account.control.position()

    with changes_barred(), pytest.raises(WouldChange, match="acme"):
        account.attempt("create_certificate", CertificateRequest(site=account.site, domain=domain))

    assert account.control.journal(after=before, service="acme") == []


def test_deleting_frees_the_name(account: Account, domain: Domain, certificate: Certificate) -> None:
    """The vault is purged, and a second time is no error."""
    account.inject(FaultKind.LOST_REPLY, "vaults/delete", times=1)
    account.inject(FaultKind.LOST_REPLY, "locations/deletedVaults/purge/action", times=1)

    for _ in range(2):
        account.run_through("delete_certificate", account.site)

    assert types(account) == {"dns-zone", "record-set", "resource-group"}
