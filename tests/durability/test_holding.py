"""Hands off, narrowed, and revoked in the middle, against the simulated clouds: what they hear is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

import pytest

from domain.clouds import Purpose
from domain.deployment import FinalBackup
from domain.failure import FailureClass, Party
from domain.operation import OperationProgress, StepState
from domain.state import DeploymentPhase
from starters.client import Unreachable
from tests.durability.conftest import Undisturbed
from tests.durability.installation import Customer, Installation, left_behind
from workflows import steps

pytestmark = pytest.mark.durability

PROBES_LATER = 3.0
"""Seconds in which an operation at the tests' pace would have probed several times."""


@pytest.mark.parametrize("killed", ["nothing", "worker", "server"])
async def test_a_held_account_hears_nothing_until_the_release(
    installation: Installation, customer: Customer, undisturbed: Undisturbed, killed: str
) -> None:
    """The step under way ends, no mutating call follows until the release, and the end is the same as undisturbed."""
    installation.hold(customer, steps.CREATE_CLUSTER.name, after_the_deed=True)
    await installation.order(customer)
    call = await installation.until_held()
    plane = await installation.connected()
    await plane.hold_account(customer.account_name, "audit")
    await _until(installation, customer, _is_parked)
    installation.control.release(call)
    await _until(installation, customer, lambda seen: _is_parked(seen) and not _under_way(seen))
    position = installation.control.position()

    if killed == "worker":
        installation.replace_worker()
    elif killed == "server":
        installation.restart_server()
    await _until(installation, customer, lambda seen: _is_parked(seen) and not _under_way(seen))
    await asyncio.sleep(PROBES_LATER)

    calls = installation.control.journal(after=position, account=customer.account, mutating=True)
    assert [(call.operation, call.agent) for call in calls] == []
    plane = await installation.connected()
    await plane.release_account(customer.account_name)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    assert installation.inventory(customer) == await undisturbed.inventory(customer.cloud)


async def test_a_retirement_waits_for_the_role_that_the_customer_took_back(
    installation: Installation, customer: Customer
) -> None:
    """Without the role for deletions the retirement waits and names it; with the role it goes on by itself."""
    before = installation.inventory(customer)
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    plane = await installation.connected()
    await installation.apply_template(customer, without=Purpose.DELETE)
    await plane.verify_account(customer.account_name)
    await plane.retire(customer.name, final_backup=FinalBackup.NONE)

    seen = await _until(installation, customer, lambda seen: bool(seen.waiting_for) and not _under_way(seen))

    for wait in seen.waiting_for:
        assert (wait.party, wait.failure) == (Party.CUSTOMER, FailureClass.AUTH)
        assert "role" in wait.missing
        assert "delete" in wait.missing
    await installation.apply_template(customer)
    await plane.verify_account(customer.account_name)
    await installation.until_phase(customer, DeploymentPhase.RETIRED)
    assert left_behind(installation.inventory(customer) - before) == Counter()


async def test_a_stack_that_is_deleted_and_applied_again_loses_nothing(
    installation: Installation, customer: Customer, undisturbed: Undisturbed
) -> None:
    """Locked out in the middle of a provisioning every step waits; let in again all go on, and nothing exists twice."""
    installation.hold(customer, steps.CREATE_CLUSTER.name, after_the_deed=True)
    await installation.order(customer)
    call = await installation.until_held()
    await asyncio.to_thread(installation.control.customer(customer.account).delete_template)
    installation.control.release(call)

    seen = await _until(installation, customer, lambda seen: bool(seen.waiting_for) and not _under_way(seen))

    assert {wait.party for wait in seen.waiting_for} == {Party.CUSTOMER}
    assert {wait.failure for wait in seen.waiting_for} <= {FailureClass.AUTH, FailureClass.PERMISSION}
    await installation.apply_template(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    assert installation.inventory(customer) == await undisturbed.inventory(customer.cloud)


def _is_parked(seen: OperationProgress) -> bool:
    return any(wait.failure is FailureClass.HELD for wait in seen.waiting_for)


def _under_way(seen: OperationProgress) -> list[str]:
    return [step.name for step in seen.steps if step.state is StepState.RUNNING]


async def _until(
    installation: Installation, customer: Customer, condition: Callable[[OperationProgress], bool]
) -> OperationProgress:
    """Return the running operation's progress as soon as `condition` holds of it; processes may be away meanwhile."""
    plane = await installation.connected()
    state = await installation.until(customer, lambda state: state.running is not None)
    assert state.running is not None
    seen = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(installation.patience):
            while True:
                with contextlib.suppress(Unreachable):
                    seen = await plane.progress(state.running.summary.workflow_id)
                    if condition(seen):
                        return seen
                await asyncio.sleep(0.1)
    raise AssertionError(f"it never came to that: {seen}")
