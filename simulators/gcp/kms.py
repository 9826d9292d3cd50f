"""Cloud KMS: key rings, keys and versions. Key rings and keys stay for ever; versions are destroyed, after a time."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta

from simulators.gcp.api import Check, Checks, Method, Request, Rpc, RpcService, needs, page_of, stamp
from simulators.gcp.cloud import Cloud
from simulators.gcp.iam.policy_methods import PolicyMethods
from simulators.gcp.refusals import Json, exists, failed_precondition, invalid, not_found

_INTERFACE = "google.cloud.kms.v1.KeyManagementService"
_PACKAGE = "google.cloud.kms.v1"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,63}")
_RING = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+")
_DESTRUCTION = "2592000s"
"""Thirty days: how long a version stays scheduled for destruction, unless its key says otherwise."""
_TYPES = {
    "keyRings": "cloudkms.googleapis.com/KeyRing",
    "cryptoKeys": "cloudkms.googleapis.com/CryptoKey",
    "cryptoKeyVersions": "cloudkms.googleapis.com/CryptoKeyVersion",
}
_VERSION_STATES = frozenset({"ENABLED", "DISABLED"})


class KmsService(RpcService):
    """Fulfils `google.cloud.kms.v1.KeyManagementService`, and says who may use which key."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._resources: dict[str, Json] = {}
        """Key rings, keys and versions, keyed by name."""

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        for name, deed, response, mutating, checks in (
            ("CreateKeyRing", self._create_ring, "KeyRing", True, _creates("keyRings")),
            ("GetKeyRing", self._get, "KeyRing", False, _needs("keyRings.get")),
            ("ListKeyRings", self._list, "ListKeyRingsResponse", False, needs("cloudkms.keyRings.list", "parent")),
            ("CreateCryptoKey", self._create_key, "CryptoKey", True, _creates("cryptoKeys")),
            ("GetCryptoKey", self._get, "CryptoKey", False, _needs("cryptoKeys.get")),
            (
                "ListCryptoKeys",
                self._list,
                "ListCryptoKeysResponse",
                False,
                needs("cloudkms.cryptoKeys.list", "parent"),
            ),
            ("UpdateCryptoKey", self._update_key, "CryptoKey", True, _updates("cryptoKey", "cryptoKeys")),
            (
                "UpdateCryptoKeyPrimaryVersion",
                self._make_primary,
                "CryptoKey",
                True,
                _needs("cryptoKeys.update"),
            ),
            ("CreateCryptoKeyVersion", self._create_version, "CryptoKeyVersion", True, _creates("cryptoKeyVersions")),
            ("GetCryptoKeyVersion", self._get, "CryptoKeyVersion", False, _needs("cryptoKeyVersions.get")),
            (
                "ListCryptoKeyVersions",
                self._list,
                "ListCryptoKeyVersionsResponse",
                False,
                needs("cloudkms.cryptoKeyVersions.list", "parent"),
            ),
            (
                "UpdateCryptoKeyVersion",
                self._update_version,
                "CryptoKeyVersion",
                True,
                _updates("cryptoKeyVersion", "cryptoKeyVersions"),
            ),
            (
                "DestroyCryptoKeyVersion",
                self._destroy,
                "CryptoKeyVersion",
                True,
                _needs("cryptoKeyVersions.destroy"),
            ),
            ("RestoreCryptoKeyVersion", self._restore, "CryptoKeyVersion", True, _needs("cryptoKeyVersions.restore")),
            ("Encrypt", self._encrypt, "EncryptResponse", False, _needs("cryptoKeyVersions.useToEncrypt")),
            ("Decrypt", self._decrypt, "DecryptResponse", False, _needs("cryptoKeyVersions.useToDecrypt")),
        ):
            method = Method("kms", name, deed, mutating, checks)
            yield Rpc(_INTERFACE, name, f"{_PACKAGE}.{name}Request", f"{_PACKAGE}.{response}", method)
        policies = PolicyMethods(self._cloud, "kms", _policy_kind, must_exist=self._existing)
        yield from policies.rpcs("google.iam.v1.IAMPolicy")

    def require_usable(self, key: str, service: str, project: str) -> None:
        """Refuse a key that does not exist, is disabled, or may not be used by the service's agent in the project."""
        name = key.partition("/cryptoKeyVersions/")[0]
        found = self._resources.get(name)
        agent = self._cloud.identities.agent_of(service, project)
        permission = "cloudkms.cryptoKeyVersions.useToEncrypt"
        check = Check(permission, name, _TYPES["cryptoKeys"])
        home = name.split("/")[1] if name.startswith("projects/") else project
        if found is None or not self._cloud.allows(agent, check, home):
            raise invalid(
                f"Cloud KMS error when using key {name}: Permission '{permission}' denied on resource '{name}'"
                f" (or it may not exist) for {agent.partition(':')[2]}.",
                reason="CLOUD_KMS_PERMISSION_DENIED",
                legacy="kmsPermissionDenied",
            )
        version = self._resources.get(found.get("primary", {}).get("name", ""), {})
        if version.get("state") != "ENABLED":
            state = version.get("state", "without a primary version")
            raise failed_precondition(f"Cloud KMS error when using key {name}: {name} is not enabled, it is {state}.")

    def is_usable(self, key: str) -> bool:
        """Return whether a key exists and its primary version is enabled."""
        found = self._resources.get(key.partition("/cryptoKeyVersions/")[0]) or {}
        return bool(self._resources.get((found.get("primary") or {}).get("name", ""), {}).get("state") == "ENABLED")

    def keys_of(self, project: str) -> list[Json]:
        """Return the keys of a project."""
        return [
            self._with_primary(document)
            for name, document in sorted(self._resources.items())
            if name.startswith(f"projects/{project}/") and _kind_of(name) == "cryptoKeys"
        ]

    def versions_of(self, key: str) -> list[Json]:
        """Return the versions of a key."""
        prefix = f"{key}/cryptoKeyVersions/"
        return [document for name, document in self._resources.items() if name.startswith(prefix)]

    def _existing(self, name: str) -> Json:
        found = self._resources.get(name)
        if found is None:
            kind = {"keyRings": "KeyRing", "cryptoKeys": "CryptoKey"}.get(_kind_of(name), "CryptoKeyVersion")
            raise not_found(f"{kind} {name} not found.")
        return found

    def _with_primary(self, key: Json) -> Json:
        """Return a key with its primary version as that is now."""
        primary = self._resources.get((key.get("primary") or {}).get("name", ""))
        return {**key, **({"primary": primary} if primary else {})}

    def _add(self, name: str, document: Json) -> Json:
        if not _ID.fullmatch(name.rpartition("/")[2]):
            raise invalid(f"The id {name.rpartition('/')[2]!r} must match {_ID.pattern}.")
        if name in self._resources:
            kind = "KeyRing" if "/cryptoKeys/" not in name else "CryptoKey"
            raise exists(f"{kind} {name} already exists.")
        self._resources[name] = {"name": name, "createTime": self._cloud.now(), **document}
        return self._resources[name]

    def _create_ring(self, request: Request) -> Json:
        given = request.parameters
        return self._add(f"{given['parent']}/keyRings/{given.get('keyRingId', '')}", {})

    def _create_key(self, request: Request) -> Json:
        given = request.parameters
        self._existing(given["parent"])
        wanted = given.get("cryptoKey") or {}
        if wanted.get("purpose") != "ENCRYPT_DECRYPT":
            raise invalid("Only keys of the purpose ENCRYPT_DECRYPT are simulated.")
        if bool(wanted.get("rotationPeriod")) != bool(wanted.get("nextRotationTime")):
            raise invalid("rotation_period and next_rotation_time must be given together.")
        name = f"{given['parent']}/cryptoKeys/{given.get('cryptoKeyId', '')}"
        template = {"protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"}
        fields = ("purpose", "labels", "rotationPeriod", "nextRotationTime", "destroyScheduledDuration")
        document = {key: wanted[key] for key in fields if key in wanted}
        document.setdefault("destroyScheduledDuration", _DESTRUCTION)
        document["versionTemplate"] = {**template, **(wanted.get("versionTemplate") or {})}
        key = self._add(name, document)
        if not given.get("skipInitialVersionCreation"):
            key["primary"] = {"name": self._add_version(key)["name"]}
        return self._with_primary(key)

    def _add_version(self, key: Json) -> Json:
        number = len(self.versions_of(key["name"])) + 1
        template = key["versionTemplate"]
        described = {"state": "ENABLED", "generateTime": self._cloud.now(), **template}
        return self._add(f"{key['name']}/cryptoKeyVersions/{number}", described)

    def _get(self, request: Request) -> Json:
        return self._with_primary(self._existing(request.parameters["name"]))

    def _list(self, request: Request) -> Json:
        parent = request.parameters["parent"]
        kind = {"ListKeyRings": "keyRings", "ListCryptoKeys": "cryptoKeys"}.get(
            request.method.name, "cryptoKeyVersions"
        )
        if kind != "keyRings":
            self._existing(parent)
        found = [
            self._with_primary(document)
            for name, document in sorted(self._resources.items())
            if name.startswith(f"{parent}/{kind}/") and _kind_of(name) == kind
        ]
        return page_of(found, kind, request.parameters)

    def _update_key(self, request: Request) -> Json:
        wanted = request.parameters.get("cryptoKey") or {}
        key = self._existing(wanted.get("name", ""))
        fields = [field for field in request.parameters.get("updateMask", "").split(",") if field]
        if not set(fields) <= {"labels", "rotationPeriod", "nextRotationTime"}:
            raise invalid(f"The fields {', '.join(fields)} cannot be updated.")
        before = dict(key)
        for field in fields:
            if field in wanted:
                key[field] = wanted[field]
            else:
                key.pop(field, None)
        request.had_effect = key != before
        return self._with_primary(key)

    def _create_version(self, request: Request) -> Json:
        return self._add_version(self._existing(request.parameters["parent"]))

    def _make_primary(self, request: Request) -> Json:
        key = self._existing(request.parameters["name"])
        version = self._existing(f"{key['name']}/cryptoKeyVersions/{request.parameters.get('cryptoKeyVersionId', '')}")
        if version["state"] != "ENABLED":
            raise failed_precondition(f"{version['name']} is {version['state']}; it cannot be the primary version.")
        request.had_effect = (key.get("primary") or {}).get("name") != version["name"]
        key["primary"] = {"name": version["name"]}
        return self._with_primary(key)

    def _update_version(self, request: Request) -> Json:
        wanted = request.parameters.get("cryptoKeyVersion") or {}
        version = self._existing(wanted.get("name", ""))
        state = wanted.get("state", "")
        if state not in _VERSION_STATES or version["state"] not in _VERSION_STATES:
            raise failed_precondition(f"{version['name']} is {version['state']}; it cannot become {state}.")
        request.had_effect = version["state"] != state
        version["state"] = state
        return version

    def _destroy(self, request: Request) -> Json:
        version = self._existing(request.parameters["name"])
        if version["state"] not in _VERSION_STATES:
            raise failed_precondition(
                f"The request cannot be fulfilled. Resource {version['name']} has value {version['state']} in field"
                " crypto_key_version.state."
            )
        key = self._resources[version["name"].partition("/cryptoKeyVersions/")[0]]
        seconds = float(key["destroyScheduledDuration"].rstrip("s"))
        at = stamp(self._cloud.clock.now() + timedelta(seconds=seconds))
        version.update(state="DESTROY_SCHEDULED", destroyTime=at)

        def destroy() -> None:
            if version["state"] == "DESTROY_SCHEDULED" and version["destroyTime"] == at:
                version.update(state="DESTROYED", destroyEventTime=self._cloud.now())

        # At infinite speed everything is due at once; a month's delay is not among what such a world hurries.
        if self._cloud.clock.speed != float("inf"):
            self._cloud.work.start(seconds, destroy)
        return version

    def _restore(self, request: Request) -> Json:
        version = self._existing(request.parameters["name"])
        if version["state"] != "DESTROY_SCHEDULED":
            raise failed_precondition(f"{version['name']} is {version['state']}; it cannot be restored.")
        version["state"] = "DISABLED"
        del version["destroyTime"]
        return version

    def _encrypt(self, request: Request) -> Json:
        name = request.parameters["name"]
        self._existing(name)
        if not self.is_usable(name):
            raise failed_precondition(f"{name} is not enabled.")
        primary = self._resources[name]["primary"]["name"]
        sealed = base64.b64encode(secrets.token_bytes(12) + base64.b64decode(request.parameters.get("plaintext", "")))
        return {"name": primary, "ciphertext": sealed.decode(), "protectionLevel": "SOFTWARE"}

    def _decrypt(self, request: Request) -> Json:
        name = request.parameters["name"]
        self._existing(name)
        if not self.is_usable(name):
            raise failed_precondition(f"{name} is not enabled.")
        opened = base64.b64decode(request.parameters.get("ciphertext", ""))[12:]
        return {"plaintext": base64.b64encode(opened).decode(), "usedPrimary": True, "protectionLevel": "SOFTWARE"}

    def forget(self) -> None:
        """Forget every key."""
        self._resources.clear()


