"""The client library: everything that one can ask of the control plane, typed. The command line uses nothing else.

Every method raises one of the errors below, with a message that says what to do.

ControlPlaneError
├── NotFound             no such account, deployment, operation or key
├── Refused              the request cannot be taken now; the message says why
└── Unreachable          Temporal does not answer, or no worker does
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar
from uuid import uuid4

from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.contracts import Comparison, ComparisonQuestion
from domain.account import AccountPhase, AccountSpec
from domain.actor import Actor
from domain.approval import (
    SHORTEST_PREFIX,
    ApprovalBook,
    ApprovalDecision,
    ApprovalPolicy,
    ApprovalStanding,
    Delegation,
    DelegationRequest,
    PolicyChange,
    RiskClass,
    Side,
    missing,
    valid,
)
from domain.audit import AuditEntry
from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.model import Model
from domain.operation import OperationKind, OperationPhase, OperationProgress, Pace, StepDecision
from domain.state import (
    AccountState,
    ApiKeyChange,
    DeploymentOrder,
    DeploymentPhase,
    DeploymentState,
    OperationAccepted,
    OperationRequest,
)
from starters.durations import ENDED_OPERATIONS, took_of
from starters.history.reader import Histories
from starters.maintenance import MaintenanceRequests
from workflows.account import Account, AccountRequest
from workflows.approvals import PlanningRequest
from workflows.compare import Compare
from workflows.deployment import Deployment
from workflows.operation import Operation
from workflows.temporal import ids, queues
from workflows.temporal import search_attributes as attributes
from workflows.temporal.connection import connect
from workflows.temporal.encryption import UNREADABLE
from workflows.temporal.settings import EncryptionSettings

State = TypeVar("State", AccountState, DeploymentState)

_LONGEST_COMPARISON = timedelta(minutes=5)
_LOOKS, _PAUSE = 15, 0.2
"""How often, and every how many seconds, something that is about to start is looked for."""


class ControlPlaneError(Exception):
    """A request did not succeed; the message is for the person who made it."""


class NotFound(ControlPlaneError):  # noqa: N818 - named by what happened
    """There is no such thing."""


class Refused(ControlPlaneError):  # noqa: N818
    """The request cannot be taken now."""


class Unreachable(ControlPlaneError):  # noqa: N818
    """Nobody answers."""


class Listed(Model):
    """One row of a list, from Temporal's visibility store (a second or so behind the truth)."""

    name: str
    customer: str
    account: str
    cloud: str
    region: str
    phase: str
    shape: str
    release: str
    kubernetes: str
    waiting_for: str
    started_at: datetime
    open: bool


class AwaitingApproval(Model):
    """One operation that waits for approvals, or for the plan that is to be approved."""

    deployment: str
    customer: str
    account: str
    operation_id: str
    risk: RiskClass
    requester: str
    asked_at: datetime
    hash: str
    """Of the plan; empty while it is being made."""
    approved: tuple[Side, ...]
    missing: tuple[Side, ...]
    expires_at: datetime | None
    """When the first of the approvals that were given expires."""
    failure: str
    """Why no plan could be made; empty if that is not so."""


