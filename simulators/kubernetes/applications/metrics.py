"""What each pod of the server counts about the requests that it serves, in Prometheus' text format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from simulators.kubernetes.applications.components import Component, release_of
from simulators.kubernetes.objects import Object

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram's buckets, in seconds."""


@dataclass
class Series:
    """The counters of one process; they begin anew with it."""

    process: str
    """Id of the container that it runs in."""
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * len(_BOUNDS))
    """How many requests took at most the bound of the same index."""


_OF_CLUSTERS: WeakKeyDictionary[Cluster, dict[str, Series]] = WeakKeyDictionary()
"""Counters by the pod's uid."""


def observe(cluster: Cluster, pod: Object, *, seconds: float, failed: bool) -> None:
    """Count one request that the pod answered, which took so long and failed by its own fault or not."""
    series = series_of(cluster, pod)
    series.requests += 1
    series.errors += failed
    series.seconds += seconds
    for index, bound in enumerate(_BOUNDS):
        series.buckets[index] += seconds <= bound


def series_of(cluster: Cluster, pod: Object) -> Series:
    """Return what the pod's present process has counted."""
    all_of_them = _OF_CLUSTERS.setdefault(cluster, {})
    uid, process = pod["metadata"]["uid"], _process(pod)
    if uid not in all_of_them:
        for gone in [known for known in all_of_them if cluster.store.find(known) is None]:
            del all_of_them[gone]
    if uid not in all_of_them or all_of_them[uid].process != process:
        all_of_them[uid] = Series(process)
    return all_of_them[uid]


def metrics(cluster: Cluster, pod: Object, component: Component) -> str:
    """Return what `/metrics` of the pod answers."""
    series = series_of(cluster, pod)
    told = {"component": component.value, "release": release_of(pod, component)}
    lines = [
        "# HELP requests_total Requests that were answered.",
        "# TYPE requests_total counter",
        f"requests_total{_labels(told)} {series.requests}",
        "# HELP errors_total Requests that failed by the fault of this component.",
        "# TYPE errors_total counter",
        f"errors_total{_labels(told)} {series.errors}",
        "# HELP request_duration_seconds Time to answer a request.",
        "# TYPE request_duration_seconds histogram",
    ]
    for bound, count in zip(_BOUNDS, series.buckets, strict=True):
        lines.append(f"request_duration_seconds_bucket{_labels({**told, 'le': str(bound)})} {count}")
    lines += [
        f"request_duration_seconds_bucket{_labels({**told, 'le': '+Inf'})} {series.requests}",
        f"request_duration_seconds_sum{_labels(told)} {series.seconds:.6f}",
        f"request_duration_seconds_count{_labels(told)} {series.requests}",
    ]
    return "\n".join(lines) + "\n"


def _process(pod: Object) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return ",".join(str(entry.get("containerID", "")) for entry in statuses)


def _labels(pairs: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"
