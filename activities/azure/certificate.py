"""The endpoint's certificate: its key is made in a vault of the deployment and stays there, an authority signs it.

Azure manages no certificates that a Gateway in a cluster could present, so the vault's is signed by an ACME authority,
which is shown a record in our zone. The Gateway's own pods read it from the vault, as the endpoint's identity. It lasts
ninety days and is renewed by whatever run of this step finds less than thirty left: what reads it follows the vault.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.keyvault.certificates import CertificateClient, CertificatePolicy, KeyType, WellKnownIssuerNames
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.dns import DnsManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from cryptography import x509
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.azure.authority import Authority, NotProvenError
from activities.azure.dns import ZONE, put_records, require_our_zone
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.granting import ASSIGNING, BuiltInRole, give_role
from activities.azure.groups import EMPTYING, ENSURING, group_name
from activities.azure.ownership import ours_or_none
from activities.azure.roles import IDENTITY, RoleName
from activities.azure.vault import (
    ENSURING_VAULT,
    REMOVING_VAULT,
    VAULT,
    AzureVaults,
    certificates_vault,
    vault_id,
    vault_url,
)
from activities.contracts import CertificateRequest, FoundationContract
from activities.failures import not_ready, refused
from activities.needs import needs
from activities.patience import is_young
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Certificate, Domain
from domain.failure import FailureClass
from domain.naming import owner_tags, resource_name

NAME = "endpoint"
"""The certificate's name in its vault."""
RENEW_BEFORE = timedelta(days=30)
_LONGEST_COMMON_NAME = 64
_MONTHS = 3


