"""Which fields of an object there are, and which manager owns them: `metadata.managedFields` and its operations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from simulators.kubernetes.objects import Json, Object
from simulators.kubernetes.schema import Shape

Path: TypeAlias = tuple[str, ...]
"""Steps as in FieldsV1: `f:<field>`, `k:<keys of a list item as JSON>`, `v:<member of a set as JSON>`."""

Fields: TypeAlias = dict[Path, Json]
"""What an object says, by path: the values of scalars, atomic lists and empty maps; PRESENT for list items."""

PRESENT = object()
_KEY_DEFAULTS = {"protocol": "TCP"}
"""Keys that a manifest may leave out (ports): the schema's default stands for them."""

_NOT_MANAGED = frozenset(
    {
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
    }
)


class Operation(StrEnum):
    """How a manager came to own its fields."""

    APPLY = "Apply"
    UPDATE = "Update"


@dataclass(frozen=True)
class Ownership:
    """One manager's entry in `managedFields`."""

    manager: str
    operation: Operation
    subresource: str
    api_version: str
    time: str
    paths: frozenset[Path]

    def is_of(self, manager: str, operation: Operation, subresource: str) -> bool:
        """Return whether this is the entry of that manager, operation and subresource."""
        return (self.manager, self.operation, self.subresource) == (manager, operation, subresource)

    def without(self, paths: Iterable[Path]) -> Ownership:
        """Return the entry after losing `paths`."""
        return replace(self, paths=self.paths.difference(paths))


def managed_part(obj: Object, subresource: str, *, has_status: bool) -> Object:
    """Return the part of an object whose fields are owned: for the main resource all but the status and identity."""
    if subresource == "status":
        return {"status": obj["status"]} if obj.get("status") else {}
    skipped = ("apiVersion", "kind", "metadata", "status") if has_status else ("apiVersion", "kind", "metadata")
    part = {name: value for name, value in obj.items() if name not in skipped}
    metadata = {name: value for name, value in (obj.get("metadata") or {}).items() if name not in _NOT_MANAGED}
    return {**part, "metadata": metadata} if metadata else part


def fields_of(value: Json, shape: Shape) -> Fields:
    """Return what a value says, by path (see Fields); null counts as not said."""
    found: Fields = {}
    _collect(value, shape, (), found)
    found.pop((), None)
    return found


def _collect(value: Json, shape: Shape, path: Path, found: Fields) -> None:
    if value is None:
        return
    if isinstance(value, dict) and value and not shape.atomic:
        for name, item in value.items():
            _collect(item, shape.child(name), (*path, f"f:{name}"), found)
    elif isinstance(value, list) and shape.list_keys and value:
        for item in value:
            step = (*path, item_step(item, shape))
            found[step] = PRESENT
            _collect(item, shape.items, step, found)
    elif isinstance(value, list) and shape.is_set:
        for item in value:
            found[(*path, "v:" + json.dumps(item))] = PRESENT
    else:
        found[path] = value


def item_key(item: Object, shape: Shape) -> tuple[Json, ...]:
    """Return what identifies an item of a list that merges by key."""
    return tuple(item.get(key, _KEY_DEFAULTS.get(key)) for key in shape.list_keys)


def item_step(item: Object, shape: Shape) -> str:
    """Return the path step of an item of a list that merges by key."""
    keys = {key: value for key, value in zip(shape.list_keys, item_key(item, shape), strict=True) if value is not None}
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True)


def described(path: Path) -> str:
    """Return a path as messages show it: `.spec.template.spec.containers[name="store"].image`."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        elif step.startswith("k:"):
            keys = json.loads(step[2:])
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
        else:
            text += f"[={step[2:]}]"
    return text


def owners_of(obj: Object) -> list[Ownership]:
    """Return the entries of the object's `managedFields`."""
    return [
        Ownership(
            manager=entry["manager"],
            operation=Operation(entry["operation"]),
            subresource=entry.get("subresource", ""),
            api_version=entry["apiVersion"],
            time=entry["time"],
            paths=frozenset(_paths(entry.get("fieldsV1") or {}, ())),
        )
        for entry in obj["metadata"].get("managedFields") or ()
    ]


def record_owners(obj: Object, owners: Iterable[Ownership]) -> None:
    """Write the entries that own anything into the object's `managedFields`."""
    entries = [
        {
            "manager": owner.manager,
            "operation": owner.operation.value,
            "apiVersion": owner.api_version,
            "time": owner.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _tree(owner.paths),
            **({"subresource": owner.subresource} if owner.subresource else {}),
        }
        for owner in owners
        if owner.paths
    ]
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def own_changes(
    old: Fields, new: Fields, owners: list[Ownership], *, manager: str, subresource: str, api_version: str, now: str
) -> list[Ownership]:
    """Return the owners after `manager` updated an object from `old` to `new`: it takes whatever it changed."""
    gone = old.keys() - new.keys()
    taken = {path for path, value in new.items() if path not in old or old[path] != value}
    if not gone and not taken:
        return owners
    mine = next((entry for entry in owners if entry.is_of(manager, Operation.UPDATE, subresource)), None)
    kept = [entry.without(taken | gone) for entry in owners if entry is not mine]
    paths = (mine.paths if mine else frozenset()) - gone | taken
    return [*kept, Ownership(manager, Operation.UPDATE, subresource, api_version, now, paths)]


def _paths(tree: Mapping[str, Json], path: Path) -> Iterable[Path]:
    if not tree:
        if path:
            yield path
        return
    for step, subtree in tree.items():
        if step == ".":
            yield path
        else:
            yield from _paths(subtree, (*path, step))


def _tree(paths: Iterable[Path]) -> Object:
    root: Object = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
    return _with_members(root, frozenset(paths), ())


def _with_members(tree: Object, members: frozenset[Path], path: Path) -> Object:
    """Mark, with `.`, each place that is owned itself besides what is below it."""
    marked: Object = {".": {}} if tree and path in members else {}
    for step, subtree in tree.items():
        marked[step] = _with_members(subtree, members, (*path, step))
    return marked
