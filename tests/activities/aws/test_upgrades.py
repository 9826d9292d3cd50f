"""Upgrades of EKS: the control plane, the add-ons, the canary and the pools."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from activities.contracts import AddOn, ClusterRequest, InCluster, NodePoolRequest
from activities.kubernetes.access import ClusterApi, KubernetesConnections
from activities.kubernetes.objects import DISRUPTION_BUDGET, POD, Reference
from activities.kubernetes.settings import KubernetesSettings
from activities.upgrade_contracts import ControlPlaneUpgrade, NodePoolUpgrade
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags
from domain.shape import PoolName
from simulators.faults import FaultKind
from tests.activities.aws.conftest import Account, Ground

Order = Callable[[PoolName], NodePoolRequest]
NEXT = "1.34"


@pytest.fixture
def further(account: Account, cluster: Cluster) -> ControlPlaneUpgrade:
    """The order to move the control plane from 1.33 to the next version."""
    return ControlPlaneUpgrade(site=account.site, cluster=cluster, kubernetes=NEXT)


@pytest.fixture
def api(account: Account, cluster: Cluster) -> Iterator[ClusterApi]:
    """The cluster, as its administrator sees it."""
    account.run("grant_cluster_access", InCluster(site=account.site, cluster=cluster))
    connections = KubernetesConnections(account.cloud.cluster_credentials, KubernetesSettings())
    yield connections.api(account.site, cluster)
    connections.close()


def upgraded(order: NodePoolRequest) -> NodePoolUpgrade:
    """Return the order to move a pool, or to make its canary, at the next version."""
    return NodePoolUpgrade(**dict(order), kubernetes=NEXT)


def group(account: Account, name: str) -> dict[str, Any]:
    """Return a node group as EKS describes it."""
    which = {"clusterName": base_name(account.site), "nodegroupName": f"{base_name(account.site)}-{name}"}
    found: dict[str, Any] = account.customer("eks").describe_nodegroup(**which)["nodegroup"]
    return found


def called(account: Account, operation: str) -> int:
    """Return how often we called an operation that changed something."""
    return sum(call.operation == operation for call in account.changes())


def add_on(account: Account, name: str) -> dict[str, Any]:
    """Return an add-on as EKS describes it."""
    found: dict[str, Any] = account.customer("eks").describe_addon(clusterName=base_name(account.site), addonName=name)[
        "addon"
    ]
    return found


class TestControlPlane:
    """One minor version at a time."""

    def test_it_moves_on_and_is_not_moved_again(
        self, account: Account, further: ControlPlaneUpgrade, cluster_request: ClusterRequest
    ) -> None:
        """The answer has the new version; neither a repeat nor converging changes it, and no version is skipped."""
        skipping = account.failure("upgrade_control_plane", further.model_copy(update={"kubernetes": "1.35"}))
        moved = account.run("upgrade_control_plane", further)
        before = account.control.position()

        again = account.run("upgrade_control_plane", further)
        behind = account.run("upgrade_control_plane", further.model_copy(update={"kubernetes": "1.33"}))
        converged = account.run("create_cluster", cluster_request)

        assert skipping.failure is FailureClass.CONFIG
        assert "1.33" in skipping.message
        assert moved.version == NEXT
        assert called(account, "UpdateClusterVersion") == 1
        assert again == behind == converged == moved
        assert account.changes(before) == []

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("IpNotAvailable", FailureClass.CONFIG),
            ("EniLimitReached", FailureClass.QUOTA),
        ],
    )
    def test_what_failed_is_told_once_and_begun_anew(
        self, account: Account, further: ControlPlaneUpgrade, code: str, expected: FailureClass
    ) -> None:
        """EKS's own code says who must act, though the note of that gets no reply; the next run moves the cluster."""
        account.inject(FaultKind.LOST_REPLY, "TagResource", times=1)
        account.inject(FaultKind.CRASH, "UpdateClusterVersion", times=1, code=code, message="it went wrong")

        failure = account.failure("upgrade_control_plane", further)
        kept = account.customer("eks").describe_cluster(name=further.cluster.name)["cluster"]["version"]
        moved = account.run("upgrade_control_plane", further)

        assert failure.failure is expected
        assert "it went wrong" in failure.message
        assert (kept, moved.version) == ("1.33", NEXT)
        assert called(account, "UpdateClusterVersion") == 2


