"""Upgrades of AKS: checked, one step at a time, and gone on with after a failure that somebody has cured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.azure.cluster import AzureCluster
from activities.azure.connection import AzureConnections
from activities.azure.control_plane_upgrades import AzureControlPlaneUpgrades
from activities.azure.node_pools import AzureNodePools
from activities.azure.node_upgrades import AzureNodeUpgrades
from activities.azure.settings import AzureSettings
from activities.azure.upgrade_checks import AzureUpgradeChecks
from activities.cloud import Activity
from activities.contracts import NodePoolRequest
from activities.upgrade_contracts import ControlPlaneUpgrade, NodePoolUpgrade, UpgradeCheckRequest
from domain.facts import Cluster
from domain.failure import FailureClass, FailureDetail
from domain.naming import base_name
from domain.shape import PoolName
from domain.upgrade import Check
from simulators.azure.documents import AzureQuota
from simulators.faults import FaultKind
from tests.activities.azure.clusters import aks, change, described
from tests.activities.azure.conftest import REGION, Account, activities_of
from tests.activities.azure.ground import GROUND, Ground

NEXT = "1.35"
PARTS = (AzureCluster, AzureNodePools, AzureControlPlaneUpgrades, AzureNodeUpgrades, AzureUpgradeChecks)
POOLS = "managedClusters/agentPools/write"
BLOCKED = (
    "Drain node aks-services-0 failed when evicting pod api-0 failed with Too Many Requests error. PDB debug info:"
    " byoc-server/api-0 blocked by pdb api with 0 unready pods: []."
)


@pytest.fixture(scope="module")
def activities(settings: AzureSettings, connections: AzureConnections) -> Sequence[Activity]:
    """The activities on clusters, pools and their upgrades, and on what they stand on."""
    return activities_of(*GROUND, *PARTS)(settings, connections)


@pytest.fixture
def services(account: Account, ground: Ground, cluster: Cluster) -> NodePoolRequest:
    """The order of a pool that runs."""
    request: NodePoolRequest = ground.pool_request(cluster, PoolName.SERVICES)
    account.run("create_node_pool", request)
    return request


def forward(account: Account, cluster: Cluster, kubernetes: str = NEXT) -> Any:
    """Return the order for the control plane."""
    return ControlPlaneUpgrade(site=account.site, cluster=cluster, kubernetes=kubernetes)


def nodes_of(request: NodePoolRequest) -> NodePoolUpgrade:
    """Return the order for the nodes of a pool."""
    return NodePoolUpgrade(**dict(request), kubernetes=NEXT)


def versions(account: Account) -> dict[str, str]:
    """Return the minor versions of the control plane and of each pool, keyed by name."""
    properties = described(account)["properties"]
    found = {pool["name"]: pool["currentOrchestratorVersion"] for pool in properties["agentPoolProfiles"]}
    found[""] = properties["currentKubernetesVersion"]
    return {name: version.rpartition(".")[0] for name, version in found.items()}


def checks(account: Account, request: NodePoolRequest, kubernetes: str = NEXT) -> dict[str, Check]:
    """Return the findings about an upgrade, keyed by name."""
    question = UpgradeCheckRequest(
        site=account.site,
        cluster=request.cluster,
        kubernetes=kubernetes,
        replaces_nodes=True,
        placement=request.placement,
        network=request.network,
    )
    return {each.name: each for each in account.run("check_upgrade", question)}


def in_another_step(account: Account, activity: str, argument: object) -> FailureDetail | None:
    """Run an activity once, as another step than all others here, and return how it failed."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, activity_id="another")
    try:
        environment.run(account.activities[activity], argument)
    except ApplicationError as error:
        detail: FailureDetail = error.details[0]
        return detail
    return None


def test_the_control_plane_goes_alone(account: Account, cluster: Cluster, services: NodePoolRequest) -> None:
    """Its pools stay where they are, and the facts say the new version."""
    upgraded = account.run("upgrade_control_plane", forward(account, cluster))

    assert upgraded.version == NEXT
    assert versions(account) == {"": NEXT, "system": "1.34", "services": "1.34"}


def test_no_version_is_skipped_and_none_taken_back(account: Account, cluster: Cluster) -> None:
    """Two versions at once are refused before AKS is asked; an older one is what is there."""
    before = account.control.position()

    detail = account.failure("upgrade_control_plane", forward(account, cluster, "1.36"))
    there = account.run("upgrade_control_plane", forward(account, cluster, "1.33"))

    assert (detail.failure, there.version) == (FailureClass.CONFIG, "1.34")
    assert account.changes(before) == []


