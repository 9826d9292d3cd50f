"""Microsoft.KeyVault/vaults: vaults, what becomes of deleted ones, and the keys that Resource Manager makes in them."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from simulators.azure.api import Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.kinds import Kind
from simulators.azure.operations import Operations
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, conflict, invalid
from simulators.azure.resource_manager import Route

VAULT = "Microsoft.KeyVault/vaults"
KEY = f"{VAULT}/keys"
HOST_SUFFIX = ".vault.azure.net"
_NAME = re.compile(r"[a-z](?!.*--)[-a-z0-9]{1,22}[a-z0-9]", re.IGNORECASE)
_DAY = 86400
_FOUND_DELETED = (
    "A vault with the same name already exists in deleted state. You need to either recover or purge existing key"
    " vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete."
)


@dataclass
class DeletedVault:
    """A vault in the days in which it can be recovered."""

    record: Record
    children: list[Record]
    deleted: float
    """Simulated time."""

    @property
    def until(self) -> float:
        """When it goes for good."""
        return self.deleted + int(self.record.properties["softDeleteRetentionInDays"]) * _DAY

    @property
    def document(self) -> Json:
        """What is read of it."""
        subscription = self.record.id.text.split("/")[2]
        place = f"/subscriptions/{subscription}/providers/Microsoft.KeyVault/locations/{self.record.location}"
        return {
            "id": f"{place}/deletedVaults/{self.record.id.name}",
            "name": self.record.id.name,
            "type": "Microsoft.KeyVault/deletedVaults",
            "properties": {
                "vaultId": self.record.id.text,
                "location": self.record.location,
                "tags": self.record.document.get("tags") or {},
                "deletionDate": _written(self.deleted),
                "scheduledPurgeDate": _written(self.until),
                **({"purgeProtectionEnabled": True} if is_protected(self.record) else {}),
            },
        }


class Vaults:
    """Vaults in use and deleted ones; names are unique in the world."""

    def __init__(self, cloud: Cloud, operations: Operations) -> None:
        self._cloud = cloud
        self._operations = operations
        self._deleted: dict[str, DeletedVault] = {}
        """Keyed by name in lower case."""
        self._children: dict[str, list[Record]] = {}
        """Keyed by the id of the vault that is being deleted."""

    def named(self, name: str) -> Record | None:
        """Return a vault in use by its name, whoever has it."""
        vaults = self._cloud.records.of_type(VAULT)
        return next((record for record in vaults if record.id.name.lower() == name.lower()), None)

    def deleted(self) -> list[DeletedVault]:
        """Return the vaults that can still be recovered."""
        now = self._cloud.clock.time()
        self._deleted = {name: vault for name, vault in self._deleted.items() if vault.until > now}
        return list(self._deleted.values())

    def deleted_named(self, name: str) -> DeletedVault | None:
        """Return a deleted vault by its name."""
        return next((vault for vault in self.deleted() if vault.record.id.name.lower() == name.lower()), None)

    def exists(self, name: str) -> bool:
        """Return whether a vault exists, in use or deleted: what is in it is kept so long."""
        return self.named(name) is not None or self.deleted_named(name) is not None

    def key_at(self, url: str) -> Record | None:
        """Return the key at the URL of it or of a version of it, or None."""
        found = re.fullmatch(rf"https://([-\w]+){re.escape(HOST_SUFFIX)}/keys/([-\w]+)(?:/(\w+))?/?", url)
        vault = self.named(found[1]) if found is not None else None
        key = self._cloud.records.get(f"{vault.id.key}/keys/{found[2]}") if found is not None and vault else None
        if key is None or found is None or found[3] not in (None, *(version["id"] for version in key.document["_all"])):
            return None
        return key

    def put_away(self, record: Record) -> None:
        """Keep a vault that was deleted, with the keys in it."""
        children = self._children.pop(record.id.key, [])
        record.busy = ""
        self._deleted[record.id.name.lower()] = DeletedVault(record, children, self._cloud.clock.time())

    def put_child_away(self, record: Record) -> None:
        """Keep a key that goes with its vault."""
        assert record.id.parent is not None
        self._children.setdefault(record.id.parent.key, []).append(record)

    def recover(self, name: str) -> DeletedVault | None:
        """Take a vault out of the deleted ones; the caller lets it exist again."""
        return self._deleted.pop(name.lower(), None)

    def restore_children(self, vault: DeletedVault) -> None:
        """Let the keys of a recovered vault exist again; assignments of roles are not brought back."""
        for child in vault.children:
            self._cloud.records.add(child)

    def forget(self) -> None:
        """Forget what was deleted."""
        self._deleted.clear()
        self._children.clear()

    def routes(self) -> Iterator[Route]:
        """Yield what is served about deleted vaults."""
        prefix = r"/subscriptions/(?P<subscription>[^/]+)/providers/Microsoft\.KeyVault"
        scope = "/subscriptions/{subscription}"
        one = rf"{prefix}/locations/(?P<location>[^/]+)/deletedVaults/(?P<name>[^/]+)"
        for method, path, operation, deed in (
            ("GET", f"{prefix}/deletedVaults", "deletedVaults/read", self._list),
            ("GET", one, "locations/deletedVaults/read", self._get),
            ("POST", f"{one}/purge", "locations/deletedVaults/purge/action", self._purge),
        ):
            yield Route(method, path, "keyvault", operation, deed, f"Microsoft.KeyVault/{operation}", scope)

    def _list(self, request: Request, _: re.Match[str]) -> Reply:
        prefix = f"/subscriptions/{request.subscription}/"
        found = [vault.document for vault in self.deleted() if vault.record.id.key.startswith(prefix)]
        return Reply({"value": found})

    def _get(self, request: Request, found: re.Match[str]) -> Reply:
        return Reply(self._existing(request, found).document)

    def _purge(self, request: Request, found: re.Match[str]) -> Reply:
        vault = self._existing(request, found)
        request.resource = vault.record.id.text
        if is_protected(vault.record):
            raise Refusal(405, "MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed.")
        operation = self._operations.start(
            request,
            f"/subscriptions/{request.subscription}/providers/Microsoft.KeyVault/locations/{vault.record.location}",
            self._cloud.durations.vault,
            lambda: self._gone(vault),
            fail=lambda _: None,
            result=lambda: Reply(status=200),
        )
        return Reply(status=202, headers=self._operations.headers(request, operation, by_location=True))

    def _gone(self, vault: DeletedVault) -> None:
        self._deleted.pop(vault.record.id.name.lower(), None)

    def _existing(self, request: Request, found: re.Match[str]) -> DeletedVault:
        vault = self.deleted_named(found["name"])
        owned = vault is not None and vault.record.id.key.startswith(f"/subscriptions/{request.subscription}/")
        if vault is None or not owned or vault.record.location != found["location"].lower():
            raise Refusal(404, "DeletedVaultNotFound", f"The specified deleted vault '{found['name']}' does not exist.")
        return vault


@dataclass(frozen=True, kw_only=True)
class Vault(Kind):
    """A vault; deleting it puts it away, and its name stays taken."""

    vaults: Vaults
    type: str = VAULT
    seconds: str = "vault"
    creating: str = "RegisteringDns"

    def takes(self, change: str) -> str:
        """Only a new vault takes its time: until its name resolves."""
        return self.seconds if change == "create" else ""

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Refuse names that are taken and settings that cannot be; recover what the caller wants back."""
        name = record.id.name
        if not _NAME.fullmatch(name):
            message = (
                f"The vault name '{name}' is invalid. A vault's name must be between 3-24 alphanumeric characters."
            )
            raise invalid("VaultNameNotValid", message)
        if before is None:
            self._require_free(record)
            if record.properties.pop("createMode", "default") == "recover":
                self._recover(record)
                return
        record.properties.pop("createMode", None)
        properties = record.properties
        kept = (before or {}).get("properties", {})
        if not properties.get("sku"):
            raise invalid("BadRequest", "The parameter 'sku' of a vault is required.", "properties.sku")
        if properties.get("tenantId") != cloud.identities.subscriptions[request.subscription].tenant:
            raise invalid("BadRequest", f"The tenant '{properties.get('tenantId')}' is not that of the subscription.")
        if kept.get("enablePurgeProtection") and not properties.setdefault("enablePurgeProtection", True):
            raise _irreversible("enablePurgeProtection")
        if properties.get("enablePurgeProtection") is False:
            raise _irreversible("enablePurgeProtection")
        days = properties.setdefault("softDeleteRetentionInDays", kept.get("softDeleteRetentionInDays", 90))
        if kept and days != kept["softDeleteRetentionInDays"]:
            message = 'The property "softDeleteRetentionInDays" has been set already and it can\'t be modified.'
            raise invalid("BadRequest", message)
        if not 7 <= int(days) <= 90:
            raise invalid("BadRequest", 'The value of "softDeleteRetentionInDays" has to be between 7 and 90.')
        properties["enableSoftDelete"] = True
        properties.setdefault("enableRbacAuthorization", True)
        properties.setdefault("publicNetworkAccess", "Enabled")
        properties.setdefault("accessPolicies", [])
        properties["vaultUri"] = f"https://{name.lower()}{HOST_SUFFIX}/"

    def _require_free(self, record: Record) -> None:
        if self.vaults.named(record.id.name) is not None:
            message = (
                f"The vault name '{record.id.name}' is already in use. Vault names are globally unique so it is"
                " possible that the name is already taken."
            )
            raise conflict("VaultAlreadyExists", message)
        deleted = self.vaults.deleted_named(record.id.name)
        if deleted is not None and record.properties.get("createMode", "default") != "recover":
            raise conflict("ConflictError", _FOUND_DELETED)

    def _recover(self, record: Record) -> None:
        found = self.vaults.deleted_named(record.id.name)
        if found is None or found.record.id.key != record.id.key or found.record.location != record.location:
            message = f"There is no deleted vault '{record.id.name}' to recover in location '{record.location}'."
            raise Refusal(404, "DeletedVaultNotFound", message)
        self.vaults.recover(record.id.name)
        record.document.clear()
        record.document.update(copy.deepcopy(found.record.document))
        self.vaults.restore_children(found)

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Put the vault away."""
        del cloud
        self.vaults.put_away(record)


@dataclass(frozen=True, kw_only=True)
class Key(Kind):
    """A key in a vault: made by Resource Manager once, and never changed or deleted by it."""

    vaults: Vaults
    type: str = KEY
    regional: bool = False
    has_state: bool = False
    created: int = 200

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Make the first version; one that exists is returned as it is."""
        del request
        if before is not None:
            record.document.clear()
            record.document.update(before)
            return
        properties = record.properties
        if not properties.get("kty"):
            raise invalid("BadRequest", "The property 'kty' of a key is required.", "properties.kty")
        assert record.id.parent is not None
        vault = cloud.records.get(record.id.parent.key)
        assert vault is not None
        level = "Recoverable" if is_protected(vault) else "Recoverable+Purgeable"
        properties["attributes"] = {"enabled": True, "recoveryLevel": level} | (properties.get("attributes") or {})
        properties.setdefault("keyOps", ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"])
        properties.setdefault("keySize", 2048)
        properties["keyUri"] = f"{vault.properties['vaultUri']}keys/{record.id.name}"
        record.document["location"] = vault.location
        record.document["_all"] = []
        add_version(cloud, record)

    def shown(self, cloud: Cloud, record: Record) -> Json:
        """Return the key without what only the simulator remembers."""
        del cloud
        return {name: value for name, value in record.document.items() if not name.startswith("_")}

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Refuse: Resource Manager deletes no keys; they go with their vault."""
        del cloud
        raise Refusal(405, "MethodNotAllowed", f"The key {record.id.name} cannot be deleted through Resource Manager.")

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Go with the vault, and come back with it."""
        del cloud
        self.vaults.put_child_away(record)


def kinds_of(vaults: Vaults) -> tuple[Kind, ...]:
    """Return the kinds of one cloud, around one memory of what was deleted."""
    return Vault(vaults=vaults), Key(vaults=vaults)


def add_version(cloud: Cloud, key: Record) -> None:
    """Give a key a new version, which is its current one from now on."""
    version = secrets.token_hex(16)
    now = int(cloud.clock.time())
    key.document["_all"].append({"id": version, "created": now})
    key.properties["attributes"] |= {"created": now, "updated": now}
    key.properties["keyUriWithVersion"] = f"{key.properties['keyUri']}/{version}"
    key.touched()


def is_protected(vault: Record) -> bool:
    """Return whether nobody can purge a vault, or anything in it, before its time."""
    return bool(vault.properties.get("enablePurgeProtection"))


def _irreversible(name: str) -> Refusal:
    message = f'The property "{name}" cannot be set to false. Enabling the purge protection for a vault is an'
    return invalid("BadRequest", f"{message} irreversible action.")


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
