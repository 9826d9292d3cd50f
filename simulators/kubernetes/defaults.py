"""The defaults that a real API server fills in, as far as controllers and clients rely on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from simulators.kubernetes import kinds
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Json, Object

if TYPE_CHECKING:
    from simulators.kubernetes.store import Store

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_SERVICE_NETWORK = "172.20"
_FIRST_NODE_PORT, _LAST_NODE_PORT = 30000, 32767


def set_defaults(kind: Kind, obj: Object, store: Store) -> None:
    """Fill in what the object leaves out; setting them twice changes nothing."""
    setter = _SETTERS.get(kind)
    if setter is not None:
        setter(obj, store)


def initial_status(kind: Kind) -> Object | None:
    """Return the status that a new object of that kind has before any controller saw it, or None."""
    status = _INITIAL_STATUS.get(kind)
    return dict(status) if status is not None else None


_INITIAL_STATUS: dict[Kind, Object] = {
    kinds.PODS: {"phase": "Pending", "qosClass": "Burstable"},
    kinds.NAMESPACES: {"phase": "Active"},
    kinds.PERSISTENT_VOLUME_CLAIMS: {"phase": "Pending"},
    kinds.PERSISTENT_VOLUMES: {"phase": "Pending"},
    kinds.SERVICES: {"loadBalancer": {}},
    kinds.DEPLOYMENTS: {},
    kinds.REPLICA_SETS: {"replicas": 0},
    kinds.STATEFUL_SETS: {"replicas": 0, "availableReplicas": 0},
    kinds.DAEMON_SETS: {
        "currentNumberScheduled": 0,
        "desiredNumberScheduled": 0,
        "numberMisscheduled": 0,
        "numberReady": 0,
    },
    kinds.JOBS: {},
    kinds.POD_DISRUPTION_BUDGETS: {
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "disruptionsAllowed": 0,
        "expectedPods": 0,
    },
    kinds.INGRESSES: {"loadBalancer": {}},
    kinds.HORIZONTAL_POD_AUTOSCALERS: {"currentMetrics": None, "desiredReplicas": 0},
    kinds.GATEWAYS: {
        "conditions": [
            {
                "type": type_,
                "status": "Unknown",
                "reason": "Pending",
                "message": "Waiting for controller",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            }
            for type_ in ("Accepted", "Programmed")
        ]
    },
}


def _fill(target: Object, **defaults: Json) -> Object:
    for name, value in defaults.items():
        if target.get(name) is None:
            target[name] = value
    return target


def _specification(obj: Object) -> Object:
    found: Object = obj.setdefault("spec", {})
    return found


def _pod_specification(spec: Object) -> None:
    _fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        securityContext={},
    )
    if account := spec.get("serviceAccountName"):
        _fill(spec, serviceAccount=account)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Object) -> None:
    image = container.get("image", "")
    latest = image.endswith(":latest") or (":" not in image.rpartition("/")[2] and "@" not in image)
    _fill(
        container,
        imagePullPolicy="Always" if latest else "IfNotPresent",
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    for port in container.get("ports") or ():
        _fill(port, protocol="TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if "httpGet" in probe:
                _fill(probe["httpGet"], scheme="HTTP", path="/")
    for variable in container.get("env") or ():
        if reference := (variable.get("valueFrom") or {}).get("fieldRef"):
            _fill(reference, apiVersion="v1")
    _requests_from_limits(container["resources"])


def _requests_from_limits(resources: Object) -> None:
    for name, quantity in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, quantity)


def _volume(volume: Object) -> None:
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(source) is not None:
            _fill(volume[source], defaultMode=0o644)


def _pod(obj: Object, store: Store) -> None:
    spec = _specification(obj)
    _fill(spec, serviceAccountName="default")
    _pod_specification(spec)
    priority_class = store.get(kinds.PRIORITY_CLASSES, None, spec.get("priorityClassName") or "") or {}
    _fill(
        spec,
        enableServiceLinks=True,
        preemptionPolicy=priority_class.get("preemptionPolicy", "PreemptLowerPriority"),
        priority=priority_class.get("value", 0),
    )


def _template(obj: Object) -> Object:
    spec = _specification(obj)
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    _pod_specification(template.setdefault("spec", {}))
    return spec


def _deployment(obj: Object, _: Store) -> None:
    spec = _template(obj)
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    _fill(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _fill(spec["strategy"], rollingUpdate={})
        _fill(spec["strategy"]["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")


def _replica_set(obj: Object, _: Store) -> None:
    _fill(_template(obj), replicas=1)


def _stateful_set(obj: Object, _: Store) -> None:
    spec = _template(obj)
    _fill(
        spec,
        replicas=1,
        revisionHistoryLimit=10,
        podManagementPolicy="OrderedReady",
        updateStrategy={},
        persistentVolumeClaimRetentionPolicy={},
    )
    _fill(spec["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")
    _fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _fill(spec["updateStrategy"], rollingUpdate={})
        _fill(spec["updateStrategy"]["rollingUpdate"], partition=0)
    for claim in spec.get("volumeClaimTemplates") or ():
        _fill(claim, apiVersion="v1", kind="PersistentVolumeClaim", status={"phase": "Pending"})
        _fill(claim.setdefault("spec", {}), volumeMode="Filesystem")


def _daemon_set(obj: Object, _: Store) -> None:
    spec = _template(obj)
    _fill(spec, revisionHistoryLimit=10, updateStrategy={})
    _fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _fill(spec["updateStrategy"], rollingUpdate={})
        _fill(spec["updateStrategy"]["rollingUpdate"], maxSurge=0, maxUnavailable=1)


def _job(obj: Object, _: Store) -> None:
    spec = _template(obj)
    _fill(spec, parallelism=1, completions=1, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    uid = obj["metadata"].get("uid")
    if uid and not spec.get("selector"):
        identity = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": obj["metadata"]["name"]}
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        labels = spec["template"]["metadata"].setdefault("labels", {})
        labels.update(identity, **{"job-name": obj["metadata"]["name"], "controller-uid": uid})


def _cron_job(obj: Object, _: Store) -> None:
    _fill(
        _specification(obj),
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )


def _namespace(obj: Object, _: Store) -> None:
    _fill(_specification(obj), finalizers=["kubernetes"])
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _endpoint_slice(obj: Object, _: Store) -> None:
    for port in obj.get("ports") or ():
        _fill(port, name="", protocol="TCP")


def _service(obj: Object, store: Store) -> None:
    spec = _specification(obj)
    _fill(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    for port in spec.get("ports") or ():
        _fill(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] == "ExternalName":
        return
    _fill(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    if not spec.get("clusterIP"):
        spec["clusterIP"] = _free_address(store)
    _fill(spec, clusterIPs=[spec["clusterIP"]])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _fill(spec, externalTrafficPolicy="Cluster")
        for port in spec.get("ports") or ():
            if not port.get("nodePort"):
                port["nodePort"] = _free_node_port(store, spec["ports"])
    if spec["type"] == "LoadBalancer":
        _fill(spec, allocateLoadBalancerNodePorts=True)


def _free_address(store: Store) -> str:
    taken = {service["spec"].get("clusterIP") for service in store.list(kinds.SERVICES)}
    return next(
        address
        for number in range(10, 65_000)
        if (address := f"{_SERVICE_NETWORK}.{number // 250}.{number % 250 + 1}") not in taken
    )


def _free_node_port(store: Store, own: Iterable[Object]) -> int:
    services = (service["spec"].get("ports") or () for service in store.list(kinds.SERVICES))
    taken = {port.get("nodePort") for ports in (*services, own) for port in ports}
    return next(port for port in range(_FIRST_NODE_PORT, _LAST_NODE_PORT) if port not in taken)


def _secret(obj: Object, _: Store) -> None:
    _fill(obj, type="Opaque")


def _claim(obj: Object, store: Store) -> None:
    spec = _specification(obj)
    _fill(spec, volumeMode="Filesystem")
    if "storageClassName" not in spec:
        for storage_class in store.list(kinds.STORAGE_CLASSES):
            if (storage_class["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true":
                spec["storageClassName"] = storage_class["metadata"]["name"]


def _volume_object(obj: Object, _: Store) -> None:
    _fill(_specification(obj), volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")


def _storage_class(obj: Object, _: Store) -> None:
    _fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _budget(obj: Object, _: Store) -> None:
    _specification(obj)


def _network_policy(obj: Object, _: Store) -> None:
    spec = _specification(obj)
    _fill(spec, podSelector={})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if "egress" in spec else ["Ingress"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            _fill(port, protocol="TCP")


def _autoscaler(obj: Object, _: Store) -> None:
    spec = _specification(obj)
    _fill(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def _priority_class(obj: Object, _: Store) -> None:
    _fill(obj, preemptionPolicy="PreemptLowerPriority")


def _role_binding(obj: Object, _: Store) -> None:
    group = kinds.ROLES.group
    _fill(obj.get("roleRef") or {}, apiGroup=group)
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _fill(subject, apiGroup=group)


def _gateway(obj: Object, _: Store) -> None:
    for listener in _specification(obj).get("listeners") or ():
        _fill(listener, allowedRoutes={})
        _fill(listener["allowedRoutes"], namespaces={"from": "Same"})
        if listener.get("tls") is not None:
            _fill(listener["tls"], mode="Terminate")


def _http_route(obj: Object, _: Store) -> None:
    spec = _specification(obj)
    for parent in spec.get("parentRefs") or ():
        _fill(parent, group=kinds.GATEWAYS.group, kind=kinds.GATEWAYS.kind)
    for rule in spec.get("rules") or ():
        _fill(rule, matches=[{"path": {"type": "PathPrefix", "value": "/"}}])
        for backend in rule.get("backendRefs") or ():
            _fill(backend, group="", kind=kinds.SERVICES.kind, weight=1)


_SETTERS: dict[Kind, Callable[[Object, Store], None]] = {
    kinds.NAMESPACES: _namespace,
    kinds.ENDPOINT_SLICES: _endpoint_slice,
    kinds.PODS: _pod,
    kinds.DEPLOYMENTS: _deployment,
    kinds.REPLICA_SETS: _replica_set,
    kinds.STATEFUL_SETS: _stateful_set,
    kinds.DAEMON_SETS: _daemon_set,
    kinds.JOBS: _job,
    kinds.CRON_JOBS: _cron_job,
    kinds.SERVICES: _service,
    kinds.SECRETS: _secret,
    kinds.PERSISTENT_VOLUME_CLAIMS: _claim,
    kinds.PERSISTENT_VOLUMES: _volume_object,
    kinds.STORAGE_CLASSES: _storage_class,
    kinds.POD_DISRUPTION_BUDGETS: _budget,
    kinds.NETWORK_POLICIES: _network_policy,
    kinds.HORIZONTAL_POD_AUTOSCALERS: _autoscaler,
    kinds.PRIORITY_CLASSES: _priority_class,
    kinds.ROLE_BINDINGS: _role_binding,
    kinds.CLUSTER_ROLE_BINDINGS: _role_binding,
    kinds.GATEWAYS: _gateway,
    kinds.HTTP_ROUTES: _http_route,
}
