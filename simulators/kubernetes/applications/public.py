"""What the server answers to requests from outside the cluster."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from simulators.faults import FaultKind
from simulators.journal import Call
from simulators.kubernetes import kinds
from simulators.kubernetes.applications import api_keys
from simulators.kubernetes.applications.api_keys import Scope
from simulators.kubernetes.applications.components import (
    Component,
    component_of,
    container_of,
    pods_of,
    release_of,
    serving,
)
from simulators.kubernetes.applications.documents import documents
from simulators.kubernetes.applications.metrics import observe, requests_to
from simulators.kubernetes.controllers.pods import is_serving
from simulators.kubernetes.controllers.services import backends_at
from simulators.kubernetes.objects import Object, name_of
from simulators.secrets import SecretKind

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

_NEEDED_BY_API: Final = (Component.STORE, Component.AUTHENTICATION)
_COLLECTION: Final = re.compile(r"/v1/collections/(?P<collection>[\w.-]+)/documents")
_DOCUMENT: Final = re.compile(r"/v1/collections/(?P<collection>[\w.-]+)/documents/(?P<id>[\w.-]+)")


@dataclass(frozen=True)
class Request:
    """One HTTP request as the server sees it."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Keyed by lower-case name."""
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """One HTTP reply; the body is sent as JSON."""

    status: int
    body: Mapping[str, Any]


def answer(cluster: Cluster, namespace: str, service_name: str, request: Request, *, port: int = 443) -> Response:
    """Return what a client gets that reaches this port of the load balancer of this Service.

    A port without ready endpoints answers 503. The API server passes `/auth/…` and `/subscribe/…` on to the
    authentication and the subscription server; these may be behind ports of their own too. Ready pods take turns.
    """
    service = cluster.store.get(kinds.SERVICES, namespace, service_name)
    pods = [pod for pod in backends_at(cluster.store, service, port) if is_serving(pod)] if service else []
    entrance = component_of(pods[0]) if pods else None
    if entrance is None:
        return _unavailable(f"service {namespace}/{service_name} has no ready endpoints at port {port}")
    component = _responsible(entrance, request.path)
    targets = pods if component is entrance else serving(cluster, namespace, component)
    if not targets:
        return _unavailable(f"{component} is unavailable")
    turn = requests_to(cluster, namespace, component) % len(targets)
    server = _Server(cluster, namespace, component, targets[turn])
    begun = time.perf_counter()
    response = server.answer(request)
    observe(cluster, namespace, component, seconds=time.perf_counter() - begun, failed=response.status >= 500)
    return response


def _responsible(entrance: Component, path: str) -> Component:
    if entrance is Component.API and path.startswith("/auth/"):
        return Component.AUTHENTICATION
    if entrance is Component.API and path.startswith("/subscribe/"):
        return Component.SUBSCRIPTION
    return entrance


def _unavailable(message: str) -> Response:
    return Response(503, {"error": message})


