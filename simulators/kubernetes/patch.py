"""The other three kinds of patch: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch."""

from __future__ import annotations

from simulators.kubernetes.errors import ApiError, bad_request
from simulators.kubernetes.objects import Json, Object, copied
from simulators.kubernetes.schema import Shape


def json_patched(document: Object, operations: list[Object]) -> Object:
    """Return a copy of `document` after the operations; raises ApiError Invalid if one cannot be carried out."""
    result: Json = copied(document)
    for operation in operations:
        try:
            result = _json_patch_step(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as failure:
            message = f"the server rejected our request due to an error in our request: {failure}"
            raise ApiError(422, "Invalid", message) from failure
    patched: Object = result
    return patched


def _json_patch_step(document: Json, operation: Object) -> Json:
    path = _pointer(operation["path"])
    match operation["op"]:
        case "add":
            return _added(document, path, copied(operation["value"]))
        case "remove":
            return _removed(document, path)
        case "replace":
            return _added(_removed(document, path), path, copied(operation["value"]))
        case "move":
            source = _pointer(operation["from"])
            moved = _at(document, source)
            return _added(_removed(document, source), path, moved)
        case "copy":
            return _added(document, path, copied(_at(document, _pointer(operation["from"]))))
        case "test":
            if _at(document, path) != operation["value"]:
                raise ValueError(f"testing path {operation['path']} failed")
            return document
    raise ValueError(f"unexpected kind: {operation['op']}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _at(document: Json, path: list[str]) -> Json:
    for step in path:
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def _added(document: Json, path: list[str], value: Json) -> Json:
    if not path:
        return value
    parent, last = _at(document, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    elif int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise IndexError(f"index {last} is out of range")
    return document


def _removed(document: Json, path: list[str]) -> Json:
    if not path:
        return None
    parent, last = _at(document, path[:-1]), path[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return document


def merge_patched(document: Json, change: Json) -> Json:
    """Return `document` after a merge patch: null removes a field, a list replaces a list."""
    if not isinstance(change, dict):
        return copied(change)
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patched(merged.get(name), value)
    return merged


def strategically_patched(document: Json, change: Json, shape: Shape) -> Json:
    """Return `document` after a strategic merge patch: lists merge by the key that the schema names.

    The directives `$patch`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…` are followed; see
    https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md.
    """
    if isinstance(change, dict):
        return _map_patched(document, change, shape)
    if isinstance(change, list) and shape.merges:
        return _list_patched(document if isinstance(document, list) else [], change, shape)
    return copied(change)


def _map_patched(document: Json, change: Object, shape: Shape) -> Object:
    directive = change.get("$patch")
    if directive == "replace":
        return {name: copied(value) for name, value in change.items() if name != "$patch"}
    if directive == "delete":
        return {}
    merged = dict(document) if isinstance(document, dict) else {}
    if retained := change.get("$retainKeys"):
        merged = {name: value for name, value in merged.items() if name in retained}
    for field, value in _directed(change, "$deleteFromPrimitiveList/"):
        merged[field] = [item for item in merged.get(field) or () if item not in value]
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        elif not name.startswith("$"):
            merged[name] = strategically_patched(merged.get(name), value, shape.child(name))
    for field, order in _directed(change, "$setElementOrder/"):
        if field in merged:
            merged[field] = _reordered(merged[field], order, shape.child(field).merge_key)
    return merged


def _directed(change: Object, directive: str) -> list[tuple[str, Json]]:
    """Return (field, value) of each entry of a patch that is such a directive about a field."""
    return [(name.removeprefix(directive), value) for name, value in change.items() if name.startswith(directive)]


def _list_patched(items: list[Json], changes: list[Json], shape: Shape) -> list[Json]:
    if not shape.merge_key:
        return [*items, *(copied(change) for change in changes if change not in items)]
    if not all(isinstance(change, dict) for change in changes):
        raise bad_request("a strategic merge patch of a list that merges by key must have objects in it")
    if any(change.get("$patch") == "replace" for change in changes):
        return [copied(change) for change in changes if change.get("$patch") != "replace"]
    merged = list(items)
    for change in changes:
        key = change.get(shape.merge_key)
        position = next((index for index, item in enumerate(merged) if item.get(shape.merge_key) == key), None)
        if change.get("$patch") == "delete":
            if position is not None:
                del merged[position]
        elif position is None:
            merged.append(_map_patched({}, change, shape.items))
        else:
            merged[position] = _map_patched(merged[position], change, shape.items)
    return merged


def _reordered(items: list[Json], order: list[Json], merge_key: str) -> list[Json]:
    """Return the items in the order asked for; those that it does not mention stay behind them."""
    wanted = [entry.get(merge_key) if merge_key else entry for entry in order]

    def rank(item: Json) -> int:
        key = item.get(merge_key) if merge_key else item
        return wanted.index(key) if key in wanted else len(wanted)

    return sorted(items, key=rank)
