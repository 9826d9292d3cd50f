"""What upgrades lean on: paused rollouts, bad images, ends for lack of memory, pods behind the proxy, epochs."""

from __future__ import annotations

import pytest
from kubernetes import client

from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.applications import Request, answer
from simulators.kubernetes.applications.documents import documents
from simulators.kubernetes.applications.schema import Schema
from simulators.kubernetes.objects import Object
from simulators.kubernetes.simulator import NodeShape
from tests.simulators.kubernetes.clusters import NAMESPACE, image, template, waiting_reasons
from tests.simulators.kubernetes.clusters import Playground as Cluster
from tests.simulators.kubernetes.conftest import STRANGER_TOKEN, Playground
from tests.simulators.kubernetes.test_controllers_applications import run_job

SURGE = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
HELD = 7 * 24 * 3600


def images(cluster: Cluster) -> dict[str, int]:
    """Return how many pods of the API server run each digest."""
    found = [pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in cluster.pods("api")]
    return {digest: found.count(digest) for digest in sorted(set(found))}


def held(cluster: Cluster) -> None:
    """Roll the API server on to the first new pod, which does not count as available, and pause."""
    cluster.deploy("api", replicas=3, strategy=SURGE)
    new = template("api", digest="bb")
    cluster.edit(kinds.DEPLOYMENTS, "api", template=new, minReadySeconds=HELD, progressDeadlineSeconds=HELD + 1)
    cluster.settle()
    cluster.edit(kinds.DEPLOYMENTS, "api", paused=True)
    cluster.settle()


def test_a_held_rollout_stays_at_its_first_pod() -> None:
    """At any speed of the clock a week is a week; the old pods stay available."""
    cluster = Cluster()

    held(cluster)

    assert images(cluster) == {"aa": 3, "bb": 1}


def test_a_paused_deployment_scales_every_share() -> None:
    """The number of replicas is followed; nothing moves from one template to the other."""
    cluster = Cluster()
    held(cluster)

    cluster.edit(kinds.DEPLOYMENTS, "api", replicas=7)
    cluster.settle()

    assert images(cluster) == {"aa": 6, "bb": 2}


def test_a_new_template_waits_while_paused() -> None:
    """A template that comes during the pause is rolled out when the pause ends."""
    cluster = Cluster()
    cluster.deploy("api", replicas=3, strategy=SURGE, paused=False)
    cluster.edit(kinds.DEPLOYMENTS, "api", paused=True, template=template("api", digest="bb"))
    cluster.settle()
    during = images(cluster)

    cluster.edit(kinds.DEPLOYMENTS, "api", paused=False)
    cluster.settle()

    assert (during, images(cluster)) == ({"aa": 3}, {"bb": 3})


def test_a_held_rollout_goes_on_when_its_pods_count() -> None:
    """With the pause the long wait ends too, for pods that are there already."""
    cluster = Cluster()
    held(cluster)

    cluster.edit(kinds.DEPLOYMENTS, "api", paused=False, minReadySeconds=5)
    cluster.settle()

    assert images(cluster) == {"bb": 3}


def test_one_rule_describes_a_bad_image() -> None:
    """Only pods of that image crash, whatever they are called; the rule names nothing else."""
    cluster = Cluster()
    cluster.world.faults.add(Fault(kind=FaultKind.CRASH, resource=f"*/{image('api', 'bb')}"))
    cluster.deploy("api", replicas=2, strategy=SURGE)

    cluster.edit(kinds.DEPLOYMENTS, "api", template=template("api", digest="bb"))
    cluster.settle()

    assert images(cluster) == {"aa": 2, "bb": 1}
    assert cluster.ready("api") == 2
    assert waiting_reasons(cluster.pods("api")) == {"CrashLoopBackOff"}


def test_a_container_out_of_memory_is_killed_once_and_started_again() -> None:
    """The kernel's end of it: code 137 and the reason, and another process afterwards."""
    cluster = Cluster()
    cluster.deploy("api", replicas=1)

    cluster.world.faults.add(Fault(kind=FaultKind.CRASH, code="OOMKilled", operation="probe pod", resource="api"))
    cluster.settle()
    killed = cluster.pods("api")[0]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    cluster.pass_time(1)

    (pod,) = cluster.pods("api")
    assert (killed["exitCode"], killed["reason"]) == (137, "OOMKilled")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1
    assert cluster.ready("api") == 1


@pytest.mark.parametrize(("hook", "statuses"), [({}, {200, 502}), ({"preStop": {"sleep": {"seconds": 20}}}, {200})])
def test_load_balancers_notice_late_who_stops(hook: Object, statuses: set[int]) -> None:
    """For a moment they lead to a pod that was told to stop: clients notice unless it goes on serving."""
    cluster = Cluster(speed=50)
    pods = template("api")
    pods["spec"]["containers"][0]["lifecycle"] = hook
    cluster.deploy("api", replicas=2, template=pods)
    cluster.expose("endpoint", "api")
    cluster.pass_time(15)
    cluster.world.clock.set_speed(0.1)

    cluster.store.delete(kinds.PODS, cluster.pods("api")[0])

    request = Request("GET", "/version")
    assert {answer(cluster.cluster, NAMESPACE, "endpoint", request).status for _ in range(4)} == statuses


