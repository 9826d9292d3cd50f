"""Hands off: what is under way ends, everything else parks, and all of it goes on by itself after the release."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from domain.account import AccountPhase, AccountStanding, Resident
from domain.failure import FailureClass, Party
from domain.operation import Choice, OperationKind, OperationPhase, OperationProgress, StepDecision, StepState
from domain.state import (
    AccountState,
    DeploymentPhase,
    DeploymentState,
    OperationAccepted,
    OperationOrder,
    OperationOutcome,
    OperationRequest,
)
from starters.client import ControlPlane, Refused
from tests.conftest import dynamic_config_arguments, executable
from tests.lifecycle_steps import activities_of, undos_of
from tests.workflows.orders import ADA, GRACE, account_state, deployment_order, operation_order
from tests.workflows.scenes import PATIENCE, Stage, progress, until_waiting
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.assembly import WORKFLOWS
from workers.liveness import SignsOfLife
from workflows import step_runner, steps
from workflows.account import Account, AccountRequest
from workflows.deployment import Deployment
from workflows.provision import Provision
from workflows.temporal import ids, queues, search_attributes
from workflows.temporal.plugin import plugin

HELD = AccountStanding(
    account="acme-aws", phase=AccountPhase.HELD, hold_reason="audit", by=GRACE, since=datetime(2026, 6, 1, tzinfo=UTC)
)
ACTIVE = AccountStanding(account="acme-aws", phase=AccountPhase.ACTIVE, since=datetime(2026, 6, 2, tzinfo=UTC))
PROVISIONING = sorted(activities_of("provision"))
PROBES_LATER = 1.0
"""Seconds in which an operation at the tests' pace would have probed three times."""


class Gate:
    """Keeps an activity under way until it is opened."""

    def __init__(self, stage: Stage, step: str) -> None:
        self._entered, self._open = threading.Event(), threading.Event()
        self._names = {stage.name, stage.account_name}
        stage.cloud.during(step, self._pass)

    def _pass(self) -> None:
        if self._names & set((activity.info().workflow_id or "").split("/")):
            self._entered.set()
            self._open.wait(30)

    async def reached(self) -> None:
        """Wait until the activity is under way."""
        assert await asyncio.to_thread(self._entered.wait, 30), "the step never began"

    def open(self) -> None:
        """Let the activity end."""
        self._open.set()


async def test_a_request_on_a_held_account_is_accepted_and_starts_after_the_release(stage: Stage) -> None:
    """It stays queued and says so, in the answer, to whoever looks, and in the list; the release starts it."""
    account, handle = await _active(stage)
    await _hold(stage, account, handle)

    accepted = await _converge(handle)

    state = await handle.query(Deployment.current_state)
    assert accepted.parked == f"The customer holds the account {stage.account_name}: audit"
    assert (state.running, [each.summary.operation_id for each in state.queue]) == (None, ["provision/2"])
    found = (await handle.describe()).typed_search_attributes
    assert found.get(search_attributes.WAITING_FOR) == Party.CUSTOMER
    await _release(account)
    state = await stage.until(handle, lambda state: len(state.past) == 2)
    assert (state.past[1].phase, state.is_held) == (OperationPhase.DONE, False)
    assert (await _converge(handle, "later")).parked == ""
    await stage.until(handle, lambda state: len(state.past) == 3)


async def test_a_step_under_way_ends_and_no_other_begins_until_the_release(stage: Stage) -> None:
    """The park is visible with who holds and why, from whom it waits, and with the one decision that is possible."""
    account = await stage.account()
    gate = Gate(stage, "create_cluster")
    handle = await stage.deployment(account=stage.account_name)
    await gate.reached()

    await _hold(stage, account, handle)
    gate.open()

    operation = await _running(stage, handle)
    seen = await _until_nothing_is_under_way(operation)
    (park,) = seen.waiting_for
    assert (seen.phase, park.party, park.failure) == (OperationPhase.WAITING, Party.CUSTOMER, FailureClass.HELD)
    assert park.missing == f"The customer holds the account {stage.account_name}: audit"
    assert (park.probe_at, park.choices) == (None, (Choice.ABORT,))
    states = {step.name: step.state for step in seen.steps}
    assert states["create_cluster"] is StepState.DONE
    assert "create_node_pool/store" not in states
    found = (await operation.describe()).typed_search_attributes
    assert found.get(search_attributes.WAITING_FOR) == Party.CUSTOMER

    await _release(account)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    assert _repeated(stage) == []
    assert (await progress(operation)).waiting_for == ()


