"""HorizontalPodAutoscalers: replicas follow a simulated load."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import finding
from simulators.kubernetes.controllers.controller import Controller
from simulators.kubernetes.controllers.pods import is_serving
from simulators.kubernetes.kinds import BY_KIND
from simulators.kubernetes.objects import Object, is_terminating, labels_of, namespace_of
from simulators.kubernetes.selectors import matches_label_selector

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

LOAD = "simulators.byoc/load"
"""Annotation of an autoscaler: the load on its target, in percent of the CPU that one pod requests (250: two and a half
pods fully busy). None means no load, so that the target shrinks to its minimum."""

_TOLERANCE = 0.1
"""A utilization within 10 % of its target changes nothing, as in Kubernetes."""
_DEFAULT_TARGET = 80


class AutoscalingController(Controller):
    """Scales each target between its limits so that the load is shared at the utilization that is aimed at."""

    name = "horizontal-pod-autoscaler"
    watches = (
        kinds.HORIZONTAL_POD_AUTOSCALERS,
        kinds.DEPLOYMENTS,
        kinds.STATEFUL_SETS,
        kinds.PODS,
    )

    def reconcile(self) -> None:
        """Look at every autoscaler once."""
        for autoscaler in self.store.list(kinds.HORIZONTAL_POD_AUTOSCALERS):
            if not is_terminating(autoscaler):
                self._scale(autoscaler)

    def _scale(self, autoscaler: Object) -> None:
        reference = autoscaler["spec"]["scaleTargetRef"]
        kind = BY_KIND.get((reference.get("apiVersion", "apps/v1"), reference["kind"]))
        target = self.store.get(kind, namespace_of(autoscaler), reference["name"]) if kind else None
        if kind is None or target is None:
            missing = f'{reference["kind"].lower()}s.apps "{reference["name"]}" not found'
            message = f"the HPA controller was unable to get the target's current scale: {missing}"
            lost = finding("AbleToScale", False, "FailedGetScale", message)
            self.update_status(kinds.HORIZONTAL_POD_AUTOSCALERS, autoscaler, {"desiredReplicas": 0}, [lost])
            return
        current = target["spec"].get("replicas", 1)
        pods = self.store.list(kinds.PODS, namespace_of(autoscaler))
        ready = sum(
            is_serving(pod) and matches_label_selector(target["spec"]["selector"], labels_of(pod)) for pod in pods
        )
        total = float((autoscaler["metadata"].get("annotations") or {}).get(LOAD, 0))
        goal = _target_utilization(autoscaler)
        utilization = total / max(1, ready)
        needed = current if abs(utilization / goal - 1) <= _TOLERANCE else math.ceil(total / goal)
        least, most = autoscaler["spec"].get("minReplicas", 1), autoscaler["spec"]["maxReplicas"]
        desired = min(max(needed, least), most)
        if desired != current:
            self.update_spec(kind, target, {"replicas": desired})
            message = f"New size: {desired}; reason: cpu resource utilization (percentage of request) "
            message += "above target" if desired > current else "below target"
            self.events.normal(autoscaler, self.name, "SuccessfulRescale", message)
        self._report(autoscaler, current, desired, needed, utilization)

    def _report(self, autoscaler: Object, current: int, desired: int, needed: int, utilization: float) -> None:
        if needed > desired:
            message = "the desired replica count is more than the maximum replica count"
            limited = finding("ScalingLimited", True, "TooManyReplicas", message)
        elif needed < desired:
            message = "the desired replica count is less than the minimum replica count"
            limited = finding("ScalingLimited", True, "TooFewReplicas", message)
        else:
            message = "the desired count is within the acceptable range"
            limited = finding("ScalingLimited", False, "DesiredWithinRange", message)
        resized = current != desired
        before = autoscaler.get("status") or {}
        usage = {"averageUtilization": round(utilization)}
        self.update_status(
            kinds.HORIZONTAL_POD_AUTOSCALERS,
            autoscaler,
            {
                "currentReplicas": current,
                "desiredReplicas": desired,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": usage}}],
                "lastScaleTime": self.timestamp() if resized else before.get("lastScaleTime"),
            },
            [
                finding("AbleToScale", True, "ReadyForNewScale", "recommended size matches current size"),
                finding("ScalingActive", True, "ValidMetricFound", "the HPA could calculate a replica count from cpu"),
                limited,
            ],
        )


def set_load(cluster: Cluster, namespace: str, autoscaler: str, percent: float) -> None:
    """Put a load on the target of an autoscaler; raises KeyError if there is no such autoscaler."""

    def change(obj: Object) -> None:
        obj["metadata"].setdefault("annotations", {})[LOAD] = str(percent)

    if cluster.store.update(kinds.HORIZONTAL_POD_AUTOSCALERS, namespace, autoscaler, change) is None:
        raise KeyError(f"{namespace}/{autoscaler}")


def _target_utilization(autoscaler: Object) -> float:
    """Return the CPU utilization that the autoscaler aims at, in percent of what the pods request."""
    for metric in autoscaler["spec"].get("metrics") or ():
        resource = metric.get("resource") or {}
        target = (resource.get("target") or {}).get("averageUtilization")
        if resource.get("name") == "cpu" and target:
            return float(target)
    return float(_DEFAULT_TARGET)
