"""Replacing the machines of a node pool in an upgrade: a new one first, the old one emptied by eviction, then ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from simulators.azure.records import Record
from simulators.azure.refusals import Refusal
from simulators.clock import Clock
from simulators.kubernetes.disruption import budgets_of
from simulators.kubernetes.draining import ask_to_leave, cordon, patience_with, pods_to_move
from simulators.kubernetes.objects import Object, is_terminating, name_of, namespace_of
from simulators.kubernetes.simulator import Cluster


@dataclass(frozen=True)
class Deeds:
    """What a replacement does with machines."""

    launch: Callable[[Record], Record]
    """Start the successor of a machine, in its zone."""
    end: Callable[[Record], None]
    exists: Callable[[Record], bool]


class Replacement:
    """The replacement of some machines of one pool, one after the other."""

    def __init__(
        self, cluster: Cluster | None, clock: Clock, old: Iterable[Record], deeds: Deeds, *, drain_seconds: float
    ) -> None:
        """Begin nothing yet; `drain_seconds` is how long, in simulated time, one machine may take to be empty."""
        self._cluster = cluster
        self._clock = clock
        self._old = list(old)
        self._deeds = deeds
        self._drain_seconds = drain_seconds
        self._draining: Record | None = None
        self._successor: Record | None = None
        self._since = 0.0

    def is_done(self) -> bool:
        """Do what can be done now, and return whether every machine is replaced.

        Raises Refusal with the pod that is in the way, once it has been waited for in vain; the machine is in service
        again then, and the new one beside it is gone.
        """
        while self._draining is not None or self._old:
            if self._draining is None:
                self._begin_with(self._old.pop(0))
                continue
            if left := self._evict_from(self._draining):
                self._wait_for(left)
                return False
            self._deeds.end(self._draining)
            self._draining = self._successor = None
        return True

    def _begin_with(self, machine: Record) -> None:
        if not self._deeds.exists(machine):
            return
        self._successor = self._deeds.launch(machine)
        self._draining, self._since = machine, self._clock.time()
        cordon(self._cluster, _node_of(machine))

    def _evict_from(self, machine: Record) -> list[Object]:
        """Ask every pod of a machine to go, and return those that are still there."""
        if not self._deeds.exists(machine):
            return []
        if ask_to_leave(self._cluster, _node_of(machine)) and math.isinf(self._clock.speed):
            # The others of its budget have their patience anew.
            self._since = self._clock.time()
        return pods_to_move(self._cluster, _node_of(machine))

    def _wait_for(self, pods: list[Object]) -> None:
        staying = [pod for pod in pods if not is_terminating(pod)]
        assert self._cluster is not None, "there are pods to wait for"
        patience = patience_with(self._cluster, staying, self._clock, self._drain_seconds)
        if not staying or self._clock.time() - self._since < patience:
            return
        assert self._draining is not None
        cordon(self._cluster, _node_of(self._draining), unschedulable=False)
        if self._successor is not None:
            self._deeds.end(self._successor)
        node, self._draining, self._successor = _node_of(self._draining), None, None
        raise Refusal(400, "UpgradeFailed", self._reason(node, staying[0]))

    def _reason(self, node: str, pod: Object) -> str:
        assert self._cluster is not None, "there is a pod in the way"
        blocking = next((name_of(each) for each in budgets_of(self._cluster.store, pod)), "")
        return (
            f"Drain node {node} failed when evicting pod {name_of(pod)} failed with Too Many Requests error. This is"
            " often caused by a restrictive Pod Disruption Budget (PDB) policy. See"
            " http://aka.ms/aks/debugdrainfailures. PDB debug info:"
            f" {namespace_of(pod)}/{name_of(pod)} blocked by pdb {blocking} with 0 unready pods: []."
        )


def _node_of(machine: Record) -> str:
    return str(machine.properties["osProfile"]["computerName"])
