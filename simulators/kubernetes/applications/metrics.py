"""What each component counts about the requests that it serves, in Prometheus' text format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from simulators.kubernetes.applications.components import Component

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram's buckets, in seconds."""


@dataclass
class Series:
    """The counters of one component in one namespace."""

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * len(_BOUNDS))
    """How many requests took at most the bound of the same index."""


_OF_CLUSTERS: WeakKeyDictionary[Cluster, dict[tuple[str, Component], Series]] = WeakKeyDictionary()


def observe(cluster: Cluster, namespace: str, component: Component, *, seconds: float, failed: bool) -> None:
    """Count one request to a component, which took so long and failed by the server's fault or not."""
    series = _OF_CLUSTERS.setdefault(cluster, {}).setdefault((namespace, component), Series())
    series.requests += 1
    series.errors += failed
    series.seconds += seconds
    for index, bound in enumerate(_BOUNDS):
        series.buckets[index] += seconds <= bound


def requests_to(cluster: Cluster, namespace: str, component: Component) -> int:
    """Return how many requests a component has answered."""
    return _OF_CLUSTERS.get(cluster, {}).get((namespace, component), Series()).requests


def metrics(cluster: Cluster, component: Component, namespace: str | None = None) -> str:
    """Return what a component's `/metrics` answers: its series in one namespace, or in each of the cluster's."""
    found = {
        home: series
        for (home, counted), series in sorted(_OF_CLUSTERS.get(cluster, {}).items())
        if counted == component and namespace in (None, home)
    }
    lines = ["# HELP requests_total Requests that the component has answered.", "# TYPE requests_total counter"]
    lines += [f"requests_total{_labels(component, home)} {series.requests}" for home, series in found.items()]
    lines += ["# HELP errors_total Requests that failed by the server's fault.", "# TYPE errors_total counter"]
    lines += [f"errors_total{_labels(component, home)} {series.errors}" for home, series in found.items()]
    lines += ["# HELP request_duration_seconds Time to answer a request.", "# TYPE request_duration_seconds histogram"]
    for home, series in found.items():
        for bound, count in zip(_BOUNDS, series.buckets, strict=True):
            lines.append(f"request_duration_seconds_bucket{_labels(component, home, le=str(bound))} {count}")
        lines.append(f"request_duration_seconds_bucket{_labels(component, home, le='+Inf')} {series.requests}")
        lines.append(f"request_duration_seconds_sum{_labels(component, home)} {series.seconds:.6f}")
        lines.append(f"request_duration_seconds_count{_labels(component, home)} {series.requests}")
    return "\n".join(lines) + "\n"


def _labels(component: Component, namespace: str, **more: str) -> str:
    pairs = {"component": component.value, "namespace": namespace, **more}
    return "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"
