"""Locks on backups: until when an object may not be deleted.

An object's own retention is of the mode Unlocked: nobody deletes a backup by mistake or with a stolen pod identity,
because lifting it takes the permission `storage.objects.overrideUnlockedRetention`, which the delete account alone has.
In the mode Locked not even the project's owner could: a retired deployment's data could not be erased before the lock
ends although the customer orders it, and a wrong date could not be corrected.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from google.api_core.exceptions import NotFound
from google.cloud import storage
from temporalio import activity

from activities.contracts import BackupLock, ClusterContract
from activities.gcp.errors import failures_named
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.facts import Backup

LOCK_MODE = "Unlocked"


class GcpBackupLocks(GcpPart, ClusterContract):
    """Locks backups."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "storage.objects.get", "storage.objects.setRetention", "storage.objects.update",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def lock_backup(self, request: BackupLock) -> Backup:
        """The backup's object is locked until `retain_days` after the backup was taken, or longer if it was already."""
        site, backup = request.site, request.backup
        wanted = backup.taken_at + timedelta(days=request.retain_days)
        with failures_named(resource=f"{backup.bucket}/{backup.key}"):
            client = self._connections.client(storage.Client, site, Purpose.OPERATE)
            blob = client.bucket(backup.bucket).blob(backup.key)
            blob.reload(retry=None)
            present = blob.retention.retain_until_time
            if present is not None and present >= wanted.replace(microsecond=0):
                return backup.model_copy(update={"retain_until": present})
            blob.retention.mode = LOCK_MODE
            blob.retention.retain_until_time = wanted
            blob.patch(retry=None)
        return backup.model_copy(update={"retain_until": wanted})


def lock_of(blob: storage.Blob) -> datetime | None:
    """Return the instant until which a listed object is locked, None if it never was."""
    until: datetime | None = blob.retention.retain_until_time
    return until


def locked_until(client: storage.Client, bucket: str, *, now: datetime) -> datetime | None:
    """Return when the last lock in the bucket ends; None without one that holds at `now`, or without the bucket."""
    found = client.bucket(bucket)
    try:
        found.reload(retry=None)
    except NotFound:
        return None
    locks = (lock_of(blob) for blob in client.list_blobs(found, retry=None))
    return max((until for until in locks if until is not None and until > now), default=None)
