"""Kill any process at any step, or abort at any step: nothing is lost, nothing is made twice, nothing is left behind.

The steps enumerate themselves (`workflows.steps.ALL` and `UNDOS`): a step that is added is covered when it is added.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from domain.account import AccountPhase
from domain.deployment import FinalBackup
from domain.facts import ApiKeyRecord
from domain.operation import Choice, StepDecision
from domain.state import ApiKeyChange, ApiKeyChangeKind, DeploymentPhase
from simulators.faults import Fault, FaultKind
from tests.durability.installation import ACTOR, Customer, Installation, left_behind
from workflows import steps

pytestmark = pytest.mark.durability

ELSEWHERE = {
    steps.VERIFY_ACCESS.name,
    steps.PROVE_REVOKED.name,
    steps.LOCK_BACKUP.name,
    steps.FIND_LEFTOVERS.name,
    steps.APPLY_API_KEYS.name,
}
"""Steps that belong to other lifecycles or have nothing to do in a first provisioning; each has its own test below."""
PROVISIONING = sorted({step.name for step in steps.ALL} - ELSEWHERE)
TAKING_BACK = sorted({undo.name for undo in steps.UNDOS})
LOOKS_ONLY = {
    "check_permissions",
    "check_quotas",
    "choose_placement",
    "plan_addresses",
    "set_maintenance_policy",
    "delete_load_balancers_and_volumes",
}
"""Steps that change nothing when all is well: they are interrupted at their first look instead of their first deed."""


@pytest.mark.parametrize("step", PROVISIONING)
async def test_worker_killed_between_deed_and_reply(
    installation: Installation, customer: Customer, undisturbed: Counter[str], step: str
) -> None:
    """The worker dies after its call changed the world and before it learns so; the end is the same as undisturbed."""
    installation.hold(customer, step, after_the_deed=True, mutating=_mutating(step))
    await installation.order(customer)

    await installation.until_held()
    installation.replace_worker()

    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    assert installation.inventory(customer) == undisturbed


@pytest.mark.parametrize("step", PROVISIONING)
async def test_server_killed_at_step(
    installation: Installation, customer: Customer, undisturbed: Counter[str], step: str
) -> None:
    """Temporal dies while the step is between its start and its first deed, and comes back on its database."""
    installation.hold(customer, step, after_the_deed=False, mutating=_mutating(step))
    await installation.order(customer)

    held = await installation.until_held()
    installation.restart_server()
    installation.control.release(held)

    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    assert installation.inventory(customer) == undisturbed


@pytest.mark.parametrize("step", PROVISIONING)
async def test_abort_at_step_takes_everything_back(installation: Installation, customer: Customer, step: str) -> None:
    """Aborted between deed and reply of a step, the account ends as it was before the order."""
    before = installation.inventory(customer)
    installation.hold(customer, step, after_the_deed=True, mutating=_mutating(step))
    await installation.order(customer)
    held = await installation.until_held()

    plane = await installation.connected()
    await plane.decide(customer.name, StepDecision(choice=Choice.ABORT, actor=ACTOR))
    installation.control.release(held)

    await installation.until_phase(customer, DeploymentPhase.ABORTED)
    assert left_behind(installation.inventory(customer) - before) == Counter()


@pytest.mark.parametrize("process", ["worker", "server"])
@pytest.mark.parametrize("undo", TAKING_BACK)
async def test_process_killed_while_retiring(
    installation: Installation, customer: Customer, undo: str, process: str
) -> None:
    """A process dies around a deletion (the worker after it, Temporal before it); in the end nothing is left."""
    before = installation.inventory(customer)
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    installation.hold(customer, undo, after_the_deed=process == "worker", mutating=_mutating(undo))
    plane = await installation.connected()
    await plane.retire(customer.name, final_backup=FinalBackup.NONE)

    held = await installation.until_held()
    if process == "worker":
        installation.replace_worker()
    else:
        installation.restart_server()
        installation.control.release(held)

    await installation.until_phase(customer, DeploymentPhase.RETIRED)
    assert left_behind(installation.inventory(customer) - before) == Counter()


@pytest.mark.parametrize("step", [steps.BACK_UP.name, steps.LOCK_BACKUP.name, steps.FIND_LEFTOVERS.name])
async def test_worker_killed_around_the_final_backup(installation: Installation, customer: Customer, step: str) -> None:
    """The last backup is taken and locked once, whatever dies meanwhile, and is all that stays with its key."""
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    installation.hold(customer, step, after_the_deed=True, mutating=None if step == steps.FIND_LEFTOVERS.name else True)
    plane = await installation.connected()
    await plane.retire(customer.name)

    await installation.until_held()
    installation.replace_worker()

    state = await installation.until_phase(customer, DeploymentPhase.RETIRED)
    assert state.receipt is not None
    assert sorted(kept.kind for kept in state.receipt.kept) == ["kms:key", "s3:bucket"]


async def test_worker_killed_while_applying_api_keys(installation: Installation, customer: Customer) -> None:
    """A key change whose reply is lost with the worker is applied once more, to the same end."""
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    installation.hold(customer, steps.APPLY_API_KEYS.name, after_the_deed=True)
    now = datetime.now(UTC)
    record = ApiKeyRecord(
        id="k1", name="k1", sha256="0" * 64, scopes=("read",), created_at=now, expires_at=now + timedelta(days=9)
    )
    plane = await installation.connected()
    await plane.change_api_keys(
        customer.name, ApiKeyChange(request_id="k1", kind=ApiKeyChangeKind.CREATE, actor=ACTOR, record=record)
    )

    await installation.until_held()
    installation.replace_worker()

    state = await installation.until(customer, lambda state: len(state.past) == 2)
    assert state.phase is DeploymentPhase.ACTIVE
    assert state.past[-1].phase == "done"


async def test_worker_killed_while_verifying_and_revoking(installation: Installation, customer: Customer) -> None:
    """An account is verified, and proven revoked, although the worker dies in the middle of each."""
    name = customer.account_name
    plane = await installation.connected()
    installation.hold(customer, steps.VERIFY_ACCESS.name, after_the_deed=True, mutating=None)
    asking = asyncio.create_task(plane.verify_account(name))
    await installation.until_held()
    installation.replace_worker()
    assert (await asking).phase is AccountPhase.ACTIVE

    # Entering is asked of the vendor's own account, so this one is not held by the customer's.
    installation.control.inject(Fault(kind=FaultKind.HOLD, agent=f"step/{steps.PROVE_REVOKED.name}", times=1))
    await plane.revoke_account(name)
    await installation.until_held()
    installation.control.customer(customer.account).delete_template()
    installation.replace_worker()

    await installation.until_account(name, AccountPhase.REVOKED)


def _mutating(step: str) -> bool | None:
    return None if step in LOOKS_ONLY else True
