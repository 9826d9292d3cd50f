"""DNS, certificates, and how a public name leads to a service in a cluster."""

from __future__ import annotations

from typing import Any

from tests.simulators.aws.customers import ACCOUNT, REGION, Customer, refused
from tests.simulators.aws.test_kubernetes_provider import service

DOMAIN = "acme.example.com"


def make_zone(account: Customer) -> str:
    """Make a public hosted zone and return its id."""
    zone: str = account.client("route53").create_hosted_zone(Name=DOMAIN, CallerReference=DOMAIN)["HostedZone"]["Id"]
    return zone


def publish(account: Customer, zone: str, record: dict[str, Any]) -> None:
    """Make a DNS record."""
    change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
    account.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)


def order(account: Customer, **options: Any) -> tuple[str, dict[str, Any]]:
    """Order a certificate; return its ARN and the record that validates it."""
    acm = account.client("acm")
    arn = acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS", **options)["CertificateArn"]
    option = acm.describe_certificate(CertificateArn=arn)["Certificate"]["DomainValidationOptions"][0]
    record = option["ResourceRecord"]
    wanted = {"Name": record["Name"], "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": record["Value"]}]}
    return arn, wanted


def status(account: Customer, arn: str) -> str:
    """Return the state of a certificate."""
    found: str = account.client("acm").describe_certificate(CertificateArn=arn)["Certificate"]["Status"]
    return found


def serve(account: Customer, **annotations: str) -> str:
    """Let a service in a new cluster have a load balancer, and return its hostname."""
    account.make_cluster()
    (cluster,) = account.kubernetes.clusters()
    wanted = service(**annotations)
    cluster.provider.ensure_load_balancer(cluster.id, wanted)
    account.pass_time(100)
    hostname: str = cluster.provider.ensure_load_balancer(cluster.id, wanted)
    return hostname


class TestCertificates:
    """ACM."""

    def test_are_issued_once_their_record_is_published(self, slow_account: Customer) -> None:
        """A certificate is pending until the record is found, and for its time after that."""
        zone = make_zone(slow_account)
        arn, record = order(slow_account)
        slow_account.pass_time(1000)
        states = [status(slow_account, arn)]

        publish(slow_account, zone, record)
        states.append(status(slow_account, arn))
        slow_account.pass_time(100)
        states.append(status(slow_account, arn))

        assert states == ["PENDING_VALIDATION", "PENDING_VALIDATION", "ISSUED"]

    def test_a_repeated_order_makes_no_second_one(self, account: Customer) -> None:
        """The same token finds the same certificate."""
        first, _ = order(account, IdempotencyToken="token1")
        second, _ = order(account, IdempotencyToken="token1")

        assert first == second

    def test_stay_while_a_load_balancer_uses_them(self, account: Customer) -> None:
        """A certificate in use is not deleted, and says who uses it."""
        acm = account.client("acm")
        arn, record = order(account)
        publish(account, make_zone(account), record)
        status(account, arn)
        serve(account, ssl_cert=arn)
        balancer = account.client("elbv2").describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]

        users = acm.describe_certificate(CertificateArn=arn)["Certificate"]["InUseBy"]
        with refused("ResourceInUseException"):
            acm.delete_certificate(CertificateArn=arn)
        account.client("elbv2").delete_load_balancer(LoadBalancerArn=balancer)
        acm.delete_certificate(CertificateArn=arn)

        assert users == [balancer]
        assert acm.list_certificates()["CertificateSummaryList"] == []


class TestNames:
    """Where public names lead."""

    def test_lead_through_an_alias_to_the_service(self, account: Customer) -> None:
        """A record that is an alias of the load balancer leads to the service; other names lead nowhere."""
        zone = make_zone(account)
        hostname = serve(account)
        alias = {"HostedZoneId": "Z1", "DNSName": hostname, "EvaluateTargetHealth": False}
        publish(account, zone, {"Name": DOMAIN, "Type": "A", "AliasTarget": alias})
        names = account.overlay.names
        (cluster,) = account.kubernetes.clusters()

        assert names.resolve(DOMAIN) == (cluster.id, "byoc", "endpoint", 443)
        assert names.resolve(hostname) == (cluster.id, "byoc", "endpoint", 443)
        assert names.resolve(f"www.{DOMAIN}") is None

    def test_lead_through_a_wildcard_and_a_cname(self, account: Customer) -> None:
        """A wildcard covers one label."""
        zone = make_zone(account)
        hostname = serve(account)
        target = {"TTL": 60, "ResourceRecords": [{"Value": hostname}]}
        publish(account, zone, {"Name": f"*.{DOMAIN}", "Type": "CNAME", **target})

        assert account.overlay.names.resolve(f"api.{DOMAIN}") is not None
        assert account.overlay.names.resolve(DOMAIN) is None

    def test_have_a_certificate_if_the_listener_presents_one(self, account: Customer) -> None:
        """Only an issued certificate of the listener that covers the name counts."""
        zone = make_zone(account)
        arn, record = order(account, SubjectAlternativeNames=[DOMAIN, f"*.{DOMAIN}"])
        publish(account, zone, record)
        assert status(account, arn) in ("PENDING_VALIDATION", "ISSUED")
        hostname = serve(account, ssl_cert=arn)
        alias = {"HostedZoneId": "Z1", "DNSName": hostname, "EvaluateTargetHealth": False}
        for name in (DOMAIN, f"api.{DOMAIN}"):
            publish(account, zone, {"Name": name, "Type": "A", "AliasTarget": alias})
        names = account.overlay.names

        assert names.has_certificate(DOMAIN)
        assert names.has_certificate(f"api.{DOMAIN}")
        assert not names.has_certificate(hostname)

    def test_a_listener_without_a_certificate_has_none(self, account: Customer) -> None:
        """Without the annotation the listener does not end TLS."""
        zone = make_zone(account)
        hostname = serve(account)
        alias = {"HostedZoneId": "Z1", "DNSName": hostname, "EvaluateTargetHealth": False}
        publish(account, zone, {"Name": DOMAIN, "Type": "A", "AliasTarget": alias})

        assert not account.overlay.names.has_certificate(DOMAIN)

    def test_a_certificate_that_is_not_issued_keeps_the_load_balancer_away(self, account: Customer) -> None:
        """The controller cannot make the listener, and the reason is known."""
        account.make_cluster()
        (cluster,) = account.kubernetes.clusters()
        unknown = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/unknown"

        assert cluster.provider.ensure_load_balancer(cluster.id, service(ssl_cert=unknown)) is None
        assert "UnsupportedCertificate" in next(iter(account.overlay.provider.complaints.values()))
