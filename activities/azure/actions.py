"""Azure's spelling of permissions: which of them are about data, and which namespace each belongs to.

A role lists actions and data actions apart, though they are spelled alike. Source: the resource provider operations of
Key Vault, Storage and Kubernetes Service.
"""

from __future__ import annotations

import re

_DATA = (
    re.compile(r"Microsoft\.Storage/storageAccounts/blobServices/containers/blobs/", re.IGNORECASE),
    re.compile(
        r"Microsoft\.KeyVault/vaults/(certificates|certificatecas|certificatecontacts|keyrotationpolicies)/",
        re.IGNORECASE,
    ),
    # Keys and secrets can be read and written by Resource Manager too; what only a vault does is an action.
    re.compile(r"Microsoft\.KeyVault/vaults/(secrets|keys)/(\w+/)*action$", re.IGNORECASE),
)
_IN_CLUSTERS = re.compile(r"Microsoft\.ContainerService/managedClusters/(?P<part>[^/]+)(?P<more>/.*)?", re.IGNORECASE)
_MANAGED = frozenset({
    "abort", "accessprofiles", "agentpools", "availableagentpoolversions", "commandresults", "delete",
    "getupgradeprofile", "listclusteradmincredential", "listclustermonitoringusercredential",
    "listclusterusercredential", "machines", "maintenanceconfigurations", "managednamespaces", "meshupgradeprofiles",
    "privateendpointconnections", "providers", "read", "resetaadprofile", "resetserviceprincipalprofile",
    "rotateclustercertificates", "rotateserviceaccountsigningkeys", "runcommand", "start", "stop",
    "trustedaccessrolebindings", "upgradeprofiles", "write",
})  # fmt: skip
"""How actions on a cluster itself go on after `managedClusters/`, in small letters; all others are of the cluster's
Kubernetes API, which are data actions."""


def is_data_action(action: str) -> bool:
    """Return whether an action is about data: a role lists it under `dataActions`."""
    inside = _IN_CLUSTERS.fullmatch(action)
    if inside is not None:
        return inside["part"].lower() not in _MANAGED
    return any(pattern.match(action) for pattern in _DATA)


def namespace_of(action: str) -> str:
    """Return the namespace of an action, `Microsoft.Network`."""
    return action.partition("/")[0]