@dataclass(frozen=True)
class ControlPlane(MaintenanceRequests):
    """A connection to the control plane, on behalf of one actor."""

    client: Client
    actor: Actor
    patience: timedelta = timedelta(seconds=15)
    """How long one answer may take. What waits for the cloud (a verification) may take four times as long."""

    @classmethod
    async def open(
        cls,
        actor: Actor,
        *,
        profile: str | None = None,
        patience: timedelta = timedelta(seconds=15),
        encryption: EncryptionSettings | None = None,
    ) -> Self:
        """Connect by Temporal's own profiles (`TEMPORAL_ADDRESS`, temporal.toml); `encryption` as for `connect`.

        Raises:
            BadSettings: Payloads must be encrypted, and there is no key ring that can be used.
            Unreachable: Nothing answers at the address.
        """
        try:
            return cls(await connect(profile=profile, encryption=encryption), actor, patience)
        except RuntimeError as error:
            raise Unreachable(
                f"Temporal does not answer ({error}). Set TEMPORAL_ADDRESS (now: the profile's, or localhost:7233), "
                "or start a playground with `byoc dev`."
            ) from error

    # Accounts

    async def connect_account(
        self, spec: AccountSpec, *, pace: Pace | None = None, external_id: str | None = None
    ) -> AccountState:
        """Invite an account: its workflow starts and waits for the template to be applied. A repeat changes nothing.

        Raises:
            Refused: There is an account of this name with another specification.
        """
        state = AccountState(
            spec=spec,
            external_id=external_id or f"byoc-{uuid4()}",
            connected_by=self.actor,
            pace=pace or Pace(),
            since=datetime.now(UTC),
        )
        with explained(f"account {spec.name!r}"):
            try:
                handle = await self.client.start_workflow(
                    Account.run,
                    state,
                    id=ids.account_id(spec.name),
                    task_queue=queues.LIFECYCLES,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    priority=_fair_to(spec.customer),
                    search_attributes=TypedSearchAttributes(
                        [
                            SearchAttributePair(attributes.CUSTOMER, spec.customer),
                            SearchAttributePair(attributes.ACCOUNT, spec.name),
                            SearchAttributePair(attributes.CLOUD, spec.cloud),
                            SearchAttributePair(attributes.PHASE, AccountPhase.INVITED),
                        ]
                    ),
                    static_summary=f"Account {spec.name} of {spec.customer} ({spec.cloud} {spec.cloud_account_id})",
                    static_details=f"Connected by {self.actor}.",
                )
            except WorkflowAlreadyStartedError:
                known = await self.account(spec.name)
                if known.spec.model_copy(update={"approvals": spec.approvals}) != spec:
                    raise Refused(
                        f"account {spec.name!r} is connected already, to {known.spec.cloud} "
                        f"{known.spec.cloud_account_id} for {known.spec.customer}; choose another name or revoke it"
                    ) from None
                if known.spec.approvals != spec.approvals:
                    raise Refused(
                        f"account {spec.name!r} is connected already, with another approval policy; "
                        f"`byoc approvals policy {spec.name}` shows and changes it"
                    ) from None
                return known
            return await handle.query(Account.current_state, rpc_timeout=self.patience)

    async def account(self, name: str) -> AccountState:
        """Return everything that is known about an account."""
        with explained(f"account {name!r}"):
            return await self._state(self._account(name), Account.current_state)

    async def accounts(self) -> list[Listed]:
        """Return every account that was not revoked."""
        return await self._listed("WorkflowType = 'Account' AND ExecutionStatus = 'Running'")

    async def verify_account(self, name: str) -> AccountState:
        """Verify at once what the customer granted; returns with the report."""
        return await self._ask_account(name, Account.verify, "")

    async def hold_account(self, name: str, reason: str) -> AccountState:
        """Hands off: what runs in the account parks, and nothing starts, until it is released."""
        return await self._ask_account(name, Account.hold, reason)

    async def release_account(self, name: str, reason: str = "") -> AccountState:
        """End a hold; what was parked goes on once the account was verified."""
        return await self._ask_account(name, Account.release, reason)

    async def revoke_account(self, name: str, reason: str = "") -> AccountState:
        """Begin to leave an account.

        Raises:
            Refused: Deployments live in it.
        """
        # The list is a moment behind: it may still have what has just retired.
        listed = [row.name for row in await self.deployments(account=name)]
        living = [each for each in listed if not (await self.deployment(each)).phase.is_over]
        if living:
            raise Refused(f"account {name!r} has deployments: {', '.join(living)}; retire them first")
        return await self._ask_account(name, Account.revoke, reason)

    # Deployments

    async def order(self, order: DeploymentOrder) -> DeploymentState:
        """Order a deployment; it provisions itself. A repeat of the same order changes nothing.

        While the customer holds the account, the order is accepted and nothing is made until the release.

        Raises:
            Refused: Something is missing in the account (the message says what), or a deployment of this name was
                ordered with another specification.
        """
        site, spec = order.site, order.spec
        name = site.deployment
        account = await self.account(site.account)
        if lack := _lack_of(account):
            raise Refused(f"account {site.account!r} {lack}; `byoc accounts show {site.account}` says more")
        state = DeploymentState(order=order, since=datetime.now(UTC), standing=account.standing)
        with explained(f"deployment {name!r}"):
            try:
                handle = await self.client.start_workflow(
                    Deployment.run,
                    state,
                    id=ids.deployment_id(name),
                    task_queue=queues.LIFECYCLES,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    priority=_fair_to(site.customer),
                    search_attributes=_deployment_attributes(order),
                    static_summary=f"Deployment {name} of {site.customer}: {spec.shape} in {site.cloud} {site.region}",
                    static_details=f"Ordered by {order.actor}.",
                )
            except WorkflowAlreadyStartedError:
                known = await self.deployment(name)
                if known.order.spec != spec:
                    raise Refused(
                        f"deployment {name!r} exists with another specification; "
                        f"`byoc deployments show {name} -o yaml` shows it, `byoc deployments converge` changes it"
                    ) from None
                return known
            return await handle.query(Deployment.current_state, rpc_timeout=self.patience)

    async def generation(self, name: str) -> int:
        """Return the generation that a new order of this name has: one more than the newest one that is over."""
        with contextlib.suppress(NotFound):
            known = await self.deployment(name)
            return known.order.site.generation + (1 if known.phase.is_over else 0)
        return 1

    async def deployment(self, name: str) -> DeploymentState:
        """Return everything that is known about a deployment, also a retired one (while Temporal keeps it)."""
        with explained(f"deployment {name!r}"):
            return await self._state(self._deployment(name), Deployment.current_state)

    async def deployments(self, *, account: str = "", include_closed: bool = False) -> list[Listed]:
        """Return the deployments, newest first."""
        clauses = ["WorkflowType = 'Deployment'"]
        if not include_closed:
            clauses.append("ExecutionStatus = 'Running'")
        if account:
            quoted = account.replace("'", "''")
            clauses.append(f"{attributes.ACCOUNT.name} = '{quoted}'")
        return await self._listed(" AND ".join(clauses))

    async def request(self, name: str, request: OperationRequest) -> OperationAccepted:
        """Ask for an operation on a deployment; returns as soon as it is queued.

        While the customer holds the account it stays queued; `parked` of the answer says so.

        Raises:
            Refused: The deployment is over or being retired.
        """
        await self._refuse_if_held_unawares(name)
        request = request.model_copy(update={"approvals": request.approvals or await self.policy_for(name)})
        with explained(f"deployment {name!r}"):
            return await self._deployment(name).execute_update(Deployment.request, request, rpc_timeout=self.patience)

    async def retire(
        self, name: str, *, reason: str = "", final_backup: FinalBackup = FinalBackup.KEEP, request_id: str = ""
    ) -> OperationAccepted:
        """Ask for the retirement of a deployment. While one runs, asking again returns that one."""
        state = await self.deployment(name)
        for queued in (*state.queue, *([state.running] if state.running else [])):
            if queued.summary.kind is OperationKind.RETIRE:
                return OperationAccepted(
                    operation_id=queued.summary.operation_id, workflow_id=queued.summary.workflow_id
                )
        request = OperationRequest(
            request_id=request_id or f"retire-{uuid4().hex[:12]}",
            kind=OperationKind.RETIRE,
            actor=self.actor,
            reason=reason,
            final_backup=final_backup,
        )
        return await self.request(name, request)

    async def change_api_keys(self, name: str, change: ApiKeyChange) -> OperationAccepted:
        """Create, rotate or revoke an API key; returns as soon as the change is queued.

        Raises:
            Refused: The change does not fit the keys that exist.
        """
        await self._refuse_if_held_unawares(name)
        change = change.model_copy(update={"approvals": change.approvals or await self.policy_for(name)})
        with explained(f"deployment {name!r}"):
            return await self._deployment(name).execute_update(
                Deployment.change_api_keys, change, rpc_timeout=self.patience
            )

    # Operations

    async def progress(self, workflow_id: str) -> OperationProgress:
        """Return how an operation is going, or how it went.

        A deployment names an operation an instant before it starts, so one that is not there yet is looked for again.
        """
        handle = self.client.get_workflow_handle(workflow_id)
        for _ in range(_LOOKS):
            with contextlib.suppress(NotFound), explained(f"operation {workflow_id!r}"):
                return await handle.query(Operation.progress, rpc_timeout=self.patience)
            await asyncio.sleep(_PAUSE)
        raise NotFound(f"there is no operation {workflow_id!r}")

    async def decide(self, name: str, decision: StepDecision) -> str:
        """Decide about the running operation of a deployment: retry or skip a waiting step, or abort.

        Raises:
            Refused: Nothing runs, or the step does not wait, or may not be decided so.
        """
        state = await self.deployment(name)
        if state.running is None:
            raise Refused(f"deployment {name!r} is {state.phase}: no operation runs")
        with explained(f"operation {state.running.summary.operation_id!r}"):
            handle = self.client.get_workflow_handle(state.running.summary.workflow_id)
            return await handle.execute_update(Operation.decide, decision, rpc_timeout=self.patience)

    # Plans

    async def compare(self, plan: str, question: ComparisonQuestion) -> Comparison:
        """Return what one step would change, seen by the worker of its cloud; nothing is changed.

        Args:
            plan: What tells the comparisons of one plan from another's.
            question: The step, with what its activity would be asked.
        """
        with explained(f"comparison of step {question.step!r}"):
            async with asyncio.timeout(3 * self.patience.total_seconds()):
                return await self.client.execute_workflow(
                    Compare.run,
                    question,
                    id=ids.comparison_id(question.site.deployment, plan, question.step),
                    task_queue=queues.LIFECYCLES,
                    execution_timeout=_LONGEST_COMPARISON,
                    priority=_fair_to(question.site.customer),
                    static_summary=f"Compare {question.step} of {question.site.deployment} with what exists",
                )

    async def recorded_durations(self) -> dict[Cloud, dict[str, list[float]]]:
        """Return how long the steps of the operations that ended took, in seconds, keyed by cloud and step."""
        found: dict[Cloud, dict[str, list[float]]] = {}
        with explained("the record of operations"):
            async for execution in self._executions(ENDED_OPERATIONS):
                handle = self.client.get_workflow_handle(execution.id, run_id=execution.run_id)
                took = await took_of(await handle.fetch_history(), self.client.data_converter)
                if took is not None:
                    steps = found.setdefault(took.cloud, {})
                    for step, seconds in took.seconds.items():
                        steps.setdefault(step, []).append(seconds)
        return found

    # Approvals

    async def approvals(self, *, account: str = "") -> list[AwaitingApproval]:
        """Return every operation that waits for an approval or for its plan, oldest request first."""
        clauses = [
            "WorkflowType = 'Deployment'",
            "ExecutionStatus = 'Running'",
            f"{attributes.WAITING_FOR.name} != '{attributes.NOBODY}'",
        ]
        if account:
            quoted = account.replace("'", "''")
            clauses.append(f"{attributes.ACCOUNT.name} = '{quoted}'")
        found: list[AwaitingApproval] = []
        for row in await self._listed(" AND ".join(clauses)):
            with contextlib.suppress(NotFound):
                found += _awaiting(await self.deployment(row.name))
        return sorted(found, key=lambda each: each.asked_at)

    async def approval(self, name: str, operation: str = "") -> ApprovalBook:
        """Return what an operation needs and has: its plan, who has approved it, whose approval is missing.

        Args:
            name: The deployment's.
            operation: The operation's id; it may be left out while only one waits.

        Raises:
            Refused: It does not wait for approval, or several do and none is named.
        """
        state = await self.deployment(name)
        books = [queued.approval for queued in state.queue if queued.approval is not None]
        named = [book for book in books if operation in ("", book.operation_id)]
        waiting = ", ".join(book.operation_id for book in books) or "none"
        if not named:
            what = f"operation {operation!r}" if operation else "nothing"
            raise Refused(f"deployment {name!r}: {what} waits for approval (waiting: {waiting})")
        if len(named) > 1:
            raise Refused(f"deployment {name!r} has several operations that wait for approval; name one of {waiting}")
        return named[0]

    async def approve(self, name: str, operation: str, side: Side, plan: str, reason: str = "") -> ApprovalStanding:
        """Approve an operation's plan for a side. The same approval again changes nothing.

        Args:
            name: The deployment's.
            operation: The operation's id; empty: the one that has this plan.
            side: On whose behalf.
            plan: The plan's hash, or its first digits (at least 8). Only the present plan can be approved.
            reason: Why; it goes into the audit trail.

        Raises:
            Refused: The plan has changed, or the actor may not approve it.
        """
        if len(plan) < SHORTEST_PREFIX:
            raise Refused(f"{plan!r} is too short for a hash: at least {SHORTEST_PREFIX} digits")
        operation, whole = await self._planned(name, operation, plan.lower())
        decision = ApprovalDecision(operation_id=operation, side=side, actor=self.actor, hash=whole, reason=reason)
        return await self._decide_approval(name, Deployment.approve, decision)

    async def decline(self, name: str, operation: str, side: Side, reason: str = "") -> ApprovalStanding:
        """Decline an operation: it will not run. Whoever asked for it may take his request back so.

        Raises:
            Refused: It does not wait for approval any more, or the actor does not speak for the side.
        """
        decision = ApprovalDecision(operation_id=operation, side=side, actor=self.actor, reason=reason)
        return await self._decide_approval(name, Deployment.decline, decision)

    async def withdraw_approval(self, name: str, operation: str, side: Side, reason: str = "") -> ApprovalStanding:
        """Take a side's approval back, while the operation has not started.

        Raises:
            Refused: The operation has started, or the actor does not speak for the side.
        """
        decision = ApprovalDecision(operation_id=operation, side=side, actor=self.actor, reason=reason)
        return await self._decide_approval(name, Deployment.withdraw_approval, decision)

    async def delegate(  # each says something else about the delegation
        self, name: str, side: Side, to: str, *, operation: str = "", until: datetime | None = None, reason: str = ""
    ) -> Delegation:
        """Let somebody else approve in the actor's place: one operation, or every one until an instant.

        Raises:
            Refused: The actor is no approver of the side by himself, or nobody has to be one.
        """
        request = DelegationRequest(
            side=side, actor=self.actor, to=to, operation_id=operation, until=until, reason=reason
        )
        with explained(f"deployment {name!r}"):
            return await self._deployment(name).execute_update(Deployment.delegate, request, rpc_timeout=self.patience)

    async def plan_again(self, name: str, operation: str) -> ApprovalStanding:
        """Have a plan made now that could not be made before."""
        request = PlanningRequest(operation_id=operation, actor=self.actor)
        with explained(f"deployment {name!r}"):
            return await self._deployment(name).execute_update(
                Deployment.plan_again, request, rpc_timeout=self.patience
            )

    async def set_approvals(
        self, account: str, approvals: ApprovalPolicy, side: Side, reason: str = ""
    ) -> AccountState:
        """Change who has to approve what is asked for from now on in an account.

        Raises:
            Refused: The change makes the policy looser and the customer does not ask for it, or it is not the side's.
        """
        change = PolicyChange(approvals=approvals, side=side, actor=self.actor, reason=reason)
        with explained(f"account {account!r}"):
            return await self._account(account).execute_update(Account.set_approvals, change, rpc_timeout=self.patience)

    async def _planned(self, name: str, operation: str, prefix: str) -> tuple[str, str]:
        """Return the operation whose plan's hash begins so, and the whole hash.

        A started operation is found as well, so that an approval sent twice gets its answer twice. What is no plan's
        hash is left to the deployment to refuse: it says what is so instead.
        """
        state = await self.deployment(name)
        started = [*([state.running.summary] if state.running else []), *reversed(state.past)]
        planned = [(each.operation_id, each.approved.hash) for each in started if each.approved]
        for queued in state.queue:
            if queued.approval is not None and queued.approval.plan is not None:
                planned.insert(0, (queued.summary.operation_id, queued.approval.plan.hash))
        found = [each for each in planned if operation in ("", each[0]) and each[1].startswith(prefix)]
        if len({whole for _, whole in found}) > 1:
            raise Refused(f"{prefix!r} begins the hash of several plans: {', '.join(each for each, _ in found)}")
        if found:
            return found[0]
        return operation or (await self.approval(name)).operation_id, prefix

    async def _decide_approval(
        self,
        name: str,
        update: Any,  # noqa: ANN401 - the SDK's own type is that of the method
        decision: ApprovalDecision,
    ) -> ApprovalStanding:
        try:
            with explained(f"deployment {name!r}"):
                standing: ApprovalStanding = await self._deployment(name).execute_update(
                    update, decision, rpc_timeout=self.patience
                )
                return standing
        except NotFound:
            return _answered_before(await self.deployment(name), decision)

    # The audit trail

    async def account_history(self, name: str, *, follow: bool = False) -> AsyncIterator[AuditEntry]:
        """Yield the audit trail of an account in the order in which its lines became true."""
        with explained(f"history of account {name!r}"):
            async for line in Histories(self.client, follow=follow).lines(ids.account_id(name)):
                yield line

    async def deployment_history(self, name: str, *, follow: bool = False) -> AsyncIterator[AuditEntry]:
        """Yield the audit trail of a deployment, of every generation, with that of its operations."""
        with explained(f"history of deployment {name!r}"):
            async for line in Histories(self.client, follow=follow).lines(ids.deployment_id(name)):
                yield line

    # The rest

    async def policy_for(self, deployment: str) -> ApprovalPolicy | None:
        """Return the approval policy of a deployment's account, or None if the account is gone.

        The deployment then keeps to the policy that it was told last.
        """
        with contextlib.suppress(NotFound):
            site = (await self.deployment(deployment)).order.site
            return (await self.account(site.account)).spec.approvals
        return None

    async def _update(self, name: str, update: Any, message: Any) -> Any:  # noqa: ANN401
        with explained(f"deployment {name!r}"):
            return await self._deployment(name).execute_update(update, message, rpc_timeout=self.patience)

    async def _ask_account(self, name: str, update: Any, reason: str) -> AccountState:  # noqa: ANN401
        request = AccountRequest(actor=self.actor, reason=reason)
        with explained(f"account {name!r}"):
            async with asyncio.timeout(4 * self.patience.total_seconds()):
                state: AccountState = await self._account(name).execute_update(update, request)
            return state

    async def _state(self, entity: WorkflowHandle[Any, State], query: Callable[[Any], State]) -> State:
        """Return an entity's state. One that has ended left it as its result, so no worker of its build is needed."""
        if (await entity.describe(rpc_timeout=self.patience)).status is WorkflowExecutionStatus.COMPLETED:
            return await entity.result(rpc_timeout=self.patience)
        return await entity.query(query, rpc_timeout=self.patience)

    async def _listed(self, query: str) -> list[Listed]:
        with explained("the list"):
            return [_listed(execution) async for execution in self._executions(query)]

    async def _executions(self, query: str) -> AsyncIterator[WorkflowExecution]:
        async for execution in self.client.list_workflows(query):
            yield execution

    async def _refuse_if_held_unawares(self, deployment: str) -> None:
        """Refuse for a deployment that does not park: its run is older than joining an account is."""
        state = await self.deployment(deployment)
        if state.standing is not None:
            return
        account = await self.account(state.order.site.account)
        if account.standing.parks:
            raise Refused(
                f"account {account.spec.name!r} is held ({account.hold_reason or 'no reason given'}); "
                f"`byoc accounts release {account.spec.name}` ends the hold"
            )

    def _account(self, name: str) -> WorkflowHandle[Any, AccountState]:
        return self.client.get_workflow_handle(ids.account_id(name), result_type=AccountState)

    def _deployment(self, name: str) -> WorkflowHandle[Any, DeploymentState]:
        return self.client.get_workflow_handle(ids.deployment_id(name), result_type=DeploymentState)


