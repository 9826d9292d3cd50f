"""Which workers act: those of the deployment's cloud, and of its region where that was ordered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from tests.workflows.orders import operation_order
from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ScriptedCloud
from workflows.provision import Provision
from workflows.retire import Retire
from workflows.temporal import ids, queues

REGION = "eu-west-1"


@pytest.fixture
async def in_region(client: Client) -> AsyncIterator[ScriptedCloud]:
    """A worker that sits in the deployment's region."""
    cloud = ScriptedCloud()
    worker = Worker(
        client,
        task_queue=queues.cloud_queue("aws", REGION),
        activities=cloud.activities(),
        activity_executor=ThreadPoolExecutor(10),
        max_concurrent_activities=10,
    )
    async with worker:
        yield cloud


@pytest.mark.parametrize("operation", ["provision/1", "retire/2"])
async def test_where_it_was_ordered_only_workers_in_the_region_act(
    stage: Stage, in_region: ScriptedCloud, operation: str
) -> None:
    """Every activity of such an operation is offered to the region's queue and to no other."""
    order = operation_order(stage.name, operation)
    order = order.model_copy(update={"site": order.site.model_copy(update={"workers_in": REGION})})
    run = Provision.run if operation.startswith("provision") else Retire.run

    handle = await stage.client.start_workflow(
        run, order, id=ids.operation_workflow_id(stage.name, operation), task_queue=queues.LIFECYCLES
    )
    await handle.result()

    assert await _queues_asked(handle) == {f"cloud-aws-{REGION}"}
    assert in_region.calls
    assert stage.cloud.calls == []


async def _queues_asked(handle: WorkflowHandle[object, object]) -> set[str]:
    scheduled = "activity_task_scheduled_event_attributes"
    events = (await handle.fetch_history()).events
    return {
        event.activity_task_scheduled_event_attributes.task_queue.name for event in events if event.HasField(scheduled)
    }
