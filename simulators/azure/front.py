"""The way that every call takes: understood, fault, permissions, deed, and an entry in the journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from urllib.parse import unquote
from uuid import uuid4

from aiohttp import web

from simulators.azure.api import Deed, Plane, Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.faults import fault_refusal
from simulators.azure.refusals import Refusal
from simulators.faults import FaultKind
from simulators.world import Held

_LARGEST_BODY = 64 * 2**20
_SHUTDOWN_TIMEOUT = 0.1
"""Real seconds."""


class Withheld(Exception):  # noqa: N818 - it is what becomes of a reply, no error of ours
    """The deed is done, and its reply is lost: the connection has to end without it."""


class Front:
    """Serves every plane of one cloud on one loopback port."""

    def __init__(self, cloud: Cloud, planes: Iterable[Plane]) -> None:
        self.cloud = cloud
        self.planes = tuple(planes)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, port: int = 0) -> None:
        """Serve on 127.0.0.1:`port`; `url` tells where."""
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_TIMEOUT
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        request = Request(
            method=http.method,
            host=(http.host or "").lower(),
            path=unquote(http.raw_path.partition("?")[0]),
            query={key.lower(): value for key, value in http.query.items()},
            headers={key.lower(): value for key, value in http.headers.items()},
            content=await http.read(),
            at=self.cloud.clock.now(),
        )
        plane = next(plane for plane in self.planes if plane.serves(request))
        try:
            reply = await self._answer(plane, request)
        except Refusal as refusal:
            reply = plane.refused(refusal, request)
        except Withheld:
            if http.transport is not None:
                http.transport.abort()
            return web.Response()
        return _response(reply, request)

    async def _answer(self, plane: Plane, request: Request) -> Reply:
        world = self.cloud.world
        self.cloud.work.settle()
        deed = plane.understand(request)
        request.fault = world.faults.meet(request.call())
        call = request.call()
        try:
            reply = await self._deed(deed, request)
            changed = request.mutating and request.had_effect
            call = request.call(status=reply.status, changed=changed)
            await self._afterwards(request)
        except Refusal as refusal:
            call = request.call(status=refusal.status, error=refusal.code)
            # A call without a token is refused with where to get one: whoever makes it is in the middle of its work.
            if request.fault is not None and request.fault.kind is FaultKind.HOLD:
                await self._hold(request, deed_done=False)
            raise
        except Withheld:
            call = request.call(changed=request.mutating and request.had_effect)
            raise
        except asyncio.CancelledError:
            call = call.model_copy(update={"status": 0})
            raise
        finally:
            world.journal.record(call)
        return reply

    async def _deed(self, deed: Deed, request: Request) -> Reply:
        """Do what the fault says before the deed, then the deed."""
        fault = request.fault
        if fault is not None:
            if refusal := fault_refusal(fault, request):
                raise refusal
            if fault.kind is FaultKind.SLOW:
                await asyncio.sleep(fault.seconds)
            elif fault.kind is FaultKind.HOLD_BEFORE:
                await self._hold(request, deed_done=False)
        return deed()

    async def _afterwards(self, request: Request) -> None:
        """Do what the fault says after the deed."""
        if request.fault is None:
            return
        if request.fault.kind is FaultKind.LOST_REPLY:
            raise Withheld
        if request.fault.kind is FaultKind.HOLD:
            await self._hold(request, deed_done=True)

    async def _hold(self, request: Request, *, deed_done: bool) -> None:
        assert request.fault is not None
        held = Held(id=uuid4().hex[:8], fault=request.fault.id, call=request.call(), deed_done=deed_done)
        await self.cloud.world.hold(held)


def _response(reply: Reply, request: Request) -> web.Response:
    headers = dict(reply.headers)
    headers["x-ms-request-id"] = headers["x-ms-correlation-request-id"] = str(uuid4())
    if given := request.headers.get("x-ms-client-request-id"):
        headers["x-ms-client-request-id"] = given
    if isinstance(reply.body, bytes):
        return web.Response(status=reply.status, body=reply.body, headers=headers)
    if reply.body is None:
        return web.Response(status=reply.status, headers=headers)
    headers["Content-Type"] = "application/json; charset=utf-8"
    return web.Response(status=reply.status, body=json.dumps(reply.body).encode(), headers=headers)
