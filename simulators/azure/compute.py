"""Microsoft.Compute: disks, snapshots, encryption sets, machine sizes and quotas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

from simulators.azure.api import Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.customer_keys import CustomerKeys
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, conflict, invalid
from simulators.azure.resource_manager import Route
from simulators.azure.resources import REGIONS


class Size(NamedTuple):
    """One size of machines."""

    name: str
    family: str
    cores: int
    memory_gb: int


SIZES: tuple[Size, ...] = tuple(
    Size(f"Standard_{letter}{cores}{suffix}", family, cores, cores * ratio)
    for letter, suffix, family, ratio in (
        ("D", "s_v5", "standardDSv5Family", 4),
        ("D", "ds_v5", "standardDDSv5Family", 4),
        ("E", "s_v5", "standardESv5Family", 8),
        ("E", "ds_v5", "standardEDSv5Family", 8),
        ("F", "s_v2", "standardFSv2Family", 2),
    )
    for cores in (2, 4, 8, 16, 32)
)
"""What is offered in every region, in zones 1 to 3."""
_LIMIT = 350
"""Cores of a family, and of a region, unless the customer has another limit."""
_NETWORK_LIMIT = 1000
_NETWORK_USAGES = (
    ("VirtualNetworks", "Microsoft.Network/virtualNetworks", "Virtual Networks"),
    ("PublicIPAddresses", "Microsoft.Network/publicIPAddresses", "Public IP Addresses"),
    ("NatGateways", "Microsoft.Network/natGateways", "Nat Gateways"),
)
"""How a region's usages call what is counted, its type, and the name for people."""
_LAST = r"(?P<location>[\w ]+)"


class Quotas:
    """Limits of cores, by region and family, and what draws on them."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._limits: dict[tuple[str, str, str], int] = {}
        self.used: dict[tuple[str, str, str], int] = {}
        """Cores in use, keyed by (subscription, region, name): clusters keep it up to date."""

    def set_limit(self, subscription: str, region: str, name: str, limit: int) -> None:
        """Give a customer another limit than usual."""
        self._limits[subscription, region, name] = limit

    def limit(self, subscription: str, region: str, name: str) -> int:
        """Return a limit."""
        return self._limits.get((subscription, region, name), _LIMIT)

    def routes(self) -> Iterator[Route]:
        """Yield what is served."""
        prefix = r"/subscriptions/(?P<subscription>[^/]+)/providers/Microsoft\.Compute"
        scope = "/subscriptions/{subscription}"
        action = "Microsoft.Compute/locations/usages/read"
        path = rf"{prefix}/locations/{_LAST}/usages"
        yield Route("GET", path, "compute", "locations/usages/read", self._usages, action, scope)
        path, action = path.replace("Compute", "Network"), action.replace("Compute", "Network")
        yield Route("GET", path, "network", "locations/usages/read", self._network_usages, action, scope)
        yield Route("GET", f"{prefix}/skus", "compute", "skus/read", self._skus, "Microsoft.Compute/skus/read", scope)

    def _usages(self, request: Request, found: re.Match[str]) -> Reply:
        region = found["location"].replace(" ", "").lower()
        names = {"cores": "Total Regional vCPUs"}
        names |= {size.family: f"{size.family} vCPUs" for size in SIZES}
        usages = [
            _usage(
                name,
                text,
                self.used.get((request.subscription, region, name), 0),
                self.limit(request.subscription, region, name),
            )
            for name, text in names.items()
        ]
        return Reply({"value": usages})

    def _network_usages(self, request: Request, found: re.Match[str]) -> Reply:
        region = found["location"].replace(" ", "").lower()
        usages = []
        for name, kind, text in _NETWORK_USAGES:
            below = f"/subscriptions/{request.subscription}"
            used = sum(record.location == region for record in self._cloud.records.of_type(kind, below))
            limit = self._limits.get((request.subscription, region, name), _NETWORK_LIMIT)
            usages.append(_usage(name, text, used, limit))
        return Reply({"value": usages})

    @staticmethod
    def _skus(request: Request, _: re.Match[str]) -> Reply:
        wanted = re.search(r"location eq '([^']+)'", request.query.get("$filter", ""))
        regions = (wanted[1].lower(),) if wanted else REGIONS
        return Reply({"value": [_sku(size, region) for region in regions for size in SIZES if region in REGIONS]})

    def forget(self) -> None:
        """Forget every limit."""
        self._limits.clear()
        self.used.clear()


def _usage(name: str, text: str, used: int, limit: int) -> Json:
    return {
        "unit": "Count",
        "currentValue": used,
        "limit": limit,
        "name": {"value": name, "localizedValue": text},
    }


def _sku(size: Size, region: str) -> Json:
    capabilities: Mapping[str, object] = {
        "vCPUs": size.cores,
        "MemoryGB": size.memory_gb,
        "PremiumIO": True,
        "EncryptionAtHostSupported": True,
        "CpuArchitectureType": "x64",
    }
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": "Standard",
        "family": size.family,
        "locations": [region],
        "locationInfo": [{"location": region, "zones": ["1", "2", "3"], "zoneDetails": []}],
        "capabilities": [{"name": name, "value": str(value)} for name, value in capabilities.items()],
        "restrictions": [],
    }


@dataclass(frozen=True)
class ComputeKind(Kind):
    """What the types of Microsoft.Compute have in common."""

    created: int = 202
    changed: int = 202
    in_use_status: int = 409
    busy: str = "OperationNotAllowed"


@dataclass(frozen=True, kw_only=True)
class Disk(ComputeKind):
    """A disk."""

    keys: CustomerKeys
    type: str = "Microsoft.Compute/disks"
    seconds: str = "disk"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse a disk without a size or a source, and one that shrinks."""
        del request
        properties = record.properties
        source = (properties.get("creationData") or {}).get("sourceResourceId")
        origin = cloud.records.get(source) if source else None
        if source and origin is None:
            raise invalid("ResourceNotFound", f"The source {source} was not found.", "creationData.sourceResourceId")
        if origin is not None:
            properties.setdefault("diskSizeGB", origin.properties.get("diskSizeGB"))
        if not properties.get("diskSizeGB"):
            raise invalid("InvalidParameter", "Required parameter 'diskSizeGB' is missing (null).", "diskSizeGB")
        if before is not None and properties["diskSizeGB"] < before["properties"]["diskSizeGB"]:
            raise invalid("InvalidParameter", "Disk size cannot be decreased.", "diskSizeGB")
        self.require_usable(cloud, record)
        kept = (before or {}).get("properties", {})
        properties["uniqueId"] = kept.get("uniqueId") or str(uuid4())
        properties["timeCreated"] = kept.get("timeCreated") or cloud.now()
        properties.setdefault("diskState", "Unattached")
        properties.setdefault("encryption", {"type": "EncryptionAtRestWithPlatformKey"})
        record.document.setdefault("sku", {"name": "Premium_LRS", "tier": "Premium"})

    def require_usable(self, cloud: Cloud, record: Record) -> None:
        """Refuse to encrypt with a key that the encryption set cannot use."""
        wanted = {key.lower(): value for key, value in (record.properties.get("encryption") or {}).items()}
        encryption_set = cloud.records.get(str(wanted.get("diskencryptionsetid") or ""))
        if encryption_set is None:
            return
        url = str(encryption_set.properties["activeKey"]["keyUrl"])
        key = self.keys.at(url)
        principal = _principal_of(cloud, encryption_set)
        if key is None or not self.keys.is_usable(key, principal):
            raise conflict(
                "KeyVaultAccessForbidden",
                f"Unable to access key vault resource '{url}' to enable encryption at rest. Please grant get, wrap and"
                f" unwrap key permissions to disk encryption set '{encryption_set.id.name}'. Please visit"
                " https://aka.ms/keyvaultaccessssecmk for more information.",
            )

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Refuse while a machine has the disk."""
        del cloud
        if owner := record.document.get("managedBy"):
            message = f"Disk {record.id.name} is attached to VM {owner}."
            raise invalid("OperationNotAllowed", message)


@dataclass(frozen=True, kw_only=True)
class Snapshot(Disk):
    """A snapshot of a disk: it keeps what it holds when the disk is gone."""

    type: str = "Microsoft.Compute/snapshots"
    seconds: str = "snapshot"
    binds: bool = False

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Let it be complete."""
        del cloud
        record.properties["completionPercent"] = 100.0


