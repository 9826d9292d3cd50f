"""A server that skips time, on which fleets of simulated deployments are rolled out to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.actor import Actor, Door
from domain.operation import OperationKind
from domain.rollout import RolloutOrder, RolloutPolicy, RolloutState, opened
from domain.state import OperationRequest
from domain.upgrade import Override, UpgradeRequest
from domain.waves import Member, Wave
from tests.rollouts.fleet import Behaviour, Record, SimulatedDeployment
from tests.skipping_server import skipping_server
from workflows.rollout import Rollout
from workflows.temporal import ids, queues, search_attributes

ACTOR = Actor(name="release@vendor.example", door=Door.CLI)


@pytest.fixture(scope="session")
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal test server, which lets time pass at once, with workers for rollouts and simulated deployments."""
    async with (
        skipping_server() as environment,
        Worker(
            environment.client,
            task_queue=queues.LIFECYCLES,
            workflows=[Rollout, SimulatedDeployment],
            max_cached_workflows=1000,
        ),
    ):
        yield environment


class Fleet:
    """Simulated deployments on one server, and the rollout that goes over them."""

    def __init__(self, environment: WorkflowEnvironment) -> None:
        self.environment = environment
        self.name = f"r{uuid4().hex[:8]}"
        self.deployments: dict[str, WorkflowHandle[Any, Record]] = {}

    async def live(self, behaviours: list[Behaviour]) -> None:
        """Start the deployments."""
        for behaviour in behaviours:
            self.deployments[behaviour.deployment] = await self.environment.client.start_workflow(
                SimulatedDeployment.run,
                behaviour,
                id=ids.deployment_id(behaviour.deployment),
                task_queue=queues.LIFECYCLES,
            )

    async def roll_out(
        self, waves: tuple[Wave, ...], policy: RolloutPolicy | None = None, *, urgent: bool = False
    ) -> WorkflowHandle[Any, RolloutState]:
        """Start the rollout."""
        clouds = {member.cloud for wave in waves for member in wave.members}
        now = await self.environment.get_current_time()
        override = Override(reason="a hole", expires_at=now + timedelta(hours=24)) if urgent else None
        request = OperationRequest(
            request_id=self.name,
            kind=OperationKind.UPGRADE,
            actor=ACTOR,
            upgrade=UpgradeRequest(kubernetes="1.36", rollout=self.name, override=override),
        )
        order = RolloutOrder(
            name=self.name,
            target="Kubernetes 1.36",
            requests=dict.fromkeys(sorted(clouds), request),
            waves=waves,
            policy=policy or RolloutPolicy(),
            urgent=urgent,
            actor=ACTOR,
        )
        return await self.environment.client.start_workflow(
            Rollout.run,
            opened(order, now),
            id=ids.rollout_id(self.name),
            task_queue=queues.LIFECYCLES,
            search_attributes=TypedSearchAttributes([SearchAttributePair(search_attributes.PHASE, "running")]),
        )

    async def record(self, deployment: str) -> Record:
        """Return what happened to a deployment so far."""
        return await self.deployments[deployment].query(SimulatedDeployment.current_record)

    async def override(self, deployment: str) -> Override | None:
        """Return the override with which a deployment was asked."""
        offer = await self.deployments[deployment].query(SimulatedDeployment.current_offer)
        return offer.request.upgrade.override if offer and offer.request.upgrade else None

    async def pass_time(self, span: timedelta) -> None:
        """Let time pass."""
        await self.environment.sleep(span)


@pytest.fixture
def fleet(skipping: WorkflowEnvironment) -> Fleet:
    """An empty fleet."""
    return Fleet(skipping)


def members(number: int, prefix: str, *, customers: int = 10) -> list[Member]:
    """Return a mixed fleet: three clouds, three shapes, several customers."""
    clouds, shapes = ("aws", "gcp", "azure"), ("v1-small", "v1-medium", "v1-large")
    return [
        Member(f"{prefix}-{index:03}", f"customer-{index % customers}", clouds[index % 3], shapes[index // 3 % 3])
        for index in range(number)
    ]
