"""Volumes, services, nodes, budgets and autoscalers, and where pods are put."""

from __future__ import annotations

import asyncio
import time

import pytest

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.autoscaling import set_load
from simulators.kubernetes.controllers.services import LOAD_BALANCER_FINALIZER, SERVICE_NAME
from simulators.kubernetes.objects import Object, is_ready, labels_of, name_of
from simulators.kubernetes.provider import StandaloneProvider
from tests.simulators.kubernetes.clusters import NAMESPACE, STORAGE_CLASS, Playground, found_condition, template

ZONE = "topology.kubernetes.io/zone"


class SlowProvider(StandaloneProvider):
    """A cloud that makes and removes nothing before the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.works = False

    def ensure_load_balancer(self, cluster_id: str, service: Object) -> str | None:
        """Return the hostname once the cloud works."""
        return super().ensure_load_balancer(cluster_id, service) if self.works else None

    def delete_load_balancer(self, cluster_id: str, service: Object) -> bool:
        """Return whether the load balancer is gone."""
        return self.works and super().delete_load_balancer(cluster_id, service)

    def ensure_volume(self, cluster_id: str, claim: Object, storage_class: Object, zone: str) -> str | None:
        """Return the volume's id once the cloud works."""
        return super().ensure_volume(cluster_id, claim, storage_class, zone) if self.works else None


def zones_of(playground: Playground, pods: list[Object]) -> list[str]:
    """Return the zones in which these pods are, sorted."""
    nodes = {name_of(node): labels_of(node)[ZONE] for node in playground.store.list(kinds.NODES)}
    return sorted(nodes[pod["spec"]["nodeName"]] for pod in pods)


def spread(component: str) -> list[Object]:
    """Return the constraint that spreads pods of a component over zones."""
    labels = {"matchLabels": {"app": component}}
    return [{"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": labels}]


def test_volumes_are_made_in_the_zones_where_the_pods_run() -> None:
    """Each replica of a spread store is in another zone, and so is its volume."""
    playground = Playground()
    constraints = spread("store")

    playground.keep(podManagementPolicy="Parallel", template=template("store", topologySpreadConstraints=constraints))

    everywhere = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
    assert zones_of(playground, playground.pods("store")) == everywhere
    assert isinstance(playground.provider, StandaloneProvider)
    assert sorted(playground.provider.volumes.values()) == everywhere
    assert {claim["status"]["phase"] for claim in playground.store.list(kinds.PERSISTENT_VOLUME_CLAIMS)} == {"Bound"}


def test_spread_replicas_keep_to_their_zones_while_the_cloud_is_slow() -> None:
    """Replicas whose volumes take time do not all choose the zone that looks empty."""
    provider = SlowProvider()
    playground = Playground(provider=provider)
    constraints = spread("store")
    playground.keep(podManagementPolicy="Parallel", template=template("store", topologySpreadConstraints=constraints))
    waiting = [pod["spec"].get("nodeName") for pod in playground.pods("store")]

    provider.works = True
    playground.pass_time(1)

    assert waiting == [None, None, None]
    assert zones_of(playground, playground.pods("store")) == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]


def test_a_pod_returns_to_the_zone_of_its_volume() -> None:
    """With the zone's node gone the pod waits, and says that its volume keeps it from the other nodes."""
    playground = Playground()
    playground.keep(replicas=1)
    (pod,) = playground.pods("store")
    node = pod["spec"]["nodeName"]

    playground.cluster.remove_node(node)
    playground.settle()
    (waiting,) = playground.pods("store")
    playground.add_node("replacement", node[-1])
    playground.settle()

    assert "2 node(s) had volume node affinity conflict" in found_condition(waiting, "PodScheduled")["message"]
    assert [pod["spec"]["nodeName"] for pod in playground.pods("store")] == ["replacement"]


def test_deleting_a_claim_in_use_waits_for_its_pod_and_then_frees_the_volume() -> None:
    """The claim is protected while the pod is there; afterwards claim, volume and the cloud's disk are gone."""
    playground = Playground()
    playground.keep(replicas=1)
    claim = playground.get(kinds.PERSISTENT_VOLUME_CLAIMS, "data-store-0")

    playground.store.delete(kinds.PERSISTENT_VOLUME_CLAIMS, claim)
    playground.settle()
    protected = playground.store.get(kinds.PERSISTENT_VOLUME_CLAIMS, NAMESPACE, "data-store-0")
    playground.store.delete(kinds.STATEFUL_SETS, playground.get(kinds.STATEFUL_SETS, "store"))
    playground.settle()

    assert protected is not None
    assert playground.store.list(kinds.PERSISTENT_VOLUME_CLAIMS) == []
    assert playground.store.list(kinds.PERSISTENT_VOLUMES) == []
    assert isinstance(playground.provider, StandaloneProvider)
    assert playground.provider.volumes == {}