def _fair_to(customer: str) -> Priority:
    """Return the priority of what is done for a customer; operations and activities inherit it from their entity.

    Of what waits in a queue, each customer's share is served in turn: nobody waits for the end of another's burst.
    """
    return Priority(fairness_key=customer)


def _lack_of(account: AccountState) -> str:
    """Return what keeps an account from taking orders, or nothing. A hold does not: the order waits for its end."""
    was_complete = account.report is not None and account.report.complete and not account.refusal
    if account.phase is AccountPhase.ACTIVE or (account.standing.parks and was_complete):
        return ""
    return f"is {account.phase}{_missing_in(account)}"


def _missing_in(account: AccountState) -> str:
    report = account.report
    if account.refusal:
        return f": we cannot enter it ({account.refusal})"
    if report is None:
        return " and was not verified yet"
    if report.missing:
        first, *more = report.missing
        return f": {first.action} is missing" + (f", and {len(more)} more" if more else "")
    return "" if report.complete else f": the customer withholds the role for {' and '.join(report.withheld)}"


def _deployment_attributes(order: DeploymentOrder) -> TypedSearchAttributes:
    site, spec = order.site, order.spec
    return TypedSearchAttributes(
        [
            SearchAttributePair(attributes.CUSTOMER, site.customer),
            SearchAttributePair(attributes.ACCOUNT, site.account),
            SearchAttributePair(attributes.CLOUD, site.cloud),
            SearchAttributePair(attributes.REGION, site.region),
            SearchAttributePair(attributes.PHASE, DeploymentPhase.ORDERED),
            SearchAttributePair(attributes.SHAPE, spec.shape),
            SearchAttributePair(attributes.RELEASE, spec.release),
            SearchAttributePair(attributes.KUBERNETES, spec.kubernetes),
            SearchAttributePair(attributes.WAITING_FOR, attributes.NOBODY),
        ]
    )


