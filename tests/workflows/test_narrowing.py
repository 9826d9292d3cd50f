"""A customer who takes the role for deletions away narrows the account: everything goes on but deletions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from domain.account import AccountPhase
from domain.clouds import Purpose
from domain.failure import FailureClass, Party
from domain.operation import Choice, OperationKind, OperationPhase, StepDecision, StepState
from domain.state import AccountState, DeploymentPhase, DeploymentState, OperationRequest
from starters.client import ControlPlane, Refused
from tests.workflows import scripted_cloud
from tests.workflows.orders import ADA, BRISK, deployment_order
from tests.workflows.scenes import Stage, progress, until_waiting
from workflows.account import Account, AccountRequest
from workflows.deployment import Deployment

WHOLE = scripted_cloud.ANSWERS["verify_access"]
NARROWED = WHOLE.model_copy(update={"withheld": (Purpose.DELETE,)})
PATIENT = BRISK.model_copy(update={"permission_probe": timedelta(hours=1), "verification": timedelta(hours=1)})
"""Nothing is probed within a test: what goes on was told to."""


async def test_an_account_that_lacks_only_the_role_for_deletions_is_active(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is withheld, takes orders and provisions them; the trail has both the loss and the return."""
    account = await stage.account()
    await _narrow(account, monkeypatch)

    await ControlPlane(stage.client, ADA).order(deployment_order(stage.name, account=stage.account_name))

    handle = _deployment(stage)
    state = await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    assert state.standing is not None
    assert state.standing.withheld == (Purpose.DELETE,)
    monkeypatch.setitem(scripted_cloud.ANSWERS, "verify_access", WHOLE)
    await stage.until(handle, lambda state: state.standing is not None and not state.standing.withheld)
    known = await account.query(Account.current_state)
    assert known.phase is AccountPhase.ACTIVE
    assert [event.what for event in known.trail if "role for delete" in event.what] == [
        "the customer withholds the role for delete",
        "the role for delete is lent again",
    ]


async def test_a_retirement_waits_at_its_first_deletion_for_the_role(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what needs no such role is deleted; the wait names role and customer, and ends when the role is back."""
    account, handle = await _active(stage)
    await _narrow(account, monkeypatch)
    operation = await _retire(stage, handle)

    wait = await until_waiting(operation, "delete_workloads")

    assert (wait.party, wait.failure, wait.probe_at) == (Party.CUSTOMER, FailureClass.AUTH, None)
    assert f"withholds the role for delete in the account {stage.account_name}" in wait.missing
    assert wait.choices == (Choice.SKIP, Choice.ABORT)
    with pytest.raises(WorkflowUpdateFailedError):
        await operation.execute_update("decide", StepDecision(choice=Choice.RETRY, actor=ADA))
    assert _deletions(stage) == []
    monkeypatch.setitem(scripted_cloud.ANSWERS, "verify_access", WHOLE)
    assert (await handle.result()).phase is DeploymentPhase.RETIRED


async def test_a_requested_verification_finds_the_role_and_the_retirement_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any probe being due, asking the account is enough."""
    account, handle = await _active(stage, PATIENT)
    await _narrow(account, monkeypatch)
    await until_waiting(await _retire(stage, handle), "delete_workloads")
    monkeypatch.setitem(scripted_cloud.ANSWERS, "verify_access", WHOLE)

    await account.execute_update(Account.verify, AccountRequest(actor=ADA))

    assert (await handle.result()).phase is DeploymentPhase.RETIRED


async def test_a_role_that_is_taken_away_in_the_middle_stops_the_next_deletion(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was deleted stays deleted; the next deletion waits, may be skipped, and not aborted."""
    account, handle = await _active(stage)
    stage.cloud.refuse("delete_cluster", FailureClass.CONFIG)
    operation = await _retire(stage, handle)
    await until_waiting(operation, "delete_cluster")
    await _narrow(account, monkeypatch)
    await stage.until(handle, lambda state: state.standing is not None and bool(state.standing.withheld))

    wait = await _until_withheld(operation, "delete_cluster")

    assert wait == (Choice.SKIP,)
    stage.cloud.allow("delete_cluster")
    monkeypatch.setitem(scripted_cloud.ANSWERS, "verify_access", WHOLE)
    assert (await handle.result()).phase is DeploymentPhase.RETIRED


async def test_a_retirement_that_waits_for_the_role_may_be_aborted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first deletion nothing has happened, and the deployment stays active."""
    account, handle = await _active(stage)
    await _narrow(account, monkeypatch)
    operation = await _retire(stage, handle)
    await until_waiting(operation, "delete_workloads")

    await operation.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    state = await stage.until(handle, lambda state: len(state.past) == 2)
    assert (state.phase, state.past[1].phase) == (DeploymentPhase.ACTIVE, OperationPhase.ABORTED)
    assert _deletions(stage) == []


async def test_a_skipped_first_deletion_ends_the_time_in_which_an_abort_is_possible(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipping is a decision to go on: each further deletion waits and may be skipped, until the role is back."""
    account, handle = await _active(stage)
    await _narrow(account, monkeypatch)
    operation = await _retire(stage, handle)
    await until_waiting(operation, "delete_workloads")

    await operation.execute_update(
        "decide", StepDecision(choice=Choice.SKIP, step="delete_workloads", actor=ADA, reason="gone with the cluster")
    )

    wait = await until_waiting(operation, "delete_node_pools")
    assert wait.choices == (Choice.SKIP,)
    monkeypatch.setitem(scripted_cloud.ANSWERS, "verify_access", WHOLE)
    assert (await handle.result()).phase is DeploymentPhase.RETIRED
    assert "delete_workloads" not in _deletions(stage)


async def test_an_abort_waits_for_the_role_before_it_takes_anything_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a given up provisioning made stays until the customer lends the role, and goes then by itself."""
    account = await stage.account()
    await _narrow(account, monkeypatch)
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    handle = await stage.deployment(account=stage.account_name)
    state = await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))
    operation = stage.client.get_workflow_handle(state.running.summary.workflow_id)  # type: ignore[union-attr]
    await operation.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    seen = await progress(operation)
    while not any(step.name.startswith("delete_") and step.state is StepState.WAITING for step in seen.steps):
        await asyncio.sleep(0.02)
        seen = await progress(operation)

    assert _deletions(stage) == []
    monkeypatch.setitem(scripted_cloud.ANSWERS, "verify_access", WHOLE)
    assert (await handle.result()).phase is DeploymentPhase.ABORTED
    assert "delete_network" in _deletions(stage)


async def test_a_requested_verification_tries_at_once_what_waits_for_a_permission(stage: Stage) -> None:
    """Whoever has granted what was missing asks the account to look, instead of waiting for the next probe."""
    account = await stage.account(PATIENT)
    stage.cloud.refuse("create_egress", FailureClass.PERMISSION, action="ec2:CreateNatGateway")
    handle = await stage.deployment(account=stage.account_name, pace=PATIENT)
    state = await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))
    assert state.report is not None
    stage.cloud.allow("create_egress")

    await account.execute_update(Account.verify, AccountRequest(actor=ADA))

    await stage.until_phase(handle, DeploymentPhase.ACTIVE)


