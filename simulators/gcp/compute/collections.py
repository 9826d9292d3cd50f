"""The collections of Compute Engine that are simulated, each described once.

Sources: the Compute Engine API reference (paths, fields) and the IAM permissions that each method lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Collection:
    """One kind of resource in one kind of place."""

    path: str
    """In URLs: `forwardingRules`."""
    scope: str
    """`global`, `regions` or `zones`."""
    kind: str
    """`Network`, as in `compute.googleapis.com/Network`."""
    permissions: str = ""
    """The name in permissions and in the journal, where it is not the path."""
    labelled: bool = False
    verbs: tuple[str, ...] = ()
    """Beyond insert, get, list, delete: `patch`, `update` and what follows a name in the path."""
    required: tuple[str, ...] = ("name",)
    uses: Mapping[str, str] = field(default_factory=dict)
    """Permissions that an insert needs on the resource that a field refers to."""
    duration: str = "network"
    """Name of the field of `Durations`."""
    quota: str = ""
    """The metric that counts these resources."""

    @property
    def name(self) -> str:
        """The name of the API's resource: `globalForwardingRules`."""
        return self.permissions or self.path

    @property
    def type(self) -> str:
        """The type in conditions."""
        return f"compute.googleapis.com/{self.kind}"


_POLICY = {"network": "compute.networks.updatePolicy"}
_BALANCER = "load_balancer"

COLLECTIONS: tuple[Collection, ...] = (
    Collection("networks", "global", "Network", verbs=("patch",), quota="NETWORKS"),
    Collection(
        "subnetworks",
        "regions",
        "Subnetwork",
        verbs=("patch", "expandIpCidrRange", "setPrivateIpGoogleAccess"),
        required=("name", "network", "ipCidrRange"),
        uses=_POLICY,
        quota="SUBNETWORKS",
    ),
    Collection(
        "routers",
        "regions",
        "Router",
        verbs=("patch", "update", "getRouterStatus"),
        required=("name", "network"),
        uses=_POLICY,
        duration="router",
        quota="ROUTERS",
    ),
    Collection(
        "firewalls",
        "global",
        "Firewall",
        verbs=("patch", "update"),
        required=("name", "network"),
        uses=_POLICY,
        quota="FIREWALLS",
    ),
    Collection("routes", "global", "Route", required=("name", "network", "destRange"), uses=_POLICY, quota="ROUTES"),
    Collection(
        "addresses",
        "regions",
        "Address",
        labelled=True,
        uses={"subnetwork": "compute.subnetworks.use"},
        duration="address",
        quota="STATIC_ADDRESSES",
    ),
    Collection("addresses", "global", "Address", permissions="globalAddresses", labelled=True, duration="address"),
    Collection("disks", "zones", "Disk", labelled=True, verbs=("createSnapshot", "resize"), duration="disk"),
    Collection("snapshots", "global", "Snapshot", labelled=True, duration="snapshot", quota="SNAPSHOTS"),
    Collection(
        "forwardingRules",
        "regions",
        "ForwardingRule",
        labelled=True,
        verbs=("patch",),
        duration=_BALANCER,
        quota="FORWARDING_RULES",
    ),
    Collection(
        "forwardingRules",
        "global",
        "GlobalForwardingRule",
        permissions="globalForwardingRules",
        labelled=True,
        verbs=("patch",),
        duration=_BALANCER,
    ),
    Collection("targetPools", "regions", "TargetPool", duration=_BALANCER, quota="TARGET_POOLS"),
    Collection("httpHealthChecks", "global", "HttpHealthCheck", verbs=("patch", "update"), duration=_BALANCER),
    Collection("healthChecks", "global", "HealthCheck", verbs=("patch", "update"), duration=_BALANCER),
    Collection(
        "healthChecks",
        "regions",
        "HealthCheck",
        permissions="regionHealthChecks",
        verbs=("patch", "update"),
        duration=_BALANCER,
    ),
    Collection("backendServices", "global", "BackendService", verbs=("patch", "update"), duration=_BALANCER),
    Collection(
        "backendServices",
        "regions",
        "BackendService",
        permissions="regionBackendServices",
        verbs=("patch", "update"),
        duration=_BALANCER,
    ),
    Collection("targetHttpsProxies", "regions", "TargetHttpsProxy", "regionTargetHttpsProxies", duration=_BALANCER),
    Collection("urlMaps", "regions", "UrlMap", permissions="regionUrlMaps", duration=_BALANCER),
    Collection("networkEndpointGroups", "zones", "NetworkEndpointGroup", duration=_BALANCER),
    Collection("instances", "zones", "Instance", labelled=True, duration="disk"),
)

BY_PLACE: Mapping[tuple[str, str], Collection] = {(entry.path, entry.scope): entry for entry in COLLECTIONS}
"""Keyed by path and scope."""