async def test_nothing_is_called_while_it_is_parked(stage: Stage) -> None:
    """However long the hold lasts, the cloud hears nothing of the operation."""
    account = await stage.account()
    gate = Gate(stage, "create_network")
    handle = await stage.deployment(account=stage.account_name)
    await gate.reached()
    await _hold(stage, account, handle)
    gate.open()
    await _until_nothing_is_under_way(await _running(stage, handle))
    before = _calls(stage)

    await asyncio.sleep(PROBES_LATER)

    assert _calls(stage) == before
    await _release(account)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)


async def test_a_wait_is_not_probed_while_the_account_is_held(stage: Stage) -> None:
    """A permission that comes back during a hold is tried after the release, once, without anybody asking."""
    account = await stage.account()
    stage.cloud.refuse("create_egress", FailureClass.PERMISSION, action="ec2:CreateNatGateway")
    handle = await stage.deployment(account=stage.account_name)
    operation = await _running(stage, handle)
    await until_waiting(operation, "create_egress")
    await _hold(stage, account, handle)
    seen = await _until_nothing_is_under_way(operation)
    stage.cloud.allow("create_egress")
    tries = _calls(stage).count("create_egress")

    await asyncio.sleep(PROBES_LATER)

    assert _calls(stage).count("create_egress") == tries
    park, wait = seen.waiting_for
    assert (park.step, wait.step, wait.probe_at, wait.choices) == (
        step_runner.ACCOUNT,
        "create_egress",
        None,
        (Choice.ABORT,),
    )
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await operation.execute_update("decide", StepDecision(choice=Choice.RETRY, actor=ADA))
    assert "while the customer holds the account" in str(refused.value.cause)
    await _release(account)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    assert _calls(stage).count("create_egress") == tries + 1


async def test_an_abort_during_a_hold_takes_nothing_back_before_the_release(stage: Stage) -> None:
    """Aborted while parked it unwinds, parks again before its first undo, and takes all of it back once released."""
    account = await stage.account()
    stage.cloud.refuse("install_component", FailureClass.CONFIG)
    handle = await stage.deployment(account=stage.account_name)
    operation = await _running(stage, handle)
    await until_waiting(operation, "install_component/store")
    await _hold(stage, account, handle)
    await _until_nothing_is_under_way(operation)

    await operation.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    seen = await _until_phase(operation, OperationPhase.UNDOING)
    assert [wait.choices for wait in seen.waiting_for if wait.step == step_runner.ACCOUNT] == [()]
    await asyncio.sleep(PROBES_LATER)
    assert _deletions(stage) == []
    await _release(account)
    assert (await handle.result()).phase is DeploymentPhase.ABORTED
    assert set(_deletions(stage)) == {undo.name for undo in undos_of("provision")} - {steps.DELETE_ALARMS.name}
    assert _repeated(stage, "delete_") == []


async def test_a_hold_during_a_retirement_stops_after_the_deletion_under_way(stage: Stage) -> None:
    """One deletion ends, the next begins after the release, and none runs twice."""
    account, handle = await _active(stage)
    gate = Gate(stage, "delete_cluster")
    await handle.execute_update(
        Deployment.request, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)
    )
    await gate.reached()

    await _hold(stage, account, handle)
    gate.open()

    await _until_nothing_is_under_way(await _running(stage, handle))
    assert _deletions(stage)[-1] == "delete_cluster"
    await _release(account)
    assert (await handle.result()).phase is DeploymentPhase.RETIRED
    assert _repeated(stage, "delete_") == []


async def test_a_retirement_that_is_held_before_its_first_deletion_may_be_aborted(stage: Stage) -> None:
    """Nothing was deleted, so the deployment stays what it was."""
    gate = Gate(stage, "lock_backup")
    account, handle = await _active(stage)
    await handle.execute_update(
        Deployment.request, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)
    )
    await gate.reached()
    await _hold(stage, account, handle)
    gate.open()
    operation = await _running(stage, handle)
    await _until_nothing_is_under_way(operation)

    await operation.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))

    state = await stage.until(handle, lambda state: len(state.past) == 2)
    assert (state.phase, state.past[1].phase) == (DeploymentPhase.ACTIVE, OperationPhase.ABORTED)
    assert _deletions(stage) == []


