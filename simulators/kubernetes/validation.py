"""What the API server refuses: malformed names, unknown, missing and mistyped fields, changes of immutable fields."""

from __future__ import annotations

import re

from simulators.kubernetes import kinds
from simulators.kubernetes.errors import bad_request, invalid
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Json, Object, name_of
from simulators.kubernetes.schema import Shape, has_field, shape_of
from simulators.kubernetes.selectors import matches_label_selector

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_PATH_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/%]+")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]|")

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SERVICE_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_RBAC_KINDS = (kinds.ROLES, kinds.ROLE_BINDINGS, kinds.CLUSTER_ROLES, kinds.CLUSTER_ROLE_BINDINGS)
_SELECTING_KINDS = (kinds.DEPLOYMENTS, kinds.REPLICA_SETS, kinds.STATEFUL_SETS, kinds.DAEMON_SETS)

_MUTABLE_STATEFUL_SET_FIELDS = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_IMMUTABLE: dict[Kind, tuple[str, ...]] = {
    kinds.DEPLOYMENTS: ("spec.selector",),
    kinds.REPLICA_SETS: ("spec.selector",),
    kinds.DAEMON_SETS: ("spec.selector",),
    kinds.JOBS: ("spec.selector", "spec.template", "spec.completionMode"),
    kinds.SECRETS: ("type",),
    kinds.STORAGE_CLASSES: ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
    kinds.ROLE_BINDINGS: ("roleRef",),
    kinds.CLUSTER_ROLE_BINDINGS: ("roleRef",),
    kinds.PRIORITY_CLASSES: ("value", "preemptionPolicy"),
    kinds.PERSISTENT_VOLUME_CLAIMS: ("spec.accessModes", "spec.storageClassName", "spec.volumeMode"),
}


def check_new(kind: Kind, obj: Object) -> None:
    """Raise ApiError Invalid, with a cause for each breach, if an object may not be created like that."""
    causes = [*_name_causes(kind, obj), *_object_causes(kind, obj)]
    if causes:
        raise invalid(kind, obj["metadata"].get("name", ""), causes)


def check_change(kind: Kind, old: Object, new: Object) -> None:
    """Raise ApiError Invalid, with a cause for each breach, if `old` may not become `new`."""
    causes = [*_object_causes(kind, new), *_immutable_causes(kind, old, new)]
    if causes:
        raise invalid(kind, name_of(new), causes)


def check_fields(kind: Kind, obj: Object) -> None:
    """Raise ApiError BadRequest if the object has fields that its kind does not know (strict field validation)."""
    unknown = _unknown_fields(obj, shape_of(kind), "")
    if unknown:
        listed = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise bad_request(f"strict decoding error: {listed}")


def check_types(kind: Kind, obj: Object) -> None:
    """Raise ApiError BadRequest if a value has another JSON type than its field."""
    mistyped = _mistyped_fields(obj, shape_of(kind), "")
    if mistyped:
        path, found, wanted = mistyped[0]
        message = f"json: cannot unmarshal {found} into Go struct field {kind.kind}.{path} of type {wanted}"
        raise bad_request(f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: {message}")


def unknown_fields(kind: Kind, obj: Object) -> list[str]:
    """Return the paths of the fields that the kind does not know."""
    return _unknown_fields(obj, shape_of(kind), "")


def _cause(reason: str, message: str, field: str) -> Object:
    return {"reason": reason, "message": message, "field": field}


def _name_causes(kind: Kind, obj: Object) -> list[Object]:
    name: str = obj["metadata"].get("name", "")
    field = "metadata.name"
    if not name:
        return [_cause("FieldValueRequired", "Required value: name or generateName is required", field)]
    if kind in _RBAC_KINDS:
        pattern, rule, longest = _PATH_SEGMENT, "may not be '.' or '..' or contain '/' or '%'", 253
    elif kind is kinds.NAMESPACES:
        pattern, rule, longest = _LABEL, _LABEL_RULE, 63
    elif kind is kinds.SERVICES:
        pattern, rule, longest = _SERVICE_LABEL, _SERVICE_RULE, 63
    else:
        pattern, rule, longest = _SUBDOMAIN, _SUBDOMAIN_RULE, 253
    causes = []
    if not pattern.fullmatch(name):
        causes.append(_cause("FieldValueInvalid", f'Invalid value: "{name}": {rule}', field))
    if len(name) > longest:
        message = f'Invalid value: "{name}": must be no more than {longest} characters'
        causes.append(_cause("FieldValueInvalid", message, field))
    return causes


def _object_causes(kind: Kind, obj: Object) -> list[Object]:
    causes = _label_causes(obj)
    causes += _missing_fields(obj, shape_of(kind), "")
    if kind in _SELECTING_KINDS and not causes:
        causes += _selector_causes(obj)
    return causes


def _label_causes(obj: Object) -> list[Object]:
    rule = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
        "and end with an alphanumeric character"
    )
    return [
        _cause("FieldValueInvalid", f'Invalid value: "{value}": {rule}', "metadata.labels")
        for value in (obj["metadata"].get("labels") or {}).values()
        if len(value) > 63 or not _LABEL_VALUE.fullmatch(value)
    ]


