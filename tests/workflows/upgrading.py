"""A stand-in for the workflow of an upgrade, which takes time and nothing else, and a rollout that only listens."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from domain.operation import OperationKind, OperationPhase
from domain.rollout_messages import MemberReport
from domain.state import OperationOrder, OperationOutcome
from domain.upgrade import StageKind, UpgradeReport
from workflows.operation import Operation

SLOW = "slow"
"""An upgrade with this word in its reason takes thrice as long as it should."""
BAD = "bad"
"""One with this word in its reason is rolled back."""


@workflow.defn(name="Upgrade", sandboxed=False)
class ScriptedUpgrade(Operation):
    """Do the stages one after the other, each within half of what it needs; park as the real one does."""

    kind = OperationKind.UPGRADE

    @workflow.init
    def __init__(self, order: OperationOrder) -> None:
        super().__init__(order)
        self._stop = ""

    @workflow.run
    async def run(self, order: OperationOrder) -> OperationOutcome:
        """Do what fits."""
        reporter, work = self.start_reporting(), order.upgrade
        assert work is not None, "an upgrade has stages"
        report = UpgradeReport(done=work.done)
        for stage in [stage for stage in work.stages if stage.name not in work.done]:
            ends = work.window_ends
            parked = self._stop
            if ends is not None and workflow.now() + stage.need > ends - work.margin:
                parked = "the window ends"
            if parked:
                report = report.model_copy(update={"parked": parked, "next_stage": stage.name})
                return await self.finish(OperationPhase.PARKED, reporter, summary=parked, upgrade=report)
            await workflow.sleep(stage.need * 3 if SLOW in order.reason else stage.need / 2)
            if BAD in order.reason:
                report = report.model_copy(update={"rolled_back": stage.name, "signature": "server/canary/api"})
                return await self.finish(OperationPhase.ROLLED_BACK, reporter, summary="bad", upgrade=report)
            changes: dict[str, object] = {"done": (*report.done, stage.name)}
            changes |= {"release": stage.release} if stage.release else {}
            if stage.kind is StageKind.CONTROL_PLANE:
                changes |= {"kubernetes": stage.kubernetes}
                assert self.facts.cluster is not None, "it is provisioned"
                cluster = self.facts.cluster.model_copy(update={"version": stage.kubernetes})
                self.facts = self.facts.model_copy(update={"cluster": cluster})
            report = report.model_copy(update=changes)
        return await self.finish(OperationPhase.DONE, reporter, summary="reached", upgrade=report)

    @workflow.signal
    def stop_at_checkpoint(self, reason: str) -> None:
        """Park before the next stage."""
        self._stop = reason


@workflow.defn(name="Rollout", sandboxed=False)
class ListeningRollout:
    """Keeps what deployments report."""

    @workflow.init
    def __init__(self) -> None:
        self._heard: list[MemberReport] = []

    @workflow.run
    async def run(self) -> None:
        """Listen for a year."""
        await workflow.sleep(timedelta(days=365))

    @workflow.signal
    def member_reported(self, report: MemberReport) -> None:
        """Keep the report."""
        self._heard.append(report)

    @workflow.query
    def heard(self) -> list[MemberReport]:
        """Return the reports in the order in which they came."""
        return self._heard
