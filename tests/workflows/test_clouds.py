"""No workflow knows which cloud it works in: the histories of all clouds are the same, but for the queue."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from domain.clouds import Cloud
from domain.facts import DeploymentFacts
from domain.operation import OperationPhase
from domain.state import OperationOutcome
from tests.workflows.orders import operation_order
from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ScriptedCloud
from workflows.provision import Provision
from workflows.retire import Retire
from workflows.temporal import ids, queues

WORKFLOWS = Path(__file__).parents[2] / "workflows"
OTHERS = (Cloud.GCP, Cloud.AZURE)
COMMANDS = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "activity_task_scheduled",
    EventType.EVENT_TYPE_TIMER_STARTED: "timer_started",
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: "start_child_workflow_execution_initiated",
    EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: "signal_external_workflow_execution_initiated",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "workflow_execution_completed",
}
"""How an event's attributes are called that hold what the workflow commanded, keyed by the event's type."""


@pytest.fixture
async def everywhere(client: Client) -> AsyncIterator[None]:
    """Workers of every cloud's queue, all with the same scripted cloud behind them."""
    cloud = ScriptedCloud()
    async with AsyncExitStack() as running:
        for other in OTHERS:
            worker = Worker(
                client,
                task_queue=queues.cloud_queue(other),
                activities=cloud.activities(),
                activity_executor=ThreadPoolExecutor(10),
                max_concurrent_activities=10,
            )
            await running.enter_async_context(worker)
        yield


@pytest.mark.parametrize("operation", ["provision/1", "retire/2"])
async def test_every_cloud_gets_the_same_commands(stage: Stage, everywhere: None, operation: str) -> None:
    """Activities with their arguments, timeouts and sentences, timers, signals: all are the same in each cloud."""
    commands = {cloud: await _commands(stage, cloud, operation) for cloud in Cloud}

    assert sum(commands[Cloud.AWS].values()) > 15
    for other in OTHERS:
        assert commands[other] == commands[Cloud.AWS]


def test_no_workflow_names_a_cloud() -> None:
    """The word stands nowhere in the workflows' code; the enumeration of clouds is the domain's."""
    named = re.compile(r"\b(aws|gcp|azure)\b", re.IGNORECASE)

    found = [f"{file.name}:{number}: {line}" for file, number, line in _lines() if named.search(line)]

    assert found == []


async def _commands(stage: Stage, cloud: Cloud, operation: str) -> Counter[str]:
    """Run an operation in a cloud and return what it commanded, without what says which cloud it is."""
    name = f"{stage.name}-{cloud}"
    order = operation_order(name, operation)
    order = order.model_copy(update={"site": order.site.model_copy(update={"cloud": cloud.value})})
    if operation.startswith("retire"):
        order = order.model_copy(update={"first": False, "facts": DeploymentFacts()})
    run = Provision.run if operation.startswith("provision") else Retire.run
    handle: WorkflowHandle[object, OperationOutcome] = await stage.client.start_workflow(
        run, order, id=ids.operation_workflow_id(name, operation), task_queue=queues.LIFECYCLES
    )
    assert (await handle.result()).phase is OperationPhase.DONE
    return Counter(_told(event, name, cloud) for event in (await handle.fetch_history()).events if _is_command(event))


def _is_command(event: HistoryEvent) -> bool:
    return event.event_type in COMMANDS


def _told(event: HistoryEvent, name: str, cloud: Cloud) -> str:
    """Return a command as text, without numbers of events, and without the names of deployment and cloud."""
    text = f"{getattr(event, f'{COMMANDS[event.event_type]}_event_attributes')} {event.user_metadata}"
    text = re.sub(r"\w*event_id: \d+|activity_id: \"\d+\"|timer_id: \"\d+\"", "", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "INSTANT", text)
    text = text.replace(name, "NAME").replace(f"cloud-{cloud}", "QUEUE")
    return text.replace(f'\\"cloud\\":\\"{cloud}\\"', "CLOUD")


def _lines() -> Iterator[tuple[Path, int, str]]:
    for file in sorted(WORKFLOWS.rglob("*.py")):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            yield file, number, line
