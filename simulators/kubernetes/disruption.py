"""Disruption budgets, and the eviction of pods that respects them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulators.kubernetes.errors import ApiError
from simulators.kubernetes.kinds import BY_KIND, DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS
from simulators.kubernetes.objects import Object, is_ready, is_terminating, labels_of, name_of, namespace_of
from simulators.kubernetes.selectors import matches_label_selector
from simulators.kubernetes.store import Store

_RETRY_SECONDS = 10


@dataclass(frozen=True)
class Budget:
    """How much disruption a PodDisruptionBudget allows now, in pods."""

    expected: int
    desired_healthy: int
    healthy: int

    @property
    def allowed(self) -> int:
        """How many pods may be evicted now."""
        return max(0, self.healthy - self.desired_healthy) if self.expected else 0


def budget(store: Store, disruption_budget: Object) -> Budget:
    """Return what the budget allows, from the pods as they are."""
    pods = _covered_pods(store, disruption_budget)
    spec = disruption_budget["spec"]
    if spec.get("maxUnavailable") is not None:
        expected = _expected(store, pods)
        desired = max(0, expected - _scaled(spec["maxUnavailable"], expected))
    else:
        minimum = spec.get("minAvailable", 0)
        expected = _expected(store, pods) if isinstance(minimum, str) else len(pods)
        desired = _scaled(minimum, expected)
    healthy = sum(is_ready(pod) and not is_terminating(pod) for pod in pods)
    return Budget(expected, desired, healthy)


def budgets_of(store: Store, pod: Object) -> list[Object]:
    """Return the disruption budgets that cover a pod."""
    return [
        entry
        for entry in store.list(POD_DISRUPTION_BUDGETS, namespace_of(pod))
        if matches_label_selector(entry["spec"].get("selector"), labels_of(pod))
    ]


def evict(store: Store, pod: Object, *, grace_period_seconds: int | None, dry_run: bool) -> None:
    """Delete the pod if the budgets that cover it allow it; raises ApiError TooManyRequests if one does not."""
    if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed", "Pending") and not is_terminating(pod):
        _check_budgets(store, pod)
    if not dry_run:
        store.delete(PODS, pod, grace_period_seconds=grace_period_seconds)


def _check_budgets(store: Store, pod: Object) -> None:
    covering = budgets_of(store, pod)
    if not covering:
        return
    if len(covering) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError(500, "InternalError", message)
    state = budget(store, covering[0])
    if not is_ready(pod):
        if covering[0]["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return
        if state.healthy >= state.desired_healthy > 0:
            return
    if state.allowed < 1:
        needs = f"needs {state.desired_healthy} healthy pods and has {state.healthy} currently"
        cause = {"reason": "DisruptionBudget", "message": f"The disruption budget {name_of(covering[0])} {needs}"}
        message = "Cannot evict pod as it would violate the pod's disruption budget."
        raise ApiError(429, "TooManyRequests", message, causes=[cause], retry_after=_RETRY_SECONDS)


def _covered_pods(store: Store, disruption_budget: Object) -> list[Object]:
    selector = disruption_budget["spec"].get("selector")
    return [
        pod
        for pod in store.list(PODS, namespace_of(disruption_budget))
        if matches_label_selector(selector, labels_of(pod))
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


def _expected(store: Store, pods: list[Object]) -> int:
    """Return how many pods the controllers of these pods want together."""
    wanted: dict[str, int] = {}
    for pod in pods:
        controller = _top_controller(store, pod)
        if controller is not None:
            wanted[controller["metadata"]["uid"]] = controller.get("spec", {}).get("replicas", 1)
    return sum(wanted.values())


def _top_controller(store: Store, obj: Object) -> Object | None:
    """Return what scales the pod: the deployment of its replica set, or its stateful set or the like."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        kind = BY_KIND.get((reference["apiVersion"], reference["kind"]))
        owner = store.get(kind, namespace_of(obj), reference["name"]) if kind and reference.get("controller") else None
        if owner is not None:
            above = _top_controller(store, owner)
            return above if above is not None and above["kind"] == DEPLOYMENTS.kind else owner
    return None


def _scaled(amount: int | str, total: int) -> int:
    """Return an amount of pods, where a percentage is rounded up."""
    return math.ceil(int(amount.rstrip("%")) * total / 100) if isinstance(amount, str) else amount
