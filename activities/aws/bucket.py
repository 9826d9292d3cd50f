"""The bucket for backups."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.backup_locks import Version, lock_of, versions
from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import gone_is_success, if_exists
from activities.aws.ownership import as_tag_list, from_tag_list, require_ours
from activities.aws.part import AwsPart
from activities.contracts import BucketRequest, FoundationContract, Retention
from activities.failures import refused
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Bucket
from domain.failure import FailureClass
from domain.naming import TAG_RETAINED_UNTIL, global_name, owner_tags

_BATCH = 1000
"""The most versions that one DeleteObjects takes."""

_WITHOUT_LOCATION = "us-east-1"
"""The one region that CreateBucket wants unnamed."""


class AwsBackupBucket(AwsPart, FoundationContract):
    """Makes and deletes the bucket."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "s3:ListBucket", "s3:CreateBucket", "s3:GetBucketTagging", "s3:PutBucketTagging",
        "s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration",
        "s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock", "s3:GetBucketPolicy", "s3:PutBucketPolicy",
        "s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_backup_bucket(self, request: BucketRequest) -> Bucket:
        """The bucket exists in the region: versioned, with object lock, encrypted with the key, closed to the public.

        Nothing is locked by default: each backup gets the lock of its own retention. The tags come with the creation,
        so that even a bucket whose creation was not acknowledged is known as ours.
        """
        site, name = request.site, backup_bucket(request.site)
        with failures_named(resource=name):
            s3 = self._connections.client("s3", site, Purpose.OPERATE)
            if not _exists(s3, site):
                self._create_bucket(s3, site)
            tags = _tags(s3, site)
            require_ours(site, tags, f"bucket {name}")
            wanted = {**tags, **owner_tags(site, "backups")}
            # The deployment was ordered again: its bucket is in use, not merely retained.
            wanted.pop(TAG_RETAINED_UNTIL, None)
            if wanted != tags:
                s3.put_bucket_tagging(**_bucket(site), Tagging={"TagSet": as_tag_list(wanted)})
            self._converge_bucket(s3, site, request.key.key_id)
        return Bucket(name=name)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "s3:ListBucket", "s3:GetBucketTagging", "s3:PutBucketTagging", "s3:ListBucketVersions", "s3:GetObjectRetention",
        "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention", "s3:ListBucketMultipartUploads",
        "s3:AbortMultipartUpload", "s3:DeleteBucket",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_backup_bucket(self, retention: Retention) -> None:
        """The bucket is gone with every version; with kept backups, the locked ones stay, and the bucket with them."""
        site, name = retention.site, backup_bucket(retention.site)
        with failures_named(resource=name):
            s3 = self._connections.client("s3", site, Purpose.DELETE)
            if not _exists(s3, site):
                return
            tags = _tags(s3, site)
            require_ours(site, tags, f"bucket {name}")
            kept_until = _delete_versions(s3, site, keep_locked=retention.keep_backups)
            _abort_uploads(s3, site)
            if kept_until is not None:
                wanted = {**tags, TAG_RETAINED_UNTIL: kept_until.date().isoformat()}
                if wanted != tags:
                    s3.put_bucket_tagging(**_bucket(site), Tagging={"TagSet": as_tag_list(wanted)})
                return
            with gone_is_success():
                s3.delete_bucket(**_bucket(site))

    def _create_bucket(self, s3: AwsClient, site: Site) -> None:
        location = {} if site.region == _WITHOUT_LOCATION else {"LocationConstraint": site.region}
        try:
            s3.create_bucket(
                Bucket=backup_bucket(site),
                ObjectLockEnabledForBucket=True,
                CreateBucketConfiguration={**location, "Tags": as_tag_list(owner_tags(site, "backups"))},
            )
        except ClientError as error:
            if code_of(error) == "BucketAlreadyOwnedByYou":
                raise self._look_again(f"bucket {backup_bucket(site)} exists and is not visible yet") from error
            if code_of(error) == "BucketAlreadyExists":
                raise _not_ours(site) from error
            raise

    def _converge_bucket(self, s3: AwsClient, site: Site, key_id: str) -> None:
        """Put right what differs of the bucket's settings.

        Object lock is for ever, and with it versioning: neither can be taken back.
        """
        bucket = _bucket(site)
        if _encryption(s3, bucket) != _wanted_encryption(key_id):
            s3.put_bucket_encryption(
                **bucket, ServerSideEncryptionConfiguration={"Rules": [_wanted_encryption(key_id)]}
            )
        blocked = if_exists(s3.get_public_access_block, **bucket) or {}
        if blocked.get("PublicAccessBlockConfiguration") != _NO_PUBLIC_ACCESS:
            s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration=_NO_PUBLIC_ACCESS)
        policy = if_exists(s3.get_bucket_policy, **bucket)
        if policy is None or json.loads(policy["Policy"]) != bucket_policy(site):
            s3.put_bucket_policy(**bucket, Policy=json.dumps(bucket_policy(site)))
        lifecycle = if_exists(s3.get_bucket_lifecycle_configuration, **bucket) or {}
        if [_without_service_defaults(rule) for rule in lifecycle.get("Rules", ())] != [_ABORT_UPLOADS]:
            s3.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration={"Rules": [_ABORT_UPLOADS]})


