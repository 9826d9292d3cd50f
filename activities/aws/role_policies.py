"""Which roles a deployment has, whom they trust and what they may do: pure functions of the site.

Every role stands under the permissions boundary of the customer's template, so that nothing here can exceed what the
customer agreed to. Rules that name the key say "any key that carries this deployment's tag", because roles and key are
made at the same time and the key's id is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from activities.aws.identity import PATH
from domain.deployment import Site
from domain.naming import TAG_DEPLOYMENT, base_name, global_name, resource_name

Statement = Mapping[str, Any]
Document = Mapping[str, Any]


class RoleName(StrEnum):
    """The roles of one deployment; the value is the last part of the role's name."""

    CONTROL_PLANE = "control-plane"
    NODES = "nodes"
    STORAGE_DRIVER = "storage-driver"
    STORE = "store"
    RESTORE = "restore"


@dataclass(frozen=True)
class RoleDefinition:
    """One role as it has to be."""

    resource: RoleName
    name: str
    trust: Document
    managed_policies: tuple[str, ...]
    """ARNs of policies that AWS maintains."""
    inline_policy: Document | None


def role_name(site: Site, role: RoleName) -> str:
    """Return the name of one of the deployment's roles."""
    return resource_name(site, role.value)


def role_arn(site: Site, role: RoleName) -> str:
    """Return the ARN that a role has, whether or not it exists."""
    return f"arn:aws:iam::{site.cloud_account_id}:role{PATH}{role_name(site, role)}"


def cluster_arn(site: Site) -> str:
    """Return the ARN that the deployment's cluster has, whether or not it exists."""
    return f"arn:aws:eks:{site.region}:{site.cloud_account_id}:cluster/{base_name(site)}"


def role_definitions(site: Site) -> tuple[RoleDefinition, ...]:
    """Return every role of the deployment."""
    return (
        RoleDefinition(
            RoleName.CONTROL_PLANE,
            role_name(site, RoleName.CONTROL_PLANE),
            trust=_trust("eks.amazonaws.com", ["sts:AssumeRole"], _only_for_our_cluster(site)),
            # It lets EKS's own service controller make load balancers, and open the nodes' security group to them.
            managed_policies=("arn:aws:iam::aws:policy/AmazonEKSClusterPolicy",),
            inline_policy=_document(_use_key(site, "kms:Encrypt", "kms:Decrypt", "kms:ListGrants", "kms:DescribeKey")),
        ),
        RoleDefinition(
            RoleName.NODES,
            role_name(site, RoleName.NODES),
            # EC2 assumes an instance's role without naming a source, so a condition on one would lock the nodes out.
            trust=_trust("ec2.amazonaws.com", ["sts:AssumeRole"], {}),
            managed_policies=(
                "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
                "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",
            ),
            inline_policy=_document(_pull_images()),
        ),
        RoleDefinition(
            RoleName.STORAGE_DRIVER,
            role_name(site, RoleName.STORAGE_DRIVER),
            trust=_pod_trust(site),
            managed_policies=(),
            inline_policy=_document(*_manage_volumes(site)),
        ),
        RoleDefinition(
            RoleName.STORE,
            role_name(site, RoleName.STORE),
            trust=_pod_trust(site),
            managed_policies=(),
            inline_policy=_document(*_write_backups(site)),
        ),
        RoleDefinition(
            RoleName.RESTORE,
            role_name(site, RoleName.RESTORE),
            trust=_pod_trust(site),
            managed_policies=(),
            inline_policy=_document(*_read_backups(site)),
        ),
    )


def _document(*statements: Statement) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _trust(service: str, actions: Sequence[str], condition: Mapping[str, Any]) -> Document:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": list(actions)}
    return _document({**statement, "Condition": condition} if condition else statement)


def _pod_trust(site: Site) -> Document:
    return _trust("pods.eks.amazonaws.com", ["sts:AssumeRole", "sts:TagSession"], _only_for_our_cluster(site))


