"""What every controller has: the cluster that it looks after, its clock, and the ways in which it changes objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simulators.faults import Fault, FaultKind
from simulators.kubernetes.controllers.conditions import merged, timestamp
from simulators.kubernetes.controllers.events import EventRecorder
from simulators.kubernetes.controllers.timing import Alarm, Durations
from simulators.kubernetes.kinds import BY_KIND, Kind
from simulators.kubernetes.objects import Object, copied, is_owned_by, name_of, namespace_of
from simulators.kubernetes.provider import CloudProvider
from simulators.kubernetes.store import Store
from simulators.world import World

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster


@dataclass(frozen=True)
class Surroundings:
    """What the controllers of one cluster share."""

    cluster: Cluster
    world: World
    durations: Durations
    events: EventRecorder

    @property
    def store(self) -> Store:
        """The objects of the cluster."""
        return self.cluster.store

    @property
    def provider(self) -> CloudProvider:
        """The cloud that the cluster runs in."""
        return self.cluster.provider


class Controller(ABC):
    """Brings one kind of thing closer to its specification each time that `reconcile` is called.

    `reconcile` looks at the whole cluster, so that a missed event costs nothing, and changes nothing when nothing
    differs, so that the loop comes to rest.
    """

    name: ClassVar[str]
    """The component that events name as their source."""
    watches: ClassVar[tuple[Kind, ...]]
    """A change of an object of these kinds calls `reconcile`."""
    heeds_faults: ClassVar[bool] = False
    """Whether a change of the injected faults calls `reconcile` too."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self.cluster = surroundings.cluster
        self.store = surroundings.store
        self.provider = surroundings.provider
        self.durations = surroundings.durations
        self.events = surroundings.events
        self.alarm = Alarm(surroundings.world.clock)

    @abstractmethod
    def reconcile(self) -> None:
        """Take every step that can be taken now."""

    def affliction(self, obj: Object, *among: FaultKind) -> Fault | None:
        """Return the fault, of one of these kinds, that was met by the call which made the object or an owner of it."""
        kind = BY_KIND[obj["apiVersion"], obj["kind"]]
        fault = self.cluster.affliction(kind, namespace_of(obj), name_of(obj))
        if fault is not None and fault.kind in among:
            return fault
        references = obj["metadata"].get("ownerReferences") or ()
        found = (self.store.find(reference["uid"]) for reference in references if reference.get("controller"))
        inherited = (self.affliction(owner[1], *among) for owner in found if owner is not None)
        return next((fault for fault in inherited if fault is not None), None)

    def timestamp(self) -> str:
        """Return the simulated time as the API writes it."""
        return timestamp(self.surroundings.world.clock.now())

    def owned(self, kind: Kind, owner: Object) -> list[Object]:
        """Return the objects of `kind` that belong to `owner`."""
        return [obj for obj in self.store.list(kind, namespace_of(owner)) if is_owned_by(obj, owner)]

    def update_status(
        self, kind: Kind, obj: Object, status: Mapping[str, Any], findings: Sequence[Object] = ()
    ) -> Object:
        """Put fields and conditions into the status (None removes a field) and return the object as it is now."""
        before = obj.get("status") or {}
        after = {key: value for key, value in {**before, **status}.items() if value is not None}
        if findings:
            after["conditions"] = merged(after.get("conditions"), findings, self.timestamp())
        if after == before:
            return obj
        return self.store.save(kind, {**obj, "status": after})

    def update_spec(self, kind: Kind, obj: Object, spec: Mapping[str, Any]) -> Object:
        """Put fields into the specification and return the object as it is now."""
        return self.store.save(kind, {**obj, "spec": {**obj["spec"], **spec}})

    def update_metadata(self, kind: Kind, obj: Object, metadata: Mapping[str, Any]) -> Object:
        """Put fields into the metadata and return the object as it is now."""
        return self.store.save(kind, {**obj, "metadata": {**copied(obj["metadata"]), **metadata}})

    def add_finalizer(self, kind: Kind, obj: Object, finalizer: str) -> Object:
        """Make the object's deletion wait for this controller."""
        present = obj["metadata"].get("finalizers") or []
        if finalizer in present:
            return obj
        return self.update_metadata(kind, obj, {"finalizers": [*present, finalizer]})

    def remove_finalizer(self, kind: Kind, obj: Object, finalizer: str) -> None:
        """Let the object's deletion go on; the object is gone afterwards if nothing else holds it."""
        present = obj["metadata"].get("finalizers") or []
        if finalizer in present:
            self.update_metadata(kind, obj, {"finalizers": [entry for entry in present if entry != finalizer]})
