"""The verbs of the API on the objects of one cluster, as the server's handlers do them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.kubernetes import errors, kinds
from simulators.kubernetes.applications.monitoring import monitored
from simulators.kubernetes.apply import applied
from simulators.kubernetes.defaults import set_defaults
from simulators.kubernetes.disruption import evict
from simulators.kubernetes.fields import (
    Fields,
    Ownership,
    fields_of,
    managed_part,
    own_changes,
    owners_of,
    record_owners,
)
from simulators.kubernetes.kinds import Kind, Subresource
from simulators.kubernetes.objects import Json, Object, copied, labels_of, name_of, without_nulls
from simulators.kubernetes.patch import json_patched, merge_patched, strategically_patched
from simulators.kubernetes.request import Request, Verb
from simulators.kubernetes.schema import shape_of
from simulators.kubernetes.selectors import matches, matches_fields
from simulators.kubernetes.store import Propagation
from simulators.kubernetes.validation import check_change, check_fields, check_new, check_types, unknown_fields

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

_KEPT_METADATA = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
)
"""What the server keeps, whatever a client sends."""

_SHOWN_WHEN_DELETED = frozenset(
    {
        kinds.PODS,
        kinds.SERVICES,
        kinds.SERVICE_ACCOUNTS,
        kinds.PERSISTENT_VOLUMES,
        kinds.PERSISTENT_VOLUME_CLAIMS,
        kinds.RESOURCE_QUOTAS,
        kinds.STORAGE_CLASSES,
        kinds.VOLUME_ATTACHMENTS,
    }
)
"""Kinds whose deletion answers with the object; for the others there is a Status once the object is gone."""


@dataclass(frozen=True)
class Reply:
    """What a handler answers."""

    status: int
    body: Object | str
    """An object, or text (a log)."""
    changed: bool = False
    """Whether the cluster is another one now."""
    warnings: tuple[str, ...] = ()


class Api:
    """Answers requests on the objects of one cluster; every method may raise ApiError."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._store = cluster.store

    def answer(self, request: Request) -> Reply:
        """Do what the request asks for (any verb but watch)."""
        handlers: dict[Verb, Callable[[Request], Reply]] = {
            Verb.GET: self._get,
            Verb.LIST: self._list,
            Verb.CREATE: self._create,
            Verb.UPDATE: self._update,
            Verb.PATCH: self._patch,
            Verb.DELETE: self._delete,
            Verb.DELETE_COLLECTION: self._delete_collection,
        }
        return handlers[request.verb](request)

    # --- reading

    def _get(self, request: Request) -> Reply:
        if request.target.subresource == Subresource.PROXY:
            return self._proxied(request)
        obj = self._existing(request)
        match request.target.subresource:
            case Subresource.SCALE:
                return Reply(200, _scale_of(obj))
            case Subresource.LOG:
                return Reply(200, self._log(request, obj))
        return Reply(200, obj)

    def _proxied(self, request: Request) -> Reply:
        """Pass a GET on to a pod; its name is `pod`, `pod:port` or `scheme:pod:port`, the port a number.

        As with the real server no name of a port is known here, for only Services know names.
        """
        target = request.target
        parts = target.name.split(":")
        name, port = (parts[0], "") if len(parts) == 1 else (parts[-2], parts[-1])
        pod = self._store.get(target.kind, target.namespace, name)
        if pod is None:
            raise errors.not_found(target.kind, name)
        answered = monitored(self._cluster, pod, port, target.beyond)
        if isinstance(answered, str):
            return Reply(200, answered)
        reason = "NotFound" if answered.status == 404 else "ServiceUnavailable"
        raise errors.ApiError(answered.status, reason, answered.message)

    def _log(self, request: Request, pod: Object) -> str:
        names = [container["name"] for container in pod["spec"].get("containers") or ()]
        container = request.query.get("container") or names[0]
        if container not in names:
            raise errors.bad_request(f"container {container} is not valid for pod {name_of(pod)}")
        lines = self._cluster.log_of(pod, container).splitlines(keepends=True)
        tail = request.query.get("tailLines")
        return "".join(lines[-int(tail) :] if tail else lines)

    def _list(self, request: Request) -> Reply:
        kind, query = request.target.kind, request.query
        found = self.selected(request)
        metadata: Object = {"resourceVersion": str(self._store.resource_version)}
        limit = int(query.get("limit") or 0)
        if token := query.get("continue"):
            after = _continued(token)
            found = [obj for obj in found if _position(obj) > after]
        if limit and len(found) > limit:
            metadata["remainingItemCount"] = len(found) - limit
            found = found[:limit]
            metadata["continue"] = _continuation(found[-1])
        body = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": found}
        return Reply(200, body)

    def selected(self, request: Request) -> list[Object]:
        """Return the objects of a collection that match the request's selectors."""
        target = request.target
        listed = self._store.list(target.kind, target.namespace or None, request.query.get("labelSelector", ""))
        return [obj for obj in listed if is_selected(request, obj)]

    def _existing(self, request: Request) -> Object:
        target = request.target
        obj = self._store.get(target.kind, target.namespace, target.name)
        if obj is None:
            raise errors.not_found(target.kind, target.name)
        return obj

    # --- creating

    def _create(self, request: Request) -> Reply:
        target = request.target
        if target.subresource == Subresource.EVICTION:
            return self._evict(request)
        if target.name or target.subresource:
            raise errors.no_such_path()
        obj = request.object()
        self._check_identity(request, obj)
        warnings = _check_body(request, obj)
        kind = target.kind
        obj = _normalized(kind, obj)
        new = self._new(request, obj)
        has_status = Subresource.STATUS in kind.subresources
        owned = fields_of(managed_part(obj, "", has_status=has_status), shape_of(kind))
        record_owners(new, self._owners_after(request, {}, owned, []))
        return Reply(201, self._added(request, new), not request.dry_run, warnings)

    def _new(self, request: Request, obj: Object) -> Object:
        """Return a valid new object with its defaults, not yet added."""
        kind = request.target.kind
        if Subresource.STATUS in kind.subresources:
            obj = {name: value for name, value in obj.items() if name != "status"}
        new = self._store.prepared(kind, obj, request.target.namespace)
        check_new(kind, new)
        return new

    def _added(self, request: Request, new: Object) -> Object:
        return new if request.dry_run else self._store.add(request.target.kind, new)

    def _check_identity(self, request: Request, obj: Object) -> None:
        target = request.target
        for field, expected in (("apiVersion", target.kind.api_version), ("kind", target.kind.kind)):
            if obj.get(field, expected) != expected:
                raise errors.bad_request(
                    f"the {field} in the data ({obj[field]}) does not match the expected {field} ({expected})"
                )
        metadata = obj["metadata"]
        namespace = target.namespace if target.kind.namespaced else ""
        if namespace and metadata.get("namespace", namespace) != namespace:
            why = "the namespace of the provided object does not match the namespace sent on the request"
            raise errors.bad_request(why)
        if target.name and metadata.get("name", target.name) != target.name:
            raise errors.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
            )

    def _evict(self, request: Request) -> Reply:
        options = request.object().get("deleteOptions") or {}
        dry_run = request.dry_run or "All" in (options.get("dryRun") or ())
        evict(
            self._store,
            self._existing(request),
            grace_period_seconds=options.get("gracePeriodSeconds"),
            dry_run=dry_run,
        )
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return Reply(201, status, not dry_run)

    # --- changing

    def _update(self, request: Request) -> Reply:
        body = request.object()
        self._check_identity(request, body)
        return self._replace(request, self._existing(request), body, _check_body(request, body))

    def _patch(self, request: Request) -> Reply:
        if "apply-patch" in request.content_type:
            return self._apply(request)
        old = self._existing(request)
        document = _scale_of(old) if request.target.subresource == Subresource.SCALE else old
        patched = self._patched(request, document)
        if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
            raise errors.bad_request("the patch does not leave an object")
        if request.target.subresource != Subresource.SCALE:
            check_types(request.target.kind, patched)
        return self._replace(request, old, patched, ())

    def _patched(self, request: Request, document: Object) -> Json:
        change = request.decoded()
        kind = request.target.kind
        if "json-patch" in request.content_type:
            if not isinstance(change, list):
                raise errors.bad_request("a JSON patch is a list of operations")
            return json_patched(document, change)
        if "strategic-merge-patch" in request.content_type:
            return strategically_patched(document, change, shape_of(kind))
        if "merge-patch" in request.content_type:
            return merge_patched(document, change)
        accepted = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise errors.ApiError(415, "UnsupportedMediaType", message)

    def _replace(self, request: Request, old: Object, body: Object, warnings: tuple[str, ...]) -> Reply:
        """Put `body` in place of `old`, as far as the subresource reaches, and let the manager own what changed."""
        kind, subresource = request.target.kind, request.target.subresource
        _check_preconditions(kind, old, body["metadata"])
        if subresource == Subresource.SCALE:
            new = copied(old)
            new["spec"]["replicas"] = (body.get("spec") or {}).get("replicas", 0)
        elif subresource == Subresource.STATUS:
            new = {**copied(old), "status": without_nulls(body.get("status") or {})}
        else:
            new = _normalized(kind, body)
            if Subresource.STATUS in kind.subresources:
                new.pop("status", None)
                if "status" in old:
                    new["status"] = old["status"]
        self._complete(kind, old, new)
        has_status = Subresource.STATUS in kind.subresources
        before, after = (
            fields_of(managed_part(obj, subresource, has_status=has_status), shape_of(kind)) for obj in (old, new)
        )
        record_owners(new, self._owners_after(request, before, after, owners_of(old)))
        return self._saved(request, old, new, warnings)

    def _owners_after(
        self, request: Request, before: Fields, after: Fields, owners: list[Ownership]
    ) -> list[Ownership]:
        return own_changes(
            before,
            after,
            owners,
            manager=request.manager,
            subresource=request.target.subresource,
            api_version=request.target.kind.api_version,
            now=self._store.now(),
        )

    def _complete(self, kind: Kind, old: Object, new: Object) -> None:
        """Restore what only the server changes, fill in defaults, and refuse what may not be."""
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        for field in _KEPT_METADATA:
            if field in old["metadata"]:
                new["metadata"][field] = old["metadata"][field]
            else:
                new["metadata"].pop(field, None)
        _keep_allocated(old, new)
        set_defaults(kind, new, self._store)
        if new != old:
            check_change(kind, old, new)

    def _saved(self, request: Request, old: Object, new: Object, warnings: tuple[str, ...] = ()) -> Reply:
        version = old["metadata"]["resourceVersion"]
        stored = new if request.dry_run else self._store.save(request.target.kind, new)
        changed = not request.dry_run and stored["metadata"]["resourceVersion"] != version
        shown = _scale_of(stored) if request.target.subresource == Subresource.SCALE else stored
        return Reply(200, shown, changed, warnings)

    def _apply(self, request: Request) -> Reply:
        target = request.target
        intent = request.object()
        if not request.query.get("fieldManager"):
            text = "Required value: is required for apply patch"
            cause = {"reason": "FieldValueRequired", "message": text, "field": "fieldManager"}
            message = f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: {text}'
            raise errors.ApiError(422, "Invalid", message, causes=[cause])
        for field in ("apiVersion", "kind"):
            if field not in intent:
                raise errors.bad_request(f"invalid object: {field} is not set")
        if intent["metadata"].get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        self._check_identity(request, intent)
        _check_typed(request, intent)
        live = self._store.get(target.kind, target.namespace, target.name)
        if live is None:
            return self._apply_new(request, intent)
        _check_preconditions(target.kind, live, intent["metadata"])
        new = self._applied(request, live, _normalized(target.kind, intent))
        self._complete(target.kind, live, new)
        return self._saved(request, live, new)

    def _apply_new(self, request: Request, intent: Object) -> Reply:
        target = request.target
        if target.subresource:
            raise errors.not_found(target.kind, target.name)
        if intent["metadata"].get("uid") or intent["metadata"].get("resourceVersion"):
            raise errors.conflict(target.kind, target.name, "the object does not exist, but a uid or version was given")
        base: Object = {
            "apiVersion": target.kind.api_version,
            "kind": target.kind.kind,
            "metadata": {"name": target.name},
        }
        obj = self._applied(request, base, _normalized(target.kind, intent))
        return Reply(201, self._added(request, self._new(request, obj)), not request.dry_run)

    def _applied(self, request: Request, live: Object, intent: Object) -> Object:
        return applied(
            request.target.kind,
            live,
            intent,
            manager=request.manager,
            force=request.force,
            subresource=request.target.subresource,
            now=self._store.now(),
        )

    # --- deleting

    def _delete(self, request: Request) -> Reply:
        kind = request.target.kind
        old = self._existing(request)
        options = request.object()
        _check_preconditions(kind, old, options.get("preconditions") or {})
        if request.dry_run or "All" in (options.get("dryRun") or ()):
            return Reply(200, old if kind in _SHOWN_WHEN_DELETED else _deleted_status(kind, old))
        version = old["metadata"]["resourceVersion"]
        last = self._delete_object(request, options, old)
        changed = last["metadata"]["resourceVersion"] != version
        remains = self._store.get(kind, request.target.namespace, request.target.name) is not None
        shown = last if remains or kind in _SHOWN_WHEN_DELETED else _deleted_status(kind, old)
        return Reply(200, shown, changed)

    def _delete_object(self, request: Request, options: Object, obj: Object) -> Object:
        kind, query = request.target.kind, request.query
        policy = options.get("propagationPolicy") or query.get("propagationPolicy")
        if policy is None:
            orphan = options.get("orphanDependents", kind is kinds.JOBS)  # batch/v1 orphans unless told otherwise
            policy = Propagation.ORPHAN if orphan else Propagation.BACKGROUND
        grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        return self._store.delete(
            kind,
            obj,
            grace_period_seconds=None if grace is None else int(grace),
            propagation=Propagation(policy),
        )

    def _delete_collection(self, request: Request) -> Reply:
        kind = request.target.kind
        options = request.object()
        doomed = self.selected(request)
        if not request.dry_run:
            for obj in doomed:
                self._delete_object(request, options, obj)
        metadata = {"resourceVersion": str(self._store.resource_version)}
        body = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": doomed}
        return Reply(200, body, bool(doomed) and not request.dry_run)


