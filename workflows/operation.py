"""What every operation on a deployment has in common: decisions, progress, and what the Temporal UI shows of it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from domain import markdown
    from domain.account import AccountStanding
    from domain.facts import DeploymentFacts
    from domain.operation import OperationKind, OperationPhase, OperationProgress, StepDecision, WaitingFor
    from domain.state import OperationOrder, OperationOutcome, OperationReport
    from workflows.temporal import ids
    from workflows.temporal import search_attributes as attributes

from workflows.step_runner import Steps, until, waiting_text

_KNOWS_ITS_ACCOUNT = "knows-its-account"
"""Patch: a worker of an earlier version took no notice of how the account stands; replayed, nor do we."""


class Operation:
    """One operation on one deployment. Subclasses say what is done; this class says how it is watched and steered."""

    kind: OperationKind

    def __init__(self, order: OperationOrder) -> None:
        self.order = order
        self.facts = order.facts
        self.started_at: datetime = workflow.now()
        self.ended_at: datetime | None = None
        self.phase = OperationPhase.RUNNING
        self.steps = Steps(
            cloud=order.site.cloud,
            site=order.site,
            pace=order.pace,
            board=self,
            approved=order.approved,
            standing=_heeded(order.standing),
        )
        self._reported = OperationReport(operation_id=order.operation_id, phase=self.phase)

    @workflow.update(description="Decide about a step that waits (retry, skip), or abort the operation")
    def decide(self, decision: StepDecision) -> str:
        """Take an operator's decision and return what follows from it."""
        self.steps.decide(decision)
        return f"{decision.choice} by {decision.actor}"

    @decide.validator
    def _check_decision(self, decision: StepDecision) -> None:
        if self.ended_at is not None:
            raise ApplicationError("the operation has ended", type="TooLate")
        if refusal := self.steps.refusal(decision):
            raise ApplicationError(refusal, type="NotNow")

    @workflow.signal(description="The deployment passes on how its account stands: held, released, narrowed, suspended")
    def account_changed(self, standing: AccountStanding) -> None:
        """Park, go on, or try again what the change may have cured."""
        if workflow.patched(_KNOWS_ITS_ACCOUNT):
            self.steps.account_changed(standing)

    @workflow.query(description="Steps in the order in which they started, and what is waited for")
    def progress(self) -> OperationProgress:
        """Return how the operation is going."""
        return OperationProgress(
            operation=self.order.operation_id,
            kind=self.kind,
            phase=self.phase,
            steps=self.steps.records,
            waiting_for=() if self.ended_at else self.steps.waiting_for,
            started_at=self.started_at,
            ended_at=self.ended_at,
            plan_hash=self.order.approved.hash if self.order.approved else "",
            approved_by=tuple(map(str, self.order.approved.approvals)) if self.order.approved else (),
        )

    @workflow.query(description="Who has to act, what is missing, and since when")
    def waiting_for(self) -> tuple[WaitingFor, ...]:
        """Return what the operation waits for."""
        return self.steps.waiting_for

    def steps_changed(self) -> None:
        """Show the present state: details in the Temporal UI, and the phase."""
        if self.phase in (OperationPhase.RUNNING, OperationPhase.WAITING):
            self.phase = OperationPhase.WAITING if self.steps.waiting_for else OperationPhase.RUNNING
        workflow.set_current_details(markdown.operation_details(self.progress()))

    async def finish(self, phase: OperationPhase, reporter: asyncio.Task[None], **result: object) -> OperationOutcome:
        """End the operation: tell the deployment, show the end, and return the outcome."""
        self.phase = phase
        self.ended_at = workflow.now()
        self.steps_changed()
        outcome = OperationOutcome.model_validate(
            {
                "operation_id": self.order.operation_id,
                "kind": self.kind,
                "phase": phase,
                "facts": self.facts,
                "ended_at": self.ended_at,
                **result,
            }
        )
        await until(lambda: reporter.done() and workflow.all_handlers_finished())
        await self._tell("operation_ended", outcome)
        return outcome

    def start_reporting(self) -> asyncio.Task[None]:
        """Begin to tell the deployment whenever what is waited for changes; ends with the operation."""
        return asyncio.create_task(self._keep_reporting())

    async def take_everything_back(self) -> None:
        """Undo what the steps made, newest first, and forget the facts about it."""
        self.phase = OperationPhase.UNDOING
        self.steps_changed()
        await self.steps.take_back()
        self.facts = DeploymentFacts()

    async def _keep_reporting(self) -> None:
        while self.ended_at is None:
            await until(lambda: self.ended_at is not None or self._report() != self._reported)
            report = self._report()
            if report == self._reported or self.ended_at is not None:
                continue
            waits_changed = waiting_text(report.waiting_for) != waiting_text(self._reported.waiting_for)
            self._reported = report
            if waits_changed:
                waiting = waiting_text(report.waiting_for) or attributes.NOBODY
                workflow.upsert_search_attributes([attributes.WAITING_FOR.value_set(waiting)])
            await self._tell("operation_reported", report)

    async def _tell(self, signal: str, message: object) -> None:
        """Signal the deployment. One that was ended from outside does not listen, which is no reason to fail."""
        deployment = workflow.get_external_workflow_handle(ids.deployment_id(self.order.site.deployment))
        with contextlib.suppress(FailureError):
            await deployment.signal(signal, message)

    def _report(self) -> OperationReport:
        """Return what the deployment is told; not the time of the next probe, which changes with every probe."""
        waits = tuple(wait.model_copy(update={"probe_at": None}) for wait in self.steps.waiting_for)
        return OperationReport(operation_id=self.order.operation_id, phase=self.phase, waiting_for=waits)


def _heeded(standing: AccountStanding | None) -> AccountStanding | None:
    """Return the standing with which an operation begins, if there is anything in it that it has to heed."""
    if standing is None or not (standing.parks or standing.withheld):
        return None
    return standing if workflow.patched(_KNOWS_ITS_ACCOUNT) else None
