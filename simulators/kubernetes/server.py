"""The HTTPS endpoint: authenticates, meets faults, dispatches, and writes each call into the journal."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from aiohttp import web

from simulators.faults import Fault, FaultKind
from simulators.journal import Call
from simulators.kubernetes import discovery, watching
from simulators.kubernetes.api import Api, Reply
from simulators.kubernetes.authorization import authorize, review, review_of
from simulators.kubernetes.errors import ApiError, forbidden, no_such_path, unauthorized
from simulators.kubernetes.objects import Object
from simulators.kubernetes.provider import User
from simulators.kubernetes.request import MUTATING, Request, Target, Verb, decoded, target_of, verb_of
from simulators.kubernetes.tables import table, wants_table
from simulators.world import Held, World

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster, KubernetesSimulator

LARGEST_BODY = 3 * 2**20
"""Bytes, as the real server's limit."""
_THROTTLED = "the server has received too many requests and has asked us to try again later"
_AFFLICTIONS = (FaultKind.STUCK, FaultKind.CRASH, FaultKind.CAPACITY)
"""Faults that strike what the call starts, not the call: the controllers let them happen."""


def application(simulator: KubernetesSimulator) -> web.Application:
    """Return the web application that serves every cluster of `simulator`."""
    endpoint = Endpoint(simulator)
    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_route("*", "/clusters/{cluster}{path:/.*|$}", endpoint.serve)
    return app


@dataclass
class _Exchange:
    """One HTTP request on its way, and what is known of it so far."""

    http: web.Request
    cluster: Cluster
    path: str
    """The path within the cluster."""
    call: Call
    user: User | None = None
    target: Target | None = None
    verb: Verb | None = None
    fault: Fault | None = None
    """The rule that took hold of the call."""