class AzureCertificate(AzureVaults, FoundationContract):
    """Orders, renews and deletes the certificate."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *ENSURING, *ENSURING_VAULT, f"{VAULT}/certificates/create/action", f"{VAULT}/certificates/read",
        f"{ZONE}/read", f"{ZONE}/TXT/read", f"{ZONE}/TXT/write", f"{IDENTITY}/read", *ASSIGNING,
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_certificate(self, request: CertificateRequest) -> Certificate:
        """A certificate of the domain with thirty days or more to go is in the vault; the endpoint may read it.

        Raises:
            ApplicationError: NOT_READY while the authority has not seen the record; after the grace POLICY, because
                only the customer can delegate the domain to our zone. NOT_READY as well while the endpoint's identity,
                which is made meanwhile, does not exist.
        """
        site, domain = request.site, request.domain
        with failures_named(resource=domain.name):
            self._ensure_group(site)
            vaults = self._connections.client(KeyVaultManagementClient, site, Purpose.OPERATE)
            self._ensure_vault(vaults, site, certificates_vault(site), "certificate", protected=False)
            with self._certificates(site) as certificates:
                found = if_exists(lambda: certificates.get_certificate(NAME))
                if found is None or not _lasts(found, domain.name):
                    self._issue(certificates, site, domain)
            self._let_the_endpoint_in(site)
        return Certificate(certificate_id=certificate_secret_url(site))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *EMPTYING, *REMOVING_VAULT, "Microsoft.KeyVault/locations/deletedVaults/read",
        "Microsoft.KeyVault/locations/deletedVaults/purge/action",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_certificate(self, site: Site) -> None:
        """No vault with a certificate of the deployment is left, not even a deleted one: its name is free again."""
        name = certificates_vault(site)
        with failures_named(resource=name):
            vaults = self._connections.client(KeyVaultManagementClient, site, Purpose.DELETE)
            self._remove_vault(vaults, site, name)

            def deleted() -> Any:  # noqa: ANN401 - the SDK is not typed here
                found = if_exists(lambda: vaults.vaults.get_deleted(name, site.region))
                return ours_or_none(found.properties if found is not None else None, site)

            if deleted() is not None:
                if_exists(lambda: vaults.vaults.begin_purge_deleted(name, site.region, polling=False))
                self._gone(deleted, f"the deleted key vault {name}")
            self._delete_group_if_empty(site)

    def _certificates(self, site: Site) -> CertificateClient:
        credential = self._connections.credential(site, Purpose.OPERATE)
        return CertificateClient(vault_url(certificates_vault(site)), credential, **self._connections.options())

    def _issue(self, certificates: CertificateClient, site: Site, domain: Domain) -> None:
        """Let the vault make a key and a request, unless it has one that is not signed yet; have it signed; merge."""
        pending = if_exists(lambda: certificates.get_certificate_operation(NAME))
        if pending is None or str(pending.status).lower() != "inprogress" or not _is_for(pending.csr, domain.name):
            certificates.begin_create_certificate(NAME, _policy(domain.name), tags=owner_tags(site, "certificate"))
            pending = certificates.get_certificate_operation(NAME)
        client = self._connections.client(DnsManagementClient, site, Purpose.OPERATE)
        require_our_zone(client, site, domain)

        def publish(name: str, value: str) -> None:
            relative, records = name.removesuffix(f".{domain.name}"), {"TXTRecords": [{"value": [value]}]}
            try:
                put_records(client, site, domain, relative, "TXT", records)
            except (ServiceRequestError, ServiceResponseError):
                # Another attempt would order anew, and have another value to write.
                put_records(client, site, domain, relative, "TXT", records)
            # The name servers take a moment to have it, and a failure counts against the account.
            time.sleep(self._settings.consistency_wait.total_seconds())

        try:
            chain = Authority(self._settings).sign(domain.name, bytes(pending.csr), publish)
        except NotProvenError as error:
            raise self._not_proven(domain, str(error)) from error
        certificates.merge_certificate(NAME, list(chain))

    def _not_proven(self, domain: Domain, reason: str) -> ApplicationError:
        message = (
            f"the certificate of {domain.name} waits until its authority sees the validation record ({reason}): at the"
            f" registrar (or in the zone above) delegate {domain.name} to the name servers"
            f" {', '.join(domain.name_servers)}"
        )
        if is_young(self._settings.delegation_grace):
            return not_ready(message, look_again_in=self._settings.validation_pause)
        return refused(FailureClass.POLICY, message, resource=domain.name)

    def _let_the_endpoint_in(self, site: Site) -> None:
        """Give the endpoint's identity the role by which it reads the certificate with its key."""
        name = resource_name(site, RoleName.ENDPOINT)
        identities = self._connections.client(ManagedServiceIdentityClient, site, Purpose.OPERATE)
        found = if_exists(lambda: identities.user_assigned_identities.get(group_name(site), name))
        if found is None:
            raise self._look_again(f"the identity {name}, which presents the certificate, does not exist yet")
        authorization = self._connections.client(AuthorizationManagementClient, site, Purpose.OPERATE)
        scope = vault_id(site, certificates_vault(site))
        give_role(authorization, site, scope, BuiltInRole.SECRETS_USER, str(found.principal_id))


def certificate_secret_url(site: Site) -> str:
    """Return where the certificate is read with its key: without a version, so that renewals are followed."""
    return f"{vault_url(certificates_vault(site))}/secrets/{NAME}"


def _policy(domain: str) -> CertificatePolicy:
    # The common name of a certificate is short; names are looked for in the alternative ones anyway.
    subject = {"subject": f"CN={domain}"} if len(domain) <= _LONGEST_COMMON_NAME else {}
    return CertificatePolicy(
        WellKnownIssuerNames.unknown,
        san_dns_names=[domain],
        key_type=KeyType.rsa,
        key_size=2048,
        exportable=True,
        reuse_key=False,
        content_type="application/x-pem-file",
        validity_in_months=_MONTHS,
        **subject,
    )


def _lasts(certificate: Any, domain: str) -> bool:  # noqa: ANN401 - the SDK is not typed here
    """Return whether a certificate is whole, of the domain, and has enough time left."""
    if not certificate.cer:
        return False
    found = x509.load_der_x509_certificate(bytes(certificate.cer))
    return domain in _names(found.extensions) and found.not_valid_after_utc - datetime.now(UTC) > RENEW_BEFORE


def _is_for(csr: bytes | None, domain: str) -> bool:
    return bool(csr) and domain in _names(x509.load_der_x509_csr(bytes(csr or b"")).extensions)


def _names(extensions: x509.Extensions) -> list[str]:
    try:
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)
