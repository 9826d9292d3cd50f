"""Microsoft.Storage: storage accounts, the settings of their blob service, and containers."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

from simulators.azure.api import Request
from simulators.azure.blobs import Blobs
from simulators.azure.cloud import Cloud
from simulators.azure.customer_keys import CustomerKeys
from simulators.azure.ids import ResourceId
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, conflict, invalid

ACCOUNT = "Microsoft.Storage/storageAccounts"
SERVICE = f"{ACCOUNT}/blobServices"
CONTAINER = f"{SERVICE}/containers"
BLOB_SUFFIX = ".blob.core.windows.net"
_NAME = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER_NAME = re.compile(r"[a-z0-9](?!.*--)[-a-z0-9]{1,61}[a-z0-9]")


class Storage:
    """What is in the accounts of one cloud."""

    def __init__(self, cloud: Cloud, keys: CustomerKeys) -> None:
        self._cloud = cloud
        self.keys = keys
        self._blobs: dict[str, Blobs] = {}
        """Keyed by the id of the container."""

    def account(self, name: str) -> Record | None:
        """Return an account by its name, whoever has it."""
        accounts = self._cloud.records.of_type(ACCOUNT)
        return next((record for record in accounts if record.id.name.lower() == name.lower()), None)

    def container(self, account: Record, name: str) -> Record | None:
        """Return a container of an account, or None."""
        return self._cloud.records.get(f"{account.id.key}/blobservices/default/containers/{name}")

    def containers(self, account: Record) -> list[Record]:
        """Return the containers of an account."""
        return self._cloud.records.of_type(CONTAINER, account.id.text)

    def blobs(self, container: Record) -> Blobs:
        """Return what is in a container."""
        return self._blobs.setdefault(container.id.key, Blobs(self._cloud.clock))

    def drop(self, container: Record) -> None:
        """Forget what was in a container that is gone."""
        self._blobs.pop(container.id.key, None)

    def is_versioned(self, account: Record) -> bool:
        """Return whether the account's blobs have versions."""
        service = self._cloud.records.get(f"{account.id.key}/blobservices/default")
        return service is not None and bool(service.properties.get("isVersioningEnabled"))

    def require_key(self, account: Record) -> None:
        """Refuse to read or write what is encrypted with a key that is gone."""
        url = key_url(account)
        if url and self.keys.at(url) is None:
            message = "The key vault key is not found to unwrap the encryption key."
            raise Refusal(403, "KeyVaultEncryptionKeyNotFound", message)

    def forget(self) -> None:
        """Forget every blob."""
        self._blobs.clear()


@dataclass(frozen=True, kw_only=True)
class StorageAccount(Kind):
    """An account; its name is unique in the world, and free again as soon as it is gone."""

    storage: Storage
    type: str = ACCOUNT
    seconds: str = "storage_account"
    created: int = 202
    creating: str = "ResolvingDNS"

    def takes(self, change: str) -> str:
        """Only a new account takes its time."""
        return self.seconds if change == "create" else ""

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse names that are taken, and keys that the account cannot use."""
        del request
        name, properties = record.id.name, record.properties
        if not _NAME.fullmatch(name):
            message = (
                f"{name} is not a valid storage account name. Storage account name must be between 3 and 24 characters"
                " in length and use numbers and lower-case letters only."
            )
            raise invalid("AccountNameInvalid", message)
        if before is None and self.storage.account(name) is not None:
            raise conflict("StorageAccountAlreadyTaken", f"The storage account named {name} is already taken.")
        for part in ("sku", "kind"):
            if not record.document.get(part):
                raise invalid(
                    "InvalidValuesForRequestParameters", f"Values for request parameters are invalid: {part}."
                )
        encryption = properties.setdefault("encryption", {"keySource": "Microsoft.Storage"})
        encryption.setdefault("services", {"blob": {"enabled": True, "keyType": "Account"}})
        self._require_key(cloud, record)
        properties.setdefault("allowBlobPublicAccess", False)
        properties.setdefault("minimumTlsVersion", "TLS1_0")
        properties.setdefault("supportsHttpsTrafficOnly", True)
        properties.setdefault("publicNetworkAccess", "Enabled")
        rules: Json = {"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": [], "virtualNetworkRules": []}
        properties.setdefault("networkAcls", rules)
        properties |= {
            "primaryEndpoints": {"blob": f"https://{name}{BLOB_SUFFIX}/"},
            "primaryLocation": record.location,
            "statusOfPrimary": "available",
            "creationTime": (before or {}).get("properties", {}).get("creationTime") or cloud.now(),
        }

    def _require_key(self, cloud: Cloud, record: Record) -> None:
        encryption = record.properties["encryption"]
        if encryption.get("keySource") != "Microsoft.Keyvault":
            return
        identity = cloud.records.get(str((encryption.get("identity") or {}).get("userAssignedIdentity") or ""))
        assigned = {key.lower() for key in (record.document.get("identity") or {}).get("userAssignedIdentities") or ()}
        if identity is None or identity.id.key not in assigned:
            message = "The user-assigned identity of the encryption has to be assigned to the storage account."
            raise invalid("InvalidUserAssignedIdentity", message)
        key = self.storage.keys.at(key_url(record))
        if key is None:
            message = "The key vault key is not found to unwrap the encryption key."
            raise Refusal(404, "KeyVaultEncryptionKeyNotFound", message)
        if not self.storage.keys.is_recoverable(key):
            raise invalid("KeyVaultPolicyError", "Keyvault policy recoverable is not set")
        if not self.storage.keys.is_usable(key, str(identity.properties["principalId"])):
            raise Refusal(
                403,
                "KeyVaultAuthenticationFailure",
                "The operation failed because of authentication issue on the keyvault. For more information, see -"
                " https://aka.ms/storagekeyvaultaccesspolicy",
            )

    def shown(self, cloud: Cloud, record: Record) -> Json:
        """Return the account with the version of the key that it uses."""
        del cloud
        document = copy.deepcopy(record.document)
        key = self.storage.keys.at(key_url(record))
        if key is not None:
            shown = document["properties"]["encryption"]["keyvaultproperties"]
            shown["currentVersionedKeyIdentifier"] = key.properties["keyUriWithVersion"]
        return document

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Refuse while a container could hold locked versions."""
        del cloud
        for container in self.storage.containers(record):
            if is_lockable(container):
                message = (
                    f"The storage account {record.id.name} cannot be deleted due to its containers that have immutable"
                    f" storage with versioning enabled: '{container.id.name}'."
                )
                raise conflict("StorageAccountProtectedByImmutableStorage", message)