def is_selected(request: Request, obj: Object) -> bool:
    """Return whether an object is in the collection (or is the one) that a list or watch is about."""
    target, query = request.target, request.query
    metadata = obj["metadata"]
    return (
        (not target.namespace or metadata.get("namespace") == target.namespace)
        and (not target.name or metadata["name"] == target.name)
        and matches(query.get("labelSelector", ""), labels_of(obj))
        and matches_fields(query.get("fieldSelector", ""), obj)
    )


def _check_body(request: Request, obj: Object) -> tuple[str, ...]:
    """Refuse mistyped and (if asked to) unknown fields; return a warning for each unknown one otherwise."""
    kind = request.target.kind
    if request.target.subresource == Subresource.SCALE:
        return ()
    check_types(kind, obj)
    validation = request.query.get("fieldValidation", "Warn")
    if validation == "Strict":
        check_fields(kind, obj)
    return tuple(f'unknown field "{path}"' for path in unknown_fields(kind, obj)) if validation == "Warn" else ()


def _check_typed(request: Request, intent: Object) -> None:
    """Refuse what server-side apply cannot type; like the real server, with a 500 that names the field."""
    kind = request.target.kind
    check_types(kind, intent)
    if unknown := unknown_fields(kind, intent):
        where = f"{request.target.namespace}/{request.target.name}; {kind.api_version}, Kind={kind.kind}"
        message = f"failed to create typed patch object ({where}): .{unknown[0]}: field not declared in schema"
        raise errors.ApiError(500, "", message)


