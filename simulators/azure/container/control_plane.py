"""The identity with which a cluster acts in the subscription, and what it has to be allowed."""

from __future__ import annotations

from simulators.azure.api import Check
from simulators.azure.cloud import Cloud
from simulators.azure.identities import Principal
from simulators.azure.ids import subscription_of
from simulators.azure.refusals import Json, Refusal, invalid
from simulators.azure.vaults import KEY, Vaults

_ASSIGN = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
_JOIN = "Microsoft.Network/virtualNetworks/subnets/join/action"
_READ_SET = "Microsoft.Compute/diskEncryptionSets/read"


def identity_of(cloud: Cloud, cluster: Json) -> Principal | None:
    """Return the principal of the control plane's identity, or None if it is gone."""
    identity = cluster.get("identity") or {}
    chosen = next(iter(identity.get("userAssignedIdentities") or {}), "")
    record = cloud.records.get(chosen) if chosen else None
    principal = record.properties["principalId"] if record is not None else identity.get("principalId", "")
    return cloud.identities.find(principal) if principal else None


def require(cloud: Cloud, cluster: Json, action: str, scope: str, *, data: bool = False) -> None:
    """Refuse, in Resource Manager's words, what the cluster's identity may not do outside the group of its nodes."""
    principal = identity_of(cloud, cluster)
    check = Check(action, scope, data=data)
    if principal is None or not cloud.access.require(principal, check, subscription_of(cluster["id"]), "aks"):
        client = principal.client_id if principal is not None else "unknown"
        raise Refusal(
            403,
            "LinkedAuthorizationFailed",
            f"The client '{client}' of the cluster's identity does not have permission to perform action '{action}' on"
            f" the linked scope '{scope}', or the scope is invalid.",
        )


def require_kubelet(cloud: Cloud, cluster: Json) -> None:
    """Refuse an identity for the nodes that the control plane may not give to them."""
    kubelet = ((cluster["properties"].get("identityProfile") or {}).get("kubeletidentity") or {}).get("resourceId")
    if not kubelet:
        return
    if not (cluster.get("identity") or {}).get("userAssignedIdentities"):
        message = "Custom kubelet identity is only supported on user assigned MSI cluster."
        raise invalid("CustomKubeletIdentityOnlySupportedOnUserAssignedMSICluster", message)
    try:
        require(cloud, cluster, _ASSIGN, kubelet)
    except Refusal as refusal:
        raise invalid(
            "CustomKubeletIdentityMissingPermissionError",
            f"The cluster user assigned identity must be given permission to assign kubelet identity {kubelet}. Check"
            f" access result not allowed for action {_ASSIGN}.",
        ) from refusal


def require_key(cloud: Cloud, vaults: Vaults, cluster: Json) -> None:
    """Refuse a key for the cluster's secrets that does not exist, or that the control plane may not use."""
    settings = (cluster["properties"].get("securityProfile") or {}).get("azureKeyVaultKms") or {}
    if not settings.get("enabled"):
        return
    key = vaults.key_at(str(settings["keyId"]))
    if key is None:
        message = f"The key {settings['keyId']} was not found."
        raise invalid("AzureKeyVaultKmsKeyNotFound", message, "azureKeyVaultKms")
    for verb in ("encrypt", "decrypt"):
        try:
            require(cloud, cluster, f"{KEY}/{verb}/action", key.id.text, data=True)
        except Refusal as refusal:
            raise invalid(
                "AzureKeyVaultKmsValidateIdentityPermissionFailed",
                f"The cluster's identity lacks the permission to {verb} with key {settings['keyId']}.",
                "azureKeyVaultKms",
            ) from refusal


def require_places(cloud: Cloud, cluster: Json, subnets: list[str]) -> None:
    """Refuse subnets and disk encryption sets that the control plane may not use."""
    properties = cluster["properties"]
    access = properties.get("apiServerAccessProfile") or {}
    for subnet in dict.fromkeys([*subnets, access.get("subnetId")]):
        if subnet:
            require(cloud, cluster, _JOIN, subnet)
    if encryption := properties.get("diskEncryptionSetID"):
        require(cloud, cluster, _READ_SET, encryption)