class Endpoint:
    """Serves the clusters of one simulator."""

    def __init__(self, simulator: KubernetesSimulator) -> None:
        self._simulator = simulator

    @property
    def _world(self) -> World:
        return self._simulator.world

    async def serve(self, http: web.Request) -> web.StreamResponse:
        """Answer one HTTP request; whatever happens to it is in the journal afterwards."""
        cluster = self._simulator.cluster(http.match_info["cluster"])
        if cluster is None:
            return _hung_up(http)  # an endpoint that does not exist any more does not answer
        path = http.match_info["path"].rstrip("/") or "/"
        call = Call(
            at=self._world.clock.now(),
            service="kubernetes",
            operation=f"{http.method.lower()} {path}",
            mutating=False,
            account=cluster.account,
            region=cluster.region,
            agent=http.headers.get("User-Agent", ""),
        )
        exchange = _Exchange(http, cluster, path, call)
        try:
            return await self._answer(exchange)
        finally:
            self._world.journal.record(exchange.call)

    async def _answer(self, exchange: _Exchange) -> web.StreamResponse:
        body = await exchange.http.read()
        try:
            self._identify(exchange, body)
            self._meet(exchange)
            await self._strike_before(exchange)
            if exchange.verb is Verb.WATCH:
                return await self._watch(exchange)
            reply = self._do(exchange, body)
            _note(exchange, status=reply.status, changed=reply.changed)
        except ApiError as failure:
            _note(exchange, status=failure.status, error=failure.reason)
            if failure.retry_after is not None:
                return _json(failure.body(), failure.status, {"Retry-After": str(failure.retry_after)})
            return _json(failure.body(), failure.status, {})
        if exchange.fault is not None and exchange.fault.kind is FaultKind.LOST_REPLY:
            _note(exchange, status=0)
            return _hung_up(exchange.http)
        if exchange.fault is not None and exchange.fault.kind is FaultKind.HOLD:
            await self._hold(exchange, exchange.fault, deed_done=True)
        return _response(exchange, reply)

    def _identify(self, exchange: _Exchange, body: bytes) -> None:
        """Find out who calls and what the call is about; raises ApiError Unauthorized or NotFound."""
        http = exchange.http
        _, _, token = http.headers.get("Authorization", "").partition(" ")
        self._world.secrets.note_bearer(token)
        exchange.user = exchange.cluster.provider.authenticate(exchange.cluster.id, token) if token else None
        if exchange.user is None:
            raise unauthorized()
        _note(exchange, principal=exchange.user.name)
        if not exchange.path.startswith(("/api/", "/apis/")) or exchange.path.count("/") < 3:
            return
        if reviewed := review_of(exchange.path):
            _note(exchange, operation=f"create {reviewed[1]}")
            return
        try:
            target = target_of(exchange.path)
            if target.kind not in exchange.cluster.kinds:
                raise no_such_path()
        except ApiError:
            if http.method == "GET":
                return  # perhaps the list of a group's resources
            raise
        exchange.target, exchange.verb = target, verb_of(http.method, target, http.query)
        resource = target.kind.plural + (f"/{target.subresource}" if target.subresource else "")
        name = target.name or (_posted_name(body) if exchange.verb is Verb.CREATE else "")
        _note(
            exchange,
            operation=f"{exchange.verb} {resource}",
            mutating=exchange.verb in MUTATING and http.query.get("dryRun") != "All",
            resource="/".join(filter(None, (target.namespace, name))),
        )

    def _meet(self, exchange: _Exchange) -> None:
        exchange.fault = self._world.faults.meet(exchange.call)
        if exchange.fault is not None:
            _note(exchange, fault=exchange.fault.id)

    async def _strike_before(self, exchange: _Exchange) -> None:
        """Let a fault strike that comes before the deed; raises the ApiError that it answers with."""
        fault = exchange.fault
        if fault is None:
            return
        match fault.kind:
            case FaultKind.SLOW:
                await asyncio.sleep(fault.seconds)
            case FaultKind.HOLD_BEFORE:
                await self._hold(exchange, fault, deed_done=False)
            case FaultKind.THROTTLE:
                message = fault.message or _THROTTLED
                raise ApiError(429, fault.code or "TooManyRequests", message, retry_after=1)
            case FaultKind.ERROR:
                message = fault.message or "Internal error occurred: etcdserver: request timed out"
                raise ApiError(500, fault.code or "InternalError", message)
            case FaultKind.REVOKE:
                raise _revoked(exchange, fault)
            case FaultKind.QUOTA:
                raise _over_quota(exchange, fault)

    async def _hold(self, exchange: _Exchange, fault: Fault, *, deed_done: bool) -> None:
        """Wait until the hold is released; a caller that hangs up cancels this task, and with it what would follow."""
        status = exchange.call.status
        _note(exchange, status=0)
        held = Held(id=uuid4().hex[:8], fault=fault.id, call=exchange.call, deed_done=deed_done)
        await self._world.hold(held)
        _note(exchange, status=status)

    def _do(self, exchange: _Exchange, body: bytes) -> Reply:
        user, cluster = exchange.user, exchange.cluster
        if user is None:
            raise unauthorized()
        if exchange.target is None or exchange.verb is None:
            return self._say(exchange, user, body)
        request = _request(exchange, user, exchange.target, exchange.verb, body)
        authorize(request)
        reply = Api(cluster).answer(request)
        if exchange.fault is not None and exchange.fault.kind in _AFFLICTIONS and reply.changed:
            name = exchange.call.resource.rpartition("/")[2]
            cluster.afflict(exchange.target.kind, exchange.target.namespace, name, exchange.fault)
        return reply

    def _say(self, exchange: _Exchange, user: User, body: bytes) -> Reply:
        """Answer what is not about stored objects: a review, or what the server says about itself."""
        cluster, http = exchange.cluster, exchange.http
        if (reviewed := review_of(exchange.path)) and http.method == "POST":
            content_type = http.headers.get("Content-Type", "")
            # kubectl asks in protobuf. What it asks does not matter: who may do anything may do everything here.
            asked = {} if "protobuf" in content_type else decoded(body, content_type)
            return Reply(201, review(reviewed, asked, user, cluster.provider, cluster.id))
        if http.method not in ("GET", "HEAD"):
            raise no_such_path()
        accept, prefix = http.headers.get("Accept", ""), f"/clusters/{cluster.id}"
        return Reply(
            200, discovery.answer(exchange.path, accept, version=cluster.version, prefix=prefix, served=cluster.kinds)
        )

    async def _watch(self, exchange: _Exchange) -> web.StreamResponse:
        if exchange.user is None or exchange.target is None:
            raise no_such_path()
        request = _request(exchange, exchange.user, exchange.target, Verb.WATCH, b"")
        authorize(request)
        kind = exchange.target.kind
        as_table = wants_table(exchange.http.headers.get("Accept", ""))
        render = (lambda obj: table(kind, [obj], exchange.cluster.store)) if as_table else _as_it_is
        lines = watching.stream(exchange.cluster, request, render)
        first = await anext(lines)  # an expired version is an error reply, not a line
        _note(exchange, status=200)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(exchange.http)
        try:
            await response.write(first)
            async for line in lines:
                await response.write(line)
        except ConnectionResetError:
            pass  # the client has seen enough
        finally:
            await lines.aclose()
        return response


