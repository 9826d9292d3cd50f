"""What a request to Azure is, for the barrier and for the audit trail."""

from __future__ import annotations

import pytest

from activities.azure.actions import is_data_action
from activities.azure.calls import cloud_call

SUBSCRIPTION = "/subscriptions/s1"
GROUP = f"{SUBSCRIPTION}/resourceGroups/g1"
MANAGER = "https://management.azure.com"
ROLE = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a/providers/Microsoft.Authorization/roleAssignments/r"


@pytest.mark.parametrize(
    ("method", "url", "service", "operation", "changes", "resource"),
    [
        ("PUT", f"{MANAGER}{SUBSCRIPTION}/resourcegroups/g1?api-version=1", "resources",
         "subscriptions/resourceGroups/write", True, f"resources:subscriptions/resourceGroups {GROUP}"),
        ("GET", f"{MANAGER}{GROUP}/providers/Microsoft.Network/virtualNetworks/v/subnets/s", "network",
         "virtualNetworks/subnets/read", False,
         f"network:virtualNetworks/subnets {GROUP}/providers/Microsoft.Network/virtualNetworks/v/subnets/s"),
        ("DELETE", f"{MANAGER}{GROUP}/providers/Microsoft.Network/natGateways/n", "network", "natGateways/delete", True,
         f"network:natGateways {GROUP}/providers/Microsoft.Network/natGateways/n"),
        ("PUT", f"{MANAGER}{ROLE}", "authorization", "roleAssignments/write", True,
         f"authorization:roleAssignments {ROLE}"),
        ("POST", f"{MANAGER}{GROUP}/providers/Microsoft.ContainerService/managedClusters/c/listClusterUserCredential",
         "containerservice", "managedClusters/listClusterUserCredential/action", False,
         f"containerservice:managedClusters {GROUP}/providers/Microsoft.ContainerService/managedClusters/c"),
        ("POST", f"{MANAGER}{GROUP}/providers/Microsoft.ContainerService/managedClusters/c/stop", "containerservice",
         "managedClusters/stop/action", True,
         f"containerservice:managedClusters {GROUP}/providers/Microsoft.ContainerService/managedClusters/c"),
        ("POST", "https://v1.vault.azure.net/certificates/endpoint/create?api-version=7.5", "vault",
         "certificates/create/action", True, "vault:certificates https://v1.vault.azure.net/certificates/endpoint"),
        ("GET", f"https://v1.vault.azure.net/secrets/endpoint/{'a' * 32}", "vault", "secrets/read", False,
         "vault:secrets https://v1.vault.azure.net/secrets/endpoint"),
        ("PUT", "https://a1.blob.core.windows.net/backups/day/1?comp=immutabilityPolicies", "blob",
         "blobs/immutabilityPolicies/write", True, "blob:blobs https://a1.blob.core.windows.net/backups/day/1"),
        ("GET", "https://a1.blob.core.windows.net/backups?restype=container&comp=list", "blob", "containers/list/read",
         False, "blob:containers https://a1.blob.core.windows.net/backups"),
        ("POST", "https://login.microsoftonline.com/t1/oauth2/v2.0/token", "entra", "token", False, ""),
    ],
)  # fmt: skip
def test_a_request_is_known_by_method_and_place(
    method: str, url: str, service: str, operation: str, changes: bool, resource: str
) -> None:
    """Named as in permissions, with the resource that it is about."""
    call = cloud_call(method, url)

    assert (call.service, call.operation, call.changes) == (service, operation, changes)
    assert " ".join(str(each) for each in call.resources) == resource


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("Microsoft.Network/virtualNetworks/write", False),
        ("Microsoft.KeyVault/vaults/keys/read", False),
        ("Microsoft.KeyVault/vaults/keys/write", False),
        ("Microsoft.KeyVault/vaults/keys/wrap/action", True),
        ("Microsoft.KeyVault/vaults/secrets/getSecret/action", True),
        ("Microsoft.KeyVault/vaults/secrets/write", False),
        ("Microsoft.KeyVault/vaults/certificates/read", True),
        ("Microsoft.KeyVault/vaults/certificates/purge/action", True),
        ("Microsoft.KeyVault/locations/deletedVaults/purge/action", False),
        ("Microsoft.Storage/storageAccounts/blobServices/containers/write", False),
        ("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", True),
        ("Microsoft.ContainerService/managedClusters/agentPools/write", False),
        ("Microsoft.ContainerService/managedClusters/listClusterUserCredential/action", False),
        ("Microsoft.ContainerService/managedClusters/apps/deployments/write", True),
        ("Microsoft.ContainerService/managedClusters/namespaces/read", True),
        ("Microsoft.ContainerService/managedClusters/*", True),
    ],
)
def test_actions_on_data_are_told_apart(action: str, data: bool) -> None:
    """A role lists them in another place, though they are spelled alike."""
    assert is_data_action(action) is data
