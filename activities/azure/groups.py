"""The resource group of a deployment: made by whatever comes first, and gone with the last thing in it."""

from __future__ import annotations

from azure.mgmt.resource.resources import ResourceManagementClient

from activities.azure.existing import if_exists
from activities.azure.ownership import is_ours, require_ours
from activities.failures import refused
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags

ENSURING = (
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.Resources/subscriptions/resourceGroups/write",
)
"""What making the group needs; part of the needs of every activity that makes something."""
EMPTYING = (
    "Microsoft.Resources/subscriptions/resourceGroups/delete",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.Resources/subscriptions/resourceGroups/resources/read",
)
"""What deleting it needs; part of the needs of every activity that deletes something."""


def group_name(site: Site) -> str:
    """Return the name of the deployment's resource group."""
    return base_name(site)


def node_group_name(site: Site) -> str:
    """Return the name of the group in which AKS keeps the machines of the deployment's cluster.

    No deployment can have a name with an underscore, so that none has this group for its own.
    """
    return f"{base_name(site)}_nodes"


def ensure_group(resources: ResourceManagementClient, site: Site) -> None:
    """Let the deployment's group exist in its region.

    Raises:
        ApplicationError: NOT_OURS; CONFLICT while the group of a former generation is on its way out.
    """
    name = group_name(site)
    found = if_exists(lambda: resources.resource_groups.get(name))
    if found is None:
        wanted = {"location": site.region, "tags": owner_tags(site, "group")}
        resources.resource_groups.create_or_update(name, wanted)
        return
    require_ours(found.tags, site, f"resource group {name}")
    if found.properties is not None and found.properties.provisioning_state == "Deleting":
        raise refused(FailureClass.CONFLICT, f"The resource group {name} is being deleted", resource=name)


def delete_group_if_empty(resources: ResourceManagementClient, site: Site) -> bool:
    """Begin to delete the deployment's group if nothing is in it; return whether it is on its way out.

    A group that was not made by us stays.
    """
    name = group_name(site)
    found = if_exists(lambda: resources.resource_groups.get(name))
    if found is None or not is_ours(found.tags, site):
        return False
    if found.properties is not None and found.properties.provisioning_state == "Deleting":
        return True
    if next(iter(resources.resources.list_by_resource_group(name)), None) is not None:
        return False
    if_exists(lambda: resources.resource_groups.begin_delete(name, polling=False))
    return True
