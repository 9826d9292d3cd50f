"""Requests to the API as the server understands them: verb, resource, object and options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import yaml

from simulators.kubernetes.errors import ApiError, bad_request, no_such_path
from simulators.kubernetes.kinds import BY_PLURAL, NAMESPACES, Kind, Subresource
from simulators.kubernetes.objects import Json, Object
from simulators.kubernetes.provider import User

_TRUE = ("true", "True", "1")


class Verb(StrEnum):
    """What a request does, in the words of RBAC and of the audit journal."""

    GET = "get"
    LIST = "list"
    WATCH = "watch"
    CREATE = "create"
    UPDATE = "update"
    PATCH = "patch"
    DELETE = "delete"
    DELETE_COLLECTION = "deletecollection"


MUTATING = frozenset({Verb.CREATE, Verb.UPDATE, Verb.PATCH, Verb.DELETE, Verb.DELETE_COLLECTION})


@dataclass(frozen=True)
class Target:
    """What a path leads to."""

    kind: Kind
    namespace: str
    """Empty for a cluster-scoped kind and for all namespaces."""
    name: str
    """Empty for a collection."""
    subresource: str
    beyond: str = ""
    """What follows `proxy` in the path, from its slash on: where in the pod the request goes."""


@dataclass(frozen=True)
class Request:
    """One request to a resource, by an authenticated user."""

    verb: Verb
    target: Target
    user: User
    query: Mapping[str, str]
    content_type: str
    agent: str
    body: bytes

    @property
    def dry_run(self) -> bool:
        """Whether everything shall happen but the deed."""
        return self.query.get("dryRun") == "All"

    @property
    def force(self) -> bool:
        """Whether an apply takes contested fields over."""
        return self.query.get("force") in _TRUE

    @property
    def manager(self) -> str:
        """Who will own the changed fields: as declared, or the first word of the User-Agent."""
        return self.query.get("fieldManager") or self.agent.partition("/")[0][:128] or "unknown"

    def decoded(self) -> Json:
        """Return the body, JSON or YAML; raises ApiError BadRequest or UnsupportedMediaType."""
        return decoded(self.body, self.content_type)

    def object(self) -> Object:
        """Return the object in the body; raises ApiError BadRequest if there is none or it is another kind's."""
        body = self.decoded()
        if not isinstance(body, dict):
            raise bad_request("the body of the request is not an object")
        if not isinstance(body.setdefault("metadata", {}) or {}, dict):
            raise bad_request("the metadata of the object in the body are not an object")
        body["metadata"] = body["metadata"] or {}
        return body


def decoded(body: bytes, content_type: str) -> Json:
    """Return a JSON or YAML body (empty: an empty object); raises ApiError BadRequest or UnsupportedMediaType."""
    if "protobuf" in content_type or "cbor" in content_type:
        accepted = "accepted media types include: application/json, application/yaml"
        message = f"the body of the request was in an unknown format - {accepted}"
        raise ApiError(415, "UnsupportedMediaType", message)
    try:
        return json.loads(body) if body else {}
    except ValueError:
        try:
            return yaml.safe_load(body)
        except yaml.YAMLError as failure:
            raise bad_request(f"error decoding the body: {failure}") from failure


def target_of(path: str) -> Target:
    """Return what a path like `/apis/apps/v1/namespaces/n/deployments/d/scale` leads to; raises ApiError NotFound."""
    steps = path.strip("/").split("/")
    if steps[0] == "api" and len(steps) > 2:
        group, version, rest = "", steps[1], steps[2:]
    elif steps[0] == "apis" and len(steps) > 3:
        group, version, rest = steps[1], steps[2], steps[3:]
    else:
        raise no_such_path()
    namespace = ""
    if rest[0] == NAMESPACES.plural and len(rest) > 2 and rest[2] not in NAMESPACES.subresources:
        namespace, rest = rest[1], rest[2:]
    beyond = ""
    if rest[2:3] == [Subresource.PROXY]:
        rest, beyond = rest[:3], "/" + "/".join(rest[3:])
    kind = BY_PLURAL.get((group, rest[0]))
    if kind is None or kind.version != version or len(rest) > 3 or (namespace and not kind.namespaced):
        raise no_such_path()
    name, subresource = [*rest[1:], "", ""][:2]
    if subresource and subresource not in kind.subresources:
        raise no_such_path()
    return Target(kind, namespace, name, subresource, beyond)


def verb_of(method: str, target: Target, query: Mapping[str, str]) -> Verb:
    """Return the verb of an HTTP request; raises ApiError MethodNotAllowed."""
    if method in ("GET", "HEAD"):
        if query.get("watch") in _TRUE:
            return Verb.WATCH
        return Verb.GET if target.name else Verb.LIST
    if method == "DELETE":
        return Verb.DELETE if target.name else Verb.DELETE_COLLECTION
    verb = {"POST": Verb.CREATE, "PUT": Verb.UPDATE, "PATCH": Verb.PATCH}.get(method)
    if verb is None:
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return verb
