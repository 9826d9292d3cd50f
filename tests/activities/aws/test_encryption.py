"""The encryption key of a deployment."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from activities.aws.encryption import DELETION_WINDOW_DAYS, alias_name, key_policy
from activities.contracts import BackupLock, BucketRequest, Retention
from domain.facts import Backup, Key
from domain.naming import owner_tags
from simulators.faults import FaultKind
from tests.activities.aws.conftest import Account


def test_the_key_rotates_and_is_found_by_its_alias(account: Account) -> None:
    """The key has alias, yearly rotation, our policy and our tags; it is returned by its ARN."""
    key = account.run("create_encryption_key", account.site)

    kms = account.customer("kms")
    described = kms.describe_key(KeyId=alias_name(account.site))["KeyMetadata"]
    assert described["Arn"] == key.key_id
    assert kms.get_key_rotation_status(KeyId=key.key_id)["KeyRotationEnabled"]
    policy = json.loads(kms.get_key_policy(KeyId=key.key_id, PolicyName="default")["Policy"])
    assert policy == key_policy(account.site)
    tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key.key_id)["Tags"]}
    assert tags == owner_tags(account.site, "key")


def test_a_changed_key_is_put_back(account: Account) -> None:
    """Alias, rotation, policy and tags that somebody changed are as before after the next run."""
    key = account.run("create_encryption_key", account.site)
    kms = account.customer("kms")
    kms.delete_alias(AliasName=alias_name(account.site))
    kms.disable_key_rotation(KeyId=key.key_id)
    root_only = {**key_policy(account.site), "Statement": key_policy(account.site)["Statement"][:1]}
    kms.put_key_policy(KeyId=key.key_id, PolicyName="default", Policy=json.dumps(root_only))
    kms.untag_resource(KeyId=key.key_id, TagKeys=["byoc:resource"])

    again = account.run("create_encryption_key", account.site)

    assert again == key
    assert kms.describe_key(KeyId=alias_name(account.site))["KeyMetadata"]["Arn"] == key.key_id
    assert kms.get_key_rotation_status(KeyId=key.key_id)["KeyRotationEnabled"]
    policy = json.loads(kms.get_key_policy(KeyId=key.key_id, PolicyName="default")["Policy"])
    assert policy == key_policy(account.site)
    assert {"TagKey": "byoc:resource", "TagValue": "key"} in kms.list_resource_tags(KeyId=key.key_id)["Tags"]


def test_a_duplicate_is_scheduled_for_deletion(account: Account) -> None:
    """Of two keys of ours the one with the alias stays."""
    key = account.run("create_encryption_key", account.site)
    tags = [{"TagKey": name, "TagValue": value} for name, value in owner_tags(account.site, "key").items()]
    duplicate = account.customer("kms").create_key(Tags=tags)["KeyMetadata"]["Arn"]

    assert account.run("create_encryption_key", account.site) == key

    assert account.customer("kms").describe_key(KeyId=duplicate)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_a_new_generation_gets_a_new_key(account: Account) -> None:
    """The alias moves from a key that is on its way out to the key of the deployment that was ordered again."""
    old = account.run("create_encryption_key", account.site)
    kms = account.customer("kms")
    kms.schedule_key_deletion(KeyId=old.key_id, PendingWindowInDays=7)

    new = account.run("create_encryption_key", account.site.model_copy(update={"generation": 2}))

    assert new != old
    assert kms.describe_key(KeyId=alias_name(account.site))["KeyMetadata"]["Arn"] == new.key_id


def test_deleting_gives_the_customer_the_longest_time_to_object(account: Account) -> None:
    """The key is scheduled for deletion, its alias is free, and a repeat changes nothing."""
    key = account.run("create_encryption_key", account.site)
    for operation in ("ScheduleKeyDeletion", "DeleteAlias"):
        account.inject(FaultKind.LOST_REPLY, operation, times=1)

    account.run_through("delete_encryption_key", Retention(site=account.site))

    kms = account.customer("kms")
    described = kms.describe_key(KeyId=key.key_id)["KeyMetadata"]
    assert described["KeyState"] == "PendingDeletion"
    assert described["DeletionDate"] > datetime.now(UTC) + timedelta(days=DELETION_WINDOW_DAYS - 1)
    assert alias_name(account.site) not in {alias["AliasName"] for alias in kms.list_aliases()["Aliases"]}
    before = account.control.position()
    account.run("delete_encryption_key", Retention(site=account.site))
    assert account.changes(before) == []


def test_the_key_of_kept_backups_stays(account: Account) -> None:
    """As long as a backup is locked its key stays usable, tagged with the day on which it can go."""
    key: Key = account.run("create_encryption_key", account.site)
    bucket = account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))
    account.customer("s3").put_object(Bucket=bucket.name, Key="final.bak", Body=b"data")
    backup = Backup(bucket=bucket.name, key="final.bak", size_bytes=4, sha256="", records=1, taken_at=datetime.now(UTC))
    locked = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=35))

    account.run("delete_encryption_key", Retention(site=account.site, keep_backups=True))

    kms = account.customer("kms")
    assert kms.describe_key(KeyId=key.key_id)["KeyMetadata"]["KeyState"] == "Enabled"
    retained = {"TagKey": "byoc:retained-until", "TagValue": locked.retain_until.date().isoformat()}
    assert retained in kms.list_resource_tags(KeyId=key.key_id)["Tags"]
    account.run("create_encryption_key", account.site)
    assert retained not in kms.list_resource_tags(KeyId=key.key_id)["Tags"]
