"""How the machines of a deployment's nodes start, whatever pool they are in."""

from __future__ import annotations

from typing import Any

from google.cloud import container_v1

from domain.deployment import Site
from domain.facts import Firewall, Key, Roles
from domain.naming import owner_labels

BOOT_DISK_GB = 50
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
"""What a node may do is decided by its service account's roles; narrower scopes are of an older model."""


def node_config(
    site: Site, *, machine_type: str, roles: Roles, key: Key, firewall: Firewall, resource: str
) -> dict[str, Any]:
    """Return a NodeConfig: an encrypted boot disk, a verified boot, and no credentials of the node for its pods.

    GKE's own metadata server stands between pods and the machine's: they act as their own service accounts.
    """
    return {
        "machine_type": machine_type,
        "image_type": "COS_CONTAINERD",
        "disk_type": "pd-balanced",
        "disk_size_gb": BOOT_DISK_GB,
        "boot_disk_kms_key": key.key_id,
        "service_account": roles.nodes,
        "oauth_scopes": list(_SCOPES),
        # What a machine writes to its serial port, Cloud Logging would know by the machine's name, not by the cluster.
        "metadata": {"disable-legacy-endpoints": "true", "serial-port-logging-enable": "false"},
        "workload_metadata_config": {"mode": container_v1.WorkloadMetadataConfig.Mode.GKE_METADATA},
        "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
        "tags": [firewall.node_group_id],
        "resource_labels": owner_labels(site, resource),
    }
