"""Workers whose cloud is scripted, for tests of workflow logic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.assembly import WORKFLOWS
from workers.liveness import SignsOfLife
from workers.records import Records
from workflows.temporal import queues


@pytest.fixture(scope="session")
async def workers(temporal: WorkflowEnvironment) -> AsyncIterator[ScriptedCloud]:
    """The lifecycles worker and a scripted cloud's workers, for the whole run."""
    cloud = ScriptedCloud()
    lifecycles = Worker(
        temporal.client,
        task_queue=queues.LIFECYCLES,
        workflows=WORKFLOWS,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )
    acting = Worker(
        temporal.client,
        task_queue=queues.cloud_queue("aws"),
        activities=cloud.activities(),
        activity_executor=ThreadPoolExecutor(20),
        max_concurrent_activities=20,
        interceptors=[SignsOfLife()],
    )
    records = Records(temporal.client, look_again_in=timedelta(milliseconds=200))
    services = Worker(
        temporal.client,
        task_queue=queues.SERVICES,
        activities=[*cloud.activities(), records.await_end, records.read_reached],
        activity_executor=ThreadPoolExecutor(4),
        max_concurrent_activities=4,
        interceptors=[SignsOfLife()],
    )
    async with lifecycles, acting, services:
        yield cloud


@pytest.fixture
def stage(client: Client, workers: ScriptedCloud) -> Stage:
    """A fresh name and a clean script."""
    workers.reset()
    return Stage(client, workers, f"d{uuid4().hex[:8]}")
