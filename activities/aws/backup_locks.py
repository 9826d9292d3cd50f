"""Object locks on backups: until when a version may not be deleted.

Locks are of mode GOVERNANCE: nobody deletes a backup by mistake or with a stolen pod identity, because that takes the
permission `s3:BypassGovernanceRetention`, which the delete role alone has. In mode COMPLIANCE not even the customer's
root user could: a retired deployment's data could not be erased before the lock ends although the customer orders it,
and a wrong date could not be corrected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import if_exists
from activities.aws.part import AwsPart
from activities.contracts import BackupLock, ClusterContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.facts import Backup

LOCK_MODE = "GOVERNANCE"

_NO_LOCK = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})
"""What S3 answers about a version without a lock, and about any version in a bucket without object lock."""


class AwsBackupLocks(AwsPart, ClusterContract):
    """Locks backups."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs("s3:GetObjectRetention", "s3:PutObjectRetention", purpose=Purpose.OPERATE)
    def lock_backup(self, request: BackupLock) -> Backup:
        """The backup's object is locked until `retain_days` after the backup was taken, or longer if it was already."""
        site, backup = request.site, request.backup
        wanted = backup.taken_at + timedelta(days=request.retain_days)
        with failures_named(resource=f"{backup.bucket}/{backup.key}"):
            s3 = self._connections.client("s3", site, Purpose.OPERATE)
            present = lock_of(s3, backup.bucket, site.cloud_account_id, backup.key)
            if present is not None and present >= wanted.replace(microsecond=0):
                return backup.model_copy(update={"retain_until": present})
            s3.put_object_retention(
                Bucket=backup.bucket,
                Key=backup.key,
                Retention={"Mode": LOCK_MODE, "RetainUntilDate": wanted},
                ExpectedBucketOwner=site.cloud_account_id,
            )
        return backup.model_copy(update={"retain_until": wanted})


@dataclass(frozen=True)
class Version:
    """One version of an object, or one delete marker."""

    key: str
    version_id: str
    is_delete_marker: bool = False


def versions(s3: AwsClient, bucket: str, account_id: str) -> Iterator[Version]:
    """Yield every version and delete marker in the bucket."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, ExpectedBucketOwner=account_id)
    for page in pages:
        for found in page.get("Versions", ()):
            yield Version(found["Key"], found["VersionId"])
        for found in page.get("DeleteMarkers", ()):
            yield Version(found["Key"], found["VersionId"], is_delete_marker=True)


def lock_of(s3: AwsClient, bucket: str, account_id: str, key: str, version_id: str | None = None) -> datetime | None:
    """Return the instant until which a version (the current one unless named) is locked, None if it never was."""
    which = {"VersionId": version_id} if version_id else {}
    try:
        reply = s3.get_object_retention(Bucket=bucket, Key=key, ExpectedBucketOwner=account_id, **which)
    except ClientError as error:
        if code_of(error) in _NO_LOCK:
            return None
        raise
    until: datetime = reply["Retention"]["RetainUntilDate"]
    return until


def locked_until(s3: AwsClient, bucket: str, account_id: str, *, now: datetime) -> datetime | None:
    """Return when the last lock in the bucket ends; None without one that holds at `now`, or without the bucket."""
    if if_exists(s3.head_bucket, Bucket=bucket, ExpectedBucketOwner=account_id) is None:
        return None
    locks = (
        lock_of(s3, bucket, account_id, version.key, version.version_id)
        for version in versions(s3, bucket, account_id)
        if not version.is_delete_marker
    )
    return max((until for until in locks if until is not None and until > now), default=None)
