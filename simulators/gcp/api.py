"""What a call to a Google API is: which method, of which service, about what, by whom, and what it must be allowed."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from simulators.faults import Fault
from simulators.gcp.refusals import Json
from simulators.journal import Call

_PROJECT = re.compile(r"(?:^|/)projects/([^/:]+)")
_PLACE = re.compile(r"/(?:locations|regions|zones)/([^/:]+)")
_ZONE = re.compile(r"(.+\d)-[a-z]")
_ACCOUNT = re.compile(r"serviceAccounts/[^@/]+@([^./]+)\.iam\.gserviceaccount\.com")
_NAMES = ("name", "parent", "resource")


@dataclass(frozen=True)
class Check:
    """One permission on one resource that the caller must have."""

    permission: str
    resource: str
    """Name without the service: `projects/p/zones/z/disks/d`, `projects/_/buckets/b`."""
    type: str = ""
    """`compute.googleapis.com/Disk`, for conditions."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What `api.getAttribute` finds."""


@dataclass
class Request:
    """One call, understood."""

    method: Method
    parameters: Json
    """The gRPC message as JSON, or path and query of an HTTP request, with `body`."""
    agent: str
    at: datetime
    project: str = ""
    region: str = ""
    resource: str = ""
    principal: str = ""
    """`serviceAccount:…`, `user:…`; empty before authentication."""
    fault: Fault | None = None
    had_effect: bool = True
    """Whether a success changed the world, as far as the service said."""

    @property
    def body(self) -> Json:
        """The JSON body of an HTTP request."""
        body: Json = self.parameters.get("body") or {}
        return body

    def call(self, *, status: int = 0, error: str = "", changed: bool = False) -> Call:
        """Return the journal's record of this call."""
        return Call(
            at=self.at,
            service=self.method.service,
            operation=self.method.name,
            mutating=self.method.mutating,
            account=self.project,
            region=self.region,
            principal=self.principal,
            agent=self.agent,
            resource=self.resource,
            status=status,
            error=error,
            changed=changed,
            fault=self.fault.id if self.fault is not None else "",
        )


@dataclass(frozen=True)
class Media:
    """A reply that is not JSON."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200


Answer = Json | Media
Deed = Callable[[Request], Answer | Awaitable[Answer]]


class Checks(Protocol):
    """Tells what the caller of a method must be allowed."""

    def __call__(self, request: Request, /) -> Iterable[Check]:
        """Return the checks, in the order in which they are made."""


@dataclass(frozen=True)
class Place:
    """Where a call happens and what it is about."""

    project: str = ""
    region: str = ""
    resource: str = ""


def region_of(place: str) -> str:
    """Return the region of a region or zone."""
    zone = _ZONE.fullmatch(place)
    return zone[1] if zone else place


def place_of(name: str) -> Place:
    """Read project, region and resource from a resource's name."""
    project, place = _PROJECT.search(name), _PLACE.search(name)
    found = project[1] if project else ""
    if found in ("", "-") and (account := _ACCOUNT.search(name)):
        found = account[1]
    return Place(found, region_of(place[1]) if place else "", name)


def named_place(parameters: Json) -> Place:
    """Find the resource that a request names, in any of the fields where Google's APIs name it."""
    for key in _NAMES:
        if value := parameters.get(key):
            return place_of(str(value))
    for value in parameters.values():
        if isinstance(value, dict) and "name" in value:
            return place_of(str(value["name"]))
    return Place()


@dataclass(frozen=True)
class Method:
    """One operation of one service."""

    service: str
    """Of the journal and of faults: `compute`, `container`, `iam`."""
    name: str
    """`networks.insert`, or `CreateCluster` where the SDK calls by gRPC."""
    deed: Deed
    mutating: bool
    checks: Checks
    place: Callable[[Json], Place] = named_place
    public: bool = False
    """Whether anybody may call it, without credentials."""

    @property
    def api(self) -> str:
        """The API that must be enabled in the project."""
        return f"{HOSTS.get(self.service, self.service)}.googleapis.com"


HOSTS: Mapping[str, str] = {"kms": "cloudkms", "resourcemanager": "cloudresourcemanager"}
"""Where the API has another name than the service in the journal."""


@dataclass(frozen=True)
class Rpc:
    """A method that is called by gRPC."""

    interface: str
    """`google.container.v1.ClusterManager`."""
    name: str
    request: str
    """Full name of the message."""
    response: str
    method: Method


class Service(Protocol):
    """What every simulated service offers."""

    def rpcs(self) -> Iterable[Rpc]:
        """Return the methods that are called by gRPC."""

    def route(self, http_method: str, path: str) -> tuple[Method, Json] | None:
        """Return the method behind an HTTP path, with the path's parameters, or None if it is not of this service."""

    def forget(self) -> None:
        """Forget every project."""


class RpcService:
    """A service without an HTTP side."""

    def route(self, _http_method: str, _path: str) -> tuple[Method, Json] | None:
        """Return None: nothing is served by HTTP."""
        return None


class HttpService:
    """A service without a gRPC side."""

    def rpcs(self) -> Iterable[Rpc]:
        """Return nothing."""
        return ()


def needs(permission: str, key: str = "name", type_: str = "") -> Checks:
    """Return the check of one permission on the resource that the request names in `key`."""

    def checks(request: Request, /) -> Iterator[Check]:
        yield Check(permission, str(request.parameters.get(key, "")), type_)

    return checks


def needs_nothing(_request: Request, /) -> Iterable[Check]:
    """Return no check: whoever is authenticated may call."""
    return ()


def page_of(items: list[Json], key: str, parameters: Json) -> Json:
    """Return one page of a list, in the manner of `pageSize` and `pageToken` (or `maxResults`)."""
    size = int(parameters.get("pageSize") or parameters.get("maxResults") or 0) or 500
    start = int(parameters.get("pageToken") or 0)
    reply: Json = {key: items[start : start + size]} if items else {}
    if start + size < len(items):
        reply["nextPageToken"] = str(start + size)
    return reply


def stamp(moment: datetime) -> str:
    """Return a time as RFC 3339 writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
