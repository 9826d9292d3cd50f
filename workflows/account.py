"""A customer's account: from the invitation until the permissions are revoked and proven gone."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.workflow import ContinueAsNewVersioningBehavior

with workflow.unsafe.imports_passed_through():
    from activities.contracts import AccessQuestion
    from domain import markdown
    from domain.account import AccessReport, AccountAccess, AccountPhase, AccountStanding, Resident
    from domain.actor import CONTROL_PLANE, Actor
    from domain.approval import PolicyChange, refusal_of_change
    from domain.failure import FailureDetail, Party
    from domain.model import Model
    from domain.state import AccountState, Event
    from workflows.temporal import ids, queues
    from workflows.temporal import search_attributes as attributes

from workflows.step_runner import detail_of, until
from workflows.steps import PROVE_REVOKED, VERIFY_ACCESS

TRAIL_LENGTH = 100
"""How many events of the audit trail an account carries; older ones are in the history."""

_KNOWS_ITS_DEPLOYMENTS = "knows-its-deployments"
"""Patch: a worker of an earlier version took no notice of a deployment that joined; replayed, nor do we."""

TOLD_AT_ONCE = 50
"""How many deployments are told at the same time; a server takes 2,000 signals that are on their way."""


class AccountRequest(Model):
    """A request about an account."""

    actor: Actor
    reason: str = ""


@workflow.defn
class Account:
    """Know at every moment whether we may work in the customer's account, until we provably may not.

    1. Verify what the customer granted, every minute until it is complete, then every day
    2. Prove that we can no longer enter

    While something is missing the account is invited or suspended, and says what; while the customer holds it, all work
    in it is parked. The deployments that live in it hear of every change, in order. It ends when the customer has taken
    our permissions away and the cloud refuses us.
    """

    @workflow.init
    def __init__(self, state: AccountState) -> None:
        self.state = state
        self._verify_now = False
        self._verifications = 0
        self._fresh_run_asked = False
        self._shown: tuple[str, str] = ("", "")
        self._told: dict[str, AccountStanding] = dict.fromkeys(state.deployments, state.standing)
        """Keyed by deployment. Before a run continues as new it has told everybody everything."""
        self._is_telling = False

    @workflow.run
    async def run(self, state: AccountState) -> AccountState:  # noqa: ARG002 - taken by __init__
        """Verify until revoked."""
        self._show()
        self._telling = asyncio.create_task(self._keep_telling())
        while self.state.phase is not AccountPhase.REVOKING:
            await self._verify()
            await self._until_due()
            if self._must_change_runs() or workflow.info().is_continue_as_new_suggested():
                await self._continue_as_new()
        await self._prove_revoked()
        await until(self._can_change_runs)
        return self.state

    @workflow.update(description="Verify now what the customer granted, and return the state with the report")
    async def verify(self, request: AccountRequest) -> AccountState:
        """Verify at once, and tell every deployment how things stand, so that what waits for us is tried again."""
        self._note(f"verification asked{_because(request)}", request.actor)
        before = self._verifications
        self._verify_now = True
        await workflow.wait_condition(lambda: self._verifications > before or self._is_leaving())
        if self.state.deployments:
            self._told.clear()
            await workflow.wait_condition(self._everybody_knows)
        return self.state

    @verify.validator
    def _check_verify(self, request: AccountRequest) -> None:  # noqa: ARG002 - a validator takes what its update takes
        self._refuse_if_leaving()

    @workflow.update(description="Hands off: work parks, and nothing starts, until the account is released")
    def hold(self, request: AccountRequest) -> AccountState:
        """Hold the account."""
        self._note(f"held{_because(request)}", request.actor)
        self._become(AccountPhase.HELD, by=request.actor, hold_reason=request.reason, released=False)
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
        self._become(AccountPhase.SUSPENDED, by=request.actor, hold_reason="", released=True)
        self._verify_now = True
        return self.state

    @release.validator
    def _check_release(self, request: AccountRequest) -> None:  # noqa: ARG002
        if self.state.phase is not AccountPhase.HELD:
            raise ApplicationError(f"the account is {self.state.phase}, not held", type="NotNow")

    @workflow.signal(description="A deployment begins to live in the account; it is told at once how things stand")
    def deployment_joined(self, resident: Resident) -> None:
        """Keep the deployment's name, and tell it the account's standing."""
        if not workflow.patched(_KNOWS_ITS_DEPLOYMENTS):
            return
        if resident.deployment not in self.state.deployments:
            names = (*self.state.deployments, resident.deployment)
            self.state = self.state.model_copy(update={"deployments": names})
        self._told.pop(resident.deployment, None)
        self._show()

    @workflow.signal(description="A deployment is over and lives in the account no longer")
    def deployment_left(self, resident: Resident) -> None:
        """Forget the deployment."""
        self._forget(resident.deployment)

    @workflow.update(description="Give our permissions up: prove that we cannot enter any more, then end")
    def revoke(self, request: AccountRequest) -> AccountState:
        """Begin to leave the account."""
        self._note(f"revocation asked{_because(request)}", request.actor)
        self._become(AccountPhase.REVOKING, by=request.actor, released=False)
        return self.state

    @revoke.validator
    def _check_revoke(self, request: AccountRequest) -> None:  # noqa: ARG002
        self._refuse_if_leaving()
        if self.state.deployments:
            living = ", ".join(self.state.deployments)
            raise ApplicationError(
                f"deployments live in the account: {living}; retire them first "
                "(one whose workflow was terminated is forgotten when you ask for a verification)",
                type="NotNow",
            )

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
        was_released = self.state.released
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
            self._note_what_is_withheld(report)
            self.state = self.state.model_copy(update={"report": report, "refusal": ""})
            self._settle(complete=report.complete)
        if was_released:
            self.state = self.state.model_copy(update={"released": False})
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

    def _note_what_is_withheld(self, report: AccessReport) -> None:
        before = self.state.report.withheld if self.state.report else ()
        for purpose in report.withheld:
            if purpose not in before:
                self._note(f"the customer withholds the role for {purpose}", CONTROL_PLANE)
        for purpose in before:
            if purpose not in report.withheld:
                self._note(f"the role for {purpose} is lent again", CONTROL_PLANE)

    async def _until_due(self) -> None:
        await until(
            lambda: self._verify_now or self._is_leaving() or self._must_change_runs() or self._has_told_too_much(),
            within=self._pause(),
            summary="Verify again what was granted",
        )

    def _pause(self) -> timedelta:
        """Return the time to the next verification: what is withheld may be lent again any minute."""
        pace = self.state.pace
        if self.state.phase not in (AccountPhase.ACTIVE, AccountPhase.HELD):
            return pace.first_verification_probe
        is_narrowed = self.state.report is not None and bool(self.state.report.withheld)
        return min(pace.permission_probe, pace.verification) if is_narrowed else pace.verification

    def _has_told_too_much(self) -> bool:
        """Whether deployments that came and went have made the history long before the next verification is due."""
        return bool(self.state.deployments) and workflow.info().is_continue_as_new_suggested()

    async def _keep_telling(self) -> None:
        """Tell each deployment how the account stands whenever it does not know; of a burst it hears the end."""
        while True:
            await until(lambda: bool(self._unaware()))
            self._is_telling = True
            standing = self.state.standing
            await asyncio.gather(*(self._tell(name, standing) for name in self._unaware()[:TOLD_AT_ONCE]))
            self._is_telling = False

    async def _tell(self, deployment: str, standing: AccountStanding) -> None:
        """Signal one deployment; one whose workflow was ended from outside is forgotten."""
        self._told[deployment] = standing
        handle = workflow.get_external_workflow_handle(ids.deployment_id(deployment))
        try:
            await handle.signal("account_changed", standing)
        except FailureError:
            # One of the same name that has joined meanwhile is another deployment: it waits to be told.
            if self._told.get(deployment) is standing:
                self._forget(deployment)

    def _unaware(self) -> list[str]:
        standing = self.state.standing
        return [name for name in self.state.deployments if self._told.get(name) != standing]

    def _everybody_knows(self) -> bool:
        return not self._is_telling and not self._unaware()

    def _forget(self, deployment: str) -> None:
        names = tuple(name for name in self.state.deployments if name != deployment)
        self.state = self.state.model_copy(update={"deployments": names})
        self._told.pop(deployment, None)
        self._show()

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
        await until(lambda: self._verify_now or self._can_change_runs())
        if self._verify_now and workflow.patched("asked-verification-first"):
            return  # Its handler waits for it, and a run does not end under a handler.
        await until(self._can_change_runs)
        workflow.continue_as_new(
            self.state.model_copy(update={"runs": self.state.runs + 1}),
            initial_versioning_behavior=ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _can_change_runs(self) -> bool:
        """Whether nothing of this run is under way: no request, and nothing that deployments have yet to be told."""
        return workflow.all_handlers_finished() and self._everybody_knows()

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

    def _become(self, phase: AccountPhase, *, by: Actor = CONTROL_PLANE, **facts: object) -> None:
        self.state = self.state.model_copy(update={"phase": phase, "since": workflow.now(), "by": by, **facts})
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
