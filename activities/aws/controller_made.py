"""What the cluster's own controllers make in the account: load balancers and volumes, known by the cluster's name.

They go when the workloads are deleted, as long as the controllers run. What is left after that, because a controller
was gone first or its reply was lost, is found here by tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from temporalio import activity

from activities.aws.connection import AwsClient
from activities.aws.errors import failures_named
from activities.aws.existence import gone_is_success
from activities.aws.ownership import Tags, from_tag_list, is_ours
from activities.aws.part import AwsPart
from activities.contracts import ClusterContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import TAG_DEPLOYMENT, base_name

CLUSTER_TAGS = ("elbv2.k8s.aws/cluster", "KubernetesCluster", "cluster.k8s.amazonaws.com/name", "eks:cluster-name")
"""Tags whose value is the cluster's name: of load balancer controller, EBS driver, network plug-in and EKS."""

_TAGS_AT_ONCE = 20
"""The most ARNs that one DescribeTags of Elastic Load Balancing takes."""


class AwsControllerMade(AwsPart, ClusterContract):
    """Deletes what the cluster's controllers left."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:DeleteLoadBalancer", "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DeleteTargetGroup", "ec2:DescribeVolumes", "ec2:DeleteVolume",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_load_balancers_and_volumes(self, site: Site) -> None:
        """No load balancer, target group or volume of the deployment's cluster is left; others are untouched."""
        with failures_named():
            balancing = self._connections.client("elbv2", site, Purpose.DELETE)
            if balancers := list(load_balancers(balancing, site)):
                for balancer in balancers:
                    with gone_is_success():
                        balancing.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
                raise self._look_again(f"{len(balancers)} load balancers of {base_name(site)} are being deleted")
            for group in list(target_groups(balancing, site)):
                with gone_is_success():
                    balancing.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
            ec2 = self._connections.client("ec2", site, Purpose.DELETE)
            remaining = {volume["VolumeId"]: volume for volume in volumes(ec2, site)}
            if remaining:
                for volume in remaining.values():
                    # One that is in use belongs to a node on its way out, which lets go of it.
                    if volume["State"] in {"available", "error"}:
                        with gone_is_success():
                            ec2.delete_volume(VolumeId=volume["VolumeId"])
                raise self._look_again(f"{len(remaining)} volumes of {base_name(site)} are being deleted")


def made_by_our_cluster(site: Site, tags: Tags) -> bool:
    """Return whether a resource is ours by our tags, or carries the name of our cluster as its controllers write it."""
    cluster = base_name(site)
    return (
        is_ours(site, tags)
        or tags.get(f"kubernetes.io/cluster/{cluster}") == "owned"
        or any(tags.get(name) == cluster for name in CLUSTER_TAGS)
    )


def load_balancers(balancing: AwsClient, site: Site) -> Iterator[Mapping[str, Any]]:
    """Yield the load balancers of the deployment's cluster."""
    for page in balancing.get_paginator("describe_load_balancers").paginate():
        yield from _ours(balancing, site, page["LoadBalancers"], "LoadBalancerArn")


def target_groups(balancing: AwsClient, site: Site) -> Iterator[Mapping[str, Any]]:
    """Yield the target groups of the deployment's cluster."""
    for page in balancing.get_paginator("describe_target_groups").paginate():
        yield from _ours(balancing, site, page["TargetGroups"], "TargetGroupArn")


def volumes(ec2: AwsClient, site: Site) -> Iterator[Mapping[str, Any]]:
    """Yield the volumes of the deployment's cluster."""
    for page in _pages_by_tag(ec2, site, "describe_volumes"):
        yield from (found for found in page["Volumes"] if made_by_our_cluster(site, from_tag_list(found.get("Tags"))))


def network_interfaces(ec2: AwsClient, site: Site) -> Iterator[Mapping[str, Any]]:
    """Yield the network interfaces that the cluster's network plug-in and load balancers made."""
    for page in _pages_by_tag(ec2, site, "describe_network_interfaces"):
        for found in page["NetworkInterfaces"]:
            if made_by_our_cluster(site, from_tag_list(found.get("TagSet"))):
                yield found


def _pages_by_tag(ec2: AwsClient, site: Site, operation: str) -> Iterator[Mapping[str, Any]]:
    """Yield what carries any of the tags; EC2 cannot ask for one *or* another, so what has several comes repeatedly."""
    cluster = base_name(site)
    questions = [
        (f"tag:{TAG_DEPLOYMENT}", site.deployment),
        (f"tag:kubernetes.io/cluster/{cluster}", "owned"),
        *((f"tag:{name}", cluster) for name in CLUSTER_TAGS),
    ]
    for name, value in questions:
        yield from ec2.get_paginator(operation).paginate(Filters=[{"Name": name, "Values": [value]}])


def _ours(
    balancing: AwsClient, site: Site, listed: list[Mapping[str, Any]], identifier: str
) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(listed), _TAGS_AT_ONCE):
        batch = {found[identifier]: found for found in listed[start : start + _TAGS_AT_ONCE]}
        for described in balancing.describe_tags(ResourceArns=list(batch))["TagDescriptions"]:
            if made_by_our_cluster(site, from_tag_list(described["Tags"])):
                yield batch[described["ResourceArn"]]