class TestAddOns:
    """Add-ons follow the control plane when they are told to."""

    @pytest.fixture
    def proxy(self, account: Account, ground: Ground, cluster: Cluster) -> AddOn:
        """The order for the add-on whose versions are those of Kubernetes."""
        order = AddOn(site=account.site, cluster=cluster, roles=ground.roles, name="proxy")
        account.run("install_add_on", order)
        return order

    def test_one_moves_with_the_cluster_as_it_is(
        self, account: Account, proxy: AddOn, further: ControlPlaneUpgrade
    ) -> None:
        """The order has the old cluster in it: EKS is asked for its version. Converging before changes nothing.

        What somebody has chosen beyond AWS's default, and suits the cluster, stays.
        """
        eks, which = account.customer("eks"), {"clusterName": proxy.cluster.name, "addonName": "kube-proxy"}
        eks.update_addon(**which, addonVersion="v1.33.2-eksbuild.4")
        eks.get_waiter("addon_active").wait(**which, WaiterConfig={"Delay": 0, "MaxAttempts": 100})
        account.run("upgrade_add_on", proxy)
        beyond = add_on(account, "kube-proxy")["addonVersion"]
        account.run("upgrade_control_plane", further)
        before = account.control.position()
        account.run("install_add_on", proxy)
        converging, kept = account.changes(before), add_on(account, "kube-proxy")["addonVersion"]

        account.run("upgrade_add_on", proxy)
        moved = account.control.position()
        account.run("upgrade_add_on", proxy)

        assert converging == account.changes(moved) == []
        assert kept == beyond == "v1.33.2-eksbuild.4"
        assert add_on(account, "kube-proxy")["addonVersion"].startswith("v1.34.")

    def test_the_configuration_goes_along(self, account: Account, ground: Ground, cluster: Cluster) -> None:
        """An old network plug-in is moved to AWS's default, and still enforces network policies."""
        old = {"clusterName": cluster.name, "addonName": "coredns", "addonVersion": "v1.12.1-eksbuild.2"}
        eks, network = (
            account.customer("eks"),
            AddOn(site=account.site, cluster=cluster, roles=ground.roles, name="network"),
        )
        account.run("install_add_on", network)
        account.run("create_node_pool", NodePoolRequest(**_pool(account, ground, cluster)))
        eks.create_addon(**old, tags=owner_tags(account.site, "add-on-dns"))

        account.run("upgrade_add_on", network.model_copy(update={"name": "dns"}))
        account.run("upgrade_add_on", network)

        assert add_on(account, "coredns")["addonVersion"] == "v1.12.4-eksbuild.1"
        assert "enableNetworkPolicy" in add_on(account, "vpc-cni")["configurationValues"]

    def test_a_failed_one_is_told_once_and_begun_anew(
        self, account: Account, proxy: AddOn, further: ControlPlaneUpgrade
    ) -> None:
        """What EKS says is the failure; the next run tries again. What is not installed is not upgraded."""
        account.run("upgrade_control_plane", further)
        account.inject(FaultKind.CRASH, "UpdateAddon", times=1, code="AccessDenied", message="may not patch")

        failure = account.failure("upgrade_add_on", proxy)
        account.run("upgrade_add_on", proxy)
        absent = account.failure("upgrade_add_on", proxy.model_copy(update={"name": "metrics"}))

        assert (failure.failure, failure.code) == (FailureClass.PERMISSION, "AccessDenied")
        assert absent.failure is FailureClass.CONFIG
        assert "metrics-server" in absent.message
        assert add_on(account, "kube-proxy")["status"] == "ACTIVE"
        assert add_on(account, "kube-proxy")["addonVersion"].startswith("v1.34.")


