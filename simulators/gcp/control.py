"""The part of the control API that is about Google Cloud.

| Request | Does |
|---|---|
| `POST /gcp/vendor` | the vendor's project, its service account and key |
| `POST /gcp/projects/{id}/customer/{apply-template,delete-template,deny,allow,own-network,quota}` | the customer acts |
"""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from simulators.control import Authorized
from simulators.gcp.customer import GcpCustomer
from simulators.gcp.documents import GcpOwnNetwork, GcpTemplate, GcpVendor, PermissionOfRole, Quota
from simulators.gcp.simulator import GoogleCloud
from simulators.gcp.vendor import make_vendor
from simulators.inventory import Resource

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")


class GcpControl:
    """Fulfils `CloudControl`."""

    def __init__(self, google: GoogleCloud) -> None:
        self._google = google
        self._customers: dict[str, GcpCustomer] = {}
        self._vendor: GcpVendor | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        customer = "/gcp/projects/{project}/customer"
        return [
            web.post("/gcp/vendor", self._make_vendor),
            web.post(f"{customer}/apply-template", self._apply_template),
            web.post(f"{customer}/delete-template", self._delete_template),
            web.post(f"{customer}/deny", self._deny),
            web.post(f"{customer}/allow", self._allow),
            web.post(f"{customer}/own-network", self._own_network),
            web.post(f"{customer}/quota", self._quota),
        ]

    def inventory(self, account: str) -> list[Resource] | None:
        """Return what a project holds, or None if that is no project here."""
        return self._google.inventory(account) if account in self._google.cloud.identities.projects else None

    def authorizations(self) -> list[Authorized]:
        """Return every permission that was needed."""
        return [
            Authorized(permission.account, permission.principal, permission.action, permission.agent, allowed)
            for permission, allowed in self._google.cloud.policies.checked()
        ]

    def close(self) -> None:
        """Close every connection that the customers hold."""
        for customer in self._customers.values():
            customer.close()
        self._customers.clear()

    def reset(self) -> None:
        """Forget every project."""
        self.close()
        self._vendor = None
        self._google.reset()

    async def _make_vendor(self, _: web.Request) -> web.Response:
        if self._vendor is None:
            self._vendor = make_vendor(self._google)
        return web.json_response(self._vendor.model_dump())

    async def _apply_template(self, request: web.Request) -> web.Response:
        template = GcpTemplate.model_validate(await request.json())
        outputs = await asyncio.to_thread(self._customer(request).apply_template, template)
        return web.json_response(outputs.model_dump())

    async def _delete_template(self, request: web.Request) -> web.Response:
        await asyncio.to_thread(self._customer(request).delete_template)
        return web.json_response({})

    async def _deny(self, request: web.Request) -> web.Response:
        given = PermissionOfRole.model_validate(await request.json())
        await asyncio.to_thread(self._customer(request).deny, given.role, given.permission)
        return web.json_response({})

    async def _allow(self, request: web.Request) -> web.Response:
        given = PermissionOfRole.model_validate(await request.json())
        await asyncio.to_thread(self._customer(request).allow, given.role, given.permission)
        return web.json_response({})

    async def _own_network(self, request: web.Request) -> web.Response:
        network = GcpOwnNetwork.model_validate(await request.json())
        facts = await asyncio.to_thread(self._customer(request).make_network, network)
        return web.json_response(facts.model_dump())

    async def _quota(self, request: web.Request) -> web.Response:
        quota = Quota.model_validate(await request.json())
        project = self._customer(request).project
        self._google.compute.quotas.set_limit(project, quota.region, quota.metric, quota.limit)
        return web.json_response({})

    def _customer(self, request: web.Request) -> GcpCustomer:
        project = request.match_info["project"]
        if not _PROJECT.fullmatch(project):
            raise ValueError(
                f"project is {project!r}; a project's id has 6 to 30 lower-case letters, digits and hyphens"
            )
        if project not in self._customers:
            self._customers[project] = GcpCustomer(self._google, project)
        return self._customers[project]