def test_a_retained_volume_stays_released() -> None:
    """Under the reclaim policy Retain the cloud's disk survives its claim."""
    playground = Playground()
    storage_class = playground.get(kinds.STORAGE_CLASSES, STORAGE_CLASS)
    playground.store.save(kinds.STORAGE_CLASSES, {**storage_class, "reclaimPolicy": "Retain"})
    playground.keep(replicas=1)

    playground.store.delete(kinds.STATEFUL_SETS, playground.get(kinds.STATEFUL_SETS, "store"))
    playground.store.delete(
        kinds.PERSISTENT_VOLUME_CLAIMS, playground.get(kinds.PERSISTENT_VOLUME_CLAIMS, "data-store-0")
    )
    playground.settle()

    (volume,) = playground.store.list(kinds.PERSISTENT_VOLUMES)
    assert volume["status"]["phase"] == "Released"
    assert isinstance(playground.provider, StandaloneProvider)
    assert len(playground.provider.volumes) == 1


def test_a_claim_that_asks_for_more_gets_a_larger_volume() -> None:
    """Claim and volume report the new capacity."""
    playground = Playground()
    playground.keep(replicas=1)

    playground.edit(kinds.PERSISTENT_VOLUME_CLAIMS, "data-store-0", resources={"requests": {"storage": "20Gi"}})
    playground.settle()

    claim = playground.get(kinds.PERSISTENT_VOLUME_CLAIMS, "data-store-0")
    assert claim["status"]["capacity"] == {"storage": "20Gi"}


def test_a_load_balancer_appears_once_the_cloud_has_made_it() -> None:
    """The Service has no hostname before, and the cloud is asked again until it has one."""
    provider = SlowProvider()
    playground = Playground(provider=provider)
    service = playground.expose("endpoint", "api")

    provider.works = True
    playground.pass_time(1)

    assert not service["status"].get("loadBalancer")
    ingress = playground.get(kinds.SERVICES, "endpoint")["status"]["loadBalancer"]["ingress"]
    assert ingress == [{"hostname": "endpoint-server-c1.elb.example.com"}]


def test_a_service_goes_only_after_its_load_balancer() -> None:
    """Deleting it waits, under Kubernetes' own finalizer, until the cloud says that the load balancer is gone."""
    provider = SlowProvider()
    provider.works = True
    playground = Playground(provider=provider)
    service = playground.expose("endpoint", "api")
    provider.works = False

    playground.store.delete(kinds.SERVICES, service)
    playground.settle()
    waiting = playground.get(kinds.SERVICES, "endpoint")
    provider.works = True
    playground.pass_time(1)

    assert waiting["metadata"]["finalizers"] == [LOAD_BALANCER_FINALIZER]
    assert playground.store.get(kinds.SERVICES, NAMESPACE, "endpoint") is None
    assert provider.load_balancers == {}


def test_endpoints_are_the_ready_pods() -> None:
    """A pod whose probe fails leaves the endpoints, and comes back."""
    playground = Playground()
    playground.deploy("api", replicas=2)
    playground.expose("endpoint", "api")
    victim = name_of(playground.pods("api")[0])

    fault = playground.fault(FaultKind.STUCK, "probe pod", victim)
    playground.settle()
    (subset,) = playground.get(kinds.ENDPOINTS, "endpoint")["subsets"]
    (degraded,) = playground.store.list(kinds.ENDPOINT_SLICES, NAMESPACE, f"{SERVICE_NAME}=endpoint")
    playground.world.faults.remove(fault.id)
    playground.settle()
    (healed,) = playground.store.list(kinds.ENDPOINT_SLICES, NAMESPACE, f"{SERVICE_NAME}=endpoint")

    assert [entry["targetRef"]["name"] for entry in subset["notReadyAddresses"]] == [victim]
    assert sorted(entry["conditions"]["ready"] for entry in degraded["endpoints"]) == [False, True]
    assert [entry["conditions"]["ready"] for entry in healed["endpoints"]] == [True, True]


