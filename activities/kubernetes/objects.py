"""Kubernetes objects as plain JSON, the kinds that we use, and references to single objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]
"""One Kubernetes object (or a part of one) as decoded JSON."""


@dataclass(frozen=True)
class Kind:
    """One kind of object, and where the API serves it."""

    api_version: str
    name: str
    """As in the object's `kind`."""
    plural: str
    namespaced: bool = True

    @property
    def resource(self) -> str:
        """The name that permissions and error messages use: `deployments.apps`, or `pods` in the core group."""
        group, slash, _ = self.api_version.partition("/")
        return f"{self.plural}.{group}" if slash else self.plural

    def path(self, namespace: str = "", name: str = "") -> str:
        """Return the URL path of one object, or of all of them (in a namespace, if one is given)."""
        root = "/apis/" if "/" in self.api_version else "/api/"
        home = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{root}{self.api_version}{home}/{self.plural}" + (f"/{name}" if name else "")


NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
NODE = Kind("v1", "Node", "nodes", namespaced=False)
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
SERVICE = Kind("v1", "Service", "services")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
VOLUME = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
JOB = Kind("batch/v1", "Job", "jobs")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
STORAGE_CLASS = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)
PRIORITY_CLASS = Kind("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", namespaced=False)
VALIDATING_WEBHOOKS = Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
)
MUTATING_WEBHOOKS = Kind(
    "admissionregistration.k8s.io/v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
)
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
GOOGLE_GATEWAY_POLICY = Kind("networking.gke.io/v1", "GCPGatewayPolicy", "gcpgatewaypolicies")
GOOGLE_BACKEND_POLICY = Kind("networking.gke.io/v1", "GCPBackendPolicy", "gcpbackendpolicies")
GOOGLE_HEALTH_CHECK_POLICY = Kind("networking.gke.io/v1", "HealthCheckPolicy", "healthcheckpolicies")

_KINDS = {(kind.api_version, kind.name): kind for kind in list(globals().values()) if isinstance(kind, Kind)}
"""Keyed by (apiVersion, kind), as objects name them."""


@dataclass(frozen=True)
class Reference:
    """Where one object is."""

    kind: Kind
    name: str
    namespace: str = ""

    @property
    def path(self) -> str:
        """The URL path of the object."""
        return self.kind.path(self.namespace, self.name)

    def __str__(self) -> str:
        """Read as `Deployment byoc-server/api`."""
        return f"{self.kind.name} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.name} {self.name}"


def kind_of(obj: Object) -> Kind:
    """Return the kind of an object of ours; raises KeyError for one that we never use."""
    return _KINDS[obj["apiVersion"], obj["kind"]]


def reference_to(obj: Object) -> Reference:
    """Return where `obj` is."""
    metadata = obj["metadata"]
    return Reference(kind_of(obj), metadata["name"], metadata.get("namespace", ""))


def about(reference: Reference) -> str:
    """Return the field selector of the events about an object, whose namespace is theirs too."""
    return f"involvedObject.kind={reference.kind.name},involvedObject.name={reference.name}"


def name_of(obj: Object) -> str:
    """Return the object's name."""
    return str(obj["metadata"]["name"])


def labels_of(obj: Object) -> dict[str, str]:
    """Return the object's labels, maybe none."""
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Object) -> dict[str, str]:
    """Return the object's annotations, maybe none."""
    return obj["metadata"].get("annotations") or {}


def is_terminating(obj: Object) -> bool:
    """Return whether the object has been asked to go away."""
    return "deletionTimestamp" in obj["metadata"]


def is_ready(obj: Object) -> bool:
    """Return whether the object's condition `Ready` is true, as a node's or a pod's."""
    found = condition(obj, "Ready")
    return found is not None and bool(found["status"] == "True")


def condition(obj: Object, type_: str) -> Object | None:
    """Return the status condition of that type, or None."""
    conditions: list[Object] = (obj.get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == type_), None)
