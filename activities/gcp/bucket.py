"""The bucket for backups. Google serves no bucket without TLS, so nothing has to forbid that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core.exceptions import Conflict, Forbidden, NotFound
from google.cloud import storage
from temporalio import activity

from activities.contracts import BucketRequest, FoundationContract, Retention
from activities.failures import refused
from activities.gcp.backup_locks import lock_of
from activities.gcp.encryption import LABEL_RETAINED_UNTIL
from activities.gcp.errors import failures_named
from activities.gcp.ownership import is_ours, require_ours
from activities.gcp.part import GcpPart
from activities.needs import needs
from activities.patience import is_young
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Bucket
from domain.failure import FailureClass
from domain.naming import global_name, owner_labels

SOFT_DELETION = 7 * 86400
"""Seconds for which what was deleted by mistake can be brought back. A retirement switches it off, for nothing of the
customer's shall linger then."""
_ABORT_UPLOADS = {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}}
"""A backup that broke off leaves parts that nobody sees and everybody pays for."""

_OF_THE_KEY = "Cloud KMS key"
"""In the refusal of a bucket whose key Cloud Storage may not use."""
_GRANTS_COUNT_AFTER = timedelta(minutes=10)
"""A grant has effect after two minutes as a rule, and may take seven or more (IAM, "Access change propagation")."""


class GcpBackupBucket(GcpPart, FoundationContract):
    """Makes and deletes the bucket."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "storage.buckets.create", "storage.buckets.enableObjectRetention", "storage.buckets.get",
        "storage.buckets.update",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_backup_bucket(self, request: BucketRequest) -> Bucket:
        """The bucket exists in the region: lockable, encrypted with the key, closed to the public.

        Nothing is locked by default: each backup gets the lock of its own retention. The labels come with the
        creation, so that even a bucket whose creation was not acknowledged is known as ours.

        Raises:
            ApplicationError: NOT_READY while Cloud Storage may not use the key yet; after a while that is PERMISSION.
        """
        site, name = request.site, backup_bucket(request.site)
        with failures_named(resource=name):
            client = self._connections.client(storage.Client, site, Purpose.OPERATE)
            bucket = client.bucket(name)
            if not _exists(bucket):
                self._create(bucket, site, request.key.key_id)
                return Bucket(name=name)
            require_ours(f"bucket {name}", site, ours=is_ours(bucket.labels, site))
            if bucket.location.lower() != site.region:
                message = f"The bucket {name} lies in {bucket.location.lower()}, not in {site.region}; it cannot move"
                raise refused(FailureClass.CONFIG, message, resource=name)
            before = _settings(bucket)
            _set(bucket, request.key.key_id, _labels(bucket.labels, site))
            if _settings(bucket) != before:
                bucket.patch(retry=None)
        return Bucket(name=name)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "storage.buckets.delete", "storage.buckets.get", "storage.buckets.update", "storage.objects.delete",
        "storage.objects.list", "storage.objects.overrideUnlockedRetention", "storage.objects.setRetention",
        "storage.objects.update",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_backup_bucket(self, retention: Retention) -> None:
        """The bucket is gone with every object; with kept backups, the locked ones stay, and the bucket with them."""
        site, name = retention.site, backup_bucket(retention.site)
        with failures_named(resource=name):
            client = self._connections.client(storage.Client, site, Purpose.DELETE)
            bucket = client.bucket(name)
            if not _exists(bucket):
                return
            require_ours(f"bucket {name}", site, ours=is_ours(bucket.labels, site))
            if bucket.soft_delete_policy.retention_duration_seconds:
                bucket.soft_delete_policy.retention_duration_seconds = 0
                bucket.patch(retry=None)
            kept_until = _delete_objects(client, bucket, keep_locked=retention.keep_backups)
            if kept_until is not None:
                wanted = {**bucket.labels, LABEL_RETAINED_UNTIL: kept_until.date().isoformat()}
                if wanted != dict(bucket.labels):
                    bucket.labels = wanted
                    bucket.patch(retry=None)
                return
            try:
                bucket.delete(retry=None)
            except NotFound:
                return

    def _create(self, bucket: storage.Bucket, site: Site, key: str) -> None:
        _set(bucket, key, owner_labels(site, "backups"))
        try:
            bucket.create(location=site.region, enable_object_retention=True, retry=None)
        except Conflict as error:
            # Bucket names are global: it is ours and not visible yet, or another project's.
            if "you already own it" in str(error.message):
                raise self._look_again(f"the bucket {bucket.name} exists and is not visible yet") from error
            if "not available" not in str(error.message):
                raise
            message = f"The bucket name {bucket.name} is taken by another project"
            raise refused(FailureClass.NOT_OURS, message, resource=bucket.name) from error
        except Forbidden as error:
            if _OF_THE_KEY not in str(error.message) or not is_young(_GRANTS_COUNT_AFTER):
                raise
            raise self._look_again(f"Cloud Storage may not use the key {key} yet") from error


def backup_bucket(site: Site) -> str:
    """Return the name of the deployment's bucket."""
    return global_name(site, "backups")


def _exists(bucket: storage.Bucket) -> bool:
    """Return whether the bucket exists; it is then as Google has it."""
    try:
        bucket.reload(retry=None)
    except NotFound:
        return False
    return True


def _labels(present: Mapping[str, str], site: Site) -> dict[str, str]:
    """Return the labels of a bucket in use; those that the customer added stay."""
    labels = {**present, **owner_labels(site, "backups")}
    labels.pop(LABEL_RETAINED_UNTIL, None)
    return labels


def _set(bucket: storage.Bucket, key: str, labels: Mapping[str, str]) -> None:
    """Let the bucket, as we hold it, have everything that protects backups."""
    bucket.labels = dict(labels)
    bucket.default_kms_key_name = key
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"
    bucket.soft_delete_policy.retention_duration_seconds = SOFT_DELETION
    bucket.lifecycle_rules = [_ABORT_UPLOADS]


def _settings(bucket: storage.Bucket) -> tuple[Any, ...]:
    """Return what `_set` sets."""
    access = bucket.iam_configuration
    return (
        dict(bucket.labels),
        bucket.default_kms_key_name,
        access.uniform_bucket_level_access_enabled,
        access.public_access_prevention,
        bucket.soft_delete_policy.retention_duration_seconds,
        [dict(rule) for rule in bucket.lifecycle_rules],
    )


def _delete_objects(client: storage.Client, bucket: storage.Bucket, *, keep_locked: bool) -> datetime | None:
    """Delete every object (with `keep_locked`, every one that is not locked); return when the last kept lock ends."""
    now = datetime.now(UTC)
    kept_until: datetime | None = None
    for blob in list(client.list_blobs(bucket, retry=None)):
        locked = lock_of(blob)
        if locked is not None and locked > now:
            if keep_locked:
                kept_until = max(kept_until or locked, locked)
                continue
            blob.retention.mode, blob.retention.retain_until_time = None, None
            blob.patch(override_unlocked_retention=True, retry=None)
        try:
            blob.delete(retry=None)
        except NotFound:
            continue
    return kept_until
