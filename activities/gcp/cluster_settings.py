"""How a control plane has to be set up, and what of one that exists is otherwise.

Each setting is known by its place in a cluster and by the field of `ClusterUpdate` that changes it: GKE takes one
change at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.cloud import container_v1

from activities.contracts import ClusterRequest
from activities.gcp.gke import FIRST_POOL
from activities.gcp.node_configuration import node_config
from domain.deployment import Site
from domain.facts import Key
from domain.naming import base_name, owner_labels

_Log, _Metric = container_v1.LoggingComponentConfig.Component, container_v1.MonitoringComponentConfig.Component
LOGS = (_Log.SYSTEM_COMPONENTS, _Log.APISERVER, _Log.SCHEDULER, _Log.CONTROLLER_MANAGER)
"""Kubernetes itself; the server's own logs stay in the cluster."""
METRICS = (_Metric.SYSTEM_COMPONENTS,)
"""What the alarms look at."""

MAINTENANCE_BEGINS = "02:00"
"""UTC; a daily window of GKE lasts four hours."""

_FIRST_MACHINE = "e2-medium"
"""The smallest that GKE's own pods fit on; it lives for minutes."""


@dataclass(frozen=True)
class Setting:
    """One thing that can be changed of a cluster."""

    update: str
    """The field of `ClusterUpdate`."""
    place: str
    """Where a cluster has it: names of fields, with dots between them."""
    value: Any
    """As it has to be. What it does not mention may be anything."""

    def holds(self, cluster: container_v1.Cluster) -> bool:
        """Return whether a cluster is set up so."""
        present: Any = cluster
        for field in self.place.split("."):
            present = getattr(present, field)
        return _agrees(present, self.value)


RELEASE_CHANNEL = Setting(
    "desired_release_channel",
    "release_channel",
    {"channel": container_v1.ReleaseChannel.Channel.EXTENDED},
)
"""GKE makes no cluster outside a channel any more. This one has the most versions, and keeps each for the longest."""

VERSIONS_ARE_OURS = "byoc-versions"
"""Name of the exclusion that keeps GKE, for as long as it supports the version, from all upgrades by itself but patches
of the control plane."""

STORAGE = Setting(
    "desired_addons_config", "addons_config", {"gce_persistent_disk_csi_driver_config": {"enabled": True}}
)
AUTOSCALING = Setting("desired_addons_config", "addons_config", {"horizontal_pod_autoscaling": {"disabled": False}})
LOAD_BALANCING = Setting("desired_addons_config", "addons_config", {"http_load_balancing": {"disabled": False}})
GATEWAY = Setting(
    "desired_gateway_api_config",
    "network_config.gateway_api_config",
    {"channel": container_v1.GatewayAPIConfig.Channel.CHANNEL_STANDARD},
)

ACCESS = (
    Setting(
        "desired_rbac_binding_config",
        "rbac_binding_config",
        {
            "enable_insecure_binding_system_unauthenticated": False,
            "enable_insecure_binding_system_authenticated": False,
        },
    ),
    Setting(
        "desired_anonymous_authentication_config",
        "anonymous_authentication_config",
        {"mode": container_v1.AnonymousAuthenticationConfig.Mode.LIMITED},
    ),
)
"""To GKE everybody with a Google account is authenticated: nothing may be granted to all of these. Without credentials
only the health endpoints answer."""


MANAGEMENT = {"auto_upgrade": True, "auto_repair": True}
"""Of every node pool: in a channel GKE takes no other. That it upgrades none is the exclusion's doing."""


def versions_are_ours(now: datetime) -> dict[str, Any]:
    """Return that exclusion; GKE fills in when support ends, and does so again after each upgrade."""
    options = container_v1.MaintenanceExclusionOptions
    return {
        "start_time": now,
        "maintenance_exclusion_options": {
            "scope": options.Scope.NO_MINOR_OR_NODE_UPGRADES,
            "end_time_behavior": options.EndTimeBehavior.UNTIL_END_OF_SUPPORT,
        },
    }


def workload_identity(site: Site) -> Setting:
    """Return the setting that lets service accounts of the cluster be known to IAM."""
    pool = f"{site.cloud_account_id}.svc.id.goog"
    return Setting("desired_workload_identity_config", "workload_identity_config", {"workload_pool": pool})