@pytest.mark.parametrize("step", PROVISIONING)
async def test_a_hold_in_any_step_loses_nothing_and_repeats_nothing(stage: Stage, step: str) -> None:
    """Held from inside a step and released again, the operation has run each step exactly once."""
    gate = Gate(stage, step)
    operation = await stage.provision()
    await gate.reached()

    await operation.signal("account_changed", HELD)
    await until_waiting(operation, step_runner.ACCOUNT)
    gate.open()
    await _until_nothing_is_under_way(operation)
    with contextlib.suppress(RPCError):  # it has ended, if the step was the last one
        await operation.signal("account_changed", ACTIVE)

    assert (await operation.result()).phase is OperationPhase.DONE
    assert _repeated(stage) == []


async def test_a_hold_while_an_unknown_failure_is_tried_again_parks_the_third_try(stage: Stage) -> None:
    """The pause between tries is no reason to try in a held account."""
    stage.cloud.fail("create_roles", FailureClass.UNKNOWN)
    operation = await stage.provision()
    await _until_called(stage, "create_roles")
    await operation.signal("account_changed", HELD)
    await _until_step(operation, "create_roles", StepState.WAITING)

    assert _calls(stage).count("create_roles") == 1
    await operation.signal("account_changed", ACTIVE)
    assert (await operation.result()).phase is OperationPhase.DONE
    assert _calls(stage).count("create_roles") == 2


async def test_a_hold_that_is_released_and_placed_again_parks_again(stage: Stage) -> None:
    """Each change is told in order; what counts is the last one."""
    account, handle = await _active(stage)
    await _hold(stage, account, handle)
    await _release(account)
    await account.execute_update(Account.hold, AccountRequest(actor=GRACE, reason="second audit"))

    await stage.until(handle, lambda state: state.standing is not None and state.standing.hold_reason == "second audit")

    assert "second audit" in (await _converge(handle)).parked
    await _release(account)
    await stage.until(handle, lambda state: len(state.past) == 2)


async def test_a_release_waits_for_the_verification_before_anything_goes_on(stage: Stage) -> None:
    """Until it is seen what is granted, the deployment stays parked and says that it is so."""
    account, handle = await _active(stage)
    await _hold(stage, account, handle)
    gate = Gate(stage, "verify_access")
    await _converge(handle)

    await _release(account)
    await gate.reached()

    state = await stage.until(handle, lambda state: state.standing is not None and not state.standing.verified)
    assert (state.is_held, state.running) == (True, None)
    gate.open()
    state = await stage.until(handle, lambda state: len(state.past) == 2)
    assert state.standing is not None
    assert state.standing.phase is AccountPhase.ACTIVE


async def test_a_fresh_run_of_the_deployment_keeps_the_hold(stage: Stage) -> None:
    """Continued as new while its operation is parked, it still passes the release on to it."""
    account = await stage.account()
    gate = Gate(stage, "create_cluster")
    handle = await stage.deployment(account=stage.account_name)
    await gate.reached()
    await _hold(stage, account, handle)
    gate.open()
    await _until_nothing_is_under_way(await _running(stage, handle))

    await handle.execute_update("continue_as_new_now", ADA)
    state = await stage.until(handle, lambda state: state.runs == 2)

    assert state.is_held
    await _release(account)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    assert _repeated(stage) == []
    assert (await account.query(Account.current_state)).deployments == (stage.name,)


