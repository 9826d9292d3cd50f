"""Reconfiguration: what changes in a running server without an upgrade. Today: its HTTP API keys."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import ApiKeysRequest
    from domain.operation import OperationKind, OperationPhase
    from domain.state import OperationOrder, OperationOutcome

from workflows import steps
from workflows.operation import Operation
from workflows.steps import Aborted


@workflow.defn
class Reconfigure(Operation):
    """Make the running server accept exactly the API keys that are valid.

    1. Apply the API keys

    Nothing is taken back on an abort: the keys that the deployment knows are the truth; the next change applies them.
    """

    kind = OperationKind.RECONFIGURE

    @workflow.init
    def __init__(self, order: OperationOrder) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OperationOrder) -> OperationOutcome:
        """Apply the keys."""
        reporter = self.start_reporting()
        if order.facts.cluster is None:
            return await self.finish(OperationPhase.ABORTED, reporter, summary="there is no cluster")
        try:
            await self.steps.run(
                steps.APPLY_API_KEYS,
                ApiKeysRequest(site=order.site, cluster=order.facts.cluster, keys=order.api_keys),
            )
        except Aborted:
            return await self.finish(OperationPhase.ABORTED, reporter, summary="aborted")
        return await self.finish(OperationPhase.DONE, reporter, summary="the API keys are applied")
