"""What Temporal keeps when payloads are encrypted, and what happens while keys change or are missing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import Replayer

from domain.failure import FailureClass
from domain.operation import OperationPhase
from starters.key_usage import key_usage, payloads_in
from tests.encryption.conftest import Place, with_keys
from tests.secrets.search import Search
from tests.workflows.scenes import progress, until_waiting
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.assembly import WORKFLOWS
from workflows.temporal import key_ring
from workflows.temporal.connection import configured_plugin
from workflows.temporal.encryption import is_encrypted

MARKS = ("222222222222", "acme.db.example", "create_egress met", "Create the network", "bucket-1", "vpc-1")
"""From an order, a failure, a summary and two results."""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A key ring."""
    key_ring.make(tmp_path / "keys.json")
    return tmp_path / "keys.json"


@pytest.fixture
def cloud() -> ScriptedCloud:
    """A cloud with nothing scripted."""
    return ScriptedCloud()


async def raw_events(place: Place, handle: WorkflowHandle[Any, Any]) -> list[Any]:
    """Return a history's events as Temporal keeps them."""
    client = await place.client(None)
    return [event async for event in client.get_workflow_handle(handle.id).fetch_history_events()]


async def test_a_history_holds_nothing_readable_but_names_and_types(
    place: Place, keys: Path, cloud: ScriptedCloud
) -> None:
    """Orders, results, failures' messages and summaries are encrypted; a failure's type stays for Temporal to retry by.

    Read with the key ring, the same history has all of them: the search would find them.
    """
    cloud.fail("create_egress", FailureClass.PERMISSION, action="ec2:CreateNatGateway")
    async with place.worker(keys, cloud):
        stage = await place.stage(keys, cloud)
        handle = await stage.provision()
        outcome = await handle.result()

    kept = await raw_events(place, handle)
    codec = with_keys(keys).codec()
    assert codec is not None
    search = Search({mark: mark for mark in MARKS})
    opened = [str(await codec.decode([each])) for event in kept for each in payloads_in(event)]
    types = {
        event.activity_task_failed_event_attributes.failure.application_failure_info.type
        for event in kept
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
    }
    assert outcome.phase is OperationPhase.DONE
    assert search.found_in("the kept history", "\n".join(map(str, kept))) == []
    assert {found.mark for found in search.found_in("the opened history", "\n".join(opened))} == set(MARKS)
    assert [each for event in kept for each in payloads_in(event) if not is_encrypted(each)] == []
    assert types == {FailureClass.PERMISSION.value}


async def test_waits_are_named_from_encrypted_failures(place: Place, keys: Path, cloud: ScriptedCloud) -> None:
    """The missing permission in a failure's details is read by the step that waits for it."""
    cloud.refuse("create_egress", FailureClass.PERMISSION, action="ec2:CreateNatGateway")
    async with place.worker(keys, cloud):
        stage = await place.stage(keys, cloud)
        handle = await stage.provision()
        wait = await until_waiting(handle, "create_egress")
        cloud.allow("create_egress")
        outcome = await handle.result()

    assert (wait.failure, wait.action) == (FailureClass.PERMISSION, "ec2:CreateNatGateway")
    assert outcome.phase is OperationPhase.DONE


async def test_a_rotation_in_the_middle_of_an_operation_disturbs_nothing(
    place: Place, keys: Path, cloud: ScriptedCloud, followed_at_once: None
) -> None:
    """What began under one key goes on under the next, in the same worker; the history needs both, and replays."""
    cloud.refuse("create_egress", FailureClass.PERMISSION)
    first = key_ring.read(keys).first
    async with place.worker(keys, cloud):
        stage = await place.stage(keys, cloud)
        handle = await stage.provision()
        await until_waiting(handle, "create_egress")
        second = key_ring.rotate(keys, prepare=False).first
        cloud.allow("create_egress")
        outcome = await handle.result()

    usage = await key_usage(await place.client(None), key_ring.read(keys), limit=10)
    await Replayer(workflows=WORKFLOWS, plugins=[configured_plugin(with_keys(keys))]).replay_workflow(
        await handle.fetch_history()
    )
    assert outcome.phase is OperationPhase.DONE
    assert [(use.id, use.closed_workflows, use.known) for use in usage.keys] == [
        (second.id, 1, True),
        (first.id, 1, True),
    ]
    assert (usage.complete, usage.plain_workflows) == (True, 0)