@dataclass(frozen=True)
class _Server:
    """One pod of a component, answering one request.

    Faults of the service `server` reach it: the operation is `GET /healthz` and the like, the resource
    `<namespace>/<pod>/<image>`; `error` makes it answer 500.
    """

    cluster: Cluster
    namespace: str
    component: Component
    pod: Object

    def answer(self, request: Request) -> Response:
        """Answer by component and path."""
        if self._fails(request):
            return Response(500, {"error": "internal error"})
        match self.component:
            case Component.API:
                return self._api(request)
            case Component.AUTHENTICATION if request.path == "/auth/login":
                return self._log_in(request)
            case Component.SUBSCRIPTION if request.path == "/subscribe/healthz":
                return Response(200, {"status": "ok"})
        return Response(404, {"error": f"no route {request.method} {request.path}"})

    def _fails(self, request: Request) -> bool:
        container = container_of(self.pod, self.component) or {"image": ""}
        resource = f"{self.namespace}/{name_of(self.pod)}/{container['image']}"
        return self._meets("server", f"{request.method} {request.path}", resource, (FaultKind.ERROR,))

    def _meets(self, service: str, operation: str, resource: str, kinds_of_fault: tuple[FaultKind, ...]) -> bool:
        call = Call(
            at=self.cluster.world.clock.now(),
            service=service,
            operation=operation,
            mutating=False,
            account=self.cluster.account,
            region=self.cluster.region,
            resource=resource,
        )
        return self.cluster.world.faults.meet(call, among=kinds_of_fault) is not None

    # --- API server

    def _api(self, request: Request) -> Response:
        reports = {"/healthz": self._health, "/version": self._version}
        if request.path in reports:
            return reports[request.path]()
        missing = [needed for needed in _NEEDED_BY_API if not serving(self.cluster, self.namespace, needed)]
        if missing:
            return _unavailable(f"{missing[0]} is unavailable")
        collection, document = _COLLECTION.fullmatch(request.path), _DOCUMENT.fullmatch(request.path)
        match request.method:
            case "POST" if collection:
                return self._refused(request, Scope.WRITE) or self._put_document(request, collection["collection"])
            case "GET" if document:
                return self._refused(request, Scope.READ) or self._get_document(document["collection"], document["id"])
        status = 405 if collection or document else 404
        return Response(status, {"error": f"there is no {request.method} {request.path}"})

    def _health(self) -> Response:
        states = {
            component.value: "ok" if serving(self.cluster, self.namespace, component) else "unavailable"
            for component in Component
        }
        if any(states[needed] != "ok" for needed in _NEEDED_BY_API):
            return Response(503, {"status": "unavailable", "components": states})
        return Response(200, {"status": "ok" if set(states.values()) == {"ok"} else "degraded", "components": states})

    def _version(self) -> Response:
        images: dict[str, str] = {}
        for component in Component:
            for pod in pods_of(self.cluster, self.namespace, component)[:1]:
                images[component.value] = (container_of(pod, component) or {"image": ""})["image"]
        return Response(200, {"release": release_of(self.pod, self.component), "components": images})

    def _refused(self, request: Request, scope: Scope) -> Response | None:
        secret = self.cluster.store.get(kinds.SECRETS, self.namespace, api_keys.SECRET)
        now = self.cluster.world.clock.now()
        self.cluster.world.secrets.note(SecretKind.API_KEY, request.headers.get("authorization", "").partition(" ")[2])
        refusal = api_keys.refusal(secret, request.headers.get("authorization", ""), scope, now)
        return Response(refusal[0], {"error": refusal[1]}) if refusal else None

    def _put_document(self, request: Request, collection: str) -> Response:
        document = _decoded(request.body)
        if document is None:
            return Response(400, {"error": "the body must be a JSON object"})
        document_id = str(document.get("id") or uuid4())
        documents(self.cluster).put(self.namespace, collection, document_id, {**document, "id": document_id})
        return Response(201, {"id": document_id})

    def _get_document(self, collection: str, document_id: str) -> Response:
        document = documents(self.cluster).get(self.namespace, collection, document_id)
        if document is None:
            return Response(404, {"error": f"no document {document_id} in {collection}"})
        return Response(200, document)

    # --- authentication server

    def _log_in(self, request: Request) -> Response:
        """Ask the customer's webhook who the user is; a fault of the service `auth-webhook` takes the webhook down."""
        if request.method != "POST":
            return Response(405, {"error": f"{request.method} is not allowed here"})
        configured = self.cluster.store.get(kinds.CONFIG_MAPS, self.namespace, "auth-webhook") or {}
        url = (configured.get("data") or {}).get("url")
        if not url:
            return _unavailable("no auth webhook is configured")
        if not _decoded(request.body):
            return Response(401, {"error": "credentials are required"})
        if self._meets("auth-webhook", "POST", url, tuple(FaultKind)):
            return Response(502, {"error": f"the auth webhook {url} does not answer"})
        return Response(200, {"token": uuid4().hex, "authenticated_by": url})


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
