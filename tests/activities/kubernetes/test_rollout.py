"""How far a workload is, decided from objects."""

from __future__ import annotations

from typing import Any

import pytest

from activities.kubernetes.manifests.endpoint import address_of
from activities.kubernetes.objects import Object
from activities.kubernetes.rollout import (
    State,
    deployment_rollout,
    entrance_problem,
    job_rollout,
    refused_action,
    stateful_set_rollout,
    termination_message,
)
from domain.failure import FailureClass

AUTOSCALER: Object = {"spec": {"minReplicas": 3}}


def deployment(
    *, replicas: int = 3, generation: int = 2, conditions: list[Object] | None = None, **status: int
) -> Object:
    """Return a Deployment that is rolled out, except where the arguments differ."""
    settled = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    return {
        "metadata": {"name": "api", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {**settled, **status, "conditions": conditions or []},
    }


def stateful_set(*, replicas: int = 3, generation: int = 2, revision: str = "new", **status: int) -> Object:
    """Return a StatefulSet that is rolled out, except where the arguments differ."""
    settled = {
        "observedGeneration": 2,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "currentRevision": revision,
        "updateRevision": "new",
    }
    return {
        "metadata": {"name": "store", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {**settled, **status},
    }


def pod(name: str = "api-1", *, waiting: str = "", terminating: bool = False, **more: Any) -> Object:
    """Return a pod whose container waits for the given reason."""
    metadata: Object = {"name": name, "creationTimestamp": "2026-11-23T22:00:00Z"}
    if terminating:
        metadata["deletionTimestamp"] = "2026-11-23T22:01:00Z"
    state: Object = {"waiting": {"reason": waiting, "message": "as it is"}} if waiting else {"running": {}}
    return {"metadata": metadata, "status": {"containerStatuses": [{"name": "c", "state": state, **more}]}}


def unschedulable(name: str = "api-1") -> Object:
    """Return a pod without a node."""
    why = "0/6 nodes are available: 6 Insufficient cpu."
    found = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
    return {"metadata": {"name": name}, "status": {"conditions": [found]}}


def test_a_deployment_is_done_when_every_replica_is_new_and_available() -> None:
    """The finding counts the replicas."""
    rollout = deployment_rollout(deployment(), AUTOSCALER, [])

    assert (rollout.state, rollout.ready, rollout.desired) == (State.DONE, 3, 3)


@pytest.mark.parametrize(
    "unfinished",
    [
        deployment(generation=3),
        deployment(updatedReplicas=2),
        deployment(availableReplicas=2),
        deployment(replicas=1),
        {**deployment(), "status": {}},
        {**deployment(), "status": {**deployment()["status"], "replicas": 4}},
    ],
    ids=["not yet seen", "old replicas", "not available", "autoscaler has not acted", "brand new", "old ones remain"],
)
def test_a_deployment_is_under_way_otherwise(unfinished: Object) -> None:
    """Anything short of that is under way, and no problem while no pod has one."""
    rollout = deployment_rollout(unfinished, AUTOSCALER, [pod()])

    assert (rollout.state, rollout.problem) == (State.UNDER_WAY, None)


@pytest.mark.parametrize(
    "unfinished",
    [
        stateful_set(generation=3),
        stateful_set(readyReplicas=2),
        stateful_set(availableReplicas=2),
        stateful_set(revision="old", updatedReplicas=1),
        stateful_set(replicas=1),
        {**stateful_set(), "status": {}},
    ],
    ids=["not yet seen", "not ready", "not available", "old replicas", "autoscaler has not acted", "brand new"],
)
def test_a_stateful_set_is_done_when_every_replica_is_new_and_ready(unfinished: Object) -> None:
    """Done only if all of it is so."""
    assert stateful_set_rollout(stateful_set(), AUTOSCALER, []).state is State.DONE
    assert stateful_set_rollout(unfinished, AUTOSCALER, []).state is State.UNDER_WAY


@pytest.mark.parametrize(
    ("broken", "failure", "code"),
    [
        (pod(waiting="ImagePullBackOff"), FailureClass.CONFIG, "ImagePullBackOff"),
        (pod(waiting="ErrImagePull"), FailureClass.CONFIG, "ErrImagePull"),
        (pod(waiting="CreateContainerConfigError"), FailureClass.CONFIG, "CreateContainerConfigError"),
        (pod(waiting="CrashLoopBackOff"), FailureClass.CONFIG, "CrashLoopBackOff"),
        (unschedulable(), FailureClass.CAPACITY, "FailedScheduling"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pod_that_cannot_run_is_the_problem(broken: Object, failure: FailureClass, code: str) -> None:
    """The finding names pod and reason, so that whoever has to act knows where."""
    rollout = deployment_rollout(deployment(availableReplicas=2), None, [pod("api-0"), broken])

    assert rollout.problem is not None
    assert (rollout.problem.failure, rollout.problem.code, rollout.problem.resource) == (failure, code, "api-1")
    assert "api-1" in rollout.problem.message


def test_a_crash_says_how_the_container_ended() -> None:
    """Exit code and last words are in the message."""
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "out of memory"}}
    crashing = pod(waiting="CrashLoopBackOff", lastState=last)

    problem = deployment_rollout(deployment(availableReplicas=2), None, [crashing]).problem

    assert problem is not None
    assert "OOMKilled, exit code 137: out of memory" in problem.message


def test_a_pod_that_goes_is_no_problem() -> None:
    """What an earlier template left broken is on its way out."""
    leaving = pod(waiting="CrashLoopBackOff", terminating=True)

    assert deployment_rollout(deployment(availableReplicas=2), None, [leaving]).problem is None


@pytest.mark.parametrize(
    ("message", "failure", "quota"),
    [
        ('pods "api-1" is forbidden: exceeded quota: compute, requested: cpu=1', FailureClass.QUOTA, "compute"),
        ('pods "api-1" is forbidden: violates PodSecurity "restricted:latest"', FailureClass.POLICY, ""),
    ],
)
def test_pods_that_are_not_admitted_name_quota_or_policy(message: str, failure: FailureClass, quota: str) -> None:
    """The controller's condition says why it could not even make a pod."""
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}

    problem = deployment_rollout(deployment(availableReplicas=0, conditions=[refused]), None, []).problem

    assert problem is not None
    assert (problem.failure, problem.quota) == (failure, quota)


def test_a_rollout_without_progress_is_a_problem_of_unknown_cause() -> None:
    """The deadline of the Deployment itself has passed, and no pod says why."""
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}

    problem = deployment_rollout(deployment(availableReplicas=0, conditions=[late]), None, [pod()]).problem

    assert problem is not None
    assert problem.failure is FailureClass.UNKNOWN


def test_a_job_is_done_failed_or_running_as_its_conditions_say() -> None:
    """Its last words are the reason of a failure."""

    def job(*conditions: str) -> Object:
        found = [{"type": type_, "status": "True", "reason": "BackoffLimitExceeded"} for type_ in conditions]
        return {"spec": {}, "status": {"succeeded": 1, "conditions": found}}

    spoken = {"name": "c", "state": {"terminated": {"exitCode": 1, "message": "NoSuchBucket"}}}
    ended: Object = {"metadata": {"name": "backup-1"}, "status": {"containerStatuses": [spoken]}}

    assert job_rollout(job("SuccessCriteriaMet"), []).state is State.UNDER_WAY
    assert job_rollout(job("SuccessCriteriaMet", "Complete"), []).state is State.DONE
    failed = job_rollout(job("FailureTarget", "Failed"), [ended])
    assert failed.state is State.FAILED
    assert failed.problem is not None
    assert failed.problem.message == "BackoffLimitExceeded: NoSuchBucket"


def test_the_newest_pod_speaks_for_the_job() -> None:
    """Of several tries the last one counts."""

    def ended(at: str, message: str) -> Object:
        state = {"terminated": {"exitCode": 0, "message": message}}
        return {
            "metadata": {"name": at, "creationTimestamp": at},
            "status": {"containerStatuses": [{"name": "c", "state": state}]},
        }

    tries = [ended("2026-11-23T22:00:00Z", "first"), ended("2026-11-23T23:00:00Z", "second")]

    assert termination_message(tries) == "second"
    assert termination_message([]) == ""


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("AccessDenied: not authorized to perform: elasticloadbalancing:CreateLoadBalancer", FailureClass.PERMISSION),
        ("TooManyLoadBalancers: The quota has been reached", FailureClass.QUOTA),
        ("googleapi: Error 403: Required 'compute.regionUrlMaps.create' permission for 'a@b'", FailureClass.PERMISSION),
        ("googleapi: Error 403: Quota 'FORWARDING_RULES' exceeded. Limit: 15.0, quotaExceeded", FailureClass.QUOTA),
        (
            "Code=AuthorizationFailed: no authorization to perform action 'Microsoft.Network/loadBalancers/write'",
            FailureClass.PERMISSION,
        ),
        ('Code="PublicIPCountLimitReached": Cannot create more than 10 public IP addresses', FailureClass.QUOTA),
        ("something else", FailureClass.UNKNOWN),
    ],
)
def test_a_load_balancers_problem_is_its_newest_warning(message: str, failure: FailureClass) -> None:
    """What the cloud's controller reports is classed by the cloud's code in it."""

    def event(type_: str, at: str, text: str) -> Object:
        return {"metadata": {}, "type": type_, "reason": "FailedDeployModel", "lastTimestamp": at, "message": text}

    events = [
        event("Warning", "2026-11-23T22:00:00Z", "an older one"),
        event("Warning", "2026-11-23T22:05:00Z", message),
        event("Normal", "2026-11-23T22:06:00Z", "Ensuring load balancer"),
    ]

    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "endpoint"}}

    problem = entrance_problem(service, events)

    assert problem is not None
    assert problem.failure is failure
    assert message in problem.message
    assert entrance_problem(service, events[2:]) is None


