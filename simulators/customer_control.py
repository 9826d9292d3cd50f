"""The part of the control API in which the customers of one cloud act, each in an account of their own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel

from simulators.control import Authorized
from simulators.inventory import Resource


class ActingCustomer(Protocol):
    """What a customer of any cloud does; templates, networks and what is made of them are the cloud's own models."""

    def apply_template(self, template: Any, /) -> BaseModel:  # noqa: ANN401 - the cloud's model
        """Make what a template says, or bring it in line."""

    def delete_template(self) -> None:
        """Delete everything that the template made."""

    def deny(self, role: str, permission: str, /) -> None:
        """Take one permission away from one of our roles."""

    def allow(self, role: str, permission: str, /) -> None:
        """Give it back."""

    def make_network(self, network: Any, /) -> BaseModel:  # noqa: ANN401 - the cloud's model
        """Make a network before we come."""

    def close(self) -> None:
        """Close every connection."""


CustomerOf = TypeVar("CustomerOf", bound=ActingCustomer)


class Permitted(Protocol):
    """One permission that a call needed."""

    @property
    def account(self) -> str:
        """In which account."""

    @property
    def principal(self) -> str:
        """Who called."""

    @property
    def action(self) -> str:
        """The permission."""

    @property
    def agent(self) -> str:
        """The call's User-Agent."""


class CustomerControl(ABC, Generic[CustomerOf]):
    """Fulfils `CloudControl`; a subclass for each cloud says what is the cloud's own."""

    prefix: str
    """`/gcp`."""
    accounts: str
    """What the cloud calls accounts, in the path: `projects`."""
    template: type[BaseModel]
    one_permission: type[BaseModel]
    """One permission of one role, as the customer names them; `permission_of` reads it."""
    network: type[BaseModel]

    def __init__(self) -> None:
        self._customers: dict[str, CustomerOf] = {}
        self._vendor: BaseModel | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        customer = f"{self.prefix}/{self.accounts}/{{account}}/customer"
        return [
            web.post(f"{self.prefix}/vendor", self._make_vendor),
            web.post(f"{customer}/apply-template", self._apply_template),
            web.post(f"{customer}/delete-template", self._delete_template),
            web.post(f"{customer}/deny", self._deny),
            web.post(f"{customer}/allow", self._allow),
            web.post(f"{customer}/own-network", self._own_network),
            web.post(f"{customer}/quota", self._quota),
        ]

    @abstractmethod
    def inventory(self, account: str) -> list[Resource] | None:
        """Return what an account holds, or None if that is no account here."""

    @abstractmethod
    def checked(self) -> Iterable[tuple[Permitted, bool]]:
        """Return every permission that was needed, and whether it was granted."""

    @abstractmethod
    def make_vendor(self) -> BaseModel:
        """Make the identities that the control plane runs with."""

    @abstractmethod
    def make_customer(self, account: str) -> CustomerOf:
        """Return a customer in this account; ValueError if an account cannot be called so."""

    def spelled(self, account: str) -> str:
        """Return an account's id as it is kept; the same, unless the cloud does not care for its case."""
        return account

    @abstractmethod
    def permission_of(self, given: Any) -> tuple[str, str]:  # noqa: ANN401 - an instance of `one_permission`
        """Return the role and the permission that a customer names."""

    @abstractmethod
    def set_quota(self, account: str, document: Any) -> None:  # noqa: ANN401 - JSON
        """Give an account another limit."""

    @abstractmethod
    def forget(self) -> None:
        """Forget every account."""

    def authorizations(self) -> list[Authorized]:
        """Return every permission that was needed."""
        return [
            Authorized(permission.account, permission.principal, permission.action, permission.agent, allowed)
            for permission, allowed in self.checked()
        ]

    def close(self) -> None:
        """Close every connection that the customers hold."""
        for customer in self._customers.values():
            customer.close()
        self._customers.clear()

    def reset(self) -> None:
        """Forget every account and the vendor."""
        self.close()
        self._vendor = None
        self.forget()

    async def _make_vendor(self, _: web.Request) -> web.Response:
        if self._vendor is None:
            self._vendor = self.make_vendor()
        return web.json_response(self._vendor.model_dump())

    async def _apply_template(self, request: web.Request) -> web.Response:
        template = self.template.model_validate(await request.json())
        outputs = await asyncio.to_thread(self._customer(request).apply_template, template)
        return web.json_response(outputs.model_dump())

    async def _delete_template(self, request: web.Request) -> web.Response:
        await asyncio.to_thread(self._customer(request).delete_template)
        return web.json_response({})

    async def _deny(self, request: web.Request) -> web.Response:
        role, permission = self.permission_of(self.one_permission.model_validate(await request.json()))
        await asyncio.to_thread(self._customer(request).deny, role, permission)
        return web.json_response({})

    async def _allow(self, request: web.Request) -> web.Response:
        role, permission = self.permission_of(self.one_permission.model_validate(await request.json()))
        await asyncio.to_thread(self._customer(request).allow, role, permission)
        return web.json_response({})

    async def _own_network(self, request: web.Request) -> web.Response:
        network = self.network.model_validate(await request.json())
        facts = await asyncio.to_thread(self._customer(request).make_network, network)
        return web.json_response(facts.model_dump())

    async def _quota(self, request: web.Request) -> web.Response:
        self._customer(request)
        self.set_quota(self.spelled(request.match_info["account"]), await request.json())
        return web.json_response({})

    def _customer(self, request: web.Request) -> CustomerOf:
        account = self.spelled(request.match_info["account"])
        if account not in self._customers:
            self._customers[account] = self.make_customer(account)
        return self._customers[account]
