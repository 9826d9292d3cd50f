"""What one subscription holds: everything that a deployment could have made there, for proofs that nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.azure.cloud import Cloud
from simulators.azure.container.fleet import CLUSTER
from simulators.azure.dns import RecordSet
from simulators.azure.exposure import oldest_tls
from simulators.azure.kubernetes_provider import AzureProvider
from simulators.azure.records import Record
from simulators.azure.refusals import Json
from simulators.azure.storage_accounts import ACCOUNT, CONTAINER, Storage, key_url
from simulators.azure.vaults import Vaults
from simulators.inventory import Resource

_FACTS = (
    "addressSpace", "addressPrefix", "ipAddress", "roleDefinitionId", "principalId", "diskSizeGB", "count", "mode",
    "currentKubernetesVersion", "currentOrchestratorVersion", "nodeResourceGroup", "scopes", "vmSize",
)  # fmt: skip
_ENCRYPTED = ("encryption", "diskEncryptionSetID")
_CAN_BE_ENCRYPTED = ("Microsoft.Compute/disks", "Microsoft.Compute/snapshots")


def inventory(
    cloud: Cloud, vaults: Vaults, storage: Storage, provider: AzureProvider, subscription: str
) -> Iterator[Resource]:
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
    for vault in vaults.deleted():
        document = vault.document
        if vault.record.id.key.startswith(f"{scope}/"):
            yield Resource(
                service="keyvault",
                type="deleted-vault",
                id=document["id"],
                name=document["name"],
                region=document["properties"]["location"],
                tags=document["properties"]["tags"],
                state="SoftDeleted",
                details={"scheduledPurgeDate": document["properties"]["scheduledPurgeDate"]},
            )
    for record in cloud.records.below(scope):
        properties = record.properties
        details = _details(record.document)
        if isinstance(record.kind, RecordSet):
            details["type"] = record.kind.record_type
        if tls := oldest_tls(cloud, provider, record):
            details["tls"] = tls
        if record.kind.type == CONTAINER:
            details["blobs"] = len(storage.blobs(record))
        yield Resource(
            service=record.kind.service,
            type=_type_of(record),
            id=record.id.text,
            name=record.id.name,
            region=cloud.records.region_of(record.id),
            tags=record.document.get("tags") or {},
            encrypted=_is_encrypted(record),
            state=str(properties.get("provisioningState", "")),
            details=details,
        )


def _details(document: Json) -> Json:
    properties = document.get("properties") or {}
    zones = {"zones": document["zones"]} if document.get("zones") else {}
    return zones | {name: properties[name] for name in _FACTS if name in properties}


def _type_of(record: Record) -> str:
    if isinstance(record.kind, RecordSet):
        return "record-set"
    return _kebab(record.kind.short_type.rpartition("/")[2])


def _is_encrypted(record: Record) -> bool | None:
    """Return whether a resource is encrypted with a key of the customer's, None where that cannot be."""
    if record.kind.type == ACCOUNT:
        return bool(key_url(record))
    if record.kind.type == CLUSTER:
        return bool((record.properties.get("securityProfile") or {}).get("azureKeyVaultKms", {}).get("enabled"))
    if record.kind.type not in _CAN_BE_ENCRYPTED:
        return None
    return any("diskencryptionsets" in str(record.properties.get(name)).lower() for name in _ENCRYPTED)


def _kebab(plural: str) -> str:
    """Return the type in the singular and in lower case: `virtual-network`, `public-ip-address`."""
    singular = plural.removesuffix("s") if not plural.endswith("ies") else f"{plural[:-3]}y"
    singular = singular.replace("IPAddresse", "IpAddress").replace("IP", "Ip")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in singular).lstrip("-")
