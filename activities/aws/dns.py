"""The DNS zone of the endpoint, its certificate and the record that leads to the load balancer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import gone_is_success, if_exists
from activities.aws.ownership import as_tag_list, from_tag_list, is_ours, lacking, require_ours
from activities.aws.part import AwsPart
from activities.contracts import (
    CertificateRequest,
    ClusterContract,
    DomainRequest,
    FoundationContract,
    PublicationRequest,
)
from activities.failures import refused
from activities.needs import needs
from activities.patience import is_young
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Certificate, Domain
from domain.failure import FailureClass
from domain.naming import owner_tags, token

_UNUSABLE = frozenset({"EXPIRED", "FAILED", "INACTIVE", "REVOKED", "VALIDATION_TIMED_OUT"})
"""States of a certificate that can never be issued (any more); another one is ordered in its place."""


class AwsDomain(AwsPart, FoundationContract):
    """Makes and deletes the public hosted zone of the endpoint's domain."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "route53:ListHostedZones", "route53:ListTagsForResource", "route53:CreateHostedZone",
        "route53:ChangeTagsForResource", "route53:GetHostedZone",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_domain(self, request: DomainRequest) -> Domain:
        """The zone exists; the customer delegates the domain to the name servers that are returned.

        A zone of the same name that is not ours is left alone: Route 53 keeps both, and the delegation decides.
        """
        site = request.site
        with failures_named(resource=request.domain):
            route53 = self._connections.client("route53", site, Purpose.OPERATE)
            zone = next((zone for zone in our_zones(route53, site) if _is_named(zone, request.domain)), None)
            if zone is None:
                zone = self._create_zone(route53, site, request.domain)
            zone_id = zone["Id"].removeprefix("/hostedzone/")
            if missing := lacking(owner_tags(site, "domain"), _zone_tags(route53, zone_id)):
                route53.change_tags_for_resource(
                    ResourceType="hostedzone", ResourceId=zone_id, AddTags=as_tag_list(missing)
                )
            servers = route53.get_hosted_zone(Id=zone_id)["DelegationSet"]["NameServers"]
        return Domain(zone_id=zone_id, name=request.domain, name_servers=tuple(servers))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "route53:ListHostedZones", "route53:ListTagsForResource", "route53:ListResourceRecordSets",
        "route53:ChangeResourceRecordSets", "route53:DeleteHostedZone",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_domain(self, site: Site) -> None:
        """No zone of the deployment is left, nor any record in it."""
        with failures_named():
            route53 = self._connections.client("route53", site, Purpose.DELETE)
            for zone in list(our_zones(route53, site)):
                doomed = [record for record in _records(route53, zone["Id"]) if not _belongs_to_zone(record, zone)]
                changes = [{"Action": "DELETE", "ResourceRecordSet": record} for record in doomed]
                with gone_is_success():
                    if changes:
                        route53.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch={"Changes": changes})
                    route53.delete_hosted_zone(Id=zone["Id"])

    def _create_zone(self, route53: AwsClient, site: Site, domain: str) -> Mapping[str, Any]:
        try:
            zone: Mapping[str, Any] = route53.create_hosted_zone(
                Name=domain,
                CallerReference=token(site, "domain"),
                HostedZoneConfig={"Comment": _comment(site), "PrivateZone": False},
            )["HostedZone"]
        except ClientError as error:
            if code_of(error) != "HostedZoneAlreadyExists":
                raise
            raise self._look_again(f"the zone of {domain} exists and is not visible yet") from error
        return zone


