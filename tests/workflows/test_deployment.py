"""The deployment entity: operations one at a time, continue-as-new, keys, and what outlives what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from domain.facts import ApiKeyRecord
from domain.failure import FailureClass
from domain.operation import Choice, OperationKind, OperationPhase, StepDecision
from domain.state import (
    ApiKeyChange,
    ApiKeyChangeKind,
    DeploymentPhase,
    DeploymentState,
    OperationAccepted,
    OperationRequest,
    OperationSummary,
)
from tests.workflows.orders import ADA, GRACE, deployment_state
from tests.workflows.scenes import Stage
from workflows.deployment import Deployment
from workflows.temporal import ids, queues


async def test_an_order_becomes_an_active_deployment(stage: Stage) -> None:
    """The first operation needs no request: it provisions what was ordered."""
    handle = await stage.deployment()

    state = await stage.until_phase(handle, DeploymentPhase.ACTIVE)

    assert [past.operation_id for past in state.past] == ["provision/1"]
    assert state.facts.cluster is not None
    assert state.trail[0].actor == ADA


async def test_the_same_request_id_is_one_operation(stage: Stage) -> None:
    """A repeated request gets the same answer and starts nothing."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    request = OperationRequest(request_id="r-1", kind=OperationKind.PROVISION, actor=GRACE, reason="converge")

    first = await _request(handle, request)
    again = await _request(handle, request)

    assert first == again
    state = await _until_operations(stage, handle, 2)
    assert [past.request_id for past in state.past] == ["order", "r-1"]


async def test_operations_run_one_at_a_time(stage: Stage) -> None:
    """Two requests at once run one after the other."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)

    for name in ("r-1", "r-2"):
        await _request(handle, OperationRequest(request_id=name, kind=OperationKind.PROVISION, actor=ADA))

    past = (await _until_operations(stage, handle, 3)).past
    assert past[1].ended_at <= past[2].started_at  # type: ignore[operator]


async def test_abort_of_the_first_provisioning_ends_the_deployment(stage: Stage) -> None:
    """What was never active and was taken back is over; a later request is refused."""
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    handle = await stage.deployment()
    state = await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))
    operation = stage.client.get_workflow_handle(state.running.summary.workflow_id)  # type: ignore[union-attr]

    await operation.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    assert (await handle.result()).phase is DeploymentPhase.ABORTED


async def test_abort_of_a_later_convergence_takes_nothing_back(stage: Stage) -> None:
    """A deployment that was active stays what it was when converging it again is aborted."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    accepted = await _request(handle, OperationRequest(request_id="r-1", kind=OperationKind.PROVISION, actor=ADA))
    await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))

    operation = stage.client.get_workflow_handle(accepted.workflow_id)
    await operation.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    state = await _until_operations(stage, handle, 2)
    assert state.phase is DeploymentPhase.ACTIVE
    assert state.past[-1].phase is OperationPhase.ABORTED
    assert not [name for name in stage.cloud.calls if name.startswith("delete_")]


async def test_retirement_ends_the_deployment_with_a_receipt(stage: Stage) -> None:
    """After a retirement the workflow completes, the facts are gone, and the receipt says what stays and why."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)

    await _request(handle, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=GRACE))

    state = await handle.result()
    assert state.phase is DeploymentPhase.RETIRED
    assert state.facts.cluster is None
    assert state.receipt is not None
    assert state.receipt.actor == GRACE
    assert [kept.resource_id for kept in state.receipt.kept] == ["key-1"]


async def test_while_retiring_nothing_else_is_accepted(stage: Stage) -> None:
    """A request behind a retirement is refused at the door."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    stage.cloud.refuse("delete_workloads", FailureClass.CONFIG)
    await _request(handle, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA))

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await _request(handle, OperationRequest(request_id="r-1", kind=OperationKind.PROVISION, actor=ADA))

    assert "being retired by retire/2" in str(refused.value.cause)
    stage.cloud.allow("delete_workloads")
    await handle.result()


async def test_an_orphan_is_waited_for_and_named(stage: Stage) -> None:
    """A retirement does not end while something with our tag is left without a reason."""
    from domain.facts import Leftover
    from tests.workflows import scripted_cloud

    clean = scripted_cloud.ANSWERS["find_leftovers"]
    scripted_cloud.ANSWERS["find_leftovers"] = (Leftover(resource_id="vol-9", kind="ec2:volume"),)
    try:
        handle = await stage.deployment()
        await stage.until_phase(handle, DeploymentPhase.ACTIVE)
        await _request(handle, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA))
        state = await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))
        assert "vol-9" in state.report.waiting_for[0].missing  # type: ignore[union-attr]
    finally:
        scripted_cloud.ANSWERS["find_leftovers"] = clean
    assert (await handle.result()).phase is DeploymentPhase.RETIRED


async def test_api_keys_are_created_rotated_and_revoked(stage: Stage) -> None:
    """A rotated key stays valid for the overlap, a revoked one does not, and each change is applied by an operation."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)

    await _change(handle, _create("k1"))
    await _change(
        handle,
        ApiKeyChange(
            request_id="rotate-k1",
            kind=ApiKeyChangeKind.ROTATE,
            actor=ADA,
            key_id="k1",
            record=_record("k2"),
            overlap_seconds=3600,
        ),
    )
    await _change(handle, ApiKeyChange(request_id="x", kind=ApiKeyChangeKind.REVOKE, actor=ADA, key_id="k2"))

    state = await _until_operations(stage, handle, 4)
    keys = {key.id: key for key in state.api_keys}
    assert keys["k1"].expires_at < datetime.now(UTC) + timedelta(hours=2)
    assert keys["k2"].revoked_at is not None
    assert stage.cloud.calls.count("apply_api_keys") == 4


async def test_an_unknown_key_cannot_be_revoked(stage: Stage) -> None:
    """The refusal names the key, and no operation starts."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await _change(handle, ApiKeyChange(request_id="x", kind=ApiKeyChangeKind.REVOKE, actor=ADA, key_id="nope"))

    assert "no valid key 'nope'" in str(refused.value.cause)
    assert (await handle.query(Deployment.current_state)).operations == 1


