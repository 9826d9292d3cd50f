"""Whether a workload is rolled out, decided from the objects as they are; no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from activities.kubernetes.manifests.endpoint import hindered_listener
from activities.kubernetes.objects import Object, condition, is_terminating, name_of
from domain.failure import FailureClass, FailureDetail

_UNPULLABLE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_UNSTARTABLE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_PENDING = "Pending"
"""Reason of a Gateway's condition that says no more than that the controller is at work."""
_QUOTA = re.compile(r"exceeded quota: (?P<name>[^,\s]+)")


class State(StrEnum):
    """How far a workload is."""

    DONE = "done"
    UNDER_WAY = "under way"
    FAILED = "failed"
    """Decided: it will not go on by itself (a job that has used up its tries)."""


@dataclass(frozen=True)
class Rollout:
    """The finding on one workload."""

    state: State
    ready: int
    desired: int
    progress: str
    """In words, for whoever waits."""
    problem: FailureDetail | None = None
    """What keeps it from going on, if anything does. It may still pass: only the caller knows since when it is so."""


def deployment_rollout(deployment: Object, autoscaler: Object | None, pods: Iterable[Object]) -> Rollout:
    """Return how far a Deployment is: done once every replica is of the newest template and available.

    Without an autoscaler's minimum reached it is not done: the Deployment starts with a single replica.
    """
    status = deployment.get("status") or {}
    replicas, least = _numbers(deployment, autoscaler)
    desired = max(replicas, least)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    settled = updated >= desired and available >= desired and status.get("replicas", 0) <= updated
    if seen and replicas >= least and settled:
        return Rollout(State.DONE, available, desired, f"{available} of {desired} replicas are available")
    progress = f"{updated} of {desired} replicas are new, {available} available"
    problem = _quota_problem(deployment) or pods_problem(pods) or _deadline_problem(deployment)
    return Rollout(State.UNDER_WAY, available, desired, progress, problem)


def stateful_set_rollout(stateful_set: Object, autoscaler: Object | None, pods: Iterable[Object]) -> Rollout:
    """Return how far a StatefulSet is: done once every replica is of the newest revision and ready."""
    status = stateful_set.get("status") or {}
    replicas, least = _numbers(stateful_set, autoscaler)
    desired = max(replicas, least)
    updated, ready = status.get("updatedReplicas", 0), status.get("readyReplicas", 0)
    available = status.get("availableReplicas", ready)
    seen = status.get("observedGeneration", 0) >= stateful_set["metadata"].get("generation", 0)
    settled = updated >= desired and min(ready, available) >= desired and status.get("replicas", 0) == desired
    if seen and replicas >= least and settled:
        return Rollout(State.DONE, ready, desired, f"{ready} of {desired} replicas are ready")
    progress = f"{updated} of {desired} replicas are new, {ready} ready"
    return Rollout(State.UNDER_WAY, ready, desired, progress, _quota_problem(stateful_set) or pods_problem(pods))


def job_rollout(job: Object, pods: Iterable[Object]) -> Rollout:
    """Return how far a Job is: done once it has completed, failed once it has used up its tries or its time."""
    listed = list(pods)
    desired = job["spec"].get("completions", 1)
    succeeded = (job.get("status") or {}).get("succeeded", 0)
    if _is_true(job, "Complete"):
        return Rollout(State.DONE, succeeded, desired, "it is complete")
    failed = condition(job, "Failed")
    if failed is not None and failed["status"] == "True":
        said = termination_message(listed) or str(failed.get("message", ""))
        message = f"{failed.get('reason', 'Failed')}: {said}"
        detail = FailureDetail(
            # By its own words alone: "BackoffLimitExceeded" is no limit of the cloud's.
            failure=class_of_cloud_message(said),
            message=message,
            code=failed.get("reason", "Failed"),
            action=refused_action(said),
        )
        return Rollout(State.FAILED, succeeded, desired, message, detail)
    problem = _quota_problem(job) or pods_problem(listed)
    return Rollout(State.UNDER_WAY, succeeded, desired, "it is running", problem)


def termination_message(pods: Iterable[Object]) -> str:
    """Return what the newest pod with a finished container wrote to its termination log, or nothing."""
    newest_first = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    for pod in newest_first:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            for state in ("state", "lastState"):
                ended = (container.get(state) or {}).get("terminated")
                if ended and ended.get("message"):
                    return str(ended["message"])
    return ""


def _numbers(workload: Object, autoscaler: Object | None) -> tuple[int, int]:
    """Return how many replicas the workload is to have now, and the least that its autoscaler allows."""
    least = autoscaler["spec"].get("minReplicas", 1) if autoscaler else 1
    return int(workload["spec"].get("replicas", 1)), int(least)


def _is_true(obj: Object, type_: str) -> bool:
    found = condition(obj, type_)
    return found is not None and bool(found["status"] == "True")


def _quota_problem(workload: Object) -> FailureDetail | None:
    """Return the quota (or policy) that keeps the controller from making pods at all."""
    failing = condition(workload, "ReplicaFailure") or condition(workload, "FailureTarget")
    if failing is None or failing["status"] != "True":
        return None
    message = str(failing.get("message", ""))
    quota = _QUOTA.search(message)
    if quota is not None:
        return FailureDetail(failure=FailureClass.QUOTA, message=message, code="FailedCreate", quota=quota["name"])
    policy = "violates PodSecurity" in message or "denied the request" in message
    found = FailureClass.POLICY if policy else FailureClass.UNKNOWN
    return FailureDetail(failure=found, message=message, code=str(failing.get("reason", "FailedCreate")))


