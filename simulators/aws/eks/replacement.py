"""Replacing the machines of a node group one by one: a new one first, the old one emptied by eviction, then ended."""

from __future__ import annotations

from collections.abc import Callable

from simulators.aws.durations import Durations
from simulators.aws.eks.records import Document, NodeGroupRecord
from simulators.aws.eks.updates import GOING_ON, Errors
from simulators.clock import Clock
from simulators.kubernetes.draining import ask_to_leave, cordon, end_pods, patience_with, pods_to_move
from simulators.kubernetes.objects import Object, is_terminating
from simulators.kubernetes.simulator import Cluster


class Replacement:
    """The replacement of all machines that a group has when it begins."""

    def __init__(
        self,
        cluster: Cluster | None,
        clock: Clock,
        durations: Durations,
        group: NodeGroupRecord,
        *,
        launch: Callable[[], str | None],
        end: Callable[[str], None],
        force: bool,
    ) -> None:
        """Begin nothing yet; `launch` starts one more machine or says why it cannot, `end` takes one away."""
        self._cluster = cluster
        self._clock = clock
        self._durations = durations
        self._group = group
        self._launch = launch
        self._end = end
        self._force = force
        self._old: list[str] | None = None
        self._draining = ""
        """The machine that is being emptied, by its instance id; its successor runs already."""
        self._since = 0.0
        """Simulated instant at which a pod last went."""

    def go_on(self) -> Errors | None:
        """Do what can be done now; return None once all are replaced, else GOING_ON or why it cannot go on."""
        if self._old is None:
            self._old = list(self._group.instances)
        while True:
            if not self._draining:
                self._old = [each for each in self._old if each in self._group.instances]
                if not self._old:
                    return None
                if problem := self._launch():
                    return _error("NodeCreationFailure", problem, [self._name])
                self._draining = self._old.pop(0)
                self._since = self._clock.time()
                self._cordon(unschedulable=True)
            node = self._group.instances.get(self._draining)
            if node is not None and (left := self._evict_from(node)):
                return self._patience_with(node, left)
            if node is not None:
                self._end(self._draining)
            self._draining = ""

    def give_up(self) -> None:
        """Let pods onto the machine again that was being emptied."""
        self._cordon(unschedulable=False)
        self._draining = ""

    @property
    def _name(self) -> str:
        return str(self._group.description["nodegroupName"])

    def _cordon(self, *, unschedulable: bool) -> None:
        name = self._group.instances.get(self._draining)
        if name is not None:
            cordon(self._cluster, name, unschedulable=unschedulable)

    def _evict_from(self, node: str) -> list[Object]:
        """Ask every pod of the node to go, and return those that are still there."""
        if self._force:
            end_pods(self._cluster, node)
        elif ask_to_leave(self._cluster, node):
            self._since = self._clock.time()
        return pods_to_move(self._cluster, node)

    def _patience_with(self, node: str, pods: list[Object]) -> Errors:
        """Return GOING_ON while the pods may still go, and the error of EKS once they have been waited for in vain."""
        waited = self._clock.time() - self._since
        if all(is_terminating(pod) for pod in pods):
            return GOING_ON
        assert self._cluster is not None, "there are pods to wait for"
        patience = patience_with(self._cluster, pods, self._clock, self._durations.eviction_patience)
        if waited < patience:
            return GOING_ON
        message = f"Reached max retries while trying to evict pods from nodes in node group {self._name}"
        return _error("PodEvictionFailure", message, [node])


def _error(code: str, message: str, resources: list[str]) -> list[Document]:
    return [{"errorCode": code, "errorMessage": message, "resourceIds": resources}]
