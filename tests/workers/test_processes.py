"""A worker as a process: what it refuses to start with, how it stops, and who goes on when it does not."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.client import Client, WorkflowHandle

from domain.account import AccountSpec
from domain.clouds import Cloud
from domain.operation import Pace
from domain.state import AccountState
from simulators.control_client import ControlClient
from simulators.faults import Fault, FaultKind
from tests.workers.processes import WorkerProcesses
from tests.workflows.orders import BRISK
from workflows.account import Account
from workflows.temporal import ids, queues

STARTED, REFUSED = EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED, EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED


@dataclass(frozen=True)
class Verification:
    """How a verification came to its end."""

    attempt: int
    worker: int
    """Process id of the worker in which it ended."""
    timeout: int
    """How the attempt before it timed out, if it did."""


@dataclass
class Scene:
    """An account whose verification is in the middle of a call to the cloud."""

    client: Client
    control: ControlClient
    account: WorkflowHandle[Any, AccountState]

    async def held(self) -> str:
        """Wait until a call is held, and return the hold's id."""
        held = await asyncio.to_thread(self.control.held, wait=60.0)
        assert held, "no call came"
        return held[0].id

    async def verified(self) -> Verification:
        """Wait until the first verification has ended (the customer has not applied our template: it is refused)."""
        for _ in range(600):
            events = {event.event_type: event for event in reversed((await self.account.fetch_history()).events)}
            if REFUSED in events:
                begun = events[STARTED].activity_task_started_event_attributes
                ended = events[REFUSED].activity_task_failed_event_attributes
                timeout = begun.last_failure.timeout_failure_info.timeout_type
                return Verification(begun.attempt, int(ended.identity.split("@")[0]), timeout)
            await asyncio.sleep(0.1)
        raise AssertionError("the account was never verified")


@pytest.fixture
async def scene(client: Client, simulated_aws: ControlClient, worker_processes: WorkerProcesses) -> Scene:
    """The lifecycles worker runs, and the first call of a verification will be held."""
    simulated_aws.inject(Fault(kind=FaultKind.HOLD, agent="step/verify_access", times=1))
    worker_processes.start("lifecycles")
    return Scene(client, simulated_aws, await connected(client, BRISK))


async def test_a_stopping_worker_finishes_what_is_under_way(scene: Scene, worker_processes: WorkerProcesses) -> None:
    """After SIGTERM the running activity ends in the same attempt and process, and the exit code is 0."""
    worker = worker_processes.start("cloud")
    held = await scene.held()

    worker.send(signal.SIGTERM)
    worker.until_said("worker stops, finishing what is under way")
    assert worker.process.poll() is None
    await asyncio.to_thread(scene.control.release, held)

    assert worker.exit_code() == 0
    verification = await scene.verified()
    assert (verification.attempt, verification.worker) == (1, worker.pid)


@pytest.mark.parametrize("end", ["deadline", "second signal"])
async def test_a_stopping_worker_does_not_wait_for_ever(
    scene: Scene, worker_processes: WorkerProcesses, end: str
) -> None:
    """At the end of its grace, or with a second signal, it leaves a call that hangs; another worker does it again."""
    grace = "1" if end == "deadline" else "600"
    worker = worker_processes.start("cloud", BYOC_GRACEFUL_SHUTDOWN=grace)
    await scene.held()

    worker.send(signal.SIGTERM)
    worker.until_said("worker stops, finishing what is under way")
    if end == "second signal":
        worker.send(signal.SIGTERM)

    assert await asyncio.to_thread(worker.exit_code) == 0
    assert "worker ends before what was under way" in worker.said
    successor = worker_processes.start("cloud")
    verification = await scene.verified()
    assert verification.attempt > 1
    assert verification.worker == successor.pid


async def test_a_killed_workers_activity_is_taken_over(scene: Scene, worker_processes: WorkerProcesses) -> None:
    """Its heartbeats end with it, so another worker has its activity long before the attempt's own timeout."""
    worker = worker_processes.start("cloud")
    await scene.held()
    successor = worker_processes.start("cloud")

    worker.send(signal.SIGKILL)

    assert await scene.verified() == Verification(2, successor.pid, TimeoutType.TIMEOUT_TYPE_HEARTBEAT)


