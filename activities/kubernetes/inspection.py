"""What is looked at inside the cluster before an upgrade: nodes, pods, disruption budgets, webhooks."""

from __future__ import annotations

from collections.abc import Iterable

from activities.kubernetes.access import ClusterApi
from activities.kubernetes.component import pods_of
from activities.kubernetes.manifests.identity import POOL_LABEL, canary_of
from activities.kubernetes.objects import (
    DISRUPTION_BUDGET,
    MUTATING_WEBHOOKS,
    NODE,
    VALIDATING_WEBHOOKS,
    Object,
    is_ready,
    labels_of,
    name_of,
)
from domain.shape import Component, PoolName
from domain.upgrade import Check

_LONGEST_TIMEOUT = 15
"""Seconds that a webhook may take: each change of an upgrade waits for it."""
_DEFAULT_TIMEOUT = 10
_FINISHED = ("Succeeded", "Failed")


def inspect(api: ClusterApi, *, high_availability: bool) -> tuple[Check, ...]:
    """Return the four checks; what they find is a result."""
    pods = {component: [pod for pod in pods_of(api, component) if not _is_over(pod)] for component in Component}
    return (
        nodes_ready(api.list(NODE)),
        pods_ready(pods),
        disruption_budgets(api.list(DISRUPTION_BUDGET), pods, high_availability=high_availability),
        webhooks((*api.list(VALIDATING_WEBHOOKS), *api.list(MUTATING_WEBHOOKS))),
    )


def nodes_ready(nodes: Iterable[Object]) -> Check:
    """Return whether every node is ready and takes pods; a canary's node is no part of the server."""
    canaries = [canary_of(pool) for pool in PoolName]
    listed = [node for node in nodes if labels_of(node).get(POOL_LABEL) not in canaries]
    found = [f"{name_of(node)} is not ready" for node in listed if not is_ready(node)]
    found += [f"{name_of(node)} takes no pods" for node in listed if node.get("spec", {}).get("unschedulable")]
    if not listed:
        found = ["there are no nodes"]
    return _check("nodes-ready", found, f"{len(listed)} nodes are ready")


def pods_ready(pods: dict[Component, list[Object]]) -> Check:
    """Return whether every component has pods and all of them are ready."""
    found = [f"{component} has no pods" for component, listed in pods.items() if not listed]
    found += [f"{name_of(pod)} is not ready" for listed in pods.values() for pod in listed if not is_ready(pod)]
    return _check("pods-ready", found, f"{sum(map(len, pods.values()))} pods are ready")


def disruption_budgets(
    budgets: Iterable[Object], pods: dict[Component, list[Object]], *, high_availability: bool
) -> Check:
    """Return whether pods can be moved: every budget allows it for one pod, and no pod is under two of them.

    Without high availability a single replica needs none; whatever has more than one has exactly one.
    """
    listed = list(budgets)
    found = [
        f"{name_of(budget)} allows no disruption ({status.get('currentHealthy', 0)} healthy pods, "
        f"{status.get('desiredHealthy', 0)} needed)"
        for budget in listed
        if (status := budget.get("status") or {}).get("expectedPods", 0) and not status.get("disruptionsAllowed", 0)
    ]
    for component, replicas in pods.items():
        least = 1 if len(replicas) > 1 or high_availability else 0
        for pod in replicas:
            covering = sorted(name_of(budget) for budget in listed if _covers(budget, pod))
            if not least <= len(covering) <= 1:
                names = ", ".join(covering) or "none"
                found.append(f"{name_of(pod)} of {component} has {len(covering)} disruption budgets ({names})")
    return _check("disruption-budgets", found, f"{len(listed)} disruption budgets allow one disruption each")


def webhooks(configurations: Iterable[Object]) -> Check:
    """Return whether no webhook can hold up the upgrade: none fails closed, none may take long."""
    every = [
        (f"{name_of(configuration)}/{webhook.get('name', '?')}", webhook)
        for configuration in configurations
        for webhook in configuration.get("webhooks") or ()
    ]
    found = [f"{name} fails closed" for name, webhook in every if webhook.get("failurePolicy", "Fail") == "Fail"]
    found += [
        f"{name} may take {seconds} s"
        for name, webhook in every
        if (seconds := webhook.get("timeoutSeconds", _DEFAULT_TIMEOUT)) > _LONGEST_TIMEOUT
    ]
    return _check("webhooks", found, f"{len(every)} webhooks fail open within {_LONGEST_TIMEOUT} s")


def _check(name: str, found: list[str], well: str) -> Check:
    return Check(name=name, passed=not found, evidence="; ".join(found) or well)


def _is_over(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in _FINISHED


def _covers(budget: Object, pod: Object) -> bool:
    """Return whether the budget's selector matches; an empty one matches every pod of the namespace."""
    if budget["metadata"].get("namespace") != pod["metadata"].get("namespace"):
        return False
    selector = budget["spec"].get("selector")
    if selector is None:
        return False
    labels = labels_of(pod)
    wanted = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(
        _satisfied(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def _satisfied(expression: Object, labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression.get("values", ())
        case "NotIn":
            return value not in expression.get("values", ())
        case "Exists":
            return value is not None
        case _:
            return value is None
