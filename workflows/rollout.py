"""A rollout: one release on its way over the fleet, wave after wave, stopped in time when it goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.workflow import ContinueAsNewVersioningBehavior

with workflow.unsafe.imports_passed_through():
    from domain import rollout, rollout_text
    from domain.actor import CONTROL_PLANE, Actor
    from domain.failure import Party
    from domain.rollout import Progress, RolloutPhase, RolloutRequest, RolloutState, WaveApproval
    from domain.rollout_messages import MemberReport, MemberState, RolloutOffer, RolloutWord
    from domain.state import Event
    from workflows.temporal import ids
    from workflows.temporal import search_attributes as attributes
    from workflows.temporal.fresh_runs import fresh_run_is_due

TRAIL_LENGTH = 200
TOLD_AT_ONCE = 50
"""How many deployments are signalled at the same time; a server takes 2,000 signals that are on their way."""
CONTINUE_AT_EVENTS = 4_000
"""A fresh run is handed every member of the fleet: rarer than for a deployment, and never in the middle of a batch."""


@dataclass(frozen=True)
class _Message:
    """One signal to one deployment."""

    deployment: str
    signal: str
    content: RolloutOffer | RolloutWord


@workflow.defn
class Rollout:
    """Bring one release to the whole fleet, and stop in time when it goes wrong.

    1. Offer it to the deployments of a wave; each waits for its own window
    2. Clear those that are ready, within the limits, customers taking turns
    3. Let the wave bake when it is complete; then the next one, approved where that was asked for
    4. Halt when a rule says so: nobody starts any more, those under way come to their next checkpoint

    The upgrades themselves are operations of the deployments: they outlive whatever happens to the rollout.
    """

    @workflow.init
    def __init__(self, state: RolloutState) -> None:
        self.state = state
        self._has_news = True
        self._fresh_run_asked = False
        self._shown: tuple[str, str] = ("", "")

    @workflow.run
    async def run(self, state: RolloutState) -> RolloutState:  # noqa: ARG002 - taken by __init__
        """Go on until every wave is done, or it was ended."""
        self._show()
        while not self.state.phase.is_over:
            self._has_news = False
            self._go_on()
            if self._must_continue_as_new() and not self.state.phase.is_over:
                await self._continue_as_new()
            elif messages := self._next_messages():
                await asyncio.gather(*(self._send(message) for message in messages))
                self._has_news = True
            elif not self.state.phase.is_over:
                await self._until_something_is_to_be_done()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.state

    @workflow.signal(
        description="A deployment tells where it is: waiting, ready, running, parked, done, failed, refused"
    )
    def member_reported(self, report: MemberReport) -> None:
        """Take a deployment's report."""
        self.state = rollout.heard(self.state, report)
        if report.state is MemberState.FAILED:
            self._note(f"{report.deployment} failed: {report.signature}: {report.detail}".rstrip(": "), CONTROL_PLANE)
        self._has_news = True

    @workflow.update(description="Stop for now: nobody is asked and nobody starts until it is resumed")
    def pause(self, request: RolloutRequest) -> RolloutState:
        """Pause."""
        self._stop(RolloutPhase.PAUSED, request, "paused")
        return self.state

    @pause.validator
    def _check_pause(self, request: RolloutRequest) -> None:  # noqa: ARG002 - a validator takes what its update takes
        _refuse(rollout.refusal_to_pause(self.state))

    @workflow.update(description="Go on after a pause or a halt; what has failed so far has been looked at")
    def resume(self, request: RolloutRequest) -> RolloutState:
        """Resume; the failures so far no longer count towards halting."""
        self._note(f"resumed: {request.reason}".rstrip(": "), request.actor)
        self.state = rollout.acknowledged(self.state, workflow.now())
        self._become(RolloutPhase.RUNNING)
        return self.state

    @resume.validator
    def _check_resume(self, request: RolloutRequest) -> None:  # noqa: ARG002
        _refuse(rollout.refusal_to_resume(self.state))

    @workflow.update(description="Halt: nobody starts any more until somebody has looked and resumes it")
    def halt(self, request: RolloutRequest) -> RolloutState:
        """Halt by hand."""
        self._stop(RolloutPhase.HALTED, request, "halted")
        return self.state

    @halt.validator
    def _check_halt(self, request: RolloutRequest) -> None:  # noqa: ARG002
        _refuse(rollout.refusal_to_stop(self.state))

    @workflow.update(description="End it for good: what has not started is taken back, what runs comes to its end")
    def end(self, request: RolloutRequest) -> RolloutState:
        """End the rollout before its time."""
        if self.state.phase is not RolloutPhase.ENDING:
            self._stop(RolloutPhase.ENDING, request, "ended")
        return self.state

    @end.validator
    def _check_end(self, request: RolloutRequest) -> None:  # noqa: ARG002
        if self.state.phase.is_over:
            _refuse(f"the rollout is {self.state.phase}")

    @workflow.update(description="Let a wave begin that has to be approved")
    def approve_wave(self, approval: WaveApproval) -> RolloutState:
        """Approve a wave; the same approval again changes nothing."""
        if approval.wave not in self.state.approved:
            self._note(f"wave {approval.wave} approved: {approval.reason}".rstrip(": "), approval.actor)
            self.state = self.state.model_copy(update={"approved": (*self.state.approved, approval.wave)})
            self._has_news = True
        return self.state

    @approve_wave.validator
    def _check_approve_wave(self, approval: WaveApproval) -> None:
        _refuse(rollout.refusal_to_approve(self.state, approval))

    @workflow.update(description="Approve that an urgent rollout passes over windows and notice (two persons)")
    def approve_override(self, request: RolloutRequest) -> RolloutState:
        """Take one person's approval; the same one again changes nothing."""
        changed = rollout.overridden(self.state, request)
        if changed is not self.state:
            self.state = changed
            self._note(f"override approved: {request.reason}".rstrip(": "), request.actor)
            self._has_news = True
        return self.state

    @approve_override.validator
    def _check_approve_override(self, request: RolloutRequest) -> None:
        _refuse(rollout.refusal_to_override(self.state, request))

    @workflow.update(description="Go on in a fresh run now: after a new version was deployed")
    def continue_as_new_now(self, actor: Actor) -> int:
        """Ask for a fresh run; returns the number of the present one."""
        self._note("a fresh run was asked for", actor)
        self._fresh_run_asked = self._has_news = True
        return self.state.runs

    @workflow.query(name="state", description="Waves, deployments on the way, failures and the audit trail")
    def current_state(self) -> RolloutState:
        """Return everything that is known about the rollout."""
        return self.state

    def _go_on(self) -> None:
        """Take every step that needs nobody: halt, complete a wave, begin the next one, come to the end."""
        now = workflow.now()
        if rollout.is_moving(self.state) and (reason := rollout.halt_reason(self.state, now)):
            self._note(f"halted: {reason}", CONTROL_PLANE)
            self.state = self.state.model_copy(update={"stopped_because": reason})
            self._become(RolloutPhase.HALTED)
        while rollout.is_moving(self.state) and self._step():
            pass
        if self.state.phase is RolloutPhase.ENDING and not self.state.active:
            self._note("ended", CONTROL_PLANE)
            self._become(RolloutPhase.ENDED)
        self._show()

    def _step(self) -> bool:
        """Take the next step of the present wave; return whether there was one."""
        now, index = workflow.now(), self.state.wave
        tally = self.state.tallies[index]
        name = self.state.order.waves[index].name
        if tally.began_at is None:
            if not rollout.may_begin(self.state):
                self._become(RolloutPhase.APPROVING)
                return False
            self._note(f"wave {name} begins: {tally.size} deployments", CONTROL_PLANE)
            self.state = rollout.tallied(self.state, index, began_at=now)
            self._become(RolloutPhase.RUNNING)
        elif tally.complete_at is None:
            if not rollout.is_complete(self.state, now):
                return False
            self._note(f"wave {name} is complete", CONTROL_PLANE)
            self.state = rollout.tallied(self.state, index, complete_at=now)
            self._become(RolloutPhase.BAKING)
        else:
            baked = rollout.baked_at(self.state)
            if baked is None or now < baked:
                return False
            return self._leave_wave()
        return True

    def _leave_wave(self) -> bool:
        """Go on to the next wave; without one, end when the last deployment is over. Return whether it went on."""
        if self.state.wave + 1 < len(self.state.tallies):
            waves = list(self.state.order.waves)
            waves[self.state.wave] = waves[self.state.wave].model_copy(update={"members": ()})
            order = self.state.order.model_copy(update={"waves": tuple(waves)})
            self.state = self.state.model_copy(update={"order": order, "wave": self.state.wave + 1})
            return True
        if self.state.active:
            return False
        self._note("done", CONTROL_PLANE)
        self._become(RolloutPhase.DONE)
        return False

    def _next_messages(self) -> list[_Message]:
        """Return what deployments have to be told now, a batch at most, and take it as told."""
        if self.state.phase is RolloutPhase.ENDING:
            return self._withdrawals()
        if self.state.phase is RolloutPhase.HALTED:
            return self._holds()
        if not rollout.is_moving(self.state):
            return []
        return self._offers() or self._clearances()

    def _offers(self) -> list[_Message]:
        index = self.state.wave
        tally, wave = self.state.tallies[index], self.state.order.waves[index]
        if tally.began_at is None or tally.asked >= tally.size:
            return []
        batch = wave.members[tally.asked : tally.asked + TOLD_AT_ONCE]
        now = workflow.now()
        asked = {
            member.deployment: Progress(wave=index, customer=member.customer, cloud=member.cloud, heard_at=now)
            for member in batch
        }
        self.state = self.state.model_copy(update={"active": {**self.state.active, **asked}})
        self.state = rollout.tallied(self.state, index, asked=tally.asked + len(batch))
        return [
            _Message(
                member.deployment,
                "upgrade_offered",
                RolloutOffer(rollout=self.state.order.name, request=rollout.request_for(self.state, member.cloud)),
            )
            for member in batch
        ]

    def _clearances(self) -> list[_Message]:
        chosen = rollout.to_clear(self.state, TOLD_AT_ONCE)
        now = workflow.now()
        cleared = {
            name: self.state.active[name].model_copy(update={"cleared": True, "held": False, "heard_at": now})
            for name in chosen
        }
        if cleared:
            self.state = self.state.model_copy(update={"active": {**self.state.active, **cleared}})
        return [_Message(name, "offer_cleared", self._word(self.state.active[name])) for name in chosen]

    def _holds(self) -> list[_Message]:
        """Let those under way stop at their next checkpoint; they ask to be cleared again before they go on."""
        running = [name for name, each in self.state.active.items() if each.cleared and not each.held][:TOLD_AT_ONCE]
        held = {name: self.state.active[name].model_copy(update={"held": True}) for name in running}
        self.state = self.state.model_copy(update={"active": {**self.state.active, **held}})
        return [_Message(name, "offer_held", self._word(self.state.active[name])) for name in running]

    def _withdrawals(self) -> list[_Message]:
        """Take back what has not started; from then on only those that run are waited for."""
        idle = [name for name, each in self.state.active.items() if not each.cleared][:TOLD_AT_ONCE]
        messages = [_Message(name, "offer_withdrawn", self._word(self.state.active[name])) for name in idle]
        active = {name: each for name, each in self.state.active.items() if name not in idle}
        self.state = self.state.model_copy(update={"active": active})
        return messages

    def _word(self, member: Progress) -> RolloutWord:
        request = self.state.order.requests[member.cloud]
        return RolloutWord(rollout=self.state.order.name, request_id=request.request_id)

    async def _send(self, message: _Message) -> None:
        """Signal a deployment; one whose workflow is gone refuses by that."""
        handle = workflow.get_external_workflow_handle(ids.deployment_id(message.deployment))
        try:
            await handle.signal(message.signal, message.content)
        except FailureError:
            refusal = MemberReport(
                deployment=message.deployment,
                request_id="",
                state=MemberState.REFUSED,
                at=workflow.now(),
                detail="there is no such deployment any more",
            )
            self.state = rollout.heard(self.state, refusal)

    async def _until_something_is_to_be_done(self) -> None:
        instant = rollout.next_instant(self.state) if rollout.is_moving(self.state) else None
        now = workflow.now()
        left = None if instant is None or instant <= now else instant - now
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._has_news or self._must_continue_as_new(),
                timeout=left,
                timeout_summary="Until a wave has baked, or nothing was heard for too long" if left else None,
            )

    def _stop(self, phase: RolloutPhase, request: RolloutRequest, word: str) -> None:
        self._note(f"{word}: {request.reason}".rstrip(": "), request.actor)
        self.state = self.state.model_copy(update={"stopped_because": request.reason})
        self._become(phase)

    def _must_continue_as_new(self) -> bool:
        return fresh_run_is_due(asked=self._fresh_run_asked, longest=CONTINUE_AT_EVENTS)

    async def _continue_as_new(self) -> None:
        """Go on in a fresh run with the whole state; the upgrades under way do not notice."""
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(
            self.state.model_copy(update={"runs": self.state.runs + 1}),
            initial_versioning_behavior=ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _become(self, phase: RolloutPhase) -> None:
        if phase is not self.state.phase:
            self.state = self.state.model_copy(update={"phase": phase, "since": workflow.now()})
            self._has_news = True

    def _note(self, what: str, actor: Actor) -> None:
        event = Event(at=workflow.now(), what=what, actor=actor)
        self.state = self.state.model_copy(update={"trail": (*self.state.trail, event)[-TRAIL_LENGTH:]})

    def _show(self) -> None:
        """Make search attributes and the details in the Temporal UI say what is true now."""
        waits = self.state.phase in (RolloutPhase.APPROVING, RolloutPhase.HALTED)
        shown = (str(self.state.phase), str(Party.OPERATOR) if waits else attributes.NOBODY)
        if shown != self._shown:
            self._shown = shown
            workflow.upsert_search_attributes(
                [attributes.PHASE.value_set(shown[0]), attributes.WAITING_FOR.value_set(shown[1])]
            )
        workflow.set_current_details(rollout_text.details(self.state))


def _refuse(refusal: str) -> None:
    if refusal:
        raise ApplicationError(refusal, type="NotNow")
