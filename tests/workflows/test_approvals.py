"""Operations that wait for the approval of their plan, on a real server with a scripted cloud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from domain.account import AccountSpec
from domain.actor import Actor, Door
from domain.approval import (
    ApprovalBook,
    ApprovalDecision,
    ApprovalPolicy,
    ApprovalStanding,
    ApprovedPlan,
    Approvers,
    Delegation,
    DelegationRequest,
    PolicyChange,
    Side,
)
from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.facts import ApiKeyRecord
from domain.failure import FailureClass
from domain.markdown import deployment_details
from domain.operation import Choice, OperationKind, OperationPhase, StepDecision
from domain.receipt import render
from domain.state import (
    AccountState,
    ApiKeyChange,
    ApiKeyChangeKind,
    DeploymentPhase,
    DeploymentState,
    OperationRequest,
)
from tests.workflows import scripted_cloud
from tests.workflows.orders import ADA, BRISK, GRACE
from tests.workflows.scenes import Stage, progress, until_waiting
from workflows.account import Account, AccountRequest
from workflows.approvals import PlanningRequest
from workflows.deployment import Deployment
from workflows.temporal import ids, queues
from workflows.temporal import search_attributes as attributes

BOB = Actor(name="bob@acme.example", door=Door.CLI)
CARL = Actor(name="carl@acme.example", door=Door.CLI)

BOTH_FOR_RETIREMENTS = ApprovalPolicy(destructive=(Side.VENDOR, Side.CUSTOMER))
CUSTOMER_FOR_RETIREMENTS = ApprovalPolicy(destructive=(Side.CUSTOMER,))
BOB_FOR_RETIREMENTS = ApprovalPolicy(destructive=(Side.CUSTOMER,), approvers=Approvers(customer=(BOB.name,)))

Handle = WorkflowHandle[Any, DeploymentState]


async def retirement_asked(stage: Stage, policy: ApprovalPolicy, actor: Actor = ADA) -> tuple[Handle, ApprovalBook]:
    """Return an active deployment whose retirement is planned and waits for approval."""
    handle = await stage.deployment(approvals=policy)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    await ask_for(handle, OperationKind.RETIRE, actor=actor)
    return handle, await planned(stage, handle)


async def ask_for(handle: Handle, kind: OperationKind, *, actor: Actor = ADA, **changes: Any) -> str:
    request = OperationRequest(request_id=f"{kind}-{changes.pop('suffix', '')}", kind=kind, actor=actor, **changes)
    return (await handle.execute_update(Deployment.request, request)).operation_id


async def planned(
    stage: Stage, handle: Handle, condition: Callable[[ApprovalBook], bool] = lambda book: True
) -> ApprovalBook:
    """Return the book of the only operation that waits for approval as soon as it has a plan."""

    def ready(state: DeploymentState) -> bool:
        return any(each.approval and each.approval.plan and condition(each.approval) for each in state.queue)

    state = await stage.until(handle, ready)
    return next(each.approval for each in state.queue if each.approval is not None)


async def approve(handle: Handle, book: ApprovalBook, side: Side, actor: Actor, hash_: str = "") -> ApprovalStanding:
    assert book.plan is not None
    decision = ApprovalDecision(
        operation_id=book.operation_id, side=side, actor=actor, hash=hash_ or book.plan.hash, reason="agreed"
    )
    return await handle.execute_update(Deployment.approve, decision)


def decision(book: ApprovalBook, side: Side, actor: Actor) -> ApprovalDecision:
    return ApprovalDecision(operation_id=book.operation_id, side=side, actor=actor, reason="no")


async def refused(awaitable: Any) -> str:
    """Return the words with which a request was refused."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await awaitable
    return str(caught.value.cause)


async def waiting_for(handle: Handle) -> str:
    """Return the search attribute that says who is waited for."""
    found = await handle.describe()
    return found.typed_search_attributes.get(attributes.WAITING_FOR, "")


async def shown(handle: Handle, wanted: str) -> str:
    """Return who is waited for as soon as it is `wanted`; the list is a moment behind."""
    for _ in range(200):
        if (now := await waiting_for(handle)) == wanted:
            return now
        await asyncio.sleep(0.02)
    return await waiting_for(handle)


