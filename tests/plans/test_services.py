"""Plans for workflows: what the worker of the queue `services` answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.contracts import PlanningContract, PlanQuestion
from domain.failure import FailureClass
from domain.operation import OperationKind
from domain.plan import Plan
from tests.conftest import dynamic_config_arguments, executable
from tests.plans.orders import FACTS, question
from workers.assembly import declared_needs, services_worker
from workers.rehearsal.planning import Planner
from workers.settings import WorkerSettings
from workflows.temporal import queues
from workflows.temporal.plugin import plugin


@workflow.defn(sandboxed=False)
class Asks:
    """A workflow that wants a plan, as an operation does which waits for an approval."""

    @workflow.run
    async def run(self, asked: PlanQuestion) -> Plan:
        """Ask once."""
        return await workflow.execute_activity_method(
            PlanningContract.make_plan,
            asked,
            task_queue=queues.SERVICES,
            start_to_close_timeout=timedelta(minutes=2),
            heartbeat_timeout=timedelta(seconds=5),
        )


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    """A client of a server of their own: on the shared one others may answer on the queue `services`."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable("temporal"),
        dev_server_extra_args=dynamic_config_arguments(),
        dev_server_log_level="error",
        plugins=[plugin()],
    ) as environment:
        yield environment.client


async def test_workflows_get_the_plan_that_the_command_line_prints(client: Client) -> None:
    """Two that ask at once are answered one after the other, each with its own plan, while the worker shows life."""
    settings = WorkerSettings()
    asked = [question(), question(OperationKind.RETIRE)]

    async with services_worker(client, settings), Worker(client, task_queue="asking", workflows=[Asks]):
        plans = await asyncio.gather(
            *(client.execute_workflow(Asks.run, each, id=f"asks/{each.kind}", task_queue="asking") for each in asked)
        )

    expected = [await Planner(settings, declared_needs).plan(each) for each in asked]
    assert [plan.hash for plan in plans] == [plan.hash for plan in expected]


async def test_a_plan_that_cannot_be_made_is_an_operators_to_solve(client: Client) -> None:
    """The failure has a class and one sentence, and is not tried for ever."""
    asked = question(OperationKind.RECONFIGURE, facts=FACTS.model_copy(update={"cluster": None}))

    async with services_worker(client, WorkerSettings()), Worker(client, task_queue="asking", workflows=[Asks]):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Asks.run, asked, id="asks/nothing", task_queue="asking")

    assert isinstance(caught.value.cause, ActivityError)
    cause = caught.value.cause.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == FailureClass.CONFIG
    assert cause.message == "the operation would end aborted: there is no cluster"
