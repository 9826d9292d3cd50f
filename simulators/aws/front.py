"""The AWS endpoint: what every call passes on its way to ministack and back.

A call is understood, meets the faults of its world, is authorized, answered by ministack or by the services that
complete it, and written into the journal. aiohttp serves it, because a lost reply and a caller that hangs up need the
connection itself.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict

from simulators.aws import authorization, cloudformation, context, emulator, identities, policy_simulation
from simulators.aws.consistency import Consistency
from simulators.aws.errors import error_reply, fault_error
from simulators.aws.requests import ApiRequest, understand
from simulators.faults import Fault, FaultKind
from simulators.journal import Call
from simulators.world import Held, World

Headers = list[tuple[str, str]]

_LARGEST_BODY = 64 * 2**20
"""Bytes; larger than any object that the simulated customers store."""

_SHUTDOWN_TIMEOUT = 0.1
"""Real seconds that calls under way, held ones above all, may still take when the endpoint stops."""

_XML_CODE = re.compile(rb"<Code>([^<]+)</Code>")
_JSON_CODE = re.compile(rb'"__type"\s*:\s*"(?:[^"#]*#)?([^":]+)')
_CBOR_CODE = re.compile(rb"__type[\x60-\x7b]+[\x00-\x1f]*([A-Za-z.]+)")


@dataclass(frozen=True)
class Reply:
    """An HTTP reply, and whether the call changed the world."""

    status: int
    headers: Headers
    body: bytes
    changed: bool = False

    @property
    def error(self) -> str:
        """The error code that the body carries, empty on success."""
        if self.status < 400:
            return ""
        for pattern in (_XML_CODE, _JSON_CODE, _CBOR_CODE):
            if found := pattern.search(self.body):
                return found[1].decode()
        return str(self.status)


@dataclass
class _Exchange:
    """One HTTP request, understood, and how it ends."""

    http: web.BaseRequest
    api: ApiRequest
    at: datetime
    """Simulated time of arrival."""
    raw_path: str
    query: str
    headers: dict[str, str]
    body: bytes
    fault: Fault | None = None
    outcome: Reply | None = None
    """What the journal is told; None while the deed is not done."""

    def call(self) -> Call:
        """Return the journal's record of this exchange as it stands."""
        api, outcome = self.api, self.outcome
        return Call(
            at=self.at,
            service=api.service,
            operation=api.operation,
            mutating=api.mutating,
            account=api.account,
            region=api.region,
            principal=api.principal,
            agent=api.agent,
            resource=api.resource,
            status=outcome.status if outcome is not None else 0,
            error=outcome.error if outcome is not None else "",
            changed=outcome.changed if outcome is not None else False,
            fault=self.fault.id if self.fault is not None else "",
        )


