"""The DNS zone of the endpoint, its certificate and its record."""

from __future__ import annotations

from datetime import timedelta

import pytest

from activities.contracts import CertificateRequest, DomainRequest, PublicationRequest
from domain.facts import Domain, LoadBalancer
from domain.failure import FailureClass
from domain.naming import owner_tags
from simulators.faults import FaultKind
from tests.activities.aws.conftest import Account


@pytest.fixture
def domain(account: Account) -> Domain:
    """The deployment's zone."""
    name = f"{account.site.deployment}.db.acme.example"
    domain: Domain = account.run("create_domain", DomainRequest(site=account.site, domain=name))
    return domain


def _zones(account: Account) -> list[str]:
    return [zone["Name"] for zone in account.customer("route53").list_hosted_zones()["HostedZones"]]


def _load_balancer(account: Account) -> LoadBalancer:
    """Make a network load balancer as the customer would, and return its address."""
    ec2 = account.customer("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    balancers = account.customer("elbv2").create_load_balancer(Name="front", Type="network", Subnets=[subnet])
    return LoadBalancer(hostname=balancers["LoadBalancers"][0]["DNSName"])


def test_the_zone_tells_where_to_delegate(account: Account, domain: Domain) -> None:
    """The facts hold the name servers, and the zone our tags."""
    route53 = account.customer("route53")
    assert domain.name_servers == tuple(route53.get_hosted_zone(Id=domain.zone_id)["DelegationSet"]["NameServers"])
    tagged = route53.list_tags_for_resource(ResourceType="hostedzone", ResourceId=domain.zone_id)
    assert {tag["Key"]: tag["Value"] for tag in tagged["ResourceTagSet"]["Tags"]} == owner_tags(account.site, "domain")


def test_the_zone_of_an_earlier_generation_is_adopted_and_deleted(account: Account, domain: Domain) -> None:
    """A deployment that was ordered again keeps its name servers: its zone is known by our tags."""
    again = account.site.model_copy(update={"generation": 2})

    adopted = account.run("create_domain", DomainRequest(site=again, domain=domain.name))
    account.run("delete_domain", again)

    assert adopted == domain
    assert _zones(account) == []


def test_a_zone_of_the_customer_is_left_alone(account: Account) -> None:
    """The customer's zone of the same name stays as it is, beside ours, in creation and in deletion."""
    route53 = account.customer("route53")
    foreign = route53.create_hosted_zone(Name="db.acme.example", CallerReference="theirs")["HostedZone"]["Id"]

    ours = account.run("create_domain", DomainRequest(site=account.site, domain="db.acme.example"))
    account.run("delete_domain", account.site)

    assert ours.zone_id not in foreign
    assert [zone["Id"] for zone in route53.list_hosted_zones()["HostedZones"]] == [foreign]


def test_the_certificate_is_validated_through_the_zone(account: Account, domain: Domain) -> None:
    """The certificate is issued, carries our tags, and its validation record stays for renewals."""
    certificate = account.run("create_certificate", CertificateRequest(site=account.site, domain=domain))

    acm = account.customer("acm")
    described = acm.describe_certificate(CertificateArn=certificate.certificate_id)["Certificate"]
    assert (described["DomainName"], described["Status"]) == (domain.name, "ISSUED")
    record = described["DomainValidationOptions"][0]["ResourceRecord"]
    records = account.customer("route53").list_resource_record_sets(HostedZoneId=domain.zone_id)["ResourceRecordSets"]
    assert (record["Name"], record["Type"]) in {(each["Name"], each["Type"]) for each in records}
    tags = acm.list_tags_for_certificate(CertificateArn=certificate.certificate_id)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == owner_tags(account.site, "certificate")


def test_a_domain_without_delegation_waits_for_the_customer(account: Account, domain: Domain) -> None:
    """After the grace the failure names the domain and its name servers; once it is delegated the step goes on."""
    request = CertificateRequest(site=account.site, domain=domain)
    unseen = account.inject(FaultKind.STUCK, "ListCertificates")

    young = account.attempt_once("create_certificate", request)
    old = account.attempt_once("create_certificate", request, age=timedelta(minutes=11))
    account.control.remove_fault(unseen.id)

    assert young is not None
    assert old is not None
    assert young.failure is FailureClass.NOT_READY
    assert (old.failure, old.resource) == (FailureClass.POLICY, domain.name)
    assert len(domain.name_servers) == 4
    assert all(server in old.message for server in domain.name_servers)
    assert account.run("create_certificate", request).certificate_id


def test_deleting_the_certificate_leaves_that_of_others(account: Account, domain: Domain) -> None:
    """Only the certificate with our tags goes."""
    foreign = account.customer("acm").request_certificate(DomainName="acme.example", ValidationMethod="DNS")
    account.run("create_certificate", CertificateRequest(site=account.site, domain=domain))
    account.inject(FaultKind.LOST_REPLY, "DeleteCertificate", times=1)

    account.run_through("delete_certificate", account.site)

    left = account.customer("acm").list_certificates()["CertificateSummaryList"]
    assert [each["CertificateArn"] for each in left] == [foreign["CertificateArn"]]
    before = account.control.position()
    account.run("delete_certificate", account.site)
    assert account.changes(before) == []


def test_the_domain_leads_to_the_load_balancer(account: Account, domain: Domain) -> None:
    """The top of the zone is an alias of the load balancer; publishing it again changes nothing."""
    balancer = _load_balancer(account)
    request = PublicationRequest(site=account.site, domain=domain, load_balancer=balancer)
    account.inject(FaultKind.LOST_REPLY, "ChangeResourceRecordSets", times=1)

    account.run_through("publish_endpoint", request)

    records = account.customer("route53").list_resource_record_sets(HostedZoneId=domain.zone_id)["ResourceRecordSets"]
    alias = next(record["AliasTarget"] for record in records if record["Type"] == "A")
    assert alias["DNSName"].rstrip(".").lower() == balancer.hostname.lower()
    before = account.control.position()
    account.run("publish_endpoint", request)
    assert account.changes(before) == []
