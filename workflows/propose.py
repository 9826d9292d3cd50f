"""The monthly cadence: what should be rolled out, proposed by a schedule."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.contracts import ProposalAnswer, ProposalContract, ProposalQuestion
    from workflows.temporal import queues


@workflow.defn
class Propose:
    """Propose what is due this month.

    1. Start the rollouts that are due: the newest release, to be approved before its first wave, and the next
       Kubernetes version where deployments run an expired one
    """

    @workflow.run
    async def run(self) -> ProposalAnswer:
        """Propose, and say what."""
        return await workflow.execute_activity_method(
            ProposalContract.propose_rollouts,
            ProposalQuestion(at=workflow.now()),
            task_queue=queues.SERVICES,
            start_to_close_timeout=timedelta(minutes=5),
            schedule_to_close_timeout=timedelta(days=1),
            heartbeat_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=10)),
            summary="Propose the rollouts that are due",
        )