async def test_a_retirement_waits_for_both_sides_and_then_runs_what_they_approved(stage: Stage) -> None:
    """Nothing is deleted before the second side has approved; record, receipt and details name hash and approvers."""
    handle, book = await retirement_asked(stage, BOTH_FOR_RETIREMENTS)
    assert book.plan is not None
    assert await shown(handle, "vendor, customer") == "vendor, customer"

    first = await approve(handle, book, Side.VENDOR, GRACE)

    assert (first.missing, "delete_workloads" in stage.cloud.calls) == ((Side.CUSTOMER,), False)
    assert await shown(handle, "customer") == "customer"
    details = deployment_details(await handle.query(Deployment.current_state))
    assert f"`{book.plan.hash}`" in details
    assert "waits for approval by the customer" in details
    assert "grace@vendor.example" in details
    await approve(handle, book, Side.CUSTOMER, BOB)
    state = await handle.result()
    assert state.phase is DeploymentPhase.RETIRED
    record = state.past[-1].approved
    assert record is not None
    assert (record.hash, [each.actor for each in record.approvals]) == (book.plan.hash, [GRACE, BOB])
    assert state.receipt is not None
    receipt = render(state.receipt)
    assert book.plan.hash in receipt
    assert "bob@acme.example (cli) for the customer" in receipt
    assert book.plan.hash[:12] in deployment_details(state)