def changeable(site: Site, key: Key, egress_cidrs: Sequence[str]) -> tuple[Setting, ...]:
    """Return every setting that `create_cluster` keeps as it has to be."""
    encryption = {"state": container_v1.DatabaseEncryption.State.ENCRYPTED, "key_name": key.key_id}
    monitoring = {"component_config": {"enable_components": METRICS}, "managed_prometheus_config": {"enabled": False}}
    return (
        Setting("desired_control_plane_endpoints_config", "control_plane_endpoints_config", endpoints(egress_cidrs)),
        Setting("desired_database_encryption", "database_encryption", encryption),
        Setting("desired_default_enable_private_nodes", "network_config.default_enable_private_nodes", True),
        Setting("desired_logging_config", "logging_config", {"component_config": {"enable_components": LOGS}}),
        Setting("desired_monitoring_config", "monitoring_config", monitoring),
        Setting("desired_shielded_nodes", "shielded_nodes", {"enabled": True}),
        workload_identity(site),
        RELEASE_CHANNEL,
    )


def endpoints(egress_cidrs: Sequence[str]) -> dict[str, Any]:
    """Return who reaches the Kubernetes API: the network itself, and from outside the control plane alone.

    The endpoint by name, which IAM alone would guard, stays closed. Without known egress addresses there is no public
    endpoint.
    """
    allowed = [{"cidr_block": cidr, "display_name": "control plane"} for cidr in egress_cidrs]
    return {
        "dns_endpoint_config": {"allow_external_traffic": False},
        "ip_endpoints_config": {
            "enabled": True,
            "enable_public_endpoint": bool(egress_cidrs),
            "authorized_networks_config": {
                "enabled": True,
                "cidr_blocks": allowed,
                "gcp_public_cidrs_access_enabled": False,
            },
        },
    }


def creation(request: ClusterRequest, egress_cidrs: Sequence[str]) -> container_v1.Cluster:
    """Return the cluster to be made: its settings, and what can never be changed.

    GKE finds the newest patch of the ordered minor version. The zones of its nodes are their pools' own.
    """
    site, network = request.site, request.network
    wanted: dict[str, Any] = {
        "name": base_name(site),
        "initial_cluster_version": request.kubernetes,
        "network": f"projects/{site.cloud_account_id}/global/networks/{network.network_id}",
        "subnetwork": (
            f"projects/{site.cloud_account_id}/regions/{site.region}/subnetworks/{network.private_subnet_ids[0]}"
        ),
        "ip_allocation_policy": {
            "use_ip_aliases": True,
            "cluster_secondary_range_name": network.pod_range,
            "services_secondary_range_name": network.service_range,
        },
        # Its successor of kube-proxy enforces the network policies; without it they would be words.
        "network_config": {"datapath_provider": container_v1.DatapathProvider.ADVANCED_DATAPATH},
        "maintenance_policy": {
            "window": {
                "daily_maintenance_window": {"start_time": MAINTENANCE_BEGINS},
                "maintenance_exclusions": {VERSIONS_ARE_OURS: versions_are_ours(datetime.now(UTC))},
            }
        },
        "legacy_abac": {"enabled": False},
        "master_auth": {"client_certificate_config": {"issue_client_certificate": False}},
        "resource_labels": owner_labels(site, "cluster"),
        "node_pools": [_first_pool(request)],
    }
    for setting in (
        *changeable(site, request.key, egress_cidrs),
        *ACCESS,
        STORAGE,
        AUTOSCALING,
        LOAD_BALANCING,
        GATEWAY,
    ):
        _put(wanted, setting.place.split("."), setting.value)
    return container_v1.Cluster(wanted)


def differing(cluster: container_v1.Cluster, settings: Iterable[Setting]) -> Iterator[Setting]:
    """Yield the settings that a cluster does not have."""
    return (setting for setting in settings if not setting.holds(cluster))


def _first_pool(request: ClusterRequest) -> dict[str, Any]:
    return {
        "name": FIRST_POOL,
        "initial_node_count": 1,
        "config": node_config(
            request.site,
            machine_type=_FIRST_MACHINE,
            roles=request.roles,
            key=request.key,
            firewall=request.firewall,
            resource="pool-first",
        ),
        "management": MANAGEMENT,
    }


def _put(document: dict[str, Any], place: Sequence[str], value: Any) -> None:  # noqa: ANN401 - any field's value
    """Put a value at its place, beside what is there already."""
    *parents, last = place
    for field in parents:
        document = document.setdefault(field, {})
    document[last] = {**document.get(last, {}), **value} if isinstance(value, dict) else value


def _agrees(present: Any, wanted: Any) -> bool:  # noqa: ANN401 - any field's value
    """Return whether a field has the wanted value, of a message those fields that the wanted one mentions."""
    if isinstance(wanted, Mapping):
        return all(_agrees(getattr(present, field), value) for field, value in wanted.items())
    if isinstance(wanted, list | tuple):
        listed = list(present)
        return len(listed) == len(wanted) and all(any(_agrees(each, value) for each in listed) for value in wanted)
    # A field that is not set is no, too.
    return bool(present == wanted) or (present is None and wanted is False)
