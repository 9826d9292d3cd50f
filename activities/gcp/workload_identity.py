"""Which of the cluster's pods act as which service accounts of the project.

A pod's service account names the project's in an annotation (`activities.kubernetes.manifests.gcp`), whose policy in
turn lets that one service account of that one namespace act as it ("Workload Identity Federation for GKE").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.api_core.exceptions import BadRequest
from google.cloud import iam_admin_v1, storage
from temporalio import activity

from activities.contracts import ClusterContract, WorkloadIdentityRequest
from activities.gcp.bucket import backup_bucket
from activities.gcp.errors import failures_named
from activities.gcp.part import GcpPart
from activities.gcp.policies import POLICY_VERSION, PolicyEditor
from activities.kubernetes.manifests.identity import RESTORE_ACCOUNT, RESTORE_NAMESPACE, SERVER_NAMESPACE
from activities.needs import needs
from domain.clouds import Purpose
from domain.shape import Component

WORKLOAD_ROLE = "roles/iam.workloadIdentityUser"
"""What lets a workload act as a service account."""


class GcpWorkloadIdentity(GcpPart, ClusterContract):
    """Lets the cluster's pods into the project."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "iam.serviceAccounts.getIamPolicy", "iam.serviceAccounts.setIamPolicy", "storage.buckets.getIamPolicy",
        "storage.buckets.setIamPolicy",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_workload_identity(self, request: WorkloadIdentityRequest) -> None:
        """Exactly the workloads of `workloads` act as the service accounts of store and restore.

        In the bucket the store may write and read backups and delete none, so that a stolen pod identity cannot
        destroy them; the proof of a restore may read. Disks are made by GKE's own service agent, so the storage driver
        needs no account.
        """
        with failures_named():
            client = self._connections.client(storage.Client, request.site, Purpose.OPERATE)
            self._let_use_backups(client, request)
            iam = self._connections.client(iam_admin_v1.IAMClient, request.site, Purpose.OPERATE)
            for account, members in workloads(request).items():
                resource = f"projects/{request.site.cloud_account_id}/serviceAccounts/{account}"
                PolicyEditor(iam, resource, self._settings).grant_exactly(WORKLOAD_ROLE, sorted(members))

    def _let_use_backups(self, client: storage.Client, request: WorkloadIdentityRequest) -> None:
        bucket = client.bucket(backup_bucket(request.site))
        policy = bucket.get_iam_policy(requested_policy_version=POLICY_VERSION, retry=None)
        wanted = bucket_roles(request)
        ours = {member for members in wanted.values() for member in members}
        kept = [_without(binding, ours) for binding in policy.bindings]
        bindings = [
            *(binding for binding in kept if binding["members"]),
            *({"role": role, "members": members} for role, members in wanted.items()),
        ]
        if _comparable(policy.bindings) == _comparable(_merged(bindings)):
            return
        policy.bindings = _merged(bindings)
        policy.version = POLICY_VERSION
        try:
            bucket.set_iam_policy(policy, retry=None)
        except BadRequest as error:
            if "does not exist" not in str(error.message):
                raise
            raise self._look_again(f"Google does not see a new service account yet: {error.message}") from error


def workloads(request: WorkloadIdentityRequest) -> Mapping[str, set[str]]:
    """Return who may act as each service account: members as IAM writes them, keyed by the account's e-mail address."""
    pool = f"{request.site.cloud_account_id}.svc.id.goog"
    found: dict[str, set[str]] = {}
    for account, namespace, name in (
        (request.roles.store, SERVER_NAMESPACE, Component.STORE.value),
        (request.roles.restore or request.roles.store, RESTORE_NAMESPACE, RESTORE_ACCOUNT),
    ):
        found.setdefault(account, set()).add(f"serviceAccount:{pool}[{namespace}/{name}]")
    return found


def bucket_roles(request: WorkloadIdentityRequest) -> Mapping[str, list[str]]:
    """Return who has which role in the backup bucket: members as IAM writes them, keyed by role."""
    store = f"serviceAccount:{request.roles.store}"
    restore = f"serviceAccount:{request.roles.restore or request.roles.store}"
    return {
        "roles/storage.objectCreator": [store],
        "roles/storage.objectViewer": sorted({store, restore}),
    }


def _without(binding: Mapping[str, Any], members: set[str]) -> dict[str, Any]:
    return {**binding, "members": [member for member in binding["members"] if member not in members]}


def _merged(bindings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the bindings with those of one role and condition put together, as IAM keeps them."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for binding in bindings:
        key = (binding["role"], str(binding.get("condition") or ""))
        known = merged.setdefault(key, {**binding, "members": []})
        known["members"] = sorted({*known["members"], *binding["members"]})
    return list(merged.values())


def _comparable(bindings: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[str]]]:
    return sorted((each["role"], str(each.get("condition") or ""), sorted(each["members"])) for each in bindings)