async def test_without_a_policy_nothing_is_planned_and_nobody_is_asked(stage: Stage) -> None:
    """Who agreed on no approvals gets exactly what there was before."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)

    await ask_for(handle, OperationKind.RETIRE)

    state = await handle.result()
    assert (state.phase, state.past[-1].approved) == (DeploymentPhase.RETIRED, None)
    assert "make_plan" not in stage.cloud.calls


async def test_a_first_provisioning_waits_and_nothing_is_made_before(stage: Stage) -> None:
    """With approvals for what is significant, an order is planned, approved, and only then made."""
    handle = await stage.deployment(approvals=ApprovalPolicy(significant=(Side.CUSTOMER,)))
    book = await planned(stage, handle)
    assert [call for call in stage.cloud.calls if call != "make_plan"] == []

    await approve(handle, book, Side.CUSTOMER, BOB)

    state = await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    assert state.past[0].approved is not None
    assert state.facts.cluster is not None


async def test_a_declined_order_ends_the_deployment_with_nothing_made(stage: Stage) -> None:
    """A first provisioning that is declined leaves nothing to own; declining it again gets the same answer."""
    handle = await stage.deployment(approvals=ApprovalPolicy(significant=(Side.CUSTOMER,)))
    book = await planned(stage, handle)

    answer = await handle.execute_update(Deployment.decline, decision(book, Side.CUSTOMER, BOB))

    state = await handle.result()
    assert answer.declined
    assert (state.phase, state.past[0].phase) == (DeploymentPhase.ABORTED, OperationPhase.DECLINED)
    assert [call for call in stage.cloud.calls if call != "make_plan"] == []


async def test_a_declined_retirement_is_recorded_and_the_deployment_goes_on(stage: Stage) -> None:
    """The request ends as declined, twice the same answer, and may be asked for again."""
    handle, book = await retirement_asked(stage, CUSTOMER_FOR_RETIREMENTS)

    answers = [await handle.execute_update(Deployment.decline, decision(book, Side.CUSTOMER, BOB)) for _ in range(2)]

    assert answers[0] == answers[1]
    state = await handle.query(Deployment.current_state)
    assert (state.phase, state.past[-1].phase) == (DeploymentPhase.ACTIVE, OperationPhase.DECLINED)
    assert (state.past[-1].started_at, state.queue) == (None, ())
    assert await shown(handle, attributes.NOBODY) == attributes.NOBODY
    assert await ask_for(handle, OperationKind.RETIRE) == "retire/3"


async def test_whoever_asked_may_take_the_request_back(stage: Stage) -> None:
    """The requester declines his own request although he speaks for no side."""
    handle, book = await retirement_asked(stage, BOB_FOR_RETIREMENTS)

    await handle.execute_update(Deployment.decline, decision(book, Side.CUSTOMER, ADA))

    assert (await handle.query(Deployment.current_state)).past[-1].phase is OperationPhase.DECLINED


async def test_nobody_approves_what_he_asked_for(stage: Stage) -> None:
    """Four eyes: the requester is refused on either side, however his name is spelled."""
    handle, book = await retirement_asked(stage, BOTH_FOR_RETIREMENTS)

    words = await refused(approve(handle, book, Side.VENDOR, Actor(name=" Ada@Vendor.Example", door=Door.API)))

    assert "asked for retire/2 and cannot approve it" in words


async def test_nobody_approves_for_both_sides(stage: Stage) -> None:
    """Four eyes: who has approved for the vendor is refused for the customer."""
    handle, book = await retirement_asked(stage, BOTH_FOR_RETIREMENTS)
    await approve(handle, book, Side.VENDOR, GRACE)

    words = await refused(approve(handle, book, Side.CUSTOMER, GRACE))

    assert "two persons" in words
    assert "delete_workloads" not in stage.cloud.calls


async def test_an_approval_of_another_hash_is_refused_with_the_present_one(stage: Stage) -> None:
    """What is approved is a plan, not an operation."""
    handle, book = await retirement_asked(stage, CUSTOMER_FOR_RETIREMENTS)
    assert book.plan is not None

    words = await refused(approve(handle, book, Side.CUSTOMER, BOB, hash_="0" * 64))

    assert f"the plan has changed: present hash {book.plan.hash}; `byoc approvals show`" in words


async def test_only_named_approvers_approve(stage: Stage) -> None:
    """With a list of approvers anybody else is refused, and the list is named."""
    handle, book = await retirement_asked(stage, BOB_FOR_RETIREMENTS)

    words = await refused(approve(handle, book, Side.CUSTOMER, CARL))
    other = await refused(approve(handle, book, Side.VENDOR, GRACE))

    assert "carl@acme.example may not decide for the customer (approvers: bob@acme.example)" in words
    assert "the vendor is not asked about retire/2 (asked: customer)" in other
    await approve(handle, book, Side.CUSTOMER, BOB)
    assert (await handle.result()).phase is DeploymentPhase.RETIRED


async def test_an_approval_sent_twice_has_one_answer(stage: Stage) -> None:
    """Repeated while it waits, and after it has started, an approval is acknowledged and changes nothing."""
    handle, book = await retirement_asked(stage, BOTH_FOR_RETIREMENTS)

    answers = [await approve(handle, book, Side.VENDOR, GRACE) for _ in range(2)]
    stage.cloud.refuse("delete_workloads", FailureClass.CONFIG)
    last = await approve(handle, book, Side.CUSTOMER, BOB)
    await stage.until(handle, lambda state: state.running is not None)
    again = await approve(handle, book, Side.CUSTOMER, BOB)

    assert answers[0] == answers[1]
    assert again.approvals == last.approvals
    trail = (await handle.query(Deployment.current_state)).trail
    assert len([event for event in trail if "approved for the" in event.what]) == 2
    stage.cloud.allow("delete_workloads")
    await handle.result()


async def test_a_withdrawn_approval_does_not_count(stage: Stage) -> None:
    """Taken back in time, an approval has to be given anew before anything runs."""
    handle, book = await retirement_asked(stage, BOTH_FOR_RETIREMENTS)
    await approve(handle, book, Side.VENDOR, GRACE)

    answers = [
        await handle.execute_update(Deployment.withdraw_approval, decision(book, Side.VENDOR, GRACE)) for _ in range(2)
    ]
    after = await approve(handle, book, Side.CUSTOMER, BOB)

    assert answers[0] == answers[1]
    assert after.missing == (Side.VENDOR,)
    assert (await handle.query(Deployment.current_state)).running is None
    await approve(handle, book, Side.VENDOR, GRACE)
    assert (await handle.result()).phase is DeploymentPhase.RETIRED


async def test_an_expired_approval_is_asked_for_again(stage: Stage) -> None:
    """An operation whose first approval has expired does not start with the second, and says who is asked."""
    brief = BOTH_FOR_RETIREMENTS.model_copy(update={"expires_after": timedelta(seconds=1)})
    handle, book = await retirement_asked(stage, brief)
    await approve(handle, book, Side.VENDOR, GRACE)

    state = await stage.until(handle, lambda state: any("has expired" in event.what for event in state.trail))

    assert await shown(handle, "vendor, customer") == "vendor, customer"
    assert state.running is None
    late = await approve(handle, book, Side.CUSTOMER, BOB)
    assert late.missing == (Side.VENDOR,)


async def test_other_operations_overtake_and_make_the_plan_stale(stage: Stage) -> None:
    """A converge in between changes facts: the plan is made again, its approvals are void, and everybody is told."""
    handle, book = await retirement_asked(stage, BOTH_FOR_RETIREMENTS)
    assert book.plan is not None
    await approve(handle, book, Side.VENDOR, GRACE)
    machine = scripted_cloud.ANSWERS["create_network"]
    scripted_cloud.ANSWERS["create_network"] = machine.model_copy(update={"network_id": "vpc-2"})
    try:
        assert await ask_for(handle, OperationKind.PROVISION) == "provision/3"
        fresh = await planned(stage, handle, lambda now: now.planned == 2)
    finally:
        scripted_cloud.ANSWERS["create_network"] = machine

    assert fresh.plan is not None
    assert (fresh.plan.hash != book.plan.hash, fresh.approvals) == (True, ())
    trail = (await handle.query(Deployment.current_state)).trail
    assert any("stale" in event.what and "void: grace@vendor.example" in event.what for event in trail)
    assert "the plan has changed" in await refused(approve(handle, book, Side.CUSTOMER, BOB))
    await approve(handle, fresh, Side.VENDOR, GRACE)
    await approve(handle, fresh, Side.CUSTOMER, BOB)
    assert (await handle.result()).past[-1].approved.hash == fresh.plan.hash  # type: ignore[union-attr] # approved above


async def test_an_unchanged_converge_leaves_the_plan_as_it_is(stage: Stage) -> None:
    """What changes nothing voids nothing: the approval given before still counts."""
    handle, book = await retirement_asked(stage, BOTH_FOR_RETIREMENTS)
    await approve(handle, book, Side.VENDOR, GRACE)
    await ask_for(handle, OperationKind.PROVISION)
    await stage.until(handle, lambda state: len(state.past) == 2)

    await approve(handle, book, Side.CUSTOMER, BOB)

    assert (await handle.result()).phase is DeploymentPhase.RETIRED
    assert stage.cloud.calls.count("make_plan") == 1


async def test_a_delegate_approves_in_an_approvers_place(stage: Stage) -> None:
    """A delegate of one operation approves it on the approver's behalf, and the record names both."""
    handle, book = await retirement_asked(stage, BOB_FOR_RETIREMENTS)
    request = DelegationRequest(side=Side.CUSTOMER, actor=BOB, to=CARL.name, operation_id=book.operation_id)
    assert "may not decide" in await refused(approve(handle, book, Side.CUSTOMER, CARL))

    made: list[Delegation] = [await handle.execute_update(Deployment.delegate, request) for _ in range(2)]
    await approve(handle, book, Side.CUSTOMER, CARL)

    assert made[0] == made[1]
    given = (await handle.result()).past[-1].approved.approvals[0]  # type: ignore[union-attr] # approved above
    assert (given.actor, given.on_behalf_of) == (CARL, BOB.name)


