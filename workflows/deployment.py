"""A deployment: the entity that owns one data plane from order to retirement."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError, ChildWorkflowError, FailureError
from temporalio.workflow import ChildWorkflowHandle, ContinueAsNewVersioningBehavior, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from domain import markdown
    from domain.account import AccountPhase, AccountStanding, Resident
    from domain.actor import CONTROL_PLANE, Actor
    from domain.approval import approved_plan
    from domain.failure import Party
    from domain.model import Model
    from domain.operation import OperationKind, OperationPhase
    from domain.state import (
        DeploymentOrder,
        DeploymentPhase,
        DeploymentState,
        Event,
        OperationAccepted,
        OperationOrder,
        OperationOutcome,
        OperationReport,
        OperationRequest,
        OperationSummary,
        QueuedOperation,
    )
    from domain.upgrade import UpgradeWork
    from workflows.temporal import ids
    from workflows.temporal import search_attributes as attributes
    from workflows.temporal.fresh_runs import fresh_run_is_due

from workflows.api_keys import ApiKeys, valid_keys
from workflows.step_runner import waiting_text

PAST_LENGTH = 50
TRAIL_LENGTH = 200
QUEUE_LENGTH = 20
CONTINUE_AT_EVENTS = 2_000
"""A cold query of a longer history comes near the workflow task's time limit."""

_WORKFLOWS = {
    OperationKind.PROVISION: "Provision",
    OperationKind.RECONFIGURE: "Reconfigure",
    OperationKind.UPGRADE: "Upgrade",
    OperationKind.RETIRE: "Retire",
}
"""Workflow types by name: imported here, their modules would be loaded once more for each idle deployment."""
_PRIORITY = {
    OperationKind.PROVISION: 1,
    OperationKind.RECONFIGURE: 1,
    OperationKind.RETIRE: 2,
    OperationKind.UPGRADE: 3,
}
"""Lower runs first. A customer's requests keep their order among themselves; leaving comes after them, and what is
routine last of all."""
_URGENT = 0
"""An urgent upgrade that may start comes before all of these."""

_PHASE_WHILE = {
    OperationKind.PROVISION: DeploymentPhase.PROVISIONING,
    OperationKind.RECONFIGURE: DeploymentPhase.CHANGING,
    OperationKind.UPGRADE: DeploymentPhase.CHANGING,
    OperationKind.RETIRE: DeploymentPhase.RETIRING,
}
_PROVISIONED = (OperationKind.PROVISION, OperationPhase.DONE)

_KNOWS_ITS_ACCOUNT = "knows-its-account"
"""Patch: a run that was begun before deployments joined their account joins it after its next continue-as-new."""
_WATCHES_WHAT_IT_INHERITED = "watches-what-it-inherited"
"""Patch: a run that was begun before does not notice if the operation that it inherited is ended from outside."""


