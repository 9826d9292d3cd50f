"""Fairness: one customer's burst does not make another customer wait for its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from temporalio import activity
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.contracts import AccessQuestion
from domain.account import AccessReport, AccountSpec
from domain.actor import Actor, Door
from domain.clouds import Cloud
from domain.operation import OperationKind
from domain.state import DeploymentPhase, OperationRequest
from starters.client import ControlPlane
from starters.playground.installation import DYNAMIC_CONFIG
from tests.conftest import dynamic_config_arguments, executable
from tests.workers.processes import ROOT
from tests.workflows.orders import ADA, deployment_state
from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ScriptedCloud
from workers import assembly
from workers.settings import WorkerSettings
from workflows.deployment import Deployment
from workflows.temporal import ids, queues, search_attributes
from workflows.temporal.plugin import plugin

BURST = 24
AMONG_THE_FIRST = 3
"""How many of another customer's may come before: one that was served earlier, and one that begins the turn."""


@pytest.fixture
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A server as `deploy/temporal/dynamic-config.yaml` configures it: fair."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable("temporal"),
        dev_server_extra_args=dynamic_config_arguments(),
        dev_server_log_level="error",
        search_attributes=search_attributes.ALL,
        plugins=[plugin()],
    ) as environment:
        yield environment


async def test_a_single_activity_overtakes_another_customers_burst(client: Client) -> None:
    """Behind 24 queued activities of one customer, the only one of another is among the first."""
    plane = ControlPlane(client, Actor(name="ada@vendor.example", door=Door.CLI))
    served: list[tuple[str, str | None]] = []

    @activity.defn(name="verify_access")
    def verify(question: AccessQuestion) -> AccessReport:
        served.append((question.access.customer, activity.info().priority.fairness_key))
        return AccessReport(principal="p", verified_at=datetime.now(UTC), checked_actions=1)

    async with assembly.lifecycles_worker(client, WorkerSettings(graceful_shutdown=timedelta(0))):
        for number in range(BURST):
            await plane.connect_account(_account("globex", number))
        await _until_queued(client, BURST)
        await plane.connect_account(_account("acme", 0))
        await _until_queued(client, BURST + 1)
        async with Worker(
            client,
            task_queue=queues.cloud_queue("aws"),
            activities=[verify],
            activity_executor=ThreadPoolExecutor(1),
            max_concurrent_activities=1,
        ):
            await _until_served(served, BURST + 1)

    assert sorted(served) == [("acme", "acme"), *[("globex", "globex")] * BURST]
    assert served.index(("acme", "acme")) < AMONG_THE_FIRST


def test_the_playground_serves_as_fairly_as_production() -> None:
    """Whatever makes a server fair stands in production's configuration and in that of the playground and the tests."""
    production = yaml.safe_load((ROOT / "deploy/temporal/dynamic-config.yaml").read_text("utf-8"))
    of_activities = {
        name: value["value"]
        for name, values in production.items()
        for value in values
        if name.startswith("matching.") and value.get("constraints", {}).get("taskType", "Activity") == "Activity"
    }

    assert of_activities == {
        name: yaml.safe_load(value)
        for name, _, value in (each.partition("=") for each in DYNAMIC_CONFIG)
        if name.startswith("matching.")
    }
    assert of_activities["matching.enableFairness"] is True
    assert of_activities["matching.numTaskqueueReadPartitions"] == 1
    assert of_activities["matching.numTaskqueueWritePartitions"] == 1


async def test_what_is_done_for_a_deployment_counts_for_its_customer(client: Client) -> None:
    """Operations and their activities inherit the customer from the deployment, also after it continued as new."""
    cloud, keys = ScriptedCloud(), []
    cloud.during("create_roles", lambda: keys.append(activity.info().priority.fairness_key))
    plane = ControlPlane(client, Actor(name="ada@vendor.example", door=Door.CLI))
    stage = Stage(client, cloud, "acme-prod")
    async with (
        assembly.lifecycles_worker(client, WorkerSettings(graceful_shutdown=timedelta(0))),
        Worker(
            client,
            task_queue=queues.cloud_queue("aws"),
            activities=cloud.activities(),
            activity_executor=ThreadPoolExecutor(10),
            max_concurrent_activities=10,
        ),
    ):
        await plane.connect_account(_account("acme", 0).model_copy(update={"name": "acme-aws"}))
        await plane.verify_account("acme-aws")
        await plane.order(deployment_state(stage.name).order)
        deployment = client.get_workflow_handle_for(Deployment.run, ids.deployment_id(stage.name))
        await stage.until_phase(deployment, DeploymentPhase.ACTIVE)
        await deployment.execute_update(Deployment.continue_as_new_now, ADA)
        await stage.until(deployment, lambda state: state.runs == 2)

        await plane.request(stage.name, OperationRequest(request_id="x", kind=OperationKind.PROVISION, actor=ADA))
        await stage.until(deployment, lambda state: len(state.past) == 2)

    assert keys == ["acme", "acme"]


def _account(customer: str, number: int) -> AccountSpec:
    return AccountSpec(
        name=f"{customer}-{number}",
        customer=customer,
        cloud=Cloud.AWS,
        cloud_account_id=f"{number:012d}",
        regions=("eu-west-1",),
    )


async def _until_queued(client: Client, number: int) -> None:
    """Wait until so many activities are in their queue, by its own count: what is only on its way has no turn yet."""
    question = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queues.cloud_queue("aws")),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        report_stats=True,
    )
    queued = 0
    for _ in range(600):
        described = await client.workflow_service.describe_task_queue(question)
        queued = described.stats.approximate_backlog_count
        if queued == number:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{queued} activities were queued instead of {number}")


async def _until_served(served: list[tuple[str, str | None]], number: int) -> None:
    for _ in range(1200):
        if len(served) >= number:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(served)} activities were served instead of {number}")