def speaking(epoch: int) -> Object:
    """Return the template of a store of that epoch."""
    pods = template("store")
    pods["spec"]["containers"][0]["env"].append({"name": "SCHEMA_EPOCH", "value": str(epoch)})
    return pods


def test_a_store_starts_only_on_a_schema_that_it_can_work_with() -> None:
    """The first one makes it; one of a newer epoch waits for the expansion, and says so when it ends."""
    cluster = Cluster()
    cluster.keep("store", replicas=1, template=speaking(4))
    made = documents(cluster.cluster).schema(NAMESPACE)

    cluster.edit(kinds.STATEFUL_SETS, "store", template=speaking(5))
    cluster.settle()
    ended = cluster.pods("store")[0]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    run_job(cluster, "expand", ["migrate", "expand", "--epoch", "5"])
    cluster.pass_time(2)

    assert made == Schema(active=4, expanded=4, oldest=4)
    assert ended["message"] == "this release needs schema epoch 5, the documents are expanded to 4"
    assert cluster.ready("store") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["migrate", "activate", "--epoch", "5"], "schema epoch 5 is not expanded, but 4 is"),
        (["migrate", "contract", "--epoch", "5"], "schema epoch 5 is not active, but 4 is"),
        (["migrate", "expand", "--epoch", "3"], "schema epoch 3 is behind 4, which is active"),
        (["migrate", "undo", "--epoch", "5"], "there is no phase 'undo'"),
        (["migrate", "expand"], "option --epoch is required"),
    ],
)
def test_a_migration_out_of_order_is_refused(arguments: list[str], message: str) -> None:
    """The program fails, says why, and leaves the schema as it is."""
    cluster = Cluster()
    documents(cluster.cluster).set_schema(NAMESPACE, Schema(active=4, expanded=4, oldest=4))

    _, ended = run_job(cluster, "migrate", arguments)

    assert ended["exitCode"] != 0
    assert ended["message"] == message
    assert documents(cluster.cluster).schema(NAMESPACE) == Schema(active=4, expanded=4, oldest=4)


def serving(living: Playground) -> str:
    """Run one API server in the namespace `default` and return its pod's name."""
    pods = template("api")
    content = {"replicas": 1, "selector": {"matchLabels": {"app": "api"}}, "template": pods}
    living.on_loop(
        lambda: living.cluster.store.create(
            kinds.DEPLOYMENTS, {"metadata": {"name": "api"}, "spec": content}, "default"
        )
    )
    add_node(living)
    api = client.CoreV1Api(living.client())
    for _ in range(200):
        found = api.list_namespaced_pod("default").items
        if found and any(
            entry.type == "Ready" and entry.status == "True" for entry in found[0].status.conditions or ()
        ):
            return str(found[0].metadata.name)
    raise AssertionError("the pod is never ready")


def add_node(living: Playground) -> None:
    """Let a machine join."""
    shape = NodeShape("n", "eu-west-1a", "eu-west-1", "m5.xlarge", "services", 4, 16 * 2**30, "1.34")
    living.on_loop(lambda: living.cluster.add_node(shape))


def test_metrics_are_read_through_the_api(living: Playground) -> None:
    """The official client gets them by the port's number, as text; strangers get nothing."""
    name = serving(living)
    api = client.CoreV1Api(living.client())

    text = api.connect_get_namespaced_pod_proxy_with_path(f"{name}:9090", "default", "metrics")
    with pytest.raises(client.exceptions.ApiException) as named:
        api.connect_get_namespaced_pod_proxy_with_path(f"{name}:metrics", "default", "metrics")
    with pytest.raises(client.exceptions.ApiException) as refused:
        client.CoreV1Api(living.client(STRANGER_TOKEN)).connect_get_namespaced_pod_proxy_with_path(
            f"{name}:9090", "default", "metrics"
        )

    assert 'requests_total{component="api",release="1.0.0"} 0' in text
    assert named.value.status == 503
    assert refused.value.status == 403
    assert "pods/proxy" in refused.value.body
    assert [call.operation for call in living.world.journal.calls(operation="get pods/proxy")] == ["get pods/proxy"] * 3


def test_webhook_configurations_are_known(living: Playground) -> None:
    """They are kept and listed; nobody calls what they name."""
    admission = client.AdmissionregistrationV1Api(living.client())
    reference = client.AdmissionregistrationV1WebhookClientConfig(url="https://hooks.example")
    webhook = client.V1ValidatingWebhook(
        name="a.example.com",
        client_config=reference,
        side_effects="None",
        admission_review_versions=["v1"],
    )
    body = client.V1ValidatingWebhookConfiguration(metadata=client.V1ObjectMeta(name="theirs"), webhooks=[webhook])

    admission.create_validating_webhook_configuration(body)

    assert [item.metadata.name for item in admission.list_validating_webhook_configuration().items] == ["theirs"]
