"""Tables: the columns that the server prints for `kubectl get`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from simulators.kubernetes import kinds
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Json, Object, is_ready, is_terminating, name_of
from simulators.kubernetes.store import Store

Column = tuple[str, Callable[[Object], Json]]


def wants_table(accept: str) -> bool:
    """Return whether a client's Accept header asks for a table."""
    return "as=Table" in accept


def table(kind: Kind, objects: Sequence[Object], store: Store, metadata: Object | None = None) -> Object:
    """Return the objects as a Table, each with its metadata, as kubectl prints it."""
    columns: list[Column] = [("Name", name_of), *_COLUMNS.get(kind, ()), ("Age", lambda obj: _age(obj, store))]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": (metadata or {}).get("resourceVersion", str(store.resource_version))},
        "columnDefinitions": [
            {
                "name": name,
                "type": "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": 0,
            }
            for name, _ in columns
        ],
        "rows": [
            {
                "cells": [cell(obj) for _, cell in columns],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": obj["metadata"],
                },
            }
            for obj in objects
        ],
    }


def _age(obj: Object, store: Store) -> str:
    created = datetime.strptime(obj["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    seconds = max(0, int(store.clock.time() - created.timestamp()))
    for size, unit, next_size, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= 2 * size:
            rest = (seconds % size) // next_size
            fraction = f"{rest}{next_unit}" if rest and seconds < 10 * size else ""
            return f"{seconds // size}{unit}{fraction}"
    return f"{seconds}s"


def _at(*path: str, default: Json = "<none>") -> Callable[[Object], Json]:
    def read(obj: Object) -> Json:
        value: Json = obj
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return default if value in (None, "", [], {}) else value

    return read


def _of(part: tuple[str, str], whole: tuple[str, str]) -> Callable[[Object], str]:
    return lambda obj: f"{_at(*part, default=0)(obj)}/{_at(*whole, default=0)(obj)}"


def _pod_ready(pod: Object) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return f"{sum(bool(status.get('ready')) for status in statuses)}/{len(pod['spec'].get('containers') or ())}"


def _pod_status(pod: Object) -> str:
    if is_terminating(pod):
        return "Terminating"
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        reason = (state.get("waiting") or state.get("terminated") or {}).get("reason")
        if reason:
            return str(reason)
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _restarts(pod: Object) -> int:
    return sum(entry.get("restartCount", 0) for entry in (pod.get("status") or {}).get("containerStatuses") or ())


def _node_status(node: Object) -> str:
    ready = "Ready" if is_ready(node) else "NotReady"
    return f"{ready},SchedulingDisabled" if node["spec"].get("unschedulable") else ready


def _external_address(service: Object) -> str:
    ingress = _at("status", "loadBalancer", "ingress", default=())(service)
    addresses = [entry.get("hostname") or entry.get("ip") for entry in ingress]
    if addresses:
        return ",".join(addresses)
    return "<pending>" if service["spec"].get("type") == "LoadBalancer" else "<none>"


def _ports(service: Object) -> str:
    return ",".join(
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in service["spec"].get("ports") or ()
    )


def _data(obj: Object) -> int:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def _desired(obj: Object) -> int:
    replicas: int = obj["spec"].get("replicas", 1)
    return replicas


def _target(autoscaler: Object) -> str:
    reference = autoscaler["spec"]["scaleTargetRef"]
    return f"{reference['kind']}/{reference['name']}"


def _involved(event: Object) -> str:
    involved = event["involvedObject"]
    return f"{involved.get('kind', '').lower()}/{involved.get('name')}"


_COLUMNS: dict[Kind, tuple[Column, ...]] = {
    kinds.PODS: (
        ("Ready", _pod_ready),
        ("Status", _pod_status),
        ("Restarts", _restarts),
        ("Node", _at("spec", "nodeName")),
    ),
    kinds.NODES: (
        ("Status", _node_status),
        ("Zone", lambda node: _at("metadata", "labels", default={})(node).get("topology.kubernetes.io/zone", "")),
        ("Version", _at("status", "nodeInfo", "kubeletVersion")),
    ),
    kinds.NAMESPACES: (("Status", _at("status", "phase")),),
    kinds.SERVICES: (
        ("Type", _at("spec", "type")),
        ("Cluster-IP", _at("spec", "clusterIP")),
        ("External-IP", _external_address),
        ("Port(s)", _ports),
    ),
    kinds.DEPLOYMENTS: (
        ("Ready", _of(("status", "readyReplicas"), ("spec", "replicas"))),
        ("Up-to-date", _at("status", "updatedReplicas", default=0)),
        ("Available", _at("status", "availableReplicas", default=0)),
    ),
    kinds.REPLICA_SETS: (
        ("Desired", _desired),
        ("Current", _at("status", "replicas", default=0)),
        ("Ready", _at("status", "readyReplicas", default=0)),
    ),
    kinds.STATEFUL_SETS: (("Ready", _of(("status", "readyReplicas"), ("spec", "replicas"))),),
    kinds.DAEMON_SETS: (
        ("Desired", _at("status", "desiredNumberScheduled", default=0)),
        ("Current", _at("status", "currentNumberScheduled", default=0)),
        ("Ready", _at("status", "numberReady", default=0)),
    ),
    kinds.JOBS: (("Completions", _of(("status", "succeeded"), ("spec", "completions"))),),
    kinds.CONFIG_MAPS: (("Data", _data),),
    kinds.SECRETS: (("Type", _at("type")), ("Data", _data)),
    kinds.PERSISTENT_VOLUME_CLAIMS: (
        ("Status", _at("status", "phase")),
        ("Volume", _at("spec", "volumeName", default="")),
        ("Capacity", _at("status", "capacity", "storage", default="")),
        ("StorageClass", _at("spec", "storageClassName", default="")),
    ),
    kinds.PERSISTENT_VOLUMES: (
        ("Capacity", _at("spec", "capacity", "storage", default="")),
        ("Reclaim Policy", _at("spec", "persistentVolumeReclaimPolicy")),
        ("Status", _at("status", "phase")),
        ("Claim", _at("spec", "claimRef", "name", default="")),
    ),
    kinds.POD_DISRUPTION_BUDGETS: (
        ("Min Available", _at("spec", "minAvailable", default="N/A")),
        ("Max Unavailable", _at("spec", "maxUnavailable", default="N/A")),
        ("Allowed Disruptions", _at("status", "disruptionsAllowed", default=0)),
    ),
    kinds.HORIZONTAL_POD_AUTOSCALERS: (
        ("Reference", _target),
        ("MinPods", _at("spec", "minReplicas", default=1)),
        ("MaxPods", _at("spec", "maxReplicas")),
        ("Replicas", _at("status", "currentReplicas", default=0)),
    ),
    kinds.STORAGE_CLASSES: (
        ("Provisioner", _at("provisioner")),
        ("ReclaimPolicy", _at("reclaimPolicy")),
        ("VolumeBindingMode", _at("volumeBindingMode")),
    ),
    kinds.EVENTS: (
        ("Type", _at("type")),
        ("Reason", _at("reason")),
        ("Object", _involved),
        ("Message", _at("message", default="")),
    ),
}
