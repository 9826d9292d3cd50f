"""What canary and control have counted: the metrics endpoint of each pod, after some requests of our own."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import requests
import structlog

from activities.kubernetes.access import ClusterApi
from activities.kubernetes.api_keys import temporary_key
from activities.kubernetes.component import pods_of, runs
from activities.kubernetes.manifests.topology import METRICS_PORT
from activities.kubernetes.objects import Object, is_ready, reference_to
from activities.kubernetes.settings import KubernetesSettings
from activities.kubernetes.smoke import PublicEndpoint
from domain.api_key import Scope
from domain.release import Release
from domain.shape import Component
from domain.upgrade import Counters, Measurement

_DOCUMENT = "/v1/collections/byoc-smoke-tests/documents/newest"
_READS = {
    Component.STORE: _DOCUMENT,
    Component.AUTHENTICATION: "/auth/healthz",
    Component.API: _DOCUMENT,
    Component.SUBSCRIPTION: "/subscribe/healthz",
    Component.CDC: "/healthz",
}
"""What is read through the public endpoint so that the component has something to answer. Whether the document is there
does not matter; the health of the whole server asks each component."""
_WITH_KEY = frozenset({Component.STORE, Component.API})
_PAUSE = 0.2
"""Seconds between two looks at whether the new key is accepted."""
_OUT_OF_MEMORY = "OOMKilled"
_SAMPLE = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})?\s+(?P<value>\S+)")
"""One line of Prometheus' text format that is no comment."""
_BOUND = re.compile(r'(?:^|,)le="(?P<bound>[^"]+)"')

_log = structlog.get_logger(__name__)


def exercise(
    api: ClusterApi,
    endpoint: PublicEndpoint,
    component: Component,
    times: int,
    settings: KubernetesSettings,
    heartbeat: Callable[[], None],
) -> None:
    """Make so many read-only requests that reach the component; a key that some need is gone afterwards.

    How they end does not matter here: the pods count it. What does not even get through is not counted by anyone, and
    a comparison without anything to compare does not promote.
    """
    if times < 1:
        return
    try:
        if component in _WITH_KEY:
            now = endpoint.ask("GET", "/version").date
            with temporary_key(
                api, now, settings.key_lifetime, id_=f"measure-{component}", scopes=(Scope.READ,)
            ) as key:
                _until_accepted(endpoint, key, settings, heartbeat)
                _ask(endpoint, component, times, key, heartbeat)
        else:
            _ask(endpoint, component, times, "", heartbeat)
    except requests.RequestException as error:
        _log.warning("the endpoint did not answer", deployment_id=api.site.deployment, error=type(error).__name__)


def _until_accepted(
    endpoint: PublicEndpoint, key: str, settings: KubernetesSettings, heartbeat: Callable[[], None]
) -> None:
    """Wait until the server has read the new key: nothing that it refuses reaches the store."""
    deadline = time.monotonic() + settings.key_propagation.total_seconds()
    while endpoint.ask("GET", _DOCUMENT, key=key).status == 401 and time.monotonic() < deadline:
        heartbeat()
        time.sleep(_PAUSE)


def _ask(endpoint: PublicEndpoint, component: Component, times: int, key: str, heartbeat: Callable[[], None]) -> None:
    for _ in range(times):
        endpoint.ask("GET", _READS[component], key=key)
        heartbeat()


def measure(api: ClusterApi, component: Component, release: Release) -> Measurement:
    """Return the counters of the pods of `release`, and of all others, read one after the other at the same time.

    A side without pods is None, and so is one with a ready pod whose metrics cannot be read: what is not known is not
    nothing. A pod that is not ready has nothing to say, but its restarts count.
    """
    pods = pods_of(api, component)
    at = datetime.now(UTC)
    canary = counters(api, [pod for pod in pods if runs(pod, release)])
    control = counters(api, [pod for pod in pods if not runs(pod, release)])
    return Measurement(at=at, canary=canary, control=control)


def counters(api: ClusterApi, pods: Iterable[Object]) -> Counters | None:
    """Return what these pods have counted, summed up; None if there are none or a ready one does not tell."""
    listed = list(pods)
    samples: Counter[str] = Counter()
    for pod in listed:
        if not is_ready(pod):
            continue
        text = api.read_from_pod(reference_to(pod), METRICS_PORT, "/metrics")
        if text is None:
            return None
        samples.update(read_exposition(text))
    if not listed:
        return None
    statuses = [entry for pod in listed for entry in (pod.get("status") or {}).get("containerStatuses") or ()]
    return Counters(
        pods=len(listed),
        ready=sum(map(is_ready, listed)),
        restarts=sum(entry.get("restartCount", 0) for entry in statuses),
        oom_kills=sum(_ran_out_of_memory(entry) for entry in statuses),
        requests=samples["requests_total"],
        errors=samples["errors_total"],
        latency={name.removeprefix("le="): count for name, count in samples.items() if name.startswith("le=")},
    )


def read_exposition(text: str) -> Counter[str]:
    """Return the sums of all series by name, and under `le=<bound>` the buckets of the latency histogram."""
    sums: Counter[str] = Counter()
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        if sample is None:
            continue
        name = sample["name"]
        if name == "request_duration_seconds_bucket":
            bound = _BOUND.search(sample["labels"] or "")
            name = f"le={bound['bound']}" if bound else name
        sums[name] += int(float(sample["value"]))
    return sums


def _ran_out_of_memory(status: Object) -> bool:
    """Return whether the container's newest end was for lack of memory; Kubernetes remembers no other."""
    ends = [(status.get(state) or {}).get("terminated") or {} for state in ("state", "lastState")]
    return any(end.get("reason") == _OUT_OF_MEMORY for end in ends)