@dataclass(frozen=True)
class BlobService(Kind):
    """The settings of an account's blobs."""

    type: str = SERVICE
    regional: bool = False
    has_state: bool = False
    created: int = 200

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse to switch versioning off where locks need it."""
        del request, before
        if record.id.name != "default":
            raise invalid("InvalidResourceName", "The only blob service of an account is 'default'.")
        account = record.id.parent
        assert account is not None
        containers = cloud.records.of_type(CONTAINER, account.text)
        if not record.properties.get("isVersioningEnabled") and any(map(is_lockable, containers)):
            message = "Versioning cannot be disabled while containers have immutable storage with versioning enabled."
            raise conflict("OperationNotPermitted", message)

    def default(self, cloud: Cloud, resource: ResourceId) -> Json | None:
        """Return the settings of an account whose owner has set none."""
        account = resource.parent
        if account is None or cloud.records.get(account.key) is None:
            return None
        properties: Json = {"cors": {"corsRules": []}, "deleteRetentionPolicy": {"enabled": False}}
        return {"id": resource.text, "name": "default", "type": SERVICE, "properties": properties}


@dataclass(frozen=True, kw_only=True)
class Container(Kind):
    """A container."""

    storage: Storage
    type: str = CONTAINER
    regional: bool = False
    has_state: bool = False
    tag: str = "etag"

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse what the account does not allow, and to give up locks that are possible."""
        del request
        if not _CONTAINER_NAME.fullmatch(record.id.name):
            raise invalid("InvalidResourceName", "The specified resource name contains invalid characters.")
        account = cloud.records.get(record.id.key.partition("/blobservices/")[0])
        assert account is not None
        properties = record.properties
        if properties.get("publicAccess", "None") != "None" and not account.properties["allowBlobPublicAccess"]:
            message = "Public access is not permitted on this storage account."
            raise conflict("PublicAccessNotPermitted", message)
        if before is not None and "immutableStorageWithVersioning" in before["properties"]:
            properties["immutableStorageWithVersioning"] = before["properties"]["immutableStorageWithVersioning"]
        if is_lockable(record) and not self.storage.is_versioned(account):
            message = "Immutable storage with versioning needs versioning to be enabled for the storage account."
            raise conflict("VersioningNotEnabled", message)
        properties.setdefault("publicAccess", "None")
        properties |= {"leaseStatus": "Unlocked", "leaseState": "Available", "hasLegalHold": False}
        properties["hasImmutabilityPolicy"] = is_lockable(record)

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Refuse while there is anything in a container whose blobs can be locked."""
        del cloud
        if is_lockable(record) and len(self.storage.blobs(record)):
            message = (
                "The specified container has immutable storage with versioning enabled and cannot be deleted while it"
                " contains blobs."
            )
            raise conflict("ContainerImmutableStorageWithVersioningEnabled", message)

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Forget what was in it."""
        del cloud
        self.storage.drop(record)


def kinds_of(storage: Storage) -> tuple[Kind, ...]:
    """Return the kinds of one cloud."""
    return StorageAccount(storage=storage), BlobService(), Container(storage=storage)


def is_lockable(container: Record) -> bool:
    """Return whether single versions in a container can be locked."""
    return bool((container.properties.get("immutableStorageWithVersioning") or {}).get("enabled"))


def key_url(account: Record) -> str:
    """Return the URL of the customer's key with which an account encrypts, or an empty text."""
    encryption = account.properties.get("encryption") or {}
    if encryption.get("keySource") != "Microsoft.Keyvault":
        return ""
    wanted = encryption.get("keyvaultproperties") or {}
    version = f"/{wanted['keyversion']}" if wanted.get("keyversion") else ""
    return f"{str(wanted.get('keyvaulturi', '')).rstrip('/')}/keys/{wanted.get('keyname')}{version}"