async def test_a_delegate_does_not_approve_what_he_or_the_approver_asked_for(stage: Stage) -> None:
    """A delegation lends neither the requester's own approval nor a way around it."""
    handle, book = await retirement_asked(stage, BOB_FOR_RETIREMENTS, actor=CARL)
    until = datetime.now(UTC) + timedelta(hours=1)
    await handle.execute_update(
        Deployment.delegate, DelegationRequest(side=Side.CUSTOMER, actor=BOB, to=CARL.name, until=until)
    )

    own = await refused(approve(handle, book, Side.CUSTOMER, CARL))
    await handle.execute_update(Deployment.decline, decision(book, Side.CUSTOMER, BOB))
    await ask_for(handle, OperationKind.RETIRE, actor=BOB, suffix="bob")
    lent = await refused(approve(handle, await planned(stage, handle), Side.CUSTOMER, CARL))

    assert "asked for retire/2" in own
    assert "may not decide for the customer" in lent


async def test_a_delegate_delegates_no_further_and_an_ended_delegation_is_none(stage: Stage) -> None:
    """Only who is an approver by himself delegates, and only as long as he said."""
    handle, book = await retirement_asked(stage, BOB_FOR_RETIREMENTS)
    brief = DelegationRequest(
        side=Side.CUSTOMER, actor=BOB, to=CARL.name, until=datetime.now(UTC) + timedelta(seconds=1)
    )
    await handle.execute_update(Deployment.delegate, brief)

    chained = await refused(
        handle.execute_update(Deployment.delegate, brief.model_copy(update={"actor": CARL, "to": "eve@acme.example"}))
    )
    await asyncio.sleep(1.2)
    ended = await refused(approve(handle, book, Side.CUSTOMER, CARL))

    assert "carl@acme.example is no approver of the customer and cannot delegate" in chained
    assert "may not decide" in ended


