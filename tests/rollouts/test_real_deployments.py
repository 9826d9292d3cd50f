"""A rollout goes over deployments as they really are: in the customers' own windows, on a server that skips time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.windows import Windows
from domain.failure import FailureClass
from domain.maintenance import Opening
from domain.operation import OperationKind, OperationPhase
from domain.rollout import (
    RolloutLimits,
    RolloutOrder,
    RolloutPhase,
    RolloutPolicy,
    RolloutRequest,
    RolloutState,
    opened,
)
from domain.rollout_messages import MemberState
from domain.shape import Component
from domain.state import DeploymentState, OperationRequest
from domain.upgrade import UpgradeRequest
from domain.waves import Member, Wave, WaveName
from tests.skipping_server import acting, skipping_server
from tests.workflows.orders import ADA
from tests.workflows.scripted_cloud import ScriptedCloud
from tests.workflows.skipping import HOUR, Skipping, newer, trail_of
from tests.workflows.windows import weekly
from workers.assembly import WORKFLOWS
from workflows.rollout import Rollout
from workflows.temporal import ids, queues

ASKED = RolloutRequest(actor=ADA, reason="a customer complains")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
async def skipping() -> AsyncIterator[tuple[WorkflowEnvironment, ScriptedCloud]]:
    """A server that skips time, with every workflow, a scripted cloud, and windows computed as in production."""
    async with skipping_server() as environment:
        client, cloud = environment.client, ScriptedCloud()
        async with (
            Worker(client, task_queue=queues.LIFECYCLES, workflows=WORKFLOWS),
            acting(client, queues.cloud_queue("aws"), cloud.activities()),
            acting(client, queues.SERVICES, [*cloud.activities(), Windows().find_openings]),
        ):
            yield environment, cloud


@dataclass
class Going:
    """A rollout over deployments, each with its window."""

    environment: WorkflowEnvironment
    cloud: ScriptedCloud
    name: str = field(default_factory=lambda: f"r{uuid4().hex[:8]}")
    deployments: list[Skipping] = field(default_factory=list)

    async def deploy(self, after: timedelta, lasts: timedelta = 8 * HOUR) -> Skipping:
        """Start a deployment whose window opens after a while, and every week from then on."""
        policy = weekly((await self.environment.get_current_time() + after).replace(microsecond=0), lasts)
        name = f"{self.name}-{len(self.deployments)}"
        deployment = await Skipping.begun(self.environment, self.cloud, name, policy=policy)
        self.deployments.append(deployment)
        return deployment

    async def roll_out(
        self, upgrade: UpgradeRequest, *, waves: tuple[int, ...], bake: timedelta = 12 * HOUR
    ) -> WorkflowHandle[Any, RolloutState]:
        """Start the rollout, with so many deployments in each wave, one of them at a time."""
        left = [Member(each.name, "acme", "aws", "v1-small") for each in self.deployments]
        made = []
        for name, size in zip((WaveName.CANARY, WaveName.REST), waves, strict=False):
            made.append(Wave(name=name, bake=bake, members=tuple(left[:size])))
            left = left[size:]
        request = OperationRequest(
            request_id=f"{self.name}-1",
            kind=OperationKind.UPGRADE,
            actor=ADA,
            upgrade=upgrade.model_copy(update={"rollout": self.name}),
        )
        order = RolloutOrder(
            name=self.name,
            target="what is newest",
            requests={"aws": request},
            waves=tuple(made),
            policy=RolloutPolicy(limits=RolloutLimits(total=1), patience=timedelta(days=40)),
            actor=ADA,
        )
        return await self.environment.client.start_workflow(
            Rollout.run,
            opened(order, await self.environment.get_current_time()),
            id=ids.rollout_id(self.name),
            task_queue=queues.LIFECYCLES,
        )

    async def until(
        self, rollout: WorkflowHandle[Any, RolloutState], condition: Callable[[RolloutState], bool]
    ) -> RolloutState:
        """Return the rollout's state as soon as a condition holds of it; no time is skipped meanwhile."""
        for _ in range(300):
            state = await rollout.query(Rollout.current_state)
            if condition(state):
                return state
            await self.deployments[0].state()
        raise AssertionError(f"{state.phase}: {state.active} {[event.what for event in state.trail][-8:]}")

    async def started(self, deployment: Skipping) -> tuple[datetime, datetime]:
        """Return when a deployment's upgrade started and ended."""
        past = (await deployment.state()).past[-1]
        assert past.kind is OperationKind.UPGRADE
        assert past.phase is OperationPhase.DONE
        assert past.started_at is not None
        assert past.ended_at is not None
        return past.started_at, past.ended_at


