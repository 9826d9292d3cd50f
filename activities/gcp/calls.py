"""What a call to Google's APIs does: which operation of which service, on what, and whether it changes something.

The names are those of Google's audit logs and references: `compute` `networks.insert` for an API over HTTP, `container`
`CreateCluster` for one over gRPC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from activities.cloud_call import CloudCall
from domain.audit import Resource

_SERVICES = {
    "google.api.serviceusage.v1": "serviceusage",
    "google.cloud.certificatemanager.v1": "certificatemanager",
    "google.cloud.kms.v1": "kms",
    "google.cloud.resourcemanager.v3": "resourcemanager",
    "google.container.v1": "container",
    "google.iam.admin.v1": "iam",
    "google.iam.credentials.v1": "iamcredentials",
    "google.longrunning": "longrunning",
    "google.monitoring.v3": "monitoring",
}
"""What an API is called, keyed by the package of its interface."""

_LOOKS_ONLY = re.compile(r"(Get|List|Search|Query|Test|Generate|Fetch|Lookup)[A-Z]")
"""Names of gRPC methods that change nothing. Whatever is named otherwise counts as a change."""

_HTTP = (
    (
        "compute",
        re.compile(r"/compute/v1/projects/[^/]+/(?:global|(?:regions|zones)/[^/]+)/(\w+)(?:/([^/]+))?(?:/(\w+))?"),
        {"POST": "insert", "PATCH": "patch", "PUT": "update", "DELETE": "delete", "GET": "get"},
    ),
    (
        "storage",
        re.compile(r"(?:/upload)?/storage/v1/b(?:/([^/]+)(?:/(o|iam|lockRetentionPolicy)(?:/(.+))?)?)?"),
        {"POST": "insert", "PATCH": "patch", "PUT": "update", "DELETE": "delete", "GET": "get"},
    ),
    (
        "dns",
        re.compile(r"/dns/v1/projects/[^/]+/managedZones(?:/([^/]+)(?:/(\w+)(?:/.+)?)?)?"),
        {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete", "GET": "get"},
    ),
)


def http_call(method: str, url: str, body: object = None) -> CloudCall:
    """Return what a request of an API over HTTP is."""
    path = urlsplit(url).path
    changes = method not in ("GET", "HEAD")
    for service, pattern, verbs in _HTTP:
        if found := pattern.fullmatch(path):
            named = [unquote(part) if part else "" for part in found.groups()]
            operation, kind, identifier = _HTTP_READERS[service](named, verbs.get(method, method), _name_in(body))
            resources = (Resource(kind=f"{service}:{kind}", id=identifier),) if identifier else ()
            return CloudCall(service, operation, changes, resources)
    return CloudCall(urlsplit(url).hostname or "", f"{method} {path}", changes)


def rpc_call(path: str, request: object, response: object = None) -> CloudCall:
    """Return what a call of an API over gRPC is; of what it makes, the response knows the name best."""
    interface, _, operation = path.removeprefix("/").partition("/")
    package = interface.rpartition(".")[0]
    service = _SERVICES.get(package, package.rpartition(".")[0].rpartition(".")[2])
    if interface == "google.iam.v1.IAMPolicy":
        service = "iam"
    name = _name_of_response(response) or next(_names_of_request(request), "")
    kind = name.split("/")[-2] if "/" in name else ""
    resources = (Resource(kind=f"{service}:{kind}", id=name),) if kind else ()
    return CloudCall(service, operation, _LOOKS_ONLY.match(operation) is None, resources)


def _compute(named: list[str], verb: str, name: str) -> tuple[str, str, str]:
    collection, resource, custom = named
    return f"{collection}.{custom or verb}", collection, resource or name


def _storage(named: list[str], verb: str, name: str) -> tuple[str, str, str]:
    bucket, part, thing = named
    match part:
        case "o":
            return f"objects.{verb}", "objects", f"{bucket}/{thing or name}"
        case "iam":
            return "buckets.setIamPolicy" if verb == "update" else "buckets.getIamPolicy", "buckets", bucket
        case "lockRetentionPolicy":
            return "buckets.lockRetentionPolicy", "buckets", bucket
        case _:
            return f"buckets.{verb}", "buckets", bucket or name


def _dns(named: list[str], verb: str, name: str) -> tuple[str, str, str]:
    zone, part = named
    collection = {"rrsets": "resourceRecordSets"}.get(part, part) or "managedZones"
    return f"{collection}.{verb}", "managedZones", zone or name


_HTTP_READERS = {"compute": _compute, "storage": _storage, "dns": _dns}


def _name_in(body: object) -> str:
    """Return what the body of a request calls the thing that it makes."""
    if isinstance(body, bytes | str):
        try:
            body = json.loads(body)
        except ValueError:
            return ""
    name = body.get("name", "") if isinstance(body, Mapping) else ""
    return str(name)


def _name_of_response(response: object) -> str:
    name = getattr(response, "name", "")
    # A long-running operation has a name too, and is not the thing.
    is_thing = isinstance(name, str) and name.startswith("projects/") and "/operations/" not in name
    return name if is_thing else ""


def _names_of_request(request: object) -> Iterator[str]:
    """Yield the names by which a request may mean its resource, the best first."""
    parent = str(getattr(request, "parent", "") or getattr(request, "name", "") or getattr(request, "resource", ""))
    for field, value in _fields(request):
        if isinstance(value, str) and value and field.endswith("_id") and field not in ("project_id", "cluster_id"):
            yield f"{parent}/{_collection(field.removesuffix('_id'))}/{value}"
        elif not isinstance(value, str) and (name := getattr(value, "name", "")):
            yield name if "/" in name else f"{parent}/{_collection(field)}/{name}"
    if "/" in parent:
        yield parent


def _fields(request: object) -> list[tuple[str, Any]]:
    """Return the fields of a message that are set, keyed by name."""
    message = getattr(type(request), "pb", lambda given: given)(request)
    descriptor = getattr(message, "ListFields", None)
    return [(field.name, value) for field, value in descriptor()] if descriptor else []


def _collection(field: str) -> str:
    """Return how resource names call what a field holds: `nodePools` for `node_pool`."""
    head, *rest = field.split("_")
    word = head + "".join(part.title() for part in rest)
    return {"account": "serviceAccounts", "policy": "policies"}.get(word, f"{word}s")
