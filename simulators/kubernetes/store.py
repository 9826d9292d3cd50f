"""The objects of one cluster: what etcd and the registry layer of a real API server keep, without the HTTP."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import uuid4

from simulators.clock import Clock
from simulators.kubernetes import errors
from simulators.kubernetes.defaults import initial_status, set_defaults
from simulators.kubernetes.kinds import KINDS, NAMESPACES, PODS, Kind
from simulators.kubernetes.objects import Object, copied, is_terminating, labels_of, name_of, namespace_of
from simulators.kubernetes.selectors import matches

FOREGROUND_FINALIZER = "foregroundDeletion"
ORPHAN_FINALIZER = "orphan"
HISTORY_LENGTH = 20_000
"""How many events a watch can go back; earlier ones answer 410."""


class EventType(StrEnum):
    """What happened to an object, in the words of a watch."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Propagation(StrEnum):
    """What a deletion does to the dependents of its object."""

    BACKGROUND = "Background"
    """They go once the owner is gone."""
    FOREGROUND = "Foreground"
    """The owner stays, terminating, until they are gone."""
    ORPHAN = "Orphan"
    """They stay and lose the reference to their owner."""


_FINALIZERS = {Propagation.FOREGROUND: FOREGROUND_FINALIZER, Propagation.ORPHAN: ORPHAN_FINALIZER}


@dataclass(frozen=True)
class Event:
    """One change of one object."""

    resource_version: int
    type: EventType
    kind: Kind
    object: Object
    previous: Object | None
    """The object as it was, None when it was added."""


Subscriber = Callable[[Event], None]
Objects: TypeAlias = list[Object]
Entries: TypeAlias = list[tuple[Kind, Object]]
Events: TypeAlias = list[Event]
Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""


