"""Provisioning: its logic, against a scripted cloud."""

from __future__ import annotations

import asyncio
import inspect
import re

import pytest

from domain.failure import FailureClass, Party
from domain.operation import Choice, OperationPhase, StepDecision, StepState
from tests.lifecycle_steps import steps_of
from tests.workflows.orders import ADA
from tests.workflows.scenes import PATIENCE, Stage, progress, until_waiting
from workflows import steps
from workflows.provision import Provision


async def test_provisioning_runs_every_step_and_learns_the_facts(stage: Stage) -> None:
    """A provisioning that meets no trouble ends done, with every fact known and every step recorded as done."""
    handle = await stage.provision()

    outcome = await handle.result()

    assert outcome.phase is OperationPhase.DONE
    assert outcome.facts.model_dump(exclude_none=True).keys() == outcome.facts.model_dump().keys()
    seen = await progress(handle)
    assert {record.state for record in seen.steps} == {StepState.DONE}


async def test_docstring_and_history_tell_one_story(stage: Stage) -> None:
    """Every numbered line of the docstring is what the recorded steps are called, and no step is missing from it."""
    handle = await stage.provision()
    await handle.result()

    seen = await progress(handle)

    story = re.findall(r"^\s*\d+\. (.+)$", inspect.getdoc(Provision) or "", re.MULTILINE)
    told = {name for line in story for name in _expanded(line)}
    assert {record.summary for record in seen.steps} == told


def _expanded(line: str) -> list[str]:
    """Read `Install the dns, storage and metrics add-ons` as three steps."""
    many = re.fullmatch(r"(Install|Create) the ((?:\w+, )*\w+ and \w+)( add-ons| node pools| components)", line)
    if not many:
        return [line]
    names = re.split(r", | and ", many[2])
    suffix = many[3].rstrip("s")
    return [f"{many[1]} the {name}{suffix}" for name in names]


async def test_missing_permission_is_waited_for_and_goes_on_by_itself(stage: Stage) -> None:
    """A missing permission makes the customer be waited for, named with its action, until it is granted."""
    stage.cloud.refuse("create_egress", FailureClass.PERMISSION, action="ec2:CreateNatGateway")
    handle = await stage.provision()

    wait = await until_waiting(handle)
    assert wait.party is Party.CUSTOMER
    assert wait.action == "ec2:CreateNatGateway"
    assert set(wait.choices) == {Choice.RETRY, Choice.ABORT}
    stage.cloud.allow("create_egress")

    outcome = await handle.result()
    assert outcome.phase is OperationPhase.DONE
    assert (await progress(handle)).waiting_for == ()


async def test_a_wait_holds_up_only_what_depends_on_it(stage: Stage) -> None:
    """While the certificate waits, the cluster and the server are made all the same."""
    stage.cloud.refuse("create_certificate", FailureClass.QUOTA)
    handle = await stage.provision()

    await _until_called(stage, "install_component", 5)

    assert "open_endpoint" not in stage.cloud.calls
    stage.cloud.allow("create_certificate")
    assert (await handle.result()).phase is OperationPhase.DONE


@pytest.mark.parametrize("failure", [FailureClass.CONFIG, FailureClass.CAPACITY, FailureClass.NOT_OURS])
async def test_no_failure_ends_the_operation(stage: Stage, failure: FailureClass) -> None:
    """Whatever the cloud answers, the operation waits and a retry goes on."""
    stage.cloud.fail("create_cluster", failure)
    handle = await stage.provision()

    assert (await until_waiting(handle)).failure is failure

    assert (await handle.result()).phase is OperationPhase.DONE


async def test_skip_is_offered_only_where_the_server_lives_without_the_step(stage: Stage) -> None:
    """A smoke test may be skipped; a cluster may not."""
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    handle = await stage.provision()
    assert Choice.SKIP not in (await until_waiting(handle)).choices
    skip = StepDecision(choice=Choice.SKIP, actor=ADA)
    with pytest.raises(Exception, match="Workflow update failed"):
        await handle.execute_update("decide", skip)
    stage.cloud.refuse("smoke_test", FailureClass.CONFIG)
    stage.cloud.allow("create_cluster")

    await until_waiting(handle, "smoke_test")
    await handle.execute_update("decide", skip)

    outcome = await handle.result()
    assert outcome.facts.smoke_test is None
    assert [record.name for record in (await progress(handle)).steps if record.state is StepState.SKIPPED] == [
        "smoke_test"
    ]


async def test_abort_takes_everything_back_newest_first(stage: Stage) -> None:
    """An abort undoes each thing that was begun, in the reverse order, and only once."""
    stage.cloud.refuse("install_component", FailureClass.CONFIG)
    handle = await stage.provision()
    await until_waiting(handle)

    await handle.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    outcome = await handle.result()
    assert outcome.phase is OperationPhase.ABORTED
    undone = [name for name in stage.cloud.calls if name.startswith("delete_")]
    assert undone[:4] == [
        "delete_workloads",
        "delete_node_pools",
        "delete_private_endpoints",
        "delete_egress",
    ]
    assert undone.index("delete_cluster") < undone.index("delete_firewall") < undone.index("delete_network")
    assert len(undone) == len(set(undone))


@pytest.mark.parametrize("step", [step.name for step in steps_of("provision") if step.undo])
@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_abort_during_a_step_takes_that_step_back(stage: Stage, step: str, how: str) -> None:
    """Aborted (or cancelled) while a step's activity runs, the operation waits for its end and then undoes it."""
    begun, ended = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        import time

        loop.call_soon_threadsafe(begun.set)
        try:
            time.sleep(0.3)
        finally:
            ended.append(len(stage.cloud.calls))

    stage.cloud.during(step, work)
    handle = await stage.provision()
    await begun.wait()

    if how == "abort":
        await handle.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))
    else:
        await handle.cancel()

    outcome = await handle.result()
    assert outcome.phase is OperationPhase.ABORTED
    undo = next(each for each in steps.ALL if each.name == step).undo[0].name
    assert stage.cloud.calls.index(undo) >= max(ended)


async def _until_called(stage: Stage, name: str, times: int) -> None:
    for _ in range(PATIENCE):
        if stage.cloud.calls.count(name) >= times:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} was not called {times} times")
