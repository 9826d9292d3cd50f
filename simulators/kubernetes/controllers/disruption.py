"""PodDisruptionBudgets: how many pods may be evicted now."""

from __future__ import annotations

from simulators.kubernetes import disruption, kinds
from simulators.kubernetes.controllers.conditions import finding
from simulators.kubernetes.controllers.controller import Controller
from simulators.kubernetes.objects import Object, is_terminating


class DisruptionController(Controller):
    """Keeps each budget's status: what the eviction of a pod would be decided by."""

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
        state = disruption.budget(self.store, budget)
        allowed = state.allowed
        self.update_status(
            kinds.POD_DISRUPTION_BUDGETS,
            budget,
            {
                "observedGeneration": budget["metadata"]["generation"],
                "currentHealthy": state.healthy,
                "desiredHealthy": state.desired_healthy,
                "expectedPods": state.expected,
                "disruptionsAllowed": allowed,
            },
            [finding("DisruptionAllowed", allowed > 0, "SufficientPods" if allowed else "InsufficientPods")],
        )
