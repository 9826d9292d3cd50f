"""The metric alerts of a deployment: on its nodes and on what its load balancer leads to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from azure.mgmt.monitor import MonitorManagementClient

from activities.azure.aks import cluster_id
from activities.azure.alarms import AzureAlarms
from activities.azure.cluster import AzureCluster
from activities.azure.connection import AzureConnections
from activities.azure.groups import group_name, node_group_name
from activities.azure.ids import resource_id
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from activities.contracts import InCluster
from domain.naming import owner_tags, resource_name
from simulators.faults import FaultKind
from tests.activities.azure.conftest import Account, activities_of
from tests.activities.azure.ground import GROUND, make_ground
from tests.activities.azure.test_node_pools import leave_behind

NODES, BALANCER = "unhealthy-nodes", "failing-load-balancer"


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """The activities on alarms, and on what they watch."""
    return activities_of(*GROUND, AzureCluster, AzureAlarms)(settings, connections)


@pytest.fixture
def order(account: Account) -> InCluster:
    """The order for alarms on a cluster with a load balancer."""
    ground = make_ground(account)
    cluster = account.run("create_cluster", ground.cluster_request())
    leave_behind(account)
    return ground.in_cluster(cluster)


def monitor(account: Account) -> Any:
    """Return the customer's client of Azure Monitor."""
    return account.customer(MonitorManagementClient)


def alerts(account: Account) -> dict[str, dict[str, Any]]:
    """Return the alerts of the deployment's group as the customer sees them, keyed by name without the deployment's."""
    listed = monitor(account).metric_alerts.list_by_resource_group(group_name(account.site))
    prefix = resource_name(account.site, "")
    return {each.name.removeprefix(prefix): each.serialize(keep_readonly=True) for each in listed}


def put(account: Account, name: str, document: dict[str, Any]) -> None:
    """Write an alert as the customer."""
    monitor(account).metric_alerts.create_or_update(group_name(account.site), name, json.dumps(document).encode())


def test_nodes_and_load_balancer_have_their_alarm(account: Account, order: InCluster) -> None:
    """Each looks at the deployment's own, and at the last five minutes."""
    account.run("create_alarms", order)

    found = alerts(account)
    balancer = resource_id(
        account.site, "Microsoft.Network/loadBalancers", "kubernetes", group=node_group_name(account.site)
    )
    assert {name: each["properties"]["scopes"] for name, each in found.items()} == {
        NODES: [cluster_id(account.site)],
        BALANCER: [balancer],
    }
    (nodes,) = found[NODES]["properties"]["criteria"]["allOf"]
    assert {each["name"]: each["values"] for each in nodes["dimensions"]} == {
        "condition": ["Ready"],
        "status": ["false", "unknown"],
    }
    for name, each in found.items():
        assert each["tags"] == owner_tags(account.site, name)
        assert (each["properties"]["enabled"], each["properties"]["windowSize"]) == (True, "PT5M")


def test_what_somebody_changed_is_put_back(account: Account, order: InCluster) -> None:
    """Threshold, switch and tags are as before; tags and action groups of the customer's stay."""
    account.run("create_alarms", order)
    before = alerts(account)[NODES]
    people = monitor(account).action_groups.create_or_update(
        group_name(account.site), "people", {"location": "Global", "group_short_name": "people", "enabled": True}
    )
    theirs = json.loads(json.dumps(before))
    theirs["properties"]["enabled"] = False
    theirs["properties"]["criteria"]["allOf"][0]["threshold"] = 100.0
    theirs["properties"]["actions"] = [{"actionGroupId": people.id}]
    theirs["tags"] = {**before["tags"], "byoc:generation": "0", "team": "data"}
    put(account, resource_name(account.site, NODES), theirs)

    account.run("create_alarms", order)

    after = alerts(account)[NODES]
    assert after["properties"]["enabled"]
    assert after["properties"]["criteria"] == before["properties"]["criteria"]
    assert after["tags"] == {**owner_tags(account.site, NODES), "team": "data"}
    assert [each["actionGroupId"] for each in after["properties"]["actions"]] == [people.id]


def test_alarms_are_deleted_once(account: Account, order: InCluster) -> None:
    """A second deletion finds nothing to do; without the deployment's group there is nothing either."""
    account.run("create_alarms", order)
    account.inject(FaultKind.LOST_REPLY, "metricAlerts/delete", times=1)

    account.run_through("delete_alarms", account.site)
    before = account.control.position()
    account.run("delete_alarms", account.site)

    assert account.changes(before) == []
    assert alerts(account) == {}
