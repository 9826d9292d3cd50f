"""What the server says about itself: versions, groups, resources and schemas."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TypeAlias

from simulators.kubernetes.authorization import REVIEWS
from simulators.kubernetes.errors import no_such_path
from simulators.kubernetes.kinds import Kind, Subresource
from simulators.kubernetes.objects import Json, Object
from simulators.kubernetes.schema import definition, definitions

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_SUBRESOURCE_VERBS = {
    Subresource.EVICTION: ["create"],
    Subresource.LOG: ["get"],
    Subresource.PROXY: ["create", "delete", "get", "patch", "update"],
}
_SUBRESOURCE_KINDS = {
    Subresource.SCALE: ("autoscaling", "v1", "Scale"),
    Subresource.EVICTION: ("policy", "v1", "Eviction"),
    Subresource.PROXY: ("", "v1", "PodProxyOptions"),
}
Kinds: TypeAlias = tuple[Kind, ...]
"""The kinds that one cluster serves."""

_HEALTH = ("/healthz", "/livez", "/readyz")
AGGREGATED = "g=apidiscovery.k8s.io"
"""In the Accept header of clients that want the whole discovery in one reply."""
AGGREGATED_KIND = "APIGroupDiscoveryList"
AGGREGATED_TYPE = f"application/json;{AGGREGATED};v=v2;as={AGGREGATED_KIND}"


def answer(path: str, accept: str, *, version: str, prefix: str, served: Kinds) -> Object | str:
    """Return what the server says at a path that is not a resource's; raises ApiError NotFound.

    `version` is the cluster's (`1.34`), `prefix` the path under which the cluster is served, `served` what it serves.
    """
    if path in _HEALTH:
        return "ok"
    if path == "/version":
        return _version(version)
    if path in ("/api", "/apis"):
        return _groups_at(path, served, aggregated=AGGREGATED in accept)
    if path.startswith("/openapi/v3"):
        return _openapi(path.removeprefix("/openapi/v3").removeprefix("/"), prefix, served)
    return _resource_list(path, served)


def _groups_at(path: str, served: Kinds, *, aggregated: bool) -> Object:
    core = path == "/api"
    if aggregated:
        return _aggregated(served, core=core)
    if core:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name, served) for name in _groups(served)]}


def _version(version: str) -> Object:
    major, minor = version.split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{major}.{minor}.0-simulated",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


@cache
def _group_versions(served: Kinds) -> tuple[tuple[str, str], ...]:
    """Return each (group, version), the core group first."""
    return tuple(
        dict.fromkeys([*((kind.group, kind.version) for kind in served), *((group, "v1") for group, _ in REVIEWS)])
    )


def _groups(served: Kinds) -> list[str]:
    return [group for group, _ in _group_versions(served) if group]


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _group(name: str, served: Kinds) -> Object:
    versions = [
        {"groupVersion": f"{group}/{version}", "version": version}
        for group, version in _group_versions(served)
        if group == name
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resource_list(path: str, served: Kinds) -> Object:
    for group, version in _group_versions(served):
        if path == "/" + _path(group, version):
            resources = [
                entry
                for kind in _kinds(group, version, served)
                for entry in (_resource(kind), *map(_of(kind), kind.subresources))
            ]
            resources += [
                {"name": plural, "singularName": kind.lower(), "namespaced": False, "kind": kind, "verbs": ["create"]}
                for (of_group, plural), kind in REVIEWS.items()
                if of_group == group
            ]
            name = f"{group}/{version}" if group else version
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}
    raise no_such_path()


def _kinds(group: str, version: str, served: Kinds) -> Iterable[Kind]:
    return (kind for kind in served if (kind.group, kind.version) == (group, version))


def _resource(kind: Kind) -> Object:
    return {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _VERBS,
        **({"shortNames": list(kind.short_names)} if kind.short_names else {}),
        **({"categories": list(kind.categories)} if kind.categories else {}),
    }


def _of(kind: Kind) -> Json:
    def entry(subresource: Subresource) -> Object:
        group, version, name = _SUBRESOURCE_KINDS.get(subresource, (kind.group, kind.version, kind.kind))
        return {
            "name": f"{kind.plural}/{subresource}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "group": group,
            "version": version,
            "kind": name,
            "verbs": _SUBRESOURCE_VERBS.get(subresource, ["get", "patch", "update"]),
        }

    return entry


def _aggregated(served: Kinds, *, core: bool) -> Object:
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [
                {"version": version, "freshness": "Current", "resources": _aggregated_resources(group, version, served)}
            ],
        }
        for group, version in _group_versions(served)
        if (not group) == core
    ]
    return {
        "kind": AGGREGATED_KIND,
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated_resources(group: str, version: str, served: Kinds) -> list[Object]:
    resources = [
        {
            "resource": kind.plural,
            "responseKind": {"group": group, "version": version, "kind": kind.kind},
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "singularResource": kind.singular,
            "verbs": _VERBS,
            "shortNames": list(kind.short_names),
            "categories": list(kind.categories),
            "subresources": [_aggregated_subresource(kind, entry) for entry in kind.subresources],
        }
        for kind in _kinds(group, version, served)
    ]
    reviews = [
        {
            "resource": plural,
            "responseKind": {"group": group, "version": version, "kind": kind},
            "scope": "Cluster",
            "singularResource": kind.lower(),
            "verbs": ["create"],
        }
        for (of_group, plural), kind in REVIEWS.items()
        if of_group == group
    ]
    return [*resources, *reviews]


def _aggregated_subresource(kind: Kind, subresource: Subresource) -> Object:
    group, version, name = _SUBRESOURCE_KINDS.get(subresource, (kind.group, kind.version, kind.kind))
    return {
        "subresource": str(subresource),
        "responseKind": {"group": group, "version": version, "kind": name},
        "verbs": _SUBRESOURCE_VERBS.get(subresource, ["get", "patch", "update"]),
    }


# --- OpenAPI: enough for kubectl to explain kinds and to know that the server validates fields

_SCHEMA_PREFIX = "#/components/schemas/"


def _openapi(path: str, prefix: str, served: Kinds) -> Object:
    """Return the document of one group and version, or, for the empty path, where each of them is."""
    if path:
        return _openapi_document(path, served)
    paths = (_path(*entry) for entry in _group_versions(served))
    return {"paths": {name: {"serverRelativeURL": f"{prefix}/openapi/v3/{name}?hash=1"} for name in paths}}


@cache
def _openapi_document(path: str, served: Kinds) -> Object:
    entry = next((entry for entry in _group_versions(served) if _path(*entry) == path), None)
    if entry is None:
        raise no_such_path()
    kinds = list(_kinds(*entry, served))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": {name: item for kind in kinds for name, item in _openapi_paths(kind).items()},
        "components": {"schemas": _openapi_schemas(kinds)},
    }


def _openapi_paths(kind: Kind) -> dict[str, Object]:
    base = "/" + _path(kind.group, kind.version)
    collection = f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
    about = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]

    def operation(action: str) -> Object:
        return {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": about,
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
        }

    return {
        collection: {"get": operation("list"), "post": operation("post")},
        f"{collection}/{{name}}": {action: operation(action) for action in ("get", "put", "patch", "delete")},
    }


def _openapi_schemas(kinds: list[Kind]) -> Object:
    """Return the schemas of these kinds and of everything that they refer to."""
    pending = [name for kind in kinds if (name := definition(kind))]
    schemas: Object = {}
    while pending:
        name = pending.pop()
        if name not in schemas:
            referred: list[str] = []
            schemas[name] = _openapi_schema(definitions()[name], referred)
            pending += referred
    return schemas


def _openapi_schema(schema: Json, referred: list[str]) -> Json:
    """Translate JSON Schema into OpenAPI 3.0: references move, and null is no type of its own."""
    if isinstance(schema, list):
        return [_openapi_schema(entry, referred) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    translated: Object = {}
    for key, value in schema.items():
        if key == "$ref":
            name = value.rpartition("/")[2]
            referred.append(name)
            translated["allOf"] = [{"$ref": _SCHEMA_PREFIX + name}]
        elif key == "type" and isinstance(value, list):
            translated["type"] = next(entry for entry in value if entry != "null")
        else:
            translated[key] = _openapi_schema(value, referred)
    return translated
