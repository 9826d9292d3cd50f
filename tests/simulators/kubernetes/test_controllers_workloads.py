"""Workload controllers: rollouts go on, stop and turn back as those of a real cluster do."""

from __future__ import annotations

import time

import pytest

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.deployments import revision_of
from simulators.kubernetes.controllers.timing import Durations
from simulators.kubernetes.objects import is_ready, labels_of, name_of
from tests.simulators.kubernetes.clusters import Playground, claim_template, found_condition, image, template


def test_a_deployment_reports_itself_complete() -> None:
    """All numbers that `kubectl rollout status` compares agree once the pods are ready."""
    deployment = Playground().deploy("api")

    status = deployment["status"]
    counts = [status[key] for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    assert counts == [3, 3, 3, 3]
    assert status["observedGeneration"] == deployment["metadata"]["generation"]
    assert found_condition(deployment, "Progressing")["reason"] == "NewReplicaSetAvailable"


@pytest.mark.parametrize("rolling", [{"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 0, "maxUnavailable": 1}])
def test_a_rolling_update_stays_within_its_bounds(rolling: dict[str, int]) -> None:
    """At no moment are there more pods or fewer ready ones than the strategy allows, and all are replaced."""
    playground = Playground(speed=2000)
    playground.deploy("api", strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    playground.pass_time(15)
    seen = set()

    playground.edit(kinds.DEPLOYMENTS, "api", template=template("api", digest="bb"))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        playground.pass_time(1)
        seen.add((len(playground.pods("api")), playground.ready("api")))
        progressing = found_condition(playground.get(kinds.DEPLOYMENTS, "api"), "Progressing")
        if progressing["reason"] == "NewReplicaSetAvailable":
            break

    assert {pod["spec"]["containers"][0]["image"] for pod in playground.pods("api")} == {image("api", "bb")}
    assert max(pods for pods, _ in seen) <= 3 + rolling["maxSurge"]
    assert min(ready for _, ready in seen) >= 3 - rolling["maxUnavailable"]


def test_a_broken_image_leaves_the_old_pods_serving_and_misses_the_deadline() -> None:
    """The rollout stops at its first pod and says ProgressDeadlineExceeded."""
    durations = Durations(least_deadline=0.3)
    playground = Playground(speed=1e6, durations=durations)
    playground.deploy("api", progressDeadlineSeconds=60, strategy={"rollingUpdate": {"maxUnavailable": 0}})
    playground.pass_time(100)

    broken = template("api")
    broken["spec"]["containers"][0]["image"] = "registry.byoc.example/server/api-broken@sha256:cc"
    playground.edit(kinds.DEPLOYMENTS, "api", template=broken)
    playground.settle()
    progressing = found_condition(playground.get(kinds.DEPLOYMENTS, "api"), "Progressing")
    playground.pass_time(1e6 * (durations.least_deadline + 0.1))

    assert progressing["status"] == "True"
    assert playground.ready("api") == 3
    missed = found_condition(playground.get(kinds.DEPLOYMENTS, "api"), "Progressing")
    assert (missed["status"], missed["reason"]) == ("False", "ProgressDeadlineExceeded")


def test_going_back_to_an_earlier_template_revives_its_replica_set() -> None:
    """The old ReplicaSet gets the newest revision number instead of a copy being made."""
    playground = Playground()
    playground.deploy("api")
    playground.edit(kinds.DEPLOYMENTS, "api", template=template("api", digest="bb"))
    playground.settle()

    playground.edit(kinds.DEPLOYMENTS, "api", template=template("api"))
    playground.settle()

    sets = {revision_of(entry): entry for entry in playground.store.list(kinds.REPLICA_SETS)}
    assert sorted(sets) == [2, 3]
    assert sets[3]["spec"]["template"]["spec"]["containers"][0]["image"] == image("api")
    assert revision_of(playground.get(kinds.DEPLOYMENTS, "api")) == 3


def test_a_paused_deployment_changes_no_pod() -> None:
    """A new template waits until the Deployment is resumed."""
    playground = Playground()
    playground.deploy("api")

    playground.edit(kinds.DEPLOYMENTS, "api", paused=True, template=template("api", digest="bb"))
    playground.settle()
    paused = {pod["spec"]["containers"][0]["image"] for pod in playground.pods("api")}
    playground.edit(kinds.DEPLOYMENTS, "api", paused=False)
    playground.settle()

    assert paused == {image("api")}
    assert {pod["spec"]["containers"][0]["image"] for pod in playground.pods("api")} == {image("api", "bb")}


def test_recreate_removes_every_old_pod_first() -> None:
    """With the strategy Recreate old and new pods never run together."""
    playground = Playground(speed=1000)
    playground.deploy("api", strategy={"type": "Recreate"})
    playground.pass_time(15)

    playground.edit(kinds.DEPLOYMENTS, "api", template=template("api", digest="bb"))
    mixtures = set()
    for _ in range(40):
        playground.pass_time(1)
        mixtures.add(frozenset(pod["spec"]["containers"][0]["image"] for pod in playground.store.list(kinds.PODS)))

    assert frozenset({image("api"), image("api", "bb")}) not in mixtures
    assert playground.ready("api") == 3


def test_ordered_replicas_start_one_after_another() -> None:
    """The second replica of a StatefulSet is made when the first is ready."""
    playground = Playground(speed=100)

    playground.keep()
    first = [name_of(pod) for pod in playground.pods("store")]
    playground.pass_time(60)

    assert first == ["store-0"]
    assert [name_of(pod) for pod in playground.pods("store")] == ["store-0", "store-1", "store-2"]
    assert playground.ready("store") == 3


def test_a_partition_holds_back_the_lower_ordinals() -> None:
    """Only the canary gets the new template; the status still names both revisions, until the partition falls."""
    playground = Playground()
    playground.keep()

    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    playground.edit(kinds.STATEFUL_SETS, "store", template=template("store", digest="bb"), updateStrategy=rolling)
    playground.settle()
    canary = playground.get(kinds.STATEFUL_SETS, "store")["status"]
    images = [pod["spec"]["containers"][0]["image"] for pod in playground.pods("store")]
    playground.edit(kinds.STATEFUL_SETS, "store", updateStrategy={"type": "RollingUpdate"})
    playground.settle()

    assert images == [image("store"), image("store"), image("store", "bb")]
    assert (canary["updatedReplicas"], canary["currentReplicas"]) == (1, 2)
    assert canary["currentRevision"] != canary["updateRevision"]
    finished = playground.get(kinds.STATEFUL_SETS, "store")["status"]
    assert finished["currentRevision"] == finished["updateRevision"] == canary["updateRevision"]
    assert finished["updatedReplicas"] == finished["readyReplicas"] == 3


def test_a_deleted_pod_below_the_partition_comes_back_at_the_old_revision() -> None:
    """The template of the current revision is kept for it."""
    playground = Playground()
    playground.keep()
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    playground.edit(kinds.STATEFUL_SETS, "store", template=template("store", digest="bb"), updateStrategy=rolling)
    playground.settle()

    playground.store.delete(kinds.PODS, playground.get(kinds.PODS, "store-0"))
    playground.settle()

    assert playground.get(kinds.PODS, "store-0")["spec"]["containers"][0]["image"] == image("store")
    assert playground.ready("store") == 3


def test_a_stuck_ordered_update_needs_its_pod_deleted_after_the_rollback() -> None:
    """As in a real cluster, putting the template right alone does not replace the pod that never got ready."""
    playground = Playground()
    playground.keep()
    broken = template("store")
    broken["spec"]["containers"][0]["image"] = "registry.byoc.example/server/store-broken@sha256:cc"
    playground.edit(kinds.STATEFUL_SETS, "store", template=broken)
    playground.settle()

    playground.edit(kinds.STATEFUL_SETS, "store", template=template("store"))
    playground.settle()
    before = playground.ready("store")
    playground.store.delete(kinds.PODS, playground.get(kinds.PODS, "store-2"))
    playground.settle()

    assert before == 2
    assert playground.ready("store") == 3


def test_claims_outlive_the_replicas_that_are_scaled_away() -> None:
    """The claims are retained, and the pod gets its volume back when it returns."""
    playground = Playground()
    playground.keep(podManagementPolicy="Parallel")
    volume = playground.get(kinds.PERSISTENT_VOLUME_CLAIMS, "data-store-2")["spec"]["volumeName"]

    playground.edit(kinds.STATEFUL_SETS, "store", replicas=1)
    playground.settle()
    remaining = [name_of(pod) for pod in playground.pods("store")]
    playground.edit(kinds.STATEFUL_SETS, "store", replicas=3)
    playground.settle()

    assert remaining == ["store-0"]
    assert playground.get(kinds.PERSISTENT_VOLUME_CLAIMS, "data-store-2")["spec"]["volumeName"] == volume
    assert playground.ready("store") == 3


def test_a_daemon_set_follows_the_nodes() -> None:
    """Every node gets a pod, a new node too, and the status agrees."""
    playground = Playground()
    spec = {"selector": {"matchLabels": {"app": "cni"}}, "template": template("cni")}
    playground.create(kinds.DAEMON_SETS, {"metadata": {"name": "cni"}, "spec": spec})

    playground.add_node("node-d", "a", taints=({"key": "dedicated", "value": "store", "effect": "NoSchedule"},))
    playground.add_node("node-e", "b")
    playground.settle()

    assert {pod["spec"]["nodeName"] for pod in playground.pods("cni")} == {"node-a", "node-b", "node-c", "node-e"}
    status = playground.get(kinds.DAEMON_SETS, "cni")["status"]
    assert status["desiredNumberScheduled"] == status["updatedNumberScheduled"] == status["numberAvailable"] == 4


def test_a_daemon_set_update_replaces_every_pod() -> None:
    """All nodes run the new template in the end."""
    playground = Playground()
    spec = {"selector": {"matchLabels": {"app": "cni"}}, "template": template("cni")}
    playground.create(kinds.DAEMON_SETS, {"metadata": {"name": "cni"}, "spec": spec})

    playground.edit(kinds.DAEMON_SETS, "cni", template=template("cni", digest="bb"))
    playground.settle()

    assert [pod["spec"]["containers"][0]["image"] for pod in playground.pods("cni")] == [image("cni", "bb")] * 3
    assert all(is_ready(pod) for pod in playground.pods("cni"))


def test_a_job_that_keeps_failing_fails_for_good() -> None:
    """After backoffLimit retries the condition Failed is there, with every attempt counted."""
    playground = Playground()
    pods = template("store", restartPolicy="Never")
    pods["spec"]["containers"][0]["args"] = ["restore", "--bucket", "b", "--key", "missing"]

    job = playground.create(
        kinds.JOBS, {"metadata": {"name": "restore"}, "spec": {"backoffLimit": 2, "template": pods}}
    )

    failed = found_condition(job, "Failed")
    assert (failed["status"], failed["reason"], job["status"]["failed"]) == ("True", "BackoffLimitExceeded", 3)
    states = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in playground.pods()]
    assert {(state["exitCode"], state["message"]) for state in states} == {(1, "NoSuchKey: b/missing")}


def test_a_stuck_pod_keeps_its_job_running() -> None:
    """While the fault is in force the Job neither completes nor fails; without it, it completes."""
    playground = Playground()
    fault = playground.fault(FaultKind.STUCK, "start pod", "/backup")
    pods = template("store", restartPolicy="Never")
    pods["spec"]["containers"][0]["args"] = ["backup", "--bucket", "b", "--key", "k"]

    job = playground.create(kinds.JOBS, {"metadata": {"name": "backup"}, "spec": {"template": pods}})
    playground.world.faults.remove(fault.id)
    playground.settle()

    assert job["status"]["active"] == 1
    assert found_condition(playground.get(kinds.JOBS, "backup"), "Complete")["status"] == "True"


def test_pods_carry_the_hash_of_their_template() -> None:
    """Pods, ReplicaSet and its selector agree on the hash, as `kubectl rollout undo` expects."""
    playground = Playground()
    playground.deploy("api", replicas=1)

    (replica_set,) = playground.store.list(kinds.REPLICA_SETS)
    hashed = labels_of(replica_set)["pod-template-hash"]
    assert replica_set["spec"]["selector"]["matchLabels"]["pod-template-hash"] == hashed
    assert [labels_of(pod)["pod-template-hash"] for pod in playground.pods("api")] == [hashed]


def test_claims_can_be_deleted_with_their_stateful_set() -> None:
    """Under the retention policy Delete the claims and their volumes go when the set goes."""
    playground = Playground()
    policy = {"whenDeleted": "Delete", "whenScaled": "Retain"}
    playground.keep(persistentVolumeClaimRetentionPolicy=policy, volumeClaimTemplates=[claim_template()])

    playground.store.delete(kinds.STATEFUL_SETS, playground.get(kinds.STATEFUL_SETS, "store"))
    playground.settle()

    assert playground.store.list(kinds.PERSISTENT_VOLUME_CLAIMS) == []
    assert playground.store.list(kinds.PERSISTENT_VOLUMES) == []