def a_gateway(status: str, reason: str, message: str = "", *, seen: int = 2) -> Object:
    """Return a Gateway of generation 2 with an address, and what its controller says of that generation."""
    programmed = {
        "type": "Programmed", "status": status, "reason": reason, "message": message, "observedGeneration": seen,
    }  # fmt: skip
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "endpoint", "generation": 2},
        "spec": {"listeners": [{"name": "api"}]},
        "status": {
            "conditions": [programmed],
            "listeners": [{"name": "api", "attachedRoutes": 1}],
            "addresses": [{"type": "IPAddress", "value": "34.90.0.11"}],
        },
    }


@pytest.mark.parametrize(
    ("reason", "message", "failure"),
    [
        ("Pending", "Waiting for controller", None),
        ("Invalid", "GatewayClass is not supported", FailureClass.CONFIG),
        ("Invalid", "Error 403: Required 'compute.addresses.create' permission for 'a@b'", FailureClass.PERMISSION),
    ],
)
def test_a_gateways_problem_is_in_its_conditions(reason: str, message: str, failure: FailureClass | None) -> None:
    """A Gateway that its controller refuses is a matter of its configuration, unless the cloud's own error is named."""
    problem = entrance_problem(a_gateway("False", reason, message), ())

    assert (problem.failure if problem else None) is failure
    assert problem is None or (problem.code == reason and message in problem.message)


