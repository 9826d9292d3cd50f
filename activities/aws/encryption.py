"""The encryption key of a deployment: one customer-managed KMS key in the customer's account."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.backup_locks import locked_until
from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import gone_is_success, if_exists
from activities.aws.ownership import is_ours, lacking, require_ours
from activities.aws.part import AwsPart
from activities.aws.role_policies import RoleName, role_arn
from activities.contracts import FoundationContract, Retention
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Key
from domain.naming import TAG_DEPLOYMENT, TAG_RETAINED_UNTIL, base_name, global_name, owner_tags

DELETION_WINDOW_DAYS = 30
"""How long a key waits for its deletion; the longest that KMS offers, because nothing brings back what it encrypted."""


class AwsEncryption(AwsPart, FoundationContract):
    """Makes and deletes the key, which is found by its alias, and before it has one by our tags."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "kms:DescribeKey", "kms:ListResourceTags", "kms:CreateKey", "kms:TagResource", "kms:UntagResource",
        "kms:CreateAlias", "kms:UpdateAlias", "kms:GetKeyRotationStatus", "kms:EnableKeyRotation", "kms:GetKeyPolicy",
        "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "tag:GetResources",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_encryption_key(self, site: Site) -> Key:
        """One key exists under our alias, rotated every year, with the policy below and our tags.

        KMS has no idempotency token: a key whose creation was not acknowledged is found by its tags. Should there be
        several all the same, the one with the alias stays; the others have encrypted nothing and are scheduled for
        deletion.
        """
        with failures_named():
            kms = self._connections.client("kms", site, Purpose.OPERATE)
            candidates = self._usable_keys(kms, site, Purpose.OPERATE)
            aliased = _described(kms, alias_name(site))
            if aliased is not None and _is_usable(aliased):
                require_ours(site, _tags(kms, aliased["Arn"]), f"KMS key {alias_name(site)}")
                key = aliased
            elif candidates:
                key = candidates[0]
            else:
                key = self._create_key(kms, site)
            self._converge_key(kms, site, key, aliased)
            for duplicate in candidates:
                if duplicate["Arn"] != key["Arn"] and TAG_RETAINED_UNTIL not in _tags(kms, duplicate["Arn"]):
                    kms.schedule_key_deletion(KeyId=duplicate["Arn"], PendingWindowInDays=DELETION_WINDOW_DAYS)
        return Key(key_id=key["Arn"])

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "kms:DescribeKey", "kms:ListResourceTags", "kms:DeleteAlias", "kms:ScheduleKeyDeletion", "kms:TagResource",
        "tag:GetResources", "s3:ListBucket", "s3:ListBucketVersions", "s3:GetObjectRetention",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_encryption_key(self, retention: Retention) -> None:
        """Every key of the deployment is scheduled for deletion, unless kept backups need it until their lock ends."""
        site = retention.site
        with failures_named():
            kms = self._connections.client("kms", site, Purpose.DELETE)
            needed_until = self._backups_locked_until(site) if retention.keep_backups else None
            aliased = _described(kms, alias_name(site))
            keys = {key["Arn"]: key for key in self._usable_keys(kms, site, Purpose.DELETE)}
            if aliased is not None:
                require_ours(site, _tags(kms, aliased["Arn"]), f"KMS key {alias_name(site)}")
                if _is_usable(aliased):
                    keys[aliased["Arn"]] = aliased
            if needed_until is not None:
                for arn in keys:
                    _tag(kms, arn, {TAG_RETAINED_UNTIL: needed_until.date().isoformat()})
                return
            for arn in keys:
                kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=DELETION_WINDOW_DAYS)
            if aliased is not None:
                with gone_is_success():
                    kms.delete_alias(AliasName=alias_name(site))

    def _backups_locked_until(self, site: Site) -> datetime | None:
        """Return when the last lock on a backup ends; None if no backup is locked."""
        s3 = self._connections.client("s3", site, Purpose.DELETE)
        return locked_until(s3, global_name(site, "backups"), site.cloud_account_id, now=datetime.now(UTC))

    def _usable_keys(self, kms: AwsClient, site: Site, purpose: Purpose) -> list[Mapping[str, Any]]:
        """Return our keys by tag that are not on their way out, the oldest first."""
        tagging = self._connections.client("resourcegroupstaggingapi", site, purpose)
        pages = tagging.get_paginator("get_resources").paginate(
            ResourceTypeFilters=["kms:key"], TagFilters=[{"Key": TAG_DEPLOYMENT, "Values": [site.deployment]}]
        )
        arns = [found["ResourceARN"] for page in pages for found in page["ResourceTagMappingList"]]
        # The tagging service's index lags: KMS itself has the last word on each key.
        keys = [key for arn in arns if (key := _described(kms, arn)) is not None and _is_usable(key)]
        ours = [key for key in keys if is_ours(site, _tags(kms, key["Arn"]))]
        return sorted(ours, key=lambda key: (key["CreationDate"], key["Arn"]))

    def _create_key(self, kms: AwsClient, site: Site) -> Mapping[str, Any]:
        key: Mapping[str, Any] = kms.create_key(
            Description=f"byoc deployment {site.deployment}: cluster secrets, disks, logs and backups",
            Policy=json.dumps(key_policy(site)),
            Tags=_as_kms_tags(owner_tags(site, "key")),
        )["KeyMetadata"]
        return key

    def _converge_key(
        self, kms: AwsClient, site: Site, key: Mapping[str, Any], aliased: Mapping[str, Any] | None
    ) -> None:
        """Give `key` alias, rotation, policy and tags where it lacks them; `aliased` is what the alias leads to now."""
        if aliased is None:
            self._create_alias(kms, site, key)
        elif aliased["Arn"] != key["Arn"]:
            # The alias of an earlier generation of this deployment, whose key is being deleted.
            require_ours(site, _tags(kms, aliased["Arn"]), f"KMS key {alias_name(site)}")
            kms.update_alias(AliasName=alias_name(site), TargetKeyId=key["Arn"])
        tags = _tags(kms, key["Arn"])
        _tag(kms, key["Arn"], owner_tags(site, "key"), present=tags)
        if TAG_RETAINED_UNTIL in tags:
            # The deployment was ordered again: its key is in use, not merely retained.
            kms.untag_resource(KeyId=key["Arn"], TagKeys=[TAG_RETAINED_UNTIL])
        if not kms.get_key_rotation_status(KeyId=key["Arn"])["KeyRotationEnabled"]:
            kms.enable_key_rotation(KeyId=key["Arn"])
        if json.loads(kms.get_key_policy(KeyId=key["Arn"], PolicyName="default")["Policy"]) != key_policy(site):
            kms.put_key_policy(KeyId=key["Arn"], PolicyName="default", Policy=json.dumps(key_policy(site)))

    def _create_alias(self, kms: AwsClient, site: Site, key: Mapping[str, Any]) -> None:
        try:
            kms.create_alias(AliasName=alias_name(site), TargetKeyId=key["Arn"])
        except ClientError as error:
            if code_of(error) != "AlreadyExistsException":
                raise
            raise self._look_again(f"KMS alias {alias_name(site)} exists and is not visible yet") from error


