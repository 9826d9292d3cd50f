"""Which of the cluster's pods act as which service accounts of the project.

A pod's service account names the project's in an annotation (`activities.kubernetes.manifests.gcp`), whose policy in
turn lets that one service account of that one namespace act as it ("Workload Identity Federation for GKE").
"""

from __future__ import annotations

from collections.abc import Mapping

from google.cloud import iam_admin_v1
from temporalio import activity

from activities.contracts import ClusterContract, WorkloadIdentityRequest
from activities.gcp.errors import failures_named
from activities.gcp.part import GcpPart
from activities.kubernetes.manifests.identity import RESTORE_ACCOUNT, RESTORE_NAMESPACE, SERVER_NAMESPACE
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.shape import Component

WORKLOAD_ROLE = "roles/iam.workloadIdentityUser"
"""What lets a workload act as a service account."""
_POLICY_VERSION = 3
"""The newest: what an older one would be shown without its conditions, it would also be written without."""


class GcpWorkloadIdentity(GcpPart, ClusterContract):
    """Lets the cluster's pods into the project."""

    @activity.defn
    @needs("iam.serviceAccounts.getIamPolicy", "iam.serviceAccounts.setIamPolicy", purpose=Purpose.OPERATE)
    def create_workload_identity(self, request: WorkloadIdentityRequest) -> None:
        """Exactly the workloads of `workloads` act as the service accounts of store and restore.

        Disks are made by GKE's own service agent, so the storage driver needs none.
        """
        with failures_named():
            iam = self._connections.client(iam_admin_v1.IAMClient, request.site, Purpose.OPERATE)
            for account, members in workloads(request).items():
                self._let_act(iam, request.site, account, members)

    @staticmethod
    def _let_act(iam: iam_admin_v1.IAMClient, site: Site, account: str, members: set[str]) -> None:
        resource = f"projects/{site.cloud_account_id}/serviceAccounts/{account}"
        policy = iam.get_iam_policy(
            request={"resource": resource, "options": {"requested_policy_version": _POLICY_VERSION}}
        )
        bindings = [binding for binding in policy.bindings if binding.role == WORKLOAD_ROLE]
        if len(bindings) == 1 and set(bindings[0].members) == members and not bindings[0].condition.expression:
            return
        for binding in bindings:
            policy.bindings.remove(binding)
        policy.bindings.add(role=WORKLOAD_ROLE, members=sorted(members))
        policy.version = _POLICY_VERSION
        # The policy has the etag of its reading: one that was changed meanwhile is refused, and looked at again.
        iam.set_iam_policy(request={"resource": resource, "policy": policy})


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
