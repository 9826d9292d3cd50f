"""The part of a deployment that takes people's word on its maintenance: windows, waiting upgrades, overrides."""

from __future__ import annotations

from abc import abstractmethod

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain import appointment, override
from domain.appointment import Appointment
from domain.operation import OperationKind, OperationPhase
from domain.pending import (
    MaintenanceChange,
    OverrideDecision,
    OverrideStanding,
    PendingChoice,
    PendingDecision,
    PendingStanding,
)
from domain.state import OperationAccepted, OperationRequest, OperationSummary, QueuedOperation
from workflows.maintenance import Maintenance


class PendingUpgrades(Maintenance):
    """Takes decisions about upgrades that wait, and new windows; what is decided is in the audit trail."""

    @workflow.update(description="Change the maintenance windows and what is excluded from them; it holds at once")
    def change_maintenance(self, change: MaintenanceChange) -> OperationAccepted:
        """Take the windows over, and queue the operation that makes the provider's own maintenance follow."""
        known = self._known(change.request_id)
        if known is None:
            order, policy = self.state.order, change.policy
            spec = order.spec.model_copy(update={"windows": policy.windows, "exclusions": policy.exclusions})
            self.state = self.state.model_copy(update={"order": order.model_copy(update={"spec": spec})})
            names = ", ".join(window.id for window in policy.windows) or "the default"
            excluded = f", {len(policy.exclusions)} exclusions" if policy.exclusions else ""
            self._note(f"maintenance windows: {names}{excluded}: {change.reason}".rstrip(": "), change.actor)
            known = self._accept(
                OperationRequest(
                    request_id=change.request_id,
                    kind=OperationKind.RECONFIGURE,
                    actor=change.actor,
                    reason=change.reason or "maintenance windows",
                    maintenance=True,
                    approvals=change.approvals,
                )
            )
            self.void_stale_plans()
        return self._answer(known)

    @change_maintenance.validator
    def _check_change_maintenance(self, change: MaintenanceChange) -> None:
        if self._known(change.request_id):
            return
        self._refuse_unless_open()
        ids = [window.id for window in change.policy.windows]
        if len(set(ids)) < len(ids):
            raise ApplicationError(f"two windows have the same id (windows: {', '.join(ids)})", type="Invalid")

    @workflow.update(description="Decide when a queued upgrade is done: immediate, next-window, undo, defer, withdraw")
    def decide_pending(self, decision: PendingDecision) -> PendingStanding:
        """Take the decision. One that is sent again with the same id counts once."""
        queued, booked = self._pending(decision.operation_id)
        operation = queued.summary.operation_id
        if decision.request_id and decision.request_id in booked.decided:
            return appointment.standing(booked, operation, self.policy)
        if decision.choice is PendingChoice.WITHDRAW:
            self._put_away(queued, OperationPhase.DECLINED, f"withdrawn by {decision.actor}: {decision.reason}")
            return PendingStanding(operation_id=operation, withdrawn=True)
        self._note(f"{operation}: {decision.choice}: {decision.reason}".rstrip(": "), decision.actor)
        changed = appointment.decide(booked, decision, self.state.order.notices, workflow.now())
        self._book(queued, changed)
        return appointment.standing(changed, operation, self.policy)

    @decide_pending.validator
    def _check_decide_pending(self, decision: PendingDecision) -> None:
        _, booked = self._pending(decision.operation_id)
        if decision.request_id and decision.request_id in booked.decided:
            return
        order = self.state.order
        _refuse(
            appointment.refusal_to_decide(booked, decision, order.approvals.approvers, order.notices, workflow.now())
        )

    @workflow.update(description="Approve that an urgent upgrade does not wait for its window; two persons have to")
    def approve_override(self, decision: OverrideDecision) -> OverrideStanding:
        """Approve. The first approval asks for a second one; the same person's again changes nothing."""
        queued, booked = self._pending(decision.operation_id)
        operation = queued.summary.operation_id
        if not override.has_approved(booked, decision.actor, workflow.now()):
            booked = override.approve_override(booked, decision, self.state.order.notices, workflow.now())
            assert booked.override is not None, "it was approved"
            missing = override.missing_approvers(booked.override)
            what = f"{operation}: override approved" + (f", {missing} more to approve" if missing else ", in force")
            self._note(f"{what}: {decision.reason}".rstrip(": "), decision.actor)
            self._book(queued, booked)
        return override.override_standing(booked, operation)

    @approve_override.validator
    def _check_approve_override(self, decision: OverrideDecision) -> None:
        queued, booked = self._pending(decision.operation_id)
        approvers = self.state.order.approvals.approvers
        _refuse(override.refusal_to_override(booked, decision, queued.summary.actor, approvers, workflow.now()))

    @workflow.update(description="Take an override back, while the upgrade has not started")
    def withdraw_override(self, decision: OverrideDecision) -> OverrideStanding:
        """Take it back; the upgrade waits for its window."""
        queued, booked = self._pending(decision.operation_id)
        operation = queued.summary.operation_id
        self._note(f"{operation}: override withdrawn: {decision.reason}".rstrip(": "), decision.actor)
        changed = booked.model_copy(update={"override": None})
        self._book(queued, changed)
        return override.override_standing(changed, operation)

    @withdraw_override.validator
    def _check_withdraw_override(self, decision: OverrideDecision) -> None:
        _, booked = self._pending(decision.operation_id)
        _refuse(override.refusal_to_take_back(booked, decision, self.state.order.approvals.approvers))

    def _pending(self, operation: str) -> tuple[QueuedOperation, Appointment]:
        """Return the upgrade of this id that waits, or the only one if none is named.

        Raises:
            ApplicationError: It does not wait, or several do and none is named.
        """
        waiting = list(self._appointments())
        named = [each for each in waiting if operation in ("", each[0].summary.operation_id)]
        if len(named) == 1:
            return named[0]
        ids = ", ".join(queued.summary.operation_id for queued, _ in waiting) or "none"
        if named:
            raise ApplicationError(f"several upgrades wait; name one of {ids}", type="Ambiguous")
        what = f"{operation} is no upgrade that waits" if operation else "no upgrade waits"
        raise ApplicationError(f"{what} (waiting: {ids})", type="NotFound")

    # What the deployment does for it.

    @abstractmethod
    def _known(self, request_id: str) -> OperationSummary | None: ...

    @abstractmethod
    def _accept(self, request: OperationRequest) -> OperationSummary: ...

    @abstractmethod
    def _answer(self, summary: OperationSummary) -> OperationAccepted: ...

    @abstractmethod
    def _refuse_unless_open(self) -> None:
        """Refuse a request for an operation if the deployment takes none: it is over, being retired, or busy."""


def _refuse(refusal: str) -> None:
    if refusal:
        raise ApplicationError(refusal, type="NotAllowed")