async def test_a_worker_without_the_key_fails_no_workflow_and_goes_on_once_it_has_it(
    place: Place, keys: Path, cloud: ScriptedCloud, tmp_path: Path, followed_at_once: None
) -> None:
    """Its tasks fail, naming the key, and Temporal tries them again; the workflow never notices."""
    theirs = tmp_path / "theirs.json"
    key_ring.make(theirs)
    missing = key_ring.read(keys).first
    async with place.worker(theirs, cloud):
        stage = await place.stage(keys, cloud)
        handle = await stage.provision()
        failed = await _first_failed_task(place, handle)
        meanwhile = (await handle.describe()).status
        usage = await key_usage(await place.client(None), key_ring.read(theirs), limit=10)
        both = {"keys": [key for path in (keys, theirs) for key in json.loads(path.read_text())["keys"]]}
        for path in (keys, theirs):
            path.write_text(json.dumps(both))
        outcome = await handle.result()

    codec = with_keys(keys).codec()
    assert codec is not None
    (reason,) = await codec.decode([failed.failure.encoded_attributes])
    assert f"encrypted with key {missing.id}" in reason.data.decode()
    assert meanwhile is WorkflowExecutionStatus.RUNNING
    assert {use.id: use.known for use in usage.keys}[missing.id] is False
    assert outcome.phase is OperationPhase.DONE


async def test_activities_without_the_key_are_tried_again_until_their_worker_has_it(
    place: Place, keys: Path, cloud: ScriptedCloud, tmp_path: Path, followed_at_once: None
) -> None:
    """A cloud worker that cannot read an order fails attempts, which cost the history nothing, and no step."""
    theirs = tmp_path / "theirs.json"
    key_ring.make(theirs)
    async with place.worker(keys, cloud, cloud_keys=theirs):
        stage = await place.stage(keys, cloud)
        handle = await stage.provision()
        while not any(each.attempt > 1 for each in (await handle.describe()).raw_description.pending_activities):
            await asyncio.sleep(0.05)
        both = {"keys": [key for path in (keys, theirs) for key in json.loads(path.read_text())["keys"]]}
        for path in (keys, theirs):
            path.write_text(json.dumps(both))
        outcome = await handle.result()

    events = [event.event_type for event in await raw_events(place, handle)]
    assert outcome.phase is OperationPhase.DONE
    assert EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED not in events
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in events


async def _first_failed_task(place: Place, handle: WorkflowHandle[Any, Any]) -> Any:
    while True:
        for event in await raw_events(place, handle):
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return event.workflow_task_failed_event_attributes
        await asyncio.sleep(0.05)


async def test_what_was_begun_in_plain_goes_on_encrypted(place: Place, keys: Path, cloud: ScriptedCloud) -> None:
    """Switching encryption on needs no migration: old payloads are read as they are, new ones are encrypted."""
    cloud.refuse("create_egress", FailureClass.PERMISSION)
    stage = await place.stage(None, cloud)
    async with place.worker(None, cloud):
        handle = await stage.provision()
        await until_waiting(handle, "create_egress")
    cloud.allow("create_egress")
    async with place.worker(keys, cloud):
        with_the_ring = (await place.client(keys)).get_workflow_handle(handle.id)
        outcome = await progress(with_the_ring)
        while outcome.phase is not OperationPhase.DONE:
            await asyncio.sleep(0.05)
            outcome = await progress(with_the_ring)
        await with_the_ring.result()

    kept = [is_encrypted(each) for event in await raw_events(place, handle) for each in payloads_in(event)]
    # What lists workflows is some moments behind the truth.
    async with asyncio.timeout(30):
        usage = await key_usage(await place.client(None), key_ring.read(keys), limit=10)
        while not usage.keys[0].closed_workflows:
            await asyncio.sleep(0.1)
            usage = await key_usage(await place.client(None), key_ring.read(keys), limit=10)
    assert {True, False} <= set(kept)
    assert kept[0] is False
    assert (usage.plain_workflows, usage.keys[0].closed_workflows) == (1, 1)