def _only_for_our_cluster(site: Site) -> Mapping[str, Any]:
    """Keep EKS from being talked into using the role for somebody else's cluster (the confused deputy)."""
    return {
        "StringEquals": {"aws:SourceAccount": site.cloud_account_id},
        "ArnLike": {"aws:SourceArn": cluster_arn(site)},
    }


def _use_key(site: Site, *actions: str, via: str = "", extra: Mapping[str, Any] | None = None) -> Statement:
    """Allow `actions` on this deployment's key, if `via` is given only on behalf of that service."""
    equal = {f"aws:ResourceTag/{TAG_DEPLOYMENT}": site.deployment}
    if via:
        equal["kms:ViaService"] = f"{via}.{site.region}.amazonaws.com"
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": f"arn:aws:kms:{site.region}:{site.cloud_account_id}:key/*",
        "Condition": {"StringEquals": equal, **(extra or {})},
    }


def _pull_images() -> Statement:
    """What AmazonEC2ContainerRegistryPullOnly grants: nodes pull the images of the add-ons and of the server."""
    return {
        "Effect": "Allow",
        "Action": ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        "Resource": "*",
    }


def _manage_volumes(site: Site) -> tuple[Statement, ...]:
    """What the EBS CSI driver needs, on volumes and snapshots that carry this deployment's tag alone."""
    volumes = f"arn:aws:ec2:{site.region}:{site.cloud_account_id}:volume/*"
    snapshots = f"arn:aws:ec2:{site.region}:{site.cloud_account_id}:snapshot/*"
    instances = f"arn:aws:ec2:{site.region}:{site.cloud_account_id}:instance/*"
    asked_for_us = {"StringEquals": {f"aws:RequestTag/{TAG_DEPLOYMENT}": site.deployment}}
    ours = {"StringEquals": {f"aws:ResourceTag/{TAG_DEPLOYMENT}": site.deployment}}
    return (
        {
            "Effect": "Allow",
            "Action": [
                "ec2:DescribeAvailabilityZones",
                "ec2:DescribeInstances",
                "ec2:DescribeSnapshots",
                "ec2:DescribeTags",
                "ec2:DescribeVolumes",
                "ec2:DescribeVolumesModifications",
                "ec2:DescribeVolumeStatus",
            ],
            "Resource": "*",
        },
        {"Effect": "Allow", "Action": "ec2:CreateVolume", "Resource": volumes, "Condition": asked_for_us},
        {
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": [volumes, snapshots],
            "Condition": {"StringEquals": {"ec2:CreateAction": ["CreateVolume", "CreateSnapshot"]}},
        },
        {
            "Effect": "Allow",
            "Action": ["ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyVolume", "ec2:DeleteVolume"],
            "Resource": [volumes, instances],
            "Condition": ours,
        },
        _use_key(site, "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt*", "kms:DescribeKey"),
        _use_key(site, "kms:CreateGrant", extra={"Bool": {"kms:GrantIsForAWSResource": "true"}}),
    )


def _write_backups(site: Site) -> tuple[Statement, ...]:
    """Let the store write and read backups; it may delete none, so a stolen pod identity cannot destroy them."""
    return (
        *_list_backups(site),
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            "Resource": f"{_bucket_arn(site)}/*",
        },
        _use_key(site, "kms:GenerateDataKey", "kms:Decrypt", via="s3"),
    )


def _read_backups(site: Site) -> tuple[Statement, ...]:
    """Let the proof of a restore read backups and nothing else: what it restores into is thrown away."""
    return (
        *_list_backups(site),
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{_bucket_arn(site)}/*"},
        _use_key(site, "kms:Decrypt", via="s3"),
    )


def _list_backups(site: Site) -> tuple[Statement, ...]:
    return ({"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": _bucket_arn(site)},)


def _bucket_arn(site: Site) -> str:
    return f"arn:aws:s3:::{global_name(site, 'backups')}"
