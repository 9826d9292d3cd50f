"""DaemonSets: one pod on every node that takes it."""

from __future__ import annotations

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.controller import Controller
from simulators.kubernetes.controllers.pods import (
    REVISION_HASH,
    create_pod,
    is_available,
    is_finished,
    is_serving,
    random_suffix,
)
from simulators.kubernetes.controllers.quantities import share
from simulators.kubernetes.controllers.revisions import current_revision, prune
from simulators.kubernetes.objects import Object, is_terminating, labels_of, name_of
from simulators.kubernetes.scheduler import accepts, untolerated_taint

_TOLERATED = tuple(
    {"key": f"node.kubernetes.io/{problem}", "operator": "Exists", "effect": effect}
    for problem, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("not-ready", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
    )
)
"""What daemon pods put up with on a node: they are often what makes it ready."""


class DaemonSetController(Controller):
    """Makes a pod for each suitable node, removes those of unsuitable ones, and replaces those of an old template."""

    name = "daemonset-controller"
    watches = (kinds.DAEMON_SETS, kinds.PODS, kinds.NODES)

    def reconcile(self) -> None:
        """Take one step for every DaemonSet."""
        for daemon_set in self.store.list(kinds.DAEMON_SETS):
            if not is_terminating(daemon_set):
                self._spread(daemon_set)

    def _spread(self, daemon_set: Object) -> None:
        revision = labels_of(current_revision(self.store, daemon_set))[REVISION_HASH]
        suitable = {name_of(node) for node in self.store.list(kinds.NODES) if _suits(daemon_set, node)}
        placed: dict[str, Object] = {}
        for pod in self.owned(kinds.PODS, daemon_set):
            node = pod["spec"].get("nodeName", "")
            if is_terminating(pod):
                continue
            if node not in suitable or node in placed or is_finished(pod):
                self.store.delete(kinds.PODS, pod)
            else:
                placed[node] = pod
        held = {pod["spec"].get("nodeName") for pod in self.owned(kinds.PODS, daemon_set)}
        for node in sorted(suitable - held):
            placed[node] = self._create(daemon_set, node, revision)
        self._replace_old(daemon_set, placed, revision, len(suitable))
        self._report(daemon_set, suitable, revision)

    def _create(self, daemon_set: Object, node: str, revision: str) -> Object:
        template = daemon_set["spec"]["template"]
        tolerations = [*(template["spec"].get("tolerations") or ()), *_TOLERATED]
        name = f"{name_of(daemon_set)}-{random_suffix()}"
        spec = {"nodeName": node, "tolerations": tolerations}
        pod = create_pod(self.store, daemon_set, template, name, labels={REVISION_HASH: revision}, spec=spec)
        self.events.normal(daemon_set, self.name, "SuccessfulCreate", f"Created pod: {name}")
        return pod

    def _replace_old(self, daemon_set: Object, placed: dict[str, Object], revision: str, wanted: int) -> None:
        """Delete pods of an old template: those that serve nobody at once, others as far as may be missing."""
        strategy = daemon_set["spec"].get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        allowed = share((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), wanted, round_up=True)
        missing = wanted - sum(is_serving(pod) for pod in placed.values())
        for pod in placed.values():
            if labels_of(pod).get(REVISION_HASH) == revision:
                continue
            if is_serving(pod):
                if missing >= max(1, allowed):
                    continue
                missing += 1
            self.store.delete(kinds.PODS, pod)

    def _report(self, daemon_set: Object, suitable: set[str], revision: str) -> None:
        pods = [pod for pod in self.owned(kinds.PODS, daemon_set) if not is_terminating(pod)]
        least = daemon_set["spec"].get("minReadySeconds", 0)
        available = sum(is_available(pod, least, self.alarm) for pod in pods)
        self.update_status(
            kinds.DAEMON_SETS,
            daemon_set,
            {
                "observedGeneration": daemon_set["metadata"]["generation"],
                "desiredNumberScheduled": len(suitable),
                "currentNumberScheduled": len(pods),
                "updatedNumberScheduled": sum(labels_of(pod).get(REVISION_HASH) == revision for pod in pods),
                "numberReady": sum(is_serving(pod) for pod in pods),
                "numberAvailable": available,
                "numberUnavailable": max(0, len(suitable) - available) or None,
                "numberMisscheduled": 0,
            },
        )
        used = {f"{name_of(daemon_set)}-{labels_of(pod).get(REVISION_HASH)}" for pod in pods}
        prune(self.store, daemon_set, {f"{name_of(daemon_set)}-{revision}", *used})


def _suits(daemon_set: Object, node: Object) -> bool:
    spec = daemon_set["spec"]["template"]["spec"]
    tolerations = [*(spec.get("tolerations") or ()), *_TOLERATED]
    return accepts(node, spec) and untolerated_taint(node, tolerations) is None
