"""The public internet, as far as clients of a deployment need it: a proxy that leads hostnames into clusters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from simulators.kubernetes.applications import Request, Response, answer
from simulators.kubernetes.certificates import CertificateAuthority
from simulators.kubernetes.provider import Destination
from simulators.kubernetes.simulator import KubernetesSimulator
from simulators.world import World

_LONGEST_HEAD = 8192
_HEAD_TIMEOUT = 30.0
"""Real seconds within which a client has to say where it wants to go."""


class NameService(Protocol):
    """The public DNS and the load balancers, as the clouds of one world have them."""

    def resolve(self, hostname: str, port: int = 443) -> Destination | None:
        """Return where a name and a port lead, or None if they lead nowhere."""

    def has_certificate(self, hostname: str, port: int = 443) -> bool:
        """Return whether the listener behind the name presents an issued certificate that covers it."""


class PublicNames:
    """The public DNS of several clouds together."""

    def __init__(self, services: Iterable[NameService]) -> None:
        self._services = list(services)

    def add(self, service: NameService) -> None:
        """Let the names of one more cloud be found."""
        self._services.append(service)

    def resolve(self, hostname: str, port: int = 443) -> Destination | None:
        """Return where a name and a port lead in the first cloud that knows them, or None."""
        return next(filter(None, (service.resolve(hostname, port) for service in self._services)), None)

    def has_certificate(self, hostname: str, port: int = 443) -> bool:
        """Return whether a cloud's load balancer presents a certificate for the name at that port."""
        return any(service.has_certificate(hostname, port) for service in self._services)


@dataclass
class Traffic:
    """What clients experienced at one hostname."""

    requests: int = 0
    """Requests, and connections that failed before a request could be sent."""
    failures: int = 0
    """Those that failed by no fault of the client: no connection, or a status of 500 or more."""

    def count(self, *, failed: bool) -> None:
        """Count one request or failed connection."""
        self.requests += 1
        self.failures += failed


class Internet:
    """An HTTP proxy on 127.0.0.1 that tunnels (`CONNECT host:port`) to the servers in simulated clusters.

    A name that leads nowhere gets 502. A name whose listener has no certificate is connected and then dropped, as a
    TLS handshake with such a listener fails. Every request looks the name up again, so that a connection that is kept
    open sees what a new one would see.
    """

    def __init__(self, world: World, kubernetes: KubernetesSimulator, names: NameService) -> None:
        self.world = world
        self.proxy_url = ""
        self.traffic: dict[str, Traffic] = {}
        """Keyed by hostname."""
        self._kubernetes = kubernetes
        self._names = names
        self._authority = CertificateAuthority("simulated-public-ca")
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._server: asyncio.Server | None = None
        self._tunnels: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    @property
    def ca_pem(self) -> bytes:
        """The authority that signs the certificates which public endpoints present."""
        return self._authority.pem

    @property
    def authority(self) -> CertificateAuthority:
        """Whom clients of public endpoints trust."""
        return self._authority

    async def start(self, port: int = 0) -> None:
        """Listen; `proxy_url` is known afterwards."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, limit=_LONGEST_HEAD)
        self.proxy_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and close every tunnel."""
        if self._server is not None:
            self._server.close()
        tunnels = dict(self._tunnels)
        for writer in tunnels:
            writer.transport.abort()
        await asyncio.gather(*filter(None, tunnels.values()), return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _of(self, hostname: str) -> Traffic:
        return self.traffic.setdefault(hostname, Traffic())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tunnels[writer] = asyncio.current_task()
        try:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError):
                await self._tunnel(reader, writer)
        finally:
            del self._tunnels[writer]
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a CONNECT request and let the named server speak TLS over the connection."""
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            await _refuse(writer, 431, "Request Header Fields Too Large")
            return
        method, target, _ = head.decode("latin-1").split("\r\n", 1)[0].split(" ", 2)
        hostname, _, port = target.rpartition(":")
        hostname = hostname.lower().rstrip(".")
        if method != "CONNECT" or not port.isdecimal():
            await _refuse(writer, 405, "Method Not Allowed")
        elif self._names.resolve(hostname, int(port)) is None:
            self._of(hostname).count(failed=True)
            await _refuse(writer, 502, "Bad Gateway")
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            if self._names.has_certificate(hostname, int(port)):
                await self._serve(writer, hostname, int(port))
            else:
                self._of(hostname).count(failed=True)

    async def _serve(self, writer: asyncio.StreamWriter, hostname: str, port: int) -> None:
        """Speak HTTP over TLS for `hostname` until the client hangs up."""

        async def handle(request: web.BaseRequest) -> web.Response:
            return await self._answer(hostname, port, request)

        site = web.Server(handle, access_log=None)
        protocol = _Tunnelled(site, loop=asyncio.get_running_loop())
        if hostname not in self._contexts:
            self._contexts[hostname] = self._authority.server_context((hostname,))
        context = self._contexts[hostname]
        transport = await asyncio.get_running_loop().start_tls(writer.transport, protocol, context, server_side=True)
        if transport is None:
            return
        protocol.connection_made(transport)
        try:
            await protocol.ended.wait()
        finally:
            await site.shutdown(0)
            transport.close()

    async def _answer(self, hostname: str, port: int, request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.path, headers, await request.read())
        response = self._respond(hostname, port, asked)
        if response.seconds:
            await asyncio.sleep(response.seconds)
        self._of(hostname).count(failed=response.status >= 500)
        return web.json_response(
            response.body,
            status=response.status,
            # Clients judge by the server's time whether a key of theirs has expired, and it judges by simulated time.
            headers={"Date": format_datetime(self.world.clock.now(), usegmt=True)},
        )

    def _respond(self, hostname: str, port: int, request: Request) -> Response:
        found = self._names.resolve(hostname, port)
        cluster = self._kubernetes.cluster(found.cluster_id) if found else None
        if found is None or cluster is None:
            return Response(503, {"error": f"{hostname} leads to no server"})
        return answer(cluster, found.namespace, found.service, request, port=found.port)


class _Tunnelled(RequestHandler):
    """aiohttp's HTTP server for one connection, which tells when the connection has ended."""

    def __init__(self, site: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(site, loop=loop)
        self.ended = asyncio.Event()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note the end."""
        super().connection_lost(exc)
        self.ended.set()


async def _refuse(writer: asyncio.StreamWriter, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    writer.write(
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()
