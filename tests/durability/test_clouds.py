"""The same lifecycles in each further cloud: what the workflows ask of AWS, they ask of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from domain.clouds import Cloud
from domain.deployment import FinalBackup
from domain.operation import OperationKind
from domain.state import DeploymentPhase, OperationRequest
from tests.durability.installation import ACTOR, Installation, installed, left_behind


@pytest.fixture(scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """An installation that has no AWS."""
    async with installed(tmp_path_factory.mktemp("clouds"), clouds=[Cloud.GCP]) as running:
        yield running


async def test_a_deployment_lives_and_leaves_nothing(installation: Installation) -> None:
    """It is provisioned, converged again without a mutating call, and retired with nothing left of it."""
    customer = await installation.customer("acme-on-gcp", Cloud.GCP)
    before = installation.inventory(customer)

    await installation.order(customer)
    await installation.until_phase(customer, DeploymentPhase.ACTIVE)
    position = installation.control.position()
    plane = await installation.connected()
    again = OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ACTOR)
    await plane.request(customer.name, again)
    await installation.until(customer, lambda state: len(state.past) == 2)
    mutating = installation.control.journal(after=position, account=customer.account, mutating=True)
    await plane.retire(customer.name, final_backup=FinalBackup.NONE)
    state = await installation.until_phase(customer, DeploymentPhase.RETIRED)

    assert [(call.operation, call.agent) for call in mutating] == []
    assert state.receipt is not None
    assert left_behind(installation.inventory(customer) - before) == Counter()
