"""The five components as workloads: the store as a StatefulSet, the others as Deployments; all scale by themselves.

A manifest never has `replicas`: their number is the autoscaler's, and applying one would fight it.
"""

from __future__ import annotations

from activities.kubernetes.manifests import pods
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.desired import Desired
from activities.kubernetes.manifests.foundation import (
    API_KEYS,
    SERVICES_PRIORITY,
    STORAGE_CLASS_NAME,
    STORE_PRIORITY,
    WEBHOOK_CONFIGURATION,
)
from activities.kubernetes.manifests.identity import PUBLIC_LABEL, SERVER_NAMESPACE, labels, selector
from activities.kubernetes.manifests.topology import CALLS, METRICS_PORT, PORTS, PUBLIC_PORTS, address
from activities.kubernetes.objects import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    SERVICE,
    STATEFUL_SET,
    Kind,
    Object,
    Reference,
)
from domain.deployment import DeploymentSpec, Site
from domain.release import Release
from domain.shape import POOL_OF_COMPONENT, Component, ComponentSize, Scale, Shape
from domain.sizing import component_sizes

RELEASE_INFORMATION = "release"
_DATA = "data"
_TARGET_CPU = 70
"""Percent of the processor request at which the autoscaler adds replicas."""
_SLOWEST_START = {Component.STORE: 600}
"""Seconds; the store replays its log before it serves."""
_GRACE = {Component.STORE: 120, Component.SUBSCRIPTION: 90}
"""Seconds from the order to stop until the process is killed: the store hands over and flushes, devices reconnect."""
_DEFAULT_START = 120
_DEFAULT_GRACE = 60
_SERVICE_SCALING: Object = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 30}],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    },
}
_STORE_SCALING: Object = {
    # A new replica first copies the data, which is load in itself.
    "scaleUp": {
        "stabilizationWindowSeconds": 600,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1800}],
    },
    # What holds data is taken away by an operation that somebody ordered, never by a quiet night.
    "scaleDown": {"selectPolicy": "Disabled"},
}
_DRAINING_SECONDS = 20
"""How long a pod goes on serving after it was told to stop, until load balancer and peers have taken notice."""


def workload_reference(component: Component) -> Reference:
    """Return where the component's StatefulSet or Deployment is."""
    kind = STATEFUL_SET if component is Component.STORE else DEPLOYMENT
    return Reference(kind, str(component), SERVER_NAMESPACE)


def grace(component: Component) -> int:
    """Return the seconds from the order to stop until a pod of the component is killed."""
    return _GRACE.get(component, _DEFAULT_GRACE)


def component_manifests(
    site: Site, component: Component, release: Release, shape: Shape, spec: DeploymentSpec, *, cloud: CloudManifests
) -> Desired:
    """Return everything that runs one component."""
    sizes = component_sizes(shape, high_availability=spec.high_availability, overrides=spec.scaling)
    size = sizes[component]
    workload = _stateful_set if component is Component.STORE else _deployment
    objects = (
        release_information(site, release),
        _service(site, component, release),
        # Before the workload: one that appears without an autoscaler keeps running a single replica.
        _autoscaler(site, component, release, size.scale),
        workload(site, component, release, size, cloud),
    )
    if size.scale.maximum > 1:
        return Desired((*objects, _disruption_budget(site, component, release)))
    return Desired(objects, absent=(Reference(DISRUPTION_BUDGET, str(component), SERVER_NAMESPACE),))


def release_information(site: Site, release: Release) -> Object:
    """Return the release as the components (and whoever looks) can read it."""
    images = {f"image.{component}": image for component, image in sorted(release.components.items())}
    return {
        **_head(CONFIG_MAP, site, RELEASE_INFORMATION, release),
        "data": {"version": release.version, "schemaEpoch": str(release.schema_epoch), **images},
    }


def _head(kind: Kind, site: Site, name: str, release: Release) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "name": str(name),
            "namespace": SERVER_NAMESPACE,
            "labels": labels(site, name, version=release.version),
        },
    }


