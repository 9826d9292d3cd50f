"""The account: invited, active, suspended, held, revoked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from domain.account import AccessReport, AccountPhase, AccountSpec, MissingPermission
from domain.clouds import Cloud, Purpose
from domain.failure import FailureClass
from domain.state import AccountState
from tests.workflows import scripted_cloud
from tests.workflows.orders import ADA, BRISK
from tests.workflows.scenes import Stage
from workflows.account import Account, AccountRequest
from workflows.temporal import ids, queues


async def test_an_invited_account_becomes_active_once_the_template_is_applied(stage: Stage) -> None:
    """It looks again by itself until the roles exist."""
    stage.cloud.refuse("verify_access", FailureClass.AUTH)
    handle = await _connect(stage)
    state = await _until(handle, lambda state: bool(state.refusal))
    assert state.phase is AccountPhase.INVITED

    stage.cloud.allow("verify_access")

    assert (await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)).refusal == ""


async def test_a_missing_permission_suspends_and_names_it(stage: Stage) -> None:
    """An active account that lost one action is suspended, and active again when it is back."""
    handle = await _connect(stage)
    await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)
    whole = scripted_cloud.ANSWERS["verify_access"]
    lost = MissingPermission(action="ec2:CreateVpc", purpose=Purpose.OPERATE)
    scripted_cloud.ANSWERS["verify_access"] = AccessReport(
        principal="p", verified_at=datetime.now(UTC), missing=(lost,), checked_actions=10
    )
    try:
        state = await handle.execute_update(Account.verify, AccountRequest(actor=ADA))
    finally:
        scripted_cloud.ANSWERS["verify_access"] = whole

    assert state.phase is AccountPhase.SUSPENDED
    assert state.report is not None
    assert state.report.missing == (lost,)
    await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)


async def test_a_hold_is_refused_twice_and_ends_with_a_release(stage: Stage) -> None:
    """Hands off means held; held again is an error; released, it is verified before it is active."""
    handle = await _connect(stage)
    await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)

    await handle.execute_update(Account.hold, AccountRequest(actor=ADA, reason="audit"))
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(Account.hold, AccountRequest(actor=ADA))
    held = await handle.query(Account.current_state)
    await handle.execute_update(Account.release, AccountRequest(actor=ADA))

    assert (held.phase, held.hold_reason) == (AccountPhase.HELD, "audit")
    await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)


async def test_revocation_ends_with_the_clouds_refusal_as_proof(stage: Stage) -> None:
    """While we can still enter it keeps looking; refused, it completes with the refusal."""
    stage.cloud.fail("prove_revoked", FailureClass.NOT_READY, FailureClass.NOT_READY)
    handle = await _connect(stage)
    await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)

    await handle.execute_update(Account.revoke, AccountRequest(actor=ADA))

    state = await handle.result()
    assert state.phase is AccountPhase.REVOKED
    assert state.proof is not None
    assert state.proof.refusals == ("AccessDenied",)
    assert stage.cloud.calls.count("prove_revoked") == 3


async def test_a_fresh_run_keeps_everything_and_goes_on_verifying(stage: Stage) -> None:
    """Asked for a fresh run, the account continues as new with its whole state and looks again."""
    handle = await _connect(stage)
    before = await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)

    assert await handle.execute_update(Account.continue_as_new_now, ADA) == 1

    after = await _until(handle, lambda state: state.runs == 2)
    assert (after.phase, after.spec, after.external_id) == (before.phase, before.spec, before.external_id)
    assert after.trail[: len(before.trail)] == before.trail
    await handle.execute_update(Account.verify, AccountRequest(actor=ADA))
    assert stage.cloud.calls.count("verify_access") >= 2


async def test_a_verification_asked_together_with_a_fresh_run_is_answered(stage: Stage) -> None:
    """Neither request waits for the other: the verification comes first, then the fresh run."""
    handle = await _connect(stage)
    await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)

    for number in range(1, 6):
        async with asyncio.timeout(60):
            _, verified = await asyncio.gather(
                handle.execute_update(Account.continue_as_new_now, ADA),
                handle.execute_update(Account.verify, AccountRequest(actor=ADA)),
            )

        assert verified.phase is AccountPhase.ACTIVE
        await _until(handle, lambda state, runs=number + 1: state.runs == runs)


async def test_an_account_that_is_being_revoked_stays_in_its_run(stage: Stage) -> None:
    """Its end is near: a fresh run is refused, and the proof comes."""
    stage.cloud.refuse("prove_revoked", FailureClass.NOT_READY)
    handle = await _connect(stage)
    await _until(handle, lambda state: state.phase is AccountPhase.ACTIVE)
    await handle.execute_update(Account.revoke, AccountRequest(actor=ADA))

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update(Account.continue_as_new_now, ADA)

    assert "the account is revoking" in str(refused.value.cause)
    stage.cloud.allow("prove_revoked")
    assert (await handle.result()).phase is AccountPhase.REVOKED


async def _connect(stage: Stage) -> WorkflowHandle[Any, AccountState]:
    spec = AccountSpec(
        name=stage.name,
        customer="acme",
        cloud=Cloud.AWS,
        cloud_account_id="222222222222",
        regions=("eu-west-1",),
    )
    state = AccountState(spec=spec, external_id="ext-1", pace=BRISK, since=datetime.now(UTC))
    return await stage.client.start_workflow(
        Account.run, state, id=ids.account_id(stage.name), task_queue=queues.LIFECYCLES
    )


async def _until(handle: WorkflowHandle[Any, Any], condition: Any) -> AccountState:
    for _ in range(600):
        state = await handle.query(Account.current_state)
        if condition(state):
            return state
        await asyncio.sleep(0.02)
    raise AssertionError(f"the account stayed {state.phase}")