def _answered_before(state: DeploymentState, decision: ApprovalDecision) -> ApprovalStanding:
    """Return the answer that a decision got while the deployment lived, which takes none any more.

    Raises:
        Refused: It never got one.
    """
    for past in state.past:
        if past.operation_id != decision.operation_id:
            continue
        given = past.approved.approvals if past.approved else ()
        if past.approved and any((each.side, each.hash) == (decision.side, decision.hash) for each in given):
            return ApprovalStanding(operation_id=past.operation_id, hash=past.approved.hash, approvals=given)
        if past.phase is OperationPhase.DECLINED and not decision.hash:
            return ApprovalStanding(operation_id=past.operation_id, declined=True)
    raise Refused(f"deployment {state.order.site.deployment!r} is {state.phase}: nothing waits for approval")


def _awaiting(state: DeploymentState) -> list[AwaitingApproval]:
    site, now = state.order.site, datetime.now(UTC)
    rows = []
    for queued in state.queue:
        book = queued.approval
        if book is None or (book.plan is not None and not missing(book, now)):
            continue
        given = valid(book, now)
        rows.append(
            AwaitingApproval(
                deployment=site.deployment,
                customer=site.customer,
                account=site.account,
                operation_id=book.operation_id,
                risk=book.risk,
                requester=str(book.requester),
                asked_at=queued.summary.asked_at,
                hash=book.plan.hash if book.plan else "",
                approved=tuple(approval.side for approval in given),
                missing=missing(book, now),
                expires_at=min((approval.expires_at for approval in given), default=None),
                failure=book.failure,
            )
        )
    return rows