_NO_PUBLIC_ACCESS = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}

_ABORT_UPLOADS = {
    "ID": "abort-incomplete-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}
"""A backup that broke off leaves parts that nobody sees and everybody pays for."""


def backup_bucket(site: Site) -> str:
    """Return the name of the deployment's bucket."""
    return global_name(site, "backups")


def bucket_policy(site: Site) -> Mapping[str, Any]:
    """Return the policy that refuses every call without TLS."""
    arn = f"arn:aws:s3:::{backup_bucket(site)}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def _bucket(site: Site) -> dict[str, str]:
    """Return the parameters that name the bucket and make S3 refuse if it is another account's (names are global)."""
    return {"Bucket": backup_bucket(site), "ExpectedBucketOwner": site.cloud_account_id}


def _not_ours(site: Site) -> Exception:
    name = backup_bucket(site)
    return refused(FailureClass.NOT_OURS, f"The bucket name {name} is taken by another account", resource=name)


def _exists(s3: AwsClient, site: Site) -> bool:
    return if_exists(s3.head_bucket, **_bucket(site)) is not None


def _tags(s3: AwsClient, site: Site) -> dict[str, str]:
    found = if_exists(s3.get_bucket_tagging, **_bucket(site))
    return from_tag_list(found["TagSet"]) if found else {}


def _wanted_encryption(key_id: str) -> Mapping[str, Any]:
    return {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_id},
        # One data key for many objects: fewer calls to KMS, for the store and for the customer's bill.
        "BucketKeyEnabled": True,
    }


def _encryption(s3: AwsClient, bucket: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Return the bucket's default encryption, with what we asked for alone."""
    try:
        rules = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    except ClientError as error:
        if code_of(error) == "ServerSideEncryptionConfigurationNotFoundError":
            return None
        raise
    return {name: rules[0].get(name) for name in ("ApplyServerSideEncryptionByDefault", "BucketKeyEnabled")}


def _without_service_defaults(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in rule.items() if name in _ABORT_UPLOADS}


def _delete_versions(s3: AwsClient, site: Site, *, keep_locked: bool) -> datetime | None:
    """Delete every version (with `keep_locked`, every one that is not locked); return when the last kept lock ends."""
    name = backup_bucket(site)
    now = datetime.now(UTC)
    kept_until: datetime | None = None
    doomed: list[Version] = []
    for version in versions(s3, name, site.cloud_account_id):
        locked = None
        if keep_locked and not version.is_delete_marker:
            locked = lock_of(s3, name, site.cloud_account_id, version.key, version.version_id)
        if locked is not None and locked > now:
            kept_until = max(kept_until or locked, locked)
        else:
            doomed.append(version)
    for batch in _batches(doomed):
        _delete_batch(s3, site, batch, bypass=not keep_locked)
    return kept_until


def _delete_batch(s3: AwsClient, site: Site, batch: Iterable[Version], *, bypass: bool) -> None:
    objects = [{"Key": version.key, "VersionId": version.version_id} for version in batch]
    bypassing = {"BypassGovernanceRetention": True} if bypass else {}
    reply = s3.delete_objects(**_bucket(site), Delete={"Objects": objects, "Quiet": True}, **bypassing)
    for refusal in reply.get("Errors", ()):
        # DeleteObjects succeeds as a whole although it refuses a part; the first refusal stands for all.
        raise ClientError({"Error": refusal, "ResponseMetadata": reply["ResponseMetadata"]}, "DeleteObjects")


def _batches(doomed: list[Version]) -> Iterable[list[Version]]:
    iterator = iter(doomed)
    return iter(lambda: list(itertools.islice(iterator, _BATCH)), [])


def _abort_uploads(s3: AwsClient, site: Site) -> None:
    """Abort the uploads that broke off: a bucket with one cannot be deleted."""
    bucket = _bucket(site)
    for page in s3.get_paginator("list_multipart_uploads").paginate(**bucket):
        for upload in page.get("Uploads", ()):
            with gone_is_success():
                s3.abort_multipart_upload(**bucket, Key=upload["Key"], UploadId=upload["UploadId"])
