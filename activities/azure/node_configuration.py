"""How the machines of a deployment's nodes start, whatever pool they are in."""

from __future__ import annotations

from collections.abc import Sequence

from activities.azure.aks import Document
from domain.deployment import Site
from domain.facts import Network
from domain.naming import owner_tags

OS_DISK_GB = 64
_MOST_PODS = 110


def node_configuration(
    site: Site, *, machine_type: str, network: Network, zones: Sequence[str], resource: str
) -> Document:
    """Return what all pools have in common: private addresses, a verified boot, no way in by SSH.

    The disks are encrypted with the deployment's key, because the cluster is made with its disk encryption set.
    """
    return {
        "type": "VirtualMachineScaleSets",
        "vmSize": machine_type,
        "osType": "Linux",
        "osSKU": "AzureLinux",
        "osDiskType": "Managed",
        "osDiskSizeGB": OS_DISK_GB,
        "maxPods": _MOST_PODS,
        "availabilityZones": list(zones),
        "vnetSubnetID": network.private_subnet_ids[0],
        "enableNodePublicIP": False,
        "securityProfile": {"enableSecureBoot": True, "enableVTPM": True, "sshAccess": "Disabled"},
        "upgradeSettings": UPGRADE,
        "tags": owner_tags(site, resource),
    }


UPGRADE: Document = {
    "maxSurge": "1",
    "maxUnavailable": "0",
    "drainTimeoutInMinutes": 30,
    "undrainableNodeBehavior": "Schedule",
}
"""A new node is there before an old one goes. One that is not empty in time stays in service, and the upgrade fails."""