class AwsCertificate(AwsPart, FoundationContract):
    """Orders and deletes the certificate of the endpoint."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "acm:ListCertificates", "acm:ListTagsForCertificate", "acm:RequestCertificate", "acm:DescribeCertificate",
        "route53:ListResourceRecordSets", "route53:ChangeResourceRecordSets",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_certificate(self, request: CertificateRequest) -> Certificate:
        """An issued certificate of the domain exists, and the records in our zone by which ACM renews it.

        Raises:
            ApplicationError: NOT_READY while ACM has not seen the records; after the grace POLICY, because only the
                customer can delegate the domain to our zone.
        """
        site, domain = request.site, request.domain
        with failures_named(resource=domain.name):
            acm = self._connections.client("acm", site, Purpose.OPERATE)
            usable = our_certificates(acm, site, domain.name, usable=True)
            arn = next(usable, None) or self._order_certificate(acm, site, domain)
            certificate = acm.describe_certificate(CertificateArn=arn)["Certificate"]
            if certificate["Status"] in _UNUSABLE:
                reason = certificate.get("FailureReason", certificate["Status"])
                message = f"ACM will not issue a certificate for {domain.name}: {reason}"
                raise refused(FailureClass.CONFIG, message, resource=domain.name)
            records = [each.get("ResourceRecord") for each in certificate.get("DomainValidationOptions", ())]
            if not records or None in records:
                raise self._look_again(f"ACM has not said yet how {domain.name} is to be validated")
            route53 = self._connections.client("route53", site, Purpose.OPERATE)
            for record in records:
                wanted = {
                    "Name": record["Name"],
                    "Type": record["Type"],
                    "TTL": 300,
                    "ResourceRecords": [{"Value": record["Value"]}],
                }
                _put_record(route53, domain.zone_id, wanted)
            if certificate["Status"] != "ISSUED":
                raise self._undelegated(domain)
        return Certificate(certificate_id=arn)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "acm:ListCertificates", "acm:ListTagsForCertificate", "acm:DescribeCertificate", "acm:DeleteCertificate",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_certificate(self, site: Site) -> None:
        """No certificate of the deployment is left; while a load balancer uses one it cannot go."""
        with failures_named():
            acm = self._connections.client("acm", site, Purpose.DELETE)
            for arn in list(our_certificates(acm, site)):
                found = if_exists(acm.describe_certificate, CertificateArn=arn)
                if found is None:
                    continue
                if found["Certificate"].get("InUseBy"):
                    raise self._look_again(f"certificate {arn} is still used by {found['Certificate']['InUseBy'][0]}")
                with gone_is_success():
                    acm.delete_certificate(CertificateArn=arn)

    def _order_certificate(self, acm: AwsClient, site: Site, domain: Domain) -> str:
        arn: str = acm.request_certificate(
            DomainName=domain.name,
            ValidationMethod="DNS",
            # At most 32 letters and digits.
            IdempotencyToken=token(site, "certificate").replace("-", ""),
            Tags=as_tag_list(owner_tags(site, "certificate")),
        )["CertificateArn"]
        return arn

    def _undelegated(self, domain: Domain) -> ApplicationError:
        """Return the error for a domain in which ACM does not find the validation record of our zone."""
        message = (
            f"the certificate of {domain.name} waits until ACM sees its validation record: at the registrar (or in the "
            f"zone above) delegate {domain.name} to the name servers {', '.join(domain.name_servers)}"
        )
        if is_young(self._settings.delegation_grace):
            return self._look_again(message)
        return refused(FailureClass.POLICY, message, resource=domain.name)


class AwsEndpointRecord(AwsPart, ClusterContract):
    """Publishes the endpoint."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "elasticloadbalancing:DescribeLoadBalancers", "route53:ListTagsForResource", "route53:ListResourceRecordSets",
        "route53:ChangeResourceRecordSets",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def publish_endpoint(self, request: PublicationRequest) -> None:
        """The domain resolves to the load balancer.

        The domain is the top of its zone, where DNS allows no CNAME: the record is an alias, which follows the load
        balancer's addresses.
        """
        site, domain = request.site, request.domain
        with failures_named(resource=domain.name):
            balancers = self._connections.client("elbv2", site, Purpose.OPERATE)
            hosted_in = _zone_of(balancers, request.load_balancer.hostname)
            if hosted_in is None:
                raise self._look_again(f"the load balancer {request.load_balancer.hostname} is not visible yet")
            route53 = self._connections.client("route53", site, Purpose.OPERATE)
            require_ours(site, _zone_tags(route53, domain.zone_id), f"DNS zone {domain.zone_id}")
            wanted = {
                "Name": f"{domain.name}.",
                "Type": "A",
                "AliasTarget": {
                    "HostedZoneId": hosted_in,
                    "DNSName": f"{request.load_balancer.hostname}.",
                    "EvaluateTargetHealth": False,
                },
            }
            _put_record(route53, domain.zone_id, wanted)


