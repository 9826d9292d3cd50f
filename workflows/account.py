"""A customer's account: from the invitation until the permissions are revoked and proven gone."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ContinueAsNewVersioningBehavior

with workflow.unsafe.imports_passed_through():
    from activities.contracts import AccessQuestion
    from domain import markdown
    from domain.account import AccountAccess, AccountPhase
    from domain.actor import CONTROL_PLANE, Actor
    from domain.approval import PolicyChange, refusal_of_change
    from domain.failure import FailureDetail, Party
    from domain.model import Model
    from domain.state import AccountState, Event
    from workflows.temporal import queues
    from workflows.temporal import search_attributes as attributes

from workflows.steps import PROVE_REVOKED, VERIFY_ACCESS, detail_of, until

TRAIL_LENGTH = 100
"""How many events of the audit trail an account carries; older ones are in the history."""


class AccountRequest(Model):
    """A request about an account."""

    actor: Actor
    reason: str = ""


@workflow.defn
class Account:
    """Know at every moment whether we may work in the customer's account, until we provably may not.

    1. Verify what the customer granted, every minute until it is complete, then every day
    2. Prove that we can no longer enter

    While something is missing the account is invited or suspended, and says what; while the customer holds it no new
    operation starts in it. It ends when the customer has taken our permissions away and the cloud refuses us.
    """

    @workflow.init
    def __init__(self, state: AccountState) -> None:
        self.state = state
        self._verify_now = False
        self._verifications = 0
        self._fresh_run_asked = False
        self._shown: tuple[str, str] = ("", "")

    @workflow.run
    async def run(self, state: AccountState) -> AccountState:  # noqa: ARG002 - taken by __init__
        """Verify until revoked."""
        self._show()
        while self.state.phase is not AccountPhase.REVOKING:
            await self._verify()
            await self._until_due()
            if self._must_change_runs() or workflow.info().is_continue_as_new_suggested():
                await self._continue_as_new()
        await self._prove_revoked()
        await until(workflow.all_handlers_finished)
        return self.state

    @workflow.update(description="Verify now what the customer granted, and return the state with the report")
    async def verify(self, request: AccountRequest) -> AccountState:
        """Verify at once."""
        self._note(f"verification asked{_because(request)}", request.actor)
        before = self._verifications
        self._verify_now = True
        await workflow.wait_condition(lambda: self._verifications > before or self._is_leaving())
        return self.state

    @verify.validator
    def _check_verify(self, request: AccountRequest) -> None:  # noqa: ARG002 - a validator takes what its update takes
        self._refuse_if_leaving()

    @workflow.update(description="Hands off: no new operation starts until the account is released")
    def hold(self, request: AccountRequest) -> AccountState:
        """Hold the account."""
        self._note(f"held{_because(request)}", request.actor)
        self._become(AccountPhase.HELD, hold_reason=request.reason)
        return self.state

    @hold.validator
    def _check_hold(self, request: AccountRequest) -> None:  # noqa: ARG002
        self._refuse_if_leaving()
        if self.state.phase is AccountPhase.HELD:
            raise ApplicationError("the account is held already", type="NotNow")

    @workflow.update(description="End a hold; the account is verified before it is active again")
    def release(self, request: AccountRequest) -> AccountState:
        """Release the account."""
        self._note(f"released{_because(request)}", request.actor)
        self._become(AccountPhase.SUSPENDED, hold_reason="")
        self._verify_now = True
        return self.state

    @release.validator
    def _check_release(self, request: AccountRequest) -> None:  # noqa: ARG002
        if self.state.phase is not AccountPhase.HELD:
            raise ApplicationError(f"the account is {self.state.phase}, not held", type="NotNow")

    @workflow.update(description="Give our permissions up: prove that we cannot enter any more, then end")
    def revoke(self, request: AccountRequest) -> AccountState:
        """Begin to leave the account."""
        self._note(f"revocation asked{_because(request)}", request.actor)
        self._become(AccountPhase.REVOKING)
        return self.state

    @revoke.validator
    def _check_revoke(self, request: AccountRequest) -> None:  # noqa: ARG002
        self._refuse_if_leaving()

    @workflow.update(description="Change who has to approve operations that are asked for from now on")
    def set_approvals(self, change: PolicyChange) -> AccountState:
        """Take the policy over. The same one again changes nothing."""
        if change.approvals != self.state.spec.approvals:
            policy = markdown.approval_policy(change.approvals) or "nobody approves"
            because = f" ({change.reason})" if change.reason else ""
            self._note(f"approvals changed for the {change.side}{because}: {policy}", change.actor)
            spec = self.state.spec.model_copy(update={"approvals": change.approvals})
            self.state = self.state.model_copy(update={"spec": spec})
            self._show()
        return self.state

    @set_approvals.validator
    def _check_approvals(self, change: PolicyChange) -> None:
        self._refuse_if_leaving()
        if refusal := refusal_of_change(self.state.spec.approvals, change):
            raise ApplicationError(refusal, type="NotAllowed")

    @workflow.update(description="Go on in a fresh run now: after a new version was deployed")
    def continue_as_new_now(self, actor: Actor) -> int:
        """Ask for a fresh run; returns the number of the present one."""
        self._note("a fresh run was asked for", actor)
        self._fresh_run_asked = True
        return self.state.runs

    @continue_as_new_now.validator
    def _check_continue_as_new_now(self, actor: Actor) -> None:  # noqa: ARG002
        self._refuse_if_leaving()

    @workflow.query(name="state", description="Phase, newest report, and the audit trail")
    def current_state(self) -> AccountState:
        """Return everything that is known about the account."""
        return self.state

    async def _verify(self) -> None:
        self._verify_now = False
        try:
            report = await workflow.execute_activity_method(
                VERIFY_ACCESS.activity,
                self._question(),
                task_queue=queues.cloud_queue(self.state.spec.cloud),
                start_to_close_timeout=VERIFY_ACCESS.patience.attempt,
                schedule_to_close_timeout=VERIFY_ACCESS.patience.deadline,
                heartbeat_timeout=self.state.pace.liveness,
                summary=VERIFY_ACCESS.summary,
            )
        except ActivityError as error:
            self._learn_refusal(detail_of(error))
        else:
            complete = not report.missing
            self.state = self.state.model_copy(update={"report": report, "refusal": ""})
            self._settle(complete=complete)
        self._verifications += 1

    def _learn_refusal(self, detail: FailureDetail) -> None:
        self.state = self.state.model_copy(update={"refusal": detail.message})
        self._settle(complete=False)

    def _settle(self, *, complete: bool) -> None:
        """Move between invited, active and suspended; a hold and a revocation stay what they are."""
        match self.state.phase, complete:
            case (AccountPhase.INVITED | AccountPhase.SUSPENDED, True):
                self._note("everything that is needed is granted", CONTROL_PLANE)
                self._become(AccountPhase.ACTIVE)
            case (AccountPhase.ACTIVE, False):
                self._note("something that is needed is missing", CONTROL_PLANE)
                self._become(AccountPhase.SUSPENDED)
            case _:
                self._show()

    async def _until_due(self) -> None:
        steady = self.state.phase in (AccountPhase.ACTIVE, AccountPhase.HELD)
        pause = self.state.pace.verification if steady else self.state.pace.first_verification_probe
        await until(
            lambda: self._verify_now or self._is_leaving() or self._must_change_runs(),
            within=pause,
            summary="Verify again what was granted",
        )

    async def _prove_revoked(self) -> None:
        proof = await workflow.execute_activity_method(
            PROVE_REVOKED.activity,
            self._question(),
            task_queue=queues.cloud_queue(self.state.spec.cloud),
            start_to_close_timeout=PROVE_REVOKED.patience.attempt,
            schedule_to_close_timeout=PROVE_REVOKED.patience.deadline,
            heartbeat_timeout=self.state.pace.liveness,
            summary=PROVE_REVOKED.summary,
        )
        self.state = self.state.model_copy(update={"proof": proof})
        self._note("the cloud refuses us: revoked", CONTROL_PLANE)
        self._become(AccountPhase.REVOKED)

    def _must_change_runs(self) -> bool:
        """Whether to go on in a fresh run now: it was asked for, or another build than this one has become current."""
        return self._fresh_run_asked or workflow.info().is_target_worker_deployment_version_changed()

    async def _continue_as_new(self) -> None:
        """Go on in a fresh run, on the build that is current by then; a verification that was asked comes first."""
        await until(lambda: self._verify_now or workflow.all_handlers_finished())
        if self._verify_now and workflow.patched("asked-verification-first"):
            return  # Its handler waits for it, and a run does not end under a handler.
        await until(workflow.all_handlers_finished)
        workflow.continue_as_new(
            self.state.model_copy(update={"runs": self.state.runs + 1}),
            initial_versioning_behavior=ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _question(self) -> AccessQuestion:
        spec = self.state.spec
        access = AccountAccess(
            account=spec.name,
            customer=spec.customer,
            cloud=spec.cloud,
            cloud_account_id=spec.cloud_account_id,
            external_id=self.state.external_id,
        )
        return AccessQuestion(access=access, regions=spec.regions)

    def _is_leaving(self) -> bool:
        return self.state.phase in (AccountPhase.REVOKING, AccountPhase.REVOKED)

    def _refuse_if_leaving(self) -> None:
        if self._is_leaving():
            raise ApplicationError(f"the account is {self.state.phase}", type="TooLate")

    def _become(self, phase: AccountPhase, **facts: object) -> None:
        self.state = self.state.model_copy(update={"phase": phase, "since": workflow.now(), **facts})
        self._show()

    def _note(self, what: str, actor: Actor) -> None:
        event = Event(at=workflow.now(), what=what, actor=actor)
        self.state = self.state.model_copy(update={"trail": (*self.state.trail, event)[-TRAIL_LENGTH:]})

    def _show(self) -> None:
        """Make search attributes and the details in the Temporal UI say what is true now."""
        incomplete = self.state.phase in (AccountPhase.INVITED, AccountPhase.SUSPENDED, AccountPhase.REVOKING)
        shown = (str(self.state.phase), str(Party.CUSTOMER) if incomplete else attributes.NOBODY)
        if shown != self._shown:
            self._shown = shown
            workflow.upsert_search_attributes(
                [attributes.PHASE.value_set(shown[0]), attributes.WAITING_FOR.value_set(shown[1])]
            )
        workflow.set_current_details(markdown.account_details(self.state))


def _because(request: AccountRequest) -> str:
    return f": {request.reason}" if request.reason else ""
