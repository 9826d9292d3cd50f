"""The bucket for backups, and the locks on them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from activities.aws.bucket import bucket_policy
from activities.contracts import BackupLock, BucketRequest, Retention
from domain.facts import Backup, Bucket, Key
from domain.naming import owner_tags
from simulators.faults import FaultKind
from tests.activities.aws.conftest import REGION, Account


@pytest.fixture
def key(account: Account) -> Key:
    """The deployment's key."""
    key: Key = account.run("create_encryption_key", account.site)
    return key


@pytest.fixture
def bucket(account: Account, key: Key) -> Bucket:
    """The deployment's bucket."""
    bucket: Bucket = account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))
    return bucket


def _stored(account: Account, bucket: Bucket, name: str) -> Backup:
    """Put an object into the bucket, as the store does, and return it as a backup."""
    account.customer("s3").put_object(Bucket=bucket.name, Key=name, Body=b"data")
    return Backup(bucket=bucket.name, key=name, size_bytes=4, sha256="", records=1, taken_at=datetime.now(UTC))


def test_the_bucket_is_closed_encrypted_and_lockable(account: Account, key: Key, bucket: Bucket) -> None:
    """Everything that protects backups is set, in the deployment's region."""
    s3 = account.customer("s3")
    which = {"Bucket": bucket.name}
    assert s3.get_bucket_location(**which)["LocationConstraint"] == REGION
    assert s3.get_bucket_versioning(**which)["Status"] == "Enabled"
    lock = s3.get_object_lock_configuration(**which)["ObjectLockConfiguration"]
    assert lock["ObjectLockEnabled"] == "Enabled"
    assert "Rule" not in lock
    encryption = s3.get_bucket_encryption(**which)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert encryption["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == key.key_id
    assert encryption["BucketKeyEnabled"]
    assert set(s3.get_public_access_block(**which)["PublicAccessBlockConfiguration"].values()) == {True}
    assert json.loads(s3.get_bucket_policy(**which)["Policy"]) == bucket_policy(account.site)
    assert s3.get_bucket_lifecycle_configuration(**which)["Rules"][0]["AbortIncompleteMultipartUpload"]
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(**which)["TagSet"]}
    assert tags == owner_tags(account.site, "backups")


def test_a_changed_bucket_is_put_back(account: Account, key: Key, bucket: Bucket) -> None:
    """Settings that somebody changed are as before after the next run; tags that the customer added stay."""
    s3, which = account.customer("s3"), {"Bucket": bucket.name}
    s3.delete_public_access_block(**which)
    s3.delete_bucket_policy(**which)
    s3.delete_bucket_lifecycle(**which)
    s3.delete_bucket_encryption(**which)
    s3.put_bucket_tagging(
        **which,
        Tagging={
            "TagSet": [
                {"Key": "byoc", "Value": "managed"},
                {"Key": "byoc:deployment", "Value": account.site.deployment},
                {"Key": "cost-center", "Value": "42"},
            ]
        },
    )

    account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))

    encryption = s3.get_bucket_encryption(**which)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert encryption["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == key.key_id
    assert set(s3.get_public_access_block(**which)["PublicAccessBlockConfiguration"].values()) == {True}
    assert json.loads(s3.get_bucket_policy(**which)["Policy"]) == bucket_policy(account.site)
    assert s3.get_bucket_lifecycle_configuration(**which)["Rules"]
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(**which)["TagSet"]}
    assert tags == {**owner_tags(account.site, "backups"), "cost-center": "42"}


def test_a_backup_is_locked_for_its_days_and_only_once(account: Account, bucket: Bucket) -> None:
    """The lock counts from the backup's own time, so that a repeat asks for the same and changes nothing."""
    backup = _stored(account, bucket, "a.bak")

    locked = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=7))

    retention = account.customer("s3").get_object_retention(Bucket=bucket.name, Key="a.bak")["Retention"]
    assert retention["Mode"] == "GOVERNANCE"
    assert abs(retention["RetainUntilDate"] - (backup.taken_at + timedelta(days=7))) < timedelta(seconds=1)
    before = account.control.position()
    again = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=7))
    assert abs(again.retain_until - locked.retain_until) < timedelta(seconds=1)
    assert account.changes(before) == []


def test_a_lock_is_never_shortened(account: Account, bucket: Bucket) -> None:
    """Asking for fewer days leaves the longer lock in force and says so."""
    backup = _stored(account, bucket, "a.bak")
    account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=35))

    locked = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=7))

    assert locked.retain_until > backup.taken_at + timedelta(days=34)


def test_operating_cannot_delete_a_locked_backup(account: Account, bucket: Bucket) -> None:
    """Not even the customer's administrator deletes a locked version without asking to pass over the lock."""
    backup = _stored(account, bucket, "a.bak")
    account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=7))
    s3 = account.customer("s3")
    version = s3.head_object(Bucket=bucket.name, Key="a.bak")["VersionId"]

    with pytest.raises(ClientError):
        s3.delete_object(Bucket=bucket.name, Key="a.bak", VersionId=version)


def test_deletion_takes_everything_even_what_is_locked(account: Account, bucket: Bucket) -> None:
    """The customer ordered that nothing is kept: versions, delete markers and broken uploads go with the bucket."""
    backup = _stored(account, bucket, "a.bak")
    account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=7))
    s3 = account.customer("s3")
    s3.put_object(Bucket=bucket.name, Key="a.bak", Body=b"newer")
    s3.delete_object(Bucket=bucket.name, Key="a.bak")
    s3.create_multipart_upload(Bucket=bucket.name, Key="broken")
    for operation in ("DeleteObjects", "DeleteBucket", "AbortMultipartUpload"):
        account.inject(FaultKind.LOST_REPLY, operation, times=1)

    account.run_through("delete_backup_bucket", Retention(site=account.site))

    assert account.resources("s3") == []
    before = account.control.position()
    account.run("delete_backup_bucket", Retention(site=account.site))
    assert account.changes(before) == []


def test_kept_backups_stay_and_everything_else_goes(account: Account, bucket: Bucket) -> None:
    """Locked versions stay with the bucket, which says until when; unlocked ones are deleted."""
    kept = _stored(account, bucket, "kept.bak")
    _stored(account, bucket, "unlocked.bak")
    locked = account.run("lock_backup", BackupLock(site=account.site, backup=kept, retain_days=35))

    account.run("delete_backup_bucket", Retention(site=account.site, keep_backups=True))

    s3 = account.customer("s3")
    versions = s3.list_object_versions(Bucket=bucket.name)["Versions"]
    assert [version["Key"] for version in versions] == ["kept.bak"]
    retained = {"Key": "byoc:retained-until", "Value": locked.retain_until.date().isoformat()}
    assert retained in s3.get_bucket_tagging(Bucket=bucket.name)["TagSet"]
    before = account.control.position()
    account.run("delete_backup_bucket", Retention(site=account.site, keep_backups=True))
    assert account.changes(before) == []
