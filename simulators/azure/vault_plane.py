"""The data plane of key vaults, at `<vault>.vault.azure.net`: certificates, the secrets that hold them, and keys."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from simulators.azure.api import Check, Deed, Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.front import Withheld
from simulators.azure.identities import Principal
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, invalid
from simulators.azure.vault_certificates import Certificate, Certificates, Deleted, Version
from simulators.azure.vaults import HOST_SUFFIX, KEY, VAULT, Vaults, add_version, is_protected
from simulators.secrets import SecretKind

AUDIENCE = "https://vault.azure.net"
_LOGIN = "https://login.microsoftonline.com"
_NAME = r"(?P<name>[-\w]+)"
_VERSION = r"(?:/(?P<version>\w+))?"
_DAY = 86400
_SECRET_URL = re.compile(rf"https://(?P<vault>[-\w]+){re.escape(HOST_SUFFIX)}/secrets/{_NAME}{_VERSION}")

_Answer = Callable[[Request, Record, "re.Match[str]"], Reply]


class VaultPlane:
    """Fulfils `Plane`."""

    def __init__(self, cloud: Cloud, vaults: Vaults) -> None:
        self._cloud = cloud
        self._vaults = vaults
        self.certificates = Certificates()
        certificate, deleted = f"/certificates/{_NAME}", f"/deletedcertificates/{_NAME}"
        routes: tuple[tuple[str, str, str, _Answer], ...] = (
            ("GET", "/certificates", "certificates/read", self._list),
            ("POST", f"{certificate}/create", "certificates/create/action", self._create),
            ("GET", f"{certificate}/pending", "certificates/read", self._pending),
            ("DELETE", f"{certificate}/pending", "certificates/update/action", self._cancel),
            ("POST", f"{certificate}/pending/merge", "certificates/create/action", self._merge),
            ("DELETE", certificate, "certificates/delete", self._delete),
            ("GET", f"{certificate}{_VERSION}", "certificates/read", self._get),
            ("GET", deleted, "certificates/read", self._get_deleted),
            ("DELETE", deleted, "certificates/purge/action", self._purge),
            ("POST", f"{deleted}/recover", "certificates/recover/action", self._recover),
            ("GET", f"/secrets/{_NAME}{_VERSION}", "secrets/getSecret/action", self._secret),
            ("GET", f"/keys/{_NAME}/rotationpolicy", "keyrotationpolicies/read", self._policy),
            ("PUT", f"/keys/{_NAME}/rotationpolicy", "keyrotationpolicies/write", self._set_policy),
            ("POST", f"/keys/{_NAME}/rotate", "keys/rotate/action", self._rotate),
            ("GET", f"/keys/{_NAME}{_VERSION}", "keys/read", self._key),
        )
        self._routes = [(method, re.compile(path), action, answer) for method, path, action, answer in routes]

    def serves(self, request: Request) -> bool:
        """Return whether the call is for a vault."""
        return request.host.partition(":")[0].endswith(HOST_SUFFIX)

    def understand(self, request: Request) -> Deed:
        """Find the vault by the host, and what the path is about."""
        request.service = "vault"
        request.mutating = request.method != "GET"
        vault = self._vaults.named(request.host.removesuffix(HOST_SUFFIX))
        if vault is None:
            request.operation, request.resource = "unknown", request.host
            return partial(_nowhere, request)
        request.subscription, request.region = vault.id.text.split("/")[2], vault.location
        path = request.path.rstrip("/")
        request.resource = f"{vault.id.text}{path}"
        with contextlib.suppress(Refusal):
            self._cloud.authenticate(request, AUDIENCE)
        if request.principal is None:
            # The SDK's first call of every vault is one without a token, to be told where to get one.
            request.operation, request.mutating = "challenge", False
            return partial(self._challenge, request)
        for method, pattern, action, answer in self._routes:
            found = pattern.fullmatch(path) if method == request.method else None
            if found is not None:
                request.operation = action
                return partial(self._admitted, request, vault, action, partial(answer, request, vault, found))
        request.operation = "unknown"
        return partial(_unknown, request)

    def _admitted(self, request: Request, vault: Record, action: str, deed: Deed) -> Reply:
        """Refuse who may not, then do the deed."""
        existing = {record.id.name.lower() for record in self._cloud.records.of_type(VAULT)}
        kept = {entry.record.id.name.lower() for entry in self._vaults.deleted()}
        self.certificates.forget_vaults_but(existing | kept)
        kind = "certificates" if request.path.startswith("/deletedcertificates") else request.path.split("/")[1]
        scope = "/".join((vault.id.text, kind, *request.path.split("/")[2:3]))
        check = Check(f"{VAULT}/{action}", scope, data=True)
        if not self._cloud.allows(request, check):
            raise self._forbidden(request, vault, check)
        return deed()

    def _challenge(self, request: Request) -> Reply:
        """Tell where tokens for the vault come from."""
        tenant = self._cloud.identities.subscriptions[request.subscription].tenant
        challenge = f'Bearer authorization="{_LOGIN}/{tenant}", resource="{AUDIENCE}"'
        message = "AKV10000: Request is missing a Bearer or PoP token."
        raise Refusal(401, "Unauthorized", message, headers={"WWW-Authenticate": challenge})

    @staticmethod
    def _forbidden(request: Request, vault: Record, check: Check) -> Refusal:
        caller = request.principal
        assert caller is not None
        message = (
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role"
            " definitions were changed recently, please observe propagation time.\r\n"
            f"Caller: appid={caller.client_id};oid={caller.object_id};iss=https://sts.windows.net/{caller.tenant}/\r\n"
            f"Action: '{check.action}'\r\nResource: '{check.scope.lower()}'\r\nAssignment: (not found)\r\n"
            f"DenyAssignmentId: null\r\nDecisionReason: null \r\nVault: {vault.id.name};location={vault.location}\r\n"
        )
        return Refusal(403, "Forbidden", message, target="ForbiddenByRbac")

    def refused(self, refusal: Refusal, request: Request) -> Reply:  # noqa: ARG002 - other planes' envelopes vary
        """Return the error's JSON; a target is the code of what is behind it."""
        error: Json = {"code": refusal.code, "message": refusal.message}
        if refusal.target:
            error["innererror"] = {"code": refusal.target}
        return Reply({"error": error}, refusal.status, refusal.headers)

    def forget(self) -> None:
        """Forget what is in vaults, and those that were deleted."""
        self.certificates.forget()
        self._vaults.forget()

    def read_as(self, principal: Principal, url: str) -> x509.Certificate | str:
        """Return the certificate that an identity reads, with its key, at the URL of a secret; or an error's text."""
        found = _SECRET_URL.fullmatch(url.rstrip("/"))
        vault = self._vaults.named(found["vault"]) if found is not None else None
        if found is None or vault is None:
            return f"There is no vault at {url}."
        check = Check(f"{VAULT}/secrets/getSecret/action", f"{vault.id.text}/secrets/{found['name']}", data=True)
        if not self._cloud.access.allows(principal, check):
            return f"Forbidden: {principal.name} lacks {check.action} at {check.scope}."
        try:
            version = _version(self.certificates.get(vault.id.name, found["name"]), found["version"])
        except Refusal as refusal:
            return f"{refusal.code}: {refusal.message}"
        return version.chain[0] if version.chain else f"The certificate {found['name']} is not signed yet."

    def _now(self) -> int:
        return int(self._cloud.clock.time())

    def _list(self, _: Request, vault: Record, __: re.Match[str]) -> Reply:
        found = self.certificates.of(vault.id.name)
        return Reply({"value": [_shown(vault, each, each.current, versioned=False) for each in found]})

    def _get(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        certificate = self.certificates.get(vault.id.name, found["name"])
        return Reply(_shown(vault, certificate, _version(certificate, found["version"])))

    def _create(self, request: Request, vault: Record, found: re.Match[str]) -> Reply:
        policy, tags = request.body.get("policy") or {}, request.body.get("tags") or {}
        made = self.certificates.create(vault.id.name, found["name"], policy, tags, self._now())
        return Reply(_operation(vault, made), 202)

    def _pending(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        return Reply(_operation(vault, self.certificates.operation(vault.id.name, found["name"])))

    def _cancel(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        shown = _operation(vault, self.certificates.operation(vault.id.name, found["name"]))
        self.certificates.cancel(vault.id.name, found["name"])
        return Reply(shown)

    def _merge(self, request: Request, vault: Record, found: re.Match[str]) -> Reply:
        merged = self.certificates.merge(vault.id.name, found["name"], request.body.get("x5c") or [])
        return Reply(_shown(vault, merged, merged.versions[-1]), 201)

    def _delete(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        now = self._now()
        until = now + int(vault.properties["softDeleteRetentionInDays"]) * _DAY
        return Reply(_shown_deleted(vault, self.certificates.delete(vault.id.name, found["name"], now, until)))

    def _get_deleted(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        return Reply(_shown_deleted(vault, self.certificates.deleted(vault.id.name, found["name"])))

    def _purge(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        if is_protected(vault):
            raise Refusal(403, "Forbidden", 'Operation "purge" is not allowed on a vault with purge protection.')
        self.certificates.purge(vault.id.name, found["name"])
        return Reply(status=204)

    def _recover(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        certificate = self.certificates.recover(vault.id.name, found["name"])
        return Reply(_shown(vault, certificate, certificate.current))

    def _secret(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        """Return a certificate with its key: the only secrets that are simulated."""
        try:
            certificate = self.certificates.get(vault.id.name, found["name"])
        except Refusal as refusal:
            message = f"A secret with (name/id) {found['name']} was not found in this key vault."
            raise Refusal(404, "SecretNotFound", message) from refusal
        version = _version(certificate, found["version"])
        if not version.chain:
            raise Refusal(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
        value = version.secret()
        self._cloud.world.secrets.note(SecretKind.PRIVATE_KEY, value)
        shown = _shown(vault, certificate, version)
        return Reply(
            {
                "value": value,
                "contentType": (certificate.policy.get("secret_props") or {}).get("contentType"),
                "id": shown["sid"],
                "kid": shown["kid"],
                "managed": True,
                "attributes": shown["attributes"],
                "tags": certificate.tags,
            }
        )

    def _key_record(self, vault: Record, name: str) -> Record:
        found = self._cloud.records.get(f"{vault.id.key}/keys/{name}")
        if found is None or found.kind.type != KEY:
            message = f"A key with (name/id) {name} was not found in this key vault."
            raise Refusal(404, "KeyNotFound", message)
        return found

    def _key(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        key = self._key_record(vault, found["name"])
        versions = [version["id"] for version in key.document["_all"]]
        if found["version"] and found["version"] not in versions:
            raise Refusal(404, "KeyNotFound", f"A key with (name/id) {found['name']} has no such version.")
        return _shown_key(key, found["version"] or versions[-1])

    def _policy(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        key = self._key_record(vault, found["name"])
        return Reply(_as_data_plane(key))

    def _set_policy(self, request: Request, vault: Record, found: re.Match[str]) -> Reply:
        key = self._key_record(vault, found["name"])
        actions = [
            {"trigger": dict(entry.get("trigger") or {}), "action": {"type": str(entry["action"]["type"]).lower()}}
            for entry in request.body.get("lifetimeActions") or ()
        ]
        wanted = {"attributes": dict(request.body.get("attributes") or {}), "lifetimeActions": actions}
        request.had_effect = key.properties.get("rotationPolicy") != wanted
        key.properties["rotationPolicy"] = wanted
        return Reply(_as_data_plane(key))

    def _rotate(self, _: Request, vault: Record, found: re.Match[str]) -> Reply:
        key = self._key_record(vault, found["name"])
        add_version(self._cloud, key)
        return _shown_key(key, key.document["_all"][-1]["id"])


def _shown_key(key: Record, version: str) -> Reply:
    identifier = f"{key.properties['keyUri']}/{version}"
    described = {"kid": identifier, "kty": key.properties["kty"], "key_ops": key.properties["keyOps"]}
    return Reply({"key": described, "attributes": key.properties["attributes"], "tags": key.document.get("tags")})


def _as_data_plane(key: Record) -> Json:
    policy = key.properties.get("rotationPolicy") or {}
    return {
        "id": f"{key.properties['keyUri']}/rotationpolicy",
        "lifetimeActions": policy.get("lifetimeActions") or [],
        "attributes": policy.get("attributes") or {},
    }


def _version(certificate: Certificate, wanted: str | None) -> Version:
    if not wanted:
        return certificate.current
    found = next((version for version in certificate.versions if version.id == wanted), None)
    if found is None:
        message = f"A certificate with (name/id) {certificate.name}/{wanted} was not found in this key vault."
        raise Refusal(404, "CertificateNotFound", message)
    return found


def _shown(vault: Record, certificate: Certificate, version: Version, *, versioned: bool = True) -> Json:
    base, tail = vault.properties["vaultUri"].rstrip("/"), f"{certificate.name}/{version.id}"
    attributes: Json = {
        "enabled": bool(version.chain),
        "created": version.created,
        "updated": version.created,
        "recoveryLevel": "Recoverable" if is_protected(vault) else "Recoverable+Purgeable",
        "recoverableDays": vault.properties["softDeleteRetentionInDays"],
    }
    document: Json = {
        "id": f"{base}/certificates/{tail if versioned else certificate.name}",
        "kid": f"{base}/keys/{tail}",
        "sid": f"{base}/secrets/{tail}",
        "attributes": attributes,
        "tags": certificate.tags,
        "policy": {"id": f"{base}/certificates/{certificate.name}/policy", **certificate.policy},
    }
    if version.chain:
        leaf = version.chain[0]
        attributes |= {
            "nbf": int(leaf.not_valid_before_utc.timestamp()),
            "exp": int(leaf.not_valid_after_utc.timestamp()),
        }
        thumbprint = leaf.fingerprint(hashes.SHA1())  # noqa: S303 - the API's own thumbprint
        document["x5t"] = base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode()
        document["cer"] = base64.b64encode(leaf.public_bytes(serialization.Encoding.DER)).decode()
    return document


def _shown_deleted(vault: Record, deleted: Deleted) -> Json:
    document = _shown(vault, deleted.certificate, deleted.certificate.current)
    recovery = f"{vault.properties['vaultUri']}deletedcertificates/{deleted.certificate.name}"
    return document | {"recoveryId": recovery, "deletedDate": deleted.deleted, "scheduledPurgeDate": deleted.until}


def _operation(vault: Record, certificate: Certificate) -> Json:
    details = "Pending certificate created. Please Perform Merge to complete the request."
    place = f"{vault.properties['vaultUri']}certificates/{certificate.name}"
    return {
        "id": f"{place}/pending",
        "issuer": {"name": "Unknown"},
        "csr": base64.b64encode(certificate.csr).decode(),
        "cancellation_requested": False,
        "request_id": uuid4().hex,
        **(
            {"status": "inProgress", "status_details": details}
            if certificate.pending
            else {"status": "completed", "target": place}
        ),
    }


def _nowhere(request: Request) -> Reply:
    """There is no such host: no name leads to a vault that does not exist."""
    request.had_effect = False
    raise Withheld


def _unknown(request: Request) -> Reply:
    raise invalid("BadParameter", f"Nothing is simulated at {request.method} {request.path}.")