def test_a_budget_counts_what_may_be_evicted() -> None:
    """One of three may go while all are ready, none while one is not."""
    playground = Playground()
    playground.deploy("api")
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "api"}}}
    full = playground.create(kinds.POD_DISRUPTION_BUDGETS, {"metadata": {"name": "api"}, "spec": spec})

    playground.fault(FaultKind.STUCK, "probe pod", name_of(playground.pods("api")[0]))
    playground.settle()

    degraded = playground.get(kinds.POD_DISRUPTION_BUDGETS, "api")
    assert (full["status"]["disruptionsAllowed"], full["status"]["expectedPods"]) == (1, 3)
    assert (degraded["status"]["disruptionsAllowed"], degraded["status"]["currentHealthy"]) == (0, 2)


def test_an_autoscaler_follows_its_load_between_its_limits() -> None:
    """Without load there are as few replicas as allowed, with much load as many, with some as many as it needs."""
    playground = Playground()
    playground.deploy("api", replicas=1)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    metrics = [{"type": "Resource", "resource": cpu}]
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 6, "metrics": metrics}
    playground.create(kinds.HORIZONTAL_POD_AUTOSCALERS, {"metadata": {"name": "api"}, "spec": spec})
    replicas = [playground.ready("api")]

    for percent in (150, 1000, 0):
        set_load(playground.cluster, NAMESPACE, "api", percent)
        playground.settle()
        replicas.append(playground.ready("api"))

    assert replicas == [2, 3, 6, 2]


def test_pods_of_a_removed_node_come_back_elsewhere() -> None:
    """A node that vanishes takes its pods along; their owner replaces them."""
    playground = Playground()
    playground.deploy("api")

    playground.cluster.remove_node("node-a")
    playground.settle()

    assert {pod["spec"]["nodeName"] for pod in playground.pods("api")} == {"node-b", "node-c"}
    assert playground.ready("api") == 3


def test_a_silent_node_is_tainted_and_loses_its_pods_after_a_while() -> None:
    """Its pods are unready at once and move after five minutes; with its heartbeat back the node takes pods again."""
    playground = Playground(speed=1000)
    playground.deploy("api")
    playground.pass_time(15)

    fault = playground.fault(FaultKind.STUCK, "node heartbeat", "node-a")
    playground.settle()
    at_once = playground.ready("api")
    node = playground.get(kinds.NODES, "node-a")
    playground.pass_time(450)
    later = {pod["spec"]["nodeName"] for pod in playground.pods("api")}
    playground.world.faults.remove(fault.id)
    playground.settle()

    assert at_once == 2
    assert {taint["key"] for taint in node["spec"]["taints"]} == {"node.kubernetes.io/unreachable"}
    assert found_condition(node, "Ready")["status"] == "Unknown"
    assert later == {"node-b", "node-c"}
    recovered = playground.get(kinds.NODES, "node-a")
    assert is_ready(recovered)
    assert not recovered["spec"].get("taints")


def test_a_cordoned_node_gets_no_pods() -> None:
    """Cordoning taints the node, uncordoning takes the taint away."""
    playground = Playground(zones="a")
    playground.edit(kinds.NODES, "node-a", unschedulable=True)
    playground.deploy("api", replicas=1)
    (waiting,) = playground.pods("api")
    tainted = playground.get(kinds.NODES, "node-a")["spec"]["taints"]

    playground.edit(kinds.NODES, "node-a", unschedulable=False)
    playground.settle()

    message = found_condition(waiting, "PodScheduled")["message"]
    assert message == "0/1 nodes are available: 1 node(s) were unschedulable."
    assert tainted == [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    assert playground.ready("api") == 1


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ({"nodeSelector": {"pool": "store"}}, "3 node(s) didn't match Pod's node affinity/selector"),
        ({"cpu": "64"}, "3 Insufficient cpu"),
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": ZONE, "operator": "NotIn", "values": ["eu-west-1a"]}]},
                            ]
                        }
                    }
                },
                "nodeSelector": {"kubernetes.io/hostname": "node-a"},
            },
            "3 node(s) didn't match Pod's node affinity/selector",
        ),
    ],
)
def test_a_pod_that_fits_nowhere_says_why(requirement: Object, message: str) -> None:
    """The condition and the event FailedScheduling count the nodes by reason."""
    playground = Playground()

    playground.deploy("api", replicas=1, template=template("api", **requirement))

    (pod,) = playground.pods("api")
    scheduled = found_condition(pod, "PodScheduled")
    assert (scheduled["reason"], scheduled["message"]) == ("Unschedulable", f"0/3 nodes are available: {message}.")
    events = [event for event in playground.store.list(kinds.EVENTS) if event["reason"] == "FailedScheduling"]
    assert [event["involvedObject"]["name"] for event in events] == [name_of(pod)]


