"""The part of the control API that is about Google Cloud.

| Request | Does |
|---|---|
| `POST /gcp/vendor` | the vendor's project, its service account and key |
| `POST /gcp/projects/{id}/customer/{apply-template,delete-template,deny,allow,own-network,quota}` | the customer acts |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from simulators.customer_control import CustomerControl, Permitted
from simulators.gcp.customer import GcpCustomer
from simulators.gcp.documents import GcpOwnNetwork, GcpTemplate, GcpVendor, PermissionOfRole, Quota
from simulators.gcp.simulator import GoogleCloud
from simulators.gcp.vendor import make_vendor
from simulators.inventory import Resource

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")


class GcpControl(CustomerControl[GcpCustomer]):
    """Fulfils `CloudControl`."""

    prefix = "/gcp"
    accounts = "projects"
    template = GcpTemplate
    one_permission = PermissionOfRole
    network = GcpOwnNetwork

    def __init__(self, google: GoogleCloud) -> None:
        super().__init__()
        self._google = google

    def inventory(self, account: str) -> list[Resource] | None:
        """Return what a project holds, or None if that is no project here."""
        return self._google.inventory(account) if account in self._google.cloud.identities.projects else None

    def checked(self) -> Iterable[tuple[Permitted, bool]]:
        """Return every permission that was needed."""
        return self._google.cloud.policies.checked()

    def make_vendor(self) -> GcpVendor:
        """Make the vendor's project with its service account."""
        return make_vendor(self._google)

    def make_customer(self, account: str) -> GcpCustomer:
        """Return the owner of a project."""
        if not _PROJECT.fullmatch(account):
            raise ValueError(
                f"project is {account!r}; a project's id has 6 to 30 lower-case letters, digits and hyphens"
            )
        return GcpCustomer(self._google, account)

    def permission_of(self, given: PermissionOfRole) -> tuple[str, str]:
        """Return the role's id and the permission."""
        return given.role, given.permission

    def set_quota(self, account: str, document: Any) -> None:  # noqa: ANN401 - JSON
        """Give a project another limit."""
        quota = Quota.model_validate(document)
        self._google.compute.quotas.set_limit(account, quota.region, quota.metric, quota.limit)

    def forget(self) -> None:
        """Forget every project."""
        self._google.reset()
