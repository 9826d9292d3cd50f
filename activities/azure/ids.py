"""The ids of Resource Manager: where in a customer's subscription something of a deployment lies."""

from __future__ import annotations

from activities.azure.groups import group_name, node_group_name
from domain.account import AccountAccess
from domain.deployment import Site


def subscription_scope(place: Site | AccountAccess) -> str:
    """Return the id of the subscription, `/subscriptions/…`."""
    return f"/subscriptions/{place.cloud_account_id}"


def group_scope(site: Site, group: str = "") -> str:
    """Return the id of a resource group, by default the deployment's."""
    return f"{subscription_scope(site)}/resourceGroups/{group or group_name(site)}"


def resource_id(site: Site, resource_type: str, *names: str, group: str = "") -> str:
    """Return the id of a resource of a type in a group, by default the deployment's.

    `Microsoft.Network/virtualNetworks/subnets` takes two names.
    """
    namespace, *types = resource_type.split("/")
    named = "/".join(f"{kind}/{name}" for kind, name in zip(types, names, strict=True))
    return f"{group_scope(site, group)}/providers/{namespace}/{named}"


def role_definition_id(place: Site | AccountAccess, role: str) -> str:
    """Return the id of a role by its GUID, as the subscription knows it."""
    return f"{subscription_scope(place)}/providers/Microsoft.Authorization/roleDefinitions/{role}"


def name_of(identifier: str) -> str:
    """Return the last name of an id."""
    return identifier.rstrip("/").rpartition("/")[2]


def group_of(identifier: str) -> str:
    """Return the resource group in an id, empty if it has none."""
    parts = identifier.split("/")
    folded = [part.lower() for part in parts]
    return parts[folded.index("resourcegroups") + 1] if "resourcegroups" in folded else ""


def lies_with_us(identifier: str, site: Site) -> bool:
    """Return whether an id is one of the deployment's groups, or of something in one of them."""
    groups = (group_scope(site, name).lower() for name in (group_name(site), node_group_name(site)))
    return any(f"{identifier.lower()}/".startswith(f"{group}/") for group in groups)


def same_id(one: str, other: str) -> bool:
    """Return whether two ids mean the same: Azure does not keep their case."""
    return one.lower() == other.lower()
