"""What the server answers to requests from outside the cluster."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from simulators.faults import Fault, FaultKind
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
from simulators.kubernetes.applications.metrics import observe
from simulators.kubernetes.applications.targets import drains, next_of, targets
from simulators.kubernetes.objects import Object, name_of
from simulators.secrets import SecretKind

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

_NEEDED_BY_API: Final = (Component.STORE, Component.AUTHENTICATION)
_BEHIND_API: Final = {"/auth/": Component.AUTHENTICATION, "/subscribe/": Component.SUBSCRIPTION}
_HEALTH: Final = {
    Component.STORE: "/healthz",
    Component.AUTHENTICATION: "/auth/healthz",
    Component.API: "/healthz",
    Component.SUBSCRIPTION: "/subscribe/healthz",
    Component.CDC: "/healthz",
}
"""Where each component says how it is."""
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
    seconds: float = field(default=0.0, compare=False)
    """Real time that a `slow` fault makes the client wait for it."""
    passed_on: bool = field(default=False, compare=False)
    """Whether it is another component's answer: a failure is not the fault of the one that passes it on."""


def answer(cluster: Cluster, namespace: str, service_name: str, request: Request, *, port: int = 443) -> Response:
    """Return what a client gets that reaches this port of the load balancer of this Service.

    A port without endpoints answers 503. Ready pods take turns, and for a moment so do those that have been told to
    stop: one that does not go on serving meanwhile makes the load balancer answer 502.
    """
    service = cluster.store.get(kinds.SERVICES, namespace, service_name)
    pods = targets(cluster, service, port) if service else []
    entrance = component_of(pods[0]) if pods else None
    if entrance is None:
        return _unavailable(f"service {namespace}/{service_name} has no ready endpoints at port {port}")
    pod = next_of(cluster, pods)
    if not drains(cluster, pod):
        return Response(502, {"error": f"{name_of(pod)} does not answer any more"})
    return _Server(cluster, namespace, entrance, pod).serve(request)


def _unavailable(message: str) -> Response:
    return Response(503, {"error": message})


@dataclass(frozen=True)
class _Server:
    """One pod of a component, answering one request.

    Faults of the service `server` reach it: the operation is `GET /healthz` and the like, the resource
    `<namespace>/<pod>/<image>`; `error` makes it answer 500, `slow` later. The API server passes `/auth/…` and
    `/subscribe/…` on to the authentication and the subscription server, asks the store for documents, and all of them
    how they are when it is asked for `/healthz`.
    """

    cluster: Cluster
    namespace: str
    component: Component
    pod: Object

    def serve(self, request: Request) -> Response:
        """Answer, and count the answer."""
        begun = time.perf_counter()
        slow = self._met(request, FaultKind.SLOW)
        if self._met(request, FaultKind.ERROR):
            response = Response(500, {"error": "internal error"})
        else:
            response = self._answer(request)
        if slow is not None:
            response = replace(response, seconds=response.seconds + slow.seconds)
        seconds = time.perf_counter() - begun + response.seconds
        failed = response.status >= 500 and not response.passed_on
        observe(self.cluster, self.pod, seconds=seconds, failed=failed)
        return response

    def _answer(self, request: Request) -> Response:
        if request.method == "GET" and request.path == _HEALTH[self.component]:
            return self._health() if self.component is Component.API else Response(200, {"status": "ok"})
        match self.component:
            case Component.API:
                return self._api(request)
            case Component.STORE:
                return self._store(request)
            case Component.AUTHENTICATION if request.path == "/auth/login":
                return self._log_in(request)
        return Response(404, {"error": f"no route {request.method} {request.path}"})

    def _pass_on(self, component: Component, request: Request) -> Response:
        """Return what a ready pod of another component answers; they take turns."""
        ready = serving(self.cluster, self.namespace, component)
        if not ready:
            return replace(_unavailable(f"{component} is unavailable"), passed_on=True)
        pod = next_of(self.cluster, ready)
        return replace(_Server(self.cluster, self.namespace, component, pod).serve(request), passed_on=True)

    def _met(self, request: Request, kind: FaultKind) -> Fault | None:
        container = container_of(self.pod, self.component) or {"image": ""}
        resource = f"{self.namespace}/{name_of(self.pod)}/{container['image']}"
        return self._meets("server", f"{request.method} {request.path}", resource, (kind,))

    def _meets(
        self, service: str, operation: str, resource: str, kinds_of_fault: tuple[FaultKind, ...]
    ) -> Fault | None:
        call = Call(
            at=self.cluster.world.clock.now(),
            service=service,
            operation=operation,
            mutating=False,
            account=self.cluster.account,
            region=self.cluster.region,
            resource=resource,
        )
        return self.cluster.world.faults.meet(call, among=kinds_of_fault)

    # --- API server

    def _api(self, request: Request) -> Response:
        if request.path == "/version":
            return self._version()
        behind = next((each for prefix, each in _BEHIND_API.items() if request.path.startswith(prefix)), None)
        if behind is not None:
            return self._pass_on(behind, request)
        missing = [needed for needed in _NEEDED_BY_API if not serving(self.cluster, self.namespace, needed)]
        if missing:
            return replace(_unavailable(f"{missing[0]} is unavailable"), passed_on=True)
        collection, document = _COLLECTION.fullmatch(request.path), _DOCUMENT.fullmatch(request.path)
        match request.method:
            case "POST" if collection:
                return self._refused(request, Scope.WRITE) or self._pass_on(Component.STORE, request)
            case "GET" if document:
                return self._refused(request, Scope.READ) or self._pass_on(Component.STORE, request)
        status = 405 if collection or document else 404
        return Response(status, {"error": f"there is no {request.method} {request.path}"})

    def _health(self) -> Response:
        answers = {
            component: self._pass_on(component, Request("GET", _HEALTH[component]))
            for component in Component
            if component is not Component.API
        }
        ok = {component for component in Component if component not in answers or answers[component].status < 500}
        states = {component.value: "ok" if component in ok else "unavailable" for component in Component}
        seconds = sum(answer.seconds for answer in answers.values())
        if not ok.issuperset(_NEEDED_BY_API):
            return Response(503, {"status": "unavailable", "components": states}, seconds, passed_on=True)
        return Response(200, {"status": "ok" if len(ok) == len(states) else "degraded", "components": states}, seconds)

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

    # --- store

    def _store(self, request: Request) -> Response:
        collection, document = _COLLECTION.fullmatch(request.path), _DOCUMENT.fullmatch(request.path)
        if collection:
            return self._put_document(request, collection["collection"])
        if document:
            return self._get_document(document["collection"], document["id"])
        return Response(404, {"error": f"no route {request.method} {request.path}"})

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