def _service(site: Site, component: Component, release: Release) -> Object:
    """Return the address of a component; that of the store is headless, so that each replica has a name."""
    spec: Object = {
        "selector": selector(site, component),
        "ports": [
            {"name": str(component), "port": PORTS[component], "targetPort": str(component), "protocol": "TCP"},
            {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"},
        ],
    }
    if component is Component.STORE:
        # Replicas find one another before any of them is ready.
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {**_head(SERVICE, site, component, release), "spec": spec}


def _disruption_budget(site: Site, component: Component, release: Release) -> Object:
    """Let at most one replica be taken away at a time; one that is broken anyway never blocks a drain."""
    spec: Object = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(site, component)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return {**_head(DISRUPTION_BUDGET, site, component, release), "spec": spec}


def _autoscaler(site: Site, component: Component, release: Release, scale: Scale) -> Object:
    """Return the autoscaler between the limits of `scale`, which also keeps the minimum when no metrics are there."""
    target = workload_reference(component)
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": _TARGET_CPU}}
    spec: Object = {
        "scaleTargetRef": {"apiVersion": target.kind.api_version, "kind": target.kind.name, "name": target.name},
        "minReplicas": scale.minimum,
        "maxReplicas": scale.maximum,
        "metrics": [{"type": "Resource", "resource": metric}],
        "behavior": _STORE_SCALING if component is Component.STORE else _SERVICE_SCALING,
    }
    return {**_head(AUTOSCALER, site, component, release), "spec": spec}


def _deployment(
    site: Site, component: Component, release: Release, size: ComponentSize, cloud: CloudManifests
) -> Object:
    """Return a component without state, whose replicas go to different zones and nodes as well as it goes."""
    spec: Object = {
        "selector": {"matchLabels": selector(site, component)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "minReadySeconds": 5,
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 3,
        "template": {
            "metadata": {"labels": _pod_labels(site, component, release, cloud)},
            "spec": {
                **_pod(component, SERVICES_PRIORITY),
                **pods.on_pool(POOL_OF_COMPONENT[component]),
                **pods.spread_over_zones(site, component, strictly=False),
                **pods.apart_by_host(site, component, strictly=False),
                "containers": [_container(component, release, size)],
                "volumes": [pods.scratch_volume(), *_configuration_volumes(component)],
            },
        },
    }
    return {**_head(DEPLOYMENT, site, component, release), "spec": spec}


def _stateful_set(site: Site, store: Component, release: Release, size: ComponentSize, cloud: CloudManifests) -> Object:
    """Return the store: replicas in different zones, each with a volume of its own that outlives it."""
    spec: Object = {
        "serviceName": str(store),
        "selector": {"matchLabels": selector(site, store)},
        # After an outage of all replicas they need one another to become ready; updates still go one by one.
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "minReadySeconds": 10,
        "revisionHistoryLimit": 3,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "template": {
            "metadata": {"labels": _pod_labels(site, store, release, cloud)},
            "spec": {
                **_pod(store, STORE_PRIORITY),
                **pods.on_pool(POOL_OF_COMPONENT[store]),
                **pods.spread_over_zones(site, store, strictly=True),
                **pods.apart_by_host(site, store, strictly=True),
                "containers": [_container(store, release, size)],
                "volumes": [pods.scratch_volume()],
            },
        },
        "volumeClaimTemplates": [_volume_claim(site, size)],
    }
    return {**_head(STATEFUL_SET, site, store, release), "spec": spec}


def _volume_claim(site: Site, size: ComponentSize) -> Object:
    """Return the claim of one replica. Its labels are ours alone, without the release: claims cannot be changed."""
    return {
        "metadata": {"name": _DATA, "labels": labels(site, Component.STORE)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS_NAME,
            "resources": {"requests": {"storage": f"{size.volume_gib}Gi"}},
        },
    }


def _pod_labels(site: Site, component: Component, release: Release, cloud: CloudManifests) -> dict[str, str]:
    public = {PUBLIC_LABEL: "true"} if component in PUBLIC_PORTS else {}
    return {**labels(site, component, version=release.version), **public, **cloud.identity_labels(component)}


def _pod(component: Component, priority: str) -> Object:
    return {
        "serviceAccountName": str(component),
        "priorityClassName": priority,
        "terminationGracePeriodSeconds": grace(component),
        **pods.confined_pod(),
    }


def _container(component: Component, release: Release, size: ComponentSize) -> Object:
    called = {f"{other.upper()}_ADDRESS": address(other) for other in CALLS[component] if other is not component}
    variables = pods.environment(
        SERVER_RELEASE=release.version,
        SCHEMA_EPOCH=str(release.schema_epoch),
        LISTEN_PORT=str(PORTS[component]),
        METRICS_PORT=str(METRICS_PORT),
        **called,
    )
    mounts = [pods.scratch_mount()]
    if component is Component.STORE:
        variables += _membership()
        mounts.append({"name": _DATA, "mountPath": "/var/lib/store"})
    mounts += _configuration_mounts(component)
    return {
        "name": str(component),
        "image": release.components[component],
        "imagePullPolicy": "IfNotPresent",
        "env": variables,
        "ports": pods.ports(component, PORTS[component]),
        "resources": pods.resources(size.cpu_millis, size.memory_mib),
        "volumeMounts": mounts,
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAINING_SECONDS}}},
        **pods.probes(slowest_start_seconds=_SLOWEST_START.get(component, _DEFAULT_START)),
        **pods.confined_container(),
    }


def _membership() -> list[Object]:
    """Return who a replica is, and the name under which the name service lists all of them, ready or not."""
    name = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}
    return [name, *pods.environment(PEERS_ADDRESS=address(Component.STORE))]


def _configuration_volumes(component: Component) -> list[Object]:
    """Return volumes of configuration that the component reads anew when it changes, without a restart."""
    match component:
        case Component.API:
            return [{"name": API_KEYS, "secret": {"secretName": API_KEYS, "defaultMode": 0o440}}]
        case Component.AUTHENTICATION:
            return [{"name": WEBHOOK_CONFIGURATION, "configMap": {"name": WEBHOOK_CONFIGURATION, "optional": True}}]
        case _:
            return []


def _configuration_mounts(component: Component) -> list[Object]:
    return [
        {"name": volume["name"], "mountPath": f"/etc/byoc/{volume['name']}", "readOnly": True}
        for volume in _configuration_volumes(component)
    ]
