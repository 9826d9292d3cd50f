"""What one subscription holds: everything that a deployment could have made there, for proofs that nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.azure.cloud import Cloud
from simulators.azure.container.fleet import CLUSTER
from simulators.azure.refusals import Json
from simulators.inventory import Resource

_FACTS = (
    "addressSpace", "addressPrefix", "ipAddress", "roleDefinitionId", "principalId", "diskSizeGB", "count", "mode",
    "currentKubernetesVersion", "currentOrchestratorVersion", "nodeResourceGroup", "scopes", "vmSize",
)  # fmt: skip
_ENCRYPTED = ("encryption", "diskEncryptionSetID")
_CAN_BE_ENCRYPTED = ("Microsoft.Compute/disks", "Microsoft.Compute/snapshots")


def inventory(cloud: Cloud, subscription: str) -> Iterator[Resource]:
    """Yield every resource of a subscription."""
    scope = f"/subscriptions/{subscription}"
    for key, group in cloud.records.groups.items():
        if key.startswith(f"{scope}/"):
            document = group.document
            yield Resource(
                service="resources",
                type="resource-group",
                id=group.id,
                name=document["name"],
                region=document["location"],
                tags=document["tags"],
                state=document["properties"]["provisioningState"],
            )
    for record in cloud.records.below(scope):
        properties = record.properties
        yield Resource(
            service=record.kind.service,
            type=_kebab(record.kind.short_type.rpartition("/")[2]),
            id=record.id.text,
            name=record.id.name,
            region=record.location if record.location != "global" else "",
            tags=record.document.get("tags") or {},
            encrypted=_encrypted(record.kind.type, properties),
            state=str(properties.get("provisioningState", "")),
            details=_details(record.document),
        )


def _details(document: Json) -> Json:
    properties = document.get("properties") or {}
    zones = {"zones": document["zones"]} if document.get("zones") else {}
    return zones | {name: properties[name] for name in _FACTS if name in properties}


def _encrypted(kind: str, properties: Json) -> bool | None:
    """Return whether it is under a key of the customer's; None for what holds no data."""
    if kind == CLUSTER:
        return bool((properties.get("securityProfile") or {}).get("azureKeyVaultKms", {}).get("enabled"))
    if kind not in _CAN_BE_ENCRYPTED:
        return None
    texts = [str(properties.get(name)) for name in _ENCRYPTED]
    return any("keyvault" in text.lower() or "diskEncryptionSets" in text for text in texts)


def _kebab(plural: str) -> str:
    """Return the type in the singular and in lower case: `virtual-network`, `public-ip-address`."""
    singular = plural.removesuffix("s") if not plural.endswith("ies") else f"{plural[:-3]}y"
    singular = singular.replace("IPAddresse", "IpAddress").replace("IP", "Ip")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in singular).lstrip("-")
