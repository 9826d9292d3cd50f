"""ReplicaSets: as many pods of one template as asked for."""

from __future__ import annotations

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.controller import Controller
from simulators.kubernetes.controllers.pods import (
    create_pod,
    deletion_order,
    is_active,
    is_available,
    is_serving,
    random_suffix,
)
from simulators.kubernetes.objects import Object, is_terminating, labels_of, name_of


class ReplicaSetController(Controller):
    """Makes and deletes pods until each ReplicaSet has its number, and counts them in its status."""

    name = "replicaset-controller"
    watches = (kinds.REPLICA_SETS, kinds.PODS)

    def reconcile(self) -> None:
        """Take one step for every ReplicaSet."""
        for replica_set in self.store.list(kinds.REPLICA_SETS):
            if not is_terminating(replica_set):
                self._fill(replica_set)

    def _fill(self, replica_set: Object) -> None:
        wanted = replica_set["spec"].get("replicas", 1)
        pods = [pod for pod in self.owned(kinds.PODS, replica_set) if is_active(pod)]
        pods += [self._create(replica_set) for _ in range(wanted - len(pods))]
        surplus = sorted(pods, key=deletion_order)[: max(0, len(pods) - wanted)]
        for pod in surplus:
            self.store.delete(kinds.PODS, pod)
            self.events.normal(replica_set, self.name, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        self._count(replica_set, [pod for pod in pods if pod not in surplus])

    def _create(self, replica_set: Object) -> Object:
        name = f"{name_of(replica_set)}-{random_suffix()}"
        pod = create_pod(self.store, replica_set, replica_set["spec"]["template"], name, labels={})
        self.events.normal(replica_set, self.name, "SuccessfulCreate", f"Created pod: {name}")
        return pod

    def _count(self, replica_set: Object, pods: list[Object]) -> None:
        spec = replica_set["spec"]
        expected = (spec["template"].get("metadata") or {}).get("labels") or {}
        self.update_status(
            kinds.REPLICA_SETS,
            replica_set,
            {
                "replicas": len(pods),
                "fullyLabeledReplicas": sum(expected.items() <= labels_of(pod).items() for pod in pods),
                "readyReplicas": sum(is_serving(pod) for pod in pods),
                "availableReplicas": sum(is_available(pod, spec.get("minReadySeconds", 0), self.alarm) for pod in pods),
                "observedGeneration": replica_set["metadata"]["generation"],
            },
        )
