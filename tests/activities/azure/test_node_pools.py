"""AKS node pools: made, converged, replaced and deleted; and what the cluster's controllers leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from activities.azure.cluster import AzureCluster
from activities.azure.connection import AzureConnections
from activities.azure.controller_made import AzureControllerMade
from activities.azure.groups import node_group_name
from activities.azure.node_configuration import OS_DISK_GB
from activities.azure.node_pools import AzureNodePools
from activities.azure.settings import AzureSettings
from activities.cloud import Activity
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags
from domain.shape import PoolName
from simulators.azure.documents import AzureQuota
from simulators.faults import FaultKind
from tests.activities.azure.conftest import REGION, Account, activities_of
from tests.activities.azure.ground import GROUND, MACHINE, ZONES, Ground

OTHERS = next(pool for pool in PoolName if pool is not PoolName.STORE)
LABEL = "byoc.dev/pool"
CREATION, DELETION = "managedClusters/agentPools/write", "managedClusters/agentPools/delete"


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """The activities on clusters, pools and what controllers leave, and on what they stand on."""
    return activities_of(*GROUND, AzureCluster, AzureNodePools, AzureControllerMade)(settings, connections)


def pools(account: Account) -> Any:
    """Return the customer's client of node pools."""
    return account.customer(ContainerServiceClient).agent_pools


def described(account: Account, name: str) -> dict[str, Any]:
    """Return the properties of a pool as the customer sees it."""
    found: dict[str, Any] = pools(account).get(base_name(account.site), base_name(account.site), name).as_dict()
    return dict(found["properties"])


def names(account: Account) -> set[str]:
    """Return the names of all pools."""
    return {pool.name for pool in pools(account).list(base_name(account.site), base_name(account.site))}


def machines(account: Account) -> Counter[str]:
    """Return how many machines of our pools run in each zone."""
    found = [each for each in account.resources() if each.type == "virtual-machine" and "-system-" not in each.id]
    return Counter(zone for each in found for zone in each.details["zones"])


def change(account: Account, name: str, properties: dict[str, Any]) -> None:
    """Change a pool as the customer."""
    group = base_name(account.site)
    pools(account).begin_create_or_update(group, group, name, {"properties": properties}).result()


def test_the_stores_pool_keeps_its_nodes_in_their_zones(account: Account, ground: Ground, cluster: Cluster) -> None:
    """A pool for each zone in which it has a node, limits for each, and a taint that keeps everything else away."""
    pool = account.run("create_node_pool", ground.pool_request(cluster, minimum=2, maximum=5))

    assert (pool.name, pool.instance_type) == ("store", MACHINE)
    assert names(account) == {"system", "store1", "store2"}
    for number, zone in enumerate(ZONES[:2], 1):
        found = described(account, f"store{number}")
        assert found["availabilityZones"] == [zone]
        assert (found["enableAutoScaling"], found["minCount"], found["maxCount"]) == (True, 1, 3)
        assert found["nodeTaints"] == [f"{LABEL}=store:NoSchedule"]
        assert found["nodeLabels"] == {LABEL: "store"}
    assert machines(account) == dict.fromkeys(ZONES[:2], 1)


@pytest.mark.parametrize(("minimum", "maximum", "zones", "nodes"), [(4, 5, 3, 4), (1, 2, 2, 1)])
def test_other_pools_have_limits_for_all_zones_together(
    account: Account, ground: Ground, cluster: Cluster, minimum: int, maximum: int, zones: int, nodes: int
) -> None:
    """They never begin beyond the maximum, nor in a zone that could have no node."""
    account.run("create_node_pool", ground.pool_request(cluster, OTHERS, minimum=minimum, maximum=maximum))

    found = described(account, OTHERS)
    assert (found["minCount"], found["maxCount"]) == (minimum, maximum)
    assert (len(found["availabilityZones"]), sum(machines(account).values())) == (zones, nodes)
    assert not found.get("nodeTaints")


def test_machines_are_closed_and_encrypted(account: Account, ground: Ground, cluster: Cluster) -> None:
    """No public address, a verified boot, no way in by SSH, disks under our key, and upgrades by new nodes."""
    account.run("create_node_pool", ground.pool_request(cluster, OTHERS))

    found = described(account, OTHERS)
    assert found["enableNodePublicIP"] is False
    assert found["securityProfile"] == {"enableSecureBoot": True, "enableVTPM": True, "sshAccess": "Disabled"}
    assert (found["osDiskSizeGB"], found["osSKU"], found["mode"]) == (OS_DISK_GB, "AzureLinux", "User")
    assert (found["upgradeSettings"]["maxSurge"], found["upgradeSettings"]["maxUnavailable"]) == ("1", "0")
    assert found["vnetSubnetID"] == ground.network.private_subnet_ids[0]
    assert found["tags"] == owner_tags(account.site, f"pool-{OTHERS}")
    assert {each.encrypted for each in account.resources() if each.type == "disk"} == {True}


