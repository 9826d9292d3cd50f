"""Role definitions: those that Azure has built in, as far as the product and its clusters use them, and custom ones."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from simulators.azure.refusals import Json


class BuiltIn(NamedTuple):
    """What a role of Azure's own allows."""

    name: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()


_KUBERNETES = "Microsoft.ContainerService/managedClusters"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers"
_KEYS = "Microsoft.KeyVault/vaults/keys"
_CERTIFICATES = "Microsoft.KeyVault/vaults/certificates"

BUILT_IN: Mapping[str, BuiltIn] = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": BuiltIn("Owner", ("*",)),
    "b24988ac-6180-42a0-ab88-20f7382dd24c": BuiltIn(
        "Contributor",
        ("*",),
        (
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ),
    ),
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": BuiltIn("Reader", ("*/read",)),
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": BuiltIn(
        "User Access Administrator", ("*/read", "Microsoft.Authorization/*")
    ),
    "4d97b98b-1d4f-4787-a291-c67834d212e7": BuiltIn("Network Contributor", ("Microsoft.Network/*", "*/read")),
    "f1a07417-d97a-45cb-824c-7a7467783830": BuiltIn(
        "Managed Identity Operator",
        (
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/read",
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
        ),
    ),
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": BuiltIn(
        "Storage Blob Data Contributor",
        (f"{_BLOBS}/delete", f"{_BLOBS}/read", f"{_BLOBS}/write"),
        (),
        tuple(f"{_BLOBS}/blobs/{verb}" for verb in ("delete", "read", "write", "move/action", "add/action")),
    ),
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": BuiltIn(
        "Storage Blob Data Owner", (f"{_BLOBS}/*",), (), (f"{_BLOBS}/blobs/*",)
    ),
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": BuiltIn(
        "Storage Blob Data Reader", (f"{_BLOBS}/read",), (), (f"{_BLOBS}/blobs/read",)
    ),
    "00482a5a-887f-4fb3-b363-3b7fe8e74483": BuiltIn(
        "Key Vault Administrator", ("Microsoft.KeyVault/*/read",), (), ("Microsoft.KeyVault/vaults/*",)
    ),
    "14b46e9e-c2b7-41b4-b07b-48a6ebf60603": BuiltIn(
        "Key Vault Crypto Officer",
        ("Microsoft.KeyVault/*/read",),
        (),
        (f"{_KEYS}/*", "Microsoft.KeyVault/vaults/keyrotationpolicies/*"),
    ),
    "e147488a-f6f5-4113-8e2d-b22465e65bf6": BuiltIn(
        "Key Vault Crypto Service Encryption User",
        (),
        (),
        (f"{_KEYS}/read", f"{_KEYS}/wrap/action", f"{_KEYS}/unwrap/action"),
    ),
    "12338af0-0e69-4776-bea7-57ae8d297424": BuiltIn(
        "Key Vault Crypto User",
        (),
        (),
        (f"{_KEYS}/read", f"{_KEYS}/encrypt/action", f"{_KEYS}/decrypt/action", f"{_KEYS}/wrap/action"),
    ),
    "a4417e6f-fecd-4de8-b567-7b0420556985": BuiltIn(
        "Key Vault Certificates Officer",
        ("Microsoft.KeyVault/*/read",),
        (),
        (f"{_CERTIFICATES}/*", "Microsoft.KeyVault/vaults/certificatecas/*"),
    ),
    "4633458b-17de-408a-b874-0445c86b69e6": BuiltIn(
        "Key Vault Secrets User", (), (), ("Microsoft.KeyVault/vaults/secrets/getSecret/action",)
    ),
    "0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8": BuiltIn(
        "Azure Kubernetes Service Cluster Admin Role",
        (f"{_KUBERNETES}/listClusterAdminCredential/action", f"{_KUBERNETES}/read"),
    ),
    "4abbcc35-e782-43d8-92c5-2d3f1bd2253f": BuiltIn(
        "Azure Kubernetes Service Cluster User Role",
        (f"{_KUBERNETES}/listClusterUserCredential/action", f"{_KUBERNETES}/read"),
    ),
    "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b": BuiltIn(
        "Azure Kubernetes Service RBAC Cluster Admin",
        (f"{_KUBERNETES}/listClusterUserCredential/action",),
        (),
        (f"{_KUBERNETES}/*",),
    ),
    "befefa01-2a29-4197-83a8-272ff33ce314": BuiltIn(
        "DNS Zone Contributor", ("Microsoft.Network/dnsZones/*", "Microsoft.Resources/deployments/*")
    ),
}
"""Keyed by the GUID of the role."""

DEFINITIONS = "/providers/Microsoft.Authorization/roleDefinitions/"


def built_in_document(guid: str, subscription: str) -> Json:
    """Return a role of Azure's own as a role definition."""
    role = BUILT_IN[guid]
    permission = {
        "actions": list(role.actions),
        "notActions": list(role.not_actions),
        "dataActions": list(role.data_actions),
        "notDataActions": [],
    }
    return {
        "id": f"/subscriptions/{subscription}{DEFINITIONS}{guid}",
        "name": guid,
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": role.name,
            "type": "BuiltInRole",
            "description": "",
            "assignableScopes": ["/"],
            "permissions": [permission],
        },
    }


def allows(permissions: Iterable[Mapping[str, Any]], action: str, *, data: bool) -> bool:
    """Return whether any of the permissions of a role contains an action, whatever its case."""
    granted, taken = ("dataActions", "notDataActions") if data else ("actions", "notActions")
    return any(
        _matches(permission.get(granted), action) and not _matches(permission.get(taken), action)
        for permission in permissions
    )


def _matches(patterns: Iterable[str] | None, action: str) -> bool:
    """Return whether a pattern stands for an action; `*` between two slashes stands for nothing, too."""
    return any(
        fnmatch.fnmatchcase(action.lower(), form)
        for pattern in patterns or ()
        for form in (pattern.lower(), pattern.lower().replace("/*/", "/"))
    )