@pytest.fixture
async def going(skipping: tuple[WorkflowEnvironment, ScriptedCloud]) -> AsyncIterator[Going]:
    """Nothing deployed yet; what is deployed is ended with the test."""
    environment, cloud = skipping
    cloud.reset()
    made = Going(environment, cloud)
    yield made
    for each in made.deployments:
        await each.handle.terminate()


async def booked(deployment: Skipping) -> Opening:
    """Return the window that is still to come in which what waits first will start, once it is known."""
    now = await deployment.now()

    def coming(state: DeploymentState) -> Opening | None:
        appointment = state.queue[0].appointment if state.queue else None
        opening = appointment.opening if appointment else None
        return opening if opening and opening.at >= now else None

    found = coming(await deployment.until(lambda state: coming(state) is not None))
    assert found is not None
    return found


async def test_a_rollout_goes_over_real_deployments_in_their_own_windows(going: Going) -> None:
    """The second wave begins when the first has baked; each starts in its own window, and one at a time.

    One odd answer of a cluster does not speak against the release.
    """
    going.cloud.fail("stage_canary", FailureClass.UNKNOWN)
    first = await going.deploy(5 * DAY)
    others = [await going.deploy(6 * DAY), await going.deploy(6 * DAY)]
    windows = [(await each.state()).order.spec.windows[0] for each in going.deployments]

    rollout = await going.roll_out(UpgradeRequest(release=newer()), waves=(1, 2))
    await going.environment.sleep(30 * DAY)
    state = await going.until(rollout, lambda state: state.phase.is_over)

    assert (state.phase, [tally.done for tally in state.tallies]) == (RolloutPhase.DONE, [1, 2])
    began, ended = await going.started(first)
    assert state.tallies[0].complete_at is not None
    assert state.tallies[1].began_at is not None
    assert began < ended <= state.tallies[0].complete_at
    assert state.tallies[1].began_at >= state.tallies[0].complete_at + 12 * HOUR
    spans = [await going.started(each) for each in going.deployments]
    for (at, _), window in zip(spans, windows, strict=True):
        opened_for = (at - window.start.replace(tzinfo=at.tzinfo)) % timedelta(days=7)
        assert opened_for < window.duration
    (one, one_ended), (two, two_ended) = spans[1:]
    assert one_ended <= two or two_ended <= one
    for each in (first, *others):
        deployed = await each.state()
        assert deployed.order.release.version == "4.12.2"
        assert deployed.broken_windows == ()
        assert going.cloud.upgrades.of(each.name).components == dict.fromkeys(Component, "4.12.2")


async def test_a_halt_makes_a_running_upgrade_stop_and_a_resume_lets_it_go_on(going: Going) -> None:
    """Halted while the control plane bakes, it parks at once; resumed, it is cleared again and comes to its end."""
    deployment = await going.deploy(20 * DAY, 12 * HOUR)
    rollout = await going.roll_out(UpgradeRequest(kubernetes="1.34"), waves=(1,))
    opening = await booked(deployment)
    await deployment.pass_until(opening.at + timedelta(minutes=1))
    await deployment.until(lambda state: state.running is not None)
    await deployment.pass_time(timedelta(minutes=5))
    assert going.cloud.upgrades.of(deployment.name).kubernetes == "1.34"

    await rollout.execute_update(Rollout.halt, ASKED)

    state = await deployment.until(lambda state: bool(state.queue))
    assert state.queue[0].summary.phase is OperationPhase.PARKED
    assert "is to stop at its next checkpoint: its rollout holds it back" in trail_of(state)
    await going.until(rollout, lambda state: state.active[deployment.name].state is MemberState.PARKED)
    await deployment.pass_time(2 * HOUR)
    assert (await deployment.state()).queue, "it is not cleared"
    assert going.cloud.upgrades.of(deployment.name).nodes == {}

    await rollout.execute_update(Rollout.resume, ASKED)
    state = await deployment.state()
    for _ in range(2 * 14):
        # In this window if there is time, else in that of the next week.
        await deployment.pass_time(12 * HOUR)
        if (state := await deployment.state()).past[-1].kind is OperationKind.UPGRADE:
            break

    assert state.past[-1].phase is OperationPhase.DONE
    upgraded = going.cloud.upgrades.of(deployment.name)
    assert set(upgraded.nodes.values()) == {"1.34"}
    assert upgraded.deeds.count("upgrade_control_plane 1.34") == 1
    await going.environment.sleep(DAY)
    assert (await going.until(rollout, lambda state: state.phase.is_over)).phase is RolloutPhase.DONE