async def test_a_slow_call_is_not_taken_for_a_dead_worker(scene: Scene, worker_processes: WorkerProcesses) -> None:
    """A call that takes three times the heartbeat timeout stays with its worker: the heartbeats come from elsewhere."""
    worker = worker_processes.start("cloud")
    held = await scene.held()

    await asyncio.sleep(3 * BRISK.liveness.total_seconds())
    await asyncio.to_thread(scene.control.release, held)

    verification = await scene.verified()
    assert (verification.attempt, verification.worker) == (1, worker.pid)


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("BYOC_ACTIVITY_SLOTS", "many", "integer"),
        ("BYOC_ACTIVITY_SLOTS", "0", "greater than or equal to 1"),
        ("BYOC_GRACEFUL_SHUTDOWN", "soon", "duration"),
        ("BYOC_METRICS_ADDRESS", "localhost:9464", "an IP address and a port, such as 0.0.0.0:9464"),
        ("BYOC_LOG_LEVEL", "loud", "'debug', 'info', 'warning', 'error' or 'critical'"),
        ("BYOC_BUILD_ID", "1.4:0", "letters, digits, '-', '_' and '.', at most 100"),
        ("BYOC_WORKER_DEPLOYMENT", "", "letters, digits"),
        ("BYOC_AZURE_APPLICATIONS", "observe=1,operate=2", "one for each of observe, operate, delete; delete lacks"),
    ],
)
def test_a_bad_setting_is_one_line(settings_only: WorkerProcesses, variable: str, value: str, allowed: str) -> None:
    """The line names the variable, the value and what is allowed; exit code 2."""
    worker = settings_only.start_anyhow("lifecycles", **{variable: value})

    assert worker.exit_code() == 2
    (line,) = worker.said.splitlines()
    assert line.startswith(f"{variable} is {value!r}: ")
    assert allowed in line


def test_a_temporal_that_does_not_answer_is_one_line(settings_only: WorkerProcesses) -> None:
    """Exit code 1, so that whoever supervises the worker tries again."""
    worker = settings_only.start_anyhow("lifecycles", TEMPORAL_ADDRESS="127.0.0.1:1")

    assert worker.exit_code() == 1
    (line,) = worker.said.splitlines()
    assert line.startswith("Temporal does not answer: ")


def test_a_namespace_that_is_missing_is_one_line(settings_only: WorkerProcesses, address: str) -> None:
    """A worker that could not poll ends, with exit code 1, instead of looking as if it ran."""
    worker = settings_only.start_anyhow("lifecycles", TEMPORAL_ADDRESS=address, TEMPORAL_NAMESPACE="nowhere")

    assert worker.exit_code() == 1
    assert "the worker cannot run: " in worker.said.splitlines()[-1]
    assert "nowhere" in worker.said.splitlines()[-1]
    assert "Traceback" not in worker.said


def test_a_metrics_address_in_use_is_one_line(settings_only: WorkerProcesses, address: str) -> None:
    """Two workers on one machine need two addresses; exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = settings_only.start_anyhow("lifecycles", TEMPORAL_ADDRESS=address, BYOC_METRICS_ADDRESS=metrics)

        assert worker.exit_code() == 1
    (line,) = worker.said.splitlines()
    assert line.startswith(f"metrics cannot be served at {metrics}: ")


@pytest.fixture
def settings_only(tmp_path: Any) -> Iterator[WorkerProcesses]:
    """Starts workers that are not told where Temporal is."""
    processes = WorkerProcesses(tmp_path, {})
    yield processes
    processes.kill_all()


async def connected(client: Client, pace: Pace) -> WorkflowHandle[Any, AccountState]:
    """Start an account's workflow."""
    spec = AccountSpec(
        name="acme-aws", customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", regions=("eu-west-1",)
    )
    state = AccountState(spec=spec, external_id="ext-1", pace=pace, since=datetime.now(UTC))
    handle: WorkflowHandle[Any, AccountState] = await client.start_workflow(
        Account.run, state, id=ids.account_id(spec.name), task_queue=queues.LIFECYCLES
    )
    return handle
