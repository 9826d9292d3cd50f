"""Reconfiguration: what changes in a running server without an upgrade: its HTTP API keys, its maintenance windows."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import ApiKeysRequest, MaintenanceRequest
    from domain.operation import OperationKind, OperationPhase
    from domain.state import OperationOrder, OperationOutcome

from workflows import steps
from workflows.operation import Operation
from workflows.step_runner import Aborted


@workflow.defn
class Reconfigure(Operation):
    """Make the running server accept exactly the API keys that are valid, and its cloud heed the windows.

    1. Apply the API keys
    2. If the windows have changed, set the provider's own maintenance policy

    Nothing is taken back on an abort: the keys that the deployment knows are the truth; the next change applies them.
    """

    kind = OperationKind.RECONFIGURE

    @workflow.init
    def __init__(self, order: OperationOrder) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OperationOrder) -> OperationOutcome:
        """Apply the keys, and the windows if they have changed."""
        reporter = self.start_reporting()
        cluster = order.facts.cluster
        if cluster is None:
            return await self.finish(OperationPhase.ABORTED, reporter, summary="there is no cluster")
        try:
            await self.steps.run(
                steps.APPLY_API_KEYS, ApiKeysRequest(site=order.site, cluster=cluster, keys=order.api_keys)
            )
            if order.maintenance:  # No history from before there were windows has an order that says so.
                await self.steps.run_or_skip(
                    steps.SET_MAINTENANCE_POLICY,
                    MaintenanceRequest(
                        site=order.site,
                        cluster=cluster,
                        windows=order.spec.windows,
                        exclusions=order.spec.exclusions,
                    ),
                )
        except Aborted:
            return await self.finish(OperationPhase.ABORTED, reporter, summary="aborted")
        return await self.finish(OperationPhase.DONE, reporter, summary="the API keys are applied")
