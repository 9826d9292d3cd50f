"""CloudWatch alarms of a deployment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from activities.contracts import InCluster, NodePoolRequest
from domain.facts import Cluster
from domain.naming import base_name, owner_tags
from domain.shape import PoolName
from simulators.faults import FaultKind
from tests.activities.aws.conftest import Account, Ground


@pytest.fixture
def watched(
    account: Account, ground: Ground, cluster: Cluster, pool_request: Callable[[PoolName], NodePoolRequest]
) -> InCluster:
    """A cluster with nodes and a load balancer."""
    account.run("create_node_pool", pool_request(PoolName.SERVICES))
    balancing, tags = account.customer("elbv2"), [{"Key": "elbv2.k8s.aws/cluster", "Value": cluster.name}]
    balancer = balancing.create_load_balancer(
        Name="front", Type="network", Subnets=list(ground.network.public_subnet_ids), Tags=tags
    )["LoadBalancers"][0]
    group = balancing.create_target_group(
        Name="api", Protocol="TCP", Port=8080, VpcId=ground.network.network_id, Tags=tags
    )["TargetGroups"][0]
    balancing.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="TCP",
        Port=443,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}],
    )
    return InCluster(site=account.site, cluster=cluster)


def test_nodes_and_targets_are_watched(account: Account, watched: InCluster) -> None:
    """There is one alarm for the machines of each node group and one for each target group, with our tags."""
    account.inject(FaultKind.LOST_REPLY, "PutMetricAlarm", times=1)

    account.run_through("create_alarms", watched)

    cloudwatch = account.customer("cloudwatch")
    alarms = {alarm["MetricName"]: alarm for alarm in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert set(alarms) == {"StatusCheckFailed", "UnHealthyHostCount"}
    balancer = account.customer("elbv2").describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
    dimensions = {each["Name"]: each["Value"] for each in alarms["UnHealthyHostCount"]["Dimensions"]}
    assert balancer.endswith(f":loadbalancer/{dimensions['LoadBalancer']}")
    assert dimensions["TargetGroup"].startswith("targetgroup/api/")
    for alarm in alarms.values():
        tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == owner_tags(account.site, "alarm")
    before = account.control.position()
    account.run("create_alarms", watched)
    assert account.changes(before) == []


def test_a_changed_alarm_is_put_back(account: Account, watched: InCluster) -> None:
    """A threshold that somebody raised is as before after the next run."""
    account.run("create_alarms", watched)
    cloudwatch = account.customer("cloudwatch")
    changed = cloudwatch.describe_alarms()["MetricAlarms"][0]
    kept = ("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "ComparisonOperator")
    cloudwatch.put_metric_alarm(**{name: changed[name] for name in kept}, EvaluationPeriods=60, Threshold=99.0)

    account.run("create_alarms", watched)

    (again,) = cloudwatch.describe_alarms(AlarmNames=[changed["AlarmName"]])["MetricAlarms"]
    assert (again["Threshold"], again["EvaluationPeriods"]) == (0.0, 5)


def test_alarms_of_others_stay(account: Account, watched: InCluster) -> None:
    """Neither creation nor deletion touches an alarm without our tags, whatever its name begins with."""
    account.run("create_alarms", watched)
    cloudwatch = account.customer("cloudwatch")
    foreign = f"{base_name(account.site)}-2-unhealthy-nodes"
    cloudwatch.put_metric_alarm(
        AlarmName=foreign, Namespace="AWS/EC2", MetricName="CPUUtilization", Period=60, EvaluationPeriods=1,
        Statistic="Average", Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    account.inject(FaultKind.LOST_REPLY, "DeleteAlarms", times=1)

    account.run_through("delete_alarms", account.site)

    assert [alarm["AlarmName"] for alarm in cloudwatch.describe_alarms()["MetricAlarms"]] == [foreign]
    before = account.control.position()
    account.run("delete_alarms", account.site)
    assert account.changes(before) == []
