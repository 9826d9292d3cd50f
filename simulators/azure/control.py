"""The part of the control API that is about Azure.

| Request | Does |
|---|---|
| `POST /azure/vendor` | the vendor's applications and their secrets |
| `POST /azure/subscriptions/{id}/customer/{apply-template,delete-template,deny,allow}` | the customer acts |
| `POST /azure/subscriptions/{id}/customer/{own-network,quota}` | likewise |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from simulators.azure.acme import AcmeDirectory
from simulators.azure.customer import AzureCustomer
from simulators.azure.documents import ActionOfRole, AzureOwnNetwork, AzureQuota, AzureTemplate, AzureVendor
from simulators.azure.simulator import Azure
from simulators.azure.vendor import make_vendor
from simulators.customer_control import CustomerControl, Permitted
from simulators.inventory import Resource


class AzureControl(CustomerControl[AzureCustomer]):
    """Fulfils `CloudControl`."""

    prefix = "/azure"
    accounts = "subscriptions"
    template = AzureTemplate
    one_permission = ActionOfRole
    network = AzureOwnNetwork

    def __init__(self, azure: Azure, acme: AcmeDirectory | None = None) -> None:
        """`acme` is the authority that looks at this cloud's zones."""
        super().__init__()
        self._azure = azure
        self._acme = acme

    def inventory(self, account: str) -> list[Resource] | None:
        """Return what a subscription holds, or None if that is no subscription here."""
        return self._azure.inventory(account) if account in self._azure.cloud.identities.subscriptions else None

    def checked(self) -> Iterable[tuple[Permitted, bool]]:
        """Return every action that was needed."""
        return self._azure.cloud.access.checked()

    def make_vendor(self) -> AzureVendor:
        """Make the vendor's applications."""
        return make_vendor(self._azure)

    def make_customer(self, account: str) -> AzureCustomer:
        """Return the owner of a subscription."""
        try:
            UUID(account)
        except ValueError as error:
            raise ValueError(f"subscription is {account!r}; a subscription's id is a GUID") from error
        return AzureCustomer(self._azure, account)

    def spelled(self, account: str) -> str:
        """Return the GUID in small letters."""
        return account.lower()

    def permission_of(self, given: ActionOfRole) -> tuple[str, str]:
        """Return the role's name and the action."""
        return given.role, given.action

    def set_quota(self, account: str, document: Any) -> None:  # noqa: ANN401 - JSON
        """Give a subscription another limit."""
        quota = AzureQuota.model_validate(document)
        self._azure.quotas.set_limit(account, quota.region, quota.name, quota.limit)

    def forget(self) -> None:
        """Forget every subscription, and the authority's orders."""
        self._azure.reset()
        if self._acme is not None:
            self._acme.forget()
