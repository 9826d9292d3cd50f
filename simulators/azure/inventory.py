"""What one subscription holds: everything that a deployment could have made there, for proofs that nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.azure.cloud import Cloud
from simulators.inventory import Resource

_FACTS = ("addressSpace", "addressPrefix", "ipAddress", "roleDefinitionId", "principalId", "diskSizeGB")
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
        encrypted = any(
            "keyvault" in str(properties.get(name)).lower() or "diskEncryptionSets" in str(properties.get(name))
            for name in _ENCRYPTED
        )
        yield Resource(
            service=record.kind.service,
            type=_kebab(record.kind.short_type.rpartition("/")[2]),
            id=record.id.text,
            name=record.id.name,
            region=record.location if record.location != "global" else "",
            tags=record.document.get("tags") or {},
            encrypted=encrypted if record.kind.type in _CAN_BE_ENCRYPTED else None,
            state=str(properties.get("provisioningState", "")),
            details={name: properties[name] for name in _FACTS if name in properties},
        )


def _kebab(plural: str) -> str:
    """Return the type in the singular and in lower case: `virtual-network`, `public-ip-address`."""
    singular = plural.removesuffix("s") if not plural.endswith("ies") else f"{plural[:-3]}y"
    singular = singular.replace("IPAddresse", "IpAddress").replace("IP", "Ip")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in singular).lstrip("-")
