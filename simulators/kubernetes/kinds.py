"""The kinds of object that the simulated API server serves, each enumerated once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Subresource(StrEnum):
    """The parts of an object that have a path of their own."""

    STATUS = "status"
    SCALE = "scale"
    EVICTION = "eviction"
    LOG = "log"
    PROXY = "proxy"


@dataclass(frozen=True, eq=False)
class Kind:
    """One resource of the API; compared by identity, because each exists once."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool
    subresources: tuple[Subresource, ...] = ()
    short_names: tuple[str, ...] = ()
    generations: bool = False
    """Whether `metadata.generation` counts the changes of the specification."""
    categories: tuple[str, ...] = ()
    """`all` puts it into `kubectl get all`."""
    custom: bool = False
    """Whether it is a custom resource, which only some providers' clusters serve."""

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The name that error messages use: `deployments.apps`, or `pods` in the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        """The name that kubectl accepts and prints: `deployment`."""
        return self.kind.lower()


_STATUS = (Subresource.STATUS,)
_SCALED = (Subresource.STATUS, Subresource.SCALE)
_ALL = ("all",)


def _core(
    plural: str,
    kind: str,
    *short_names: str,
    namespaced: bool = True,
    subresources: tuple[Subresource, ...] = (),
    categories: tuple[str, ...] = (),
) -> Kind:
    return Kind("", "v1", plural, kind, namespaced, subresources, short_names, categories=categories)


PODS = _core(
    "pods",
    "Pod",
    "po",
    subresources=(Subresource.STATUS, Subresource.EVICTION, Subresource.LOG, Subresource.PROXY),
    categories=_ALL,
)
NODES = _core("nodes", "Node", "no", namespaced=False, subresources=_STATUS)
NAMESPACES = _core("namespaces", "Namespace", "ns", namespaced=False, subresources=_STATUS)
SERVICES = _core("services", "Service", "svc", subresources=_STATUS, categories=_ALL)
ENDPOINTS = _core("endpoints", "Endpoints", "ep")
CONFIG_MAPS = _core("configmaps", "ConfigMap", "cm")
SECRETS = _core("secrets", "Secret")
PERSISTENT_VOLUME_CLAIMS = _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", subresources=_STATUS)
PERSISTENT_VOLUMES = _core("persistentvolumes", "PersistentVolume", "pv", namespaced=False, subresources=_STATUS)
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount", "sa")
EVENTS = _core("events", "Event", "ev")
RESOURCE_QUOTAS = _core("resourcequotas", "ResourceQuota", "quota", subresources=_STATUS)
LIMIT_RANGES = _core("limitranges", "LimitRange", "limits")

DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment", True, _SCALED, ("deploy",), True, _ALL)
REPLICA_SETS = Kind("apps", "v1", "replicasets", "ReplicaSet", True, _SCALED, ("rs",), True, _ALL)
STATEFUL_SETS = Kind("apps", "v1", "statefulsets", "StatefulSet", True, _SCALED, ("sts",), True, _ALL)
DAEMON_SETS = Kind("apps", "v1", "daemonsets", "DaemonSet", True, _STATUS, ("ds",), True, _ALL)
CONTROLLER_REVISIONS = Kind("apps", "v1", "controllerrevisions", "ControllerRevision", True)
JOBS = Kind("batch", "v1", "jobs", "Job", True, _STATUS, (), True, _ALL)
CRON_JOBS = Kind("batch", "v1", "cronjobs", "CronJob", True, _STATUS, ("cj",), True, _ALL)
POD_DISRUPTION_BUDGETS = Kind(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, _STATUS, ("pdb",), True
)
NETWORK_POLICIES = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, (), ("netpol",), True)
INGRESSES = Kind("networking.k8s.io", "v1", "ingresses", "Ingress", True, _STATUS, ("ing",), True)
ENDPOINT_SLICES = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True, (), (), True)
ROLES = Kind("rbac.authorization.k8s.io", "v1", "roles", "Role", True)
ROLE_BINDINGS = Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True)
CLUSTER_ROLES = Kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
CLUSTER_ROLE_BINDINGS = Kind("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False)
STORAGE_CLASSES = Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, (), ("sc",))
VOLUME_ATTACHMENTS = Kind("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", False, _STATUS)
HORIZONTAL_POD_AUTOSCALERS = Kind(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, _STATUS, ("hpa",), False, _ALL
)
PRIORITY_CLASSES = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False, (), ("pc",), True)
VALIDATING_WEBHOOKS = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    False,
    generations=True,
)
MUTATING_WEBHOOKS = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    False,
    generations=True,
)
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease", True)
VOLUME_SNAPSHOTS = Kind(
    "snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot", True, _STATUS, ("vs",), True
)
VOLUME_SNAPSHOT_CLASSES = Kind(
    "snapshot.storage.k8s.io", "v1", "volumesnapshotclasses", "VolumeSnapshotClass", False, (), ("vsclass",), True
)
VOLUME_SNAPSHOT_CONTENTS = Kind(
    "snapshot.storage.k8s.io", "v1", "volumesnapshotcontents", "VolumeSnapshotContent", False, _STATUS, ("vsc",), True
)

GATEWAYS = Kind(
    "gateway.networking.k8s.io", "v1", "gateways", "Gateway", True, _STATUS, ("gtw",), True, ("gateway-api",), True
)
HTTP_ROUTES = Kind(
    "gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", True, _STATUS, (), True, ("gateway-api",), True
)
GCP_GATEWAY_POLICIES = Kind(
    "networking.gke.io", "v1", "gcpgatewaypolicies", "GCPGatewayPolicy", True, _STATUS, (), True, (), True
)
GCP_BACKEND_POLICIES = Kind(
    "networking.gke.io", "v1", "gcpbackendpolicies", "GCPBackendPolicy", True, _STATUS, (), True, (), True
)
HEALTH_CHECK_POLICIES = Kind(
    "networking.gke.io", "v1", "healthcheckpolicies", "HealthCheckPolicy", True, _STATUS, (), True, (), True
)
POLICIES_OF_GKE = (GCP_GATEWAY_POLICIES, GCP_BACKEND_POLICIES, HEALTH_CHECK_POLICIES)
"""What GKE's Gateway controller reads beside the kinds of the Gateway API."""

KINDS: tuple[Kind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
"""Every kind that any cluster serves, in the order of their definition."""

STANDARD: tuple[Kind, ...] = tuple(kind for kind in KINDS if not kind.custom)
"""What every cluster serves."""

BY_PLURAL: dict[tuple[str, str], Kind] = {(kind.group, kind.plural): kind for kind in KINDS}
"""Keyed by (group, plural)."""

BY_KIND: dict[tuple[str, str], Kind] = {(kind.api_version, kind.kind): kind for kind in KINDS}
"""Keyed by (apiVersion, kind), as objects and owner references name them."""
