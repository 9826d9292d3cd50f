"""Deeds travel with answers, failures and heartbeats, on a real server, and no workflow sees them."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHistory
from temporalio.common import RetryPolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DefaultFailureConverterWithEncodedAttributes, PayloadCodec
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import deeds
from activities.failures import not_ready, refused
from domain.audit import Resource
from domain.failure import FailureClass
from starters.history.payloads import Payloads, Trouble, Value
from workers.deeds import RecordedDeeds
from workers.liveness import SignsOfLife

LIVENESS = timedelta(seconds=3)
"""Heartbeats come at a third of it."""


def note(operation: str) -> None:
    """Do something to `thing-1`, so to speak."""
    deeds.begin("ec2", operation, (Resource(kind="ec2:thing", id="thing-1"),)).answered()


class Acts:
    """Activities that change something."""

    @activity.defn
    def make_slowly(self) -> None:
        """Three attempts: one with a heartbeat in its middle, one without any, one that ends well; no answer."""
        attempt = activity.info().attempt
        note(f"first of {attempt}")
        if attempt == 1:
            time.sleep(2 * LIVENESS.total_seconds() / 3)
        if attempt < 3:
            note(f"last of {attempt}")
            raise not_ready("not yet", look_again_in=timedelta(milliseconds=10))

    @activity.defn
    def make_patiently(self) -> None:
        """Two attempts; the first lives for some heartbeats after its deed."""
        note(f"deed of {activity.info().attempt}")
        if activity.info().attempt == 1:
            time.sleep(0.8 * LIVENESS.total_seconds())
            raise not_ready("not yet", look_again_in=timedelta(milliseconds=10))

    @activity.defn
    def make_late(self) -> None:
        """Two attempts; nobody hears of the first one before it is taken for dead, and it ends during the second."""
        note(f"deed of {activity.info().attempt}")
        if activity.info().attempt == 1:
            time.sleep(1.5 * LIVENESS.total_seconds())
            return
        for _ in range(8):
            time.sleep(LIVENESS.total_seconds() / 4)
            activity.heartbeat()

    @activity.defn
    def make_in_vain(self) -> None:
        """Three attempts; the first is taken for dead within its call, which is answered after the third ended."""
        attempt = activity.info().attempt
        begun = deeds.begin("ec2", f"deed of {attempt}")
        if attempt == 1:
            time.sleep(2 * LIVENESS.total_seconds())
        begun.answered()
        if attempt == 2:
            raise not_ready("not yet", look_again_in=timedelta(milliseconds=10))

    @activity.defn
    def be_refused(self) -> str:
        """One deed, then a refusal that nobody tries again."""
        note("half of it")
        raise refused(FailureClass.PERMISSION, "the other half is not allowed")

    @activity.defn
    def look(self) -> str:
        """Change nothing."""
        return "seen"


@workflow.defn
class Acting:
    """Run one activity and return what it answers, or its refusal."""

    @workflow.run
    async def run(self, name: str) -> object:
        """Run it."""
        try:
            return await workflow.execute_activity(
                name,
                start_to_close_timeout=timedelta(seconds=20),
                heartbeat_timeout=LIVENESS,
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
            )
        except ActivityError as error:
            cause = error.cause
            return cause.details[0] if isinstance(cause, ApplicationError) else None


class Backwards(PayloadCodec):
    """Stands for encryption: nothing of a payload can be read without it, its metadata included."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Write each payload backwards."""
        return [
            Payload(metadata={"encoding": b"binary/backwards"}, data=each.SerializeToString()[::-1])
            for each in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Read it."""
        return [
            Payload.FromString(each.data[::-1]) if each.metadata["encoding"] == b"binary/backwards" else each
            for each in payloads
        ]


@pytest.fixture(params=["plain", "encoded"])
def speaking(client: Client, request: pytest.FixtureRequest) -> Client:
    """A client whose payloads are plain, and one whose payloads and failures are encoded."""
    if request.param == "plain":
        return client
    converter = dataclasses.replace(
        pydantic_data_converter,
        payload_codec=Backwards(),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    return Client(client.service_client, namespace=client.namespace, data_converter=converter)


async def played(
    client: Client, name: str, *, recorded: RecordedDeeds | None = None, lively: bool = True
) -> tuple[object, WorkflowHistory]:
    """Return what the workflow saw, and its history."""
    queue = f"deeds-{uuid4().hex[:8]}"
    acts = Acts()
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[Acting],
        activities=[
            acts.make_slowly,
            acts.make_patiently,
            acts.make_late,
            acts.make_in_vain,
            acts.be_refused,
            acts.look,
        ],
        activity_executor=ThreadPoolExecutor(2),
        max_concurrent_activities=2,
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[*([SignsOfLife()] if lively else []), recorded or RecordedDeeds()],
    )
    async with worker:
        handle = await client.start_workflow(Acting.run, name, id=queue, task_queue=queue)
        answer = await asyncio.wait_for(handle.result(), 60)
        return answer, await handle.fetch_history()


async def answered(client: Client, history: WorkflowHistory) -> Value:
    """Return the activity's answer as the trail reads it."""
    (event,) = [each for each in history.events if each.HasField("activity_task_completed_event_attributes")]
    return await Payloads(client.data_converter).first(event.activity_task_completed_event_attributes.result.payloads)


async def test_an_answer_carries_the_deeds_of_every_attempt(speaking: Client) -> None:
    """Also those of attempts of which Temporal keeps nothing else, whether or not a heartbeat came between."""
    answer, history = await played(speaking, "make_slowly")
    value = await answered(speaking, history)

    assert answer is None
    assert value.data is None
    assert [deed.operation for deed in value.deeds] == [
        "first of 1", "last of 1", "first of 2", "last of 2", "first of 3",
    ]  # fmt: skip
    assert {str(resource) for deed in value.deeds for resource in deed.resources} == {"ec2:thing thing-1"}


async def test_another_worker_learns_of_earlier_deeds_by_heartbeat(speaking: Client) -> None:
    """A worker that remembers nothing, as one that has just started, still tells what the attempt before it did."""
    _, history = await played(speaking, "make_patiently", recorded=RecordedDeeds(remembered=0))
    value = await answered(speaking, history)

    assert [deed.operation for deed in value.deeds] == ["deed of 1", "deed of 2"]


async def test_an_attempt_that_was_taken_for_dead_is_told_by_the_next_one(client: Client) -> None:
    """Its own end is heard by nobody, for the next attempt is under way by then."""
    _, history = await played(client, "make_late", lively=False)
    value = await answered(client, history)

    assert [deed.operation for deed in value.deeds] == ["deed of 1", "deed of 2"]


async def test_a_call_under_way_in_an_attempt_that_was_taken_for_dead_is_told(client: Client) -> None:
    """However many attempts end before its answer comes: whether it had its effect is not known to them."""
    _, history = await played(client, "make_in_vain", lively=False)
    value = await answered(client, history)

    assert [(deed.operation, deed.answered) for deed in value.deeds] == [
        ("deed of 1", False), ("deed of 2", True), ("deed of 3", True),
    ]  # fmt: skip


async def test_a_refusal_carries_what_was_done_before_it(speaking: Client) -> None:
    """The workflow reads the failure's detail as ever; the deeds are behind it."""
    detail, history = await played(speaking, "be_refused")
    (event,) = [each for each in history.events if each.HasField("activity_task_failed_event_attributes")]
    trouble: Trouble = await Payloads(speaking.data_converter).trouble(
        event.activity_task_failed_event_attributes.failure
    )

    assert isinstance(detail, dict)
    assert detail["message"] == "the other half is not allowed"
    assert trouble.detail.failure is FailureClass.PERMISSION
    assert [deed.operation for deed in trouble.deeds] == ["half of it"]


async def test_an_activity_that_changes_nothing_is_as_it_was(client: Client) -> None:
    """Its answer's payload has nothing beside the answer."""
    answer, history = await played(client, "look")
    (event,) = [each for each in history.events if each.HasField("activity_task_completed_event_attributes")]
    (payload,) = event.activity_task_completed_event_attributes.result.payloads

    assert answer == "seen"
    assert set(payload.metadata) == {"encoding"}
