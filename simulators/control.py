"""The control API: how tests and the playground look into a world and make it misbehave.

| Request | Does |
|---|---|
| `GET /journal?after&service&operation&account&agent&mutating&changed` | the calls that match, as `Journal.calls` |
| `GET /journal/position` | `{"position": n}` |
| `GET /faults`, `POST /faults`, `DELETE /faults`, `DELETE /faults/{id}` | the rules in force and their hits |
| `GET /held?wait=SECONDS`, `POST /held/{id}/release` | the calls that wait at a hold |
| `GET /clock`, `POST /clock {"speed"}` | simulated time |
| `GET /inventory?account` | every resource of an account |
| `GET /authorizations?account` | every permission that was needed, and whether it was granted |
| `GET /secrets` | every secret that was given out or shown, `[{"kind", "value"}]` |
| `POST /reset` | a fresh world |
| `POST /aws/vendor` | the vendor's account, its user and access key |
| `POST /aws/accounts/{id}/customer/{apply-template,delete-template,deny,allow,own-vpc}` | the customer acts |

A further cloud has requests of its own below its name (`gcp/control`).

Errors are `{"error": text}` with 400 (bad input), 404 (no such thing) or 409 (the customer could not do it).
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from aiohttp import web
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulators.aws.front import AwsEndpoint
from simulators.customer import Customer, CustomerError, OwnNetwork
from simulators.faults import Fault
from simulators.inventory import Inventory, Resource
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.vendor import Vendor
from simulators.world import World

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Json = Any
"""Whatever can be written as JSON."""

_LONGEST_WAIT = 60.0
"""Real seconds that one request may wait for a held call."""


class Speed(BaseModel):
    """How fast simulated time passes; `"inf"` means that nothing takes any time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speed: float = Field(gt=0, allow_inf_nan=True)


class Template(BaseModel):
    """A CloudFormation template that the customer applies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str | dict[str, Any]
    stack: str = "byoc"
    region: str = "us-east-1"
    parameters: dict[str, str] = {}


class Stack(BaseModel):
    """A stack that the customer deletes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stack: str = "byoc"
    region: str = "us-east-1"


class Grant(BaseModel):
    """One action of one role's policies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: str
    role: str
    """Name of the role, without its path."""


class Authorized(NamedTuple):
    """A permission that a principal needed, and whether it was granted when it was last checked."""

    account: str
    principal: str
    action: str
    agent: str
    """The User-Agent of the call that needed it."""
    allowed: bool


class CloudControl(Protocol):
    """What the control API asks of a cloud beside AWS."""

    def routes(self) -> list[web.RouteDef]:
        """Return the requests that are this cloud's own."""

    def inventory(self, account: str) -> list[Resource] | None:
        """Return what an account holds, or None if this cloud does not have it."""

    def authorizations(self) -> list[Authorized]:
        """Return every permission that was ever needed."""

    def reset(self) -> None:
        """Forget every account."""

    def close(self) -> None:
        """Close every connection that the customers hold."""