class TestCanaries:
    """One machine of the new version, on which nothing lands."""

    def test_one_machine_is_made_beside_the_pool(
        self, account: Account, pool_request: Order, further: ControlPlaneUpgrade
    ) -> None:
        """It has the new version, a taint of its own and the pool's template; the pool stays, and converges.

        The machine that EKS did not get at first is told, and asked for by the next run.
        """
        order = pool_request(PoolName.STORE)
        account.run("create_node_pool", order)
        account.run("upgrade_control_plane", further)

        account.inject(FaultKind.CAPACITY, "CreateNodegroup", times=1)
        failure = account.failure("create_canary_node", upgraded(order))
        made = account.run("create_canary_node", upgraded(order))
        before = account.control.position()
        account.run("create_node_pool", order)

        canary, pool = group(account, "canary-store"), group(account, "store-eu-west-1a")
        assert (made.name, made.instance_type) == (f"{base_name(account.site)}-canary-store", "m6i.xlarge")
        assert failure.failure is FailureClass.CAPACITY
        assert (canary["version"], pool["version"]) == (NEXT, "1.33")
        assert canary["scalingConfig"] == {"minSize": 1, "maxSize": 1, "desiredSize": 1}
        assert canary["subnets"] == list(order.network.private_subnet_ids[:1])
        assert canary["labels"] == {"byoc.dev/pool": "canary-store"}
        assert canary["taints"] == [{"key": "byoc.dev/pool", "value": "canary-store", "effect": "NO_SCHEDULE"}]
        assert canary["launchTemplate"]["id"] == pool["launchTemplate"]["id"]
        assert account.changes(before) == []

    def test_one_of_another_version_is_replaced(
        self, account: Account, pool_request: Order, further: ControlPlaneUpgrade
    ) -> None:
        """What an upgrade before has left behind says nothing about this one; a retirement takes either along."""
        order = upgraded(pool_request(PoolName.SERVICES))
        account.run("create_node_pool", pool_request(PoolName.SERVICES))
        account.run("create_canary_node", order.model_copy(update={"kubernetes": "1.33"}))
        account.run("upgrade_control_plane", further)

        account.run("create_canary_node", order)
        replaced = group(account, "canary-services")
        account.run("delete_node_pools", account.site)

        assert replaced["version"] == NEXT
        assert account.customer("eks").list_nodegroups(clusterName=base_name(account.site))["nodegroups"] == []

    def test_they_go_and_the_pools_stay(
        self, account: Account, pool_request: Order, further: ControlPlaneUpgrade
    ) -> None:
        """Both canaries are deleted; groups and launch template of the pool are as before."""
        account.run("upgrade_control_plane", further)
        for pool in PoolName:
            account.run("create_node_pool", pool_request(pool))
            account.run("create_canary_node", upgraded(pool_request(pool)))

        account.run("delete_canary_nodes", account.site)

        left = account.customer("eks").list_nodegroups(clusterName=base_name(account.site))["nodegroups"]
        names = {name.removeprefix(f"{base_name(account.site)}-") for name in left}
        assert names == {"services", *(f"store-eu-west-1{zone}" for zone in "abc")}
        assert len(account.customer("ec2").describe_launch_templates()["LaunchTemplates"]) == 2

    def test_without_a_cluster_there_are_none(self, account: Account) -> None:
        """That is success: nothing is left."""
        assert account.attempt_once("delete_canary_nodes", account.site) is None