async def test_a_terminated_operation_is_recorded_as_lost_and_can_be_asked_again(stage: Stage) -> None:
    """Somebody's "terminate" in the Temporal UI ends one operation, never the deployment."""
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    handle = await stage.deployment()
    state = await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))

    await stage.client.get_workflow_handle(state.running.summary.workflow_id).terminate("by mistake")  # type: ignore[union-attr]

    state = await _until_operations(stage, handle, 1)
    assert state.past[0].phase is OperationPhase.LOST
    stage.cloud.allow("create_cluster")
    await _request(handle, OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ADA))
    assert (await stage.until_phase(handle, DeploymentPhase.ACTIVE)).facts.cluster is not None


async def test_continue_as_new_keeps_everything_and_the_running_operation(
    stage: Stage,
) -> None:
    """The entity goes on in a fresh run with its whole state while its operation runs, and hears of its end."""
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    handle = await stage.deployment()
    before = await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))

    await handle.execute_update("continue_as_new_now", ADA)

    after = await stage.until(handle, lambda state: state.runs == 2)
    assert after.running == before.running
    assert after.trail[: len(before.trail)] == before.trail
    stage.cloud.allow("create_cluster")
    assert (await stage.until_phase(handle, DeploymentPhase.ACTIVE)).past[0].phase is OperationPhase.DONE


async def test_an_operation_that_outlived_a_continue_as_new_is_lost_too_if_it_is_terminated(stage: Stage) -> None:
    """The fresh run has no handle of it, and nobody tells; it looks itself."""
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    handle = await stage.deployment()
    before = await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))
    await handle.execute_update("continue_as_new_now", ADA)
    await stage.until(handle, lambda state: state.runs == 2)

    await stage.client.get_workflow_handle(before.running.summary.workflow_id).terminate("by mistake")  # type: ignore[union-attr]

    state = await _until_operations(stage, handle, 1)
    assert state.past[0].phase is OperationPhase.LOST
    assert "ended from outside: terminated" in state.trail[-1].what
    stage.cloud.allow("create_cluster")
    await _request(handle, OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ADA))
    assert (await stage.until_phase(handle, DeploymentPhase.ACTIVE)).facts.cluster is not None


async def test_a_deployment_of_many_operations_remembers_that_it_was_active(stage: Stage) -> None:
    """When its first provisioning has fallen out of the record, an abort still takes nothing back."""
    known = deployment_state(stage.name)
    past = tuple(
        OperationSummary(
            operation_id=f"{kind}/{number}",
            workflow_id=f"{kind}/{number}",
            request_id=f"{number}",
            kind=kind,
            actor=ADA,
            asked_at=known.since,
            started_at=known.since,
            ended_at=known.since,
            phase=OperationPhase.DONE,
        )
        for number, kind in enumerate([OperationKind.PROVISION, *[OperationKind.RECONFIGURE] * 49], start=1)
    )
    handle = await stage.client.start_workflow(
        Deployment.run,
        known.model_copy(update={"phase": DeploymentPhase.ACTIVE, "operations": 50, "past": past}),
        id=ids.deployment_id(stage.name),
        task_queue=queues.LIFECYCLES,
    )
    await _request(handle, OperationRequest(request_id="51", kind=OperationKind.RECONFIGURE, actor=ADA))
    await stage.until(handle, lambda state: state.past[-1].operation_id == "reconfigure/51")
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    await _request(handle, OperationRequest(request_id="52", kind=OperationKind.PROVISION, actor=ADA))
    state = await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))

    assert all(each.kind is OperationKind.RECONFIGURE for each in state.past)
    running = stage.client.get_workflow_handle(state.running.summary.workflow_id)  # type: ignore[union-attr]
    await running.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    state = await stage.until(handle, lambda state: state.past[-1].operation_id == "provision/52")
    assert (state.phase, state.past[-1].phase) == (DeploymentPhase.ACTIVE, OperationPhase.ABORTED)
    assert [call for call in stage.cloud.calls if call.startswith("delete_")] == []


def _record(key: str) -> ApiKeyRecord:
    now = datetime.now(UTC)
    return ApiKeyRecord(
        id=key, name=key, sha256="0" * 64, scopes=("read",), created_at=now, expires_at=now + timedelta(days=90)
    )


def _create(key: str) -> ApiKeyChange:
    return ApiKeyChange(request_id=f"create-{key}", kind=ApiKeyChangeKind.CREATE, actor=ADA, record=_record(key))


async def _request(handle: WorkflowHandle[Any, Any], request: OperationRequest) -> OperationAccepted:
    return await handle.execute_update(Deployment.request, request, id=f"{request.request_id}-{id(request)}")


async def _change(handle: WorkflowHandle[Any, Any], change: ApiKeyChange) -> OperationAccepted:
    return await handle.execute_update(Deployment.change_api_keys, change)


async def _until_operations(stage: Stage, handle: WorkflowHandle[Any, Any], number: int) -> DeploymentState:
    return await stage.until(handle, lambda state: len(state.past) == number)
