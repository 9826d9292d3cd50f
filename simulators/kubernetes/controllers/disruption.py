"""PodDisruptionBudgets: how many pods may be evicted now."""

from __future__ import annotations

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import finding
from simulators.kubernetes.controllers.controller import Controller
from simulators.kubernetes.controllers.pods import is_active, is_serving
from simulators.kubernetes.controllers.quantities import share
from simulators.kubernetes.kinds import BY_KIND
from simulators.kubernetes.objects import Object, is_terminating, labels_of, namespace_of
from simulators.kubernetes.selectors import matches_label_selector


class DisruptionController(Controller):
    """Keeps each budget's status, which evictions are decided by."""

    name = "disruption-controller"
    watches = (
        kinds.POD_DISRUPTION_BUDGETS,
        kinds.PODS,
        kinds.REPLICA_SETS,
        kinds.DEPLOYMENTS,
        kinds.STATEFUL_SETS,
    )

    def reconcile(self) -> None:
        """Count the pods of every budget."""
        for budget in self.store.list(kinds.POD_DISRUPTION_BUDGETS):
            if not is_terminating(budget):
                self._count(budget)

    def _count(self, budget: Object) -> None:
        spec = budget["spec"]
        pods = [
            pod
            for pod in self.store.list(kinds.PODS, namespace_of(budget))
            if is_active(pod) and matches_label_selector(spec.get("selector"), labels_of(pod))
        ]
        healthy = sum(is_serving(pod) for pod in pods)
        expected = self._expected(pods)
        if "maxUnavailable" in spec:
            desired = max(0, expected - share(spec["maxUnavailable"], expected, round_up=True))
        elif isinstance(spec.get("minAvailable", 1), str):
            desired = share(spec["minAvailable"], expected, round_up=True)
        else:
            desired, expected = spec.get("minAvailable", 1), len(pods)
        allowed = max(0, healthy - desired) if expected > 0 else 0
        self.update_status(
            kinds.POD_DISRUPTION_BUDGETS,
            budget,
            {
                "observedGeneration": budget["metadata"]["generation"],
                "currentHealthy": healthy,
                "desiredHealthy": desired,
                "expectedPods": expected,
                "disruptionsAllowed": allowed,
            },
            [finding("DisruptionAllowed", allowed > 0, "SufficientPods" if allowed else "InsufficientPods")],
        )

    def _expected(self, pods: list[Object]) -> int:
        """Return how many pods the owners of these want; a pod without an owner counts for itself."""
        owners: dict[str, Object] = {}
        alone = 0
        for pod in pods:
            owner = self._top_owner(pod)
            if owner is None:
                alone += 1
            else:
                owners[owner["metadata"]["uid"]] = owner
        return alone + sum(owner["spec"].get("replicas", 1) for owner in owners.values())

    def _top_owner(self, obj: Object) -> Object | None:
        for reference in obj["metadata"].get("ownerReferences") or ():
            found = self.store.find(reference["uid"]) if reference.get("controller") else None
            if found is not None and BY_KIND.get((reference["apiVersion"], reference["kind"])) is not None:
                return self._top_owner(found[1]) or found[1]
        return None