def test_tolerations_and_anti_affinity_are_respected() -> None:
    """Pods that repel each other get a node each; only those that tolerate its taint are on the tainted node."""
    playground = Playground()
    playground.add_node("node-s", "a", taints=({"key": "pool", "value": "store", "effect": "NoSchedule"},))
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "store"}}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    tolerations = [{"key": "pool", "operator": "Equal", "value": "store", "effect": "NoSchedule"}]

    playground.deploy("store", replicas=5, template=template("store", affinity=apart, tolerations=tolerations))
    playground.deploy("api", replicas=4)

    nodes = [pod["spec"].get("nodeName") for pod in playground.pods("store")]
    assert sorted(node for node in nodes if node) == ["node-a", "node-b", "node-c", "node-s"]
    assert nodes.count(None) == 1
    assert "node-s" not in {pod["spec"]["nodeName"] for pod in playground.pods("api")}


def test_a_removed_namespace_takes_everything_with_it() -> None:
    """Pods, claims and the load balancer go, and then the namespace."""
    playground = Playground()
    playground.keep()
    playground.expose("endpoint", "store")

    playground.store.delete(kinds.NAMESPACES, playground.get(kinds.NAMESPACES, NAMESPACE))
    playground.settle()

    assert playground.store.get(kinds.NAMESPACES, None, NAMESPACE) is None
    assert playground.store.list(kinds.PERSISTENT_VOLUMES) == []
    assert isinstance(playground.provider, StandaloneProvider)
    assert playground.provider.load_balancers == {}


def test_controllers_rest_when_nothing_changes() -> None:
    """A cluster at rest is not changed any more, however often the controllers look at it."""
    playground = Playground()
    playground.keep()
    playground.deploy("api")
    version = playground.store.resource_version

    playground.pass_time(1.2)

    assert playground.store.resource_version == version


@pytest.mark.parametrize(
    ("kind", "phase", "reason"),
    [(FaultKind.CAPACITY, "Pending", "Unschedulable"), (FaultKind.STUCK, "Running", "ContainersNotReady")],
)
def test_a_fault_met_by_the_owners_creation_reaches_its_pods(kind: FaultKind, phase: str, reason: str) -> None:
    """Pods of an afflicted Deployment find no room or never get ready, until the rule is removed."""
    playground = Playground()
    fault = playground.fault(kind, "create deployments")
    playground.cluster.afflict(kinds.DEPLOYMENTS, NAMESPACE, "api", fault)
    playground.deploy("api", replicas=1)
    (afflicted,) = playground.pods("api")

    playground.world.faults.remove(fault.id)
    playground.settle()

    assert afflicted["status"]["phase"] == phase
    assert reason in {entry.get("reason") for entry in afflicted["status"]["conditions"]}
    assert playground.ready("api") == 1


def test_a_stuck_load_balancer_appears_when_the_fault_is_gone() -> None:
    """A Service that was made by a call which met the fault has no hostname before."""
    playground = Playground()
    fault = playground.fault(FaultKind.STUCK, "create services")
    playground.cluster.afflict(kinds.SERVICES, NAMESPACE, "endpoint", fault)
    before = playground.expose("endpoint", "api")["status"]["loadBalancer"]

    playground.world.faults.remove(fault.id)
    playground.settle()

    assert before == {}
    assert playground.get(kinds.SERVICES, "endpoint")["status"]["loadBalancer"]["ingress"]


async def test_idle_clusters_cost_next_to_nothing() -> None:
    """Twenty clusters at rest use less than a twentieth of a processor together."""
    playgrounds = [Playground() for _ in range(20)]
    for playground in playgrounds:
        playground.deploy("api")
    tasks = [asyncio.create_task(playground.loop.run()) for playground in playgrounds]
    await asyncio.sleep(0.2)

    begun = time.process_time()
    await asyncio.sleep(1.5)
    used = time.process_time() - begun
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert used < 1.5 / 20


async def test_a_loop_ends_that_is_cancelled_together_with_a_change() -> None:
    """Whoever waits for its end waits for nothing more, whatever happens at that moment."""
    playground = Playground()
    task = asyncio.create_task(playground.loop.run())
    await asyncio.sleep(0.2)

    playground.store.changed.set()
    task.cancel()

    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