class AwsEndpoint:
    """Serves all accounts and regions of one simulated AWS on one loopback port."""

    def __init__(self, world: World) -> None:
        self.authorizer = authorization.Authorizer()
        self.observer = f"observer/{uuid4().hex}"
        """The User-Agent whose calls pass beside journal, faults and delays: for looking without being seen."""
        self._world = world
        self._consistency = Consistency(world.clock)
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def start(self, port: int = 0) -> None:
        """Serve on 127.0.0.1:`port`; `url` tells where."""
        emulator.enter()
        self.authorizer.install()
        self._consistency.install()
        cloudformation.install()
        policy_simulation.install()
        # A caller that hangs up must cancel its handler: that is what ends a held call.
        server = web.Server(
            self._handle, request_factory=_request, handler_cancellation=True, access_log=None, auto_decompress=False
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop serving; the accounts keep what they hold."""
        if self._runner is not None:
            await self._runner.cleanup()

    def reset(self) -> None:
        """Forget every account and every recorded permission."""
        emulator.reset()
        self.authorizer.forget()
        identities.forget()
        self._consistency.forget()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        self._world.clock.settle()
        exchange = await _read(http, self._world.clock.now())
        if exchange.api.agent.startswith(self.observer):
            return _sent(http, await self._perform(exchange, delays=False))
        exchange.fault = self._world.faults.meet(exchange.call())
        try:
            exchange.outcome = await self._answer(exchange)
        finally:
            self._world.journal.record(exchange.call())
        return _sent(http, exchange.outcome)

    async def _answer(self, exchange: _Exchange) -> Reply:
        """Do what the fault says around the deed; a reply of status 0 is never sent."""
        fault = exchange.fault
        if fault is None:
            return await self._perform(exchange)
        if refused := fault_error(fault, exchange.api):
            return Reply(*error_reply(exchange.api.protocol, refused))
        match fault.kind:
            case FaultKind.REVOKE:
                return _denied(exchange)
            case FaultKind.SLOW:
                await asyncio.sleep(fault.seconds)
            case FaultKind.HOLD_BEFORE:
                await self._hold(exchange, fault, deed_done=False)
        reply = await self._perform(exchange)
        match fault.kind:
            case FaultKind.LOST_REPLY:
                return _withheld(reply)
            case FaultKind.HOLD:
                exchange.outcome = _withheld(reply)
                await self._hold(exchange, fault, deed_done=True)
        return reply

    async def _perform(self, exchange: _Exchange, *, delays: bool = True) -> Reply:
        """Do the deed; a caller that hangs up meanwhile does not take back what the cloud has begun."""
        return await asyncio.shield(asyncio.ensure_future(self._deed(exchange, delays)))

    async def _deed(self, exchange: _Exchange, delays: bool) -> Reply:
        api, fault = exchange.api, exchange.fault
        context.begin(fault if fault is not None and fault.kind in _CONCERN_STARTED_WORK else None)
        authorization.current_request.set(api)
        authorization.current_authorizer.set(self.authorizer)
        if delays and (refused := self._consistency.refusal(api)):
            return Reply(*error_reply(api.protocol, refused))
        status, headers, body = await emulator.call(
            exchange.http.method,
            exchange.raw_path,
            query=exchange.query,
            headers=[(name.lower(), value) for name, value in exchange.http.raw_headers],
            body=exchange.body,
        )
        if api.service in _ISSUES_CREDENTIALS:
            self._world.secrets.note_reply(body)
        if delays:
            body = self._consistency.seen(api, status, body)
        return Reply(status, headers, body, api.mutating and status < 300 and context.had_effect())

    async def _hold(self, exchange: _Exchange, fault: Fault, *, deed_done: bool) -> None:
        await self._world.hold(Held(id=uuid4().hex[:8], fault=fault.id, call=exchange.call(), deed_done=deed_done))


_ISSUES_CREDENTIALS = frozenset({"iam", "sts"})

_CONCERN_STARTED_WORK = frozenset({FaultKind.STUCK, FaultKind.CRASH, FaultKind.CAPACITY})
"""Kinds of faults that the services act on, because they show in what a call starts, not in its reply."""


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Make aiohttp's request object, with room for the largest object that is stored."""
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=_LARGEST_BODY
    )


async def _read(http: web.BaseRequest, at: datetime) -> _Exchange:
    raw_path, _, query = http.raw_path.partition("?")
    headers = {name.lower(): value for name, value in http.headers.items()}
    body = await http.read()
    api = understand(http.method, raw_path, query, headers, body)
    return _Exchange(http, api, at, raw_path, query, headers, body)


def _withheld(reply: Reply) -> Reply:
    return Reply(0, [], b"", reply.changed)


def _denied(exchange: _Exchange) -> Reply:
    action = emulator.iam_action(
        exchange.api.service,
        exchange.http.method,
        exchange.raw_path,
        query=exchange.query,
        headers=exchange.headers,
        body=exchange.body,
    )
    status, headers, body = authorization.denial(exchange.api, action, exchange.headers)
    return Reply(status, list(headers.items()), body)


def _sent(http: web.BaseRequest, reply: Reply) -> web.Response:
    """Return what aiohttp is to send; a withheld reply closes the connection instead."""
    if reply.status == 0:
        if http.transport is not None:
            http.transport.abort()
        return web.Response()
    headers = [(name, value) for name, value in reply.headers if name.lower() not in _SET_BY_THE_SERVER]
    if http.method == "HEAD":
        # The length of the object, not of the (absent) body.
        headers += [(name, value) for name, value in reply.headers if name.lower() == "content-length"]
        return web.Response(status=reply.status, headers=CIMultiDict(headers))
    return web.Response(status=reply.status, headers=CIMultiDict(headers), body=reply.body)


_SET_BY_THE_SERVER = frozenset({"content-length", "transfer-encoding", "connection", "server"})