def test_changed_settings_of_a_pool_are_put_back(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Whatever somebody changed of a pool is as before after the next run; labels and tags of theirs stay."""
    request = ground.pool_request(cluster, minimum=1, maximum=2)
    account.run("create_node_pool", request)
    before = described(account, "store1")
    theirs = {
        **before,
        "minCount": 2,
        "maxCount": 9,
        "count": 2,
        "nodeLabels": {LABEL: "mine", "team": "data"},
        "nodeTaints": ["their=taint:NoSchedule"],
        "upgradeSettings": {"maxSurge": "50%"},
        "tags": {**before["tags"], "byoc:resource": "mine", "cost-centre": "42"},
    }
    change(account, "store1", theirs)
    position = account.control.position()

    account.run("create_node_pool", request)

    after = described(account, "store1")
    assert (after["minCount"], after["maxCount"]) == (1, 2)
    assert after["nodeLabels"] == {LABEL: "store", "team": "data"}
    assert set(after["nodeTaints"]) == {"their=taint:NoSchedule", f"{LABEL}=store:NoSchedule"}
    assert (after["upgradeSettings"]["maxSurge"], after["upgradeSettings"]["maxUnavailable"]) == ("1", "0")
    assert after["tags"] == {**before["tags"], "cost-centre": "42"}
    assert [call.operation for call in account.changes(position)] == [CREATION]


def test_the_number_of_nodes_is_the_autoscalers(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Between the limits it is left as it is."""
    request = ground.pool_request(cluster, OTHERS, minimum=2, maximum=6)
    account.run("create_node_pool", request)
    change(account, OTHERS, {**described(account, OTHERS), "count": 5})
    before = account.control.position()

    account.run("create_node_pool", request)

    assert account.changes(before) == []
    assert described(account, OTHERS)["count"] == 5


def test_a_pool_that_could_not_be_changed_keeps_its_machines(
    account: Account, ground: Ground, cluster: Cluster
) -> None:
    """It says why, and is written again in place of being deleted."""
    request = ground.pool_request(cluster, OTHERS, minimum=2, maximum=4)
    account.run("create_node_pool", request)
    change(account, OTHERS, {**described(account, OTHERS), "minCount": 1})
    account.inject(FaultKind.CAPACITY, CREATION, times=1)
    before = account.control.position()

    detail = account.failure("create_node_pool", request)
    account.run("create_node_pool", request)

    assert detail.failure is FailureClass.CAPACITY
    assert {call.operation for call in account.changes(before)} == {CREATION}
    assert sum(machines(account).values()) == 2
    assert described(account, OTHERS)["minCount"] == 2


def test_a_quota_that_is_too_small_is_named(account: Account, ground: Ground, cluster: Cluster) -> None:
    """What the customer has to ask Azure for."""
    account.owner.set_quota(AzureQuota(region=REGION, name="cores", limit=7))

    detail = account.failure("create_node_pool", ground.pool_request(cluster))

    assert detail.failure is FailureClass.QUOTA
    assert "vcpu quota" in detail.message


def test_what_controllers_left_is_deleted(account: Account, ground: Ground, cluster: Cluster) -> None:
    """The load balancer goes before its address, and the volume too; what is AKS's or a stranger's stays."""
    leave_behind(account)
    for operation in ("loadBalancers/delete", "disks/delete"):
        account.inject(FaultKind.LOST_REPLY, operation, times=1)

    account.run_through("delete_load_balancers_and_volumes", account.site)
    before = account.control.position()
    account.run("delete_load_balancers_and_volumes", account.site)

    assert account.changes(before) == []
    nodes = node_group_name(account.site)
    left = {each.name for each in account.resources() if f"/{nodes}/" in each.id}
    assert {"kube-apiserver", "theirs"} <= left
    assert not {"kubernetes", "kubernetes-a1b2", "pvc-1"} & left


def test_a_volume_in_use_is_waited_for(account: Account, ground: Ground, cluster: Cluster) -> None:
    """As long as a machine holds it, it cannot go, and nobody tries."""
    leave_behind(account, managed_by=f"{ground.network.network_id}/machine")

    for _ in range(3):
        waiting = account.attempt_once("delete_load_balancers_and_volumes", account.site)

    assert waiting is not None
    assert (waiting.failure, waiting.message) == (FailureClass.NOT_READY, "Azure is deleting pvc-1")
    assert "pvc-1" in {each.name for each in account.resources()}


def test_a_strangers_group_of_the_name_is_left_alone(account: Account, ground: Ground) -> None:
    """One that AKS did not make for our cluster."""
    name = node_group_name(account.site)
    groups = account.customer(ResourceManagementClient).resource_groups
    groups.create_or_update(name, {"location": REGION, "tags": owner_tags(account.site, "cluster")})

    detail = account.failure("delete_load_balancers_and_volumes", account.site)
    account.run("delete_cluster", account.site)

    assert detail.failure is FailureClass.NOT_OURS
    assert groups.get(name).name == name


def leave_behind(account: Account, *, managed_by: str = "") -> None:
    """Make what the controllers of a cluster make in the group of its nodes, and a stranger's disk beside it."""
    group, site = node_group_name(account.site), account.site
    network, compute = account.customer(NetworkManagementClient), account.customer(ComputeManagementClient)
    tags = owner_tags(site, "cluster")
    address = {
        "location": REGION, "sku": {"name": "Standard"}, "tags": {**tags, "k8s-azure-service": "byoc-server/endpoint"},
        "properties": {"publicIPAllocationMethod": "Static"},
    }  # fmt: skip
    made = network.public_ip_addresses.begin_create_or_update(group, "kubernetes-a1b2", address).result()
    front = {"name": "a1b2", "properties": {"publicIPAddress": {"id": made.id}}}
    balancer = {
        "location": REGION, "sku": {"name": "Standard"}, "tags": tags,
        "properties": {"frontendIPConfigurations": [front]},
    }  # fmt: skip
    network.load_balancers.begin_create_or_update(group, "kubernetes", balancer).result()
    claim = {"kubernetes.io-created-for-pvc-name": "data-store-0"}
    for name, marks in (("pvc-1", {**tags, **claim}), ("theirs", {})):
        disk = {
            "location": REGION, "tags": marks, "sku": {"name": "Premium_LRS"},
            "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 10},
            **({"managedBy": managed_by} if managed_by and marks else {}),
        }  # fmt: skip
        compute.disks.begin_create_or_update(group, name, disk).result()