def alias_name(site: Site) -> str:
    """Return the alias of the deployment's key."""
    return f"alias/{base_name(site)}"


def log_group_arn(site: Site) -> str:
    """Return the ARN of the log group to which EKS writes the logs of the deployment's control plane."""
    return f"arn:aws:logs:{site.region}:{site.cloud_account_id}:log-group:/aws/eks/{base_name(site)}/cluster"


def key_policy(site: Site) -> Mapping[str, Any]:
    """Return who may use the key: the account through IAM, EBS for our machines and volumes, the control plane's logs.

    The second statement is what lets instances start from encrypted disks: not the nodes' role but the service-linked
    role of EC2 Auto Scaling asks EBS for them. It is named by a condition, because a policy that names a principal
    which does not exist yet is refused (KMS developer guide, "Key policies").
    """
    root = f"arn:aws:iam::{site.cloud_account_id}:root"
    service_roles = f"arn:aws:iam::{site.cloud_account_id}:role/aws-service-role"
    auto_scaling = f"{service_roles}/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AccountAdministersTheKey",
                "Effect": "Allow",
                "Principal": {"AWS": root},
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": "DisksOfThisDeployment",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": [
                    "kms:Encrypt",
                    "kms:Decrypt",
                    "kms:ReEncrypt*",
                    "kms:GenerateDataKey*",
                    "kms:CreateGrant",
                    "kms:DescribeKey",
                ],
                "Resource": "*",
                "Condition": {
                    "StringEquals": {
                        "kms:CallerAccount": site.cloud_account_id,
                        "kms:ViaService": f"ec2.{site.region}.amazonaws.com",
                    },
                    "ArnEquals": {"aws:PrincipalArn": [auto_scaling, role_arn(site, RoleName.STORAGE_DRIVER)]},
                },
            },
            {
                "Sid": "LogsOfTheControlPlane",
                "Effect": "Allow",
                "Principal": {"Service": f"logs.{site.region}.amazonaws.com"},
                "Action": [
                    "kms:Encrypt",
                    "kms:Decrypt",
                    "kms:ReEncrypt*",
                    "kms:GenerateDataKey*",
                    "kms:DescribeKey",
                ],
                "Resource": "*",
                "Condition": {"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": log_group_arn(site)}},
            },
        ],
    }


def _described(kms: AwsClient, key_id: str) -> Mapping[str, Any] | None:
    found = if_exists(kms.describe_key, KeyId=key_id)
    return found["KeyMetadata"] if found else None


def _is_usable(key: Mapping[str, Any]) -> bool:
    return key["KeyState"] not in {"PendingDeletion", "PendingReplicaDeletion"}


def _tags(kms: AwsClient, key_id: str) -> dict[str, str]:
    pages = kms.get_paginator("list_resource_tags").paginate(KeyId=key_id)
    return {tag["TagKey"]: tag["TagValue"] for page in pages for tag in page["Tags"]}


def _as_kms_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": name, "TagValue": value} for name, value in tags.items()]


def _tag(kms: AwsClient, key_id: str, wanted: Mapping[str, str], *, present: Mapping[str, str] | None = None) -> None:
    if missing := lacking(wanted, _tags(kms, key_id) if present is None else present):
        kms.tag_resource(KeyId=key_id, Tags=_as_kms_tags(missing))
