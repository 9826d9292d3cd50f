"""Nodes: their taints, the fate of pods on nodes that fail, and of pods whose node is gone."""

from __future__ import annotations

from typing import Final

from simulators.faults import FaultKind
from simulators.journal import Call
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import finding
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.objects import Object, is_ready, is_terminating, name_of
from simulators.kubernetes.scheduler import UNSCHEDULABLE_TAINT, tolerates

NOT_READY_TAINT: Final = "node.kubernetes.io/not-ready"
UNREACHABLE_TAINT: Final = "node.kubernetes.io/unreachable"
_OURS: Final = (UNSCHEDULABLE_TAINT, NOT_READY_TAINT, UNREACHABLE_TAINT)


class NodeController(Controller):
    """Taints nodes that are cordoned or not ready, and removes pods from nodes that stay so or are gone.

    A `stuck` rule for the service `kubernetes` and the operation `node heartbeat`, with the node as its resource,
    silences the node's kubelet while it is in force.
    """

    name = "node-controller"
    watches = (kinds.NODES, kinds.PODS)
    heeds_faults = True

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._silenced: dict[str, str] = {}
        """Ids of the rules that silence kubelets, keyed by node name."""
        self._rules: tuple[str, ...] = ()
        self._failed_at: dict[str, float] = {}
        """Simulated instant at which a node was first seen as not ready, keyed by its uid."""

    def reconcile(self) -> None:
        """Bring taints and pods in line with every node's state."""
        nodes = self.store.list(kinds.NODES)
        self._notice_silence(nodes)
        nodes = [self._taint(self._heartbeat(node)) for node in nodes if not is_terminating(node)]
        by_name = {name_of(node): node for node in nodes}
        uids = {node["metadata"]["uid"] for node in nodes}
        self._failed_at = {uid: since for uid, since in self._failed_at.items() if uid in uids}
        for pod in self.store.list(kinds.PODS):
            node = pod["spec"].get("nodeName")
            if node and node not in by_name:
                self.store.delete(kinds.PODS, pod, grace_period_seconds=0)
            elif node and not is_ready(by_name[node]):
                self._pod_on_failed_node(pod, by_name[node])

    def _notice_silence(self, nodes: list[Object]) -> None:
        faults = self.surroundings.world.faults
        rules = tuple(rule.id for rule, _ in faults.listed() if rule.kind is FaultKind.STUCK)
        if rules == self._rules:
            return
        self._rules = rules
        for node in nodes:
            call = Call(
                at=self.surroundings.world.clock.now(),
                service="kubernetes",
                operation="node heartbeat",
                mutating=False,
                account=self.cluster.account,
                region=self.cluster.region,
                principal=f"system:node:{name_of(node)}",
                agent="kubelet",
                resource=name_of(node),
            )
            met = faults.meet(call, among=(FaultKind.STUCK,))
            if met is not None:
                self._silenced[name_of(node)] = met.id

    def _heartbeat(self, node: Object) -> Object:
        """Return the node with its Ready condition brought in line with the faults that silence it."""
        name = name_of(node)
        rule = self._silenced.get(name)
        if rule is None:
            return node
        if self.surroundings.world.faults.active(rule):
            silence = finding("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
            return self.update_status(kinds.NODES, node, {}, [silence])
        del self._silenced[name]
        recovered = finding("Ready", True, "KubeletReady", "kubelet is posting ready status")
        return self.update_status(kinds.NODES, node, {}, [recovered])

    def _taint(self, node: Object) -> Object:
        present = node["spec"].get("taints") or []
        wanted = [taint for taint in present if taint["key"] not in _OURS]
        if node["spec"].get("unschedulable"):
            wanted.append({"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"})
        if is_ready(node):
            self._failed_at.pop(node["metadata"]["uid"], None)
        else:
            self._failed_at.setdefault(node["metadata"]["uid"], self.alarm.now())
            wanted += [{"key": _failure_taint(node), "effect": effect} for effect in ("NoSchedule", "NoExecute")]
        bare = [{key: value for key, value in taint.items() if key != "timeAdded"} for taint in present]
        return node if bare == wanted else self.update_spec(kinds.NODES, node, {"taints": wanted or None})

    def _pod_on_failed_node(self, pod: Object, node: Object) -> None:
        """Take the pod out of service, and delete it once it no longer tolerates the node's failure."""
        if is_ready(pod):
            message = "Node is not ready"
            findings = [finding(type_, False, "NodeNotReady", message) for type_ in ("Ready", "ContainersReady")]
            pod = self.update_status(kinds.PODS, pod, {}, findings)
        taint = {"key": _failure_taint(node), "effect": "NoExecute"}
        matching = [entry for entry in pod["spec"].get("tolerations") or () if tolerates([entry], taint)]
        limits = [entry["tolerationSeconds"] for entry in matching if "tolerationSeconds" in entry]
        if matching and not limits:
            return
        patience = min(limits, default=self.durations.not_ready_eviction)
        since = self._failed_at[node["metadata"]["uid"]]
        if self.alarm.has_passed(since, patience, least_real=self.durations.least_wait):
            self.store.delete(kinds.PODS, pod, grace_period_seconds=0)


def _failure_taint(node: Object) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    unknown = any(entry["type"] == "Ready" and entry["status"] == "Unknown" for entry in conditions)
    return UNREACHABLE_TAINT if unknown else NOT_READY_TAINT
