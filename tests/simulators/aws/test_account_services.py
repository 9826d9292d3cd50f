"""Service Quotas, tags over all services, and what ministack does well enough for keys and buckets."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from simulators.aws import overlay
from simulators.aws.scope import Scope
from tests.simulators.aws.customers import ACCOUNT, REGION, Customer, refused


class TestQuotas:
    """Service Quotas."""

    def test_tell_the_limit_in_force_and_the_default(self, account: Customer) -> None:
        """A limit that was set is read back; the default stays AWS's."""
        quotas = account.client("service-quotas")
        account.overlay.quotas.set_limit(Scope(ACCOUNT, REGION), "ec2", "L-0263D0A3", 7)
        which = {"ServiceCode": "ec2", "QuotaCode": "L-0263D0A3"}

        assert quotas.get_service_quota(**which)["Quota"]["Value"] == 7
        assert quotas.get_aws_default_service_quota(**which)["Quota"]["Value"] == 5
        listed = quotas.list_service_quotas(ServiceCode="ec2")["Quotas"]
        assert {entry["QuotaCode"]: entry["Value"] for entry in listed}["L-0263D0A3"] == 7

    @pytest.mark.parametrize(
        ("service", "code"),
        [
            ("eks", "L-1194D53C"), ("eks", "L-6D54EA21"), ("ec2", "L-1216C47A"), ("vpc", "L-F678F1CE"),
            ("vpc", "L-FE5A380F"), ("vpc", "L-A4707A72"), ("vpc", "L-E79EC296"), ("vpc", "L-DF5E4CA3"),
            ("ebs", "L-7A658B76"),
        ],
    )  # fmt: skip
    def test_are_known_by_their_real_codes(self, account: Customer, service: str, code: str) -> None:
        """Each quota that a deployment needs is there."""
        quota = account.client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]

        assert quota["Value"] > 0

    def test_an_unknown_one_is_an_error(self, account: Customer) -> None:
        """NoSuchResourceException names it."""
        with refused("NoSuchResourceException", "L-00000000"):
            account.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-00000000")

    def test_are_raised_on_request_after_some_time(self, slow_account: Customer) -> None:
        """A request is pending, then approved, and the limit is in force; a second one has to wait."""
        quotas = slow_account.client("service-quotas")
        which = {"ServiceCode": "vpc", "QuotaCode": "L-F678F1CE"}
        request = quotas.request_service_quota_increase(**which, DesiredValue=20)["RequestedQuota"]
        with refused("ResourceAlreadyExistsException"):
            quotas.request_service_quota_increase(**which, DesiredValue=30)

        slow_account.pass_time(4000)

        after = quotas.get_requested_service_quota_change(RequestId=request["Id"])["RequestedQuota"]
        assert (request["Status"], after["Status"]) == ("PENDING", "APPROVED")
        assert quotas.get_service_quota(**which)["Quota"]["Value"] == 20


class TestTags:
    """The Resource Groups Tagging API."""

    def test_are_found_over_all_services(self, account: Customer) -> None:
        """One tag leads to everything that carries it, and to nothing that is gone."""
        tag = [{"Key": "byoc", "Value": "managed"}]
        ec2, kms, s3 = account.client("ec2"), account.client("kms"), account.client("s3")
        subnets = account.make_cluster(tags={"byoc": "managed"})
        account.make_node_group(subnets, tags={"byoc": "managed"})
        gone = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        ec2.create_tags(Resources=[subnets[0], gone], Tags=tag)
        ec2.delete_vpc(VpcId=gone)
        kms.create_key(Tags=[{"TagKey": "byoc", "TagValue": "managed"}])
        s3.create_bucket(Bucket="byoc-backups", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_tagging(Bucket="byoc-backups", Tagging={"TagSet": tag})
        account.client("acm").request_certificate(DomainName="a.example.com", ValidationMethod="DNS", Tags=tag)
        account.client("logs").create_log_group(logGroupName="/aws/eks/byoc-1/cluster", tags={"byoc": "managed"})

        pages = (
            account.client("resourcegroupstaggingapi")
            .get_paginator("get_resources")
            .paginate(TagFilters=[{"Key": "byoc", "Values": ["managed"]}], PaginationConfig={"PageSize": 2})
        )

        arns = [entry["ResourceARN"] for page in pages for entry in page["ResourceTagMappingList"]]
        kinds = sorted({":".join(arn.split(":")[2:3]) + "/" + arn.split(":")[5].split("/")[0] for arn in arns})
        assert kinds == [
            "acm/certificate", "ec2/subnet", "eks/cluster", "eks/nodegroup", "kms/key", "logs/log-group",
            "s3/byoc-backups",
        ]  # fmt: skip
        assert len(arns) == 7

    def test_are_filtered_by_type(self, account: Customer) -> None:
        """A type filter leaves the others out."""
        ec2 = account.client("ec2")
        vpc, subnets = account.make_network()
        ec2.create_tags(Resources=[vpc, *subnets], Tags=[{"Key": "byoc", "Value": "managed"}])

        found = account.client("resourcegroupstaggingapi").get_resources(
            TagFilters=[{"Key": "byoc"}], ResourceTypeFilters=["ec2:vpc"]
        )["ResourceTagMappingList"]

        assert [entry["ResourceARN"].rpartition("/")[2] for entry in found] == [vpc]


class TestKeys:
    """KMS."""

    def test_go_through_their_states(self, account: Customer) -> None:
        """A key that is being deleted does not encrypt, and comes back disabled when the deletion is cancelled."""
        kms = account.client("kms")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName="alias/byoc", TargetKeyId=key)
        kms.enable_key_rotation(KeyId=key)
        rotates = kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)

        with refused("KMSInvalidStateException"):
            kms.encrypt(KeyId=key, Plaintext=b"x")
        with refused("KMSInvalidStateException"):
            kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        pending = kms.describe_key(KeyId="alias/byoc")["KeyMetadata"]
        kms.cancel_key_deletion(KeyId=key)

        assert rotates
        assert pending["KeyState"] == "PendingDeletion"
        assert pending["DeletionDate"]
        assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


