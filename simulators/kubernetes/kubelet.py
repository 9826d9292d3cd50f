"""The kubelets of all nodes: they start the containers of pods, watch over them and report how they are."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from simulators.faults import Fault, FaultKind
from simulators.journal import Call
from simulators.kubernetes import kinds
from simulators.kubernetes.applications import programs
from simulators.kubernetes.applications.programs import Termination
from simulators.kubernetes.controllers.conditions import finding
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.controllers.pods import draining_seconds, is_finished
from simulators.kubernetes.objects import Object, is_ready, is_terminating, name_of, namespace_of
from simulators.kubernetes.obstacles import Obstacle, obstacle

OUT_OF_MEMORY: Final = "OOMKilled"
"""Code of a `crash` rule, and reason of the end that it makes."""

_ACTED_ON: Final = (FaultKind.STUCK, FaultKind.CRASH)


@dataclass
class _Run:
    """What the kubelet remembers about one pod that it runs."""

    admitted_at: float
    """Simulated instant."""
    ip: str
    fault: Fault | None
    """The `stuck` or `crash` rule that the pod met; it counts while it is in force."""
    started: str = ""
    """When the containers last started, as the API writes it; empty if they never did."""
    restarts: int = 0
    failed_at: float | None = None
    """Simulated instant of the failure after which the containers have not been started again."""
    killed_by: str = ""
    """Id of the rule by which the containers ran out of memory; it strikes a pod once."""
    last_end: Object | None = None
    """The `terminated` state of a container that failed and was, or will be, started again."""


class Kubelet(Controller):
    """Runs the pods that the scheduler has put on nodes.

    A pod starts once its images can be pulled and its Secrets and ConfigMaps exist, and is ready `pod_start` later.
    Faults of the service `kubernetes` reach it through two calls, whose resource is `<namespace>/<pod>/<images>`:
    `start pod`, met once by each new pod, and `probe pod`, met by each pod that runs when the rules change. `stuck`
    keeps the pod from being ready and its program from ending; `crash` ends its containers with exit code 1 again and
    again, or with the code `OOMKilled` once, with exit code 137, after which they are started again. A call that met
    such a rule when it made or changed the pod's owner has the same effect. A store that cannot read what is on its
    volumes ends again and again by itself.
    """

    name = "kubelet"
    watches = (kinds.PODS, kinds.NODES, kinds.SECRETS, kinds.CONFIG_MAPS)
    heeds_faults = True

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._faults = surroundings.world.faults
        self._runs: dict[str, _Run] = {}
        """Keyed by the pod's uid."""
        self._stopping: dict[str, float] = {}
        """Simulated instant at which the containers were told to stop, keyed by the pod's uid."""
        self._rules: tuple[str, ...] = ()
        self._addresses = itertools.count(1)

    def reconcile(self) -> None:
        """Look after every pod that is on a node."""
        pods = [pod for pod in self.store.list(kinds.PODS) if pod["spec"].get("nodeName")]
        self._notice_new_faults(pods)
        for pod in pods:
            node = self.store.get(kinds.NODES, None, pod["spec"]["nodeName"])
            if node is None or not is_ready(node):
                continue
            if is_terminating(pod):
                self._stop(pod)
            elif not is_finished(pod):
                self._keep_running(pod, node)
        present = {pod["metadata"]["uid"] for pod in pods}
        self._runs = {uid: run for uid, run in self._runs.items() if uid in present}
        self._stopping = {uid: since for uid, since in self._stopping.items() if uid in present}

    def _notice_new_faults(self, pods: list[Object]) -> None:
        """Let pods that run already meet rules that have been added since."""
        rules = tuple(rule.id for rule, _ in self._faults.listed() if rule.kind in _ACTED_ON)
        if rules == self._rules:
            return
        self._rules = rules
        for pod in pods:
            run = self._runs.get(pod["metadata"]["uid"])
            if run is not None and self._active(run.fault) is None:
                run.fault = self._meet("probe pod", pod)

    def _meet(self, operation: str, pod: Object) -> Fault | None:
        call = Call(
            at=self.surroundings.world.clock.now(),
            service="kubernetes",
            operation=operation,
            mutating=False,
            account=self.cluster.account,
            region=self.cluster.region,
            principal=f"system:node:{pod['spec']['nodeName']}",
            agent="kubelet",
            resource="/".join((namespace_of(pod), name_of(pod), *(entry["image"] for entry in _containers(pod)))),
        )
        return self._faults.meet(call, among=_ACTED_ON)

    def _active(self, fault: Fault | None) -> Fault | None:
        return fault if fault is not None and self._faults.active(fault.id) else None

    def _strikes(self, pod: Object, run: _Run) -> Fault | None:
        """Return the rule that acts on the pod now."""
        fault = self._active(run.fault) or self.affliction(pod, *_ACTED_ON)
        return None if fault is not None and fault.id == run.killed_by else fault

    def _stop(self, pod: Object) -> None:
        """Let the containers end, then tell the API server that the pod is no more."""
        since = self._stopping.setdefault(pod["metadata"]["uid"], self.alarm.now())
        grace = pod["metadata"].get("deletionGracePeriodSeconds", 0)
        needed = draining_seconds(pod) + self.durations.pod_stop
        if self.alarm.has_passed(since, min(needed, grace)):
            self.store.delete(kinds.PODS, pod, grace_period_seconds=0)

    def _keep_running(self, pod: Object, node: Object) -> None:
        uid = pod["metadata"]["uid"]
        run = self._runs.get(uid)
        if run is None:
            met = self._meet("start pod", pod) or self._meet("probe pod", pod)
            run = self._runs[uid] = _Run(self.alarm.now(), self._address(), met)
        fault = self._strikes(pod, run)
        if run.failed_at is not None and not self._is_restarted(run, fault):
            self._report_back_off(pod, run)
            return
        if not run.started:
            found = obstacle(self.store, pod)
            if found is not None:
                self._warn_once(pod, found)
                self._report_waiting(pod, found.reason, found.message)
                return
            if not self.alarm.has_passed(run.admitted_at, self.durations.pod_start):
                self._report_waiting(pod, "ContainerCreating", "")
                return
            run.started = self.timestamp()
            self._tell_started(pod)
        self._run(pod, node, run, fault)

    def _address(self) -> str:
        number = next(self._addresses)
        return f"10.{64 + number // 65_025 % 64}.{number // 255 % 255}.{number % 255 + 1}"

    def _is_restarted(self, run: _Run, fault: Fault | None) -> bool:
        """Return whether failed containers have been started again after their back-off."""
        wait = min(self.durations.restart_back_off * 2.0 ** max(0, run.restarts - 1), self.durations.longest_back_off)
        since = run.failed_at or 0.0
        least = self.durations.least_wait * min(2.0**run.restarts, 50.0)
        if not self.alarm.has_passed(since, wait, least_real=least):
            return False
        run.restarts += 1
        run.failed_at = None
        run.started = self.timestamp()
        if fault is not None and fault.kind is FaultKind.CRASH:
            run.failed_at = self.alarm.now()
            return False
        return True

    def _warn_once(self, pod: Object, found: Obstacle) -> None:
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        if not any((entry["state"].get("waiting") or {}).get("reason") for entry in statuses):
            self.events.warning(pod, self.name, found.event, found.warning)

    # --- containers that run

    def _tell_started(self, pod: Object) -> None:
        for container in _containers(pod):
            image = container["image"]
            self.events.normal(pod, self.name, "Pulled", f'Container image "{image}" already present on machine')
            self.events.normal(pod, self.name, "Started", f"Started container {container['name']}")

    def _run(self, pod: Object, node: Object, run: _Run, fault: Fault | None) -> None:
        own_end = None if fault is not None or is_ready(pod) else programs.refusal_to_start(self.cluster, pod)
        if fault is not None and fault.kind is FaultKind.CRASH:
            end = Termination(1, "")
            if fault.code == OUT_OF_MEMORY:
                end, run.killed_by = Termination(137, "", OUT_OF_MEMORY), fault.id
            self._end(pod, node, run, dict.fromkeys(map(name_in, _containers(pod)), end))
        elif own_end is not None:
            self._end(pod, node, run, dict.fromkeys(map(name_in, _containers(pod)), own_end))
        elif fault is None and pod["spec"].get("restartPolicy", "Always") != "Always":
            ends = {name_in(container): programs.run(self.cluster, pod, container) for container in _containers(pod)}
            self._end(pod, node, run, ends)
        else:
            self._report_running(pod, node, run, ready=fault is None)

    def _end(self, pod: Object, node: Object, run: _Run, ends: dict[str, Termination]) -> None:
        """Report containers that have ended: the pod is finished, or they start again after a back-off."""
        failed = any(end.exit_code for end in ends.values())
        policy = pod["spec"].get("restartPolicy", "Always")
        if policy == "Always" or (failed and policy == "OnFailure"):
            run.last_end = self._terminated(max(ends.values(), key=lambda end: end.exit_code), run)
            run.failed_at = self.alarm.now()
            self.events.warning(pod, self.name, "BackOff", "Back-off restarting failed container")
            self._report_back_off(pod, run)
            return
        states = {name: {"terminated": self._terminated(end, run)} for name, end in ends.items()}
        phase, reason = ("Failed", "PodFailed") if failed else ("Succeeded", "PodCompleted")
        findings = self._pod_findings(pod, initialized=True, ready=False, reason=reason)
        self._report(pod, phase, states, run, ready=False, findings=findings, extra=self._where(node, run))

    def _terminated(self, end: Termination, run: _Run) -> Object:
        state: Object = {
            "exitCode": end.exit_code,
            "reason": end.reason or ("Error" if end.exit_code else "Completed"),
            "startedAt": run.started or self.timestamp(),
            "finishedAt": self.timestamp(),
        }
        if end.message:
            state["message"] = end.message
        return state

    # --- what the API server is told

    def _report_waiting(self, pod: Object, reason: str, message: str) -> None:
        state: Object = {"reason": reason, **({"message": message} if message else {})}
        states = {name_in(container): {"waiting": state} for container in _containers(pod)}
        initialized = not pod["spec"].get("initContainers")
        findings = self._pod_findings(pod, initialized=initialized, ready=False, reason="ContainersNotReady")
        self._report(pod, "Pending", states, None, ready=False, findings=findings, extra={})

    def _report_back_off(self, pod: Object, run: _Run) -> None:
        message = f"back-off restarting failed container in pod {name_of(pod)}_{namespace_of(pod)}"
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        states = {name_in(container): waiting for container in _containers(pod)}
        findings = self._pod_findings(pod, initialized=True, ready=False, reason="ContainersNotReady")
        self._report(pod, "Running", states, run, ready=False, findings=findings, extra={})

    def _report_running(self, pod: Object, node: Object, run: _Run, *, ready: bool) -> None:
        states = {name_in(container): {"running": {"startedAt": run.started}} for container in _containers(pod)}
        findings = self._pod_findings(pod, initialized=True, ready=ready, reason="ContainersNotReady")
        if not ready and is_ready(pod):
            message = "Readiness probe failed: HTTP probe failed with statuscode: 503"
            self.events.warning(pod, self.name, "Unhealthy", message)
        self._report(pod, "Running", states, run, ready=ready, findings=findings, extra=self._where(node, run))

    def _where(self, node: Object, run: _Run) -> Object:
        host = next((entry["address"] for entry in node["status"].get("addresses") or ()), name_of(node))
        return {"hostIP": host, "podIP": run.ip, "podIPs": [{"ip": run.ip}]}

    def _pod_findings(self, pod: Object, *, initialized: bool, ready: bool, reason: str) -> list[Object]:
        names = " ".join(name_in(container) for container in _containers(pod))
        message = "" if ready or reason == "PodCompleted" else f"containers with unready status: [{names}]"
        why = "" if ready else reason
        return [
            finding("PodScheduled", True),
            finding("PodReadyToStartContainers", initialized),
            finding("Initialized", initialized),
            finding("ContainersReady", ready, why, message),
            finding("Ready", ready, why, message),
        ]

    def _report(
        self,
        pod: Object,
        phase: str,
        states: dict[str, Object],
        run: _Run | None,
        *,
        ready: bool,
        findings: list[Object],
        extra: Object,
    ) -> None:
        last_state = {"terminated": run.last_end} if run is not None and run.last_end else {}
        statuses = [
            {
                "name": name_in(container),
                "image": container["image"],
                "imageID": container["image"] if ready else "",
                "containerID": f"containerd://{pod['metadata']['uid']}-{run.restarts}" if run and run.started else "",
                "restartCount": run.restarts if run else 0,
                "ready": ready,
                "started": ready,
                "state": states[name_in(container)],
                "lastState": last_state,
            }
            for container in _containers(pod)
        ]
        self.update_status(
            kinds.PODS,
            pod,
            {
                "phase": phase,
                "startTime": (pod.get("status") or {}).get("startTime") or self.timestamp(),
                "qosClass": (pod.get("status") or {}).get("qosClass", "Burstable"),
                "containerStatuses": statuses,
                "initContainerStatuses": _init_statuses(pod, done=run is not None, now=self.timestamp()) or None,
                **extra,
            },
            findings,
        )


def name_in(container: Object) -> str:
    """Return the container's name."""
    name: str = container["name"]
    return name


def _containers(pod: Object) -> list[Object]:
    containers: list[Object] = pod["spec"]["containers"]
    return containers


def _init_statuses(pod: Object, *, done: bool, now: str) -> list[Object]:
    """Return the statuses of init containers: they wait, or have all ended well once the pod's own ones run."""
    before = {entry["name"]: entry for entry in (pod.get("status") or {}).get("initContainerStatuses") or ()}
    statuses = []
    for container in pod["spec"].get("initContainers") or ():
        known = before.get(container["name"])
        if known is not None and known["ready"] == done:
            statuses.append(known)
            continue
        ended = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        statuses.append(
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": container["image"] if done else "",
                "restartCount": 0,
                "ready": done,
                "state": ended if done else {"waiting": {"reason": "PodInitializing"}},
            }
        )
    return statuses
