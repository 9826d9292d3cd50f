"""Converging again, and retiring, against the simulated clouds."""

from __future__ import annotations

from collections import Counter

import pytest

from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.operation import OperationKind
from domain.state import DeploymentPhase, OperationRequest
from tests.durability.clouds import CLOUDS
from tests.durability.conftest import Undisturbed
from tests.durability.installation import ACTOR, Customer, Installation, left_behind

everywhere = pytest.mark.parametrize("cloud", list(CLOUDS))


@everywhere
async def test_converging_an_unchanged_deployment_changes_nothing(
    installation: Installation, undisturbed: Undisturbed, cloud: Cloud
) -> None:
    """The second run of the same specification makes no call that changes anything, in no cloud and no cluster."""
    customer = await undisturbed.customer(cloud)
    position = installation.control.position()
    plane = await installation.connected()

    await plane.request(customer.name, OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ACTOR))
    state = await installation.until(customer, lambda state: len(state.past) == 2)

    assert state.phase is DeploymentPhase.ACTIVE
    changes = installation.control.journal(after=position, account=customer.account, changed=True)
    assert [(call.operation, call.agent) for call in changes] == []
    mutating = installation.control.journal(after=position, account=customer.account, mutating=True)
    assert [(call.operation, call.agent) for call in mutating] == []


@everywhere
async def test_retirement_leaves_nothing_but_what_it_names(installation: Installation, customer: Customer) -> None:
    """After a retirement without final backup the account is as before, but for a key that is on its way out."""
    before = installation.inventory(customer)
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    plane = await installation.connected()

    await plane.retire(customer.name, final_backup=FinalBackup.NONE)
    state = await installation.until_phase(customer, DeploymentPhase.RETIRED)

    assert state.receipt is not None
    assert left_behind(installation.inventory(customer) - before) == Counter()
    assert all(kept.reason for kept in state.receipt.kept)


@everywhere
async def test_final_backup_stays_locked_with_its_key(
    installation: Installation, customer: Customer, cloud: Cloud
) -> None:
    """A kept backup is in the receipt with its bucket, its key and the date until which it is locked."""
    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    plane = await installation.connected()

    await plane.retire(customer.name)
    state = await installation.until_phase(customer, DeploymentPhase.RETIRED)

    assert state.receipt is not None
    assert {kept.kind for kept in state.receipt.kept} >= CLOUDS[cloud].kept_with_backups
    assert all(kept.until for kept in state.receipt.kept)
    everything = installation.control.inventory(customer.account)
    assert sum(resource.type == CLOUDS[cloud].bucket for resource in everything) == 1
