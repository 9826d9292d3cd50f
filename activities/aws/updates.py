"""Updates of EKS that failed: each is told once, and then it may be begun anew.

EKS puts what it could not update back to how it was, and keeps the update with its errors. Whoever looks later sees
something that is ready and has the old version, as if nothing had been tried. So the newest update is asked for its
errors before the next one is begun, and what was told is remembered by a tag on the resource: it survives the worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError

from activities.aws.connection import AwsClient
from activities.aws.health import health_failure

TAG_TOLD = "byoc:failed-update"
"""On a cluster, a node group or an add-on: the id of the newest update whose failure was told."""
_FAILED = frozenset({"Failed", "Cancelled"})


def untold_failure(
    eks: AwsClient, cluster: str, resource: Mapping[str, Any], wanted: Mapping[str, str], **which: str
) -> Mapping[str, Any] | None:
    """Return the newest update of a resource if it failed and that was not told yet.

    Args:
        eks: the client.
        cluster: name of the cluster.
        resource: what was to be updated, as EKS describes it.
        wanted: what the update was to reach, keyed by the name of its parameter; updates to anything else are passed
            over.
        which: `nodegroupName` or `addonName`, for an update of a part of the cluster.
    """
    pages = eks.get_paginator("list_updates").paginate(name=cluster, **which)
    identifiers = [identifier for page in pages for identifier in page["updateIds"]]
    updates = [eks.describe_update(name=cluster, updateId=each, **which)["update"] for each in identifiers]
    about = [update for update in updates if wanted.items() <= _parameters(update).items()]
    newest = max(about, key=lambda update: update["createdAt"], default=None)
    if newest is None or newest["status"] not in _FAILED or resource.get("tags", {}).get(TAG_TOLD) == newest["id"]:
        return None
    found: Mapping[str, Any] = newest
    return found


def tell(eks: AwsClient, arn: str, update: Mapping[str, Any], what: str, *, hint: str = "") -> Exception:
    """Return the failure of an update after noting that it was told; `hint` says what EKS does not.

    If no reply comes, it is not known whether the note was made: the failure is told all the same, rather twice than
    never.
    """
    issues = [
        {"code": error.get("errorCode", ""), "message": f"{error.get('errorMessage', '')}{hint}"}
        for error in update.get("errors", ())
    ]
    failed = health_failure(issues, what, deed="update")
    try:
        eks.tag_resource(resourceArn=arn, tags={TAG_TOLD: update["id"]})
    except BotoCoreError as error:
        failed.__cause__ = error
    return failed


def _parameters(update: Mapping[str, Any]) -> dict[str, str]:
    return {parameter["type"]: parameter["value"] for parameter in update.get("params", ())}
