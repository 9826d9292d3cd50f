"""Cloud Storage through its official SDK: buckets, retention, keys, objects and their soft deletion."""

from __future__ import annotations

import io

import pytest
from google.api_core.exceptions import (
    BadRequest,
    Conflict,
    Forbidden,
    GoogleAPICallError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
)
from google.cloud import kms_v1, storage

from tests.simulators.gcp.customers import PROJECT, REGION, Customer, refused

NAME = "byoc-acme-prod-backups"
DAY = 86400


def make_bucket(account: Customer, **properties: object) -> storage.Bucket:
    """Make a bucket as the product wants it."""
    bucket = account.storage().bucket(NAME)
    bucket.labels = {"byoc": "managed"}
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"
    for name, value in properties.items():
        setattr(bucket, name, value)
    bucket.create(location=REGION)
    return bucket


def reason(error: pytest.ExceptionInfo[GoogleAPICallError]) -> str:
    """Return the reason in an error of Cloud Storage."""
    return str(error.value.errors[0]["reason"])


class TestBuckets:
    """Buckets and their settings."""

    def test_are_what_was_asked_for(self, account: Customer) -> None:
        """Location, labels, uniform access; and seven days of soft deletion by default."""
        make_bucket(account)

        found = account.storage().get_bucket(NAME)

        assert (found.location, found.location_type, found.labels) == (REGION.upper(), "region", {"byoc": "managed"})
        assert found.iam_configuration.uniform_bucket_level_access_enabled
        assert found.iam_configuration.public_access_prevention == "enforced"
        assert found.soft_delete_policy.retention_duration_seconds == 7 * DAY
        assert [bucket.name for bucket in account.storage().list_buckets()] == [NAME]

    def test_have_names_that_are_unique_in_the_world(self, account: Customer) -> None:
        """Our own bucket is ours; that of another project is in the way."""
        make_bucket(account)
        globex = account.google.cloud.project("globex-prod")
        globex.services.add("storage.googleapis.com")

        with refused(Conflict, "you already own it"):
            make_bucket(account)
        account.google.storage.buckets.create("globex-prod", {"name": "byoc-taken", "location": REGION})
        with refused(Conflict, "not available"):
            account.storage().create_bucket("byoc-taken")

    def test_keep_objects_for_their_retention(self, slow_account: Customer) -> None:
        """Neither deletion nor overwriting is possible before."""
        bucket = make_bucket(slow_account, retention_period=DAY)
        bucket.blob("backup").upload_from_string(b"first")

        with pytest.raises(Forbidden) as caught:
            bucket.blob("backup").delete()
        with refused(Forbidden, "retention policy"):
            bucket.blob("backup").upload_from_string(b"second")
        slow_account.pass_time(DAY + 60)
        bucket.blob("backup").delete()

        assert reason(caught) == "retentionPolicyNotMet"
        assert list(slow_account.storage().list_blobs(NAME)) == []

    def test_locked_can_only_keep_longer(self, account: Customer) -> None:
        """A locked policy is neither shortened nor removed, and the lock needs the bucket's metageneration."""
        bucket = make_bucket(account, retention_period=DAY)
        bucket.reload()

        bucket.lock_retention_policy()
        bucket.retention_period = 60
        with refused(Forbidden, "locked Retention Policy"):
            bucket.patch()
        bucket.retention_period = None
        with refused(Forbidden, "locked Retention Policy"):
            bucket.patch()
        longer = account.storage().get_bucket(NAME)
        longer.retention_period = 2 * DAY
        longer.patch()

        found = account.storage().get_bucket(NAME)
        assert (found.retention_policy_locked, found.retention_period) == (True, 2 * DAY)

    def test_are_not_locked_by_an_old_metageneration(self, account: Customer) -> None:
        """Somebody has changed the bucket meanwhile."""
        bucket = make_bucket(account, retention_period=DAY)
        bucket.reload()
        other = account.storage().get_bucket(NAME)
        other.labels = {"byoc": "d1"}
        other.patch()

        with refused(PreconditionFailed):
            bucket.lock_retention_policy()

    def test_have_a_key_that_cloud_storage_may_use(self, account: Customer) -> None:
        """Its service agent needs the grant, and exists once the API was asked for its name."""
        with refused(InvalidArgument, "gs-project-accounts.iam.gserviceaccount.com does not exist"):
            account.bind("roles/viewer", account.google.cloud.identities.agent_of("storage", PROJECT))
        agent = account.storage().get_service_account_email()
        wrong, right = account.make_key("wrong", "compute"), account.make_key("right", "storage")

        with refused(Forbidden, "Permission denied on Cloud KMS key"):
            make_bucket(account, default_kms_key_name=wrong)
        bucket = make_bucket(account, default_kms_key_name=right)
        blob = bucket.blob("backup")
        blob.upload_from_string(b"first")

        assert agent == account.google.cloud.identities.agent_of("storage", PROJECT).partition(":")[2]
        assert blob.kms_key_name == f"{right}/cryptoKeyVersions/1"

    def test_cannot_be_read_without_their_key(self, account: Customer) -> None:
        """Once the key's version is to be destroyed, nothing is read or written any more, until it is restored."""
        key = account.make_key("byoc", "storage")
        bucket = make_bucket(account, default_kms_key_name=key)
        bucket.blob("backup").upload_from_string(b"first")
        kms = account.rpc(kms_v1.KeyManagementServiceClient)
        version = f"{key}/cryptoKeyVersions/1"

        kms.destroy_crypto_key_version(name=version)
        with refused(BadRequest, "not enabled"):
            bucket.blob("second").upload_from_string(b"second")
        with pytest.raises(GoogleAPICallError):
            bucket.blob("backup").download_as_bytes()
        kms.restore_crypto_key_version(name=version)
        enabled = {"name": version, "state": "ENABLED"}
        kms.update_crypto_key_version(crypto_key_version=enabled, update_mask={"paths": ["state"]})

        assert bucket.blob("backup").download_as_bytes() == b"first"

    def test_are_deleted_only_when_they_are_empty(self, account: Customer) -> None:
        """Then nothing is left, and the bucket's policy has no effect any more."""
        bucket = make_bucket(account)
        bucket.blob("backup").upload_from_string(b"first")

        with refused(Conflict, "not empty"):
            bucket.delete()
        bucket.blob("backup").delete()
        bucket.delete()

        assert account.google.inventory(PROJECT) == []
        with refused(NotFound, "does not exist"):
            account.storage().get_bucket(NAME)

    def test_need_permissions_on_themselves(self, account: Customer) -> None:
        """A condition on the name keeps others' buckets out of reach."""
        condition = 'resource.name.startsWith("projects/_/buckets/byoc-")'
        credentials = account.member(
            "byoc-operate", "storage.buckets.create", "storage.buckets.get", condition=condition
        )
        client = account.storage(credentials)

        client.create_bucket(NAME, location=REGION)
        with refused(Forbidden, "storage.buckets.create"):
            client.create_bucket("theirs", location=REGION)
        with refused(Forbidden, "storage.buckets.delete"):
            client.bucket(NAME).delete()

    def test_have_policies(self, account: Customer) -> None:
        """A role on the bucket lets somebody read its objects, and no others."""
        bucket = make_bucket(account)
        bucket.blob("backup").upload_from_string(b"first")
        email = account.make_account("byoc-reader")
        reader = account.storage(account.credentials(email))
        with refused(Forbidden, "storage.objects.get"):
            reader.bucket(NAME).blob("backup").download_as_bytes()

        policy = bucket.get_iam_policy(requested_policy_version=3)
        policy.bindings.append({"role": "roles/storage.objectViewer", "members": {f"serviceAccount:{email}"}})
        bucket.set_iam_policy(policy)

        assert reader.bucket(NAME).blob("backup").download_as_bytes() == b"first"
        assert reader.bucket(NAME).test_iam_permissions(["storage.objects.get", "storage.objects.delete"]) == [
            "storage.objects.get"
        ]

    def test_have_valid_names(self, account: Customer) -> None:
        """The name that is not valid is told."""
        with refused(BadRequest, "Invalid bucket name"):
            account.storage().create_bucket("byoc--Acme")


