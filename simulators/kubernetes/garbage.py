"""What goes when something else goes: dependents of a deleted owner, and the contents of a namespace."""

from __future__ import annotations

from simulators.kubernetes.kinds import BY_KIND, NAMESPACES, Kind
from simulators.kubernetes.objects import Object, copied, is_terminating, name_of, namespace_of
from simulators.kubernetes.store import (
    FOREGROUND_FINALIZER,
    ORPHAN_FINALIZER,
    Event,
    EventType,
    Propagation,
    Store,
)


class GarbageCollector:
    """Follows a store: collects by owner references, empties terminating namespaces, and lets go of what is empty."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        obj = event.object
        if event.type is EventType.DELETED:
            self._collect_dependents(obj["metadata"]["uid"])
            self._release_owners(obj)
            self._vacate(namespace_of(obj))
            return
        if not is_terminating(obj):
            self._collect_if_abandoned(event.kind, obj)
        elif event.kind is NAMESPACES:
            self._empty(name_of(obj))
        elif FOREGROUND_FINALIZER in obj["metadata"].get("finalizers", ()):
            self._collect_before(event.kind, obj)
        elif ORPHAN_FINALIZER in obj["metadata"].get("finalizers", ()):
            self._orphan_dependents(event.kind, obj)

    def _collect_dependents(self, uid: str) -> None:
        """Delete what the gone object owned, unless another of its owners is still there."""
        for kind, dependent in self._store.dependents(uid):
            if self._living_owners(dependent):
                self._drop_owner(kind, dependent, uid)
            else:
                self._store.delete(kind, dependent)

    def _collect_if_abandoned(self, kind: Kind, obj: Object) -> None:
        """Delete an object whose owners were all gone before it was made."""
        owners = obj["metadata"].get("ownerReferences")
        if owners and not self._living_owners(obj):
            self._store.delete(kind, obj)

    def _collect_before(self, kind: Kind, owner: Object) -> None:
        """Delete the dependents that block the owner's deletion; let the owner go once there is none."""
        uid = owner["metadata"]["uid"]
        blocking = [entry for entry in self._store.dependents(uid) if _blocks(entry[1], uid)]
        if not blocking:
            self._finish(kind, owner, FOREGROUND_FINALIZER)
        for dependent_kind, dependent in blocking:
            if not is_terminating(dependent):
                self._store.delete(dependent_kind, dependent, propagation=Propagation.FOREGROUND)

    def _release_owners(self, obj: Object) -> None:
        """Look again at the owners of a gone object: one that waits for its dependents may be free now."""
        for reference in obj["metadata"].get("ownerReferences") or ():
            found = self._store.find(reference["uid"])
            if found and FOREGROUND_FINALIZER in found[1]["metadata"].get("finalizers", ()):
                self._collect_before(*found)

    def _orphan_dependents(self, kind: Kind, owner: Object) -> None:
        for dependent_kind, dependent in self._store.dependents(owner["metadata"]["uid"]):
            self._drop_owner(dependent_kind, dependent, owner["metadata"]["uid"])
        self._finish(kind, owner, ORPHAN_FINALIZER)

    def _finish(self, kind: Kind, obj: Object, finalizer: str) -> None:
        def change(new: Object) -> None:
            finalizers = new["metadata"].get("finalizers", ())
            new["metadata"]["finalizers"] = [entry for entry in finalizers if entry != finalizer]

        self._store.update(kind, namespace_of(obj), name_of(obj), change)

    def _drop_owner(self, kind: Kind, obj: Object, uid: str) -> None:
        new = copied(obj)
        new["metadata"]["ownerReferences"] = [
            reference for reference in new["metadata"]["ownerReferences"] if reference["uid"] != uid
        ]
        self._store.save(kind, new)

    def _living_owners(self, obj: Object) -> list[Object]:
        """Return the owner references that lead to a living object, or to a kind that is not served here."""
        return [
            reference
            for reference in obj["metadata"].get("ownerReferences") or ()
            if self._store.find(reference["uid"]) or (reference["apiVersion"], reference["kind"]) not in BY_KIND
        ]

    def _empty(self, namespace: str) -> None:
        for kind, obj in self._store.contents(namespace):
            if not is_terminating(obj):
                self._store.delete(kind, obj)
        self._vacate(namespace)

    def _vacate(self, namespace: str) -> None:
        home = self._store.get(NAMESPACES, None, namespace) if namespace else None
        if home is not None and is_terminating(home):
            self._store.vacate(namespace)


def _blocks(obj: Object, owner_uid: str) -> bool:
    return any(
        reference["uid"] == owner_uid and reference.get("blockOwnerDeletion")
        for reference in obj["metadata"].get("ownerReferences") or ()
    )
