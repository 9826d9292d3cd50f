"""What a pod answers to those who look after it: its metrics, and whether it lives and is ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.kubernetes.applications.components import component_of, container_of
from simulators.kubernetes.applications.metrics import metrics
from simulators.kubernetes.objects import Object, is_ready

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

_PORT: Final = "metrics"
"""Name of the container's port at which a component is looked after."""


@dataclass(frozen=True)
class Unreachable:
    """Why a request did not get through to the pod, or what it got there instead of a 200."""

    status: int
    message: str


def monitored(cluster: Cluster, pod: Object, port: str, path: str) -> str | Unreachable:
    """Return what a GET gets that reaches this port of the pod (empty: its first) from inside the cluster."""
    component = component_of(pod)
    container = container_of(pod, component) if component else pod["spec"]["containers"][0]
    ports = (container or {}).get("ports") or ()
    number = port or str(ports[0]["containerPort"] if ports else 80)
    address = f"{(pod.get('status') or {}).get('podIP', '')}:{number}"
    if not number.isdecimal():
        return Unreachable(503, f"error trying to reach service: dial tcp: lookup tcp/{number}: unknown port")
    listening = [entry for entry in ports if str(entry["containerPort"]) == number]
    if component is None or not listening or not _runs(pod):
        return Unreachable(503, f"error trying to reach service: dial tcp {address}: connect: connection refused")
    if listening[0].get("name") != _PORT:
        return Unreachable(404, f"there is nothing at {path}")
    answers: dict[str, str | Unreachable] = {
        "/metrics": metrics(cluster, pod, component),
        "/livez": "ok",
        "/readyz": "ok" if is_ready(pod) else Unreachable(503, "not ready"),
    }
    return answers.get(path, Unreachable(404, f"there is nothing at {path}"))


def _runs(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return bool(statuses) and all("running" in (entry.get("state") or {}) for entry in statuses)
