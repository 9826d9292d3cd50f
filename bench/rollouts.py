"""(f) A rollout over 1,000 idle deployments in instant clouds: wall time, events, and both over the bare limit.

The bare limit is what the same activities cost in workflows that do nothing else: measured on the same server in the
same run for a tenth of the fleet, and counted by the events that a sequence of so many activities has at least.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import Worker

from workers.liveness import SignsOfLife
from workflows.temporal import ids, queues

with workflow.unsafe.imports_passed_through():
    from activities.windows import Windows
    from bench.servers import lifecycles_worker, server
    from domain.actor import Actor, Door
    from domain.appointment import Notices
    from domain.deployment import DeploymentSpec
    from domain.facts import ComponentStatus, RestoreProof
    from domain.maintenance import MaintenanceWindow
    from domain.operation import OperationKind
    from domain.rollout import RolloutLimits, RolloutOrder, RolloutPhase, RolloutPolicy, opened
    from domain.state import DeploymentPhase, DeploymentState, OperationRequest
    from domain.upgrade import Counters, Measurement, UpgradeRequest, Verification
    from domain.waves import Member, WaveName, WavePolicy, waves_of
    from tests.workflows.orders import deployment_state
    from tests.workflows.scripted_cloud import ANSWERS
    from tests.workflows.upgrade_scenes import FACTS
    from workflows.deployment import Deployment
    from workflows.rollout import Rollout

FLEET = int(os.environ.get("BYOC_BENCH_FLEET", "1000"))
AT_ONCE = 50
BARE_SHARE = 10
ALWAYS = MaintenanceWindow(
    id="always",
    timezone="Etc/UTC",
    start=datetime(2026, 1, 1),  # noqa: DTZ001 - local time, as windows have it
    rrule="FREQ=DAILY",
    duration=timedelta(hours=24),
)
ACTOR = Actor(name="bench", door=Door.CLI)


class InstantCloud:
    """Answers every activity of an upgrade at once."""

    @activity.defn(dynamic=True)
    def answer(self, arguments: Sequence[RawValue]) -> Any:  # noqa: ARG002 - a dynamic activity is given its arguments
        """Answer by the activity's name."""
        name = activity.info().activity_type
        match name:
            case "check_upgrade" | "check_server":
                return ()
            case "measure":
                requests = int(time.time() * 1000) % 10**9
                counted = Counters(pods=1, ready=1, requests=requests, latency={"0.05": requests, "+Inf": requests})
                return Measurement(at=datetime.now(UTC), canary=counted, control=counted)
            case "stage_canary" | "install_component":
                return ComponentStatus(component="api", image="i", ready=1, desired=1)
            case _:
                return ANSWERS.get(name)


@workflow.defn
class BareSequence:
    """Run so many activities one after the other, and nothing else."""

    @workflow.run
    async def run(self, activities: int) -> None:
        """Run them."""
        for _ in range(activities):
            await workflow.execute_activity("bare", task_queue="bare", start_to_close_timeout=timedelta(minutes=1))


async def measure() -> dict[str, float]:
    """Return wall time, events for each deployment, and their ratios to the bare limit."""
    async with server() as (environment, _):
        client = environment.client
        address = client.service_client.config.target_host
        with lifecycles_worker(address), lifecycles_worker(address):
            async with (
                _acting(client, queues.cloud_queue("aws"), [InstantCloud().answer]),
                _acting(client, queues.SERVICES, [Windows().find_openings]),
                _acting(client, "bare", [InstantCloud().answer]),
                Worker(client, task_queue="bare-workflows", workflows=[BareSequence]),
            ):
                members = [Member(f"roll{number:05}", f"c{number % 100}", "aws", "v1-small") for number in range(FLEET)]
                await _live(client, members)
                idle = await _events(client, members)
                seconds = await _roll_out(client, members)
                spent = await _events(client, members) - idle
                operations = await _history(client, [_operation(member) for member in members[:20]]) / 20
                rollout = await _length(client, ids.rollout_id("bench")) / FLEET
                activities = await _activities(client, _operation(members[0]))
                bare = await _bare(client, activities) * BARE_SHARE
    events = spent / FLEET + operations + rollout
    return {
        "rollout_fleet": float(FLEET),
        "rollout_wall_seconds": seconds,
        "rollout_wall_ratio": seconds / bare,
        "rollout_events_per_deployment": events,
        "rollout_activities_per_deployment": float(activities),
        "rollout_events_ratio": events / (5 + 6 * activities),
    }