async def test_a_hold_placed_around_a_fresh_run_of_the_deployment_reaches_its_operation(stage: Stage) -> None:
    """The operation that outlived the run is told by the next one."""
    account = await stage.account()
    gate = Gate(stage, "create_cluster")
    handle = await stage.deployment(account=stage.account_name)
    await gate.reached()

    asked = await handle.start_update("continue_as_new_now", ADA, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    await account.execute_update(Account.hold, AccountRequest(actor=GRACE, reason="audit"))
    await asked.result()
    await stage.until(handle, lambda state: state.runs == 2)
    operation = await _running(stage, handle)
    await until_waiting(operation, step_runner.ACCOUNT)
    gate.open()

    await _until_nothing_is_under_way(operation)
    await _release(account)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    assert _repeated(stage) == []


async def test_fresh_runs_of_account_and_deployment_keep_every_hold() -> None:
    """With histories so short that both continue as new all the time, holds and releases still reach everything."""
    async with _short_histories() as stage:
        account = await stage.account()
        gate = Gate(stage, "create_cluster")
        handle = await stage.deployment(account=stage.account_name)
        await gate.reached()
        await _hold(stage, account, handle)
        gate.open()
        await _until_nothing_is_under_way(await _running(stage, handle))
        for _ in range(4):
            await account.execute_update(Account.verify, AccountRequest(actor=ADA))
        await stage.until_account(account, lambda state: state.runs > 1)
        before = _calls(stage)

        state = await handle.query(Deployment.current_state)
        assert state.is_held
        assert _calls(stage) == before
        await _release(account)
        await stage.until_phase(handle, DeploymentPhase.ACTIVE)
        assert _repeated(stage) == []
        known = await stage.until_account(account, lambda state: state.phase is AccountPhase.ACTIVE)
        assert known.deployments == (stage.name,)


async def test_a_deployment_that_starts_in_a_held_account_parks_as_soon_as_it_has_joined(stage: Stage) -> None:
    """A hold that the order did not know of is learnt from the account's answer; every step runs once in the end."""
    account = await stage.account()
    await account.execute_update(Account.hold, AccountRequest(actor=GRACE, reason="audit"))

    handle = await stage.deployment(account=stage.account_name)

    state = await stage.until(handle, lambda state: state.is_held)
    assert state.standing is not None
    assert (state.standing.hold_reason, state.standing.by) == ("audit", GRACE)
    await _release(account)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    assert _repeated(stage) == []


async def test_an_order_in_a_held_account_is_accepted_and_makes_nothing_until_the_release(stage: Stage) -> None:
    """The customer's hold is no reason to order again later."""
    account = await stage.account()
    plane = ControlPlane(stage.client, ADA)
    await plane.hold_account(stage.account_name, "audit")

    state = await plane.order(deployment_order(stage.name, account=stage.account_name))

    assert (state.phase, state.is_held) == (DeploymentPhase.ORDERED, True)
    await stage.until_account(account, lambda state: state.deployments == (stage.name,))
    assert "check_permissions" not in _calls(stage)
    await plane.release_account(stage.account_name)
    handle = stage.client.get_workflow_handle(ids.deployment_id(stage.name))
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)


async def test_a_deployment_without_an_account_is_nobodys_prisoner(stage: Stage) -> None:
    """An account whose workflow is gone is no reason to fail, or to park."""
    handle = await stage.deployment(account=stage.account_name)

    state = await stage.until_phase(handle, DeploymentPhase.ACTIVE)

    assert state.standing is not None
    assert (state.standing.phase, state.is_held) == (AccountPhase.REVOKED, False)


async def test_an_account_in_which_deployments_live_cannot_be_revoked(stage: Stage) -> None:
    """The account itself refuses and names them; when the last one has left it agrees."""
    account, handle = await _active(stage)

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await account.execute_update(Account.revoke, AccountRequest(actor=ADA))

    assert f"deployments live in the account: {stage.name};" in str(refused.value.cause)
    await handle.execute_update(
        Deployment.request, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)
    )
    await handle.result()
    await stage.until_account(account, lambda state: state.deployments == ())
    await account.execute_update(Account.revoke, AccountRequest(actor=ADA))
    assert (await account.result()).phase is AccountPhase.REVOKED


async def test_a_terminated_deployment_is_forgotten_when_a_verification_is_asked_for(stage: Stage) -> None:
    """What does not listen any more does not keep the account."""
    account, handle = await _active(stage)
    await handle.terminate("by mistake")

    state = await account.execute_update(Account.verify, AccountRequest(actor=ADA))

    assert state.deployments == ()


