"""The kubelet: when pods start, when they do not, and what they say then."""

from __future__ import annotations

import math
import time

import pytest

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object, name_of
from tests.simulators.kubernetes.clusters import NAMESPACE, Playground, template, waiting_reasons


def test_a_pod_is_ready_after_its_start_time() -> None:
    """Before that its containers are being created."""
    playground = Playground(speed=50)
    begun = playground.world.clock.time()
    playground.deploy("api", replicas=1)
    creating = waiting_reasons(playground.pods("api"))

    deadline = time.monotonic() + 5
    while not playground.ready("api") and time.monotonic() < deadline:
        playground.pass_time(0.5)

    assert creating == {"ContainerCreating"}
    assert playground.ready("api") == 1
    assert playground.world.clock.time() - begun >= 10


def test_what_waits_is_due_at_once_when_the_clock_becomes_infinitely_fast() -> None:
    """A pod that would have needed ten seconds is ready after the change of speed."""
    playground = Playground(speed=0.001)
    playground.deploy("api", replicas=1)
    before = playground.ready("api")

    playground.world.clock.set_speed(math.inf)
    playground.settle()

    assert (before, playground.ready("api")) == (0, 1)


def test_a_broken_image_is_backed_off() -> None:
    """The pod stays Pending with ImagePullBackOff and is told about in an event."""
    playground = Playground()
    pods = template("api")
    pods["spec"]["containers"][0]["image"] = "registry.byoc.example/server/api@sha256:broken"

    playground.deploy("api", replicas=1, template=pods)

    (pod,) = playground.pods("api")
    assert pod["status"]["phase"] == "Pending"
    assert waiting_reasons([pod]) == {"ImagePullBackOff"}
    assert any("Failed to pull image" in event["message"] for event in playground.store.list(kinds.EVENTS))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ({"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "settings", "key": "key"}}}]}, kinds.SECRETS),
        ({"envFrom": [{"configMapRef": {"name": "settings"}}]}, kinds.CONFIG_MAPS),
    ],
)
def test_missing_configuration_keeps_a_container_from_starting(source: Object, kind: kinds.Kind) -> None:
    """It waits with CreateContainerConfigError until the Secret or ConfigMap is there."""
    playground = Playground()
    pods = template("api")
    pods["spec"]["containers"][0].update(source)
    playground.deploy("api", replicas=1, template=pods)
    before = waiting_reasons(playground.pods("api"))

    playground.create(kind, {"metadata": {"name": "settings"}, "data": {"key": "dmFsdWU="}})

    assert before == {"CreateContainerConfigError"}
    assert playground.ready("api") == 1


def test_a_missing_volume_source_keeps_the_container_from_being_created() -> None:
    """The pod waits for the Secret that it mounts, and an event says for which; an optional one is not waited for."""
    playground = Playground()
    volumes = [
        {"name": "keys", "secret": {"secretName": "api-keys"}},
        {"name": "webhook", "configMap": {"name": "auth-webhook", "optional": True}},
    ]
    playground.deploy("api", replicas=1, template=template("api", volumes=volumes))
    before = waiting_reasons(playground.pods("api"))
    warnings = [event["message"] for event in playground.store.list(kinds.EVENTS) if event["reason"] == "FailedMount"]

    playground.create(kinds.SECRETS, {"metadata": {"name": "api-keys"}})

    assert before == {"ContainerCreating"}
    assert warnings == ['MountVolume.SetUp failed for volume "keys" : secret "api-keys" not found']
    assert playground.ready("api") == 1


def test_a_stuck_pod_gets_ready_when_the_fault_is_gone() -> None:
    """It runs without being ready for as long as the rule is in force."""
    playground = Playground()
    fault = playground.fault(FaultKind.STUCK, "start pod", f"{NAMESPACE}/api")
    playground.deploy("api", replicas=1)
    (stuck,) = playground.pods("api")

    playground.world.faults.remove(fault.id)
    playground.settle()

    assert stuck["status"]["phase"] == "Running"
    assert stuck["status"]["containerStatuses"][0]["ready"] is False
    assert playground.ready("api") == 1


def test_a_crashing_pod_restarts_until_the_fault_is_gone() -> None:
    """Its restarts are counted, it waits in CrashLoopBackOff, and it recovers."""
    playground = Playground()
    fault = playground.fault(FaultKind.CRASH, "start pod", f"{NAMESPACE}/api")
    playground.deploy("api", replicas=1)
    playground.pass_time(1)
    (crashing,) = playground.pods("api")

    playground.world.faults.remove(fault.id)
    playground.pass_time(2)

    status = crashing["status"]["containerStatuses"][0]
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert status["restartCount"] >= 1
    (recovered,) = playground.pods("api")
    assert recovered["status"]["containerStatuses"][0]["restartCount"] > status["restartCount"]
    assert playground.ready("api") == 1


def test_a_running_pod_can_be_made_to_crash() -> None:
    """A rule for `probe pod` reaches pods that run already, and only those that it names."""
    playground = Playground()
    playground.deploy("api", replicas=2)
    victim = name_of(playground.pods("api")[0])

    playground.fault(FaultKind.CRASH, "probe pod", victim)
    playground.settle()

    assert waiting_reasons([playground.get(kinds.PODS, victim)]) == {"CrashLoopBackOff"}
    assert playground.ready("api") == 1


def test_rules_for_the_api_server_do_not_meet_the_kubelet() -> None:
    """A throttling rule for everything of Kubernetes is neither met nor used up by pods that start."""
    playground = Playground()
    fault = playground.fault(FaultKind.THROTTLE, "*")

    playground.deploy("api")

    assert playground.ready("api") == 3
    assert playground.world.faults.listed() == [(fault, 0)]


def test_a_deleted_pod_ends_within_its_grace_period() -> None:
    """It terminates for a moment, no longer counts as ready, and is gone then."""
    playground = Playground(speed=20)
    playground.deploy("api", replicas=1)
    playground.pass_time(15)
    (pod,) = playground.pods("api")

    playground.store.delete(kinds.PODS, pod)
    playground.settle()
    terminating = playground.store.get(kinds.PODS, NAMESPACE, name_of(pod))
    playground.pass_time(5)

    assert terminating is not None
    assert playground.store.get(kinds.PODS, NAMESPACE, name_of(pod)) is None
