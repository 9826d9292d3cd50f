"""Events: what controllers tell people about an object (`kubectl describe` and `kubectl get events` show them)."""

from __future__ import annotations

import itertools
from typing import Final

from simulators.clock import Clock
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import timestamp
from simulators.kubernetes.objects import Object, copied, name_of, namespace_of
from simulators.kubernetes.store import Store

_KEPT: Final = 500
"""How many different events a cluster keeps; a real one forgets them after an hour."""


class EventRecorder:
    """Writes Event objects; the same message about the same object again only raises its count."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._serial = itertools.count(1)
        self._names: dict[tuple[str, str, str], tuple[str, str]] = {}
        """(namespace, name) of the Event, keyed by (uid of the object, reason, message)."""

    def normal(self, obj: Object, source: str, reason: str, message: str) -> None:
        """Record that something went as intended."""
        self._record("Normal", obj, source, reason, message)

    def warning(self, obj: Object, source: str, reason: str, message: str) -> None:
        """Record that something stands in the way."""
        self._record("Warning", obj, source, reason, message)

    def _record(self, type_: str, obj: Object, source: str, reason: str, message: str) -> None:
        namespace = namespace_of(obj) or "default"
        home = self._store.get(kinds.NAMESPACES, None, namespace)
        if home is None or "deletionTimestamp" in home["metadata"]:
            return
        now = timestamp(self._clock.now())
        key = (obj["metadata"]["uid"], reason, message)
        known = self._names.get(key)
        seen = self._store.get(kinds.EVENTS, *known) if known else None
        if seen is not None:
            again = copied(seen)
            again["count"] += 1
            again["lastTimestamp"] = now
            self._store.save(kinds.EVENTS, again)
            return
        name = f"{name_of(obj)}.{next(self._serial):016x}"
        self._names[key] = (namespace, name)
        self._store.create(
            kinds.EVENTS,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": {
                    "apiVersion": obj["apiVersion"],
                    "kind": obj["kind"],
                    "namespace": namespace_of(obj),
                    "name": name_of(obj),
                    "uid": obj["metadata"]["uid"],
                },
                "type": type_,
                "reason": reason,
                "message": message,
                "count": 1,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "source": {"component": source},
                "reportingComponent": source,
                "reportingInstance": "",
            },
            namespace,
        )
        if len(self._names) > _KEPT:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        key = next(iter(self._names))
        event = self._store.get(kinds.EVENTS, *self._names.pop(key))
        if event is not None:
            self._store.delete(kinds.EVENTS, event)
