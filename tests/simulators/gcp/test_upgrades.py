"""How simulated GKE upgrades: drains with budgets, maintenance policies, and what it tells of both."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import is_ready, name_of
from tests.simulators.gcp.customers import CLUSTER, Customer, refused
from tests.simulators.serving import on_loop

POOL = f"{CLUSTER}/nodePools/system"


def pool_of(account: Customer) -> Any:
    """Return the pool as GKE describes it."""
    return account.containers.get_node_pool(name=POOL)


def versions(account: Customer) -> Counter[str]:
    """Return how many nodes have which minor version, and are cordoned (`1.34 cordoned`)."""
    (cluster,) = account.kubernetes.clusters()
    return Counter(
        node["status"]["nodeInfo"]["kubeletVersion"][1:5] + (" cordoned" if node["spec"].get("unschedulable") else "")
        for node in cluster.store.list(kinds.NODES)
    )


def put_guarded_pod(account: Customer, least: int) -> None:
    """Put a pod on the first node, with a budget that keeps as many of its kind, and wait until it is ready."""
    (cluster,) = account.kubernetes.clusters()
    node = min(map(name_of, cluster.store.list(kinds.NODES)))
    labels = {"app": "guarded"}
    container = {"name": "main", "image": "example.com/guarded:1"}
    on_loop(
        cluster.store.create,
        kinds.PODS,
        {
            "metadata": {"name": "guarded", "namespace": "default", "labels": labels},
            "spec": {"nodeName": node, "containers": [container]},
        },
    )
    until_ready(account)
    budget = {"minAvailable": least, "selector": {"matchLabels": labels}}
    metadata = {"name": "guarded", "namespace": "default"}
    on_loop(cluster.store.create, kinds.POD_DISRUPTION_BUDGETS, {"metadata": metadata, "spec": budget})


def until_ready(account: Customer) -> None:
    """Let time pass until the pod is ready."""
    (cluster,) = account.kubernetes.clusters()
    for _ in range(500):
        pod = cluster.store.get(kinds.PODS, "default", "guarded")
        if pod is not None and is_ready(pod):
            return
        account.pass_time(10)
        time.sleep(0.01)
    raise AssertionError("the pod does not become ready")


def start_upgrade(account: Customer) -> Any:
    """Upgrade the control plane, and begin to upgrade the pool."""
    account.containers.update_master(name=CLUSTER, master_version="1.35")
    account.pass_time(2000)
    return account.containers.update_node_pool(
        request={"name": POOL, "node_version": "-", "image_type": "COS_CONTAINERD"}
    )


def look_for(account: Customer, seconds: int) -> None:
    """Let time pass in steps, as for somebody who looks every three minutes."""
    for _ in range(seconds // 160):
        account.pass_time(160)
        pool_of(account)


def policy(window: dict[str, Any], **exclusions: dict[str, Any]) -> dict[str, Any]:
    """Return a request for a maintenance policy."""
    return {"name": CLUSTER, "maintenance_policy": {"window": {**window, "maintenance_exclusions": exclusions}}}


def span(days: float, lasting: float, scope: str = "NO_UPGRADES") -> dict[str, Any]:
    """Return an exclusion that begins in some days."""
    start = datetime.now(UTC) + timedelta(days=days)
    options = {"scope": scope}
    return {
        "start_time": start,
        "end_time": start + timedelta(days=lasting),
        "maintenance_exclusion_options": options,
    }


def recurring(rule: str, hours: float) -> dict[str, Any]:
    """Return a recurring window."""
    start = datetime(2026, 1, 3, 2, tzinfo=UTC)
    window = {"start_time": start, "end_time": start + timedelta(hours=hours)}
    return {"recurring_window": {"window": window, "recurrence": rule}}


class TestSurge:
    """Upgrades of node pools."""

    def test_replaces_machines_in_turn(self, slow_account: Customer) -> None:
        """One more than usual at a time, each in the zone of the one that it replaces."""
        slow_account.make_cluster()
        start_upgrade(slow_account)

        seen = []
        for _ in range(4):
            slow_account.pass_time(160)
            seen.append((pool_of(slow_account).status.name, dict(versions(slow_account))))

        assert seen == [
            ("RECONCILING", {"1.34": 2, "1.35": 1}),
            ("RECONCILING", {"1.34": 1, "1.35": 2}),
            ("RUNNING", {"1.35": 3}),
            ("RUNNING", {"1.35": 3}),
        ]

    def test_waits_an_hour_for_a_budget(self, slow_account: Customer) -> None:
        """The machine is cordoned and its pod stays; then it goes all the same."""
        slow_account.make_cluster()
        put_guarded_pod(slow_account, 1)
        start_upgrade(slow_account)

        look_for(slow_account, 3200)
        waiting = versions(slow_account)
        look_for(slow_account, 1600)

        assert waiting["1.34 cordoned"] == 1
        assert pool_of(slow_account).status.name == "RUNNING"
        assert versions(slow_account) == {"1.35": 3}

    def test_goes_on_after_a_failure(self, slow_account: Customer) -> None:
        """A zone without machines ends it with an error; begun again, it comes to its end."""
        slow_account.make_cluster()
        slow_account.inject(kind=FaultKind.CAPACITY, operation="UpdateNodePool", times=1)
        start_upgrade(slow_account)
        look_for(slow_account, 960)
        failed = pool_of(slow_account)

        slow_account.containers.update_node_pool(
            request={"name": POOL, "node_version": "-", "image_type": "COS_CONTAINERD"}
        )
        look_for(slow_account, 960)

        assert (failed.status.name, failed.conditions[0].code.name) == ("RUNNING_WITH_ERROR", "GCE_STOCKOUT")
        assert failed.version.startswith("1.34")
        assert pool_of(slow_account).status.name == "RUNNING"
        assert not pool_of(slow_account).conditions


def test_every_cluster_is_in_a_release_channel(account: Customer) -> None:
    """And its nodes have automatic upgrades, which exclusions alone hold up."""
    account.make_cluster()
    pool = {**account.pool("store"), "management": {"auto_repair": True}}

    with refused(InvalidArgument, "must be enrolled in a release channel"):
        account.containers.update_cluster(
            request={"name": CLUSTER, "update": {"desired_release_channel": {"channel": "UNSPECIFIED"}}}
        )
    with refused(InvalidArgument, "Auto_upgrade cannot be false when release_channel REGULAR is set"):
        account.containers.create_node_pool(parent=CLUSTER, node_pool=pool)


def test_nodes_are_at_most_two_versions_behind(account: Customer) -> None:
    """Before the control plane moves on they have to follow."""
    account.make_cluster(initial_cluster_version="1.33")
    for version in ("1.34", "1.35"):
        account.containers.update_master(name=CLUSTER, master_version=version)

    with refused(InvalidArgument, 'node pool "system" would be more than 2 minor versions behind'):
        account.containers.update_master(name=CLUSTER, master_version="1.36")


class TestMaintenance:
    """What GKE takes as a maintenance policy."""

    def test_is_kept_as_it_was_set(self, account: Customer) -> None:
        """A recurring window beside exclusions."""
        account.make_cluster()

        account.containers.set_maintenance_policy(
            request=policy(recurring("FREQ=WEEKLY;BYDAY=SA,SU", 8), fair=span(10, 5))
        )

        found = account.containers.get_cluster(name=CLUSTER).maintenance_policy.window
        assert found.recurring_window.recurrence == "FREQ=WEEKLY;BYDAY=SA,SU"
        assert list(found.maintenance_exclusions) == ["fair"]

    def test_can_exclude_until_support_ends(self, account: Customer) -> None:
        """GKE knows when that is, and takes it for anything but all upgrades."""
        account.make_cluster()
        lasting = {"scope": "NO_MINOR_OR_NODE_UPGRADES", "end_time_behavior": "UNTIL_END_OF_SUPPORT"}

        with refused(InvalidArgument, "cannot last until the end of support"):
            account.containers.set_maintenance_policy(
                request=policy({}, ours={"maintenance_exclusion_options": {**lasting, "scope": "NO_UPGRADES"}})
            )
        account.containers.set_maintenance_policy(request=policy({}, ours={"maintenance_exclusion_options": lasting}))

        found = account.containers.get_cluster(name=CLUSTER).maintenance_policy.window.maintenance_exclusions["ours"]
        assert found.end_time > found.start_time

    def test_has_limits(self, account: Customer) -> None:
        """At least 48 hours in 32 days, exclusions of at most 30 days, and three of them.

        What is refused changes nothing.
        """
        account.make_cluster()
        refusals: list[tuple[dict[str, Any], str]] = [
            (policy(recurring("FREQ=WEEKLY;BYDAY=SA,SU", 4)), "without 48h maintenance availability"),
            (policy(recurring("FREQ=DAILY", 3)), "without 48h maintenance availability"),
            (policy(recurring("FREQ=DAILY", 4), fair=span(5, 25)), "without 48h maintenance availability"),
            (policy(recurring("FREQ=HOURLY", 4)), "frequencies"),
            (policy(recurring("FREQ=DAILY", -4)), "must be after its start_time"),
            (policy({}, fair=span(5, 31)), "longer than 30 days"),
            (policy({}, **{f"fair-{n}": span(40 * n, 1) for n in range(4)}), "at most 3"),
        ]

        for request, words in refusals:
            with refused(InvalidArgument, words):
                account.containers.set_maintenance_policy(request=request)

        assert not account.containers.get_cluster(name=CLUSTER).maintenance_policy.window

    @pytest.mark.parametrize("paused", [False, True])
    def test_shows_in_what_gke_tells_of_its_own_upgrades(self, account: Customer, *, paused: bool) -> None:
        """During an exclusion they are paused; and on request by GKE itself."""
        account.make_cluster()
        account.containers.set_maintenance_policy(request=policy({}, fair=span(-1, 5)))
        if paused:
            account.inject(kind=FaultKind.CRASH, operation="FetchClusterUpgradeInfo")

        found = account.containers.fetch_cluster_upgrade_info(name=CLUSTER)

        assert found.minor_target_version == "1.35.2-gke.1300000"
        assert found.end_of_standard_support_timestamp
        assert [each.name for each in found.paused_reason] == [
            "MAINTENANCE_EXCLUSION_NO_UPGRADES",
            *(["SYSTEM_CONFIG"] if paused else []),
        ]
