"""The data plane of blobs, at `<account>.blob.core.windows.net`: as the SDK speaks to it, in XML and headers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import partial
from typing import NamedTuple
from uuid import uuid4
from xml.sax.saxutils import escape

from simulators.azure.api import Check, Deed, Reply, Request
from simulators.azure.blob_lists import blob_list, container_list
from simulators.azure.blobs import Version
from simulators.azure.cloud import Cloud
from simulators.azure.front import Withheld
from simulators.azure.identities import Principal
from simulators.azure.ids import ResourceId
from simulators.azure.records import Record
from simulators.azure.refusals import Refusal
from simulators.azure.storage_accounts import BLOB_SUFFIX, CONTAINER, Container, Storage

AUDIENCE = "https://storage.azure.com"
_LOGIN = "https://login.microsoftonline.com"
_LOCK = "blobs/immutableStorage/runAsSuperUser/action"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class _Operation(NamedTuple):
    """What a call does."""

    name: str
    """The action below `containers/`, or on the containers themselves."""
    data: bool
    mutating: bool


_OF_BLOBS: Mapping[tuple[str, str], _Operation] = {
    ("PUT", ""): _Operation("blobs/write", data=True, mutating=True),
    ("GET", ""): _Operation("blobs/read", data=True, mutating=False),
    ("HEAD", ""): _Operation("blobs/read", data=True, mutating=False),
    ("DELETE", ""): _Operation("blobs/delete", data=True, mutating=True),
    ("PUT", "immutabilitypolicies"): _Operation(_LOCK, data=True, mutating=True),
    ("DELETE", "immutabilitypolicies"): _Operation(_LOCK, data=True, mutating=True),
    ("PUT", "legalhold"): _Operation(_LOCK, data=True, mutating=True),
}
"""Keyed by method and `comp`."""
_OF_CONTAINERS: Mapping[tuple[str, str], _Operation] = {
    ("PUT", ""): _Operation("write", data=False, mutating=True),
    ("GET", ""): _Operation("read", data=False, mutating=False),
    ("HEAD", ""): _Operation("read", data=False, mutating=False),
    ("DELETE", ""): _Operation("delete", data=False, mutating=True),
    ("GET", "list"): _Operation("blobs/read", data=True, mutating=False),
}
_OF_ACCOUNTS: Mapping[tuple[str, str], _Operation] = {("GET", "list"): _Operation("read", data=False, mutating=False)}


class BlobPlane:
    """Fulfils `Plane`."""

    def __init__(self, cloud: Cloud, storage: Storage) -> None:
        self._cloud = cloud
        self._storage = storage
        self._kind = Container(storage=storage)

    def serves(self, request: Request) -> bool:
        """Return whether the call is for the blobs of an account."""
        return request.host.partition(":")[0].endswith(BLOB_SUFFIX)

    def understand(self, request: Request) -> Deed:
        """Find the account by the host, and what the path and the query are about."""
        request.service = "blob"
        account = self._storage.account(request.host.removesuffix(BLOB_SUFFIX))
        if account is None:
            request.operation, request.resource = "unknown", request.host
            return partial(_nowhere, request)
        request.subscription, request.region = account.id.text.split("/")[2], account.location
        container, _, blob = request.path.strip("/").partition("/")
        table = _OF_BLOBS if blob else _OF_CONTAINERS if container else _OF_ACCOUNTS
        operation = table.get((request.method, request.query.get("comp", "").lower()))
        request.resource = f"{account.id.text}/blobServices/default/containers{request.path}"
        with contextlib.suppress(Refusal):
            self._cloud.authenticate(request, AUDIENCE)
        if operation is None:
            request.operation = "unknown"
            return partial(_unknown, request)
        if operation.name == "blobs/delete" and request.query.get("versionid"):
            operation = operation._replace(name="blobs/deleteBlobVersion/action")
        below = operation.name.startswith("blobs/")
        request.operation = operation.name if below else f"containers/{operation.name}"
        request.mutating = operation.mutating
        scope = f"{account.id.text}/blobServices/default/containers/{container}" if container else account.id.text
        check = Check(f"{CONTAINER}/{operation.name}", scope, data=operation.data)
        return partial(self._admitted, request, account, check, container, blob)

    def _admitted(self, request: Request, account: Record, check: Check, container: str, blob: str) -> Reply:
        """Refuse who is nobody or may not, then do the deed."""
        if request.principal is None:
            tenant = self._cloud.identities.subscriptions[request.subscription].tenant
            challenge = f"Bearer authorization_uri={_LOGIN}/{tenant}/oauth2/authorize resource_id={AUDIENCE}"
            message = "Server failed to authenticate the request. Please refer to the www-authenticate header."
            headers = {"WWW-Authenticate": challenge}
            raise Refusal(401, "NoAuthenticationInformation", message, headers=headers)
        if not self._cloud.allows(request, check):
            raise _mismatch()
        if not container:
            return container_list(account, self._storage.containers(account))
        if not blob and request.query.get("restype") == "container" and "comp" not in request.query:
            return self._on_container(request, account, container)
        found = self._existing(account, container)
        if not blob:
            return blob_list(request, found, self._storage.blobs(found))
        self._storage.require_key(account)
        return self._on_blob(request, account, found, blob)

    def _existing(self, account: Record, name: str) -> Record:
        found = self._storage.container(account, name)
        if found is None:
            raise Refusal(404, "ContainerNotFound", "The specified container does not exist.")
        return found

    def _on_container(self, request: Request, account: Record, name: str) -> Reply:
        if request.method == "PUT":
            if self._storage.container(account, name) is not None:
                raise Refusal(409, "ContainerAlreadyExists", "The specified container already exists.")
            parts = (*account.id.parts, "blobServices", "default", "containers", name)
            resource = ResourceId(account.id.scope, account.id.namespace, parts)
            document = {"id": resource.text, "name": name, "type": CONTAINER, "properties": {}}
            record = Record(resource, self._kind, document)
            self._kind.prepare(self._cloud, request, record, None)
            self._cloud.records.add(record)
            return Reply(status=201, headers=_of_container(record))
        found = self._existing(account, name)
        if request.method == "DELETE":
            self._kind.may_delete(self._cloud, found)
            self._cloud.records.remove(found)
            self._kind.removed(self._cloud, found)
            return Reply(status=202)
        return Reply(status=200, headers=_of_container(found))

    def _on_blob(self, request: Request, account: Record, container: Record, name: str) -> Reply:
        blobs, version = self._storage.blobs(container), request.query.get("versionid", "")
        versioned = self._storage.is_versioned(account)
        match request.method, request.query.get("comp", "").lower():
            case "PUT", "":
                return self._put(request, account, container, name)
            case "DELETE", "":
                blobs.delete(name, version, versioned=versioned)
                return Reply(status=202, headers={"x-ms-delete-type-permanent": "true" if version else "false"})
            case "PUT", "immutabilitypolicies":
                found = blobs.get(name, version)
                self._require_lockable(container)
                until = parsedate_to_datetime(request.headers["x-ms-immutability-policy-until-date"])
                blobs.lock(found, until, request.headers.get("x-ms-immutability-policy-mode", "Unlocked").capitalize())
                return Reply(status=200, headers=_of_lock(found))
            case "DELETE", "immutabilitypolicies":
                blobs.unlock(blobs.get(name, version))
                return Reply(status=200)
            case "PUT", "legalhold":
                self._require_lockable(container)
                found = blobs.get(name, version)
                found.legal_hold = request.headers.get("x-ms-legal-hold", "").lower() == "true"
                return Reply(status=200, headers={"x-ms-legal-hold": str(found.legal_hold).lower()})
        found = blobs.get(name, version)
        return _read(request, found, current=found is blobs.blob(name).current)

    def _put(self, request: Request, account: Record, container: Record, name: str) -> Reply:
        if request.headers.get("x-ms-blob-type") != "BlockBlob":
            raise Refusal(400, "UnsupportedHeader", "Only block blobs that are put at once are simulated.")
        made = self._storage.blobs(container).put(
            name,
            request.content,
            versioned=self._storage.is_versioned(account),
            overwrite=request.headers.get("if-none-match") != "*",
        )
        given = request.headers.get("x-ms-blob-content-type") or request.headers.get("content-type")
        made.content_type = given or made.content_type
        prefix = "x-ms-meta-"
        made.metadata = {
            key.removeprefix(prefix): value for key, value in request.headers.items() if key.startswith(prefix)
        }
        headers = {
            "ETag": made.etag,
            "Last-Modified": format_datetime(made.modified, usegmt=True),
            "Content-MD5": made.digest,
            "x-ms-version-id": made.id,
            "x-ms-request-server-encrypted": "true",
        }
        return Reply(status=201, headers=headers)

    @staticmethod
    def _require_lockable(container: Record) -> None:
        if not (container.properties.get("immutableStorageWithVersioning") or {}).get("enabled"):
            message = "Immutable storage with versioning is not enabled for the container."
            raise Refusal(409, "ContainerImmutableStorageWithVersioningNotEnabled", message)

    def put_as(self, principal: Principal, bucket: str, key: str, body: bytes) -> str | None:
        """Write a blob as an identity; `bucket` is `<account>/<container>`. Return an error's text, None on success."""
        try:
            account, container = self._opened(principal, bucket, "blobs/write")
            self._storage.blobs(container).put(key, body, versioned=self._storage.is_versioned(account))
        except Refusal as refusal:
            return f"{refusal.code}: {refusal.message}"
        return None

    def get_as(self, principal: Principal, bucket: str, key: str) -> bytes | str:
        """Read a blob as an identity; return the bytes, or an error's text."""
        try:
            _, container = self._opened(principal, bucket, "blobs/read")
            return self._storage.blobs(container).get(key).body
        except Refusal as refusal:
            return f"{refusal.code}: {refusal.message}"

    def _opened(self, principal: Principal, bucket: str, action: str) -> tuple[Record, Record]:
        name, _, inside = bucket.partition("/")
        account = self._storage.account(name)
        if account is None:
            raise Refusal(404, "ResourceNotFound", f"There is no storage account {name}.")
        scope = f"{account.id.text}/blobServices/default/containers/{inside}"
        if not self._cloud.access.allows(principal, Check(f"{CONTAINER}/{action}", scope, data=True)):
            raise _mismatch()
        self._storage.require_key(account)
        return account, self._existing(account, inside)

    def refused(self, refusal: Refusal, request: Request) -> Reply:
        """Return the error's XML."""
        when = request.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        message = escape(f"{refusal.message}\nRequestId:{uuid4()}\nTime:{when}")
        text = f"<Error><Code>{refusal.code}</Code><Message>{message}</Message></Error>"
        headers = {**refusal.headers, "x-ms-error-code": refusal.code, "Content-Type": "application/xml"}
        return Reply(f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode(), refusal.status, headers)

    def forget(self) -> None:
        """Forget every blob."""
        self._storage.forget()


