"""How IAM names the API operations: mostly `service:Operation`, with exceptions that have grown over the years.

Source: AWS Service Authorization Reference.
"""

from __future__ import annotations

import re

_PREFIX_OF_SIGNING_NAME = {"monitoring": "cloudwatch", "tagging": "tag"}
"""Keyed by the service name in a request's signature, where IAM calls it otherwise."""

_ACTION_OF_OPERATION = {
    ("s3", "DeleteBucketEncryption"): "s3:PutEncryptionConfiguration",
    ("s3", "DeleteBucketLifecycle"): "s3:PutLifecycleConfiguration",
    ("s3", "DeleteObjects"): "s3:DeleteObject",
    ("s3", "GetBucketEncryption"): "s3:GetEncryptionConfiguration",
    ("s3", "GetBucketLifecycleConfiguration"): "s3:GetLifecycleConfiguration",
    ("s3", "GetObjectLockConfiguration"): "s3:GetBucketObjectLockConfiguration",
    ("s3", "GetPublicAccessBlock"): "s3:GetBucketPublicAccessBlock",
    ("s3", "HeadBucket"): "s3:ListBucket",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "ListBuckets"): "s3:ListAllMyBuckets",
    ("s3", "ListMultipartUploads"): "s3:ListBucketMultipartUploads",
    ("s3", "ListObjectVersions"): "s3:ListBucketVersions",
    ("s3", "ListObjects"): "s3:ListBucket",
    ("s3", "ListObjectsV2"): "s3:ListBucket",
    ("s3", "PutBucketEncryption"): "s3:PutEncryptionConfiguration",
    ("s3", "PutBucketLifecycleConfiguration"): "s3:PutLifecycleConfiguration",
    ("s3", "PutObjectLockConfiguration"): "s3:PutBucketObjectLockConfiguration",
    ("s3", "PutPublicAccessBlock"): "s3:PutBucketPublicAccessBlock",
}
"""Keyed by (signing name, operation)."""


_LOOKS_ONLY = re.compile(r"(Describe|Get|List|Head|Simulate)[A-Z]|AssumeRole$")
"""Names of operations that change nothing. Whatever is named otherwise counts as a change."""


def changes(operation: str) -> bool:
    """Return whether a success of this operation changes something: the barrier stops it, the audit trail notes it."""
    return _LOOKS_ONLY.match(operation) is None


def action_of(signing_name: str, operation: str) -> str:
    """Return the IAM action that permits `operation` of the service that signs as `signing_name`."""
    default = f"{_PREFIX_OF_SIGNING_NAME.get(signing_name, signing_name)}:{operation}"
    return _ACTION_OF_OPERATION.get((signing_name, operation), default)
