"""Where backups are: the storage account and its container, its blobs with their versions, and the locks on these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import BlobServiceClient

from activities.azure.connection import AzureConnections
from activities.azure.errors import code_of
from activities.azure.existing import if_exists
from activities.azure.groups import group_name
from activities.azure.ids import resource_id
from activities.failures import failure
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass, FailureDetail
from domain.naming import short_name

ACCOUNT = "Microsoft.Storage/storageAccounts"
CONTAINERS = f"{ACCOUNT}/blobServices/containers"
BLOBS = f"{CONTAINERS}/blobs"
READ_BLOBS = f"{BLOBS}/read"
CHANGE_LOCKS = f"{BLOBS}/immutableStorage/runAsSuperUser/action"
"""Setting locks and lifting them; Azure has one permission for both."""
CONTAINER = "backups"
LOOKING_FOR_LOCKS = (f"{ACCOUNT}/read", READ_BLOBS)
"""What `locked_until` needs."""
_MISMATCHES = frozenset({"AuthorizationPermissionMismatch", "AuthorizationFailure"})
_LONGEST_NAME = 24


def account_name(site: Site) -> str:
    """Return the name of the deployment's storage account."""
    return short_name(site, "backup", limit=_LONGEST_NAME)


def bucket_name(site: Site) -> str:
    """Return the account and the container in it, `<account>/backups`: what `Bucket.name` is here."""
    return f"{account_name(site)}/{CONTAINER}"


def container_id(site: Site) -> str:
    """Return the resource id of the container, at which roles are given."""
    return resource_id(site, CONTAINERS, account_name(site), "default", CONTAINER)


def blob_service(connections: AzureConnections, site: Site, purpose: Purpose, account: str) -> BlobServiceClient:
    """Return a client for the blobs of an account."""
    url = f"https://{account}.blob.core.windows.net"
    return BlobServiceClient(url, credential=connections.credential(site, purpose), **connections.options())


def versions(connections: AzureConnections, site: Site, purpose: Purpose) -> list[Any]:
    """Return every version of every backup, with its lock."""
    container = blob_service(connections, site, purpose, account_name(site)).get_container_client(CONTAINER)
    with needing(READ_BLOBS, bucket_name(site)):
        return list(container.list_blobs(include=["versions", "immutabilitypolicy"]))


def lock_of(blob: Any) -> datetime | None:  # noqa: ANN401 - the SDK is not typed here
    """Return the instant until which a version is locked, None if it never was."""
    until: datetime | None = blob.immutability_policy.expiry_time
    return until


def locked_until(connections: AzureConnections, site: Site, *, now: datetime) -> datetime | None:
    """Return when the last lock on a backup ends; None without one that holds at `now`, or without the account."""
    storage = connections.client(StorageManagementClient, site, Purpose.DELETE)
    if if_exists(lambda: storage.storage_accounts.get_properties(group_name(site), account_name(site))) is None:
        return None
    found = if_exists(lambda: versions(connections, site, Purpose.DELETE)) or []
    return max((until for until in map(lock_of, found) if until is not None and until > now), default=None)


@contextmanager
def needing(action: str, resource: str) -> Iterator[None]:
    """Name the action in a refusal within the block: the blob service itself says only that one is missing.

    Raises:
        ApplicationError: PERMISSION.
    """
    try:
        yield
    except HttpResponseError as error:
        if code_of(error) not in _MISMATCHES:
            raise
        message = f"The permission {action} is missing: {str(error.message).partition(chr(10))[0]}"
        detail = FailureDetail(
            failure=FailureClass.PERMISSION, message=message, code=code_of(error), action=action, resource=resource
        )
        raise failure(detail) from error
