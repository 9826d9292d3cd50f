"""The endpoint's certificate: one of Certificate Manager's, in the deployment's region, proven by a record in our zone.

With it comes the policy of how the load balancer speaks TLS.

It is issued as soon as the record is public, before there is a load balancer. A load balancer of the region presents
it, so that TLS ends where the data is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeAlias

from google.api_core.exceptions import AlreadyExists
from google.cloud import certificate_manager_v1 as certificates
from google.cloud import dns
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.contracts import CertificateRequest, FoundationContract
from activities.failures import failure, refused
from activities.gcp.compute import DeploymentCompute, if_exists
from activities.gcp.dns import our_zone, put_record
from activities.gcp.errors import failures_named
from activities.gcp.ownership import is_ours, require_ours
from activities.gcp.part import GcpPart
from activities.gcp.tls_policy import PERMISSIONS_TO_ENSURE, PERMISSIONS_TO_REMOVE, ensure_tls_policy, remove_tls_policy
from activities.needs import needs
from activities.patience import is_young
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Certificate, Domain
from domain.failure import FailureClass, FailureDetail
from domain.naming import base_name, owner_labels

Manager: TypeAlias = certificates.CertificateManagerClient
_Managed = certificates.Certificate.ManagedCertificate


class GcpCertificate(GcpPart, FoundationContract):
    """Orders and deletes the certificate."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "certificatemanager.certs.create", "certificatemanager.certs.delete", "certificatemanager.certs.get",
        "certificatemanager.dnsauthorizations.create", "certificatemanager.dnsauthorizations.get",
        "certificatemanager.dnsauthorizations.use", "dns.changes.create", "dns.managedZones.get",
        "dns.resourceRecordSets.create", "dns.resourceRecordSets.delete",
        "dns.resourceRecordSets.list", *PERMISSIONS_TO_ENSURE,
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_certificate(self, request: CertificateRequest) -> Certificate:
        """An issued certificate of the domain exists, the record in our zone by which it is renewed, and a TLS policy.

        Raises:
            ApplicationError: NOT_READY while Google has not seen the record; after the grace POLICY, because only the
                customer can delegate the domain to our zone. A certificate that Google has given up is ordered anew.
        """
        site, domain = request.site, request.domain
        with failures_named(resource=domain.name):
            manager = self._connections.client(Manager, site, Purpose.OPERATE)
            authorization = self._ensure_authorization(manager, site, domain)
            zone = our_zone(self._connections.client(dns.Client, site, Purpose.OPERATE), site, domain)
            record = authorization.dns_resource_record
            put_record(zone, record.name, record.type_, [record.data])
            certificate = self._ensure_certificate(manager, site, domain, authorization.name)
            if certificate.managed.state == _Managed.State.FAILED:
                # Google tries one certificate several times, and never again; the name is free once it is deleted.
                manager.delete_certificate(name=certificate.name)
                raise self._look_again(f"Google has given the certificate {certificate.name} up; it is ordered anew")
            if certificate.managed.state != _Managed.State.ACTIVE:
                raise self._not_issued(certificate, domain)
            ensure_tls_policy(DeploymentCompute(self._settings, self._connections, site, Purpose.OPERATE))
        return Certificate(certificate_id=certificate.name)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "certificatemanager.certs.delete", "certificatemanager.certs.get",
        "certificatemanager.dnsauthorizations.delete", "certificatemanager.dnsauthorizations.get",
        *PERMISSIONS_TO_REMOVE,
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_certificate(self, site: Site) -> None:
        """No certificate of the deployment is left, nor what came with it; while it is in use it cannot go."""
        with failures_named():
            manager = self._connections.client(Manager, site, Purpose.DELETE)
            name = certificate_name(site)
            certificate = if_exists(lambda: manager.get_certificate(name=name))
            if certificate is not None and is_ours(certificate.labels, site):
                manager.delete_certificate(name=name)
                raise self._look_again(f"the certificate {name} is being deleted")
            name = authorization_name(site)
            authorization = if_exists(lambda: manager.get_dns_authorization(name=name))
            if authorization is not None and is_ours(authorization.labels, site):
                manager.delete_dns_authorization(name=name)
                raise self._look_again(f"the authorization {name} is being deleted")
            remove_tls_policy(DeploymentCompute(self._settings, self._connections, site, Purpose.DELETE))

    def _ensure_authorization(self, manager: Manager, site: Site, domain: Domain) -> certificates.DnsAuthorization:
        name = authorization_name(site)
        found = if_exists(lambda: manager.get_dns_authorization(name=name))
        if found is not None:
            require_ours(f"DNS authorization {name}", site, ours=is_ours(found.labels, site))
            return found
        parent, _, identifier = name.rpartition("/dnsAuthorizations/")
        # One of a region has a record of the project's own, so that several regions can prove the same domain.
        wanted = certificates.DnsAuthorization(
            domain=domain.name,
            labels=owner_labels(site, "certificate"),
            type_=certificates.DnsAuthorization.Type.PER_PROJECT_RECORD,
        )
        with suppress(AlreadyExists):  # being made since an attempt whose reply was lost
            manager.create_dns_authorization(parent=parent, dns_authorization_id=identifier, dns_authorization=wanted)
        raise self._look_again(f"the authorization {name} is being made")

    def _ensure_certificate(
        self, manager: Manager, site: Site, domain: Domain, authorization: str
    ) -> certificates.Certificate:
        name = certificate_name(site)
        found = if_exists(lambda: manager.get_certificate(name=name))
        if found is not None:
            require_ours(f"certificate {name}", site, ours=is_ours(found.labels, site))
            return found
        parent, _, identifier = name.rpartition("/certificates/")
        wanted = certificates.Certificate(
            labels=owner_labels(site, "certificate"),
            managed=_Managed(domains=[domain.name], dns_authorizations=[authorization]),
        )
        with suppress(AlreadyExists):
            manager.create_certificate(parent=parent, certificate_id=identifier, certificate=wanted)
        raise self._look_again(f"the certificate {name} is being made")

    def _not_issued(self, certificate: certificates.Certificate, domain: Domain) -> ApplicationError:
        """Return why the certificate cannot be used yet."""
        managed = certificate.managed
        if managed.provisioning_issue.reason == _Managed.ProvisioningIssue.Reason.RATE_LIMITED:
            message = f"The certificate of {domain.name} waits for a rate limit: {managed.provisioning_issue.details}"
            return failure(FailureDetail(failure=FailureClass.THROTTLE, message=message, resource=domain.name))
        message = (
            f"the certificate of {domain.name} waits until Google sees its validation record: at the registrar (or in "
            f"the zone above) delegate {domain.name} to the name servers {', '.join(domain.name_servers)}"
        )
        if is_young(self._settings.delegation_grace):
            return self._look_again(message)
        return refused(FailureClass.POLICY, message, resource=domain.name)


def certificate_name(site: Site) -> str:
    """Return the full name of the deployment's certificate."""
    return f"projects/{site.cloud_account_id}/locations/{site.region}/certificates/{base_name(site)}"


def authorization_name(site: Site) -> str:
    """Return the full name of the authorization by which the domain is proven."""
    return f"projects/{site.cloud_account_id}/locations/{site.region}/dnsAuthorizations/{base_name(site)}"