async def test_an_account_with_many_deployments_tells_each_change_once(stage: Stage) -> None:
    """More deployments than are told at once all hear of a change, by one signal each."""
    account = await stage.account()
    await account.execute_update(Account.hold, AccountRequest(actor=GRACE, reason="audit"))
    plane = ControlPlane(stage.client, ADA, timedelta(minutes=1))
    names = [f"{stage.name}n{number}" for number in range(55)]
    for some in (names[first : first + 10] for first in range(0, len(names), 10)):
        await asyncio.gather(*(plane.order(deployment_order(name, account=stage.account_name)) for name in some))
    handles = [stage.client.get_workflow_handle(ids.deployment_id(name)) for name in names]
    for _ in range(PATIENCE):
        if (before := await _signals_sent(account)) == len(names):
            break
        await asyncio.sleep(0.02)

    await account.execute_update(Account.verify, AccountRequest(actor=ADA))

    assert await _signals_sent(account) - before == len(names)
    states = await asyncio.gather(*(handle.query(Deployment.current_state) for handle in handles))
    assert all(state.is_held for state in states)
    await asyncio.gather(*(handle.terminate("the test is over") for handle in handles))


async def test_an_order_says_what_is_missing_in_a_suspended_account(stage: Stage) -> None:
    """Nothing starts, and the refusal has the cloud's own words."""
    account = await stage.account()
    stage.cloud.refuse("verify_access", FailureClass.AUTH)
    await account.execute_update(Account.verify, AccountRequest(actor=ADA))

    with pytest.raises(Refused, match=r"is suspended: we cannot enter it \(verify_access met AuthenticationRefused\)"):
        await ControlPlane(stage.client, ADA).order(deployment_order(stage.name, account=stage.account_name))


async def _active(stage: Stage) -> tuple[WorkflowHandle[Any, AccountState], WorkflowHandle[Any, DeploymentState]]:
    """Return an active account and the active deployment that lives in it."""
    account = await stage.account()
    handle = await stage.deployment(account=stage.account_name)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    return account, handle


async def _hold(stage: Stage, account: WorkflowHandle[Any, Any], deployment: WorkflowHandle[Any, Any]) -> None:
    """Hold the account, and return when the deployment (and its operation) knows."""
    await account.execute_update(Account.hold, AccountRequest(actor=GRACE, reason="audit"))
    state = await stage.until(deployment, lambda state: state.is_held)
    if state.running is not None:
        await until_waiting(stage.client.get_workflow_handle(state.running.summary.workflow_id), step_runner.ACCOUNT)


async def _release(account: WorkflowHandle[Any, Any]) -> None:
    await account.execute_update(Account.release, AccountRequest(actor=GRACE))


async def _converge(handle: WorkflowHandle[Any, Any], request_id: str = "again") -> OperationAccepted:
    request = OperationRequest(request_id=request_id, kind=OperationKind.PROVISION, actor=ADA)
    return await handle.execute_update(Deployment.request, request)


async def _running(stage: Stage, handle: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
    state = await stage.until(handle, lambda state: state.running is not None)
    assert state.running is not None
    return stage.client.get_workflow_handle(state.running.summary.workflow_id)


async def _until_nothing_is_under_way(operation: WorkflowHandle[Any, Any]) -> OperationProgress:
    """Return the progress of an operation that knows of the hold, once no step of it runs."""
    for _ in range(PATIENCE):
        seen = await progress(operation)
        if all(step.state is not StepState.RUNNING for step in seen.steps):
            return seen
        await asyncio.sleep(0.02)
    raise AssertionError(f"steps stay under way: {seen.steps}")


async def _until_phase(operation: WorkflowHandle[Any, Any], phase: OperationPhase) -> OperationProgress:
    for _ in range(PATIENCE):
        seen = await progress(operation)
        if seen.phase is phase:
            return seen
        await asyncio.sleep(0.02)
    raise AssertionError(f"the operation stayed {seen.phase}")


async def _until_step(operation: WorkflowHandle[Any, Any], name: str, state: StepState) -> None:
    for _ in range(PATIENCE):
        if any(step.name == name and step.state is state for step in (await progress(operation)).steps):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} was never {state}")


async def _until_called(stage: Stage, name: str) -> None:
    for _ in range(PATIENCE):
        if name in _calls(stage):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} was not called")


