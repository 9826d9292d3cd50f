"""The part of a deployment that has operations approved: their plans, and who has approved them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityHandle

from activities.contracts import PlanningContract, PlanQuestion
from domain import approval
from domain.actor import CONTROL_PLANE, Actor
from domain.approval import (
    ApprovalBook,
    ApprovalDecision,
    ApprovalPolicy,
    ApprovalStanding,
    Delegation,
    DelegationRequest,
    RiskClass,
    Side,
)
from domain.failure import Party
from domain.model import Model
from domain.operation import OperationKind, OperationPhase
from domain.plan import Plan, basis_of, summary_of
from domain.state import (
    DeploymentState,
    OperationOrder,
    OperationRequest,
    OperationSummary,
    QueuedOperation,
)
from workflows.step_runner import detail_of
from workflows.temporal import queues

MAX_DELEGATIONS = 50

_ATTEMPT = timedelta(minutes=5)
"""Plans are made one at a time: one may have to wait for others."""
_LIVENESS = timedelta(seconds=30)
"""A rehearsal keeps a processor busy, and its signs of life may be late."""
_DEADLINE = timedelta(minutes=30)
"""How long Temporal tries to have a plan made before an operator is asked."""
_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=60)
)
_PARTIES = {Side.VENDOR: Party.VENDOR, Side.CUSTOMER: Party.CUSTOMER}


class PlanningRequest(Model):
    """Somebody wants an operation planned again whose planning has failed."""

    operation_id: str
    actor: Actor


class Approvals(ABC):
    """Has the operations of a deployment approved; `domain.approval` has the rules.

    An operation that needs approvals stays in the queue, with a book of them, until everybody has approved its plan;
    others overtake it meanwhile. Its plan is void as soon as what it was made from has changed.
    """

    state: DeploymentState

    def __init__(self) -> None:
        self._planning: dict[str, tuple[str, ActivityHandle[Plan]]] = {}
        """Plans that are being made, each with the basis that was asked about; keyed by operation id."""

    @workflow.update(description="Approve an operation's plan, by its hash, for the vendor or the customer")
    def approve(self, decision: ApprovalDecision) -> ApprovalStanding:
        """Approve. The same approval again changes nothing."""
        queued = self._awaiting(decision.operation_id)
        if queued is None:
            return self._standing_since_start(decision.operation_id)
        book = _book(queued)
        if not approval.is_repeated(book, decision, workflow.now()):
            book = approval.approve(book, decision, self.state.delegations, workflow.now())
            given = book.approvals[-1]
            self._note(
                f"{book.operation_id} approved for the {given.side}"
                + (f" on behalf of {given.on_behalf_of}" if given.on_behalf_of else "")
                + f" (plan {given.hash[:12]}): {decision.reason}".rstrip(": "),
                decision.actor,
            )
            self._keep(book)
        return approval.standing(book, workflow.now())

    @approve.validator
    def _check_approve(self, decision: ApprovalDecision) -> None:
        queued = self._awaiting(decision.operation_id)
        if queued is not None:
            _refuse(approval.refusal_to_approve(_book(queued), decision, self.state.delegations, workflow.now()))
        elif not self._has_started_with(decision):
            self._refuse_not_awaiting(decision.operation_id)

    @workflow.update(description="Decline an operation: it will not run")
    def decline(self, decision: ApprovalDecision) -> ApprovalStanding:
        """Take the operation out of the queue; it is recorded as declined."""
        queued = self._awaiting(decision.operation_id)
        if queued is not None:
            self._note(f"{decision.operation_id} declined: {decision.reason}".rstrip(": "), decision.actor)
            self._decline(queued)
            self._end_if_nothing_was_ever_made()
        return ApprovalStanding(operation_id=decision.operation_id, declined=True)

    @decline.validator
    def _check_decline(self, decision: ApprovalDecision) -> None:
        queued = self._awaiting(decision.operation_id)
        if queued is not None:
            _refuse(approval.refusal_to_decline(_book(queued), decision, self.state.delegations, workflow.now()))
        elif not self._was_declined(decision.operation_id):
            self._refuse_not_awaiting(decision.operation_id)

    @workflow.update(description="Take a side's approval back, while the operation has not started")
    def withdraw_approval(self, decision: ApprovalDecision) -> ApprovalStanding:
        """Take an approval back; without one nothing changes."""
        queued = self._required_awaiting(decision.operation_id)
        book = _book(queued)
        if any(given.side is decision.side for given in book.approvals):
            book = approval.withdraw(book, decision.side)
            what = f"the {decision.side}'s approval of {book.operation_id} withdrawn: {decision.reason}"
            self._note(what.rstrip(": "), decision.actor)
            self._keep(book)
        return approval.standing(book, workflow.now())

    @withdraw_approval.validator
    def _check_withdraw(self, decision: ApprovalDecision) -> None:
        book = _book(self._required_awaiting(decision.operation_id))
        _refuse(approval.refusal_to_withdraw(book, decision, self.state.delegations, workflow.now()))

    @workflow.update(description="Let another person approve in an approver's place")
    def delegate(self, request: DelegationRequest) -> Delegation:
        """Take the delegation over, for one operation or until an instant. The same one again changes nothing."""
        known = self._delegated(request)
        if known is not None:
            return known
        now = workflow.now()
        made = Delegation(
            side=request.side,
            giver=request.actor,
            to=request.to,
            operation_id=request.operation_id,
            until=request.until,
            reason=request.reason,
            at=now,
        )
        span = f"for {made.operation_id}" if made.operation_id else "for every operation"
        until = f" until {made.until:%Y-%m-%dT%H:%M:%SZ}" if made.until else ""
        what = f"{made.to} may approve for the {made.side} {span}{until}: {made.reason}"
        self._note(what.rstrip(": "), made.giver)
        self.state = self.state.model_copy(update={"delegations": (*self._live_delegations(), made)})
        self._show()
        return made

    @delegate.validator
    def _check_delegate(self, request: DelegationRequest) -> None:
        policy = self.state.order.approvals
        if request.operation_id:
            policy = _book(self._required_awaiting(request.operation_id)).policy
        _refuse(approval.refusal_to_delegate(policy, request, workflow.now()))
        if self._delegated(request) is None and len(self._live_delegations()) >= MAX_DELEGATIONS:
            raise ApplicationError(f"there are {MAX_DELEGATIONS} delegations already", type="TooMany")

    @workflow.update(description="Make the plan of an operation now whose planning has failed")
    def plan_again(self, request: PlanningRequest) -> ApprovalStanding:
        """Have the plan made again; while there is one, or it is being made, nothing changes."""
        book = _book(self._required_awaiting(request.operation_id))
        if book.failure:
            self._note(f"{book.operation_id} is planned again", request.actor)
            book = approval.without_plan(book)
            self._keep(book)
        return approval.standing(book, workflow.now())

    @plan_again.validator
    def _check_plan_again(self, request: PlanningRequest) -> None:
        self._required_awaiting(request.operation_id)

    # What the deployment's own loop asks for.

    def open_book(self, summary: OperationSummary, request: OperationRequest) -> ApprovalBook | None:
        """Return the book of an operation that is asked for, or None if nobody has to approve it."""
        policy = self.policy_for(request.approvals)
        risk = approval.risk_of(request.kind, changes_specification=self._changes_specification(request))
        if not policy.sides(risk):
            return None
        return ApprovalBook(operation_id=summary.operation_id, requester=summary.actor, risk=risk, policy=policy)

    def policy_for(self, told: ApprovalPolicy | None) -> ApprovalPolicy:
        """Return the policy that holds for a request: the one that came with it, or the newest that is known."""
        return self.state.order.approvals if told is None else told

    def must_be_approved(self, kind: OperationKind, told: ApprovalPolicy | None) -> bool:
        """Return whether somebody has to approve an operation of this kind that does not change the specification."""
        return bool(self.policy_for(told).sides(approval.risk_of(kind, changes_specification=False)))

    def startable(self) -> QueuedOperation | None:
        """Return the operation whose turn it is: the first in the queue that waits for nobody's approval."""
        return next((queued for queued in self.state.queue if self._waits_for_nobody(queued)), None)

    def approvals_due(self) -> bool:
        """Return whether something about plans or approvals is to be done now."""
        now = workflow.now()
        for queued, book in self._books():
            known = self._planning.get(queued.summary.operation_id)
            if known is not None and known[1].done():
                return True
            if known is None and book.plan is None and (book.plan_again_at is None or book.plan_again_at <= now):
                return True
            if approval.expired(book, now):
                return True
        return False

    def attend_to_approvals(self) -> None:
        """Ask again what has expired, take the plans that were made, and have those made that are missing."""
        now = workflow.now()
        for queued, book in list(self._books()):
            operation = queued.summary.operation_id
            if gone := approval.expired(book, now):
                for each in gone:
                    self._note(f"{operation}: the approval by {each} has expired; asked again", CONTROL_PLANE)
                self._keep(approval.without_expired(book, now))
            elif operation in self._planning:
                if self._planning[operation][1].done():
                    self._take_plan(queued, book)
            elif book.plan is None and (book.plan_again_at is None or book.plan_again_at <= now):
                self._ask_for_plan(queued, book)

    def next_instant(self) -> datetime | None:
        """Return when an approval expires or planning is tried again, whichever is first; None if nothing waits."""
        now = workflow.now()
        instants = (approval.next_instant(book, now) for _, book in self._books())
        return min((each for each in instants if each is not None), default=None)

    def is_stale(self, queued: QueuedOperation) -> bool:
        """Return whether what an operation's plan was made from has changed since."""
        book = queued.approval
        return book is not None and book.plan is not None and book.plan.basis != self._basis(queued)

    def plan_anew(self, queued: QueuedOperation) -> None:
        """Void a plan, and what was approved of it: everybody is told, and asked again."""
        book = _book(queued)
        void = f"; void: {', '.join(map(str, book.approvals))}" if book.approvals else ""
        plan = book.plan.hash[:12] if book.plan else ""
        self._note(f"{book.operation_id}: plan {plan} is stale and made again{void}", CONTROL_PLANE)
        self._keep(approval.without_plan(book))

    def void_stale_plans(self) -> None:
        """Have everything planned again that was planned from what has changed; called after each change."""
        if self.state.running is None:
            for queued, _ in list(self._books()):
                if self.is_stale(queued):
                    self.plan_anew(queued)

    def decline_the_rest(self) -> None:
        """Record operations that still wait for approval when the deployment is over: they will not run."""
        for queued, book in list(self._books()):
            self._note(f"{book.operation_id} declined: the deployment is {self.state.phase}", CONTROL_PLANE)
            self._decline(queued)

    def parties(self) -> Iterator[Party]:
        """Yield who is waited for: the sides that have yet to approve, or an operator where no plan can be made."""
        now = workflow.now()
        for _, book in self._books():
            if book.failure:
                yield Party.OPERATOR
            elif book.plan is not None:
                yield from (_PARTIES[side] for side in approval.missing(book, now))

    # What the deployment does for it.

    @abstractmethod
    def order_for(self, request: OperationRequest, summary: OperationSummary, *, at: datetime) -> OperationOrder:
        """Return the order with which an operation would start now; `at` is when its change of the keys counts from."""

    @abstractmethod
    def _decline(self, queued: QueuedOperation) -> None:
        """Record an operation as declined, out of the queue."""

    @abstractmethod
    def _end_if_nothing_was_ever_made(self) -> None:
        """End the deployment if all that was ever asked of it was declined."""

    @abstractmethod
    def _was_active(self) -> bool: ...

    @abstractmethod
    def _note(self, what: str, actor: Actor) -> None: ...

    @abstractmethod
    def _show(self) -> None: ...

    # Plans

    def _ask_for_plan(self, queued: QueuedOperation, book: ApprovalBook) -> None:
        order = self._planned_order(queued)
        operation = queued.summary.operation_id
        handle = workflow.start_activity_method(
            PlanningContract.make_plan,
            PlanQuestion(
                kind=queued.summary.kind,
                order=order,
                policy=book.policy,
                changes_specification=book.risk is RiskClass.SIGNIFICANT and not order.first,
            ),
            task_queue=queues.SERVICES,
            start_to_close_timeout=_ATTEMPT,
            schedule_to_close_timeout=_DEADLINE,
            heartbeat_timeout=_LIVENESS,
            retry_policy=_RETRY,
            summary=f"Plan {operation}",
        )
        self._planning[operation] = (basis_of(queued.summary.kind, order), handle)
        self._keep(approval.without_plan(book))

    def _take_plan(self, queued: QueuedOperation, book: ApprovalBook) -> None:
        """Take a plan that was made, unless what it was made from has changed meanwhile."""
        asked, handle = self._planning.pop(book.operation_id)
        try:
            plan: Plan = handle.result()
        except ActivityError as error:
            self._learn_failure(book, detail_of(error).message)
            return
        if plan.basis != asked:
            self._learn_failure(book, f"the plan was made from something else: {plan.basis[:12]} for {asked[:12]}")
        elif plan.basis == self._basis(queued):
            self._note(f"{book.operation_id} is planned: {plan.hash[:12]}, to be approved", CONTROL_PLANE)
            self._keep(approval.with_plan(book, summary_of(plan)))

    def _learn_failure(self, book: ApprovalBook, failure: str) -> None:
        self._note(f"{book.operation_id} cannot be planned: {failure}", CONTROL_PLANE)
        again = workflow.now() + self.state.order.pace.quota_probe
        self._keep(approval.without_plan(book, failure=failure, again_at=again))

    def _basis(self, queued: QueuedOperation) -> str:
        return basis_of(queued.summary.kind, self._planned_order(queued))

    def _planned_order(self, queued: QueuedOperation) -> OperationOrder:
        """Return the order that is planned; a change of keys counts from its request, so that the plan stays true."""
        return self.order_for(queued.request, queued.summary, at=queued.summary.asked_at)

    def _changes_specification(self, request: OperationRequest) -> bool:
        """Whether an operation would change what was specified; if another one may change it before, it is taken to."""
        if not self._was_active():
            return True
        given = {name: getattr(request, name) for name in ("spec", "shape", "release")}
        others = [queued.request for queued in self.state.queue]
        if self.state.running is not None:
            others.append(self.state.running.request)
        return any(
            value is not None
            and (value != getattr(self.state.order, name) or any(getattr(other, name) is not None for other in others))
            for name, value in given.items()
        )

    # The queue

    def _books(self) -> Iterator[tuple[QueuedOperation, ApprovalBook]]:
        for queued in self.state.queue:
            if queued.approval is not None:
                yield queued, queued.approval

    def _waits_for_nobody(self, queued: QueuedOperation) -> bool:
        return queued.approval is None or approval.may_start(queued.approval, workflow.now())

    def _awaiting(self, operation: str) -> QueuedOperation | None:
        return next((queued for queued, book in self._books() if book.operation_id == operation), None)

    def _required_awaiting(self, operation: str) -> QueuedOperation:
        queued = self._awaiting(operation)
        if queued is None:
            self._refuse_not_awaiting(operation)
        assert queued is not None, "it was refused otherwise"
        return queued

    def _refuse_not_awaiting(self, operation: str) -> None:
        known = [*self.state.past, *([self.state.running.summary] if self.state.running else [])]
        known += [queued.summary for queued in self.state.queue]
        found = next((summary for summary in known if summary.operation_id == operation), None)
        waiting = ", ".join(book.operation_id for _, book in self._books()) or "none"
        what = f"there is no operation {operation!r}" if found is None else f"{operation} is {found.phase or 'queued'}"
        raise ApplicationError(f"{what}: it waits for no approval (waiting: {waiting})", type="NotFound")

    def _keep(self, book: ApprovalBook) -> None:
        queue = tuple(
            queued.model_copy(update={"approval": book}) if queued.summary.operation_id == book.operation_id else queued
            for queued in self.state.queue
        )
        self.state = self.state.model_copy(update={"queue": queue})
        self._show()

    def _started_or_over(self, operation: str) -> OperationSummary | None:
        running = [self.state.running.summary] if self.state.running else []
        return next((each for each in (*running, *self.state.past) if each.operation_id == operation), None)

    def _has_started_with(self, decision: ApprovalDecision) -> bool:
        """Whether this very approval is among those with which an operation has started."""
        summary = self._started_or_over(decision.operation_id)
        given = summary.approved.approvals if summary and summary.approved else ()
        return any(
            each.side is decision.side
            and each.hash == decision.hash
            and approval.folded(each.actor.name) == approval.folded(decision.actor.name)
            for each in given
        )

    def _standing_since_start(self, operation: str) -> ApprovalStanding:
        summary = self._started_or_over(operation)
        assert summary is not None, "the validator has found it"
        assert summary.approved is not None, "the validator has found the approval"
        return ApprovalStanding(
            operation_id=operation, hash=summary.approved.hash, approvals=summary.approved.approvals
        )

    def _was_declined(self, operation: str) -> bool:
        summary = self._started_or_over(operation)
        return summary is not None and summary.phase is OperationPhase.DECLINED

    # Delegations

    def _delegated(self, request: DelegationRequest) -> Delegation | None:
        return next(
            (
                each
                for each in self.state.delegations
                if (each.side, each.giver.name, each.to, each.operation_id, each.until)
                == (request.side, request.actor.name, request.to, request.operation_id, request.until)
            ),
            None,
        )

    def _live_delegations(self) -> tuple[Delegation, ...]:
        """Return the delegations that are good for something still."""
        now = workflow.now()
        return tuple(
            each
            for each in self.state.delegations
            if (each.until is None or each.until > now)
            and (not each.operation_id or self._awaiting(each.operation_id) is not None)
        )


def _book(queued: QueuedOperation) -> ApprovalBook:
    assert queued.approval is not None, "it waits for approval"
    return queued.approval


def _refuse(refusal: str) -> None:
    if refusal:
        raise ApplicationError(refusal, type="NotAllowed")
