"""Alerts on metrics, by the SDK."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.monitor import MonitorManagementClient

from tests.simulators.azure.clusters import CLUSTER, assign, make_cluster
from tests.simulators.azure.conftest import GROUP, SUBSCRIPTION, Account, serve

NODES = {
    "name": "nodes",
    "criterionType": "StaticThresholdCriterion",
    "metricNamespace": "Microsoft.ContainerService/managedClusters",
    "metricName": "kube_node_status_condition",
    "operator": "GreaterThan",
    "threshold": 0,
    "timeAggregation": "Average",
    "dimensions": [{"name": "status", "operator": "Include", "values": ["false", "unknown"]}],
}


@pytest.fixture(scope="module")
def ground() -> Iterator[Account]:
    """A subscription with a cluster and no alerts."""
    for account in serve(math.inf):
        make_cluster(account)
        yield account


def alert(criterion: dict[str, Any] | None = None, **options: Any) -> bytes:
    """Return an alert on the cluster's nodes."""
    criteria = {
        "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
        "allOf": [NODES | (criterion or {})],
    }
    properties = {
        "severity": 1,
        "enabled": True,
        "scopes": [CLUSTER],
        "evaluationFrequency": "PT1M",
        "windowSize": "PT5M",
        "criteria": criteria,
    }
    document = {"location": "global", "tags": {"byoc": "managed"}, "properties": properties | options}
    return json.dumps(document).encode()


def alerts(account: Account, credential: Any = None) -> Any:
    """Return a client of alerts."""
    return account.client(MonitorManagementClient, credential).metric_alerts


def test_an_alert_is_made_read_changed_and_deleted(account: Account) -> None:
    """It goes for good, and the cluster can go before it."""
    make_cluster(account)
    client = alerts(account)

    made = client.create_or_update("byoc", "nodes", alert())
    changed = client.create_or_update("byoc", "nodes", alert(severity=2))
    listed = [entry.name for entry in client.list_by_resource_group("byoc")]
    held = [entry for entry in account.azure.inventory(SUBSCRIPTION) if entry.type == "metric-alert"]
    client.delete("byoc", "nodes")

    assert (made.severity, changed.severity, made.auto_mitigate) == (1, 2, True)
    assert made.criteria.all_of[0].metric_name == "kube_node_status_condition"
    assert listed == ["nodes"]
    assert [(entry.details["scopes"], entry.tags["byoc"]) for entry in held] == [([CLUSTER], "managed")]
    assert list(client.list_by_resource_group("byoc")) == []


@pytest.mark.parametrize(
    ("criterion", "options", "text"),
    [
        ({}, {"severity": 7}, "severity"),
        ({}, {"scopes": []}, "scopes"),
        ({}, {"scopes": [f"{CLUSTER}-2"]}, "ResourceNotFound"),
        ({}, {"evaluationFrequency": "PT2M"}, "evaluation frequency"),
        ({}, {"windowSize": "PT1M", "evaluationFrequency": "PT5M"}, "smaller"),
        ({"metricName": "kube_nothing"}, {}, "find a metric named kube_nothing"),
        ({"dimensions": [{"name": "zone", "operator": "Include", "values": ["1"]}]}, {}, "no dimension zone"),
        ({"operator": "IsNot"}, {}, "operator"),
        ({"timeAggregation": "Mean"}, {}, "aggregation"),
        ({}, {"actions": [{"actionGroupId": f"{GROUP}/providers/Microsoft.Insights/actionGroups/none"}]}, "NotFound"),
    ],
)
def test_what_is_wrong_is_refused(
    ground: Account, criterion: dict[str, Any], options: dict[str, Any], text: str
) -> None:
    """In Azure's own words, and nothing is made."""
    with pytest.raises(HttpResponseError, match=text):
        alerts(ground).create_or_update("byoc", "nodes", alert(criterion, **options))

    assert list(alerts(ground).list_by_resource_group("byoc")) == []


def test_an_alert_tells_a_group_of_people(account: Account) -> None:
    """Which exists."""
    make_cluster(account)
    groups = account.client(MonitorManagementClient).action_groups
    document = {"location": "global", "group_short_name": "oncall", "enabled": True}
    group = groups.create_or_update("byoc", "oncall", document)

    made = alerts(account).create_or_update("byoc", "nodes", alert(actions=[{"actionGroupId": group.id}]))

    assert made.actions[0].action_group_id == group.id


def test_whoever_makes_an_alert_may_read_what_it_watches(account: Account) -> None:
    """The alert's own permissions are not enough."""
    make_cluster(account)
    application, credential = account.application()
    client = account.client(AuthorizationManagementClient)
    scope, role = f"/subscriptions/{SUBSCRIPTION}", "7f3a1c8e-0000-4000-8000-00000000000a"
    permission = {"actions": ["Microsoft.Insights/metricAlerts/*"]}
    properties = {"roleName": "alerts", "assignableScopes": [scope], "permissions": [permission]}
    client.role_definitions.create_or_update(scope, role, {"properties": properties})
    assign(account, role, account.principal(application), scope)

    with pytest.raises(HttpResponseError, match="managedClusters/read"):
        alerts(account, credential).create_or_update("byoc", "nodes", alert())
