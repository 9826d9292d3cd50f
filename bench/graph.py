"""The dependencies of provisioning, written down a second time: for the bare comparison and for the critical path.

A test holds it against a recorded history, so that it cannot drift from the workflow.
"""

from __future__ import annotations

from collections.abc import Mapping

NEEDS: dict[str, tuple[str, ...]] = {
    "check_permissions": (),
    "check_quotas": (),
    "choose_placement": (),
    "plan_addresses": ("check_permissions", "check_quotas", "choose_placement"),
    "create_domain": ("plan_addresses",),
    "create_certificate": ("create_domain",),
    "create_roles": ("plan_addresses",),
    "create_encryption_key": ("plan_addresses",),
    "create_backup_bucket": ("create_encryption_key",),
    "create_network": ("plan_addresses",),
    "create_firewall": ("create_network",),
    "create_cluster": ("create_roles", "create_backup_bucket", "create_firewall"),
    "create_egress": ("create_roles", "create_backup_bucket", "create_firewall"),
    "create_private_endpoints": ("create_roles", "create_backup_bucket", "create_firewall"),
    "grant_cluster_access": ("create_cluster",),
    "create_workload_identity": ("create_cluster",),
    "install_add_on/network": ("create_cluster",),
    "install_add_on/proxy": ("create_cluster",),
    "install_add_on/identity": ("create_cluster",),
}
"""Step -> the steps that end before it starts. Completed below, where whole groups wait for whole groups."""

_CONTROL_PLANE = (
    "grant_cluster_access",
    "create_workload_identity",
    "install_add_on/network",
    "install_add_on/proxy",
    "install_add_on/identity",
    "create_egress",
    "create_private_endpoints",
)
_POOLS = ("create_node_pool/store", "create_node_pool/services")
_WITH_NODES = ("install_add_on/dns", "install_add_on/storage", "install_add_on/metrics", "create_storage_class")
NEEDS.update(dict.fromkeys(_POOLS, _CONTROL_PLANE))
NEEDS.update(dict.fromkeys((*_WITH_NODES, "create_namespace"), _POOLS))
NEEDS["apply_api_keys"] = ("create_namespace",)
_FIRST = ("install_component/store", "install_component/authentication")
_SECOND = ("install_component/api", "install_component/subscription")
NEEDS.update(dict.fromkeys(_FIRST, (*_WITH_NODES, "apply_api_keys")))
NEEDS.update(dict.fromkeys(_SECOND, _FIRST))
NEEDS["install_component/cdc"] = _SECOND
NEEDS["open_endpoint"] = ("install_component/cdc", "create_certificate")
NEEDS["publish_endpoint"] = ("open_endpoint",)
NEEDS["smoke_test"] = ("publish_endpoint",)
NEEDS.update(dict.fromkeys(("back_up", "create_alarms", "set_maintenance_policy"), ("smoke_test",)))
NEEDS["prove_restore"] = ("back_up",)


def critical_path(seconds: Mapping[str, float]) -> float:
    """Return the shortest possible duration, given how long each step takes (0 where it is not named)."""
    ends: dict[str, float] = {}
    for step, needs in NEEDS.items():
        ends[step] = max((ends[need] for need in needs), default=0.0) + seconds.get(step, 0.0)
    return max(ends.values())