def _comment(site: Site) -> str:
    """Return the comment of our zone, which, other than tags, the listing of all zones shows."""
    return f"byoc deployment {site.deployment}"


def our_zones(route53: AwsClient, site: Site) -> Iterator[Mapping[str, Any]]:
    """Yield the deployment's zones: known by the token of their creation, which tags follow, or by our tags."""
    for page in route53.get_paginator("list_hosted_zones").paginate():
        for zone in page["HostedZones"]:
            made_by_token = zone["CallerReference"] == token(site, "domain")
            said_ours = zone.get("Config", {}).get("Comment") == _comment(site)
            if made_by_token or (said_ours and is_ours(site, _zone_tags(route53, zone["Id"]))):
                yield zone


def _is_named(zone: Mapping[str, Any], domain: str) -> bool:
    return str(zone["Name"]).rstrip(".").lower() == domain.rstrip(".").lower()


def _zone_tags(route53: AwsClient, zone_id: str) -> dict[str, str]:
    found = if_exists(
        route53.list_tags_for_resource, ResourceType="hostedzone", ResourceId=zone_id.removeprefix("/hostedzone/")
    )
    return from_tag_list(found["ResourceTagSet"]["Tags"]) if found else {}


def _records(route53: AwsClient, zone_id: str) -> Iterator[Mapping[str, Any]]:
    for page in route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone_id):
        yield from page["ResourceRecordSets"]


def _belongs_to_zone(record: Mapping[str, Any], zone: Mapping[str, Any]) -> bool:
    """Return whether Route 53 made the record with the zone, and takes it away with it."""
    return record["Type"] in {"NS", "SOA"} and record["Name"] == zone["Name"]


def _put_record(route53: AwsClient, zone_id: str, wanted: Mapping[str, Any]) -> None:
    """Make the zone hold `wanted`; no call that changes anything if it does already."""
    present = next(
        (
            record
            for record in _records(route53, zone_id)
            if record["Name"].lower() == wanted["Name"].lower() and record["Type"] == wanted["Type"]
        ),
        None,
    )
    if present is None or _comparable(present) != _comparable(wanted):
        route53.change_resource_record_sets(
            HostedZoneId=zone_id,
            ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": dict(wanted)}]},
        )


def _comparable(record: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what makes two records the same: Route 53 changes the case of names and orders fields as it likes."""
    alias = record.get("AliasTarget")
    if alias:
        return (alias["HostedZoneId"], alias["DNSName"].lower().rstrip("."), alias["EvaluateTargetHealth"])
    return (record.get("TTL"), *sorted(value["Value"] for value in record.get("ResourceRecords", ())))


def our_certificates(acm: AwsClient, site: Site, domain: str = "", *, usable: bool = False) -> Iterator[str]:
    """Yield the ARNs of the deployment's certificates, of one domain if it is given."""
    for page in acm.get_paginator("list_certificates").paginate():
        for summary in page["CertificateSummaryList"]:
            if domain and summary["DomainName"] != domain:
                continue
            if usable and summary.get("Status") in _UNUSABLE:
                continue
            tags = if_exists(acm.list_tags_for_certificate, CertificateArn=summary["CertificateArn"]) or {}
            if is_ours(site, from_tag_list(tags.get("Tags"))):
                yield summary["CertificateArn"]


def _zone_of(balancers: AwsClient, hostname: str) -> str | None:
    """Return the Route 53 zone in which the load balancer's own name lives, which an alias has to name."""
    for page in balancers.get_paginator("describe_load_balancers").paginate():
        for balancer in page["LoadBalancers"]:
            if balancer["DNSName"].lower() == hostname.lower():
                return str(balancer["CanonicalHostedZoneId"])
    return None