def _listed(execution: WorkflowExecution) -> Listed:
    found = execution.typed_search_attributes
    return Listed(
        name=ids.deployment_of(execution.id),
        customer=found.get(attributes.CUSTOMER, ""),
        account=found.get(attributes.ACCOUNT, ""),
        cloud=found.get(attributes.CLOUD, ""),
        region=found.get(attributes.REGION, ""),
        phase=found.get(attributes.PHASE, ""),
        shape=found.get(attributes.SHAPE, ""),
        release=found.get(attributes.RELEASE, ""),
        kubernetes=found.get(attributes.KUBERNETES, ""),
        waiting_for=found.get(attributes.WAITING_FOR, ""),
        started_at=execution.start_time,
        open=execution.status is WorkflowExecutionStatus.RUNNING,
    )


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn Temporal's errors into ours."""
    try:
        yield
    except WorkflowUpdateFailedError as error:
        raise Refused(f"{what}: {getattr(error.cause, 'message', '') or error}") from error
    except WorkflowFailureError as error:
        raise ControlPlaneError(f"{what} failed: {_innermost(error)}") from error
    except WorkflowQueryFailedError as error:
        raise ControlPlaneError(f"{what} cannot answer: {error}") from error
    except (RPCTimeoutOrCancelledError, WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError) as error:
        raise Unreachable(_nobody_answers(what)) from error
    except UNREADABLE as error:
        raise ControlPlaneError(f"{what}: {error}") from error
    except RPCError as error:
        raise _meaning_of(error, what) from error


