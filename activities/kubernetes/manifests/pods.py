"""The parts of a pod that all our pods share: confinement, placement, probes, resources."""

from __future__ import annotations

from activities.kubernetes.manifests.identity import POOL_LABEL, selector
from activities.kubernetes.manifests.topology import METRICS_PORT
from activities.kubernetes.objects import Object
from domain.deployment import Site
from domain.shape import PoolName

_USER = 10001
SCRATCH = "scratch"
ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


def confined_pod() -> Object:
    """Return the fields of a pod's specification that the "restricted" pod security standard asks for, and more."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def confined_container() -> Object:
    """Return the same for a container; its root file system is read-only, so it gets a writable `/tmp`."""
    return {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def scratch_volume() -> Object:
    """Return the volume of `scratch_mount`."""
    return {"name": SCRATCH, "emptyDir": {"sizeLimit": "1Gi"}}


def scratch_mount() -> Object:
    """Return the mount of a writable `/tmp`."""
    return {"name": SCRATCH, "mountPath": "/tmp"}  # noqa: S108 - a path in the container, on a volume of its own


def on_pool(pool: PoolName) -> Object:
    """Return what brings a pod to the nodes of `pool`; those of the store are tainted to keep everything else away."""
    placement: Object = {"nodeSelector": {POOL_LABEL: str(pool)}}
    if pool is PoolName.STORE:
        placement["tolerations"] = [
            {"key": POOL_LABEL, "operator": "Equal", "value": str(pool), "effect": "NoSchedule"}
        ]
    return placement


def spread_over_zones(site: Site, name: str, *, strictly: bool) -> Object:
    """Spread the pods of that name evenly over zones: strictly (a pod waits rather), or as well as it goes."""
    constraint: Object = {
        "topologyKey": ZONE,
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule" if strictly else "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(site, name)},
    }
    if not strictly:
        # During a rollout only the new pods count, else the old ones would push them together.
        constraint["matchLabelKeys"] = ["pod-template-hash"]
    return {"topologySpreadConstraints": [constraint]}


def apart_by_host(site: Site, name: str, *, strictly: bool) -> Object:
    """Keep the pods of that name on different nodes: strictly, or as well as it goes."""
    term = {"topologyKey": HOST, "labelSelector": {"matchLabels": selector(site, name)}}
    if strictly:
        rule: Object = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    else:
        rule = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    return {"affinity": {"podAntiAffinity": rule}}


def resources(cpu_millis: int, memory_mib: int) -> Object:
    """Return requests and limits: memory is fixed, processor time above the request is lent while others leave it."""
    memory = f"{memory_mib}Mi"
    return {"requests": {"cpu": f"{cpu_millis}m", "memory": memory}, "limits": {"memory": memory}}


def probes(*, slowest_start_seconds: int) -> Object:
    """Return the probes: liveness looks at the process alone, readiness also at what it needs to serve."""
    period = 5
    tries = slowest_start_seconds // period
    return {
        "startupProbe": {**_get("/livez"), "periodSeconds": period, "failureThreshold": tries},
        "livenessProbe": {**_get("/livez"), "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 3},
        "readinessProbe": {**_get("/readyz"), "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": 2},
    }


def _get(path: str) -> Object:
    return {"httpGet": {"path": path, "port": "metrics"}}


def ports(name: str, port: int) -> list[Object]:
    """Return the container's ports: the one that it serves on, and the one for kubelet and monitoring."""
    return [
        {"name": name, "containerPort": port, "protocol": "TCP"},
        {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
    ]


def environment(**values: str) -> list[Object]:
    """Return environment variables, in the order that is given."""
    return [{"name": name, "value": value} for name, value in values.items()]
