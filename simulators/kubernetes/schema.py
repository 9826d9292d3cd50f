"""The published schemas of the API: how lists and maps of every kind merge, and which fields exist and are required."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from simulators.kubernetes.custom_schemas import SCHEMAS
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Json

SCHEMA_VERSION = "1.37.0"
_REFERENCE = "#/$defs/"


@dataclass(eq=False)
class Shape:
    """What the schema says about one place in an object; compared by identity, and made when it is first asked for."""

    type: str = ""
    """`object`, `array`, `string`, `integer`, `number`, `boolean`, or empty where anything goes."""
    known: bool = False
    """Whether the schema enumerates the fields, so that any other field is a mistake."""
    required: tuple[str, ...] = ()
    atomic: bool = False
    """Whether server-side apply owns and replaces the value as a whole."""
    is_set: bool = False
    list_keys: tuple[str, ...] = ()
    """The fields that identify an item of a list which merges by key (server-side apply)."""
    merge_key: str = ""
    """The one field that identifies an item in a strategic merge patch."""
    merges: bool = False
    """Whether a strategic merge patch merges this list instead of replacing it."""
    enumeration: tuple[str, ...] = ()
    _children: dict[str, Shape] = field(default_factory=dict)
    _child: Callable[[str], Shape] | None = None
    _items: Callable[[], Shape] | None = None

    def child(self, name: str) -> Shape:
        """Return the shape of a field, or of a map's value."""
        found = self._children.get(name)
        if found is None:
            found = self._children[name] = self._child(name) if self._child else ANYTHING
        return found

    @property
    def items(self) -> Shape:
        """The shape of a list's items."""
        found = self._children.get("")
        if found is None:
            found = self._children[""] = self._items() if self._items else ANYTHING
        return found


ANYTHING = Shape()
"""Where no schema speaks: maps merge field by field, lists are atomic (the rule for custom resources)."""


@cache
def shape_of(kind: Kind) -> Shape:
    """Return the shape of a whole object of that kind."""
    if kind in SCHEMAS:
        return _shape(SCHEMAS[kind])
    name = _definition_names().get((kind.group, kind.version, kind.kind))
    if name is None:
        return _custom_resource()
    return _shape({"$ref": _REFERENCE + name})


def definition(kind: Kind) -> str | None:
    """Return the name of the kind's schema among `definitions()`, or None."""
    return _definition_names().get((kind.group, kind.version, kind.kind))


@cache
def definitions() -> dict[str, Json]:
    """Return the published definitions, keyed by name such as `io.k8s.api.apps.v1.Deployment`."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{SCHEMA_VERSION}-local"
    found: dict[str, Json] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return found


@cache
def _definition_names() -> dict[tuple[str, str, str], str]:
    return {
        (entry["group"], entry["version"], entry["kind"]): name
        for name, body in definitions().items()
        for entry in body.get("x-kubernetes-group-version-kind", ())
    }


def _custom_resource() -> Shape:
    metadata = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    shapes = {"metadata": _shape({"$ref": _REFERENCE + metadata})}
    return Shape(type="object", _child=lambda name: shapes.get(name, ANYTHING))


@cache
def _named(name: str) -> dict[str, Json]:
    body: dict[str, Json] = definitions()[name]
    return body


def _shape(place: dict[str, Json]) -> Shape:
    """Return the shape of a place in a schema; what the place says overrides the definition that it refers to."""
    body = place
    if reference := place.get("$ref"):
        body = {**_named(reference.removeprefix(_REFERENCE)), **place}
    types = body.get("type", "")
    type_ = next((entry for entry in types if entry != "null"), "") if isinstance(types, list) else types
    properties: dict[str, Json] = body.get("properties") or {}
    values = body.get("additionalProperties")
    list_type = body.get("x-kubernetes-list-type", "")

    def child(name: str) -> Shape:
        if name in properties:
            return _shape(properties[name])
        return _shape(values) if isinstance(values, dict) else ANYTHING

    return Shape(
        type=type_,
        known=bool(properties) and not isinstance(values, dict),
        required=tuple(body.get("required") or ()),
        atomic=(type_ == "array" and list_type not in ("map", "set")) or body.get("x-kubernetes-map-type") == "atomic",
        is_set=list_type == "set",
        list_keys=tuple(body.get("x-kubernetes-list-map-keys") or ()) if list_type == "map" else (),
        merge_key=body.get("x-kubernetes-patch-merge-key", ""),
        merges="merge" in body.get("x-kubernetes-patch-strategy", ""),
        enumeration=tuple(body.get("enum") or ()),
        _child=child,
        _items=(lambda: _shape(body["items"])) if isinstance(body.get("items"), dict) else None,
    )


def has_field(shape: Shape, name: str) -> bool:
    """Return whether a field may stand at this place."""
    return not shape.known or shape.child(name) is not ANYTHING
