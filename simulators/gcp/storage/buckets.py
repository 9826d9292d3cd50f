"""What Cloud Storage keeps of buckets and objects, and the rules about them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import google_crc32c

from simulators.gcp.api import stamp
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.creation import Keys
from simulators.gcp.refusals import Json, Refusal, exists, invalid, not_found

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_SOFT_DELETION = "604800"
"""Seconds: seven days, what a bucket has unless it asks for something else."""
_LONGEST_RETENTION = 100 * 365 * 86400


@dataclass
class StoredObject:
    """One generation of an object."""

    document: Json
    body: bytes
    created: datetime
    deleted: datetime | None = None


@dataclass
class Bucket:
    """One bucket."""

    project: str
    document: Json
    objects: dict[str, StoredObject] = field(default_factory=dict)
    """Keyed by name."""
    soft_deleted: dict[str, StoredObject] = field(default_factory=dict)
    """Keyed by generation."""

    @property
    def name(self) -> str:
        """The name, unique in the whole world."""
        return str(self.document["name"])

    @property
    def retention(self) -> float:
        """Seconds for which objects must stay."""
        return float((self.document.get("retentionPolicy") or {}).get("retentionPeriod", 0))


class Buckets:
    """Every bucket of every project."""

    def __init__(self, cloud: Cloud, keys: Keys) -> None:
        self._cloud = cloud
        self._keys = keys
        self._buckets: dict[str, Bucket] = {}
        self._generation = 1_700_000_000_000_000

    def find(self, name: str) -> Bucket | None:
        """Return the bucket of that name, or None."""
        return self._buckets.get(name)

    def get(self, name: str) -> Bucket:
        """Return the bucket; refuse as Cloud Storage does if there is none."""
        bucket = self._buckets.get(name)
        if bucket is None:
            raise not_found("The specified bucket does not exist.")
        return bucket

    def of(self, project: str) -> list[Bucket]:
        """Return the buckets of a project, ordered by name."""
        return [bucket for _, bucket in sorted(self._buckets.items()) if bucket.project == project]

    def create(self, project: str, wanted: Json) -> Bucket:
        """Make a bucket."""
        name = str(wanted.get("name", ""))
        if not _NAME.fullmatch(name):
            raise invalid(f"Invalid bucket name: '{name}'")
        if name in self._buckets:
            owner = self._buckets[name].project
            message = (
                "Your previous request to create the named bucket succeeded and you already own it."
                if owner == project
                else "The requested bucket name is not available. The bucket namespace is shared by all users of the"
                " system. Please select a different name and try again."
            )
            raise exists(message, legacy="conflict")
        now = self._cloud.now()
        document: Json = {
            "kind": "storage#bucket",
            "id": name,
            "projectNumber": self._cloud.project(project).number,
            "location": "US",
            "locationType": "multi-region",
            "storageClass": "STANDARD",
            "timeCreated": now,
            "updated": now,
            "metageneration": "1",
            "iamConfiguration": {},
            "softDeletePolicy": {"retentionDurationSeconds": _SOFT_DELETION, "effectiveTime": now},
        }
        document |= self._checked(project, {}, wanted)
        document["location"] = str(document["location"]).upper()
        document["locationType"] = "region" if "-" in document["location"] else "multi-region"
        self._buckets[name] = Bucket(project, document)
        self._cloud.policies.set(
            f"projects/_/buckets/{name}",
            {"bindings": [{"role": "roles/storage.admin", "members": [f"user:owner@{project}.example.com"]}]},
        )
        return self._buckets[name]

    def patch(self, bucket: Bucket, changes: Mapping[str, Any]) -> bool:
        """Change a bucket; return whether anything is other than before."""
        wanted = self._checked(bucket.project, bucket.document, dict(changes))
        before = dict(bucket.document)
        for key, value in wanted.items():
            if value is None:
                bucket.document.pop(key, None)
            else:
                bucket.document[key] = value
        if bucket.document == before:
            return False
        self._touch(bucket)
        return True

    def _checked(self, project: str, current: Json, wanted: Json) -> Json:
        """Return the changes as they are kept: merged where they are partial, refused where they are not allowed."""
        kept = {key: value for key, value in wanted.items() if key not in ("kind", "id", "metageneration")}
        if "labels" in kept:
            merged = {**(current.get("labels") or {}), **(kept["labels"] or {})}
            kept["labels"] = {key: value for key, value in merged.items() if value is not None} or None
        if "iamConfiguration" in kept:
            kept["iamConfiguration"] = {**(current.get("iamConfiguration") or {}), **kept["iamConfiguration"]}
        if "retentionPolicy" in kept:
            kept["retentionPolicy"] = self._retention(current.get("retentionPolicy") or {}, kept["retentionPolicy"])
        if key := (kept.get("encryption") or {}).get("defaultKmsKeyName"):
            self._require_key(key, project)
        if kept.get("softDeletePolicy"):
            kept["softDeletePolicy"] = {"effectiveTime": self._cloud.now(), **kept["softDeletePolicy"]}
        return kept

    def _retention(self, current: Json, wanted: Json | None) -> Json | None:
        period = float((wanted or {}).get("retentionPeriod", 0))
        if current.get("isLocked") and period < float(current["retentionPeriod"]):
            raise Refusal(
                "PERMISSION_DENIED", "Cannot reduce retention duration of a locked Retention Policy for bucket."
            )
        if wanted is None:
            return None
        if not 0 < period <= _LONGEST_RETENTION:
            raise invalid(f"Invalid retention period: {period}")
        kept = {"retentionPeriod": str(int(period)), "effectiveTime": current.get("effectiveTime") or self._cloud.now()}
        return {**kept, **({"isLocked": True} if current.get("isLocked") else {})}

    def _require_key(self, key: str, project: str) -> None:
        try:
            self._keys.require_usable(key, "storage", project)
        except Refusal as refusal:
            if refusal.status == "FAILED_PRECONDITION":
                raise  # the key itself is disabled, or about to be destroyed
            raise Refusal(
                "PERMISSION_DENIED",
                "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account has been"
                " authorized to use this key.",
                legacy="forbidden",
            ) from refusal

    def lock(self, bucket: Bucket, metageneration: str) -> bool:
        """Lock the retention policy for ever; return whether it was not locked."""
        if metageneration != bucket.document["metageneration"]:
            raise condition_not_met()
        policy = bucket.document.get("retentionPolicy")
        if policy is None:
            raise invalid(f"Bucket {bucket.name} has no retention policy.")
        if policy.get("isLocked"):
            return False
        policy["isLocked"] = True
        self._touch(bucket)
        return True

    def delete(self, bucket: Bucket) -> None:
        """Delete an empty bucket."""
        if bucket.objects:
            raise Refusal("ABORTED", "The bucket you tried to delete is not empty.", legacy="conflict")
        del self._buckets[bucket.name]
        self._cloud.policies.remove(f"projects/_/buckets/{bucket.name}")

    def put(self, bucket: Bucket, name: str, body: bytes, metadata: Json) -> StoredObject:
        """Write an object; an earlier generation is deleted by that, if it may be."""
        if name in bucket.objects:
            self.remove(bucket, name)
        key = metadata.get("kmsKeyName") or (bucket.document.get("encryption") or {}).get("defaultKmsKeyName")
        if key:
            self._require_key(key, bucket.project)
        self._generation += 1
        now = self._cloud.now()
        document: Json = {
            "kind": "storage#object",
            "id": f"{bucket.name}/{name}/{self._generation}",
            "name": name,
            "bucket": bucket.name,
            "generation": str(self._generation),
            "metageneration": "1",
            "contentType": metadata.get("contentType", "application/octet-stream"),
            "storageClass": bucket.document["storageClass"],
            "size": str(len(body)),
            "md5Hash": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
            "crc32c": base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode(),
            "etag": base64.b64encode(str(self._generation).encode()).decode(),
            "timeCreated": now,
            "updated": now,
        }
        if metadata.get("metadata"):
            document["metadata"] = metadata["metadata"]
        if key:
            document["kmsKeyName"] = f"{key}/cryptoKeyVersions/1"
        stored = StoredObject(document, body, self._cloud.clock.now())
        bucket.objects[name] = stored
        return stored

    def described(self, bucket: Bucket, stored: StoredObject) -> Json:
        """Return an object as the API describes it."""
        document = dict(stored.document)
        if bucket.retention:
            document["retentionExpirationTime"] = stamp(stored.created + timedelta(seconds=bucket.retention))
        return document

    def content(self, bucket: Bucket, stored: StoredObject) -> bytes:
        """Return what is in an object; without its key nobody can read it."""
        if key := stored.document.get("kmsKeyName"):
            self._require_key(key, bucket.project)
        return stored.body

    def object(self, bucket: Bucket, name: str) -> StoredObject:
        """Return an object; refuse as Cloud Storage does if there is none."""
        stored = bucket.objects.get(name)
        if stored is None:
            raise not_found(f"No such object: {bucket.name}/{name}")
        return stored

    def remove(self, bucket: Bucket, name: str) -> None:
        """Delete an object that no retention and no hold protects; it is kept for a time if the bucket says so."""
        stored = self.object(bucket, name)
        until = stored.created + timedelta(seconds=bucket.retention)
        own = _instant((stored.document.get("retention") or {}).get("retainUntilTime", ""))
        until = max(until, own)
        if self._cloud.clock.now() < until and (bucket.retention or own > _NEVER):
            message = (
                f"Object '{bucket.name}/{name}' is subject to bucket's retention policy or object retention and cannot"
                f" be deleted or overwritten until {stamp(until)}"
            )
            raise Refusal("PERMISSION_DENIED", message, legacy="retentionPolicyNotMet")
        if stored.document.get("temporaryHold") or stored.document.get("eventBasedHold"):
            message = f"Object '{bucket.name}/{name}' is under active hold and cannot be deleted or overwritten."
            raise Refusal("PERMISSION_DENIED", message, legacy="objectUnderActiveHold")
        del bucket.objects[name]
        if float((bucket.document.get("softDeletePolicy") or {}).get("retentionDurationSeconds", 0)):
            stored.deleted = self._cloud.clock.now()
            bucket.soft_deleted[stored.document["generation"]] = stored

    def retention_of(
        self, bucket: Bucket, stored: StoredObject, wanted: Mapping[str, Any] | None, override: bool
    ) -> Json | None:
        """Return an object's own retention after a change, which never gets shorter unless it is unlocked and that is
        overridden.
        """
        if "objectRetention" not in bucket.document:
            raise invalid(f"Object retention is not enabled for the bucket {bucket.name}.")
        present = stored.document.get("retention") or {}
        until = str((wanted or {}).get("retainUntilTime") or "")
        if until and not (wanted or {}).get("mode"):
            raise invalid("Object retention must have both a mode and a retainUntilTime.")
        shorter = bool(present) and _instant(until) < _instant(present["retainUntilTime"])
        if shorter and (present["mode"] == "Locked" or not override):
            raise Refusal(
                "PERMISSION_DENIED",
                f"Object '{bucket.name}/{stored.document['name']}' has a retention until {present['retainUntilTime']},"
                " which cannot be reduced or removed.",
                legacy="forbidden",
            )
        return {"mode": str((wanted or {})["mode"]), "retainUntilTime": until} if until else None

    def soft_deleted(self, bucket: Bucket) -> list[StoredObject]:
        """Return the deleted objects that can still be restored."""
        seconds = float((bucket.document.get("softDeletePolicy") or {}).get("retentionDurationSeconds", 0))
        now = self._cloud.clock.now()
        for generation, stored in list(bucket.soft_deleted.items()):
            if stored.deleted is None or now > stored.deleted + timedelta(seconds=seconds):
                del bucket.soft_deleted[generation]
        return list(bucket.soft_deleted.values())

    def restore(self, bucket: Bucket, name: str, generation: str) -> StoredObject:
        """Bring a deleted object back."""
        for stored in self.soft_deleted(bucket):
            if (stored.document["name"], stored.document["generation"]) == (name, generation):
                del bucket.soft_deleted[generation]
                return self.put(bucket, name, stored.body, stored.document)
        raise not_found(f"No such object: {bucket.name}/{name}#{generation}")

    def _touch(self, bucket: Bucket) -> None:
        bucket.document["metageneration"] = str(int(bucket.document["metageneration"]) + 1)
        bucket.document["updated"] = self._cloud.now()

    def forget(self) -> None:
        """Forget every bucket."""
        self._buckets.clear()


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def _instant(text: str) -> datetime:
    """Read an instant; without one it is long ago."""
    return datetime.fromisoformat(text) if text else _NEVER


def condition_not_met() -> Refusal:
    """A precondition of the request does not hold."""
    message = "At least one of the pre-conditions you specified did not hold."
    return Refusal("FAILED_PRECONDITION", message, http=412, legacy="conditionNotMet")