async def test_a_plan_that_cannot_be_made_waits_for_an_operator_and_is_tried_again(stage: Stage) -> None:
    """The failure is shown, an approval is refused meanwhile, and planning goes on by itself."""
    handle = await stage.deployment(approvals=CUSTOMER_FOR_RETIREMENTS)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    stage.cloud.refuse("make_plan", FailureClass.CONFIG)
    await ask_for(handle, OperationKind.RETIRE)
    state = await stage.until(
        handle, lambda state: bool(state.queue and state.queue[0].approval and state.queue[0].approval.failure)
    )

    assert await shown(handle, "operator") == "operator"
    assert "it cannot be planned" in deployment_details(state)
    early = ApprovalDecision(operation_id="retire/2", side=Side.CUSTOMER, actor=BOB, hash="0" * 64)
    assert "has no plan yet" in await refused(handle.execute_update(Deployment.approve, early))
    stage.cloud.allow("make_plan")
    await handle.execute_update(Deployment.plan_again, PlanningRequest(operation_id="retire/2", actor=ADA))
    await approve(handle, await planned(stage, handle), Side.CUSTOMER, BOB)
    assert (await handle.result()).phase is DeploymentPhase.RETIRED


async def test_a_plan_for_something_else_is_not_shown_to_anybody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner that answers about another order is a failure, not a plan."""
    handle = await stage.deployment(approvals=CUSTOMER_FOR_RETIREMENTS)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    monkeypatch.setattr(scripted_cloud, "basis_of", lambda kind, order: "f" * 64)

    await ask_for(handle, OperationKind.RETIRE)

    state = await stage.until(
        handle, lambda state: bool(state.queue and state.queue[0].approval and state.queue[0].approval.failure)
    )
    assert state.queue[0].approval is not None
    assert state.queue[0].approval.plan is None
    assert "made from something else" in state.queue[0].approval.failure


async def test_a_waiting_retirement_blocks_nobody(stage: Stage) -> None:
    """While it waits for approval, further operations are accepted and run."""
    handle, _ = await retirement_asked(stage, BOTH_FOR_RETIREMENTS)

    await ask_for(handle, OperationKind.PROVISION)

    state = await stage.until(handle, lambda state: len(state.past) == 2)
    assert (state.past[1].operation_id, state.past[1].phase) == ("provision/3", OperationPhase.DONE)
    assert [each.summary.operation_id for each in state.queue] == ["retire/2"]


async def test_what_still_waits_when_the_deployment_is_over_is_recorded_as_declined(stage: Stage) -> None:
    """A retirement that overtakes a provisioning ends it."""
    policy = ApprovalPolicy(significant=(Side.CUSTOMER,))
    handle = await stage.deployment(approvals=policy)
    await planned(stage, handle)
    await ask_for(handle, OperationKind.RETIRE, final_backup=FinalBackup.NONE)

    state = await handle.result()

    assert state.phase is DeploymentPhase.RETIRED
    assert {each.operation_id: each.phase for each in state.past} == {
        "retire/2": OperationPhase.DONE,
        "provision/1": OperationPhase.DECLINED,
    }


async def test_a_key_takes_effect_when_it_is_approved(stage: Stage) -> None:
    """A key that has to be approved is valid nowhere before, not through another operation either."""
    handle = await stage.deployment(approvals=ApprovalPolicy(routine=(Side.CUSTOMER,)))
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    now = datetime.now(UTC)
    record = ApiKeyRecord(
        id="k1", name="k1", sha256="0" * 64, scopes=("read",), created_at=now, expires_at=now + timedelta(days=9)
    )
    change = ApiKeyChange(request_id="k1", kind=ApiKeyChangeKind.CREATE, actor=ADA, record=record)

    await handle.execute_update(Deployment.change_api_keys, change)

    book = await planned(stage, handle)
    assert (await handle.query(Deployment.current_state)).api_keys == ()
    again = change.model_copy(update={"request_id": "k1-again"})
    assert "there is a key k1 already" in await refused(handle.execute_update(Deployment.change_api_keys, again))
    await approve(handle, book, Side.CUSTOMER, BOB)
    state = await stage.until(handle, lambda state: len(state.past) == 2)
    assert [key.id for key in state.api_keys] == ["k1"]


async def test_a_rotation_that_is_approved_later_is_not_stale(stage: Stage) -> None:
    """What a rotation changes counts from its request while it is planned, so that time alone makes no plan stale."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    now = datetime.now(UTC)
    first, second = (
        ApiKeyRecord(
            id=each, name=each, sha256="0" * 64, scopes=("read",), created_at=now, expires_at=now + timedelta(days=9)
        )
        for each in ("k1", "k2")
    )
    create = ApiKeyChange(request_id="k1", kind=ApiKeyChangeKind.CREATE, actor=ADA, record=first)
    await handle.execute_update(Deployment.change_api_keys, create)
    await stage.until(handle, lambda state: len(state.past) == 2)
    rotate = ApiKeyChange(
        request_id="k2",
        kind=ApiKeyChangeKind.ROTATE,
        actor=ADA,
        record=second,
        key_id="k1",
        overlap_seconds=3600,
        approvals=ApprovalPolicy(routine=(Side.CUSTOMER,)),
    )

    await handle.execute_update(Deployment.change_api_keys, rotate)
    await approve(handle, await planned(stage, handle), Side.CUSTOMER, BOB)

    state = await stage.until(handle, lambda state: len(state.past) == 3)
    assert [key.id for key in state.api_keys] == ["k1", "k2"]
    assert stage.cloud.calls.count("make_plan") == 1


