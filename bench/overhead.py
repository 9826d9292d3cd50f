"""(a) What one operation costs over a bare Temporal workflow with the same activities, order and payload sizes."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.assembly import WORKFLOWS
from workers.liveness import SignsOfLife
from workflows.temporal import queues

with workflow.unsafe.imports_passed_through():
    from datetime import timedelta

    from pydantic import BaseModel

    from bench.graph import NEEDS
    from bench.servers import cpu_seconds, server

ROUNDS = 5
TOGETHER = 6
"""Operations of each kind in one round, started together."""


class Load(BaseModel):
    """A payload of one activity, and how large the answer shall be."""

    padding: str
    answer_bytes: int


class Plan(BaseModel):
    """Payload sizes of a provisioning: step -> (request, answer) in bytes, and of its own input and result."""

    sizes: dict[str, tuple[int, int]]
    input_padding: str
    result_bytes: int


@workflow.defn
class Bare:
    """Run activities in the order of provisioning, and nothing else."""

    @workflow.run
    async def run(self, plan: Plan) -> str:
        """Run each activity as soon as those that it needs have ended."""
        tasks: dict[str, asyncio.Task[Any]] = {}

        async def step(name: str) -> None:
            for need in NEEDS[name]:
                await tasks[need]
            request, answer = plan.sizes[name]
            await workflow.execute_activity(
                "bare",
                Load(padding="x" * max(0, request - 40), answer_bytes=answer),
                task_queue="bare",
                start_to_close_timeout=timedelta(minutes=1),
                schedule_to_close_timeout=timedelta(minutes=30),
                heartbeat_timeout=timedelta(seconds=5),
                retry_policy=RetryPolicy(),
                summary=name,
            )

        for name in NEEDS:
            tasks[name] = asyncio.create_task(step(name))
        await asyncio.gather(*tasks.values())
        return "x" * plan.result_bytes


@activity.defn(name="bare")
def answer(load: Load) -> str:
    """Answer at once with as many bytes as asked."""
    return "x" * max(0, load.answer_bytes - 2)


async def measure() -> dict[str, float]:
    """Return `overhead_cpu_ratio` and `overhead_wall_ratio` (medians of interleaved rounds), and the history's size."""
    async with server() as (environment, process):
        client, cloud = environment.client, ScriptedCloud()
        async with (
            Worker(client, task_queue=queues.LIFECYCLES, workflows=WORKFLOWS),
            _acting(client, queues.cloud_queue("aws"), cloud.activities()),
            Worker(client, task_queue="bare-workflows", workflows=[Bare]),
            _acting(client, "bare", [answer]),
        ):
            plan, size = await _sizes(client, cloud)
            await _bare(client, plan, "warm")
            ours, bare = [], []
            for number in range(ROUNDS):
                for kind, samples in (("ours", ours), ("bare", bare)):
                    before, started = _cpu(process), time.perf_counter()
                    run = _ours if kind == "ours" else _bare
                    await asyncio.gather(
                        *(run(client, plan, f"{kind}{number}x{each}", cloud) for each in range(TOGETHER))
                    )
                    samples.append((_cpu(process) - before, time.perf_counter() - started))
    return {
        "overhead_cpu_ratio": _median(ours, 0) / _median(bare, 0),
        "overhead_wall_ratio": _median(ours, 1) / _median(bare, 1),
        "operation_cpu_seconds": _median(ours, 0) / TOGETHER,
        **size,
    }


def _acting(client: Client, queue: str, activities: Sequence[Any]) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        activities=activities,
        activity_executor=ThreadPoolExecutor(40),
        max_concurrent_activities=40,
        interceptors=[SignsOfLife()],
    )


async def _ours(client: Client, _: Plan, name: str, cloud: ScriptedCloud) -> None:
    handle = await Stage(client, cloud, f"d{name}").provision()
    await handle.result()


async def _bare(client: Client, plan: Plan, name: str, _: ScriptedCloud | None = None) -> None:
    await client.execute_workflow(Bare.run, plan, id=f"bare/{name}", task_queue="bare-workflows")


async def _sizes(client: Client, cloud: ScriptedCloud) -> tuple[Plan, dict[str, float]]:
    """Run one provisioning and read from its history how large each payload was."""
    handle = await Stage(client, cloud, "sizes").provision()
    await handle.result()
    raw = (await handle.fetch_history()).to_json()
    events = json.loads(raw)["events"]
    scheduled: dict[str, tuple[str, int]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    order_bytes = result_bytes = 0
    for event in events:
        if detail := event.get("activityTaskScheduledEventAttributes"):
            scheduled[event["eventId"]] = (_step_name(detail, event), _payload_bytes(detail.get("input")))
        elif detail := event.get("activityTaskCompletedEventAttributes"):
            name, asked = scheduled[detail["scheduledEventId"]]
            sizes[name] = (asked, _payload_bytes(detail.get("result")))
        elif detail := event.get("workflowExecutionStartedEventAttributes"):
            order_bytes = _payload_bytes(detail["input"])
        elif detail := event.get("workflowExecutionCompletedEventAttributes"):
            result_bytes = _payload_bytes(detail["result"])
    described = await handle.describe()
    assert sizes.keys() == NEEDS.keys(), f"bench/graph.py differs from provisioning: {sizes.keys() ^ NEEDS.keys()}"
    size = {
        "provision_events": float(len(events)),
        "provision_bytes": float(described.raw_description.workflow_execution_info.history_size_bytes),
    }
    return Plan(sizes=sizes, input_padding="x" * max(0, order_bytes - 3000), result_bytes=result_bytes), size


def _step_name(detail: dict[str, Any], event: dict[str, Any]) -> str:
    """Return `install_component/store`: the activity's name, with what it is about from its summary."""
    name: str = detail["activityType"]["name"]
    summary = json.loads(base64.b64decode(event["userMetadata"]["summary"]["data"]))
    about = next((step.split("/")[1] for step in NEEDS if step.startswith(f"{name}/") and _about(step, summary)), "")
    return f"{name}/{about}" if about else name


def _about(step: str, summary: str) -> bool:
    return step.split("/")[1] in summary.split()


def _payload_bytes(payloads: dict[str, Any] | None) -> int:
    return sum(len(base64.b64decode(payload.get("data", ""))) for payload in (payloads or {}).get("payloads", ()))


def _cpu(server_process: psutil.Process) -> float:
    return cpu_seconds(psutil.Process(), server_process)


def _median(samples: list[tuple[float, float]], index: int) -> float:
    ordered = sorted(sample[index] for sample in samples)
    return ordered[len(ordered) // 2]
