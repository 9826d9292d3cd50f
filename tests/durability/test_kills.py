"""Kill any process at any step, or abort at any step: nothing is lost, nothing is made twice, nothing is left behind.

The steps enumerate themselves (`workflows.steps.ALL` and `UNDOS`): a step that is added is covered when it is added.
"""

from __future__ import annotations

from collections import Counter

import pytest

from domain.deployment import FinalBackup
from domain.operation import Choice, StepDecision
from domain.state import DeploymentPhase
from tests.durability.installation import ACTOR, Customer, Installation
from workflows import steps

pytestmark = pytest.mark.durability

ACCOUNT_STEPS = {steps.VERIFY_ACCESS.name, steps.PROVE_REVOKED.name}
RETIREMENT_STEPS = {steps.LOCK_BACKUP.name, steps.FIND_LEFTOVERS.name}
PROVISIONING = sorted({step.name for step in steps.ALL} - ACCOUNT_STEPS - RETIREMENT_STEPS)
TAKING_BACK = sorted({undo.name for undo in steps.UNDOS})
LOOKS_ONLY = {"check_permissions", "check_quotas", "choose_placement", "plan_addresses", "set_maintenance_policy"}
"""Steps that change nothing when all is well: they are interrupted at their first look instead of their first deed."""
SILENT = {"apply_api_keys"}
"""Steps that have nothing to change in a first provisioning, and may not even call."""


@pytest.mark.parametrize("step", PROVISIONING)
async def test_worker_killed_between_deed_and_reply(
    installation: Installation, customer: Customer, undisturbed: Counter[str], step: str
) -> None:
    """The worker dies after its call changed the world and before it learns so; the end is the same as undisturbed."""
    installation.hold(customer, step, after_the_deed=True, mutating=_mutating(step))
    await installation.order(customer)

    assert await installation.until_held() or step in SILENT, f"{step} made no call that could be held"
    installation.kill_worker()
    installation.control.clear_faults()
    installation.start_worker()

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
    assert held or step in SILENT, f"{step} made no call that could be held"
    installation.kill_server()
    installation.start_server()
    installation.control.clear_faults()
    if held:
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
    if not held:
        assert step in SILENT, f"{step} made no call that could be held"
        return

    plane = await installation.connected()
    await plane.decide(customer.name, StepDecision(choice=Choice.ABORT, actor=ACTOR))
    installation.control.clear_faults()
    installation.control.release(held)

    await installation.until_phase(customer, DeploymentPhase.ABORTED)
    assert _left(installation.inventory(customer) - before) == Counter()


@pytest.mark.parametrize("undo", TAKING_BACK)
async def test_worker_killed_while_retiring(installation: Installation, customer: Customer, undo: str) -> None:
    """The worker dies between deed and reply of a deletion; the retirement ends with nothing left all the same."""
    before = installation.inventory(customer)
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    installation.hold(customer, undo, after_the_deed=True)
    plane = await installation.connected()
    await plane.retire(customer.name, final_backup=FinalBackup.NONE)

    assert await installation.until_held(seconds=10) or undo in LEAKS_ONLY, f"{undo} deleted nothing"
    installation.kill_worker()
    installation.control.clear_faults()
    installation.start_worker()

    await installation.until_phase(customer, DeploymentPhase.RETIRED)
    assert _left(installation.inventory(customer) - before) == Counter()


LEAKS_ONLY = {"delete_load_balancers_and_volumes"}
"""It deletes what controllers left behind, which is nothing when all is well."""


def _mutating(step: str) -> bool | None:
    return None if step in LOOKS_ONLY else True


def _left(resources: Counter[str]) -> Counter[str]:
    """Leave out keys that are scheduled for deletion: a cloud deletes none at once."""
    return Counter({name: number for name, number in resources.items() if "PendingDeletion" not in name})
