"""What is in the containers of storage accounts: blobs with their versions, and what keeps these from being deleted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from simulators.azure.refusals import Refusal
from simulators.clock import Clock


@dataclass
class Version:
    """One version of a blob."""

    id: str
    body: bytes
    etag: str
    modified: datetime
    content_type: str = "application/octet-stream"
    metadata: dict[str, str] = field(default_factory=dict)
    locked_until: datetime | None = None
    lock_mode: str = ""
    """`Unlocked` or `Locked`."""
    legal_hold: bool = False

    @property
    def digest(self) -> str:
        """The MD5 of the content, as the API shows it."""
        return base64.b64encode(hashlib.md5(self.body, usedforsecurity=False).digest()).decode()


@dataclass
class Blob:
    """One name in a container."""

    name: str
    versions: list[Version] = field(default_factory=list)
    """The oldest one first."""
    current: Version | None = None
    """None after a deletion that left versions."""

    def found(self, version: str) -> Version:
        """Return a version, or without one the current one; refuse what is not there."""
        if not version:
            if self.current is None:
                raise blob_not_found()
            return self.current
        for entry in self.versions:
            if entry.id == version:
                return entry
        raise blob_not_found()


class Blobs:
    """The blobs of one container."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = datetime.min.replace(tzinfo=UTC)
        self._blobs: dict[str, Blob] = {}

    def __len__(self) -> int:
        return len(self._blobs)

    def listed(self, prefix: str = "") -> Iterator[Blob]:
        """Yield the blobs in the order of their names."""
        yield from (self._blobs[name] for name in sorted(self._blobs) if name.startswith(prefix))

    def get(self, name: str, version: str = "") -> Version:
        """Return what is read of a blob, or refuse."""
        return self.blob(name).found(version)

    def blob(self, name: str) -> Blob:
        """Return a blob of which anything is there, or refuse."""
        if name not in self._blobs:
            raise blob_not_found()
        return self._blobs[name]

    def put(self, name: str, body: bytes, *, versioned: bool, overwrite: bool = True) -> Version:
        """Write a blob; with versioning what was there stays as a version."""
        blob = self._blobs.setdefault(name, Blob(name))
        if blob.current is not None and not overwrite:
            raise Refusal(409, "BlobAlreadyExists", "The specified blob already exists.")
        if blob.current is not None and not versioned:
            self._require_unprotected(blob.current)
            blob.versions.remove(blob.current)
        moment = self._next_instant()
        etag = f'"0x{hashlib.sha256(f"{name}{moment}".encode()).hexdigest()[:15].upper()}"'
        version = Version(moment.strftime("%Y-%m-%dT%H:%M:%S.%f0Z"), body, etag, moment.replace(microsecond=0))
        blob.versions.append(version)
        blob.current = version
        return version

    def delete(self, name: str, version: str, *, versioned: bool) -> None:
        """Delete a version; without one the current one, which versioning keeps."""
        blob = self.blob(name)
        found = blob.found(version)
        if version and found is blob.current:
            message = "The specified operation is not allowed on root blob."
            raise Refusal(403, "OperationNotAllowedOnRootBlob", message)
        self._require_unprotected(found)
        if not version:
            blob.current = None
        if version or not versioned:
            blob.versions.remove(found)
        if not blob.versions:
            del self._blobs[name]

    def lock(self, version: Version, until: datetime, mode: str) -> None:
        """Lock a version until an instant; one that is locked for good can only be locked for longer."""
        if until <= self._clock.now():
            message = "The value for one of the HTTP headers is not in the correct format."
            raise Refusal(400, "InvalidHeaderValue", message)
        before = version.locked_until
        if version.lock_mode == "Locked" and (mode != "Locked" or (before is not None and until < before)):
            raise _immutable()
        version.locked_until, version.lock_mode = until, mode

    def unlock(self, version: Version) -> None:
        """Take a lock away, unless it is there for good."""
        if version.lock_mode == "Locked":
            raise _immutable()
        version.locked_until, version.lock_mode = None, ""

    def is_protected(self, version: Version) -> bool:
        """Return whether a version can neither be deleted nor be replaced."""
        locked = version.locked_until is not None and version.locked_until > self._clock.now()
        return locked or version.legal_hold

    def _require_unprotected(self, version: Version) -> None:
        if self.is_protected(version):
            raise _immutable()

    def _next_instant(self) -> datetime:
        """Return now, or a little later: a version's id is the instant at which it came."""
        self._last = max(self._clock.now(), self._last + timedelta(microseconds=1))
        return self._last


def blob_not_found() -> Refusal:
    """There is no such blob."""
    return Refusal(404, "BlobNotFound", "The specified blob does not exist.")


def _immutable() -> Refusal:
    message = "This operation is not permitted as the blob is immutable due to a policy."
    return Refusal(409, "BlobImmutableDueToPolicy", message)