def _check_preconditions(kind: Kind, old: Object, wanted: Object) -> None:
    """Refuse if the caller means another object, or another version of it, than the one that is there."""
    metadata = old["metadata"]
    if (uid := wanted.get("uid")) and uid != metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
        raise errors.conflict(kind, metadata["name"], why)
    if (version := wanted.get("resourceVersion")) and version != metadata["resourceVersion"]:
        raise errors.conflict(kind, metadata["name"])


def _keep_allocated(old: Object, new: Object) -> None:
    """Keep the addresses and ports that the server gave to a service when a client leaves them out."""
    if old["kind"] != "Service" or not isinstance(new.get("spec"), dict):
        return
    before, after = old["spec"], new["spec"]
    for field in ("clusterIP", "clusterIPs"):
        if not after.get(field) and before.get(field):
            after[field] = before[field]
    given = {_port_key(port): port["nodePort"] for port in before.get("ports") or () if port.get("nodePort")}
    if after.get("type") in ("NodePort", "LoadBalancer"):
        for port in after.get("ports") or ():
            if not port.get("nodePort") and _port_key(port) in given:
                port["nodePort"] = given[_port_key(port)]


def _port_key(port: Object) -> tuple[Json, str]:
    return (port.get("port"), port.get("protocol", "TCP"))


def _normalized(kind: Kind, obj: Object) -> Object:
    """Return a copy of the object without nulls, and with a Secret's stringData as data."""
    obj = without_nulls(obj)
    if kind is kinds.SECRETS and (plain := obj.pop("stringData", None)):
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in plain.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}
    return obj


def _scale_of(obj: Object) -> Object:
    selector = obj["spec"].get("selector") or {}
    metadata = {
        field: obj["metadata"][field]
        for field in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if field in obj["metadata"]
    }
    labels = ",".join(f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items())
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {"replicas": (obj.get("status") or {}).get("replicas", 0), "selector": labels},
    }


def _deleted_status(kind: Kind, obj: Object) -> Object:
    details = {"name": name_of(obj), "kind": kind.plural, "uid": obj["metadata"]["uid"]}
    if kind.group:
        details["group"] = kind.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _position(obj: Object) -> list[str]:
    return [obj["metadata"].get("namespace") or "", obj["metadata"]["name"]]


def _continuation(last: Object) -> str:
    return base64.urlsafe_b64encode(json.dumps(_position(last)).encode()).decode()


def _continued(token: str) -> list[str]:
    try:
        position: list[str] = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as failure:
        raise errors.bad_request("continue key is not valid") from failure
    return position