def _read(request: Request, version: Version, *, current: bool) -> Reply:
    """Return a version's properties, and of its content what is asked for."""
    size = len(version.body)
    headers = {
        "ETag": version.etag,
        "Last-Modified": format_datetime(version.modified, usegmt=True),
        "Content-Type": version.content_type,
        "Content-MD5": version.digest,
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-server-encrypted": "true",
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-creation-time": format_datetime(version.modified, usegmt=True),
        "x-ms-version-id": version.id,
        **({"x-ms-is-current-version": "true"} if current else {}),
        **_of_lock(version),
        **({"x-ms-legal-hold": "true"} if version.legal_hold else {}),
        **{f"x-ms-meta-{key}": value for key, value in version.metadata.items()},
    }
    wanted = _RANGE.fullmatch(request.headers.get("x-ms-range") or request.headers.get("range") or "")
    if wanted is None or request.method == "HEAD":
        return Reply(version.body, headers=headers)
    first = int(wanted[1])
    last = min(int(wanted[2] or size - 1), size - 1)
    if first >= size:
        message = "The range specified is invalid for the current size of the resource."
        raise Refusal(416, "InvalidRange", message, headers={"Content-Range": f"bytes */{size}"})
    headers["x-ms-blob-content-md5"] = headers.pop("Content-MD5")
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Reply(version.body[first : last + 1], 206, headers)


def _of_lock(version: Version) -> dict[str, str]:
    if version.locked_until is None:
        return {}
    return {
        "x-ms-immutability-policy-until-date": format_datetime(version.locked_until.astimezone(UTC), usegmt=True),
        "x-ms-immutability-policy-mode": version.lock_mode.lower(),
    }


def _of_container(container: Record) -> dict[str, str]:
    enabled = (container.properties.get("immutableStorageWithVersioning") or {}).get("enabled", False)
    return {
        "ETag": f'"{container.etag}"',
        "Last-Modified": format_datetime(datetime.now(UTC), usegmt=True),
        "x-ms-immutable-storage-with-versioning-enabled": str(bool(enabled)).lower(),
    }


def _mismatch() -> Refusal:
    message = "This request is not authorized to perform this operation using this permission."
    return Refusal(403, "AuthorizationPermissionMismatch", message)


def _nowhere(request: Request) -> Reply:
    """There is no such host: no name leads to an account that does not exist."""
    request.had_effect = False
    raise Withheld


def _unknown(request: Request) -> Reply:
    message = f"Nothing is simulated for {request.method} {request.path} with '{request.query.get('comp', '')}'."
    raise Refusal(400, "InvalidQueryParameterValue", message)
