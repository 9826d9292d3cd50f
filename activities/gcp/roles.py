"""The service accounts of a deployment: of its nodes, of the store, and of the proof that a backup can be restored.

GKE itself, its disks and load balancers act as Google's own service agents in the project, which are not ours to make.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from google.cloud import iam_admin_v1, resourcemanager_v3
from temporalio import activity

from activities.contracts import FoundationContract
from activities.gcp.compute import if_exists
from activities.gcp.errors import failures_named
from activities.gcp.ownership import is_described_as_ours, owner_description, require_ours
from activities.gcp.part import GcpPart
from activities.gcp.policies import PolicyEditor
from activities.gcp.project import container_agent
from activities.kubernetes.manifests.gcp import account_email, account_id
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Roles
from domain.naming import base_name

NODE_ROLE = "roles/container.defaultNodeServiceAccount"
"""What Google recommends for nodes, and all that they may do in the project: write logs and metrics."""


class RoleName(StrEnum):
    """The service accounts of one deployment; the value is a part of the account's name."""

    NODES = "nodes"
    STORE = "store"
    RESTORE = "restore"


class GcpRoles(GcpPart, FoundationContract):
    """Makes and deletes the service accounts."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "iam.serviceAccounts.create", "iam.serviceAccounts.get", "resourcemanager.projects.get",
        "resourcemanager.projects.getIamPolicy", "resourcemanager.projects.setIamPolicy",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_roles(self, site: Site) -> Roles:
        """Every account exists with our description; that of the nodes has its one role in the project.

        Store and restore have no role in the project: the bucket's own policy says what they may do with backups.
        """
        with failures_named():
            iam = self._connections.client(iam_admin_v1.IAMClient, site, Purpose.OPERATE)
            for role in RoleName:
                self._ensure_account(iam, site, role)
            projects = self._connections.client(resourcemanager_v3.ProjectsClient, site, Purpose.OPERATE)
            editor = PolicyEditor(projects, f"projects/{site.cloud_account_id}", self._settings)
            editor.grant(NODE_ROLE, [f"serviceAccount:{account_email(site, RoleName.NODES)}"])
            agent = container_agent(projects, site)
        return Roles(
            control_plane=agent,
            nodes=account_email(site, RoleName.NODES),
            storage_driver=agent,
            store=account_email(site, RoleName.STORE),
            restore=account_email(site, RoleName.RESTORE),
        )

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "iam.serviceAccounts.delete", "iam.serviceAccounts.get", "resourcemanager.projects.getIamPolicy",
        "resourcemanager.projects.setIamPolicy",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_roles(self, site: Site) -> None:
        """No account of the deployment is left, nor the role that we gave one in the project."""
        with failures_named():
            iam = self._connections.client(iam_admin_v1.IAMClient, site, Purpose.DELETE)
            found = {role: self._found(iam, site, role) for role in RoleName}
            theirs = {
                role
                for role, account in found.items()
                if account is not None and not is_described_as_ours(account.description, site)
            }
            projects = self._connections.client(resourcemanager_v3.ProjectsClient, site, Purpose.DELETE)
            editor = PolicyEditor(projects, f"projects/{site.cloud_account_id}", self._settings)
            # A deleted account stays in policies under another name, so its role goes first.
            editor.take(NODE_ROLE, [account_email(site, role) for role in found if role not in theirs])
            for role, account in found.items():
                if account is not None and role not in theirs:
                    name = _full_name(site, role)
                    if_exists(lambda name=name: iam.delete_service_account(name=name))  # type: ignore[misc]

    def _ensure_account(self, iam: iam_admin_v1.IAMClient, site: Site, role: RoleName) -> None:
        found = self._found(iam, site, role)
        if found is None:
            account = {"display_name": f"{base_name(site)} {role}", "description": owner_description(site, role)}
            iam.create_service_account(
                request={
                    "name": f"projects/{site.cloud_account_id}",
                    "account_id": account_id(site, role),
                    "service_account": account,
                }
            )
            return
        require_ours(f"service account {found.name}", site, ours=is_described_as_ours(found.description, site))

    def _found(self, iam: iam_admin_v1.IAMClient, site: Site, role: RoleName) -> iam_admin_v1.ServiceAccount | None:
        return if_exists(lambda: iam.get_service_account(name=_full_name(site, role)))


def our_emails(site: Site) -> Iterable[str]:
    """Return the e-mail addresses of all of them."""
    return [account_email(site, role) for role in RoleName]


def _full_name(site: Site, role: RoleName) -> str:
    return f"projects/{site.cloud_account_id}/serviceAccounts/{account_email(site, role)}"