async def _signals_sent(handle: WorkflowHandle[Any, Any]) -> int:
    history = await handle.fetch_history()
    return sum(
        event.HasField("signal_external_workflow_execution_initiated_event_attributes") for event in history.events
    )


def _calls(stage: Stage) -> list[str]:
    return stage.cloud.calls_for(stage.name)


def _deletions(stage: Stage) -> list[str]:
    return [name for name in _calls(stage) if name.startswith("delete_")]


def _repeated(stage: Stage, beginning: str = "") -> list[str]:
    """Return which activities of operations did not run exactly once for each thing that they are about."""
    things = {"create_node_pool": 2, "install_component": 5, "install_add_on": 6}
    counted = Counter(name for name in _calls(stage) if name.startswith(beginning))
    return [name for name, times in counted.items() if times != things.get(name, 1)]


@asynccontextmanager
async def _short_histories() -> AsyncIterator[Stage]:
    """A server that suggests to continue as new after very few events, with workers of its own."""
    cloud = ScriptedCloud()
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable("temporal"),
        dev_server_extra_args=[
            *dynamic_config_arguments(),
            "--dynamic-config-value",
            "limit.historyCount.suggestContinueAsNew=40",
        ],
        dev_server_log_level="error",
        search_attributes=search_attributes.ALL,
        plugins=[plugin()],
    ) as environment:
        lifecycles = Worker(environment.client, task_queue=queues.LIFECYCLES, workflows=WORKFLOWS)
        acting = Worker(
            environment.client,
            task_queue=queues.cloud_queue("aws"),
            activities=cloud.activities(),
            activity_executor=ThreadPoolExecutor(20),
            max_concurrent_activities=20,
            interceptors=[SignsOfLife()],
        )
        async with lifecycles, acting:
            yield Stage(environment.client, cloud, "short")


@workflow.defn(name="Account", sandboxed=False)
class DeafAccount(Account):
    """An account as a worker of an earlier version ran it: nobody joins."""

    @workflow.init
    def __init__(self, state: AccountState) -> None:
        super().__init__(state)

    @workflow.run
    async def run(self, state: AccountState) -> AccountState:
        """Run as before."""
        return await Account.run(self, state)

    @workflow.signal
    def deployment_joined(self, resident: Resident) -> None:
        """Take no notice."""


@workflow.defn(name="Provision", sandboxed=False)
class DeafProvision(Provision):
    """A provisioning as a worker of an earlier version ran it: nobody holds it."""

    @workflow.init
    def __init__(self, order: OperationOrder) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OperationOrder) -> OperationOutcome:
        """Run as before."""
        return await Provision.run(self, order)

    @workflow.signal
    def account_changed(self, standing: AccountStanding) -> None:
        """Take no notice."""


@pytest.mark.parametrize("deaf", [DeafAccount, DeafProvision])
async def test_what_an_older_worker_took_no_notice_of_replays(stage: Stage, deaf: Any) -> None:
    """A signal that went unheeded while versions were mixed changes nothing when today's code replays it."""
    queue = f"deaf-{stage.name}"
    is_account = deaf is DeafAccount
    argument = account_state(stage.account_name) if is_account else operation_order(stage.name)
    workflow_id = ids.account_id(stage.account_name) if is_account else f"deployment/{stage.name}/provision/1"
    stage.cloud.refuse("create_egress", FailureClass.CONFIG)
    async with Worker(stage.client, task_queue=queue, workflows=[deaf]):
        handle = await stage.client.start_workflow(deaf.run, argument, id=workflow_id, task_queue=queue)
        if is_account:
            await stage.until_account(handle, lambda state: state.phase is AccountPhase.ACTIVE)
            await handle.signal("deployment_joined", Resident(deployment=stage.name))
            await handle.execute_update("verify", AccountRequest(actor=ADA))
        else:
            await until_waiting(handle, "create_egress")
            await handle.signal("account_changed", HELD)
            stage.cloud.allow("create_egress")
            await handle.execute_update("decide", StepDecision(choice=Choice.RETRY, actor=ADA))
            await handle.result()
        history = await handle.fetch_history()
        if is_account:
            await handle.terminate("the test is over")

    await Replayer(workflows=WORKFLOWS, plugins=[plugin()]).replay_workflow(history)