def _as_it_is(obj: Object) -> Object:
    return obj


def _note(exchange: _Exchange, **facts: object) -> None:
    exchange.call = exchange.call.model_copy(update=facts)


def _request(exchange: _Exchange, user: User, target: Target, verb: Verb, body: bytes) -> Request:
    headers = exchange.http.headers
    return Request(
        verb=verb,
        target=target,
        user=user,
        query=exchange.http.query,
        content_type=headers.get("Content-Type", ""),
        agent=headers.get("User-Agent", ""),
        body=body,
    )


def _posted_name(body: bytes) -> str:
    """Return the name of the object in a request's body, empty if there is none to find."""
    try:
        metadata = json.loads(body).get("metadata") or {}
    except (ValueError, AttributeError):
        return ""
    return str(metadata.get("name") or metadata.get("generateName") or "")


def _revoked(exchange: _Exchange, fault: Fault) -> ApiError:
    user = exchange.user.name if exchange.user else ""
    if exchange.target is None or exchange.verb is None:
        message = f'forbidden: User "{user}" cannot get path "{exchange.path}"'
        return ApiError(403, fault.code or "Forbidden", fault.message or message)
    target = exchange.target
    failure = forbidden(
        user,
        exchange.verb,
        target.kind,
        namespace=target.namespace,
        name=target.name,
        subresource=target.subresource,
    )
    failure.message = fault.message or failure.message
    return failure


def _over_quota(exchange: _Exchange, fault: Fault) -> ApiError:
    target = exchange.target
    resource = target.kind.plural if target else "pods"
    _, _, name = exchange.call.resource.rpartition("/")
    message = (
        f'{resource} "{name}" is forbidden: exceeded quota: {resource}, requested: count/{resource}=1, '
        f"used: count/{resource}=1, limited: count/{resource}=1"
    )
    return ApiError(403, fault.code or "Forbidden", fault.message or message, details={"name": name, "kind": resource})


def _response(exchange: _Exchange, reply: Reply) -> web.Response:
    headers = {"Warning": ", ".join(f'299 - "{text}"' for text in reply.warnings)} if reply.warnings else {}
    if isinstance(reply.body, str):
        return web.Response(text=reply.body, headers=headers)
    body = reply.body
    accept = exchange.http.headers.get("Accept", "")
    if exchange.target is not None and exchange.verb in (Verb.GET, Verb.LIST) and wants_table(accept):
        items = body["items"] if exchange.verb is Verb.LIST else [body]
        body = table(exchange.target.kind, items, exchange.cluster.store, body.get("metadata"))
    if body.get("kind") == discovery.AGGREGATED_KIND:
        return _json(body, reply.status, headers, discovery.AGGREGATED_TYPE)
    return _json(body, reply.status, headers)


def _json(body: Object, status: int, headers: dict[str, str], content_type: str = "application/json") -> web.Response:
    encoded = json.dumps(body).encode()
    return web.Response(body=encoded, status=status, headers={**headers, "Content-Type": content_type})


def _hung_up(http: web.Request) -> web.Response:
    """Close the connection without a reply; the response that is returned reaches nobody."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response(status=503)
