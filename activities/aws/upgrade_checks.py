"""What stands in the way of an upgrade, as far as AWS knows: each finding with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity

import catalog
from activities.aws.cluster import find_cluster
from activities.aws.connection import AwsClient
from activities.aws.dns import our_certificates
from activities.aws.ec2 import SUBNET, Ec2Part
from activities.aws.errors import failures_named
from activities.aws.existence import if_exists
from activities.aws.node_groups import NodeGroup, groups_of
from activities.aws.ownership import require_ours
from activities.aws.preflight import vcpus_of_type
from activities.aws.quotas import STANDARD_VCPUS, limit_of, standard_machines, vcpus_of
from activities.failures import refused
from activities.needs import needs
from activities.upgrade_contracts import UpgradeCheckRequest, UpgradeContract
from domain.clouds import Cloud, Purpose
from domain.deployment import Site
from domain.facts import Machine
from domain.failure import FailureClass
from domain.upgrade import Check

LEAST_VALIDITY = timedelta(days=30)
"""For how long a certificate has to be valid yet: within it ACM has renewed one that it can renew."""
ADDRESSES_OF_CONTROL_PLANE = 5
"""Free addresses that EKS wants in the subnets of a cluster for a new version (EKS user guide, "Update a cluster")."""
ADDRESSES_OF_A_MACHINE = 30
"""Addresses that the network plug-in takes at once for a machine of the sizes that are ordered: those of its first
network interface and of one in reserve, of 15 each."""
_SURGE = 2
"""How many machines of a group EKS starts in each zone before it ends the first old one (EKS user guide, "Managed node
update behavior": up to twice the number of zones)."""


class AwsUpgradeChecks(Ec2Part, UpgradeContract):
    """Looks, and changes nothing."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "acm:DescribeCertificate", "acm:ListCertificates", "acm:ListTagsForCertificate", "ec2:DescribeInstances",
        "ec2:DescribeSubnets", "eks:DescribeAddon", "eks:DescribeCluster", "eks:DescribeInsight",
        "eks:DescribeNodegroup", "eks:ListAddons", "eks:ListInsights", "eks:ListNodegroups",
        "servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota",
        purpose=Purpose.OBSERVE, why="Look whether anything stands in the way of an upgrade",
    )  # fmt: skip
    def check_upgrade(self, request: UpgradeCheckRequest) -> tuple[Check, ...]:
        """Return what EKS's insights, the quota of processors, the subnets, ACM and the cluster's state say.

        An insight that is an error fails its check, a warning is evidence; EKS refreshes them once a day, so their age
        is part of the evidence.
        """
        site, name = request.site, request.cluster.name
        with failures_named(resource=name):
            eks = self._observing(site, "eks")
            cluster = find_cluster(eks, name)
            if cluster is None:
                raise refused(FailureClass.CONFIG, f"There is no EKS cluster {name} to upgrade", resource=name)
            require_ours(site, cluster.get("tags", {}), f"EKS cluster {name}")
            return (
                _insights(eks, name, request.kubernetes),
                self._surge_quota(request),
                self._free_addresses(request),
                _certificate(self._observing(site, "acm"), site),
                _settled(eks, cluster),
            )

    def _observing(self, site: Site, service: str) -> AwsClient:
        return self._connections.client(service, site, Purpose.OBSERVE)

    def _surge_quota(self, request: UpgradeCheckRequest) -> Check:
        """Judge whether the group that needs most may start its new machines beside all that run.

        One group is replaced after another, so the greatest need is the need of all.
        """
        if not request.replaces_nodes:
            return Check(name="surge-quota", passed=True, evidence="no machine is replaced")
        site = request.site
        quota = next(each for each in catalog.load().clouds[Cloud.AWS].quotas if each.code == STANDARD_VCPUS)
        machines = request.placement.machines
        needed = max(
            sum(vcpus_of_type(machine.instance_type) for machine in machines),
            *(_surge_of(machine, group) for machine in machines for group in _groups(request, machine)),
        )
        running = standard_machines(self._ec2(site, Purpose.OBSERVE))
        used = sum(vcpus_of(instance) for instance in running)
        limit = limit_of(self._observing(site, "service-quotas"), quota)
        evidence = f"{quota.name} ({quota.code}): {used} of {limit} in use, up to {needed} more while machines overlap"
        return Check(name="surge-quota", passed=used + needed <= limit, evidence=evidence)

    def _free_addresses(self, request: UpgradeCheckRequest) -> Check:
        control_plane = ADDRESSES_OF_CONTROL_PLANE if request.kubernetes else 0
        needed = control_plane + (_SURGE * ADDRESSES_OF_A_MACHINE if request.replaces_nodes else 0)
        subnets = self._ec2(request.site, Purpose.OBSERVE).matching(SUBNET, {"vpc-id": request.network.network_id})
        free = {subnet["SubnetId"]: int(subnet["AvailableIpAddressCount"]) for subnet in subnets}
        private = request.network.private_subnet_ids
        described = ", ".join(f"{subnet} has {free.get(subnet, 'none: it does not exist')}" for subnet in private)
        return Check(
            name="free-addresses",
            passed=all(free.get(subnet, -1) >= needed for subnet in private),
            evidence=f"each private subnet needs {needed} free addresses: {described}",
        )


def _groups(request: UpgradeCheckRequest, machine: Machine) -> tuple[NodeGroup, ...]:
    return groups_of(request.site, request.network, request.placement, machine)


def _surge_of(machine: Machine, group: NodeGroup) -> int:
    """Return the virtual processors of the machines that EKS starts beside those of a group."""
    return _SURGE * len(group.subnet_ids) * vcpus_of_type(machine.instance_type)


def _insights(eks: AwsClient, cluster: str, kubernetes: str) -> Check:
    """Judge EKS's own findings about the next version."""
    if not kubernetes:
        return Check(name="provider-insights", passed=True, evidence="the version of Kubernetes stays")
    pages = eks.get_paginator("list_insights").paginate(
        clusterName=cluster, filter={"categories": ["UPGRADE_READINESS"]}
    )
    insights = [each for page in pages for each in page["insights"] if each.get("kubernetesVersion") == kubernetes]
    if not insights:
        evidence = f"EKS says nothing yet about Kubernetes {kubernetes} for this cluster"
        return Check(name="provider-insights", passed=False, evidence=evidence)
    findings = [each for each in insights if each["insightStatus"]["status"] != "PASSING"]
    words = [_in_words(eks, cluster, each) for each in findings]
    oldest = min(each["lastRefreshTime"] for each in insights).astimezone(UTC)
    passing = f"{len(insights) - len(findings)} of {len(insights)} insights about Kubernetes {kubernetes} pass"
    return Check(
        name="provider-insights",
        passed=all(each["insightStatus"]["status"] != "ERROR" for each in findings),
        evidence="; ".join([passing, f"refreshed at {oldest:%Y-%m-%dT%H:%MZ}", *words]),
    )


def _in_words(eks: AwsClient, cluster: str, finding: Mapping[str, Any]) -> str:
    """Return status, name and reason of an insight, what it is about, and what AWS recommends."""
    insight = eks.describe_insight(clusterName=cluster, id=finding["id"])["insight"]
    status = insight["insightStatus"]
    named = [each.get("kubernetesResourceUri") or each.get("arn", "") for each in insight.get("resources", ())]
    about = f" ({', '.join(filter(None, named))})" if any(named) else ""
    advice = f" {insight['recommendation']}" if insight.get("recommendation") else ""
    return f"{status['status']} {insight['name']}: {status.get('reason', '')}{about}{advice}"


def _certificate(acm: AwsClient, site: Site) -> Check:
    """Judge the certificate with which the load balancer answers."""
    found = [acm.describe_certificate(CertificateArn=arn)["Certificate"] for arn in our_certificates(acm, site)]
    used = [each for each in found if each.get("InUseBy") and each.get("NotAfter")]
    if not used:
        evidence = f"none of the deployment's {len(found)} certificates in ACM is issued and in use"
        return Check(name="certificate", passed=False, evidence=evidence)
    # The one that ends last counts: a listener may keep the one before beside it.
    last = max(used, key=lambda each: each["NotAfter"])
    ends: datetime = last["NotAfter"]
    evidence = f"{last['CertificateArn']} of {last['DomainName']} is valid until {ends.astimezone(UTC):%Y-%m-%d}"
    passed = last["Status"] == "ISSUED" and ends - datetime.now(UTC) > LEAST_VALIDITY
    return Check(name="certificate", passed=passed, evidence=f"{evidence} ({last['Status']})")


def _settled(eks: AwsClient, cluster: Mapping[str, Any]) -> Check:
    """Judge whether nothing of the cluster changes now, and nothing of it is ill."""
    name = cluster["name"]
    parts = [(f"cluster {name}", cluster), *_node_groups(eks, name), *_add_ons(eks, name)]
    problems = [problem for what, part in parts for problem in _unsettled(what, part)]
    evidence = (
        "; ".join(problems) or f"{len(parts)} parts are active and healthy: {', '.join(what for what, _ in parts)}"
    )
    return Check(name="cluster-settled", passed=not problems, evidence=evidence)


def _node_groups(eks: AwsClient, cluster: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for page in eks.get_paginator("list_nodegroups").paginate(clusterName=cluster):
        for name in page["nodegroups"]:
            if found := if_exists(eks.describe_nodegroup, clusterName=cluster, nodegroupName=name):
                yield f"node group {name}", found["nodegroup"]


def _add_ons(eks: AwsClient, cluster: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for page in eks.get_paginator("list_addons").paginate(clusterName=cluster):
        for name in page["addons"]:
            if found := if_exists(eks.describe_addon, clusterName=cluster, addonName=name):
                yield f"add-on {name}", found["addon"]


def _unsettled(what: str, part: Mapping[str, Any]) -> Iterator[str]:
    if part["status"] != "ACTIVE":
        yield f"{what} is {part['status']}"
    for issue in part.get("health", {}).get("issues", ()):
        yield f"{what} reports {issue['code']}: {issue.get('message', '')}"
