"""Service accounts, key and bucket of a deployment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud import iam_admin_v1, kms_v1, resourcemanager_v3, storage
from google.iam.v1 import policy_pb2

from activities.contracts import BackupLock, BucketRequest, Retention
from activities.gcp.encryption import LABEL_RETAINED_UNTIL
from activities.gcp.keys import ring_name
from activities.gcp.roles import NODE_ROLE
from domain.facts import Backup, Bucket, Key, Roles
from domain.failure import FailureClass
from domain.naming import owner_labels
from simulators.faults import FaultKind
from tests.activities.gcp.conftest import REGION, Account


@pytest.fixture
def roles(account: Account) -> Roles:
    """The deployment's service accounts."""
    roles: Roles = account.run("create_roles", account.site)
    return roles


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


def ours(account: Account) -> list[str]:
    """Return the e-mail addresses of the project's service accounts that belong to the deployment."""
    iam = account.customer(iam_admin_v1.IAMClient)
    found = iam.list_service_accounts(name=f"projects/{account.project}")
    return sorted(each.email for each in found if "byoc-deployment=" in each.description)


def members(account: Account, role: str) -> list[str]:
    """Return who has a role in the project."""
    projects = account.customer(resourcemanager_v3.ProjectsClient)
    policy = projects.get_iam_policy(
        request={"resource": f"projects/{account.project}", "options": {"requested_policy_version": 3}}
    )
    return [member for binding in policy.bindings if binding.role == role for member in binding.members]


def stored(account: Account, bucket: Bucket, name: str) -> Backup:
    """Put an object into the bucket, as the store does, and return it as a backup."""
    account.customer(storage.Client).bucket(bucket.name).blob(name).upload_from_string(b"data")
    return Backup(bucket=bucket.name, key=name, size_bytes=4, sha256="", records=1, taken_at=datetime.now(UTC))


def found_bucket(account: Account, bucket: Bucket) -> storage.Bucket:
    """Return the bucket as the customer sees it."""
    return account.customer(storage.Client).get_bucket(bucket.name)


class TestServiceAccounts:
    """Of nodes, store and restore."""

    def test_a_cancelled_activity_calls_nobody(self, account: Account) -> None:
        """It ends before its next call, and is not torn out of one."""
        account.attempt_cancelled("create_roles", account.site)

    def test_each_exists_and_nodes_may_write_logs_alone(self, account: Account, roles: Roles) -> None:
        """One role in the project is all that is granted; store and restore have none there."""
        assert ours(account) == sorted([roles.nodes, roles.store, roles.restore])
        assert members(account, NODE_ROLE) == [f"serviceAccount:{roles.nodes}"]
        assert roles.storage_driver.endswith("@container-engine-robot.iam.gserviceaccount.com")

    def test_a_role_that_somebody_took_away_is_granted_again(self, account: Account, roles: Roles) -> None:
        """The nodes need it; what else the project's policy says stays."""
        projects = account.customer(resourcemanager_v3.ProjectsClient)
        asked = {"resource": f"projects/{account.project}", "options": {"requested_policy_version": 3}}
        policy = projects.get_iam_policy(request=asked)
        for binding in [each for each in policy.bindings if each.role == NODE_ROLE]:
            policy.bindings.remove(binding)
        policy.bindings.add(role="roles/viewer", members=["user:ada@acme.example"])
        projects.set_iam_policy(request={"resource": f"projects/{account.project}", "policy": policy})

        account.run("create_roles", account.site)

        assert members(account, NODE_ROLE) == [f"serviceAccount:{roles.nodes}"]
        assert members(account, "roles/viewer") == ["user:ada@acme.example"]

    def test_deleting_leaves_no_role_behind(self, account: Account, roles: Roles) -> None:
        """Neither an account nor a member of the policy is left, and a second time is no error."""
        for _ in range(2):
            account.run_through("delete_roles", account.site)

        assert ours(account) == []
        assert members(account, NODE_ROLE) == []


class TestKey:
    """The encryption key."""

    def test_is_rotated_and_of_use_to_googles_services_alone(self, account: Account, key: Key) -> None:
        """Disks, the cluster's secrets, the bucket and logs can be encrypted with it."""
        kms = account.customer(kms_v1.KeyManagementServiceClient)
        found = kms.get_crypto_key(name=key.key_id)
        policy = kms.get_iam_policy(request={"resource": key.key_id})

        assert f"/locations/{REGION}/" in key.key_id
        assert found.rotation_period == timedelta(days=365)
        assert dict(found.labels) == owner_labels(account.site, "key")
        (binding,) = policy.bindings
        agents = sorted(member.partition("@")[2].removesuffix(".iam.gserviceaccount.com") for member in binding.members)
        assert agents == ["compute-system", "container-engine-robot", "gcp-sa-logging", "gs-project-accounts"]

    def test_a_changed_key_is_put_back(self, account: Account, key: Key) -> None:
        """Whoever was added to its policy is gone after the next run, and rotation is as before."""
        kms = account.customer(kms_v1.KeyManagementServiceClient)
        policy = kms.get_iam_policy(request={"resource": key.key_id})
        policy.bindings[0].members.append("user:mallory@elsewhere.example")
        kms.set_iam_policy(request={"resource": key.key_id, "policy": policy})
        slower = kms_v1.CryptoKey(
            name=key.key_id,
            rotation_period=timedelta(days=3650),
            next_rotation_time=datetime.now(UTC) + timedelta(days=3650),
        )
        kms.update_crypto_key(crypto_key=slower, update_mask={"paths": ["rotation_period", "next_rotation_time"]})

        account.run("create_encryption_key", account.site)

        assert "mallory" not in str(kms.get_iam_policy(request={"resource": key.key_id}))
        assert kms.get_crypto_key(name=key.key_id).rotation_period == timedelta(days=365)

    def test_one_whose_versions_were_destroyed_has_a_new_one(self, account: Account, key: Key) -> None:
        """A generation that is made again has a key that encrypts; lost replies leave no version too many."""
        account.run("delete_encryption_key", Retention(site=account.site))
        account.inject(FaultKind.LOST_REPLY, "CreateCryptoKeyVersion", times=1)
        account.inject(FaultKind.LOST_REPLY, "UpdateCryptoKeyPrimaryVersion", times=1)

        assert account.run_through("create_encryption_key", account.site) == key

        kms = account.customer(kms_v1.KeyManagementServiceClient)
        assert kms.get_crypto_key(name=key.key_id).primary.state.name == "ENABLED"
        states = [version.state.name for version in kms.list_crypto_key_versions(parent=key.key_id)]
        assert states == ["DESTROY_SCHEDULED", "ENABLED"]
        assert account.run("create_backup_bucket", BucketRequest(site=account.site, key=key)).name

    def test_deleting_destroys_its_versions(self, account: Account, key: Key) -> None:
        """Google keeps ring and key; nothing can be read with them any more, and a new generation has another key."""
        for _ in range(2):
            account.run("delete_encryption_key", Retention(site=account.site))

        kms = account.customer(kms_v1.KeyManagementServiceClient)
        (version,) = kms.list_crypto_key_versions(parent=key.key_id)
        assert version.state.name == "DESTROY_SCHEDULED"
        again = account.site.model_copy(update={"generation": 2})
        assert (
            account.run("create_encryption_key", again).key_id == f"{ring_name(account.site)}/cryptoKeys/generation-2"
        )


