"""Resource Manager: the plane on which everything is made, changed and deleted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from simulators.azure.api import Check, Deed, Reply, Request
from simulators.azure.cloud import AUDIENCES, Cloud
from simulators.azure.identities import OWNER_TOKEN
from simulators.azure.ids import ResourceId, parsed, subscription_of
from simulators.azure.kinds import Kind
from simulators.azure.refusals import Json, Refusal, invalid
from simulators.azure.resources import Resources

HOST = "management.azure.com"
_LOGIN = "https://login.microsoftonline.com"
_VERBS = {"PUT": "write", "PATCH": "write", "GET": "read", "HEAD": "read", "DELETE": "delete"}


@dataclass(frozen=True)
class Route:
    """What is called at a path of its own, beside the resources."""

    method: str
    pattern: str
    """Of the whole path, without regard to case."""
    service: str
    operation: str
    """What Azure calls the action, without the namespace."""
    deed: Callable[[Request, re.Match[str]], Reply]
    action: str = ""
    """What the caller needs; empty where whoever is of the tenant may call."""
    scope: str = ""
    """Of that: a template of the pattern's groups."""
    changes: bool = True
    """Whether a call that does not read changes anything."""


class ResourceManager:
    """Fulfils `Plane`."""

    def __init__(self, cloud: Cloud, resources: Resources, routes: Iterable[Route]) -> None:
        self._cloud = cloud
        self._resources = resources
        self._routes = [(re.compile(route.pattern, re.IGNORECASE), route) for route in routes]

    def serves(self, _request: Request) -> bool:
        """Return True: what no other plane serves is for this one."""
        return True

    def understand(self, request: Request) -> Deed:
        """Find the route or the kind of resource that the path is about."""
        request.subscription = subscription_of(request.path)
        request.resource = request.path.rstrip("/")
        token = request.headers.get("authorization", "").partition(" ")[2]
        if token.startswith(OWNER_TOKEN):
            self._cloud.subscription_ready(token.removeprefix(OWNER_TOKEN))
        with contextlib.suppress(Refusal):
            self._cloud.authenticate(request, *AUDIENCES)
        return partial(self._admitted, request, self._understood(request))

    def _understood(self, request: Request) -> Deed:
        for pattern, route in self._routes:
            found = pattern.fullmatch(request.resource) if route.method == request.method else None
            if found is not None:
                request.service, request.operation = route.service, route.operation
                request.mutating = route.changes and request.method not in ("GET", "HEAD")
                holder = parsed(request.resource)
                request.region = self._region(request, holder) if holder is not None else ""
                return partial(self._route, request, route, found)
        resource = parsed(request.resource)
        return self._about(request, resource) if resource is not None else partial(_unknown, request)

    def _about(self, request: Request, resource: ResourceId) -> Deed:
        """Understand a call about a resource or a collection."""
        request.service = resource.namespace.rpartition(".")[2].lower()
        request.region = self._region(request, resource)
        kind = self._resources.kind_of(resource)
        verb = _VERBS.get(request.method)
        if kind is None or verb is None:
            request.operation = f"{'/'.join(resource.parts[::2])}/{verb or 'action'}"
            return partial(_unknown, request)
        request.operation, request.mutating = f"{kind.short_type}/{verb}", verb != "read"
        return self._deed(request, resource, kind)

    def _deed(self, request: Request, resource: ResourceId, kind: Kind) -> Deed:
        if not resource.is_resource:
            return partial(self._resources.list, request, resource, kind)
        match request.method:
            case "PUT":
                return partial(self._resources.put, request, resource, kind)
            case "PATCH":
                return partial(self._resources.patch, request, resource, kind)
            case "DELETE":
                return partial(self._resources.delete, request, resource, kind)
        return partial(self._resources.get, request, resource, kind)

    def _region(self, request: Request, resource: ResourceId) -> str:
        """Return where a resource is, or is to be made."""
        known = self._cloud.records.region_of(resource)
        if known or request.method != "PUT":
            return known
        with contextlib.suppress(Refusal):
            named = str(request.body.get("location") or "").replace(" ", "").lower()
            return named if named != "global" else ""
        return ""

    def _route(self, request: Request, route: Route, found: re.Match[str]) -> Reply:
        if route.action:
            given = found.groupdict()
            self._cloud.require(request, Check(route.action.format(**given), route.scope.format(**given)))
        return route.deed(request, found)

    def _admitted(self, request: Request, deed: Deed) -> Reply:
        """Refuse who is nobody and what is nowhere, then do the deed."""
        subscription = self._cloud.identities.subscriptions.get(request.subscription)
        if request.principal is None:
            self._cloud.authenticate(request, *AUDIENCES)
            raise self._unauthenticated(request)
        if request.subscription and subscription is None:
            message = f"The subscription '{request.subscription}' could not be found."
            raise Refusal(404, "SubscriptionNotFound", message)
        if "api-version" not in request.query:
            raise invalid(
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        return deed()

    def _unauthenticated(self, request: Request) -> Refusal:
        """Tell the tenant of the subscription, as Azure does to anybody."""
        subscription = self._cloud.identities.subscriptions.get(request.subscription)
        tenant = subscription.tenant if subscription is not None else "common"
        challenge = f'Bearer authorization_uri="{_LOGIN}/{tenant}", error="invalid_token"'
        if not request.headers.get("authorization"):
            return Refusal(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
                headers={"WWW-Authenticate": challenge},
            )
        if subscription is not None and self._is_of_another_tenant(request):
            return Refusal(
                401,
                "InvalidAuthenticationTokenTenant",
                f"The access token is from the wrong issuer. It must match the tenant '{_LOGIN}/{tenant}' associated"
                " with this subscription.",
                headers={"WWW-Authenticate": challenge},
            )
        text = "The access token is invalid or has expired."
        return Refusal(401, "ExpiredAuthenticationToken", text, headers={"WWW-Authenticate": challenge})

    def _is_of_another_tenant(self, request: Request) -> bool:
        token = request.headers["authorization"].partition(" ")[2]
        return self._cloud.identities.principal_of(token, *AUDIENCES) is not None

    def refused(self, refusal: Refusal, request: Request) -> Reply:  # noqa: ARG002 - other planes' envelopes vary
        """Return the error's JSON."""
        body: Json = {"error": refusal.error()}
        return Reply(body, refusal.status, refusal.headers)

    def forget(self) -> None:
        """Forget every operation; the cloud forgets the resources."""
        self._resources.operations.forget()


def _unknown(request: Request) -> Reply:
    resource = parsed(request.resource)
    if resource is None:
        raise Refusal(404, "NotFound", f"No route is found for '{request.method} {request.path}'.")
    kind = "/".join(resource.parts[::2])
    raise Refusal(
        404,
        "InvalidResourceType",
        f"The resource type '{kind}' could not be found in the namespace '{resource.namespace}' for api version"
        f" '{request.query.get('api-version', '')}'.",
    )