class TestBuckets:
    """S3."""

    def make(self, account: Customer) -> Any:
        """Make a versioned bucket with object lock and return the client."""
        s3 = account.client("s3")
        s3.create_bucket(
            Bucket="byoc-backups",
            CreateBucketConfiguration={"LocationConstraint": REGION},
            ObjectLockEnabledForBucket=True,
        )
        return s3

    def test_with_object_lock_are_versioned_and_private(self, account: Customer) -> None:
        """Object lock switches versioning on; encryption and the public access block are kept."""
        s3 = self.make(account)
        block = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        s3.put_public_access_block(Bucket="byoc-backups", PublicAccessBlockConfiguration=block)

        lock = s3.get_object_lock_configuration(Bucket="byoc-backups")["ObjectLockConfiguration"]
        assert lock["ObjectLockEnabled"] == "Enabled"
        assert s3.get_bucket_versioning(Bucket="byoc-backups")["Status"] == "Enabled"
        assert s3.get_public_access_block(Bucket="byoc-backups")["PublicAccessBlockConfiguration"] == block
        with refused("BucketAlreadyOwnedByYou"):
            self.make(account)

    def test_keep_locked_versions(self, account: Customer) -> None:
        """A version under governance goes only with the bypass, one under compliance not before its time."""
        s3 = self.make(account)
        until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        versions = {}
        for mode in ("GOVERNANCE", "COMPLIANCE"):
            version = s3.put_object(Bucket="byoc-backups", Key=mode, Body=b"x")["VersionId"]
            retention = {"Mode": mode, "RetainUntilDate": until}
            s3.put_object_retention(Bucket="byoc-backups", Key=mode, VersionId=version, Retention=retention)
            versions[mode] = version
        which = {"Bucket": "byoc-backups", "Key": "GOVERNANCE", "VersionId": versions["GOVERNANCE"]}

        with refused("AccessDenied"):
            s3.delete_object(**which)
        with refused("AccessDenied"):
            s3.delete_object(
                Bucket="byoc-backups",
                Key="COMPLIANCE",
                VersionId=versions["COMPLIANCE"],
                BypassGovernanceRetention=True,
            )
        s3.delete_object(**which, BypassGovernanceRetention=True)

        left = s3.list_object_versions(Bucket="byoc-backups")["Versions"]
        assert [entry["Key"] for entry in left] == ["COMPLIANCE"]
        with refused("BucketNotEmpty"):
            s3.delete_bucket(Bucket="byoc-backups")

    def test_delete_markers_are_listed_and_count(self, account: Customer) -> None:
        """A deleted object leaves a marker, which keeps the bucket."""
        s3 = self.make(account)
        s3.put_object(Bucket="byoc-backups", Key="a", Body=b"x")
        s3.delete_object(Bucket="byoc-backups", Key="a")

        listed = s3.list_object_versions(Bucket="byoc-backups")

        assert (len(listed["Versions"]), len(listed["DeleteMarkers"])) == (1, 1)
        with refused("BucketNotEmpty"):
            s3.delete_bucket(Bucket="byoc-backups")

    def test_refuse_plain_http_by_policy(self, account: Customer) -> None:
        """A bucket policy is kept, and denies what it denies even to the account's own users."""
        s3 = self.make(account)
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": ["arn:aws:s3:::byoc-backups", "arn:aws:s3:::byoc-backups/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}

        s3.put_bucket_policy(Bucket="byoc-backups", Policy=json.dumps(policy))

        assert json.loads(s3.get_bucket_policy(Bucket="byoc-backups")["Policy"]) == policy


class TestReset:
    """Emptying the world."""

    def test_forgets_everything(self, account: Customer) -> None:
        """After a reset the account holds nothing and the limits are the first ones."""
        account.make_cluster()
        account.overlay.quotas.set_limit(Scope(ACCOUNT, REGION), "vpc", "L-F678F1CE", 1)

        overlay.reset()

        which = {"ServiceCode": "vpc", "QuotaCode": "L-F678F1CE"}
        assert account.client("eks").list_clusters()["clusters"] == []
        assert account.kubernetes.clusters() == []
        assert account.client("service-quotas").get_service_quota(**which)["Quota"]["Value"] == 10
