"""Upgrading GKE: what is looked at before, the control plane, the first machine, and the pools one by one."""

from __future__ import annotations

import base64
import ssl
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from google.cloud import container_v1

from activities.gcp.gke import cluster_name, pool_path
from activities.kubernetes.manifests.identity import POOL_LABEL
from activities.upgrade_contracts import ControlPlaneUpgrade, NodePoolUpgrade, UpgradeCheckRequest
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.naming import base_name, owner_labels
from domain.shape import PoolName
from simulators.faults import Fault, FaultKind
from simulators.gcp.documents import Quota
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.ground import ZONES, Ground

NEXT, AFTER_NEXT = "1.35", "1.36"
CANARY = "canary-store"


def gke(account: Account) -> Any:
    """Return the customer's client of GKE."""
    return account.customer(container_v1.ClusterManagerClient)


def described(account: Account) -> container_v1.Cluster:
    """Return the cluster as the customer sees it."""
    return gke(account).get_cluster(name=cluster_name(account.site))


def further(ground: Ground, cluster: Cluster, version: str = NEXT) -> ControlPlaneUpgrade:
    """Return the order for the control plane."""
    return ControlPlaneUpgrade(**dict(ground.in_cluster(cluster)), kubernetes=version)


def upgrade(ground: Ground, cluster: Cluster, version: str = NEXT) -> NodePoolUpgrade:
    """Return the order for the store's pool."""
    return NodePoolUpgrade(**dict(ground.pool_request(cluster, minimum=2, maximum=2)), kubernetes=version)


def question(ground: Ground, cluster: Cluster, *, replaces_nodes: bool = True) -> UpgradeCheckRequest:
    """Return what is asked before an upgrade."""
    return UpgradeCheckRequest(
        **dict(ground.in_cluster(cluster)),
        kubernetes=NEXT,
        replaces_nodes=replaces_nodes,
        placement=ground.pool_request(cluster).placement,
        network=ground.network,
    )


@pytest.fixture
def upgraded(account: Account, ground: Ground, cluster: Cluster) -> Cluster:
    """A cluster whose control plane is a version ahead of its pool of two machines."""
    account.run("create_node_pool", ground.pool_request(cluster, minimum=2, maximum=2))
    made: Cluster = account.run("upgrade_control_plane", further(ground, cluster))
    return made


class InCluster:
    """The cluster's API, as the project's owner uses it."""

    def __init__(self, account: Account) -> None:
        found = described(account)
        self._url = f"https://{found.endpoint}"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer owner:{account.project}"
        authority = base64.b64decode(found.master_auth.cluster_ca_certificate).decode()
        context = ssl.create_default_context(cadata=authority)
        self._session.mount("https://", _Trusting(context))

    def versions(self) -> Counter[str]:
        """Return how many nodes have which version, minor alone."""
        nodes = self.get("/api/v1/nodes")["items"]
        return Counter(each["status"]["nodeInfo"]["kubeletVersion"][1:5] for each in nodes)

    def get(self, path: str) -> Any:
        """Return what is there."""
        answer = self._session.get(self._url + path, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Make something."""
        self._session.post(self._url + path, json=body, timeout=10).raise_for_status()

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Change something."""
        headers = {"Content-Type": "application/merge-patch+json"}
        self._session.patch(self._url + path, json=body, headers=headers, timeout=10).raise_for_status()

    def run_guarded(self, name: str, least: int) -> None:
        """Run two pods, of which a budget keeps as many, and wait until they are ready."""
        labels = {"app": name}
        tolerations = [{"key": POOL_LABEL, "operator": "Exists"}]
        pod = {"tolerations": tolerations, "containers": [{"name": name, "image": "example.com/guarded:1"}]}
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        self.post("/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": name}, "spec": spec})
        budget = {"minAvailable": least, "selector": {"matchLabels": labels}}
        path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
        self.post(path, {"metadata": {"name": name}, "spec": budget})
        self.wait(f"{path}/{name}", lambda found: found.get("status", {}).get("currentHealthy") == 2)

    def wait(self, path: str, holds: Any) -> None:
        """Wait until something holds of an object, at most ten seconds."""
        for _ in range(500):
            if holds(self.get(path)):
                return
            time.sleep(0.02)
        raise AssertionError(f"{path} does not come to hold")


class _Trusting(requests.adapters.HTTPAdapter):
    """Trusts one authority alone."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)


def test_the_checks_tell_what_they_saw(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Each by its name, with numbers; the certificate has not been ordered here."""
    account.run("create_node_pool", ground.pool_request(cluster, minimum=2, maximum=2))
    before = account.control.position()

    checks = {each.name: each for each in account.run("check_upgrade", question(ground, cluster))}

    assert {name: each.passed for name, each in checks.items()} == {
        "provider-insights": True,
        "surge-quota": True,
        "free-addresses": True,
        "certificate": False,
        "cluster-settled": True,
    }
    assert "offers 1.35.2-gke.1300000" in checks["provider-insights"].evidence
    assert "N2_CPUS: 4 of 200 in use, 2 more needed" in checks["surge-quota"].evidence
    assert "there is no certificate" in checks["certificate"].evidence
    assert account.changes(before) == []


