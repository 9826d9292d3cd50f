"""Which pod answers next: those that a load balancer knows, or that serve inside the cluster, take turns."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from simulators.kubernetes.applications.components import component_of
from simulators.kubernetes.controllers.pods import draining_seconds, is_serving
from simulators.kubernetes.controllers.services import backends_at
from simulators.kubernetes.objects import Object, is_ready, is_terminating, namespace_of

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

NOTICE_SECONDS: Final = 5.0
"""Simulated seconds after which load balancers have taken notice that a pod was told to stop."""

_TURNS: WeakKeyDictionary[Cluster, Counter[tuple[str, str]]] = WeakKeyDictionary()
"""Requests so far by namespace and component."""


def targets(cluster: Cluster, service: Object, port: int) -> list[Object]:
    """Return the pods to which a load balancer leads the port of a Service, sorted by name."""
    return [
        pod
        for pod in backends_at(cluster.store, service, port)
        if is_serving(pod) or (is_ready(pod) and is_terminating(pod) and _stopping_for(cluster, pod) < NOTICE_SECONDS)
    ]


def drains(cluster: Cluster, pod: Object) -> bool:
    """Return whether the pod serves, or goes on serving since it was told to stop, by its `preStop` hook."""
    return not is_terminating(pod) or _stopping_for(cluster, pod) < draining_seconds(pod)


def next_of(cluster: Cluster, pods: list[Object]) -> Object:
    """Return the pod whose turn it is among pods of one component."""
    turns = _TURNS.setdefault(cluster, Counter())
    key = (namespace_of(pods[0]), str(component_of(pods[0])))
    turns[key] += 1
    return pods[(turns[key] - 1) % len(pods)]


def _stopping_for(cluster: Cluster, pod: Object) -> float:
    """Return for how many simulated seconds the pod has been stopping; endless where time passes at once."""
    clock = cluster.world.clock
    if math.isinf(clock.speed):
        return math.inf
    metadata = pod["metadata"]
    ends = datetime.strptime(metadata["deletionTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    return clock.time() - ends + float(metadata.get("deletionGracePeriodSeconds", 0))
