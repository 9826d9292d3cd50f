"""The HTTP side: the APIs that the SDKs call as JSON over HTTP, all on one loopback port."""

from __future__ import annotations

import json
from urllib.parse import unquote

from aiohttp import web

from simulators.gcp.api import Media, Method
from simulators.gcp.front import Front, Withheld
from simulators.gcp.refusals import Json, Refusal, not_found

_LARGEST_BODY = 64 * 2**20
_SHUTDOWN_TIMEOUT = 0.1
"""Real seconds."""


class HttpServer:
    """Serves HTTP for one cloud."""

    def __init__(self, front: Front) -> None:
        self._front = front
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
        content = await http.read()
        path = http.raw_path.partition("?")[0]
        found = self._find(http.method, path)
        if found is None:
            return _refused(not_found(f"The requested URL {path} was not found on this server."), "")
        method, parameters = found
        given = dict(http.query) | parameters | {"base": self.url, "content": content, "headers": dict(http.headers)}
        if content and "json" in http.headers.get("Content-Type", "json"):
            try:
                given["body"] = json.loads(content)
            except ValueError:
                given["body"] = {}
        try:
            answer = await self._front.answer(
                method, given, authorization=http.headers.get("Authorization", ""), agent=_agent(http)
            )
        except Refusal as refusal:
            return _refused(refusal, method.service)
        except Withheld:
            if http.transport is not None:
                http.transport.abort()
            return web.Response()
        if isinstance(answer, Media):
            return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)
        return web.json_response(answer) if answer else web.Response(status=204)

    def _find(self, http_method: str, path: str) -> tuple[Method, Json] | None:
        for service in self._front.services:
            if found := service.route(http_method, path):
                method, parameters = found
                return method, {key: unquote(value) for key, value in parameters.items() if value is not None}
        return None


def _agent(http: web.Request) -> str:
    return " ".join(filter(None, (http.headers.get("User-Agent"), http.headers.get("X-Goog-Api-Client"))))


def _refused(refusal: Refusal, service: str) -> web.Response:
    return web.json_response(refusal.body(service), status=refusal.http)
