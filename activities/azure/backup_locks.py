"""Locks on backups: until when a version may not be deleted.

A version's own policy is of the mode Unlocked: nobody deletes a backup by mistake or with a stolen identity of a pod,
because lifting it takes a permission that our applications alone have, not the roles of workloads. In the mode Locked
not even the subscription's owner could: a retired deployment's data could not be erased before the lock ends although
the customer orders it, and a wrong date could not be corrected.
"""

from __future__ import annotations

from datetime import timedelta

from azure.storage.blob import ImmutabilityPolicy
from temporalio import activity

from activities.azure.backups import CHANGE_LOCKS, READ_BLOBS, blob_service, lock_of, needing
from activities.azure.errors import failures_named
from activities.azure.part import AzurePart
from activities.contracts import BackupLock, ClusterContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.facts import Backup

LOCK_MODE = "Unlocked"


class AzureBackupLocks(AzurePart, ClusterContract):
    """Locks backups."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(READ_BLOBS, CHANGE_LOCKS, purpose=Purpose.OPERATE)
    def lock_backup(self, request: BackupLock) -> Backup:
        """The backup's version is locked until `retain_days` after it was taken, or longer if it was already."""
        site, backup = request.site, request.backup
        account, _, container = backup.bucket.partition("/")
        where = f"{backup.bucket}/{backup.key}"
        wanted = backup.taken_at + timedelta(days=request.retain_days)
        with failures_named(resource=where):
            service = blob_service(self._connections, site, Purpose.OPERATE, account)
            blob = service.get_blob_client(container, backup.key)
            with needing(READ_BLOBS, where):
                found = blob.get_blob_properties()
            present = lock_of(found)
            if present is not None and present >= wanted.replace(microsecond=0):
                return backup.model_copy(update={"retain_until": present})
            with needing(CHANGE_LOCKS, where):
                policy = ImmutabilityPolicy(expiry_time=wanted, policy_mode=LOCK_MODE)
                blob.set_immutability_policy(policy, version_id=found.version_id)
        return backup.model_copy(update={"retain_until": wanted})
