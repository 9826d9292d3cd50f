"""The part of the control API that is about Azure.

| Request | Does |
|---|---|
| `POST /azure/vendor` | the vendor's applications and their secrets |
| `POST /azure/subscriptions/{id}/customer/{apply-template,delete-template,deny,allow}` | the customer acts |
| `POST /azure/subscriptions/{id}/customer/{own-network,quota}` | likewise |
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from aiohttp import web

from simulators.azure.customer import AzureCustomer
from simulators.azure.documents import ActionOfRole, AzureOwnNetwork, AzureQuota, AzureTemplate, AzureVendor
from simulators.azure.simulator import Azure
from simulators.azure.vendor import make_vendor
from simulators.control import Authorized
from simulators.inventory import Resource


class AzureControl:
    """Fulfils `CloudControl`."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self._customers: dict[str, AzureCustomer] = {}
        self._vendor: AzureVendor | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        customer = "/azure/subscriptions/{subscription}/customer"
        return [
            web.post("/azure/vendor", self._make_vendor),
            web.post(f"{customer}/apply-template", self._apply_template),
            web.post(f"{customer}/delete-template", self._delete_template),
            web.post(f"{customer}/deny", self._deny),
            web.post(f"{customer}/allow", self._allow),
            web.post(f"{customer}/own-network", self._own_network),
            web.post(f"{customer}/quota", self._quota),
        ]

    def inventory(self, account: str) -> list[Resource] | None:
        """Return what a subscription holds, or None if that is no subscription here."""
        return self._azure.inventory(account) if account in self._azure.cloud.identities.subscriptions else None

    def authorizations(self) -> list[Authorized]:
        """Return every permission that was needed."""
        return [
            Authorized(permission.account, permission.principal, permission.action, permission.agent, allowed)
            for permission, allowed in self._azure.cloud.access.checked()
        ]

    def close(self) -> None:
        """Close every connection that the customers hold."""
        for customer in self._customers.values():
            customer.close()
        self._customers.clear()

    def reset(self) -> None:
        """Forget every subscription."""
        self.close()
        self._vendor = None
        self._azure.reset()

    async def _make_vendor(self, _: web.Request) -> web.Response:
        if self._vendor is None:
            self._vendor = make_vendor(self._azure)
        return web.json_response(self._vendor.model_dump())

    async def _apply_template(self, request: web.Request) -> web.Response:
        template = AzureTemplate.model_validate(await request.json())
        outputs = await asyncio.to_thread(self._customer(request).apply_template, template)
        return web.json_response(outputs.model_dump())

    async def _delete_template(self, request: web.Request) -> web.Response:
        await asyncio.to_thread(self._customer(request).delete_template)
        return web.json_response({})

    async def _deny(self, request: web.Request) -> web.Response:
        given = ActionOfRole.model_validate(await request.json())
        await asyncio.to_thread(self._customer(request).deny, given.role, given.action)
        return web.json_response({})

    async def _allow(self, request: web.Request) -> web.Response:
        given = ActionOfRole.model_validate(await request.json())
        await asyncio.to_thread(self._customer(request).allow, given.role, given.action)
        return web.json_response({})

    async def _own_network(self, request: web.Request) -> web.Response:
        network = AzureOwnNetwork.model_validate(await request.json())
        facts = await asyncio.to_thread(self._customer(request).make_network, network)
        return web.json_response(facts.model_dump())

    async def _quota(self, request: web.Request) -> web.Response:
        quota = AzureQuota.model_validate(await request.json())
        self._azure.quotas.set_limit(self._customer(request).subscription, quota.region, quota.name, quota.limit)
        return web.json_response({})

    def _customer(self, request: web.Request) -> AzureCustomer:
        subscription = request.match_info["subscription"].lower()
        try:
            UUID(subscription)
        except ValueError as error:
            raise ValueError(f"subscription is {subscription!r}; a subscription's id is a GUID") from error
        if subscription not in self._customers:
            self._customers[subscription] = AzureCustomer(self._azure, subscription)
        return self._customers[subscription]
