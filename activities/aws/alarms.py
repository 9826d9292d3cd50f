"""CloudWatch alarms in the customer's account: on the machines of each node group and on the load balancer's targets.

The control plane has its own monitoring; these alarms are what the customer sees beside their other ones, and what
still works when the control plane does not. They notify nobody by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from temporalio import activity

from activities.aws.connection import AwsClient
from activities.aws.controller_made import load_balancers, target_groups
from activities.aws.errors import failures_named
from activities.aws.existence import if_exists
from activities.aws.ownership import as_tag_list, from_tag_list, is_ours, require_ours
from activities.aws.part import AwsPart
from activities.contracts import ClusterContract, InCluster
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import base_name, owner_tags, resource_name

_MINUTES = 5
"""How long something must be unhealthy before the alarm rings (lifecycles.md, section 5: nodes 5 min)."""


@dataclass(frozen=True)
class Alarm:
    """One alarm: it rings while the metric's maximum is above 0."""

    name: str
    description: str
    namespace: str
    metric: str
    dimensions: Mapping[str, str]

    def parameters(self) -> dict[str, Any]:
        """Return the alarm as PutMetricAlarm wants it and DescribeAlarms shows it."""
        return {
            "AlarmName": self.name,
            "AlarmDescription": self.description,
            "Namespace": self.namespace,
            "MetricName": self.metric,
            "Dimensions": [{"Name": name, "Value": value} for name, value in self.dimensions.items()],
            "Statistic": "Maximum",
            "Period": 60,
            "EvaluationPeriods": _MINUTES,
            "Threshold": 0.0,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        }


class AwsAlarms(AwsPart, ClusterContract):
    """Makes and deletes the deployment's alarms."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:ListNodegroups", "eks:DescribeNodegroup", "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTags", "cloudwatch:DescribeAlarms",
        "cloudwatch:ListTagsForResource", "cloudwatch:PutMetricAlarm",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_alarms(self, request: InCluster) -> None:
        """Each node group and each target group of the load balancer has its alarm."""
        site = request.site
        with failures_named(resource=request.cluster.name):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            balancing = self._connections.client("elbv2", site, Purpose.OPERATE)
            wanted = [*_node_alarms(eks, site), *_target_alarms(balancing, site)]
            cloudwatch = self._connections.client("cloudwatch", site, Purpose.OPERATE)
            present = {alarm["AlarmName"]: alarm for alarm in _named_like_ours(cloudwatch, site)}
            for alarm in wanted:
                found = present.get(alarm.name)
                if found is not None:
                    require_ours(site, _tags(cloudwatch, found["AlarmArn"]), f"CloudWatch alarm {alarm.name}")
                if found is None or any(found.get(name) != value for name, value in alarm.parameters().items()):
                    cloudwatch.put_metric_alarm(**alarm.parameters(), Tags=as_tag_list(owner_tags(site, "alarm")))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource", "cloudwatch:DeleteAlarms", purpose=Purpose.DELETE
    )
    def delete_alarms(self, site: Site) -> None:
        """No alarm of the deployment is left."""
        with failures_named():
            cloudwatch = self._connections.client("cloudwatch", site, Purpose.DELETE)
            for alarm in our_alarms(cloudwatch, site):
                cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"]])


def our_alarms(cloudwatch: AwsClient, site: Site) -> list[Mapping[str, Any]]:
    """Return the deployment's alarms; the names of deployment `acme-2` begin with `byoc-acme-` too: the tags tell."""
    alarms = _named_like_ours(cloudwatch, site)
    return [alarm for alarm in alarms if is_ours(site, _tags(cloudwatch, alarm["AlarmArn"]))]


def _named_like_ours(cloudwatch: AwsClient, site: Site) -> Iterator[Mapping[str, Any]]:
    for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{base_name(site)}-"):
        yield from page["MetricAlarms"]


def _tags(cloudwatch: AwsClient, arn: str) -> dict[str, str]:
    found = if_exists(cloudwatch.list_tags_for_resource, ResourceARN=arn)
    return from_tag_list(found["Tags"]) if found else {}


def _node_alarms(eks: AwsClient, site: Site) -> Iterator[Alarm]:
    """Yield an alarm for each Auto Scaling group: EC2 reports there whether a machine fails its status checks."""
    cluster = base_name(site)
    for page in eks.get_paginator("list_nodegroups").paginate(clusterName=cluster):
        for name in page["nodegroups"]:
            group = eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
            for scaling_group in group.get("resources", {}).get("autoScalingGroups", ()):
                yield Alarm(
                    name=f"{name}-unhealthy-nodes",
                    description=f"A machine of node group {name} fails its status checks.",
                    namespace="AWS/EC2",
                    metric="StatusCheckFailed",
                    dimensions={"AutoScalingGroupName": scaling_group["name"]},
                )


def _target_alarms(balancing: AwsClient, site: Site) -> Iterator[Alarm]:
    """Yield an alarm for each target group of the load balancers that the cluster has now."""
    for balancer in load_balancers(balancing, site):
        for group in target_groups(balancing, site):
            if balancer["LoadBalancerArn"] in group.get("LoadBalancerArns", ()):
                yield Alarm(
                    name=resource_name(site, f"{group['TargetGroupName']}-unhealthy-targets"),
                    description=f"A target behind {balancer['LoadBalancerName']} fails its health checks.",
                    namespace="AWS/NetworkELB",
                    metric="UnHealthyHostCount",
                    dimensions={
                        "LoadBalancer": balancer["LoadBalancerArn"].partition(":loadbalancer/")[2],
                        "TargetGroup": group["TargetGroupArn"].rpartition(":")[2],
                    },
                )