def _acting(client: Client, queue: str, activities: Sequence[Any]) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        activities=activities,
        activity_executor=ThreadPoolExecutor(AT_ONCE),
        max_concurrent_activities=AT_ONCE,
        interceptors=[SignsOfLife()],
    )


async def _live(client: Client, members: Sequence[Member]) -> None:
    """Start the deployments, active and idle, 50 at a time."""
    for first in range(0, len(members), AT_ONCE):
        await asyncio.gather(*(_start(client, member) for member in members[first : first + AT_ONCE]))


async def _start(client: Client, member: Member) -> None:
    state = deployment_state(member.deployment)
    older = state.order.release.model_copy(update={"version": "4.11.0"})
    spec = DeploymentSpec.model_validate(state.order.spec.model_dump() | {"release": "4.11.0", "windows": (ALWAYS,)})
    order = state.order.model_copy(
        update={"release": older, "spec": spec, "notices": Notices(routine=timedelta(0), long=timedelta(0))}
    )
    proof = RestoreProof(key="k", records=1, sha256="ab", seconds=1.0, proven_at=datetime.now(UTC))
    facts = FACTS.model_copy(update={"restore_proof": proof})
    at_rest = {"order": order, "facts": facts, "operations": 1, "phase": DeploymentPhase.ACTIVE, "was_active": True}
    started: DeploymentState = state.model_copy(update=at_rest)
    handle = await client.start_workflow(
        Deployment.run, started, id=ids.deployment_id(member.deployment), task_queue=queues.LIFECYCLES
    )
    await handle.query(Deployment.current_state)


async def _roll_out(client: Client, members: Sequence[Member]) -> float:
    """Roll a release out in waves without bakes; return the seconds until the last deployment is done."""
    target = deployment_state("target").order.release
    request = OperationRequest(
        request_id="rollout-bench",
        kind=OperationKind.UPGRADE,
        actor=ACTOR,
        upgrade=UpgradeRequest(
            release=target,
            rollout="bench",
            verification=Verification(rounds=1, interval=timedelta(milliseconds=100), exercise=20),
        ),
    )
    order = RolloutOrder(
        name="bench",
        target="release 4.12.1",
        version="4.12.1",
        requests={"aws": request},
        waves=waves_of(members, release="4.12.1", policy=WavePolicy(bakes=dict.fromkeys(WaveName, timedelta(0)))),
        policy=RolloutPolicy(limits=RolloutLimits(total=AT_ONCE, per_cloud=AT_ONCE, per_customer=AT_ONCE)),
        actor=ACTOR,
    )
    begun = time.perf_counter()
    handle = await client.start_workflow(
        Rollout.run, opened(order, datetime.now(UTC)), id=ids.rollout_id("bench"), task_queue=queues.LIFECYCLES
    )
    state = await handle.result()
    assert state.phase is RolloutPhase.DONE, state.stopped_because
    assert sum(tally.done for tally in state.tallies) == len(members), [tally.model_dump() for tally in state.tallies]
    return time.perf_counter() - begun


def _operation(member: Member) -> str:
    return ids.operation_workflow_id(member.deployment, "upgrade/2")


async def _events(client: Client, members: Sequence[Member]) -> float:
    """Return the events of the deployments' own histories, from a sample of 20."""
    sample = members[:: max(1, len(members) // 20)]
    return await _history(client, [ids.deployment_id(member.deployment) for member in sample]) / len(sample) * FLEET


async def _history(client: Client, workflows: Sequence[str]) -> float:
    lengths = await asyncio.gather(*(_length(client, each) for each in workflows))
    return float(sum(lengths))


async def _length(client: Client, workflow_id: str) -> float:
    """Return how many events a workflow has, in all its runs that it went through by continuing as new."""
    events = 0
    async for execution in client.list_workflows(f"WorkflowId = '{workflow_id}'"):
        described = await client.get_workflow_handle(execution.id, run_id=execution.run_id).describe()
        events += described.raw_description.workflow_execution_info.history_length
    return float(events)


async def _activities(client: Client, workflow_id: str) -> int:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return sum(event.HasField("activity_task_scheduled_event_attributes") for event in history.events)


async def _bare(client: Client, activities: int) -> float:
    """Return the seconds that a share of the fleet takes in bare workflows, as many at once as the rollout allows."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            await client.execute_workflow(
                BareSequence.run, activities, id=f"bare/{number}", task_queue="bare-workflows"
            )

    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(FLEET // BARE_SHARE)))
    return time.perf_counter() - begun
