"""Emptying a node as clouds do it: no new pods, its own asked to leave by eviction, daemons stay."""

from __future__ import annotations

import math
from collections.abc import Sequence

from simulators.clock import Clock
from simulators.kubernetes import kinds
from simulators.kubernetes.disruption import budget, budgets_of, evict
from simulators.kubernetes.errors import ApiError
from simulators.kubernetes.objects import Object, is_terminating
from simulators.kubernetes.simulator import Cluster

_LEAST_PATIENCE = 5.0
"""Real seconds for which a budget may stay exhausted, however fast the clock: pods become ready in real time."""


def cordon(cluster: Cluster | None, node: str, *, unschedulable: bool = True) -> None:
    """Keep new pods off a node, or let them onto it again."""

    def change(found: Object) -> None:
        found.setdefault("spec", {})["unschedulable"] = unschedulable

    if cluster is not None:
        cluster.store.update(kinds.NODES, None, node, change)


def pods_to_move(cluster: Cluster | None, node: str) -> list[Object]:
    """Return the pods that have to leave before the node can go: no daemons, and nothing that has ended."""
    if cluster is None:
        return []
    return [pod for pod in cluster.store.list(kinds.PODS) if pod["spec"].get("nodeName") == node and not _stays(pod)]


def ask_to_leave(cluster: Cluster | None, node: str) -> bool:
    """Evict every pod of the node that its budgets let go; return whether any was."""
    went = False
    for pod in pods_to_move(cluster, node):
        if cluster is None or is_terminating(pod):
            continue
        try:
            evict(cluster.store, pod, grace_period_seconds=None, dry_run=False)
        except ApiError:
            continue
        went = True
    return went


def end_pods(cluster: Cluster | None, node: str) -> None:
    """End every pod of the node at once, whatever its budgets say."""
    for pod in pods_to_move(cluster, node):
        if cluster is not None:
            cluster.store.delete(kinds.PODS, pod, grace_period_seconds=0)


def patience_with(cluster: Cluster, pods: Sequence[Object], clock: Clock, seconds: float) -> float:
    """Return for how long, in simulated seconds, pods that do not leave are waited for.

    A clock that makes everything due at once does not wait for a budget that never allows anything.
    """
    if math.isinf(clock.speed):
        return 0.0 if any(_never_may_go(cluster, pod) for pod in pods) else _LEAST_PATIENCE
    return max(seconds, _LEAST_PATIENCE * clock.speed)


def _never_may_go(cluster: Cluster, pod: Object) -> bool:
    """Return whether a budget of the pod allows nothing even with all its pods healthy."""
    states = [budget(cluster.store, each) for each in budgets_of(cluster.store, pod)]
    return any(state.expected <= state.desired_healthy for state in states)


def _stays(pod: Object) -> bool:
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return ended or any(owner["kind"] == "DaemonSet" for owner in pod["metadata"].get("ownerReferences") or ())
