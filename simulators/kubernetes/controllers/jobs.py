"""Jobs: pods that run a program to its end, tried again as often as the Job allows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import finding
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.controllers.pods import create_pod, is_active, is_serving, phase_of, random_suffix
from simulators.kubernetes.objects import Object, condition, is_terminating, name_of

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"


class JobController(Controller):
    """Runs each Job's pods until enough have succeeded (condition Complete) or too many have failed (Failed)."""

    name = "job-controller"
    watches = (kinds.JOBS, kinds.PODS)

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._failed_at: dict[str, tuple[int, float]] = {}
        """How many pods had failed and the simulated instant when that was noticed, keyed by the Job's uid."""

    def reconcile(self) -> None:
        """Take one step for every Job."""
        jobs = self.store.list(kinds.JOBS)
        for job in jobs:
            if is_terminating(job):
                continue
            if _is_over(job):
                self._expire(job)
            else:
                self._advance(job)
        living = {job["metadata"]["uid"] for job in jobs}
        self._failed_at = {uid: entry for uid, entry in self._failed_at.items() if uid in living}

    def _advance(self, job: Object) -> None:
        spec = job["spec"]
        pods = self.owned(kinds.PODS, job)
        succeeded = sum(phase_of(pod) == "Succeeded" for pod in pods)
        failed = sum(phase_of(pod) == "Failed" for pod in pods)
        active = [pod for pod in pods if is_active(pod)]
        wanted = spec.get("completions", 1)
        counts = {"succeeded": succeeded or None, "failed": failed or None}
        retries = failed + sum(_restarts(pod) for pod in active)
        if spec.get("suspend"):
            self._stop(active)
            self._report(job, counts, [], [finding("Suspended", True, "JobSuspended", "Job suspended")])
        elif succeeded >= wanted:
            message = "Reached expected number of succeeded pods"
            self._end(job, counts, finding("Complete", True, "CompletionsReached", message))
        elif retries > spec.get("backoffLimit", 6):
            self._stop(active)
            message = "Job has reached the specified backoff limit"
            self._end(job, counts, finding("Failed", True, "BackoffLimitExceeded", message))
        elif self._is_too_late(job):
            self._stop(active)
            message = "Job was active longer than specified deadline"
            self._end(job, counts, finding("Failed", True, "DeadlineExceeded", message))
        else:
            if self._may_try(job, failed):
                room = min(spec.get("parallelism", 1), wanted - succeeded) - len(active)
                active += [self._create(job) for _ in range(room)]
            self._report(job, counts, active, [])

    def _may_try(self, job: Object, failed: int) -> bool:
        """Return whether the back-off after the latest failure has passed."""
        if not failed:
            return True
        uid = job["metadata"]["uid"]
        count, since = self._failed_at.get(uid, (0, 0.0))
        if failed != count:
            since = self.alarm.now()
            self._failed_at[uid] = (failed, since)
        wait = min(self.durations.restart_back_off * 2.0 ** (failed - 1), self.durations.longest_back_off)
        return self.alarm.has_passed(since, wait)

    def _is_too_late(self, job: Object) -> bool:
        limit = job["spec"].get("activeDeadlineSeconds")
        started = (job.get("status") or {}).get("startTime")
        if limit is None or started is None:
            return False
        return self.alarm.has_elapsed(_instant(started), limit)

    def _create(self, job: Object) -> Object:
        uid = job["metadata"]["uid"]
        labels = {CONTROLLER_UID: uid, JOB_NAME: name_of(job), "controller-uid": uid, "job-name": name_of(job)}
        name = f"{name_of(job)}-{random_suffix()}"
        pod = create_pod(self.store, job, job["spec"]["template"], name, labels=labels)
        self.events.normal(job, self.name, "SuccessfulCreate", f"Created pod: {name}")
        return pod

    def _stop(self, pods: list[Object]) -> None:
        for pod in pods:
            self.store.delete(kinds.PODS, pod)

    def _report(self, job: Object, counts: Mapping[str, Any], active: list[Object], findings: list[Object]) -> None:
        status = {
            **counts,
            "active": len(active) or None,
            "ready": sum(is_serving(pod) for pod in active),
            "startTime": (job.get("status") or {}).get("startTime") or self.timestamp(),
        }
        self.update_status(kinds.JOBS, job, status, findings)

    def _end(self, job: Object, counts: Mapping[str, Any], verdict: Object) -> None:
        """Put the verdict into the status, after the condition by which a real Job controller announces it."""
        complete = verdict["type"] == "Complete"
        announced = {**verdict, "type": "SuccessCriteriaMet" if complete else "FailureTarget"}
        ended = {"completionTime": self.timestamp()} if complete else {}
        self._report(job, {**counts, **ended}, [], [announced, verdict])
        if complete:
            self.events.normal(job, self.name, "Completed", "Job completed")
        else:
            self.events.warning(job, self.name, verdict["reason"], verdict["message"])

    def _expire(self, job: Object) -> None:
        """Delete a Job that is over once its time to live has passed."""
        limit = job["spec"].get("ttlSecondsAfterFinished")
        over = condition(job, "Complete") or condition(job, "Failed")
        if limit is None or over is None:
            return
        if self.alarm.has_elapsed(_instant(over["lastTransitionTime"]), limit):
            self.store.delete(kinds.JOBS, job)


def _is_over(job: Object) -> bool:
    return any((condition(job, type_) or {}).get("status") == "True" for type_ in ("Complete", "Failed"))


def _restarts(pod: Object) -> int:
    return sum(entry.get("restartCount", 0) for entry in (pod.get("status") or {}).get("containerStatuses") or ())


def _instant(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