def _selector_causes(obj: Object) -> list[Object]:
    labels = (obj["spec"]["template"].get("metadata") or {}).get("labels") or {}
    if matches_label_selector(obj["spec"].get("selector"), labels):
        return []
    shown = ",".join(f'"{key}":"{value}"' for key, value in labels.items())
    message = f"Invalid value: {{{shown}}}: `selector` does not match template `labels`"
    return [_cause("FieldValueInvalid", message, "spec.template.metadata.labels")]


def _immutable_causes(kind: Kind, old: Object, new: Object) -> list[Object]:
    if kind is kinds.STATEFUL_SETS and _frozen_part(old) != _frozen_part(new):
        allowed = "'" + "', '".join(_MUTABLE_STATEFUL_SET_FIELDS[:-1]) + f"' and '{_MUTABLE_STATEFUL_SET_FIELDS[-1]}'"
        message = f"Forbidden: updates to statefulset spec for fields other than {allowed} are forbidden"
        return [_cause("FieldValueForbidden", message, "spec")]
    fields = _IMMUTABLE.get(kind, ())
    if kind in (kinds.SECRETS, kinds.CONFIG_MAPS) and old.get("immutable"):
        fields = (*fields, "data", "immutable")
    return [
        _cause("FieldValueInvalid", "Invalid value: field is immutable", field)
        for field in fields
        if (before := _at(old, field)) is not None and before != _at(new, field)
    ]


def _frozen_part(stateful_set: Object) -> Object:
    return {name: value for name, value in stateful_set["spec"].items() if name not in _MUTABLE_STATEFUL_SET_FIELDS}


def _at(obj: Object, path: str) -> Json:
    value: Json = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _missing_fields(value: Json, shape: Shape, path: str) -> list[Object]:
    if isinstance(value, dict):
        found = [
            _cause("FieldValueRequired", "Required value", _joined(path, name))
            for name in shape.required
            if value.get(name) is None and path != "status" and not path.startswith("status.")
        ]
        for name, item in value.items():
            if path or name != "status":
                found += _missing_fields(item, shape.child(name), _joined(path, name))
        return found
    if isinstance(value, list):
        items = shape.items
        return [cause for index, item in enumerate(value) for cause in _missing_fields(item, items, f"{path}[{index}]")]
    return []


def _unknown_fields(value: Json, shape: Shape, path: str) -> list[str]:
    if isinstance(value, dict):
        found = []
        for name, item in value.items():
            if not has_field(shape, name):
                found.append(_joined(path, name))
            else:
                found += _unknown_fields(item, shape.child(name), _joined(path, name))
        return found
    if isinstance(value, list):
        return [
            field
            for index, item in enumerate(value)
            for field in _unknown_fields(item, shape.items, f"{path}[{index}]")
        ]
    return []


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _mistyped_fields(value: Json, shape: Shape, path: str) -> list[tuple[str, str, str]]:
    """Return (path, type found, type wanted) of each value of the wrong type."""
    if value is None:
        return []
    wanted = _JSON_TYPES.get(shape.type)
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
        return [(path, _json_type(value), shape.type)]
    if isinstance(value, dict):
        return [
            entry
            for name, item in value.items()
            for entry in _mistyped_fields(item, shape.child(name), _joined(path, name))
        ]
    if isinstance(value, list):
        return [entry for item in value for entry in _mistyped_fields(item, shape.items, path)]
    return []


def _json_type(value: Json) -> str:
    if isinstance(value, bool):
        return "bool"
    names = ((dict, "object"), (list, "array"), (str, "string"))
    return next((name for type_, name in names if isinstance(value, type_)), "number")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
