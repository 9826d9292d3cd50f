"""Node pools of AKS, by the SDK, and the machines behind them."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.compute import ComputeManagementClient

from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.simulator import Cluster
from tests.simulators.azure.clusters import (
    NAME,
    NODE_GROUP,
    containers,
    get,
    make_cluster,
    pass_time,
    pool,
    put,
    put_pool,
)
from tests.simulators.azure.conftest import REGION, SUBSCRIPTION, Account


def nodes(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """Return the nodes of a pool."""
    return cluster.store.list(kinds.NODES, selector=f"agentpool={name}")


def test_is_made_beside_the_first_one(slow_account: Account) -> None:
    """With labels, taints, and machines in a scale set over the zones."""
    cluster = make_cluster(slow_account)
    labels, taints = {"byoc/pool": "state"}, ["byoc/pool=state:NoSchedule"]
    begun = put_pool(slow_account, "state", pool(nodeLabels=labels, nodeTaints=taints))
    pass_time(slow_account, 200)
    made = containers(slow_account).agent_pools.get("byoc", NAME, "state")
    machines = list(containers(slow_account).machines.list("byoc", NAME, "state"))
    sets = slow_account.client(ComputeManagementClient).virtual_machine_scale_sets.list(NODE_GROUP)

    assert (begun.properties.provisioning_state, made.properties.provisioning_state) == ("Creating", "Succeeded")
    assert made.properties.current_orchestrator_version == "1.34.4"
    assert sorted(entry.name.split("-")[1] for entry in sets) == ["state", "system"]
    joined = nodes(cluster, "state")
    assert {f"azure://{machine.properties.resource_id}" for machine in machines} == {
        node["spec"]["providerID"] for node in joined
    }
    assert len(joined) == 3
    assert {node["metadata"]["labels"]["byoc/pool"] for node in joined} == {"state"}
    assert joined[0]["spec"]["taints"] == [{"key": "byoc/pool", "value": "state", "effect": "NoSchedule"}]
    assert len(get(slow_account).properties.agent_pool_profiles) == 2


def test_holds_the_cluster_while_it_is_made(slow_account: Account) -> None:
    """Neither the cluster nor another pool can be changed meanwhile."""
    make_cluster(slow_account)
    put_pool(slow_account, "state", pool())
    client = containers(slow_account)

    with pytest.raises(HttpResponseError, match="agent pool state operation") as cluster:
        put(slow_account, get(slow_account))
    with pytest.raises(HttpResponseError) as other:
        put_pool(slow_account, "more", pool())
    with pytest.raises(HttpResponseError) as itself:
        client.agent_pools.begin_delete("byoc", NAME, "state")

    assert {caught.value.error.code for caught in (cluster, other, itself)} == {"OperationNotAllowed"}


def test_grows_and_shrinks(account: Account) -> None:
    """The youngest machines go first, and every zone has its share."""
    cluster = make_cluster(account)
    put_pool(account, "state", pool())
    pass_time(account, 200)
    put_pool(account, "state", pool(count=5))
    pass_time(account, 200)
    grown = [node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes(cluster, "state")]
    put_pool(account, "state", pool(count=2))
    pass_time(account, 200)

    assert sorted(grown.count(f"{REGION}-{number}") for number in (1, 2, 3)) == [1, 2, 2]
    assert [node["metadata"]["name"][-6:] for node in nodes(cluster, "state")] == ["000000", "000001"]
    assert account.azure.quotas.used[SUBSCRIPTION, REGION, "cores"] == 10


def test_has_as_many_machines_as_the_autoscaler_may(account: Account) -> None:
    """The count is held between the limits."""
    cluster = make_cluster(account)

    put_pool(account, "state", pool(count=1, enableAutoScaling=True, minCount=2, maxCount=4))
    pass_time(account, 200)

    assert len(nodes(cluster, "state")) == 2


def test_follows_the_control_plane(slow_account: Account) -> None:
    """Its machines are replaced in batches, by new ones of the new version."""
    cluster = make_cluster(slow_account)
    found = get(slow_account)
    with pytest.raises(HttpResponseError, match="NodePoolMcVersionIncompatible"):
        put_pool(slow_account, "system", pool(mode="System", orchestratorVersion="1.35"))
    found.properties.kubernetes_version = "1.35"
    put(slow_account, found)
    pass_time(slow_account, 700)
    former = {node["metadata"]["uid"] for node in nodes(cluster, "system")}
    surge = {"maxSurge": "1"}

    begun = put_pool(slow_account, "system", pool(mode="System", orchestratorVersion="1.35", upgradeSettings=surge))
    pass_time(slow_account, 2.5 * 240)
    during = containers(slow_account).agent_pools.get("byoc", NAME, "system").properties
    pass_time(slow_account, 240)
    after = containers(slow_account).agent_pools.get("byoc", NAME, "system").properties

    assert begun.properties.provisioning_state == during.provisioning_state == "Upgrading"
    assert (after.provisioning_state, after.current_orchestrator_version) == ("Succeeded", "1.35.2")
    joined = nodes(cluster, "system")
    assert {node["status"]["nodeInfo"]["kubeletVersion"] for node in joined} == {"v1.35.2"}
    assert not former & {node["metadata"]["uid"] for node in joined}
    assert len(joined) == 3


def test_gets_other_labels_and_taints_without_new_machines(account: Account) -> None:
    """The nodes stay, and what the pool no longer has goes from them."""
    cluster = make_cluster(account)
    put_pool(account, "state", pool(nodeLabels={"a": "1"}, nodeTaints=["a=1:NoSchedule"]))
    pass_time(account, 200)
    before = {node["metadata"]["uid"] for node in nodes(cluster, "state")}
    put_pool(account, "state", pool(nodeLabels={"b": "2"}))
    pass_time(account, 200)

    after = nodes(cluster, "state")
    assert {node["metadata"]["uid"] for node in after} == before
    assert all("a" not in node["metadata"]["labels"] for node in after)
    assert {node["metadata"]["labels"]["b"] for node in after} == {"2"}
    assert all(not node["spec"].get("taints") for node in after)


def test_does_not_change_its_machines(account: Account) -> None:
    """Size, zones and disks are those of the first request."""
    make_cluster(account)

    for change in ({"vmSize": "Standard_D4s_v5"}, {"availabilityZones": ["1"]}, {"osDiskSizeGB": 128}):
        with pytest.raises(HttpResponseError, match="PropertyChangeNotAllowed"):
            put_pool(account, "system", pool(mode="System", **change))


def test_goes_but_for_the_last_of_the_system(account: Account) -> None:
    """Its machines, disks and scale set go with it."""
    cluster = make_cluster(account)
    put_pool(account, "state", pool())
    pass_time(account, 200)
    client = containers(account).agent_pools

    with pytest.raises(HttpResponseError, match="Must define at least one system pool"):
        client.begin_delete("byoc", NAME, "system")
    with pytest.raises(HttpResponseError, match="Must define at least one system pool"):
        put_pool(account, "system", pool(mode="User"))
    client.begin_delete("byoc", NAME, "state").result()

    assert nodes(cluster, "state") == []
    held = [entry for entry in account.azure.inventory(SUBSCRIPTION) if "aks-state-" in entry.id]
    assert held == []
    with pytest.raises(ResourceNotFoundError):
        client.get("byoc", NAME, "state")


def test_needs_cores(account: Account) -> None:
    """Those of the region count as well."""
    make_cluster(account)
    account.azure.quotas.set_limit(SUBSCRIPTION, REGION, "cores", 8)

    with pytest.raises(HttpResponseError, match="left regional vcpu quota 2, requested quota 6") as caught:
        put_pool(account, "state", pool())

    assert caught.value.error.code == "ErrCode_InsufficientVCPUQuota"


def test_needs_cores_for_the_machines_of_an_upgrade(account: Account) -> None:
    """New ones come before the old ones go."""
    make_cluster(account)
    found = get(account)
    found.properties.kubernetes_version = "1.35"
    put(account, found)
    pass_time(account, 700)
    account.azure.quotas.set_limit(SUBSCRIPTION, REGION, "cores", 7)
    surge = {"maxSurge": "1"}

    with pytest.raises(HttpResponseError, match="left regional vcpu quota 1, requested quota 2"):
        put_pool(account, "system", pool(mode="System", orchestratorVersion="1.35", upgradeSettings=surge))


def test_fails_without_capacity_and_leaves_the_cluster_alone(account: Account) -> None:
    """It can be deleted, and made again."""
    cluster = make_cluster(account)
    rule = Fault(kind=FaultKind.CAPACITY, service="containerservice", operation="managedClusters/agentPools/write")
    fault = account.azure.cloud.world.faults.add(rule)
    client = containers(account).agent_pools

    with pytest.raises(HttpResponseError, match="ZonalAllocationFailed"):
        client.begin_create_or_update("byoc", NAME, "state", {"properties": pool()}).result()
    failed = client.get("byoc", NAME, "state").properties.provisioning_state
    account.azure.cloud.world.faults.remove(fault.id)
    client.begin_delete("byoc", NAME, "state").result()
    client.begin_create_or_update("byoc", NAME, "state", {"properties": pool()}).result()

    assert failed == "Failed"
    assert get(account).properties.provisioning_state == "Succeeded"
    assert len(nodes(cluster, "state")) == 3