def test_the_checks_find_what_stands_in_the_way(account: Account, ground: Ground, cluster: Cluster) -> None:
    """A provider that has stopped its own upgrades, an exhausted quota and a change under way are findings."""
    account.run("create_node_pool", ground.pool_request(cluster, minimum=2, maximum=2))
    account.control.project(account.project).set_quota(Quota(metric="N2_CPUS", limit=5, region=REGION))
    account.inject(FaultKind.CRASH, "FetchClusterUpgradeInfo")
    account.control.inject(stuck(account, "SetLabels"))
    found = described(account)
    labels = {**found.resource_labels, "theirs": "yes"}
    gke(account).set_labels(
        request={
            "name": cluster_name(account.site),
            "resource_labels": labels,
            "label_fingerprint": found.label_fingerprint,
        }
    )

    checks = {each.name: each for each in account.run("check_upgrade", question(ground, cluster))}

    assert {name for name, each in checks.items() if each.passed} == {"free-addresses"}
    assert "SYSTEM_CONFIG" in checks["provider-insights"].evidence
    assert checks["surge-quota"].evidence == "N2_CPUS: 4 of 5 in use, 2 more needed"
    assert checks["cluster-settled"].evidence == f"{base_name(account.site)} is RECONCILING"


def test_the_control_plane_moves_one_version_on(account: Account, ground: Ground, cluster: Cluster) -> None:
    """To GKE's newest patch; what was ordered before then moves nothing back, and nothing is skipped."""
    account.run("create_node_pool", ground.pool_request(cluster))

    done = account.run("upgrade_control_plane", further(ground, cluster))
    before = account.control.position()
    again = account.run("upgrade_control_plane", further(ground, cluster))
    converged = account.run("create_cluster", ground.cluster_request())
    account.run("create_node_pool", ground.pool_request(cluster))
    for name in ("network", "dns", "storage", "metrics", "proxy"):
        account.run("upgrade_add_on", ground.add_on(cluster, name))

    assert (done.version, again, converged) == (NEXT, done, done)
    assert described(account).current_master_version == "1.35.2-gke.1300000"
    assert described(account).node_pools[0].version.startswith("1.34")
    assert account.changes(before) == []
    failure = account.failure("upgrade_control_plane", further(ground, cluster, "1.37"))
    assert (failure.failure, "skip" in failure.message) == (FailureClass.CONFIG, True)


def test_a_control_plane_that_gke_could_not_upgrade_is_upgraded_again(
    account: Account, ground: Ground, cluster: Cluster
) -> None:
    """Its failure is told once."""
    account.inject(FaultKind.CRASH, "UpdateCluster", times=1)

    failure = account.failure("upgrade_control_plane", further(ground, cluster))
    done = account.run("upgrade_control_plane", further(ground, cluster))

    assert "the cluster API is reporting errors" in failure.message
    assert (done.version, described(account).status.name) == (NEXT, "RUNNING")


def test_the_first_machine_of_a_version_is_alone(account: Account, ground: Ground, upgraded: Cluster) -> None:
    """One machine with a mark and a taint of its own; taken away without the others, and again without effect."""
    made = account.run("create_canary_node", upgrade(ground, upgraded))
    found = {pool.name: pool for pool in described(account).node_pools}

    account.run("delete_canary_nodes", account.site)
    before = account.control.position()
    account.run("delete_canary_nodes", account.site)

    canary = found[CANARY]
    assert (made.name, made.pool, made.instance_type) == (CANARY, PoolName.STORE, ground.machine)
    assert (canary.version, list(canary.locations), canary.initial_node_count) == (
        "1.35.2-gke.1300000",
        [ZONES[0]],
        1,
    )
    assert dict(canary.config.labels) == {POOL_LABEL: CANARY}
    assert [(each.key, each.value, each.effect.name) for each in canary.config.taints] == [
        (POOL_LABEL, CANARY, "NO_SCHEDULE")
    ]
    assert not canary.autoscaling.enabled
    assert dict(canary.config.resource_labels) == owner_labels(account.site, f"pool-{CANARY}")
    assert [pool.name for pool in described(account).node_pools] == ["store"]
    assert account.changes(before) == []