class TestObjects:
    """Objects."""

    def test_are_what_was_written(self, account: Customer) -> None:
        """In one request, in parts, and by chunks; the SDK verifies the checksums."""
        bucket = make_bucket(account)
        large = bytes(range(256)) * 4096

        bucket.blob("small").upload_from_string(b"first", content_type="text/plain")
        bucket.blob("large", chunk_size=256 * 1024).upload_from_file(io.BytesIO(large), size=len(large))

        found = {blob.name: (blob.size, blob.content_type) for blob in account.storage().list_blobs(NAME)}
        assert found == {"large": (len(large), "application/octet-stream"), "small": (5, "text/plain")}
        assert bucket.blob("large").download_as_bytes(checksum="crc32c") == large
        assert bucket.blob("small").download_as_bytes(start=1, end=2) == b"ir"

    def test_are_written_once_where_asked(self, account: Customer) -> None:
        """A generation of 0 means that there must be none."""
        bucket = make_bucket(account)
        bucket.blob("backup").upload_from_string(b"first", if_generation_match=0)

        with refused(PreconditionFailed):
            bucket.blob("backup").upload_from_string(b"second", if_generation_match=0)

        assert bucket.blob("backup").download_as_bytes() == b"first"

    def test_can_be_restored_for_seven_days(self, slow_account: Customer) -> None:
        """A deleted object is listed as soft-deleted; later it is gone."""
        bucket = make_bucket(slow_account)
        client = slow_account.storage()
        for name in ("first", "second"):
            bucket.blob(name).upload_from_string(name.encode())
            bucket.blob(name).delete()

        deleted = {blob.name: blob.generation for blob in client.list_blobs(NAME, soft_deleted=True)}
        bucket.restore_blob("first", generation=deleted["first"])
        slow_account.pass_time(8 * DAY)

        assert set(deleted) == {"first", "second"}
        assert bucket.blob("first").download_as_bytes() == b"first"
        with refused(NotFound):
            bucket.restore_blob("second", generation=deleted["second"])

    def test_are_protected_by_a_hold(self, account: Customer) -> None:
        """Until it is released."""
        bucket = make_bucket(account)
        blob = bucket.blob("backup")
        blob.upload_from_string(b"first")
        blob.temporary_hold = True
        blob.patch()

        with pytest.raises(Forbidden) as caught:
            blob.delete()
        blob.temporary_hold = False
        blob.patch()
        blob.delete()

        assert reason(caught) == "objectUnderActiveHold"
        assert not blob.exists()
