"""What AKS checks before it begins or changes a cluster, and what it fills in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from simulators.azure.cloud import Cloud
from simulators.azure.container import versions
from simulators.azure.container.networking import complete_network
from simulators.azure.ids import group_of, group_scope, subscription_of
from simulators.azure.refusals import Json, Refusal, conflict, invalid

_NAME = re.compile(r"[a-zA-Z0-9]([-_a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_DNS_PREFIX = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,52}[a-zA-Z0-9])?")
_LONGEST_GROUP_NAME = 80
_MOST_RANGES = 200
_GIVEN_BY_AKS = (
    "azurePortalFQDN", "currentKubernetesVersion", "fqdn", "maxAgentPools", "powerState", "privateFQDN",
    "provisioningState", "resourceUID", "status",
)  # fmt: skip
_FIXED = (
    "dnsPrefix", "nodeResourceGroup", "diskEncryptionSetID", "enableRBAC", "networkProfile.networkPlugin",
    "networkProfile.serviceCidr", "networkProfile.dnsServiceIP", "networkProfile.loadBalancerSku",
)  # fmt: skip
"""What cannot be changed later."""
_ALLOWED: Mapping[str, tuple[object, ...]] = {
    "autoUpgradeProfile.upgradeChannel": ("none", "patch", "stable", "rapid", "node-image"),
    "autoUpgradeProfile.nodeOSUpgradeChannel": ("None", "Unmanaged", "NodeImage", "SecurityPatch"),
    "ingressProfile.gatewayAPI.installation": ("Standard", "Disabled"),
    "ingressProfile.webAppRouting.gatewayAPIImplementations.appRoutingIstio.mode": ("Enabled", "Disabled"),
    "securityProfile.azureKeyVaultKms.keyVaultNetworkAccess": ("Public", "Private"),
    "publicNetworkAccess": ("Enabled", "Disabled"),
}


def completed(cloud: Cloud, document: Json, before: Json | None, subnets: list[str]) -> Json:
    """Return the properties of a new or changed cluster, or refuse them.

    `document` is the whole of what is wanted, `before` what it was; `subnets` are those of its pools.
    """
    former: Json = before["properties"] if before is not None else {}
    given = {key: value for key, value in document["properties"].items() if key not in _GIVEN_BY_AKS}
    properties: Json = {**given, **{key: former[key] for key in _GIVEN_BY_AKS if key in former}}
    _names(cloud, document, properties, former)
    for path, allowed in _ALLOWED.items():
        value = at(properties, path)
        if value is not None and value not in allowed:
            raise _parameter(f"The value of parameter {path} is invalid: {value}.", path)
    _sku(document)
    properties["networkProfile"] = complete_network(cloud, properties.get("networkProfile") or {}, subnets)
    _identity(document, properties)
    _access(cloud, properties, subnets)
    _entra(properties)
    _issuer(properties, former)
    _add_ons(properties)
    _version(document, properties, former)
    properties.setdefault("enableRBAC", True)
    properties.setdefault("supportPlan", "KubernetesOfficial")
    properties.setdefault("autoUpgradeProfile", {"nodeOSUpgradeChannel": "NodeImage"})
    for path in _FIXED if former else ():
        if at(former, path) != at(properties, path):
            raise invalid(
                "PropertyChangeNotAllowed", f"Changing property '{path}' is not allowed.", f"properties.{path}"
            )
    return properties


def at(document: Json, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what is at a dotted path, or None."""
    found: Any = document
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _names(cloud: Cloud, document: Json, properties: Json, former: Json) -> None:
    if not _NAME.fullmatch(document["name"]):
        raise _parameter(f"The managed cluster name '{document['name']}' is invalid.", "name")
    if not _DNS_PREFIX.fullmatch(str(properties.get("dnsPrefix") or "")):
        raise _parameter(f"The value of parameter dnsPrefix is invalid: {properties.get('dnsPrefix')}.", "dnsPrefix")
    default = f"MC_{group_of(document['id'])}_{document['name']}_{document['location']}"[:_LONGEST_GROUP_NAME]
    group = properties["nodeResourceGroup"] = properties.get("nodeResourceGroup") or default
    if len(group) > _LONGEST_GROUP_NAME:
        message = f"The name of the node resource group is longer than {_LONGEST_GROUP_NAME} characters: {group}."
        raise _parameter(message, "nodeResourceGroup")
    if not former and group_scope(subscription_of(document["id"]), group).lower() in cloud.records.groups:
        message = f"The node resource group '{group}' exists already; AKS has to make it itself."
        raise conflict("NodeResourceGroupAlreadyExists", message)


def _sku(document: Json) -> None:
    sku = document.setdefault("sku", {"name": "Base", "tier": "Free"})
    if sku.get("name") not in ("Base", "Automatic") or sku.get("tier") not in ("Free", "Standard", "Premium"):
        raise _parameter(f"The sku {sku} is invalid.", "sku")


def _identity(document: Json, properties: Json) -> None:
    identity = document.get("identity") or {}
    chosen = identity.get("userAssignedIdentities") or {}
    if identity.get("type") not in ("SystemAssigned", "UserAssigned"):
        raise _parameter("Provisioning of a cluster needs an identity.", "identity")
    if identity["type"] == "UserAssigned" and len(chosen) != 1:
        raise _parameter("A cluster has exactly one user assigned identity.", "identity.userAssignedIdentities")
    others = set(properties.get("identityProfile") or {}) - {"kubeletidentity"}
    if others:
        raise _parameter(f"identityProfile has keys that are not known: {sorted(others)}.", "identityProfile")