def _innermost(error: BaseException) -> BaseException:
    """Return the cause of the causes: Temporal wraps what an activity said."""
    while (cause := getattr(error, "cause", None)) is not None:
        error = cause
    return error


def _meaning_of(error: RPCError, what: str) -> ControlPlaneError:
    match error.status:
        case RPCStatusCode.NOT_FOUND if "amespace" in error.message:
            return Unreachable(f"Temporal says: {error.message} `byoc setup` makes the namespace")
        case RPCStatusCode.NOT_FOUND:
            return NotFound(f"there is no {what}")
        case RPCStatusCode.INVALID_ARGUMENT if "search attribute" in error.message:
            return Unreachable(f"Temporal says: {error.message}. `byoc setup` registers what is missing")
        case RPCStatusCode.DEADLINE_EXCEEDED | RPCStatusCode.CANCELLED | RPCStatusCode.FAILED_PRECONDITION:
            return Unreachable(_nobody_answers(what))
        case RPCStatusCode.UNAVAILABLE:
            return Unreachable(f"Temporal went away: {error.message}")
        case _:
            return ControlPlaneError(f"{what}: {error.message}")


def _nobody_answers(what: str) -> str:
    return f"{what} does not answer in time; is a worker running? `byoc worker lifecycles` starts one"
