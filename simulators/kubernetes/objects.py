"""Kubernetes objects as plain JSON: what every part of the simulator asks of one or does to one."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = Any
"""Decoded JSON of whatever type."""

Object: TypeAlias = dict[str, Any]
"""One Kubernetes object as decoded JSON. An object that the store hands out is read-only: change a `copied` one."""


def copied(value: Json) -> Json:
    """Return an independent copy of decoded JSON (several times faster than `copy.deepcopy`)."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def without_nulls(value: Json) -> Json:
    """Return a copy of decoded JSON without nulls: to the API, a null field is one that is not there."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value if item is not None]
    return value


def name_of(obj: Object) -> str:
    """Return the object's name."""
    name: str = obj["metadata"]["name"]
    return name


def namespace_of(obj: Object) -> str:
    """Return the object's namespace, empty for a cluster-scoped object."""
    namespace: str = obj["metadata"].get("namespace") or ""
    return namespace


def labels_of(obj: Object) -> dict[str, str]:
    """Return the object's labels, maybe none."""
    return obj["metadata"].get("labels") or {}


def is_terminating(obj: Object) -> bool:
    """Return whether the object has been asked to go away."""
    return "deletionTimestamp" in obj["metadata"]


def condition(obj: Object, type_: str) -> Object | None:
    """Return the status condition of that type, or None."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == type_), None)


def is_ready(obj: Object) -> bool:
    """Return whether the object (a pod or a node) has the condition Ready at True."""
    ready = condition(obj, "Ready")
    return ready is not None and ready["status"] == "True"


def owner_reference(owner: Object, *, controller: bool = True) -> Object:
    """Return the entry that, in a dependent's `ownerReferences`, names `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": owner["metadata"]["uid"],
        "controller": controller,
        "blockOwnerDeletion": controller,
    }


def is_owned_by(obj: Object, owner: Object) -> bool:
    """Return whether `owner` is among the object's owners (by uid, so not a namesake that came later)."""
    uid = owner["metadata"]["uid"]
    return any(reference["uid"] == uid for reference in obj["metadata"].get("ownerReferences") or ())