class TestPools:
    """Machines are replaced, a new one first."""

    def test_every_group_is_moved_one_after_the_other(
        self, account: Account, pool_request: Order, further: ControlPlaneUpgrade
    ) -> None:
        """All machines of the store are others, with the new version; no group begins before the last one is done."""
        order = pool_request(PoolName.STORE)
        account.run("create_node_pool", order)
        account.run("upgrade_control_plane", further)
        old = _machines(account)
        fault = account.inject(FaultKind.STUCK, "UpdateNodegroupVersion", times=1)
        for _ in range(3):
            account.attempt_once("upgrade_node_pool", upgraded(order))
        begun = called(account, "UpdateNodegroupVersion")
        account.control.remove_fault(fault.id)

        pool = account.run("upgrade_node_pool", upgraded(order))

        assert begun == 1
        assert pool.name == f"{base_name(account.site)}-store"
        assert called(account, "UpdateNodegroupVersion") == 3
        for zone in "abc":
            assert group(account, f"store-eu-west-1{zone}")["version"] == NEXT
        assert len(_machines(account)) == 3
        assert _machines(account).isdisjoint(old)

    def test_a_pool_that_is_level_is_left_alone(
        self, account: Account, pool_request: Order, further: ControlPlaneUpgrade
    ) -> None:
        """Run again, or converged, nothing is replaced. Before that, the control plane may not go on."""
        order = pool_request(PoolName.SERVICES)
        account.run("create_node_pool", order)
        account.run("upgrade_control_plane", further)
        lagging = account.failure("upgrade_control_plane", further.model_copy(update={"kubernetes": "1.35"}))
        account.run("upgrade_node_pool", upgraded(order))
        before, machines = account.control.position(), _machines(account)

        account.run("upgrade_node_pool", upgraded(order))
        account.run("create_node_pool", order)

        assert account.changes(before) == []
        assert _machines(account) == machines
        assert lagging.failure is FailureClass.CONFIG
        assert f"{base_name(account.site)}-services" in lagging.message

    def test_a_pod_that_may_not_be_evicted_is_named_and_never_forced(
        self, account: Account, pool_request: Order, further: ControlPlaneUpgrade, api: ClusterApi
    ) -> None:
        """Pod and budget are in the message, the pod runs on, its node takes pods; without the budget it goes."""
        order = pool_request(PoolName.SERVICES)
        account.run("create_node_pool", order)
        account.run("upgrade_control_plane", further)
        _run_pods(api, replicas=1)
        _allow(api, {"maxUnavailable": 0})

        failure = account.failure("upgrade_node_pool", upgraded(order))
        kept = _pods(api)
        api.delete(Reference(DISRUPTION_BUDGET, "front", "default"))
        account.run("upgrade_node_pool", upgraded(order))

        (pod,) = kept
        assert failure.failure is FailureClass.CONFIG
        assert f"pod default/{pod} may not be evicted: its disruption budget front" in failure.message
        assert group(account, "services")["version"] == NEXT
        assert pod not in _pods(api)

    def test_budgets_are_honoured_while_machines_go(
        self, account: Account, pool_request: Order, further: ControlPlaneUpgrade, api: ClusterApi
    ) -> None:
        """Of three pods two are always ready, and all end up on new machines."""
        order = pool_request(PoolName.SERVICES)
        account.run("create_node_pool", order)
        account.run("upgrade_control_plane", further)
        _run_pods(api, replicas=3)
        _allow(api, {"maxUnavailable": 1})
        old, ready = _pods(api), []

        deadline = time.monotonic() + 20
        while account.attempt_once("upgrade_node_pool", upgraded(order)) and time.monotonic() < deadline:
            ready.append(_ready(api))

        assert min(ready) >= 2
        assert set(_pods(api)).isdisjoint(old)
        assert group(account, "services")["version"] == NEXT


def _pool(account: Account, ground: Ground, cluster: Cluster) -> dict[str, Any]:
    return {
        "site": account.site, "cluster": cluster, "network": ground.network, "firewall": ground.firewall,
        "roles": ground.roles, "key": ground.key, "placement": ground.placement, "pool": PoolName.SERVICES,
    }  # fmt: skip


def _machines(account: Account) -> set[str]:
    """Return the ids of the machines that run."""
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    found = account.customer("ec2").describe_instances(Filters=running)["Reservations"]
    return {machine["InstanceId"] for reservation in found for machine in reservation["Instances"]}


def _run_pods(api: ClusterApi, *, replicas: int) -> None:
    """Run pods that anybody may have put there, and wait until they are ready."""
    container = {"name": "front", "image": "registry.acme.example/front:1", "resources": {"requests": {"cpu": "100m"}}}
    template = {"metadata": {"labels": {"app": "front"}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "front"}}, "template": template}
    api.apply({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "front", "namespace": "default"},
        "spec": spec,
    })  # fmt: skip
    deadline = time.monotonic() + 10
    while _ready(api) < replicas:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _allow(api: ClusterApi, disruption: dict[str, int]) -> None:
    """Let a budget cover these pods, and wait until the cluster has counted them."""
    budget = Reference(DISRUPTION_BUDGET, "front", "default")
    api.apply({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "front", "namespace": "default"},
        "spec": {**disruption, "selector": {"matchLabels": {"app": "front"}}},
    })  # fmt: skip
    deadline = time.monotonic() + 10
    while not ((api.get(budget) or {}).get("status") or {}).get("currentHealthy"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _pods(api: ClusterApi) -> list[str]:
    """Return the names of these pods that are not on their way out."""
    pods = api.list(POD, namespace="default")
    return [pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]


def _ready(api: ClusterApi) -> int:
    """Return how many of these pods are ready."""
    pods = api.list(POD, namespace="default")
    conditions = [each for pod in pods for each in (pod.get("status") or {}).get("conditions") or ()]
    return sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