def _access(cloud: Cloud, properties: Json, subnets: list[str]) -> None:
    """Check how the API server is reached."""
    access = properties.get("apiServerAccessProfile") or {}
    ranges = access.get("authorizedIPRanges") or []
    for text in ranges:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            message = f"The authorized IP range {text!r} is invalid."
            raise _parameter(message, "apiServerAccessProfile.authorizedIPRanges") from error
    if len(ranges) > _MOST_RANGES:
        message = f"No more than {_MOST_RANGES} authorized IP ranges are allowed."
        raise _parameter(message, "apiServerAccessProfile.authorizedIPRanges")
    if ranges and access.get("enablePrivateCluster"):
        message = "authorizedIPRanges and enablePrivateCluster exclude each other."
        raise _parameter(message, "apiServerAccessProfile.authorizedIPRanges")
    if not access.get("enableVnetIntegration"):
        return
    subnet = access.get("subnetId")
    if subnets and not subnet:
        message = "API server VNet integration in a network of one's own needs a subnet for the API server."
        raise _parameter(message, "apiServerAccessProfile.subnetId")
    if subnet:
        _api_server_subnet(cloud, subnet, subnets)


def _api_server_subnet(cloud: Cloud, subnet: str, subnets: list[str]) -> None:
    target = "apiServerAccessProfile.subnetId"
    record = cloud.records.get(subnet)
    if record is None:
        raise _parameter(f"The subnet {subnet} does not exist.", target)
    if subnet.lower() in (other.lower() for other in subnets):
        raise _parameter(f"The API server's subnet {subnet} may not hold nodes.", target)
    network = subnet.lower().rpartition("/subnets/")[0]
    if any(other.lower().rpartition("/subnets/")[0] != network for other in subnets):
        raise _parameter("The API server's subnet has to be in the network of the nodes.", target)
    services = [each["properties"]["serviceName"] for each in record.properties.get("delegations") or ()]
    if services not in ([], ["Microsoft.ContainerService/managedClusters"]):
        raise _parameter(f"The subnet {subnet} is delegated to {services[0]}.", target)
    prefix = (record.properties.get("addressPrefixes") or [record.properties.get("addressPrefix")])[0]
    if ipaddress.ip_network(prefix).prefixlen > 28:
        raise _parameter(f"The subnet {subnet} is smaller than /28.", target)


def _entra(properties: Json) -> None:
    entra = properties.get("aadProfile") or {}
    if entra.get("enableAzureRBAC") and not entra.get("managed"):
        raise _parameter("Azure RBAC needs managed Microsoft Entra integration.", "aadProfile.enableAzureRBAC")
    if properties.get("disableLocalAccounts") and not entra.get("managed"):
        raise invalid(
            "DisableLocalAccountsNotAllowed",
            "Local accounts can only be disabled on a cluster with managed Microsoft Entra integration.",
            "disableLocalAccounts",
        )


def _issuer(properties: Json, former: Json) -> None:
    """Keep the issuer of tokens for service accounts, which stays what it is."""
    before = former.get("oidcIssuerProfile") or {}
    if before.get("enabled") and not at(properties, "oidcIssuerProfile.enabled"):
        message = "The OIDC issuer cannot be disabled."
        raise invalid("OIDCIssuerFeatureCannotBeDisabled", message, "oidcIssuerProfile.enabled")
    profile = properties.get("oidcIssuerProfile")
    if profile:
        profile.pop("issuerURL", None)
        profile |= {key: before[key] for key in ("issuerURL",) if key in before}


def _add_ons(properties: Json) -> None:
    workloads = at(properties, "securityProfile.workloadIdentity.enabled")
    if workloads and not at(properties, "oidcIssuerProfile.enabled"):
        message = "Workload identity needs the OIDC issuer."
        raise _parameter(message, "securityProfile.workloadIdentity.enabled")
    istio = at(properties, "ingressProfile.webAppRouting.gatewayAPIImplementations.appRoutingIstio.mode")
    if istio == "Enabled" and at(properties, "ingressProfile.gatewayAPI.installation") != "Standard":
        message = "The application routing Gateway API implementation needs the managed Gateway API."
        raise _parameter(message, "ingressProfile.webAppRouting.gatewayAPIImplementations.appRoutingIstio.mode")
    kms = at(properties, "securityProfile.azureKeyVaultKms") or {}
    if kms.get("enabled") and not kms.get("keyId"):
        raise _parameter("azureKeyVaultKms needs a keyId.", "securityProfile.azureKeyVaultKms.keyId")
    if kms.get("keyVaultNetworkAccess") == "Private" and not kms.get("keyVaultResourceId"):
        message = "A private key vault needs its resource id."
        raise _parameter(message, "securityProfile.azureKeyVaultKms.keyVaultResourceId")
    if kms.get("keyVaultNetworkAccess", "Public") == "Public" and kms.get("keyVaultResourceId"):
        message = "keyVaultResourceId has to be empty while the key vault is public."
        raise _parameter(message, "securityProfile.azureKeyVaultKms.keyVaultResourceId")


def _version(document: Json, properties: Json, former: Json) -> None:
    current = former.get("currentKubernetesVersion")
    asked = str(properties.get("kubernetesVersion") or current or versions.DEFAULT)
    if current is None:
        current = versions.resolved(asked, document["name"])
    # A minor version that the cluster has already asks for no newer patch.
    elif asked not in (current, versions.minor_of(current)):
        versions.require_upgrade(current, versions.resolved(asked, document["name"]))
    properties["kubernetesVersion"] = asked
    properties["currentKubernetesVersion"] = current


def _parameter(message: str, target: str) -> Refusal:
    return invalid("InvalidParameter", message, target)
