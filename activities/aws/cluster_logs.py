"""The log group to which EKS writes, made beforehand: EKS would make it without our key and keep it for ever.

Its name is EKS's choice and means our cluster. So a group that carries no owner's tag is ours too: EKS made it, because
somebody deleted the first one, or after the cluster's end out of its last lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from activities.aws.connection import AwsClient
from activities.aws.encryption import log_group_arn
from activities.aws.errors import code_of
from activities.aws.existence import gone_is_success
from activities.aws.ownership import Tags, lacking, require_ours
from domain.deployment import Site
from domain.facts import Key
from domain.naming import TAG_OWNER, base_name, owner_tags

RETENTION_DAYS = 90


def log_group_name(site: Site) -> str:
    """Return the name that EKS gives to the log group of the deployment's control plane."""
    return f"/aws/eks/{base_name(site)}/cluster"


def converge_log_group(logs: AwsClient, site: Site, key: Key) -> None:
    """Make the group exist, encrypted with the key, limited in time, and with our tags."""
    name = log_group_name(site)
    group = find_log_group(logs, site)
    if group is None:
        try:
            logs.create_log_group(logGroupName=name, kmsKeyId=key.key_id, tags=owner_tags(site, "logs"))
        except ClientError as error:
            if code_of(error) != "ResourceAlreadyExistsException":
                raise
        logs.put_retention_policy(logGroupName=name, retentionInDays=RETENTION_DAYS)
        return
    tags = logs.list_tags_for_resource(resourceArn=log_group_arn(site)).get("tags", {})
    _require_nobody_elses(site, tags)
    # Its key is given with the creation, and lives as long as the group.
    if missing := lacking(owner_tags(site, "logs"), tags):
        logs.tag_resource(resourceArn=log_group_arn(site), tags=missing)
    if group.get("retentionInDays") != RETENTION_DAYS:
        logs.put_retention_policy(logGroupName=name, retentionInDays=RETENTION_DAYS)


def delete_log_group(logs: AwsClient, site: Site) -> None:
    """Delete the group; what is gone already is success."""
    if find_log_group(logs, site) is None:
        return
    tags = logs.list_tags_for_resource(resourceArn=log_group_arn(site)).get("tags", {})
    _require_nobody_elses(site, tags)
    with gone_is_success():
        logs.delete_log_group(logGroupName=log_group_name(site))


def _require_nobody_elses(site: Site, tags: Tags) -> None:
    if TAG_OWNER in tags:
        require_ours(site, tags, f"log group {log_group_name(site)}")


def find_log_group(logs: AwsClient, site: Site) -> Mapping[str, Any] | None:
    """Return the group, None if there is none; the service finds groups by prefix alone."""
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=log_group_name(site)):
        for group in page["logGroups"]:
            if group["logGroupName"] == log_group_name(site):
                found: Mapping[str, Any] = group
                return found
    return None
