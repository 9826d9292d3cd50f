"""Kill any process at any step, or abort at any step: nothing is lost, nothing is made twice, nothing is left behind.

The steps enumerate themselves (`workflows.steps.ALL` and `UNDOS`): a step that is added is covered when it is added.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.contracts import KubernetesContract
from domain.account import AccountPhase
from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.facts import ApiKeyRecord
from domain.operation import Choice, StepDecision
from domain.state import ApiKeyChange, ApiKeyChangeKind, DeploymentPhase
from simulators.faults import Fault, FaultKind
from tests.durability.clouds import CLOUDS
from tests.durability.conftest import Undisturbed
from tests.durability.installation import ACTOR, Customer, Installation, left_behind
from tests.durability.interruptions import Interruptions, Process, shared_out
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
IN_ONE_LIFE = 10
"""Steps at which a process dies in one life of a deployment: each has its turn, and there are fewer lives to live."""


def _everywhere(names: list[str]) -> pytest.MarkDecorator:
    """Return the parameters `cloud` and `group`: in every cloud, the steps in groups."""
    return pytest.mark.parametrize(("cloud", "group"), [_case(*each) for each in _groups(names)])


def _with_processes(names: list[str]) -> pytest.MarkDecorator:
    """Return the parameters `cloud`, `group` and `process`.

    The worker dies in every cloud; Temporal, which knows nothing of clouds, dies in the first.
    """
    cases = [
        _case(cloud, number, group, process)
        for cloud, number, group in _groups(names)
        for process in (Process if cloud is Cloud.AWS else [Process.WORKER])
    ]
    return pytest.mark.parametrize(("cloud", "group", "process"), cases)


def _groups(names: list[str]) -> Iterator[tuple[Cloud, int, tuple[str, ...]]]:
    """Yield the steps of each cloud in groups; what is done inside a cluster is the same everywhere, and done once."""
    for cloud, simulated in CLOUDS.items():
        elsewhere = simulated.idle if cloud is Cloud.AWS else simulated.idle | KubernetesContract.__abstractmethods__
        groups = shared_out([each for each in names if each not in elsewhere], IN_ONE_LIFE)
        yield from ((cloud, number, group) for number, group in enumerate(groups))


def _case(cloud: Cloud, number: int, group: tuple[str, ...], *process: Process) -> Any:
    return pytest.param(cloud, group, *process, id="-".join((cloud, str(number), *process)))


@_with_processes(PROVISIONING)
async def test_process_killed_while_provisioning(
    installation: Installation,
    customer: Customer,
    undisturbed: Undisturbed,
    group: tuple[str, ...],
    process: Process,
) -> None:
    """A process dies around a deed (the worker after it, Temporal before it); the end is the same as undisturbed."""
    expected = await undisturbed.inventory(customer.cloud)
    interruptions = Interruptions(installation, customer, group, process)
    await installation.order(customer)

    await interruptions.live_through()

    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    assert installation.inventory(customer) == expected


@_everywhere(PROVISIONING)
async def test_abort_at_step_takes_everything_back(
    installation: Installation, customer: Customer, group: tuple[str, ...]
) -> None:
    """Aborted between deed and reply of a step, and of those beside it, the account ends as before the order."""
    before, missing = installation.inventory(customer), set(group)
    while missing:
        interruptions = Interruptions(installation, customer, missing, Process.WORKER)
        await installation.order(customer)
        held = await interruptions.held_together()

        plane = await installation.connected()
        await plane.decide(customer.name, StepDecision(choice=Choice.ABORT, actor=ACTOR))
        installation.control.clear_faults()
        for each in held:
            installation.control.release(each.id)

        await installation.until_phase(customer, DeploymentPhase.ABORTED)
        assert left_behind(installation.inventory(customer) - before) == Counter(), interruptions.steps_of(held)
        missing -= interruptions.steps_of(held)


@_with_processes(TAKING_BACK)
async def test_process_killed_while_retiring(
    installation: Installation, customer: Customer, group: tuple[str, ...], process: Process
) -> None:
    """A process dies around a deletion (the worker after it, Temporal before it); in the end nothing is left."""
    before = installation.inventory(customer)
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    interruptions = Interruptions(installation, customer, group, process)
    plane = await installation.connected()
    await plane.retire(customer.name, final_backup=FinalBackup.NONE)

    await interruptions.live_through()

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