async def test_without_the_role_for_operations_the_account_is_suspended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only deletions can be done without: an order is refused and names the role."""
    account = await stage.account()
    gone = WHOLE.model_copy(update={"withheld": (Purpose.OPERATE,)})
    monkeypatch.setitem(scripted_cloud.ANSWERS, "verify_access", gone)

    state = await account.execute_update(Account.verify, AccountRequest(actor=ADA))

    assert state.phase is AccountPhase.SUSPENDED
    with pytest.raises(Refused, match="is suspended: the customer withholds the role for operate"):
        await ControlPlane(stage.client, ADA).order(deployment_order(stage.name, account=stage.account_name))


async def _active(
    stage: Stage, pace: Any = BRISK
) -> tuple[WorkflowHandle[Any, AccountState], WorkflowHandle[Any, DeploymentState]]:
    account = await stage.account(pace)
    handle = await stage.deployment(account=stage.account_name, pace=pace)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    return account, handle


async def _narrow(account: WorkflowHandle[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the customer take the role for deletions away, and the account notice."""
    monkeypatch.setitem(scripted_cloud.ANSWERS, "verify_access", NARROWED)
    state = await account.execute_update(Account.verify, AccountRequest(actor=ADA))
    assert state.phase is AccountPhase.ACTIVE


async def _retire(stage: Stage, handle: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
    accepted = await handle.execute_update(
        Deployment.request, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)
    )
    await stage.until(handle, lambda state: state.running is not None)
    await _until_started(stage, accepted.workflow_id)
    return stage.client.get_workflow_handle(accepted.workflow_id)


async def _until_started(stage: Stage, workflow_id: str) -> None:
    """Wait until an operation's workflow is there: its deployment names it an instant earlier."""
    await ControlPlane(stage.client, ADA).progress(workflow_id)


async def _until_withheld(operation: WorkflowHandle[Any, Any], step: str) -> tuple[Choice, ...]:
    """Return what may be decided about a step once it waits for the role."""
    while True:
        wait = await until_waiting(operation, step)
        if "withholds" in wait.missing:
            return wait.choices
        await asyncio.sleep(0.02)


def _deployment(stage: Stage) -> WorkflowHandle[Any, DeploymentState]:
    return stage.client.get_workflow_handle(f"deployment/{stage.name}", result_type=DeploymentState)


def _deletions(stage: Stage) -> list[str]:
    return [name for name in stage.cloud.calls_for(stage.name) if name.startswith("delete_")]
