"""The same lifecycles in each further cloud: what the workflows ask of AWS, they ask of it."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.operation import OperationKind
from domain.state import DeploymentPhase, OperationRequest
from tests.durability.clouds import CLOUDS
from tests.durability.installation import ACTOR, Installation, left_behind


@pytest.mark.parametrize("cloud", [cloud for cloud in CLOUDS if cloud is not Cloud.AWS])
async def test_a_deployment_lives_and_leaves_nothing(installation: Installation, cloud: Cloud) -> None:
    """It is provisioned, converged again without a mutating call, and retired with nothing left of it."""
    customer = await installation.customer(f"{cloud}{os.getpid() % 10_000}", cloud)
    before = installation.inventory(customer)

    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    made = installation.inventory(customer) - before
    position = installation.control.position()
    plane = await installation.connected()
    again = OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ACTOR)
    await plane.request(customer.name, again)
    await installation.until(customer, lambda state: len(state.past) == 2)
    mutating = installation.control.journal(after=position, account=customer.account, mutating=True)
    await plane.retire(customer.name, final_backup=FinalBackup.NONE)
    state = await installation.until_phase(customer, DeploymentPhase.RETIRED)

    assert made.total() > 20
    assert [(call.operation, call.agent) for call in mutating] == []
    assert state.receipt is not None
    assert left_behind(installation.inventory(customer) - before) == Counter()