def test_a_first_machine_of_an_earlier_upgrade_is_made_again(
    account: Account, ground: Ground, upgraded: Cluster
) -> None:
    """It would prove nothing of the new version; and whatever is left of it goes with the other pools."""
    account.run("create_canary_node", upgrade(ground, upgraded))
    account.run("upgrade_control_plane", further(ground, upgraded, AFTER_NEXT))

    account.run("create_canary_node", upgrade(ground, upgraded, AFTER_NEXT))

    found = {pool.name: pool.version[:4] for pool in described(account).node_pools}
    account.run("delete_node_pools", account.site)
    assert found == {"store": "1.34", CANARY: AFTER_NEXT}
    assert list(described(account).node_pools) == []


def test_machines_are_replaced_and_budgets_honoured(account: Account, ground: Ground, upgraded: Cluster) -> None:
    """Guarded pods are there all the while; surge settings that somebody changed are put back before."""
    inside = InCluster(account)
    inside.run_guarded("guarded", 1)
    pool = pool_path(account.site, "store")
    gke(account).update_node_pool(request={"name": pool, "upgrade_settings": {"max_surge": 0, "max_unavailable": 2}})

    made = account.run("upgrade_node_pool", upgrade(ground, upgraded))
    before = account.control.position()
    account.run("upgrade_node_pool", upgrade(ground, upgraded))
    account.run("create_node_pool", ground.pool_request(upgraded, minimum=2, maximum=2))

    found = described(account).node_pools[0]
    assert (made.name, found.version, found.status.name) == ("store", "1.35.2-gke.1300000", "RUNNING")
    assert (found.upgrade_settings.max_surge, found.upgrade_settings.max_unavailable) == (1, 0)
    assert inside.versions() == {NEXT: 2}
    inside.wait("/apis/apps/v1/namespaces/default/deployments/guarded", ready(2))
    assert account.changes(before) == []


def test_a_pod_that_may_never_be_evicted_stops_it_before_anything_is_touched(
    account: Account, ground: Ground, upgraded: Cluster
) -> None:
    """Pod and budget are named; with the budget put right the upgrade goes through."""
    inside = InCluster(account)
    inside.run_guarded("guarded", 2)
    before = account.control.position()

    failure = account.failure("upgrade_node_pool", upgrade(ground, upgraded))
    changes = account.changes(before)
    budget = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/guarded"
    inside.patch(budget, {"spec": {"minAvailable": 1}})
    inside.wait(budget, lambda found: found["status"]["disruptionsAllowed"] == 1)
    account.run("upgrade_node_pool", upgrade(ground, upgraded))

    assert failure.failure is FailureClass.CONFIG
    assert failure.resource.startswith("default/guarded-")
    assert "the budget default/guarded lets nobody evict the pod default/guarded-" in failure.message
    assert changes == []
    assert inside.versions() == {NEXT: 2}


def test_a_pod_that_stops_a_drain_under_way_is_named(account: Account, ground: Ground, upgraded: Cluster) -> None:
    """It stays, and so does its machine, until somebody has put the budget right."""
    inside = InCluster(account)
    fault = account.inject(FaultKind.STUCK, "UpdateNodePool")
    assert account.attempt_once("upgrade_node_pool", upgrade(ground, upgraded)) is not None
    inside.run_guarded("late", 2)
    account.control.remove_fault(fault.id)

    failure = account.failure("upgrade_node_pool", upgrade(ground, upgraded))
    ready_meanwhile = inside.get("/apis/apps/v1/namespaces/default/deployments/late")["status"]["readyReplicas"]
    inside.patch("/apis/policy/v1/namespaces/default/poddisruptionbudgets/late", {"spec": {"minAvailable": 1}})
    account.run_through("upgrade_node_pool", upgrade(ground, upgraded))

    assert failure.failure is FailureClass.CONFIG
    assert "default/late" in failure.message
    assert ready_meanwhile == 2
    assert inside.versions() == {NEXT: 2}


def test_an_upgrade_without_machines_is_gone_on_with(account: Account, ground: Ground, upgraded: Cluster) -> None:
    """What stopped it is told by its class; and nodes are never ahead of the control plane."""
    account.inject(FaultKind.CAPACITY, "UpdateNodePool", times=1)

    failure = account.failure("upgrade_node_pool", upgrade(ground, upgraded))
    account.run("upgrade_node_pool", upgrade(ground, upgraded))
    ahead = account.failure("upgrade_node_pool", upgrade(ground, upgraded, AFTER_NEXT))

    assert failure.failure is FailureClass.CAPACITY
    assert described(account).node_pools[0].status.name == "RUNNING"
    assert InCluster(account).versions() == {NEXT: 2}
    assert (ahead.failure, "ahead" in ahead.message) == (FailureClass.CONFIG, True)


def ready(count: int) -> Any:
    """Return whether so many replicas are ready."""
    return lambda found: found.get("status", {}).get("readyReplicas") == count


def stuck(account: Account, operation: str) -> Any:
    """Return a fault of the customer's own calls, which do not end."""
    return Fault(kind=FaultKind.STUCK, operation=operation, account=account.project)
