"""What AWS knows before an upgrade of EKS."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from activities.aws import upgrade_checks
from activities.contracts import AddOn, CertificateRequest, DomainRequest, NodePoolRequest
from activities.upgrade_contracts import ControlPlaneUpgrade, UpgradeCheckRequest
from domain.facts import Cluster
from domain.naming import base_name
from domain.shape import PoolName
from domain.upgrade import Check
from simulators.faults import FaultKind
from tests.activities.aws.conftest import Account, Ground

Order = Callable[[PoolName], NodePoolRequest]
NEXT = "1.34"


@pytest.fixture
def further(account: Account, cluster: Cluster) -> ControlPlaneUpgrade:
    """The order to move the control plane from 1.33 to the next version."""
    return ControlPlaneUpgrade(site=account.site, cluster=cluster, kubernetes=NEXT)


@pytest.fixture
def question(account: Account, ground: Ground, cluster: Cluster) -> UpgradeCheckRequest:
    """The question whether anything stands in the way of the next version, nodes included."""
    return UpgradeCheckRequest(
        site=account.site,
        cluster=cluster,
        kubernetes=NEXT,
        replaces_nodes=True,
        placement=ground.placement,
        network=ground.network,
    )


def checks(account: Account, question: UpgradeCheckRequest) -> dict[str, Check]:
    """Return the findings, keyed by name."""
    return {found.name: found for found in account.run("check_upgrade", question)}


def test_a_settled_cluster_has_nothing_against_it(
    account: Account, question: UpgradeCheckRequest, pool_request: Order
) -> None:
    """Insights, quota, addresses and state are fine, each with numbers; only a certificate is not there yet.

    About the version after the next one EKS says nothing, which is no consent; a release of the server alone needs
    neither insights nor room.
    """
    account.run("create_node_pool", pool_request(PoolName.SERVICES))

    found = checks(account, question)
    silent = checks(account, question.model_copy(update={"kubernetes": "1.35"}))["provider-insights"]
    before = account.control.position()
    server = checks(account, question.model_copy(update={"kubernetes": "", "replaces_nodes": False}))
    calls = account.control.journal(after=before, account=account.site.cloud_account_id, agent="byoc/")

    assert list(found) == ["provider-insights", "surge-quota", "free-addresses", "certificate", "cluster-settled"]
    assert [name for name, check in found.items() if not check.passed] == ["certificate"]
    assert "4 of 4 insights about Kubernetes 1.34 pass; refreshed at 20" in found["provider-insights"].evidence
    assert "4 of 256 in use, up to 12 more" in found["surge-quota"].evidence
    assert all(subnet in found["free-addresses"].evidence for subnet in question.network.private_subnet_ids)
    assert "node group" in found["cluster-settled"].evidence
    assert not silent.passed
    assert "says nothing yet about Kubernetes 1.35" in silent.evidence
    assert server["provider-insights"].passed
    assert server["surge-quota"].passed
    assert {"ListInsights", "GetServiceQuota"} & {call.operation for call in calls} == set()


def test_an_error_of_an_insight_blocks_and_a_warning_is_evidence(
    account: Account, ground: Ground, question: UpgradeCheckRequest, further: ControlPlaneUpgrade, pool_request: Order
) -> None:
    """A degraded add-on is a warning; nodes behind the control plane are an error, with what AWS recommends."""
    dns = AddOn(site=account.site, cluster=question.cluster, roles=ground.roles, name="dns")
    account.attempt_once("install_add_on", dns)
    warned = checks(account, question)["provider-insights"]
    account.run("create_node_pool", pool_request(PoolName.SERVICES))
    account.run("upgrade_control_plane", further)

    blocked = checks(account, question.model_copy(update={"kubernetes": "1.35"}))["provider-insights"]

    assert warned.passed
    assert "WARNING Cluster health issues: Add-ons that are not healthy: coredns" in warned.evidence
    assert not blocked.passed
    assert f"ERROR Kubelet version skew: Node groups behind the control plane: {base_name(account.site)}-services" in (
        blocked.evidence
    )
    assert "Update the node groups" in blocked.evidence


def test_what_lacks_room_is_named(account: Account, question: UpgradeCheckRequest) -> None:
    """A quota of AWS's default, and a subnet of eleven addresses, are too small for machines that overlap."""
    ec2 = account.customer("ec2")
    free = ec2.describe_vpcs(VpcIds=[question.network.network_id])["Vpcs"][0]["CidrBlock"].split(".")[:2]
    small = ec2.create_subnet(VpcId=question.network.network_id, CidrBlock=".".join([*free, "255", "240/28"]))[
        "Subnet"
    ]["SubnetId"]
    others = question.network.private_subnet_ids[1:]
    network = question.network.model_copy(update={"private_subnet_ids": (small, *others)})
    account.inject(FaultKind.ERROR, "GetServiceQuota", times=1, code="NoSuchResourceException")

    found = checks(account, question.model_copy(update={"network": network}))

    assert not found["surge-quota"].passed
    assert "L-1216C47A" in found["surge-quota"].evidence
    assert "0 of 5 in use" in found["surge-quota"].evidence
    assert not found["free-addresses"].passed
    assert f"needs 65 free addresses: {small} has 11" in found["free-addresses"].evidence


def test_a_certificate_has_to_be_used_and_valid_for_long(
    account: Account, question: UpgradeCheckRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that no load balancer presents does not count, and one that ends too soon fails."""
    name = f"{account.site.deployment}.db.acme.example"
    domain = account.run("create_domain", DomainRequest(site=account.site, domain=name))
    made = account.run("create_certificate", CertificateRequest(site=account.site, domain=domain))
    unused = checks(account, question)["certificate"]
    balancing = account.customer("elbv2")
    balancer = balancing.create_load_balancer(
        Name="front", Type="network", Subnets=list(question.network.public_subnet_ids[:1])
    )["LoadBalancers"][0]["LoadBalancerArn"]
    target = balancing.create_target_group(Name="front", Protocol="TCP", Port=443, VpcId=question.network.network_id)[
        "TargetGroups"
    ][0]["TargetGroupArn"]
    balancing.create_listener(
        LoadBalancerArn=balancer,
        Protocol="TLS",
        Port=443,
        Certificates=[{"CertificateArn": made.certificate_id}],
        DefaultActions=[{"Type": "forward", "TargetGroupArn": target}],
    )

    used = checks(account, question)["certificate"]
    monkeypatch.setattr(upgrade_checks, "LEAST_VALIDITY", timedelta(days=3650))
    ending = checks(account, question)["certificate"]

    assert (unused.passed, used.passed, ending.passed) == (False, True, False)
    assert made.certificate_id in used.evidence
    assert "is valid until 20" in ending.evidence


def test_what_is_under_way_or_ill_is_named(
    account: Account, question: UpgradeCheckRequest, further: ControlPlaneUpgrade, pool_request: Order
) -> None:
    """A control plane that is being moved, and a group that could not be made, keep the cluster unsettled."""
    account.inject(FaultKind.CRASH, "CreateNodegroup", times=1, code="NodeCreationFailure", message="did not join")
    account.attempt_once("create_node_pool", pool_request(PoolName.SERVICES))
    account.inject(FaultKind.STUCK, "UpdateClusterVersion")
    account.attempt_once("upgrade_control_plane", further)

    found = checks(account, question)["cluster-settled"]

    assert not found.passed
    assert f"cluster {question.cluster.name} is UPDATING" in found.evidence
    assert "is CREATE_FAILED" in found.evidence
    assert "NodeCreationFailure: did not join" in found.evidence