@workflow.defn
class Deployment(ApiKeys):
    """Own one data plane from order to retirement: its specification, its facts, and every operation on it.

    1. Provision what was ordered
    2. Run what is requested, one operation at a time, each in a workflow of its own, approved where that was agreed on;
       upgrades in the windows of the customer
    3. End when it is retired, or when its first provisioning was aborted and taken back

    Whatever happens to an operation, the deployment stays: it knows what was made, and the next request goes on there.
    Its account tells it how things stand: while the customer holds the account no operation starts, and the one that
    runs is told to park.
    """

    @workflow.init
    def __init__(self, state: DeploymentState) -> None:
        super().__init__()
        self.state = state
        self._child: ChildWorkflowHandle[Any, OperationOutcome] | None = None
        self._outcome: OperationOutcome | None = None
        self._draining = False
        self._fresh_run_asked = False
        self._shown: tuple[str, str] = ("", "")
        self._inherited = state.running.summary.operation_id if state.running else ""
        """The operation that outlived a continue-as-new: there is no handle of it, and it has started."""
        self._watching: asyncio.Task[None] | None = None
        self._has_news = state.running is not None and state.standing is not None
        """Whether the running operation has to be told how the account stands."""

    @workflow.run
    async def run(self, state: DeploymentState) -> DeploymentState:  # noqa: ARG002 - taken by __init__
        """Work until retired."""
        if self.state.operations == 0:
            self._accept(self._first_request())
        self._show()
        self._passing_on = asyncio.create_task(self._keep_passing_on())
        self._telling = asyncio.create_task(self.keep_telling_rollouts())
        if self._inherited and workflow.patched(_WATCHES_WHAT_IT_INHERITED):
            self._watching = asyncio.create_task(self._watch_inherited())
        await self._join_account()
        while not self.state.phase.is_over:
            await self._until_something_is_to_be_done()
            if self._has_ended():
                await self._settle()
            elif self._can_start():
                await self._start_next()
            elif self.approvals_due():
                self.attend_to_approvals()
            elif self.maintenance_due():
                await self.attend_to_maintenance()
            elif self.members_due():
                self.attend_to_members()
            elif self._must_continue_as_new():
                await self._continue_as_new()
        await self.until_rollouts_are_told()
        await self._leave_account()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.state

    @workflow.update(description="Ask for an operation; returns where to watch it as soon as it is queued")
    def request(self, request: OperationRequest) -> OperationAccepted:
        """Queue an operation. The same request id gets the same operation again."""
        known = self._known(request.request_id)
        return self._answer(known or self._accept(request))

    @request.validator
    def _check_request(self, request: OperationRequest) -> None:
        if self._known(request.request_id):
            return
        self._refuse_unless_open()
        if request.kind is OperationKind.PROVISION and self.state.unsettled:
            raise ApplicationError(
                f"pods of two releases may run: {self.state.unsettled}; converging would put back what an upgrade has"
                " brought; ask for the upgrade again, to its end or aborted",
                type="Unsettled",
            )
        if request.kind is OperationKind.UPGRADE and (refusal := self.refusal_to_upgrade(request)):
            raise ApplicationError(refusal, type="NoPath")

    @workflow.update(
        description="Go on in a fresh run now: after a new version was deployed, or to shorten the history"
    )
    def continue_as_new_now(self, actor: Actor) -> int:
        """Ask for a fresh run; returns the number of the present one."""
        self._note("a fresh run was asked for", actor)
        self._fresh_run_asked = True
        return self.state.runs

    @workflow.signal(description="A running operation tells what it waits for")
    def operation_reported(self, report: OperationReport) -> None:
        """Show what the running operation waits for."""
        if self.state.running and self.state.running.summary.operation_id == report.operation_id:
            self.state = self.state.model_copy(update={"report": report})
            self._show()

    @workflow.signal(description="An operation that outlived a continue-as-new of this deployment has ended")
    def operation_ended(self, outcome: OperationOutcome) -> None:
        """Take the outcome of the running operation."""
        if self.state.running and self.state.running.summary.operation_id == outcome.operation_id:
            self._outcome = outcome

    @workflow.signal(description="The account tells how it stands: held, released, narrowed, suspended")
    def account_changed(self, standing: AccountStanding) -> None:
        """Keep the account's standing, and tell the running operation."""
        self.state = self.state.model_copy(update={"standing": standing})
        self._has_news = self.state.running is not None
        self._show()

    @workflow.query(name="state", description="Specification, facts, operations, keys and audit trail")
    def current_state(self) -> DeploymentState:
        """Return everything that is known about the deployment."""
        return self.state

    def _first_request(self) -> OperationRequest:
        return OperationRequest(
            request_id="order", kind=OperationKind.PROVISION, actor=self.state.order.actor, reason="ordered"
        )

    def _accept(self, request: OperationRequest) -> OperationSummary:
        number = self.state.operations + 1
        operation = ids.operation_id(request.kind, number)
        summary = OperationSummary(
            operation_id=operation,
            workflow_id=ids.operation_workflow_id(self.state.order.site.deployment, operation),
            request_id=request.request_id,
            kind=request.kind,
            actor=request.actor,
            reason=request.reason,
            asked_at=workflow.now(),
        )
        book = self.open_book(summary, request)
        appointment = self.appointment_of(request)
        self.supersede_for(operation, request)
        accepted = QueuedOperation(summary=summary, request=request, approval=book, appointment=appointment)
        queue = sorted((*self.state.queue, accepted), key=_rank)
        self._note(f"{request.kind} asked: {request.reason}".rstrip(": "), request.actor)
        order = self.state.order.model_copy(update={"approvals": self.policy_for(request.approvals)})
        self.state = self.state.model_copy(update={"queue": tuple(queue), "operations": number, "order": order})
        self._show()
        return summary

    def _answer(self, summary: OperationSummary) -> OperationAccepted:
        standing = self.state.standing
        parked = standing.hold_in_words() if standing and standing.parks and summary.ended_at is None else ""
        return OperationAccepted(operation_id=summary.operation_id, workflow_id=summary.workflow_id, parked=parked)

    async def _start_next(self) -> None:
        queued = self.startable()
        assert queued is not None, "`_can_start` has found one"
        if self.is_stale(queued):
            self.plan_anew(queued)
            return
        started = queued.summary.model_copy(update={"started_at": workflow.now(), "phase": OperationPhase.RUNNING})
        order = self.order_for(queued.request, started, at=workflow.now())
        if queued.approval is not None:
            plan = approved_plan(queued.approval, workflow.now())
            order = order.model_copy(update={"approved": plan})
            started = started.model_copy(update={"approved": plan.record()})
            queued = queued.model_copy(update={"approved": plan if queued.appointment else None})
        elif queued.approved is not None:
            order = order.model_copy(update={"approved": queued.approved})
        if queued.request.key_change is not None:
            self._change_keys(queued.request.key_change)
        queued, order = self.begun(queued, order)
        self.state = self.state.model_copy(
            update={
                "queue": tuple(each for each in self.state.queue if each.summary.operation_id != started.operation_id),
                "running": queued.model_copy(update={"summary": started}),
                "report": None,
                "order": self._order_after(queued.request),
            }
        )
        self._become(_PHASE_WHILE[started.kind])
        self._child = await workflow.start_child_workflow(
            _WORKFLOWS[started.kind],
            order,
            id=started.workflow_id,
            result_type=OperationOutcome,
            parent_close_policy=ParentClosePolicy.ABANDON,
            search_attributes=self._search_attributes(),
            static_summary=f"{started.kind} {self.state.order.site.deployment}",
            static_details=_asked_and_approved(started),
        )

    def _order_after(self, request: OperationRequest) -> DeploymentOrder:
        """Return the deployment's order with what a request changes in it."""
        changes = {
            name: value for name in ("spec", "shape", "release") if (value := getattr(request, name)) is not None
        }
        return self.state.order.model_copy(update=changes)

    def order_for(self, request: OperationRequest, summary: OperationSummary, *, at: datetime) -> OperationOrder:
        """Return the order with which an operation would start now; `at` is when its change of the keys counts from."""
        order = self._order_after(request)
        keys = self.state.api_keys if request.key_change is None else self._keys_after(request.key_change, at)
        return OperationOrder(
            operation_id=summary.operation_id,
            site=order.site.model_copy(update={"operation": summary.operation_id}),
            spec=order.spec,
            shape=order.shape,
            release=order.release,
            facts=self.state.facts,
            actor=summary.actor,
            pace=order.pace,
            reason=summary.reason,
            final_backup=request.final_backup,
            api_keys=valid_keys(keys, workflow.now()),
            first=not self._was_active(),
            standing=self.state.standing,
            upgrade=self._work_of(summary.operation_id),
            maintenance=request.maintenance,
        )

    def _work_of(self, operation: str) -> UpgradeWork | None:
        """Return what an upgrade would have to do now; None for any other operation."""
        for queued in self.state.queue:
            if queued.summary.operation_id == operation and queued.appointment is not None:
                return self.upgrade_work(queued.appointment, queued.request)
        return None

    def _search_attributes(self) -> TypedSearchAttributes:
        return workflow.info().typed_search_attributes.updated(
            SearchAttributePair(attributes.WAITING_FOR, attributes.NOBODY),
            SearchAttributePair(attributes.PHASE, OperationPhase.RUNNING),
        )

    def _has_ended(self) -> bool:
        return self._outcome is not None or (self._child is not None and self._child.done())

    async def _outcome_of_child(self, child: ChildWorkflowHandle[Any, OperationOutcome]) -> OperationOutcome:
        """Return how an operation ended, even if somebody terminated its workflow."""
        try:
            return await child
        except ChildWorkflowError as error:
            return await self._lost(f"{error.cause or error}")

    async def _watch_inherited(self) -> None:
        """Notice it if the operation that outlived a continue-as-new is ended from outside: nobody else would tell.

        One that ends by itself tells before it does.
        """
        ended = await self.end_of(self._required_running())
        running = self.state.running
        if self._outcome is None and running is not None and running.summary.operation_id == self._inherited:
            self._outcome = await self._lost(ended)

    async def _lost(self, ended: str) -> OperationOutcome:
        """Return the outcome of the running operation, whose workflow was ended from outside."""
        ended_at, running = workflow.now(), self._required_running()
        reached = await self.what_was_reached(running)
        return OperationOutcome(
            operation_id=running.summary.operation_id,
            kind=running.summary.kind,
            phase=OperationPhase.LOST,
            facts=reached.facts if reached else self.state.facts,
            ended_at=ended_at,
            summary=f"its workflow was ended from outside: {ended}",
            upgrade=reached.report if reached else None,
        )

    async def _settle(self) -> None:
        """Record how the running operation ended and what that makes of the deployment."""
        outcome, child = self._outcome, self._child
        self._outcome = self._child = None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if child is not None:
            outcome = await self._outcome_of_child(child)
        assert outcome is not None, "an operation has ended by its signal or by its workflow"
        running = self._required_running()
        ended = running.summary.model_copy(update={"ended_at": outcome.ended_at, "phase": outcome.phase})
        if running.appointment is not None:
            ended = ended.model_copy(update={"signature": _signature_of(outcome)})
        self._note(f"{ended.operation_id} {outcome.phase}: {outcome.summary}".rstrip(": "), CONTROL_PLANE)
        was_first = not self._was_active()
        self.state = self.state.model_copy(
            update={
                "was_active": not was_first or (ended.kind, ended.phase) == _PROVISIONED,
                "running": None,
                "report": None,
                "facts": outcome.facts,
                "receipt": outcome.receipt or self.state.receipt,
            }
        )
        if not self.upgrade_ended(running, outcome):
            self.state = self.state.model_copy(update={"past": (*self.state.past, ended)[-PAST_LENGTH:]})
            self.has_ended(running, ended, outcome.summary)
        self.refresh_appointments()
        self._become(self._phase_after(outcome, was_first=was_first))
        if self.state.phase.is_over:
            self.decline_the_rest()
        self.void_stale_plans()

    def _required_running(self) -> QueuedOperation:
        assert self.state.running is not None, "only a running operation ends"
        return self.state.running

    def _phase_after(self, outcome: OperationOutcome, *, was_first: bool) -> DeploymentPhase:
        match outcome.kind, outcome.phase:
            case OperationKind.RETIRE, OperationPhase.DONE:
                return DeploymentPhase.RETIRED
            case OperationKind.PROVISION, OperationPhase.ABORTED if was_first:
                return DeploymentPhase.ABORTED
            case OperationKind.PROVISION, OperationPhase.DONE:
                return DeploymentPhase.ACTIVE
            case _:
                return DeploymentPhase.ORDERED if was_first else DeploymentPhase.ACTIVE

    def _was_active(self) -> bool:
        return self.state.has_been_active

    def _can_start(self) -> bool:
        may_start = self.state.running is None and not self._draining and not self.state.is_held
        return may_start and self.startable() is not None

    async def _until_something_is_to_be_done(self) -> None:
        """Wait; with a timer only if something happens by itself: a window opens, or an approval expires."""
        instant = self._next_instant()
        left = None if instant is None else max(instant - workflow.now(), timedelta(0))
        summary = "Until an approval expires, or a plan is tried again"
        if instant != self.next_instant():
            summary = "Until a window opens or ends, or somebody is reminded"
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: (
                    self._has_ended()
                    or self._can_start()
                    or self.approvals_due()
                    or self.maintenance_due()
                    or self.members_due()
                    or self._must_continue_as_new()
                    or self._next_instant() != instant
                    or self.state.phase.is_over
                ),
                timeout=left,
                timeout_summary=summary if left is not None else None,
            )

    def _next_instant(self) -> datetime | None:
        """Return when something happens by itself, whichever is first; None if nothing does."""
        instants = (self.next_instant(), self.next_maintenance())
        return min((each for each in instants if each is not None), default=None)

    def _decline(self, queued: QueuedOperation) -> None:
        """Record an operation as declined, out of the queue."""
        self._move_to_past(queued, OperationPhase.DECLINED, "declined")

    def _put_away(self, queued: QueuedOperation, phase: OperationPhase, detail: str) -> None:
        """Record a queued operation as one that does not run any more, out of the queue, with the reason."""
        self._note(f"{queued.summary.operation_id} {phase}: {detail}".rstrip(": "), CONTROL_PLANE)
        self._move_to_past(queued, phase, detail)

    def _move_to_past(self, queued: QueuedOperation, phase: OperationPhase, detail: str) -> None:
        over = queued.summary.model_copy(update={"ended_at": workflow.now(), "phase": phase})
        self.state = self.state.model_copy(
            update={
                "queue": tuple(each for each in self.state.queue if each.summary.operation_id != over.operation_id),
                "past": (*self.state.past, over)[-PAST_LENGTH:],
            }
        )
        self.has_ended(queued, over, detail)
        self._show()

    def _end_if_nothing_was_ever_made(self) -> None:
        """End the deployment if all that was ever asked of it was declined."""
        ever_started = self.state.running is not None or any(past.started_at is not None for past in self.state.past)
        if not ever_started and not self.state.queue:
            self._become(DeploymentPhase.ABORTED)

    async def _join_account(self) -> None:
        """Tell the account that we live in it; it answers how it stands. One that is gone holds nobody."""
        if not workflow.patched(_KNOWS_ITS_ACCOUNT):
            self.state = self.state.model_copy(update={"standing": None})
        elif not await self._tell_account("deployment_joined"):
            account = self.state.order.site.account
            self.account_changed(AccountStanding(account=account, phase=AccountPhase.REVOKED, since=workflow.now()))

    async def _leave_account(self) -> None:
        if workflow.patched(_KNOWS_ITS_ACCOUNT):
            await self._tell_account("deployment_left")

    async def _tell_account(self, signal: str) -> bool:
        """Signal the account; return whether there is one."""
        site = self.state.order.site
        return await _signal(ids.account_id(site.account), signal, Resident(deployment=site.deployment))

    async def _keep_passing_on(self) -> None:
        """Pass the account's standing on to the running operation, in order, as soon as that has started."""
        while True:
            await workflow.wait_condition(lambda: self._has_news and self._can_be_told())
            self._has_news = False
            running = self._required_running().summary
            await _signal(running.workflow_id, "account_changed", self.state.standing)

    async def _tell_running(self, signal: str, message: str) -> None:
        """Signal the running operation once it has started."""
        await workflow.wait_condition(lambda: self._can_be_told() or self.state.running is None)
        if self.state.running is not None:
            await _signal(self.state.running.summary.workflow_id, signal, message)

    def _can_be_told(self) -> bool:
        """Whether the running operation's workflow is known to exist."""
        running = self.state.running
        return running is not None and (self._child is not None or running.summary.operation_id == self._inherited)

    def _must_continue_as_new(self) -> bool:
        return fresh_run_is_due(asked=self._fresh_run_asked, longest=CONTINUE_AT_EVENTS)

    async def _continue_as_new(self) -> None:
        """Go on in a fresh run with the whole state, once no handler is under way; a running operation goes on.

        The fresh run begins on the build that is current by then, whichever build this one is pinned to.
        """
        self._draining = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        await self.until_rollouts_are_told()
        workflow.continue_as_new(
            self.state.model_copy(update={"runs": self.state.runs + 1}),
            initial_versioning_behavior=ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _known(self, request_id: str) -> OperationSummary | None:
        """Return the operation that a request got before. One that was declined may be asked for again."""
        queued = [operation.summary for operation in self.state.queue]
        running = [self.state.running.summary] if self.state.running else []
        never_ran = (OperationPhase.DECLINED, OperationPhase.SUPERSEDED)
        past = [summary for summary in self.state.past if summary.phase not in never_ran]
        return next((summary for summary in (*queued, *running, *past) if summary.request_id == request_id), None)

    def _leaving(self) -> OperationSummary | None:
        """Return the retirement that runs or has its turn to come; one that still has to be approved holds nothing."""
        running = [self.state.running] if self.state.running else []
        queued = [each for each in self.state.queue if self._waits_for_nobody(each)]
        return next((each.summary for each in (*running, *queued) if each.summary.kind is OperationKind.RETIRE), None)

    def _refuse_unless_open(self) -> None:
        """Refuse a request for an operation if the deployment takes none: it is over, being retired, or busy."""
        self._refuse_if_over()
        if len(self.state.queue) >= QUEUE_LENGTH:
            raise ApplicationError(f"{QUEUE_LENGTH} operations are queued already", type="Busy")
        leaving = self._leaving()
        if leaving:
            raise ApplicationError(f"the deployment is being retired by {leaving.operation_id}", type="TooLate")

    def _refuse_if_over(self) -> None:
        if self.state.phase.is_over:
            raise ApplicationError(f"the deployment is {self.state.phase}", type="TooLate")

    def _become(self, phase: DeploymentPhase) -> None:
        self.state = self.state.model_copy(update={"phase": phase, "since": workflow.now()})
        self._show()

    def _note(self, what: str, actor: Actor) -> None:
        event = Event(at=workflow.now(), what=what, actor=actor)
        self.state = self.state.model_copy(update={"trail": (*self.state.trail, event)[-TRAIL_LENGTH:]})

    def _show(self) -> None:
        """Make search attributes and the details in the Temporal UI say what is true now."""
        waits = waiting_text(self.state.report.waiting_for).split(", ") if self.state.report else []
        if self.state.is_held and self.state.queue and self.state.running is None:
            waits.append(str(Party.CUSTOMER))
        waiting = ", ".join(dict.fromkeys(each for each in (*waits, *self.parties()) if each))
        shown = (str(self.state.phase), waiting or attributes.NOBODY)
        if shown != self._shown:
            self._shown = shown
            workflow.upsert_search_attributes(
                [attributes.PHASE.value_set(shown[0]), attributes.WAITING_FOR.value_set(shown[1])]
            )
        workflow.set_current_details(markdown.deployment_details(self.state))

    def _show_versions(self) -> None:
        """Make the search attributes say which release and which Kubernetes version run."""
        spec = self.state.order.spec
        workflow.upsert_search_attributes(
            [attributes.RELEASE.value_set(spec.release), attributes.KUBERNETES.value_set(spec.kubernetes)]
        )


async def _signal(workflow_id: str, signal: str, message: Model | str | None) -> bool:
    """Signal another workflow; return whether it was there to hear it. That it was not is no reason to fail."""
    try:
        await workflow.get_external_workflow_handle(workflow_id).signal(signal, message)
    except FailureError:
        return False
    return True


def _rank(queued: QueuedOperation) -> int:
    """Return an operation's place among what waits: lower runs first."""
    urgent = queued.appointment is not None and queued.appointment.urgent
    return _URGENT if urgent else _PRIORITY[queued.summary.kind]


def _signature_of(outcome: OperationOutcome) -> str:
    """Return what went wrong with an upgrade, the same on every deployment; empty if nothing did."""
    if outcome.phase in (OperationPhase.DONE, OperationPhase.PARKED):
        return ""
    return (outcome.upgrade.signature if outcome.upgrade else "") or f"upgrade/{outcome.phase}"


def _asked_and_approved(summary: OperationSummary) -> str:
    """Return who asked for an operation and who approved which plan of it, for the Temporal UI."""
    asked = f"Asked by {summary.actor}" + (f": {summary.reason}" if summary.reason else "")
    if summary.approved is None:
        return asked
    return f"{asked}\n\nPlan {summary.approved.hash}, approved by " + ", ".join(map(str, summary.approved.approvals))
