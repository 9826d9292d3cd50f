"""Server-side apply: merge a manager's intent into an object, with conflicts and ownership of fields.

The rules are those of https://kubernetes.io/docs/reference/using-api/server-side-apply/.
"""

from __future__ import annotations

import json

from simulators.kubernetes.errors import ApiError
from simulators.kubernetes.fields import (
    Fields,
    Operation,
    Ownership,
    Path,
    described,
    fields_of,
    item_key,
    item_step,
    managed_part,
    owners_of,
    record_owners,
)
from simulators.kubernetes.kinds import Kind, Subresource
from simulators.kubernetes.objects import Json, Object, copied
from simulators.kubernetes.schema import Shape, shape_of


def applied(
    kind: Kind, live: Object, intent: Object, *, manager: str, force: bool, subresource: str, now: str
) -> Object:
    """Return `live` after `manager` applied `intent`: what it says is set, what it no longer says is removed.

    Fields that somebody else owns and that would change are a conflict: ApiError Conflict with one cause for each
    field, or, with `force`, the manager takes them over. `live` is not changed.
    """
    shape = shape_of(kind)
    has_status = Subresource.STATUS in kind.subresources
    wanted_part = managed_part(intent, subresource, has_status=has_status)
    wanted = fields_of(wanted_part, shape)
    actual = fields_of(managed_part(live, subresource, has_status=has_status), shape)
    owners = owners_of(live)
    mine = next((entry for entry in owners if entry.is_of(manager, Operation.APPLY, subresource)), None)
    others = [entry for entry in owners if entry is not mine]

    contested = _contested(wanted, actual, others)
    if contested and not force:
        raise _conflict(contested)

    result: Object = copied(live)
    released = (mine.paths if mine else frozenset()) - wanted.keys()
    for path in _removable(released, others):
        _remove(result, path, shape)
    result = _merged(result, wanted_part, shape)

    lost = {path for _, path in contested}
    paths = frozenset(wanted)
    unchanged = mine is not None and mine.paths == paths
    time = mine.time if mine is not None and unchanged else now
    entry = Ownership(manager, Operation.APPLY, subresource, kind.api_version, time, paths)
    record_owners(result, _in_place(owners, mine, entry, lost))
    return result


def _in_place(owners: list[Ownership], mine: Ownership | None, entry: Ownership, lost: set[Path]) -> list[Ownership]:
    """Return the owners in order: the manager's entry renewed (or last if new), the others without their losses."""
    renewed = [entry if owner is mine else owner.without(lost) if lost else owner for owner in owners]
    return renewed if mine is not None else [*renewed, entry]


def _contested(wanted: Fields, actual: Fields, others: list[Ownership]) -> list[tuple[Ownership, Path]]:
    changing = {path for path, value in wanted.items() if path in actual and actual[path] != value}
    return [(owner, path) for owner in others for path in sorted(owner.paths & changing)]


def _conflict(contested: list[tuple[Ownership, Path]]) -> ApiError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {_shown(owner)}", "field": described(path)}
        for owner, path in contested
    ]
    count = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
    listed = "; ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return ApiError(409, "Conflict", f"Apply failed with {count}: {listed}", causes=causes)


def _shown(owner: Ownership) -> str:
    text = f'"{owner.manager}"'
    if owner.subresource:
        text += f' with subresource "{owner.subresource}"'
    return text if owner.operation is Operation.APPLY else f"{text} using {owner.api_version}"


def _merged(live: Json, intent: Json, shape: Shape) -> Json:
    if isinstance(intent, dict) and not shape.atomic:
        merged = live if isinstance(live, dict) else {}
        for name, value in intent.items():
            if value is not None:
                merged[name] = _merged(merged.get(name), value, shape.child(name))
        return merged
    if isinstance(intent, list) and shape.list_keys and isinstance(live, list):
        positions = {item_key(item, shape): position for position, item in enumerate(live)}
        for item in intent:
            position = positions.get(item_key(item, shape))
            if position is None:
                live.append(copied(item))
            else:
                live[position] = _merged(live[position], item, shape.items)
        return live
    if isinstance(intent, list) and shape.is_set and isinstance(live, list):
        return [*live, *(item for item in intent if item not in live)]
    return copied(intent)


def _removable(released: frozenset[Path], others: list[Ownership]) -> list[Path]:
    """Return the released paths that nobody else owns, nor anything below them; what is below one of them goes with it.

    The fields that identify a list item go with the item only, or the item could no longer be found.
    """
    kept = {path[:length] for owner in others for path in owner.paths for length in range(1, len(path) + 1)}
    candidates = released - kept
    return [
        path
        for path in sorted(candidates)
        if not any(path[:length] in candidates for length in range(1, len(path))) and not _identifies_item(path)
    ]


def _identifies_item(path: Path) -> bool:
    return len(path) > 1 and path[-2].startswith("k:") and path[-1].removeprefix("f:") in json.loads(path[-2][2:])


def _remove(obj: Json, path: Path, shape: Shape) -> None:
    """Take the value at `path` away, and every map or list around it that is empty then."""
    step, rest = path[0], path[1:]
    if step.startswith("f:"):
        name = step[2:]
        if not isinstance(obj, dict) or name not in obj:
            return
        if rest:
            _remove(obj[name], rest, shape.child(name))
        if not rest or obj[name] in ({}, []):
            del obj[name]
        return
    position = _position(obj, step, shape)
    if position is None:
        return
    if rest:
        _remove(obj[position], rest, shape.items)
    else:
        del obj[position]


def _position(items: Json, step: str, shape: Shape) -> int | None:
    """Return where in a list the item or the member is that a path step names, or None."""
    if not isinstance(items, list):
        return None
    steps = ("v:" + json.dumps(item) if step.startswith("v:") else item_step(item, shape) for item in items)
    return next((position for position, found in enumerate(steps) if found == step), None)