def _policy_kind(name: str) -> tuple[str, str]:
    """Return prefix of permissions and type of what has a policy: a key ring, or a key."""
    kind = "keyRings" if _RING.fullmatch(name) else "cryptoKeys"
    return f"cloudkms.{kind}", _TYPES[kind]


def _kind_of(name: str) -> str:
    parts = name.split("/")
    return parts[-2] if len(parts) > 1 else ""


def _needs(permission: str) -> Checks:
    """Return the check of one permission on the resource that is named."""
    return needs(f"cloudkms.{permission}", type_=_TYPES[permission.partition(".")[0]])


def _creates(kind: str) -> Checks:
    """Return the check of a creation: on the resource that will be."""
    key = {"keyRings": "keyRingId", "cryptoKeys": "cryptoKeyId"}.get(kind, "")

    def checks(request: Request, /) -> Iterator[Check]:
        given = request.parameters
        resource = f"{given.get('parent', '')}/{kind}/{given.get(key, '')}".rstrip("/")
        yield Check(f"cloudkms.{kind}.create", resource, _TYPES[kind])

    return checks


def _updates(field: str, kind: str) -> Checks:
    def checks(request: Request, /) -> Iterator[Check]:
        name = str((request.parameters.get(field) or {}).get("name", ""))
        yield Check(f"cloudkms.{kind}.update", name, _TYPES[kind])

    return checks