class Store:
    """Keeps the objects of one cluster and tells subscribers about each change, in order.

    Objects that `get` and `list` return belong to the store and never change: a change is a `copied` object given to
    `save`, or a function given to `update`. All methods run on the event loop's thread; subscribers are called before
    the method returns (a change made by a subscriber is announced after the one that it answers).
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.changed = asyncio.Event()
        """Set by every change; the one waiter (the controllers' task) clears it."""
        self._objects: dict[Kind, dict[Key, Object]] = {kind: {} for kind in KINDS}
        self._by_uid: dict[str, tuple[Kind, Key]] = {}
        self._resource_version = 1
        self._history: deque[Event] = deque(maxlen=HISTORY_LENGTH)
        self._oldest = 0
        self._subscribers: list[Subscriber] = []
        self._unannounced: deque[Event] = deque()
        self._announcing = False

    @property
    def resource_version(self) -> int:
        """The version of the newest change in the whole cluster."""
        return self._resource_version

    def now(self, ahead: float = 0.0) -> str:
        """Return the simulated time, `ahead` simulated seconds later, in the format of Kubernetes' timestamps."""
        instant = self.clock.now() if not ahead else datetime.fromtimestamp(self.clock.time() + ahead, UTC)
        return instant.strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- reading

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Return the object, or None; `namespace` is ignored for a cluster-scoped kind."""
        return self._objects[kind].get((namespace or "" if kind.namespaced else "", name))

    def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Objects:
        """Return the objects in a namespace (None: in all) that match a label selector, by namespace and name."""
        found = sorted(self._objects[kind].items())
        return [
            obj
            for (home, _), obj in found
            if (not namespace or home == namespace) and (not selector or matches(selector, labels_of(obj)))
        ]

    def find(self, uid: str) -> tuple[Kind, Object] | None:
        """Return the object of that uid with its kind, or None if it is gone."""
        entry = self._by_uid.get(uid)
        return None if entry is None else (entry[0], self._objects[entry[0]][entry[1]])

    def dependents(self, uid: str) -> Entries:
        """Return every object that names the uid among its owners, with its kind."""
        return [
            (kind, obj)
            for kind, objects in self._objects.items()
            for obj in objects.values()
            if any(owner["uid"] == uid for owner in obj["metadata"].get("ownerReferences") or ())
        ]

    def contents(self, namespace: str) -> Entries:
        """Return every object in a namespace, with its kind."""
        return [
            (kind, obj)
            for kind, objects in self._objects.items()
            if kind.namespaced
            for (home, _), obj in objects.items()
            if home == namespace
        ]

    # --- writing

    def create(self, kind: Kind, obj: Object, namespace: str | None = None) -> Object:
        """Add the object (copied) and return it as stored, with uid, timestamps and versions.

        Raises ApiError: AlreadyExists, NotFound for a missing namespace, Forbidden in a namespace that terminates.
        """
        return self.add(kind, self.prepared(kind, obj, namespace))

    def add(self, kind: Kind, prepared: Object) -> Object:
        """Add an object that `prepared` returned just before, and return it."""
        self._by_uid[prepared["metadata"]["uid"]] = (kind, _key(prepared))
        self._put(kind, prepared, EventType.ADDED, None)
        return prepared

    def prepared(self, kind: Kind, obj: Object, namespace: str | None = None) -> Object:
        """Return what `create` would store, with its defaults, without storing it; raises as `create`."""
        new: Object = {"apiVersion": kind.api_version, "kind": kind.kind, **copied(obj)}
        metadata = new.setdefault("metadata", {})
        if kind.namespaced:
            metadata.setdefault("namespace", namespace or "default")
        else:
            metadata.pop("namespace", None)
        if not metadata.get("name"):
            metadata["name"] = metadata.get("generateName", "") + uuid4().hex[:5]
        if kind.namespaced:
            home = self.get(NAMESPACES, None, metadata["namespace"])
            if home is None:
                raise errors.not_found(NAMESPACES, metadata["namespace"])
            if is_terminating(home):
                raise errors.namespace_terminates(kind, metadata["name"], metadata["namespace"])
        if _key(new) in self._objects[kind]:
            raise errors.already_exists(kind, metadata["name"])
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(field, None)
        metadata.update(uid=str(uuid4()), creationTimestamp=self.now(), resourceVersion=str(self._resource_version))
        if kind.generations:
            metadata["generation"] = 1
        if "status" not in new and (status := initial_status(kind)) is not None:
            new["status"] = status
        set_defaults(kind, new, self)
        return new

    def save(self, kind: Kind, obj: Object) -> Object:
        """Put a changed object in place of the stored one and return what is stored then.

        Nothing happens if nothing but the version differs. The generation counts changes outside metadata and status.
        An object that terminates and has lost its last finalizer is removed. Raises ApiError NotFound if the object
        is gone, Conflict if a namesake has taken its place. The caller gives `obj` away: it is not copied.
        """
        old = self.get(kind, namespace_of(obj), name_of(obj))
        if old is None:
            raise errors.not_found(kind, name_of(obj))
        if old["metadata"]["uid"] != obj["metadata"].get("uid", old["metadata"]["uid"]):
            raise errors.conflict(kind, name_of(obj), "the object has been replaced by another of the same name")
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}}
        if obj == old:
            return old
        if kind.generations and _specification(obj) != _specification(old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if _may_go(kind, obj):
            return self._remove(kind, obj, old)
        self._put(kind, obj, EventType.MODIFIED, old)
        return obj

    def update(self, kind: Kind, namespace: str | None, name: str, change: Callable[[Object], None]) -> Object | None:
        """Apply `change` to a copy of the object and save it; return what is stored then, None if it is gone."""
        old = self.get(kind, namespace, name)
        if old is None:
            return None
        new = copied(old)
        change(new)
        return self.save(kind, new)

    def delete(
        self,
        kind: Kind,
        obj: Object,
        *,
        grace_period_seconds: int | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
    ) -> Object:
        """Delete the object, or mark it as terminating; return it as it was last.

        It stays, marked with a `deletionTimestamp`, while it has finalizers, while it is a namespace with contents, and
        while it is a pod on a node whose grace period is not 0 (its kubelet then deletes it with grace period 0).
        Deleting what is gone already does nothing. Whoever subscribes collects the dependents (see garbage.py).
        """
        old = self.get(kind, namespace_of(obj), name_of(obj))
        if old is None or old["metadata"]["uid"] != obj["metadata"].get("uid", old["metadata"]["uid"]):
            return obj
        new = copied(old)
        metadata = new["metadata"]
        grace = _grace_period(kind, old, grace_period_seconds)
        if not is_terminating(old):
            metadata["deletionTimestamp"] = self.now(ahead=grace)
            finalizer = _FINALIZERS.get(propagation)
            if finalizer and finalizer not in metadata.get("finalizers", ()):
                metadata["finalizers"] = [*metadata.get("finalizers", ()), finalizer]
            if kind.generations:
                metadata["generation"] = metadata.get("generation", 0) + 1
            if kind is NAMESPACES:
                new["status"] = {**new.get("status", {}), "phase": "Terminating"}
            metadata["deletionGracePeriodSeconds"] = grace
        elif grace < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionGracePeriodSeconds"] = grace
        return self.save(kind, new)

    def vacate(self, namespace: str) -> bool:
        """Remove a terminating namespace if it is empty; return whether it is gone."""
        home = self.get(NAMESPACES, None, namespace)
        if home is None:
            return True
        if not is_terminating(home) or self.contents(namespace):
            return False
        new = copied(home)
        new["spec"] = {**new.get("spec", {}), "finalizers": []}
        self.save(NAMESPACES, new)
        return self.get(NAMESPACES, None, namespace) is None

    # --- following

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` for every change from now on; return a function that ends this."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def since(self, resource_version: int) -> Events:
        """Return the changes after a version, oldest first; raises ApiError Expired if they are not all kept."""
        if resource_version < self._oldest:
            raise errors.expired(resource_version, self._oldest)
        newer: Events = []
        for event in reversed(self._history):
            if event.resource_version <= resource_version:
                break
            newer.append(event)
        return newer[::-1]

    def compact(self) -> None:
        """Forget the history, as etcd does every five minutes: a watch from an earlier version answers 410."""
        self._history.clear()
        self._oldest = self._resource_version

    # --- inside

    def _put(self, kind: Kind, obj: Object, type_: EventType, previous: Object | None) -> None:
        self._resource_version += 1
        obj["metadata"]["resourceVersion"] = str(self._resource_version)
        self._objects[kind][_key(obj)] = obj
        self._announce(Event(self._resource_version, type_, kind, obj, previous))

    def _remove(self, kind: Kind, obj: Object, previous: Object) -> Object:
        self._resource_version += 1
        obj["metadata"]["resourceVersion"] = str(self._resource_version)
        del self._objects[kind][_key(obj)]
        self._by_uid.pop(obj["metadata"]["uid"], None)
        self._announce(Event(self._resource_version, EventType.DELETED, kind, obj, previous))
        return obj

    def _announce(self, event: Event) -> None:
        if len(self._history) == HISTORY_LENGTH:
            self._oldest = self._history[0].resource_version
        self._history.append(event)
        self.changed.set()
        self._unannounced.append(event)
        if self._announcing:
            return
        self._announcing = True
        try:
            while self._unannounced:
                next_event = self._unannounced.popleft()
                for subscriber in tuple(self._subscribers):
                    subscriber(next_event)
        finally:
            self._announcing = False


def _key(obj: Object) -> Key:
    return (namespace_of(obj), name_of(obj))


def _specification(obj: Object) -> Object:
    return {field: value for field, value in obj.items() if field not in ("metadata", "status")}


def _grace_period(kind: Kind, obj: Object, asked: int | None) -> int:
    """Return how many seconds a deletion waits for the kubelet: only pods that are on a node have one."""
    if kind is not PODS or not obj.get("spec", {}).get("nodeName") or _has_ended(obj):
        return 0
    default: int = obj["spec"].get("terminationGracePeriodSeconds", 30)
    return default if asked is None else asked


def _has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _may_go(kind: Kind, obj: Object) -> bool:
    """Return whether nothing keeps a terminating object any longer."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if kind is NAMESPACES:
        return not obj.get("spec", {}).get("finalizers")
    return not math.ceil(metadata.get("deletionGracePeriodSeconds") or 0)