def test_a_gateway_has_an_address_once_it_serves_what_it_says() -> None:
    """An address that was programmed for an earlier generation, or is no longer, does not count."""
    assert address_of(a_gateway("True", "Programmed")) == "34.90.0.11"
    assert not address_of(a_gateway("True", "Programmed", seen=1))
    assert not address_of(a_gateway("False", "Pending"))


def test_a_gateway_that_leads_nowhere_yet_has_no_address() -> None:
    """It may be programmed before its controller has seen the routes; each listener waits for one."""
    gateway = a_gateway("True", "Programmed")
    gateway["spec"]["listeners"].append({"name": "subscription"})
    one = address_of(gateway)
    gateway["status"]["listeners"].append({"name": "subscription", "attachedRoutes": 0})
    none = address_of(gateway)
    gateway["status"]["listeners"][1]["attachedRoutes"] = 1

    assert (one, none, address_of(gateway)) == ("", "", "34.90.0.11")


@pytest.mark.parametrize("type_", ["ResolvedRefs", "Programmed"])
def test_a_gateway_whose_listener_serves_nothing_has_no_address(type_: str) -> None:
    """One listener without its certificate is waited for, and the problem is what its condition says."""
    gateway = a_gateway("True", "Programmed")
    serving = {"type": type_, "status": "True", "reason": type_}
    lacking = {"type": type_, "status": "False", "reason": "InvalidCertificateRef", "message": "secret not found"}
    gateway["status"]["listeners"] = [{"name": "api", "attachedRoutes": 1, "conditions": [serving]}]
    serves = address_of(gateway)

    gateway["status"]["listeners"].append({"name": "subscription", "conditions": [lacking]})
    problem = entrance_problem(gateway, ())

    assert (serves, address_of(gateway)) == ("34.90.0.11", "")
    assert problem is not None
    assert (problem.code, "secret not found" in problem.message) == ("InvalidCertificateRef", True)


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ("AccessDenied: s3:PutObject", "s3:PutObject"),
        ("Error 403: Required 'compute.disks.create' permission for 'a@b'", "compute.disks.create"),
        ("a@b does not have storage.objects.create access to the bucket", "storage.objects.create"),
        ("Permission 'iam.serviceAccounts.getAccessToken' denied", "iam.serviceAccounts.getAccessToken"),
        ("not authorized to perform action 'Microsoft.Compute/disks/write' over", "Microsoft.Compute/disks/write"),
        (
            "Caller is not authorized. Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'",
            "Microsoft.KeyVault/vaults/secrets/getSecret/action",
        ),
        ("no permission at all", ""),
    ],
)
def test_the_refused_permission_is_named_as_its_cloud_spells_it(message: str, action: str) -> None:
    """Each cloud's own words for a refusal give the missing permission."""
    assert refused_action(message) == action
