"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, for `kubectl rollout undo`."""

from __future__ import annotations

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.pods import REVISION_HASH, template_hash
from simulators.kubernetes.objects import (
    Object,
    copied,
    is_owned_by,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)
from simulators.kubernetes.store import Store


def revisions_of(store: Store, owner: Object) -> list[Object]:
    """Return the revisions that belong to `owner`, oldest first."""
    present = store.list(kinds.CONTROLLER_REVISIONS, namespace_of(owner))
    owned = [entry for entry in present if is_owned_by(entry, owner)]
    return sorted(owned, key=lambda entry: int(entry["revision"]))


def current_revision(store: Store, owner: Object) -> Object:
    """Return the revision of the owner's template, made if it is new and renumbered as the newest if it is old."""
    present = revisions_of(store, owner)
    newest = int(present[-1]["revision"]) if present else 0
    hashed = template_hash(owner["spec"]["template"])
    found = next((entry for entry in present if labels_of(entry)[REVISION_HASH] == hashed), None)
    if found is None:
        return store.create(kinds.CONTROLLER_REVISIONS, _new(owner, hashed, newest + 1), namespace_of(owner))
    if int(found["revision"]) == newest:
        return found
    return store.save(kinds.CONTROLLER_REVISIONS, {**found, "revision": newest + 1})


def prune(store: Store, owner: Object, kept_names: set[str]) -> None:
    """Delete the oldest revisions beyond the history that the owner keeps, except those that pods still use."""
    unused = [entry for entry in revisions_of(store, owner) if name_of(entry) not in kept_names]
    for entry in unused[: max(0, len(unused) - owner["spec"].get("revisionHistoryLimit", 10))]:
        store.delete(kinds.CONTROLLER_REVISIONS, entry)


def template_in(revision: Object) -> Object:
    """Return the pod template that a revision keeps, without the marker that makes it a strategic merge patch."""
    template: Object = copied(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def _new(owner: Object, hashed: str, number: int) -> Object:
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return {
        "metadata": {
            "name": f"{name_of(owner)}-{hashed}",
            "labels": {**labels, REVISION_HASH: hashed},
            "ownerReferences": [owner_reference(owner)],
        },
        "revision": number,
        "data": {"spec": {"template": {**copied(owner["spec"]["template"]), "$patch": "replace"}}},
    }