class TestBucket:
    """The bucket for backups, and the locks on them."""

    def test_is_closed_encrypted_and_lockable(self, account: Account, key: Key, bucket: Bucket) -> None:
        """Everything that protects backups is set, in the deployment's region."""
        found = found_bucket(account, bucket)

        assert found.location.lower() == REGION
        assert found.default_kms_key_name == key.key_id
        assert found.iam_configuration.uniform_bucket_level_access_enabled
        assert found.iam_configuration.public_access_prevention == "enforced"
        assert found.object_retention_mode == "Enabled"
        assert dict(found.labels) == owner_labels(account.site, "backups")

    def test_a_key_that_may_not_be_used_yet_is_waited_for(self, account: Account, key: Key) -> None:
        """A fresh grant takes a while to have effect; one that never does is named to the customer."""
        account.customer(kms_v1.KeyManagementServiceClient).set_iam_policy(
            request={"resource": key.key_id, "policy": policy_pb2.Policy()}
        )
        request = BucketRequest(site=account.site, key=key)

        early = account.attempt_once("create_backup_bucket", request)
        late = account.attempt_once("create_backup_bucket", request, age=timedelta(hours=1))

        assert early is not None
        assert (early.failure, key.key_id in early.message) == (FailureClass.NOT_READY, True)
        assert late is not None
        assert late.failure is FailureClass.PERMISSION

    def test_a_changed_bucket_is_put_back(self, account: Account, key: Key, bucket: Bucket) -> None:
        """Settings are as before after the next run; labels that the customer added stay."""
        found = found_bucket(account, bucket)
        found.iam_configuration.public_access_prevention = "inherited"
        found.default_kms_key_name = None
        found.labels = {**found.labels, "cost-center": "42"}
        found.patch()

        account.run("create_backup_bucket", BucketRequest(site=account.site, key=key))

        found = found_bucket(account, bucket)
        assert found.iam_configuration.public_access_prevention == "enforced"
        assert found.default_kms_key_name == key.key_id
        assert found.labels["cost-center"] == "42"

    def test_a_locked_backup_stays_until_its_day(self, account: Account, bucket: Bucket) -> None:
        """Not even the project's owner deletes it by mistake; a longer lock is not shortened."""
        backup = stored(account, bucket, "backups/1")
        locked = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=30))
        shorter = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=3))

        assert locked.retain_until == backup.taken_at + timedelta(days=30)
        assert shorter.retain_until == pytest.approx(locked.retain_until, abs=timedelta(seconds=1))
        with pytest.raises(Forbidden):
            account.customer(storage.Client).bucket(bucket.name).blob(backup.key).delete()

    def test_kept_backups_keep_the_bucket_and_the_key(self, account: Account, key: Key, bucket: Bucket) -> None:
        """What is not locked goes; bucket and key say until when they are kept."""
        kept = stored(account, bucket, "backups/kept")
        stored(account, bucket, "backups/other")
        account.run("lock_backup", BackupLock(site=account.site, backup=kept, retain_days=30))

        retention = Retention(site=account.site, keep_backups=True)
        account.run("delete_backup_bucket", retention)
        account.run("delete_encryption_key", retention)

        found = found_bucket(account, bucket)
        assert [blob.name for blob in found.list_blobs()] == [kept.key]
        kms = account.customer(kms_v1.KeyManagementServiceClient)
        assert kms.get_crypto_key(name=key.key_id).labels[LABEL_RETAINED_UNTIL] == found.labels[LABEL_RETAINED_UNTIL]
        (version,) = kms.list_crypto_key_versions(parent=key.key_id)
        assert version.state.name == "ENABLED"

    def test_deleting_leaves_nothing_not_even_what_was_locked(self, account: Account, bucket: Bucket) -> None:
        """The customer asked for it: locks are lifted, nothing is kept softly, and a second time is no error."""
        backup = stored(account, bucket, "backups/1")
        account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=30))

        for _ in range(2):
            account.run_through("delete_backup_bucket", Retention(site=account.site))

        assert [each for each in account.resources() if each.type == "bucket"] == []
