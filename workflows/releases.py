"""The releases that were published after the packaged catalogue: one long-lived workflow holds them."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ContinueAsNewVersioningBehavior

with workflow.unsafe.imports_passed_through():
    from domain.actor import Actor
    from domain.publication import Publication, ReleasesState, Withdrawal
    from workflows.temporal.fresh_runs import fresh_run_is_due


@workflow.defn
class Releases:
    """Hold what was published and withdrawn, for ever.

    Doors validate a release against the whole catalogue before they send it here. A version that is published never
    changes, and one that is withdrawn stays so.
    """

    @workflow.init
    def __init__(self, state: ReleasesState) -> None:
        self.state = state
        self._fresh_run_asked = False

    @workflow.run
    async def run(self, state: ReleasesState) -> None:  # noqa: ARG002 - taken by __init__
        """Wait, and go on in a fresh run when the history is long or another build is current."""
        await workflow.wait_condition(self._must_change_runs)
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(
            self.state.model_copy(update={"runs": self.state.runs + 1}),
            initial_versioning_behavior=ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    @workflow.update(description="Publish a release: it can be ordered and upgraded to from then on")
    def publish(self, publication: Publication) -> ReleasesState:
        """Keep the release. The same one again changes nothing."""
        if self.state.publication(publication.release.version) is None:
            kept = publication.model_copy(update={"at": workflow.now()})
            self.state = self.state.model_copy(update={"published": (*self.state.published, kept)})
        return self.state

    @publish.validator
    def _check_publish(self, publication: Publication) -> None:
        known = self.state.publication(publication.release.version)
        if known is not None and known.release != publication.release:
            raise ApplicationError(
                f"release {known.release.version} is published already, and is another one: publish a new version",
                type="NotAllowed",
            )

    @workflow.update(description="Withdraw a release: nobody may order it or upgrade to it any more")
    def withdraw(self, withdrawal: Withdrawal) -> ReleasesState:
        """Keep the withdrawal. A second one changes nothing."""
        if self.state.withdrawal(withdrawal.version) is None:
            kept = withdrawal.model_copy(update={"at": workflow.now()})
            self.state = self.state.model_copy(update={"withdrawn": (*self.state.withdrawn, kept)})
        return self.state

    @withdraw.validator
    def _check_withdraw(self, withdrawal: Withdrawal) -> None:
        if not withdrawal.reason:
            raise ApplicationError(
                "a withdrawal needs a reason: it is shown to whoever wants the release", type="NotAllowed"
            )

    @workflow.update(description="Go on in a fresh run now: after a new version was deployed")
    def continue_as_new_now(self, actor: Actor) -> int:  # noqa: ARG002 - it is in the history
        """Ask for a fresh run; returns the number of the present one."""
        self._fresh_run_asked = True
        return self.state.runs

    @workflow.query(name="state", description="What was published and withdrawn")
    def current_state(self) -> ReleasesState:
        """Return everything that is kept."""
        return self.state

    def _must_change_runs(self) -> bool:
        return fresh_run_is_due(asked=self._fresh_run_asked)
