"""Upgrades of AKS node pools by the SDK: machines are emptied by eviction, and budgets count."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from simulators.kubernetes import kinds
from simulators.kubernetes.simulator import Cluster
from tests.simulators.azure.clusters import NAME, containers, get, make_cluster, pass_time, pool, put, put_pool
from tests.simulators.azure.conftest import Account
from tests.simulators.serving import on_loop


def keep_a_pod(cluster: Cluster, node: str) -> None:
    """Let a pod run on a node that its budget lets nobody take away."""
    labels = {"app": "theirs"}
    on_loop(
        cluster.store.create,
        kinds.PODS,
        {
            "metadata": {"name": "theirs", "namespace": "default", "labels": labels},
            "spec": {"nodeName": node, "containers": [{"name": "app", "image": "app"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        },
    )
    budget = {"selector": {"matchLabels": labels}, "minAvailable": 1}
    on_loop(
        cluster.store.create,
        kinds.POD_DISRUPTION_BUDGETS,
        {"metadata": {"name": "theirs", "namespace": "default"}, "spec": budget},
    )


def state(account: Account) -> Any:
    """Return the properties of the pool."""
    return containers(account).agent_pools.get("byoc", NAME, "state").properties


def test_a_budget_fails_the_upgrade(account: Account) -> None:
    """Pool and cluster say so, the machine is in service again, nothing is left over, and a later call goes on."""
    cluster = make_cluster(account)
    put_pool(account, "state", pool())
    found = get(account)
    found.properties.kubernetes_version = "1.35"
    put(account, found)
    nodes = [node["metadata"]["name"] for node in cluster.store.list(kinds.NODES, selector="agentpool=state")]
    keep_a_pod(cluster, nodes[1])

    put_pool(account, "state", pool(orchestratorVersion="1.35"))
    pass_time(account, 1)
    failed, whole = state(account), get(account)
    left = cluster.store.list(kinds.NODES, selector="agentpool=state")
    on_loop(cluster.store.delete, kinds.POD_DISRUPTION_BUDGETS, cluster.store.list(kinds.POD_DISRUPTION_BUDGETS)[0])
    on_loop(cluster.store.delete, kinds.PODS, cluster.store.list(kinds.PODS)[0], grace_period_seconds=0)
    put_pool(account, "state", pool(orchestratorVersion="1.35"))
    pass_time(account, 1)

    assert (failed.provisioning_state, whole.properties.provisioning_state) == ("Failed", "Failed")
    assert "default/theirs blocked by pdb theirs" in failed.status.provisioning_error.message
    assert len(left) == 3
    assert not any(node["spec"].get("unschedulable") for node in left)
    assert (state(account).provisioning_state, state(account).current_orchestrator_version) == ("Succeeded", "1.35.2")
    assert get(account).properties.provisioning_state == "Succeeded"


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("mine", {"timeInWeek": [{"day": "Sunday", "hourSlots": [1]}]}),
        ("default", {"timeInWeek": [{"day": "Sunday", "hourSlots": [24]}]}),
        ("default", {"maintenanceWindow": {"schedule": {"daily": {"intervalDays": 1}}, "durationHours": 4}}),
        (
            "aksManagedAutoUpgradeSchedule",
            {
                "maintenanceWindow": {
                    "schedule": {"daily": {"intervalDays": 1}},
                    "durationHours": 3,
                    "startTime": "02:00",
                }
            },
        ),
        (
            "aksManagedAutoUpgradeSchedule",
            {
                "maintenanceWindow": {
                    "schedule": {"weekly": {"intervalWeeks": 5, "dayOfWeek": "Sunday"}},
                    "durationHours": 4,
                    "startTime": "02:00",
                }
            },
        ),
    ],
)
def test_impossible_maintenance_is_refused(account: Account, name: str, properties: dict[str, Any]) -> None:
    """Names, hours, durations and intervals are AKS's."""
    make_cluster(account)

    with pytest.raises(HttpResponseError, match="InvalidParameter"):
        containers(account).maintenance_configurations.create_or_update("byoc", NAME, name, {"properties": properties})