def test_nodes_follow_with_those_of_aks(account: Account, cluster: Cluster, services: NodePoolRequest) -> None:
    """The pool of AKS's own pods goes with the services; converging with the old order changes nothing."""
    account.run("upgrade_control_plane", forward(account, cluster))

    account.run("upgrade_node_pool", nodes_of(services))
    before = account.control.position()
    account.run("create_node_pool", services)
    account.run("upgrade_node_pool", nodes_of(services))

    assert versions(account) == {"": NEXT, "system": NEXT, "services": NEXT}
    assert account.changes(before) == []


def test_a_canary_is_one_machine_that_nothing_lands_on(
    account: Account, cluster: Cluster, services: NodePoolRequest
) -> None:
    """Of the new version; one of an older version is replaced, and all are deleted."""
    account.run("create_canary_node", NodePoolUpgrade(**dict(services), kubernetes="1.34"))
    account.run("upgrade_control_plane", forward(account, cluster))

    made = account.run("create_canary_node", nodes_of(services))
    pool = aks(account).agent_pools.get(base_name(account.site), base_name(account.site), made.name).as_dict()
    found = pool["properties"]
    account.run("delete_canary_nodes", account.site)

    assert made.name == "canaryservic"
    assert (found["count"], found["currentOrchestratorVersion"]) == (1, "1.35.2")
    assert found["nodeLabels"] == {"byoc.dev/pool": "canary-services"}
    assert found["nodeTaints"] == ["byoc.dev/pool=canary-services:NoSchedule"]
    assert set(versions(account)) == {"", "system", "services"}


def test_a_pod_that_may_not_go_is_named(account: Account, cluster: Cluster, services: NodePoolRequest) -> None:
    """Nothing is forced, converging leaves the pool as it is, and a later step goes on."""
    account.run("upgrade_control_plane", forward(account, cluster))
    account.inject(FaultKind.CRASH, POOLS, times=1, code="UpgradeFailed", message=BLOCKED)
    before = account.control.position()

    detail = account.failure("upgrade_node_pool", nodes_of(services))
    asked = len(account.changes(before))
    account.run("create_node_pool", services)
    settled = checks(account, services)["cluster-settled"]
    converged = len(account.changes(before))
    going_on = in_another_step(account, "upgrade_node_pool", nodes_of(services))
    account.run("upgrade_node_pool", nodes_of(services))

    assert (detail.failure, detail.resource) == (FailureClass.CONFIG, "byoc-server/api-0")
    assert "budget api" in detail.message
    assert asked == converged == 1
    assert settled.passed
    assert going_on is not None
    assert going_on.failure is FailureClass.NOT_READY
    assert versions(account) == {"": NEXT, "system": NEXT, "services": NEXT}


def test_a_control_plane_that_failed_is_left_to_the_upgrade(
    account: Account, ground: Ground, cluster: Cluster, services: NodePoolRequest
) -> None:
    """Converging would go on with it; the upgrade says why it failed, and goes on."""
    account.inject(FaultKind.CRASH, "managedClusters/write", times=1)
    account.attempt_once("upgrade_control_plane", forward(account, cluster))
    before = account.control.position()

    there = account.run("create_cluster", ground.cluster_request())
    converged = account.changes(before)
    failed = account.failure("upgrade_control_plane", forward(account, cluster))
    account.run("upgrade_control_plane", forward(account, cluster))

    assert (there.version, converged) == ("1.34", [])
    assert failed.failure is FailureClass.TRANSIENT
    assert versions(account)[""] == NEXT


def test_nothing_stands_in_the_way(account: Account, services: NodePoolRequest) -> None:
    """All that Azure can say is found well but the certificate, which nobody has ordered here."""
    found = checks(account, services)

    assert {name: each.passed for name, each in found.items()} == {
        "provider-insights": True,
        "surge-quota": True,
        "free-addresses": True,
        "certificate": False,
        "cluster-settled": True,
    }


def test_what_stands_in_the_way_is_found(account: Account, services: NodePoolRequest) -> None:
    """A version that is not offered, AKS's block overridden, and no cores for one more machine."""

    def force(document: dict[str, Any]) -> None:
        document["properties"]["upgradeSettings"] = {"overrideSettings": {"forceUpgrade": True}}

    change(account, force)
    account.owner.set_quota(AzureQuota(region=REGION, name="cores", limit=7))

    found = checks(account, services, "1.37")

    assert not found["provider-insights"].passed
    assert "does not offer Kubernetes 1.37" in found["provider-insights"].evidence
    assert "forceUpgrade is on" in found["provider-insights"].evidence
    assert not found["surge-quota"].passed


def test_aks_is_not_told_to_pass_over_its_block(account: Account, cluster: Cluster) -> None:
    """The override goes with the upgrade."""

    def force(document: dict[str, Any]) -> None:
        document["properties"]["upgradeSettings"] = {"overrideSettings": {"forceUpgrade": True}}

    change(account, force)

    account.run("upgrade_control_plane", forward(account, cluster))

    assert described(account)["properties"]["upgradeSettings"]["overrideSettings"]["forceUpgrade"] is False
