"""Simulated deployments for tests of rollouts: each waits for its window, asks to be cleared, works, and reports."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.model import Model
    from domain.rollout_messages import MemberReport, MemberState, RolloutOffer, RolloutWord
    from workflows.temporal import ids


class Behaviour(Model):
    """How one simulated deployment behaves."""

    deployment: str
    opens_after: timedelta = timedelta(0)
    """From the offer to its window."""
    takes: timedelta = timedelta(hours=1)
    fails_as: str = ""
    """The signature with which it fails; empty: it does not."""
    refuses: str = ""
    silent: bool = False
    """Whether nothing is heard of it once it runs."""


class Record(Model):
    """What happened to one simulated deployment."""

    started_at: datetime | None = None
    ended_at: datetime | None = None
    withdrawn: bool = False
    held: bool = False


@workflow.defn(name="Deployment")
class SimulatedDeployment:
    """The rollout's view of a deployment, and nothing else of it."""

    @workflow.init
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.record = Record()
        self._offer: RolloutOffer | None = None
        self._cleared = False

    @workflow.run
    async def run(self, behaviour: Behaviour) -> Record:
        """Wait for an offer and take it to its end."""
        await workflow.wait_condition(lambda: self._offer is not None)
        if behaviour.refuses:
            return await self._end(MemberState.REFUSED, detail=behaviour.refuses)
        await self._report(MemberState.WAITING, opens_at=workflow.now() + behaviour.opens_after)
        try:
            await workflow.wait_condition(lambda: self.record.withdrawn, timeout=behaviour.opens_after)
        except TimeoutError:
            await self._report(MemberState.READY)
            await workflow.wait_condition(lambda: self._cleared or self.record.withdrawn)
        if not self._cleared:
            return self.record
        self.record = self.record.model_copy(update={"started_at": workflow.now()})
        await self._report(MemberState.RUNNING)
        if behaviour.silent:
            await workflow.wait_condition(lambda: self.record.held)
            return await self._end(MemberState.DONE)
        await workflow.sleep(behaviour.takes)
        if behaviour.fails_as:
            return await self._end(MemberState.FAILED, signature=behaviour.fails_as)
        return await self._end(MemberState.DONE)

    @workflow.signal
    def upgrade_offered(self, offer: RolloutOffer) -> None:
        """Take the offer."""
        self._offer = offer

    @workflow.signal
    def offer_cleared(self, word: RolloutWord) -> None:
        """Start."""
        self._cleared = True

    @workflow.signal
    def offer_held(self, word: RolloutWord) -> None:
        """Stop at the next checkpoint; there is none in so short an upgrade."""
        self.record = self.record.model_copy(update={"held": True})

    @workflow.signal
    def offer_withdrawn(self, word: RolloutWord) -> None:
        """Forget the offer."""
        self.record = self.record.model_copy(update={"withdrawn": True})

    @workflow.query(name="record")
    def current_record(self) -> Record:
        """Return what happened."""
        return self.record

    @workflow.query(name="offer")
    def current_offer(self) -> RolloutOffer | None:
        """Return what was offered."""
        return self._offer

    async def _end(self, state: MemberState, *, detail: str = "", signature: str = "") -> Record:
        self.record = self.record.model_copy(update={"ended_at": workflow.now()})
        await self._report(state, detail=detail, signature=signature)
        return self.record

    async def _report(self, state: MemberState, **more: object) -> None:
        assert self._offer is not None, "it reports about an offer"
        report = MemberReport.model_validate(
            {
                "deployment": self.behaviour.deployment,
                "request_id": self._offer.request.request_id,
                "state": state,
                "at": workflow.now(),
                **more,
            }
        )
        handle = workflow.get_external_workflow_handle(ids.rollout_id(self._offer.rollout))
        await handle.signal("member_reported", report)