async def test_a_policy_that_comes_with_a_request_holds_for_it_and_for_later_ones(stage: Stage) -> None:
    """An account's changed policy reaches the deployment with the next request."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)

    await ask_for(handle, OperationKind.PROVISION, approvals=BOTH_FOR_RETIREMENTS)
    await ask_for(handle, OperationKind.RETIRE)

    book = await planned(stage, handle)
    assert (book.operation_id, book.sides) == ("retire/3", (Side.VENDOR, Side.CUSTOMER))


@pytest.mark.parametrize("moment", ["planning", "planned", "half-approved", "failed", "delegated"])
async def test_continue_as_new_keeps_every_state_of_an_approval(stage: Stage, moment: str) -> None:
    """In whatever state approvals are, a fresh run goes on with them."""
    handle = await stage.deployment(
        approvals=ApprovalPolicy(
            destructive=(Side.VENDOR, Side.CUSTOMER), approvers=Approvers(customer=(BOB.name,), vendor=(GRACE.name,))
        )
    )
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    if moment in ("planning", "failed"):
        stage.cloud.refuse("make_plan", FailureClass.NOT_READY if moment == "planning" else FailureClass.CONFIG)
    await ask_for(handle, OperationKind.RETIRE)
    await _bring_to(stage, handle, moment)

    await handle.execute_update("continue_as_new_now", ADA)
    await stage.until(handle, lambda state: state.runs == 2)

    stage.cloud.allow("make_plan")
    if moment == "failed":
        await handle.execute_update(Deployment.plan_again, PlanningRequest(operation_id="retire/2", actor=ADA))
    book = await planned(stage, handle)
    await approve(handle, book, Side.VENDOR, GRACE)
    await approve(handle, book, Side.CUSTOMER, CARL if moment == "delegated" else BOB)
    state = await handle.result()
    assert (state.phase, state.runs) == (DeploymentPhase.RETIRED, 2)


async def _bring_to(stage: Stage, handle: Handle, moment: str) -> None:
    match moment:
        case "planning":
            await stage.until(handle, lambda state: "make_plan" in stage.cloud.calls)
        case "failed":
            await stage.until(handle, lambda state: bool(state.queue[0].approval and state.queue[0].approval.failure))
        case "half-approved":
            await approve(handle, await planned(stage, handle), Side.VENDOR, GRACE)
        case "delegated":
            await planned(stage, handle)
            await handle.execute_update(
                Deployment.delegate,
                DelegationRequest(side=Side.CUSTOMER, actor=BOB, to=CARL.name, operation_id="retire/2"),
            )
        case _:
            await planned(stage, handle)


# Only what was approved


async def test_a_step_that_is_not_in_the_approved_plan_does_not_run(stage: Stage) -> None:
    """The operation waits for an operator, who may abort and may not retry past it; taking back is always allowed."""
    stage.cloud.leave_out_of_plans("create_egress")
    handle = await stage.deployment(approvals=ApprovalPolicy(significant=(Side.CUSTOMER,)))
    await approve(handle, await planned(stage, handle), Side.CUSTOMER, BOB)
    state = await stage.until(handle, lambda state: bool(state.report and state.report.waiting_for))

    wait = state.report.waiting_for[0]  # type: ignore[union-attr] # it was waited for
    assert (wait.step, wait.failure, wait.party, wait.choices) == (
        "create_egress", FailureClass.POLICY, "operator", (Choice.ABORT,),
    )  # fmt: skip
    assert "not in the approved plan" in wait.missing
    running = stage.client.get_workflow_handle(state.running.summary.workflow_id)  # type: ignore[union-attr] # it runs
    retry = StepDecision(choice=Choice.RETRY, step="create_egress", actor=ADA)
    assert "cannot be decided by 'retry' (allowed: abort)" in await refused(running.execute_update("decide", retry))
    await running.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))
    assert (await handle.result()).phase is DeploymentPhase.ABORTED
    assert "create_egress" not in stage.cloud.calls
    assert "delete_network" in stage.cloud.calls


async def test_a_retirement_deletes_only_what_was_approved(stage: Stage) -> None:
    """A deletion that nobody approved is not done; skipped by an operator, it is named in the receipt."""
    plan = ApprovedPlan(hash="a" * 64, approvals=(), steps=("back_up", "lock_backup", "delete_workloads"))

    handle = await stage.retire(approved=plan)

    wait = await until_waiting(handle, "delete_alarms")
    assert (wait.failure, wait.choices) == (FailureClass.POLICY, (Choice.SKIP,))
    assert "delete_alarms" not in stage.cloud.calls
    assert (await progress(handle)).plan_hash == "a" * 64
    await handle.terminate()


async def test_a_retirement_whose_first_deletion_was_not_approved_may_be_aborted(stage: Stage) -> None:
    """As long as nothing is deleted an operator may still abort."""
    handle = await stage.retire(approved=ApprovedPlan(hash="a" * 64, approvals=(), steps=()))
    wait = await until_waiting(handle, "delete_workloads")
    assert wait.choices == (Choice.SKIP, Choice.ABORT)

    await handle.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    assert (await handle.result()).phase is OperationPhase.ABORTED
    assert stage.cloud.calls == []


# The account's policy


async def test_an_accounts_policy_is_tightened_by_either_side_and_loosened_by_the_customer(stage: Stage) -> None:
    """The vendor may ask for more approvals; only the customer's side may ask for fewer, and the trail says who did."""
    spec = AccountSpec(
        name=stage.name, customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", regions=("eu-west-1",)
    )
    handle = await stage.client.start_workflow(
        Account.run,
        AccountState(spec=spec, external_id="ext-1", pace=BRISK, since=datetime(2026, 6, 1, tzinfo=UTC)),
        id=ids.account_id(stage.name),
        task_queue=queues.LIFECYCLES,
    )
    tighter = PolicyChange(approvals=BOTH_FOR_RETIREMENTS, side=Side.VENDOR, actor=ADA, reason="agreed")
    looser = PolicyChange(approvals=ApprovalPolicy(), side=Side.VENDOR, actor=ADA)

    state = await handle.execute_update(Account.set_approvals, tighter)
    words = await refused(handle.execute_update(Account.set_approvals, looser))
    after = await handle.execute_update(
        Account.set_approvals, looser.model_copy(update={"side": Side.CUSTOMER, "actor": BOB})
    )

    assert state.spec.approvals == BOTH_FOR_RETIREMENTS
    assert any("destructive: vendor and customer" in event.what for event in state.trail)
    assert "only the customer's side may loosen the policy" in words
    assert after.spec.approvals == ApprovalPolicy()
    await handle.execute_update(Account.revoke, AccountRequest(actor=ADA))
    await handle.result()
