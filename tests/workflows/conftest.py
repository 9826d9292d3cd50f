"""Workers whose cloud is scripted, for tests of workflow logic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from domain.operation import OperationKind, OperationProgress
from domain.state import DeploymentState, OperationOutcome
from tests.workflows.orders import deployment_state, operation_order
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.assembly import WORKFLOWS
from workers.liveness import SignsOfLife
from workflows.deployment import Deployment
from workflows.provision import Provision
from workflows.retire import Retire
from workflows.temporal import ids, queues


@dataclass
class Stage:
    """One deployment's name, its scripted cloud, and how to start things."""

    client: Client
    cloud: ScriptedCloud
    name: str

    async def provision(self, **changes: Any) -> WorkflowHandle[Any, OperationOutcome]:
        """Start a provisioning by itself, without its deployment."""
        order = operation_order(self.name, **changes)
        return await self.client.start_workflow(
            Provision.run,
            order,
            id=ids.operation_workflow_id(self.name, ids.operation_id(OperationKind.PROVISION, 1)),
            task_queue=queues.LIFECYCLES,
        )

    async def retire(self, **changes: Any) -> WorkflowHandle[Any, OperationOutcome]:
        """Start a retirement by itself."""
        order = operation_order(self.name, "retire/2", first=False, **changes)
        return await self.client.start_workflow(
            Retire.run, order, id=ids.operation_workflow_id(self.name, "retire/2"), task_queue=queues.LIFECYCLES
        )

    async def deployment(self) -> WorkflowHandle[Any, DeploymentState]:
        """Start a deployment, which provisions itself."""
        return await self.client.start_workflow(
            Deployment.run, deployment_state(self.name), id=ids.deployment_id(self.name), task_queue=queues.LIFECYCLES
        )


async def progress(handle: WorkflowHandle[Any, Any]) -> OperationProgress:
    """Ask an operation how it is going."""
    answer: OperationProgress = await handle.query("progress", result_type=OperationProgress)
    return answer


@pytest.fixture(scope="session")
async def workers(temporal: Any) -> AsyncIterator[ScriptedCloud]:
    """The lifecycles worker and a scripted cloud's worker, for the whole run."""
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
    async with lifecycles, acting:
        yield cloud


@pytest.fixture
def stage(client: Client, workers: ScriptedCloud) -> Stage:
    """A fresh name and a clean script."""
    workers.reset()
    return Stage(client, workers, f"d{uuid4().hex[:8]}")