def _deadline_problem(deployment: Object) -> FailureDetail | None:
    progressing = condition(deployment, "Progressing")
    if progressing is None or progressing.get("reason") != "ProgressDeadlineExceeded":
        return None
    message = str(progressing.get("message", "the rollout made no progress"))
    return FailureDetail(failure=FailureClass.UNKNOWN, message=message, code="ProgressDeadlineExceeded")


def pods_problem(pods: Iterable[Object]) -> FailureDetail | None:
    """Return the first problem among the pods that are to run."""
    living = (pod for pod in pods if not is_terminating(pod))
    return next((problem for pod in living if (problem := _pod_problem(pod)) is not None), None)


def _pod_problem(pod: Object) -> FailureDetail | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled["status"] == "False" and scheduled.get("reason") == "Unschedulable":
        message = f"pod {name_of(pod)} finds no node: {scheduled.get('message', '')}"
        return FailureDetail(
            failure=FailureClass.CAPACITY, message=message, code="FailedScheduling", resource=name_of(pod)
        )
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason in _UNPULLABLE | _UNSTARTABLE:
            message = f"pod {name_of(pod)}: {reason}: {waiting.get('message', '')}"
            return FailureDetail(failure=FailureClass.CONFIG, message=message, code=reason, resource=name_of(pod))
        if reason == "CrashLoopBackOff":
            message = f"pod {name_of(pod)} crashes again and again ({_last_end(container)})"
            return FailureDetail(failure=FailureClass.CONFIG, message=message, code=reason, resource=name_of(pod))
    return None


def _last_end(container: Object) -> str:
    ended = (container.get("lastState") or {}).get("terminated") or {}
    said = f": {ended['message']}" if ended.get("message") else ""
    return f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode', '?')}{said}"


def entrance_problem(entrance: Object, events: Iterable[Object]) -> FailureDetail | None:
    """Return what is wrong with the load balancer of a public Service or Gateway.

    The newest warning about it says most, for it repeats the cloud's own error; else a condition of the Gateway does.
    """
    warnings = [event for event in events if event.get("type") == "Warning"]
    if warnings:
        newest = max(warnings, key=_time_of)
        message = str(newest.get("message", ""))
        return _load_balancer_problem(class_of_cloud_message(message), message, str(newest.get("reason", "")))
    for found in (condition(entrance, "Accepted"), hindered_listener(entrance), condition(entrance, "Programmed")):
        if found is not None and found["status"] == "False" and found.get("reason") != _PENDING:
            message = str(found.get("message", ""))
            known = class_of_cloud_message(message)
            # The controller refuses what the Gateway itself says, unless it repeats an error of the cloud.
            decided = FailureClass.CONFIG if known is FailureClass.UNKNOWN else known
            return _load_balancer_problem(decided, message, str(found.get("reason", "")))
    return None


def _load_balancer_problem(failure: FailureClass, message: str, code: str) -> FailureDetail:
    return FailureDetail(
        failure=failure, message=f"the load balancer: {message}", code=code, action=refused_action(message)
    )


def _time_of(event: Object) -> str:
    """Return when an event was last seen, in a form that sorts."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def class_of_cloud_message(message: str) -> FailureClass:
    """Class what a cloud's controller, or a job, repeats of the cloud's own error: its code stands in the text."""
    for codes, found in _CLOUD_CODES:
        if any(code in message for code in codes):
            return found
    return FailureClass.PERMISSION if refused_action(message) else FailureClass.UNKNOWN


def refused_action(message: str) -> str:
    """Return the permission that the cloud's error names as missing, as the cloud spells it, else nothing."""
    found = next((match for pattern in _REFUSED_ACTIONS if (match := pattern.search(message))), None)
    return found["action"] if found else ""


_REFUSED_ACTIONS = (
    re.compile(r"(?:not authorized to perform|AccessDenied): (?P<action>[a-z][a-z0-9-]*:[A-Z]\w+)"),
    re.compile(r"Required '(?P<action>[a-z]+\.\w+\.\w+)' permission"),
    re.compile(r"does not have (?P<action>[a-z]+\.\w+\.\w+) access"),
    re.compile(r"(?:lacks|Permission) '?(?P<action>[a-z]+\.\w+\.\w+)"),
    re.compile(r"(?:perform action|Action:) '(?P<action>Microsoft\.\w+(?:/\w+)+)'"),
)
"""AWS: `s3:PutObject`. Google Cloud: `compute.urlMaps.create` by Compute Engine, Storage and IAM, in this order. Azure:
`Microsoft.Network/publicIPAddresses/write` by Resource Manager and Key Vault."""
_CLOUD_CODES = (
    (
        (
            "AccessDenied",
            "UnauthorizedOperation",
            "PERMISSION_DENIED",
            "AuthorizationFailed",
            "Error 403: Required",
            "AuthorizationPermissionMismatch",
            "ForbiddenByRbac",
        ),
        FailureClass.PERMISSION,
    ),
    # A key that is disabled or about to be deleted: the customer has taken its use away and can give it back.
    (
        (
            "KMS.DisabledException",
            "KMS.KMSInvalidStateException",
            "KeyVaultEncryptionKeyNotFound",
            "KeyVaultAccessTokenCannotBeAcquired",
        ),
        FailureClass.PERMISSION,
    ),
    (
        (
            "TooManyLoadBalancers",
            "TooManyTargetGroups",
            "LimitExceeded",
            "QUOTA_EXCEEDED",
            "quotaExceeded",
            "LimitReached",
            "QuotaExceeded",
        ),
        FailureClass.QUOTA,
    ),
)
"""In the order of precedence of lifecycles.md, section 6."""