@dataclass(frozen=True, kw_only=True)
class DiskEncryptionSet(ComputeKind):
    """A key for disks, which its own identity must be allowed to use."""

    keys: CustomerKeys
    type: str = "Microsoft.Compute/diskEncryptionSets"
    seconds: str = "encryption_set"
    in_use: str = "OperationNotAllowed"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse a set without a key; make the principal of a system-assigned identity."""
        url = str((record.properties.get("activeKey") or {}).get("keyUrl") or "")
        if not url:
            raise invalid("InvalidParameter", "Required parameter 'activeKey.keyUrl' is missing (null).", "activeKey")
        self._require_key(url)
        identity = record.document.get("identity") or {}
        if "SystemAssigned" not in str(identity.get("type", "")):
            return
        kept = (before or {}).get("identity") or {}
        if "principalId" not in kept:
            tenant = cloud.identities.subscriptions[request.subscription].tenant
            principal = cloud.identities.add_identity(tenant, record.id.name)
            kept = {"principalId": principal.object_id, "tenantId": tenant}
        record.document["identity"] = identity | {key: kept[key] for key in ("principalId", "tenantId")}

    def _require_key(self, url: str) -> None:
        """Refuse a key that is not there by its version, or whose vault could be purged."""
        key = self.keys.at(url)
        if key is None or url.rstrip("/") == key.properties["keyUri"]:
            message = f"The key vault key is not found at '{url}': the version of a key that exists is needed."
            raise Refusal(404, "KeyVaultKeyNotFound", message)
        if not self.keys.is_recoverable(key):
            message = f"The key vault of the key '{url}' must have soft delete and purge protection enabled."
            raise invalid("KeyVaultPurgeProtectionNotEnabled", message)

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Delete the principal."""
        if principal := (record.document.get("identity") or {}).get("principalId"):
            cloud.identities.remove(principal)


@dataclass(frozen=True)
class OfNodes(ComputeKind):
    """What AKS makes for the machines of its node pools, and nobody else can make here."""

    seconds: str = "disk"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse to make or change one by a call."""
        del cloud, request, before
        raise Refusal(501, "NotImplemented", f"{record.id.type} is simulated for node pools alone.")


def kinds_of(keys: CustomerKeys) -> tuple[Kind, ...]:
    """Return the kinds of one cloud."""
    return (
        Disk(keys=keys),
        Snapshot(keys=keys),
        DiskEncryptionSet(keys=keys),
        OfNodes("Microsoft.Compute/virtualMachineScaleSets"),
        OfNodes("Microsoft.Compute/virtualMachineScaleSets/virtualMachines", regional=False),
    )


def _principal_of(cloud: Cloud, encryption_set: Record) -> str:
    """Return the object id of the identity with which an encryption set uses its key."""
    identity = encryption_set.document.get("identity") or {}
    for user_assigned in identity.get("userAssignedIdentities") or ():
        found = cloud.records.get(user_assigned)
        if found is not None:
            return str(found.properties["principalId"])
    return str(identity.get("principalId", ""))
