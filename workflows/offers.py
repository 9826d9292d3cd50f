"""The part of a deployment that talks with rollouts: their offers, their word, and where the deployment is in them."""

from __future__ import annotations

from collections.abc import Iterator

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from domain import appointment
from domain.actor import CONTROL_PLANE
from domain.appointment import Appointment
from domain.operation import OperationKind, OperationPhase
from domain.rollout_messages import MemberReport, MemberState, RolloutOffer, RolloutWord
from domain.state import OperationRequest, OperationSummary, QueuedOperation
from workflows.pending import PendingUpgrades
from workflows.temporal import ids

_HELD_BACK = "its rollout holds it back"


class Offers(PendingUpgrades):
    """Takes a rollout's offers and tells it where the deployment is, whenever that changes.

    A member of a rollout starts only when it was cleared. An offer that cannot be taken is answered, and fails nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._outbox: list[tuple[str, MemberReport]] = []
        """What rollouts are still to be told, in order, each with the rollout's name."""
        self._is_sending = False

    @workflow.signal(description="A rollout asks the deployment to upgrade itself, in its own window")
    def upgrade_offered(self, offer: RolloutOffer) -> None:
        """Queue the upgrade, or say why not. The same offer again is answered with the present state."""
        upgrade = offer.request.upgrade
        request = offer.request
        if upgrade is not None:
            request = request.model_copy(update={"upgrade": upgrade.model_copy(update={"rollout": offer.rollout})})
        if self._answer_again(offer):
            return
        if refusal := self._refusal_of(request):
            reached = upgrade is not None and self.is_reached(upgrade)
            state = MemberState.DONE if reached else MemberState.REFUSED
            self._tell_rollout(offer.rollout, request.request_id, state, detail=refusal)
            return
        self._accept(request)

    @workflow.signal(description="A rollout clears one of its offers: the upgrade may start")
    def offer_cleared(self, word: RolloutWord) -> None:
        """Let the upgrade start as soon as nothing else keeps it."""
        for queued, booked in self._members(word):
            self._book(queued, booked.model_copy(update={"cleared": True}))

    @workflow.signal(description="A rollout holds one of its offers back: it stops at its next checkpoint")
    async def offer_held(self, word: RolloutWord) -> None:
        """Keep the upgrade from starting, or make it stop; it has to be cleared again before it goes on."""
        for queued, booked in self._members(word):
            self._book(queued, booked.model_copy(update={"cleared": False}))
        running = self.state.running
        if running is not None and _is_of(running, word):
            await self.stop_running(_HELD_BACK)

    @workflow.signal(description="A rollout takes one of its offers back")
    def offer_withdrawn(self, word: RolloutWord) -> None:
        """Take the upgrade out of the queue. One that has begun stays there, and waits for an operator."""
        for queued, booked in self._members(word):
            if not booked.has_begun:
                self._put_away(queued, OperationPhase.DECLINED, f"rollout {word.rollout} has taken its offer back")
                continue
            why = f"rollout {word.rollout} has taken its offer back, and it is done in part"
            self._note(f"{queued.summary.operation_id} waits for an operator: {why}", CONTROL_PLANE)
            self._book(queued, booked.model_copy(update={"escalated": why, "rollout": ""}))

    def members_due(self) -> bool:
        """Return whether a rollout has to be told where the deployment is."""
        return any(_told(report) != booked.reported for _, booked, report in self._reports())

    def attend_to_members(self) -> None:
        """Write down what rollouts are to be told; it is sent in this order."""
        for queued, booked, report in list(self._reports()):
            if _told(report) == booked.reported:
                continue
            self._outbox.append((booked.rollout, report))
            changed = booked.model_copy(update={"reported": _told(report)})
            if self.state.running is not None and self.state.running.summary == queued.summary:
                running = self.state.running.model_copy(update={"appointment": changed})
                self.state = self.state.model_copy(update={"running": running})
            else:
                self._book(queued, changed)

    def has_ended(self, ended: QueuedOperation, summary: OperationSummary, detail: str) -> None:
        """Tell the rollout, if there is one, how its upgrade of this deployment ended."""
        booked = ended.appointment
        if booked is not None and booked.rollout:
            state = _state_after(summary)
            self._tell_rollout(booked.rollout, summary.request_id, state, detail=detail, signature=summary.signature)

    async def keep_telling_rollouts(self) -> None:
        """Send what is to be told, one after the other, as long as the deployment lives."""
        while True:
            await workflow.wait_condition(lambda: bool(self._outbox))
            self._is_sending = True
            rollout, report = self._outbox.pop(0)
            try:
                handle = workflow.get_external_workflow_handle(ids.rollout_id(rollout))
                await handle.signal("member_reported", report)
            except FailureError:
                self._note(f"rollout {rollout} is gone; it was not told: {report.state}", CONTROL_PLANE)
            finally:
                self._is_sending = False

    async def until_rollouts_are_told(self) -> None:
        """Wait until everything that is to be told was sent."""
        await workflow.wait_condition(lambda: not self._outbox and not self._is_sending)

    def _answer_again(self, offer: RolloutOffer) -> bool:
        """Answer an offer that is known already; return whether it is."""
        request_id = offer.request.request_id
        for queued, booked, report in self._reports():
            if queued.summary.request_id == request_id:
                self._outbox.append((booked.rollout, report))
                return True
        known = next((past for past in reversed(self.state.past) if past.request_id == request_id), None)
        if known is not None:
            self._tell_rollout(
                offer.rollout, request_id, _state_after(known), detail=str(known.phase), signature=known.signature
            )
        return known is not None

    def _refusal_of(self, request: OperationRequest) -> str:
        if request.kind is not OperationKind.UPGRADE:
            return f"a rollout offers upgrades, not a {request.kind}"
        try:
            self._refuse_unless_open()
        except ApplicationError as error:
            return error.message
        return self.refusal_to_upgrade(request)

    def _reports(self) -> Iterator[tuple[QueuedOperation, Appointment, MemberReport]]:
        """Yield what is so of each upgrade that belongs to a rollout and is not over."""
        running = [self.state.running] if self.state.running else []
        for each in (*running, *self.state.queue):
            if each.appointment is not None and each.appointment.rollout:
                yield each, each.appointment, self._report_of(each, each.appointment)

    def _report_of(self, each: QueuedOperation, booked: Appointment) -> MemberReport:
        now, policy = workflow.now(), self.policy
        if self.state.running is not None and self.state.running.summary == each.summary:
            return self._made(each.summary.request_id, MemberState.RUNNING)
        why = appointment.obstacle(booked, policy, now)
        if not self._waits_for_nobody(each):
            why = "waits for approval"
        elif self.state.is_held:
            why = "waits for the release of its account"
        elif self.state.running is not None or self._is_behind(each):
            why = why or "waits for what runs before"
        state = MemberState.READY
        if why:
            state = MemberState.PARKED if each.summary.phase is OperationPhase.PARKED else MemberState.WAITING
        made = self._made(each.summary.request_id, state, detail=why)
        opens = booked.opening.at if booked.opening and state is not MemberState.READY else None
        return made.model_copy(update={"opens_at": opens})

    def _made(self, request_id: str, state: MemberState, *, detail: str = "", signature: str = "") -> MemberReport:
        return MemberReport(
            deployment=self.state.order.site.deployment,
            request_id=request_id,
            state=state,
            at=workflow.now(),
            detail=detail,
            signature=signature,
        )

    def _tell_rollout(
        self, rollout: str, request_id: str, state: MemberState, *, detail: str = "", signature: str = ""
    ) -> None:
        self._outbox.append((rollout, self._made(request_id, state, detail=detail, signature=signature)))

    def _members(self, word: RolloutWord) -> list[tuple[QueuedOperation, Appointment]]:
        return [(queued, booked) for queued, booked in self._appointments() if _is_of(queued, word)]


def _is_of(operation: QueuedOperation, word: RolloutWord) -> bool:
    booked = operation.appointment
    of_rollout = booked is not None and booked.rollout == word.rollout
    return of_rollout and operation.summary.request_id == word.request_id


def _told(report: MemberReport) -> str:
    """Return what tells one report from the next: not when it was made, nor the words of a wait."""
    return f"{report.state} {report.opens_at or ''}".strip()


def _state_after(summary: OperationSummary) -> MemberState:
    match summary.phase:
        case OperationPhase.DONE:
            return MemberState.DONE
        case OperationPhase.DECLINED | OperationPhase.SUPERSEDED:
            return MemberState.REFUSED
        case _:
            return MemberState.FAILED