class Control:
    """Serves the control API of one world."""

    def __init__(
        self,
        world: World,
        aws: AwsEndpoint,
        kubernetes: KubernetesSimulator,
        clouds: Sequence[CloudControl] = (),
    ) -> None:
        self._world = world
        self._aws = aws
        self._kubernetes = kubernetes
        self._clouds = tuple(clouds)
        self._customers: dict[str, Customer] = {}
        self._vendor: Vendor | None = None
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, port: int = 0) -> None:
        """Serve on 127.0.0.1:`port`; `url` tells where."""
        application = web.Application(middlewares=[_errors])
        customer = "/aws/accounts/{account}/customer"
        application.add_routes(
            [
                web.get("/journal", self._journal),
                web.get("/journal/position", self._position),
                web.get("/faults", self._faults),
                web.post("/faults", self._add_fault),
                web.delete("/faults", self._clear_faults),
                web.delete("/faults/{id}", self._remove_fault),
                web.get("/held", self._held),
                web.post("/held/{id}/release", self._release),
                web.get("/clock", self._clock),
                web.post("/clock", self._set_clock),
                web.get("/inventory", self._inventory),
                web.get("/authorizations", self._authorizations),
                web.get("/secrets", self._secrets),
                web.post("/reset", self._reset),
                web.post("/aws/vendor", self._make_vendor),
                web.post(f"{customer}/apply-template", self._apply_template),
                web.post(f"{customer}/delete-template", self._delete_template),
                web.post(f"{customer}/deny", self._deny),
                web.post(f"{customer}/allow", self._allow),
                web.post(f"{customer}/own-vpc", self._own_vpc),
                *(route for cloud in self._clouds for route in cloud.routes()),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop serving."""
        for cloud in self._clouds:
            cloud.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _journal(self, request: web.Request) -> web.Response:
        query = _JournalQuery.model_validate(dict(request.query))
        return _json([call.model_dump(mode="json") for call in self._world.journal.calls(**query.model_dump())])

    async def _position(self, _: web.Request) -> web.Response:
        return _json({"position": self._world.journal.position})

    async def _faults(self, _: web.Request) -> web.Response:
        listed = self._world.faults.listed()
        return _json([{"fault": fault.model_dump(mode="json"), "hits": hits} for fault, hits in listed])

    async def _add_fault(self, request: web.Request) -> web.Response:
        fault = Fault.model_validate(await request.json())
        return _json(self._world.faults.add(fault).model_dump(mode="json"))

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._world.faults.clear()
        return _json({})

    async def _remove_fault(self, request: web.Request) -> web.Response:
        if not self._world.faults.remove(request.match_info["id"]):
            raise _MissingError(f"no fault {request.match_info['id']} is in force")
        return _json({})

    async def _held(self, request: web.Request) -> web.Response:
        wait = min(float(request.query.get("wait", "0")), _LONGEST_WAIT)
        held = await self._world.wait_until_held(wait) if wait > 0 else self._world.held()
        return _json([entry.model_dump(mode="json") for entry in held])

    async def _release(self, request: web.Request) -> web.Response:
        if not self._world.release(request.match_info["id"]):
            raise _MissingError(f"no call is held as {request.match_info['id']}")
        return _json({})

    async def _clock(self, _: web.Request) -> web.Response:
        return self._time()

    def _time(self) -> web.Response:
        clock = self._world.clock
        speed = "inf" if math.isinf(clock.speed) else clock.speed
        return _json({"speed": speed, "time": clock.now().isoformat()})

    async def _set_clock(self, request: web.Request) -> web.Response:
        self._world.clock.set_speed(Speed.model_validate(await request.json()).speed)
        return self._time()

    async def _inventory(self, request: web.Request) -> web.Response:
        account = request.query.get("account", "")
        if not account:
            raise _BadInputError("account is missing: inventory?account=222222222222")
        for cloud in self._clouds:
            if (found := cloud.inventory(account)) is not None:
                return _json([resource.model_dump(mode="json") for resource in found])
        calls = self._world.journal.calls(account=account, changed=True)
        regions = {call.region for call in calls if call.region}
        inventory = Inventory(self._aws.url, account, regions, agent=self._aws.observer)
        resources = await asyncio.to_thread(inventory.resources)
        return _json([resource.model_dump(mode="json") for resource in resources])

    async def _authorizations(self, request: web.Request) -> web.Response:
        account = request.query.get("account", "")
        checked = [
            Authorized(permission.account, permission.principal, permission.action, permission.agent, allowed)
            for permission, allowed in self._aws.authorizer.checked()
        ]
        checked += [entry for cloud in self._clouds for entry in cloud.authorizations()]
        return _json([entry._asdict() for entry in checked if account in ("", entry.account)])

    async def _secrets(self, _: web.Request) -> web.Response:
        return _json([secret.model_dump(mode="json") for secret in self._world.secrets.listed()])

    async def _reset(self, _: web.Request) -> web.Response:
        for cluster in self._kubernetes.clusters():
            self._kubernetes.delete_cluster(cluster.id)
        self._aws.reset()
        for cloud in self._clouds:
            cloud.reset()
        self._world.reset()
        self._customers.clear()
        self._vendor = None
        return _json({})

    async def _make_vendor(self, _: web.Request) -> web.Response:
        if self._vendor is None:
            self._vendor = await asyncio.to_thread(Vendor.make, self._aws.url)
        return _json(self._vendor.model_dump())

    async def _apply_template(self, request: web.Request) -> web.Response:
        given = Template.model_validate(await request.json())
        text = given.template if isinstance(given.template, str) else json.dumps(given.template)
        outputs = await asyncio.to_thread(
            self._customer(request).apply_template,
            text,
            stack=given.stack,
            region=given.region,
            parameters=given.parameters,
        )
        return _json({"outputs": outputs})

    async def _delete_template(self, request: web.Request) -> web.Response:
        given = Stack.model_validate(await request.json())
        await asyncio.to_thread(self._customer(request).delete_template, stack=given.stack, region=given.region)
        return _json({})

    async def _deny(self, request: web.Request) -> web.Response:
        given = Grant.model_validate(await request.json())
        await asyncio.to_thread(self._customer(request).deny, given.role, given.action)
        return _json({})

    async def _allow(self, request: web.Request) -> web.Response:
        given = Grant.model_validate(await request.json())
        await asyncio.to_thread(self._customer(request).allow, given.role, given.action)
        return _json({})

    async def _own_vpc(self, request: web.Request) -> web.Response:
        network = OwnNetwork.model_validate(await request.json())
        facts = await asyncio.to_thread(self._customer(request).make_network, network)
        return _json(facts.model_dump())

    def _customer(self, request: web.Request) -> Customer:
        account = request.match_info["account"]
        if not (account.isdecimal() and len(account) == 12):
            raise _BadInputError(f"account is {account!r}; an AWS account is 12 digits")
        return self._customers.setdefault(account, Customer(self._aws.url, account))


class _JournalQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: int = 0
    service: str = "*"
    operation: str = "*"
    account: str = "*"
    agent: str = ""
    mutating: bool | None = None
    changed: bool | None = None


class _BadInputError(Exception):
    pass


class _MissingError(Exception):
    pass


def _json(document: Json, status: int = 200) -> web.Response:
    return web.json_response(document, status=status)


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turn what goes wrong into a reply that says so."""
    try:
        return await handler(request)
    except (ValidationError, ValueError, _BadInputError) as error:
        return _json({"error": str(error)}, 400)
    except _MissingError as error:
        return _json({"error": str(error)}, 404)
    except (CustomerError, ClientError) as error:
        return _json({"error": str(error)}, 409)
