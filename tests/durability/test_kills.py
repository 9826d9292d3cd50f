"""Kill any process at any step, or abort at any step: nothing is lost, nothing is made twice, nothing is left behind.

The steps enumerate themselves, by what the workflows' code names: a step that is added is covered when it is added.
Those of upgrades are in `test_upgrades`.
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
from tests.lifecycle_steps import activities_of
from workflows import steps

pytestmark = pytest.mark.durability

PROVISIONING = sorted(activities_of("provision") - {steps.APPLY_API_KEYS.name})
"""Without what has nothing to do in a first provisioning; that, and what is of accounts, has its own test below."""
FINAL_BACKUP = (steps.BACK_UP.name, steps.LOCK_BACKUP.name, steps.FIND_LEFTOVERS.name)
TAKING_BACK = sorted({undo.name for undo in steps.UNDOS} & activities_of("retire"))
IN_ONE_LIFE = 14
"""Steps at which a process dies in one life of a deployment: each has its turn, and there are fewer lives to live."""


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
    """Yield the steps of each cloud in groups."""
    for cloud in CLOUDS:
        groups = shared_out(_interrupted_in(cloud, names), IN_ONE_LIFE)
        yield from ((cloud, number, group) for number, group in enumerate(groups))


def _interrupted_in(cloud: Cloud, names: list[str]) -> list[str]:
    """Return the steps that are interrupted: all of them at AWS, and the others share them out between them.

    That each cloud's own part of a step finds what a lost reply has left is shown for all of them in tests/contract.
    What is done inside a cluster is the same everywhere, and done once.
    """
    idle = CLOUDS[cloud].idle
    if cloud is Cloud.AWS:
        return [each for each in names if each not in idle]
    further = [each for each in names if each not in KubernetesContract.__abstractmethods__]
    mine = further[[*CLOUDS].index(cloud) % 2 :: 2]
    return [each for each in mine if each not in idle]


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


@pytest.mark.parametrize("cloud", list(CLOUDS))
async def test_abort_at_step_takes_everything_back(
    installation: Installation, customer: Customer, cloud: Cloud
) -> None:
    """Aborted between deed and reply of a step, and of those beside it, the account ends as before the order."""
    before, missing = installation.inventory(customer), set(_interrupted_in(cloud, PROVISIONING))
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


async def test_worker_killed_around_the_final_backup(installation: Installation, customer: Customer) -> None:
    """The last backup is taken and locked once, whatever dies meanwhile, and is all that stays with its key."""
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    interruptions = Interruptions(installation, customer, FINAL_BACKUP, Process.WORKER)
    plane = await installation.connected()
    await plane.retire(customer.name)

    await interruptions.live_through()

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
