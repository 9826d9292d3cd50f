"""An upgrade, stage after stage: its order, its canaries, how it waits, parks, goes on, and takes back what was bad."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from activities.contracts import PlanQuestion
from domain.approval import ApprovedPlan
from domain.failure import FailureClass, Party
from domain.operation import Choice, OperationKind, OperationPhase, Pace, StepDecision
from domain.shape import Component, PoolName
from domain.state import DeploymentState, OperationOutcome, OperationRequest
from domain.upgrade import Judgement, StageKind, UpgradeReport, UpgradeRequest
from tests.workflows.orders import ADA, operation_order
from tests.workflows.scenes import Stage, progress, until_waiting
from tests.workflows.scripted_upgrade import Running
from tests.workflows.upgrade_scenes import (
    BOTH,
    BRIEF,
    FACTS,
    MINOR,
    NEW,
    OLD,
    SERVER,
    begin_deployment,
    begin_upgrade,
    newer,
    work,
)
from workers.assembly import declared_needs
from workers.rehearsal.planning import Planner
from workers.settings import WorkerSettings
from workflows.deployment import Deployment
from workflows.temporal import ids
from workflows.upgrade import Upgrade


def running(stage: Stage) -> Running:
    """Return what the deployment runs."""
    return stage.cloud.upgrades.of(stage.name)


def report_of(outcome: OperationOutcome) -> UpgradeReport:
    assert outcome.upgrade is not None, "an upgrade reports"
    return outcome.upgrade


async def decide(handle: WorkflowHandle[Any, Any], choice: Choice, step: str = "") -> None:
    await handle.execute_update("decide", StepDecision(step=step, choice=choice, actor=ADA))


def places(deeds: list[str], *wanted: str) -> list[int]:
    """Return where some deeds are, each of which was done once."""
    assert all(deeds.count(each) == 1 for each in wanted), deeds
    return [deeds.index(each) for each in wanted]


async def test_everything_is_done_once_and_in_order(stage: Stage) -> None:
    """Preflight and backup before all else; store, authentication, subscription and API, change data capture."""
    outcome = await (await begin_upgrade(stage, BOTH)).result()

    done, report = running(stage), report_of(outcome)
    assert outcome.phase is OperationPhase.DONE
    assert list(report.done) == [each.name for each in work(BOTH).stages]
    assert (report.kubernetes, report.release and report.release.version) == ("1.34", NEW)
    assert done.components == dict.fromkeys(Component, NEW)
    assert (done.kubernetes, set(done.nodes.values()), set(done.add_ons.values())) == ("1.34", {"1.34"}, {"1.34"})
    assert (done.canaries, done.canary_nodes) == ({}, set())
    order = places(
        done.deeds,
        f"migrate {NEW} expand",
        f"stage_canary/store {NEW}",
        f"install_component/store {NEW}",
        f"stage_canary/authentication {NEW}",
        f"install_component/authentication {NEW}",
        f"stage_canary/api {NEW}",
        f"install_component/api {NEW}",
        f"stage_canary/cdc {NEW}",
        f"install_component/cdc {NEW}",
        f"migrate {NEW} activate",
        "upgrade_control_plane 1.34",
        "upgrade_add_on/storage 1.34",
        "create_canary_node/services 1.34",
        "upgrade_node_pool/services 1.34",
        "create_canary_node/store 1.34",
        "upgrade_node_pool/store 1.34",
    )
    assert order == sorted(order)
    first, second = places(done.deeds, f"install_component/subscription {NEW}", f"stage_canary/cdc {NEW}")
    assert first < second
    calls = stage.cloud.calls_for(stage.name)
    deed = calls.index("migrate")
    assert all(
        calls.index(name) < deed
        for name in ("check_permissions", "check_upgrade", "check_server", "back_up", "prove_restore")
    )
    assert {verdict.judgement for verdict in report.verdicts} == {Judgement.PROMOTE}
    assert len(report.verdicts) == len(Component)
    facts = outcome.facts
    assert facts.cluster is not None
    assert (facts.cluster.version, {pool.kubernetes for pool in facts.pools}) == ("1.34", {"1.34"})
    assert {status.component for status in facts.components} == set(Component)


async def test_a_bad_canary_is_rolled_back_in_reverse(stage: Stage) -> None:
    """The API's canary fails requests: what was touched goes back, last first, and nothing after it was touched."""
    stage.cloud.upgrades.bad.add(Component.API)

    outcome = await (await begin_upgrade(stage, SERVER)).result()

    report, done = report_of(outcome), running(stage)
    assert (outcome.phase, report.signature) == (OperationPhase.ROLLED_BACK, "server/canary/api")
    assert "10.0 % of the canary's requests failed" in report.rolled_back
    assert (report.done, report.release) == ((), None)
    back = [deed for deed in done.deeds if deed.startswith("roll_back_component")]
    assert back == [f"roll_back_component/{name} {OLD}" for name in ("api", "subscription", "authentication", "store")]
    assert set(done.components.values()) == {OLD}
    assert done.canaries == {}
    assert f"migrate {NEW} activate" not in done.deeds
    assert not any("cdc" in deed for deed in done.deeds)
    assert (await progress(stage.client.get_workflow_handle(ids.operation_workflow_id(stage.name, "upgrade/2")))).steps[
        -1
    ].name == f"smoke_test/going back to {OLD}"


async def test_a_bad_canary_is_rolled_back_where_a_plan_was_approved(stage: Stage) -> None:
    """No plan holds the way back: it needs no approval of its own, and nobody is waited for."""
    stage.cloud.upgrades.bad.add(Component.STORE)
    preflight = (
        "check_permissions",
        "check_upgrade",
        "check_server",
        "back_up",
        "prove_restore",
        f"migrate/expand {NEW}",
    )
    approved = ApprovedPlan(
        hash="a" * 64,
        approvals=(),
        steps=(*preflight, *(f"{step}/store {NEW}" for step in ("stage_canary", "measure", "install_component"))),
    )

    outcome = await (await begin_upgrade(stage, SERVER, approved=approved)).result()

    assert outcome.phase is OperationPhase.ROLLED_BACK
    assert running(stage).deeds[-1] == f"roll_back_component/store {OLD}"


async def test_an_approved_upgrade_runs_what_its_plan_holds_and_nothing_else(stage: Stage) -> None:
    """The plan of the whole upgrade lets all of it run; without one of its steps it waits there, and may be aborted."""
    order = operation_order(stage.name, "upgrade/2", facts=FACTS, first=False).model_copy(
        update={"upgrade": work(BOTH)}
    )
    question = PlanQuestion(kind=OperationKind.UPGRADE, order=order)
    plan = await Planner(WorkerSettings(), declared_needs).plan(question)
    steps = tuple(step.name for step in plan.steps)
    short = ApprovedPlan(
        hash=plan.hash, approvals=(), steps=tuple(step for step in steps if step != "upgrade_control_plane/1.34")
    )
    handle = await begin_upgrade(stage, BOTH, approved=short)

    wait = await until_waiting(handle, "upgrade_control_plane/1.34")
    assert (wait.failure, wait.choices) == (FailureClass.POLICY, (Choice.ABORT,))
    await decide(handle, Choice.ABORT)
    assert (await handle.result()).phase is OperationPhase.ABORTED
    assert running(stage).kubernetes != "1.34"

    whole = await begin_upgrade(stage, BOTH, approved=short.model_copy(update={"steps": steps}))
    outcome = await whole.result()
    assert outcome.phase is OperationPhase.DONE
    assert {step.name for step in (await progress(whole)).steps} <= set(steps)
    assert (running(stage).kubernetes, running(stage).components) == ("1.34", dict.fromkeys(Component, NEW))


async def test_an_abort_does_not_stop_the_way_back(stage: Stage) -> None:
    """While a bad release is put back there is nothing to abort: it is put back as a whole."""
    stage.cloud.upgrades.bad.add(Component.API)
    stage.cloud.refuse("roll_back_component", FailureClass.PERMISSION)
    handle = await begin_upgrade(stage, SERVER)

    wait = await until_waiting(handle, f"roll_back_component/api {NEW}")
    assert Choice.ABORT not in wait.choices
    with pytest.raises(WorkflowUpdateFailedError):
        await decide(handle, Choice.ABORT)
    stage.cloud.allow("roll_back_component")

    outcome = await handle.result()
    assert outcome.phase is OperationPhase.ROLLED_BACK
    assert set(running(stage).components.values()) == {OLD}


async def test_a_bad_canary_waits_for_no_other_that_cannot_be_judged(stage: Stage) -> None:
    """Side by side with it the subscription canary is silent: nobody has to decide about that before the way back."""
    stage.cloud.upgrades.bad.add(Component.API)
    stage.cloud.upgrades.silent.add(Component.SUBSCRIPTION)

    outcome = await (await begin_upgrade(stage, SERVER, pace=Pace())).result()

    assert report_of(outcome).signature == "server/canary/api"
    assert f"install_component/subscription {NEW}" not in running(stage).deeds
    assert running(stage).canaries == {}


async def test_a_canary_that_does_not_become_ready_is_rolled_back(stage: Stage) -> None:
    """It is given its time, and then the release goes back."""
    stage.cloud.upgrades.stuck.add(Component.STORE)

    outcome = await (await begin_upgrade(stage, SERVER)).result()

    assert (outcome.phase, report_of(outcome).signature) == (OperationPhase.ROLLED_BACK, "server/ready/store")
    assert "store-canary is not ready" in report_of(outcome).rolled_back
    assert running(stage).components == {"store": OLD}
    assert running(stage).canaries == {}


async def test_what_cannot_be_told_pauses_and_goes_on_after_another_probe(stage: Stage) -> None:
    """Without telemetry an operator is waited for; nothing is promoted until the metrics are there again."""
    stage.cloud.upgrades.silent.add(Component.STORE)
    handle = await begin_upgrade(stage, SERVER)

    wait = await until_waiting(handle, f"measure/store {NEW}")
    assert wait.party is Party.OPERATOR
    assert "the canary's metrics could not be read" in wait.missing
    assert Choice.SKIP not in wait.choices
    assert running(stage).components == {}
    stage.cloud.upgrades.silent.clear()
    await decide(handle, Choice.RETRY, f"measure/store {NEW}")

    outcome = await handle.result()
    assert outcome.phase is OperationPhase.DONE
    assert running(stage).components == dict.fromkeys(Component, NEW)


@pytest.mark.parametrize(
    ("finding", "request_", "party"),
    [("surge-quota", MINOR, Party.CUSTOMER), ("disruption-budgets", SERVER, Party.OPERATOR)],
)
async def test_a_failed_check_waits_for_whom_it_concerns_and_goes_on_by_itself(
    stage: Stage, finding: str, request_: UpgradeRequest, party: Party
) -> None:
    """Nothing is touched before every check has passed, nobody may skip one, and it is probed."""
    stage.cloud.upgrades.findings[finding] = "two are wanting"
    handle = await begin_upgrade(stage, request_)

    wait = await until_waiting(handle)
    assert (wait.party, wait.missing) == (party, f"{finding}: two are wanting")
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await decide(handle, Choice.SKIP, wait.step)
    assert "cannot be decided by 'skip'" in str(refused.value.cause)
    assert running(stage).deeds == []
    assert "back_up" not in stage.cloud.calls_for(stage.name)
    seen = await handle.query(Upgrade.current_report)
    assert [check.name for check in seen.checks if not check.passed] == [finding]
    stage.cloud.upgrades.findings.clear()

    outcome = await handle.result()
    assert outcome.phase is OperationPhase.DONE
    assert all(check.passed for check in report_of(outcome).checks)


async def test_it_parks_when_the_window_ends_and_goes_on_with_what_is_left(stage: Stage) -> None:
    """What does not fit any more is left; the next run does it, and makes nothing twice."""
    needs = {kind: timedelta(minutes=1) for kind in StageKind} | {StageKind.NODES: timedelta(hours=3)}
    request = MINOR.model_copy(update={"needs": needs})
    ends = datetime.now(UTC) + timedelta(hours=1)

    parked = await (await begin_upgrade(stage, request, window_ends=ends)).result()

    report = report_of(parked)
    assert parked.phase is OperationPhase.PARKED
    assert report.done == ("control-plane 1.34", "add-ons 1.34")
    assert report.next_stage == "nodes 1.34 services"
    assert "may take until after the window" in report.parked
    assert (running(stage).kubernetes, running(stage).nodes) == ("1.34", {})
    before = list(running(stage).deeds)

    handle = await begin_upgrade(stage, request, facts=parked.facts, done=report.done)
    outcome = await handle.result()

    assert outcome.phase is OperationPhase.DONE
    assert list(report_of(outcome).done) == [each.name for each in work(request).stages]
    added = running(stage).deeds[len(before) :]
    assert [deed for deed in added if deed != "delete_canary_nodes"] == [
        "create_canary_node/services 1.34",
        "upgrade_node_pool/services 1.34",
        "create_canary_node/store 1.34",
        "upgrade_node_pool/store 1.34",
    ]


async def test_a_window_that_is_too_short_for_anything_changes_nothing(stage: Stage) -> None:
    """It parks before its first stage."""
    outcome = await (await begin_upgrade(stage, SERVER, window_ends=datetime.now(UTC) + timedelta(minutes=30))).result()

    assert (outcome.phase, report_of(outcome).done) == (OperationPhase.PARKED, ())
    assert running(stage).deeds == []


async def test_asked_to_stop_it_parks_at_its_next_checkpoint(stage: Stage) -> None:
    """The stage that has begun is finished, the next one is left."""
    stage.cloud.upgrades.findings["canary-node"] = "its daemons do not run"
    handle = await begin_upgrade(stage, MINOR)
    await until_waiting(handle, "validate_node/services 1.34")

    await handle.signal(Upgrade.stop_at_checkpoint, "upgrade/3 is urgent and goes first")
    stage.cloud.upgrades.findings.clear()

    outcome = await handle.result()
    report = report_of(outcome)
    assert (outcome.phase, report.parked) == (OperationPhase.PARKED, "upgrade/3 is urgent and goes first")
    assert report.next_stage == "nodes 1.34 store"
    assert running(stage).nodes == {PoolName.SERVICES: "1.34"}
    assert running(stage).canary_nodes == set()


async def test_asked_to_stop_while_it_bakes_it_parks_at_once(stage: Stage) -> None:
    """A bake is no reason to stay; until when it bakes is reported."""
    long = MINOR.model_copy(update={"verification": BRIEF.model_copy(update={"bake": timedelta(hours=1)})})
    handle = await begin_upgrade(stage, long)
    await _until_deed(stage, "upgrade_control_plane 1.34")

    await handle.signal(Upgrade.stop_at_checkpoint, "halted")

    outcome = await handle.result()
    report = report_of(outcome)
    assert (outcome.phase, report.parked, report.done) == (OperationPhase.PARKED, "halted", ("control-plane 1.34",))
    assert report.not_before is not None
    assert report.not_before > outcome.ended_at + timedelta(minutes=50)


async def test_where_the_store_cannot_be_read_any_more_it_is_mended_forward(stage: Stage) -> None:
    """Nothing is put back; an operator is asked, and the release is tried again once he says so."""
    stage.cloud.upgrades.bad.add(Component.AUTHENTICATION)
    handle = await begin_upgrade(stage, UpgradeRequest(release=newer(schema_epoch=8)))

    wait = await until_waiting(handle, f"mend/server {NEW}")
    assert wait.party is Party.OPERATOR
    assert f"{OLD} could not read the store any more" in wait.missing
    assert (await handle.query(Upgrade.current_report)).signature == "server/canary/authentication"
    assert running(stage).components == {"store": NEW}
    stage.cloud.upgrades.bad.clear()
    await decide(handle, Choice.RETRY, wait.step)

    outcome = await handle.result()
    assert (outcome.phase, report_of(outcome).signature) == (OperationPhase.DONE, "")
    assert running(stage).components == dict.fromkeys(Component, NEW)
    assert not any(deed.startswith("roll_back") for deed in running(stage).deeds)


async def test_an_abort_in_the_middle_of_a_release_puts_back_what_was_touched(stage: Stage) -> None:
    """Components that run the new release, and the canary that nobody has judged."""
    stage.cloud.upgrades.silent.add(Component.API)
    handle = await begin_upgrade(stage, SERVER)
    await until_waiting(handle, f"measure/api {NEW}")

    await decide(handle, Choice.ABORT)

    outcome = await handle.result()
    assert outcome.phase is OperationPhase.ABORTED
    assert set(running(stage).components.values()) == {OLD}
    assert running(stage).canaries == {}
    assert report_of(outcome).release is None


async def test_an_abort_while_machines_are_replaced_deletes_the_canary_node(stage: Stage) -> None:
    """The control plane stays where it is, for it cannot go back; the node that was made for validation is deleted."""
    stage.cloud.upgrades.findings["canary-node"] = "its daemons do not run"
    handle = await begin_upgrade(stage, MINOR)
    await until_waiting(handle, "validate_node/services 1.34")
    assert running(stage).canary_nodes == {PoolName.SERVICES}

    await decide(handle, Choice.ABORT)

    outcome = await handle.result()
    assert (outcome.phase, report_of(outcome).kubernetes) == (OperationPhase.ABORTED, "1.34")
    assert (running(stage).canary_nodes, running(stage).nodes) == (set(), {})


async def _until_deed(stage: Stage, deed: str) -> None:
    for _ in range(500):
        if deed in running(stage).deeds:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never: {deed}")


# Under its deployment


async def _ask(handle: WorkflowHandle[Any, DeploymentState], upgrade: UpgradeRequest, request_id: str = "up") -> None:
    request = OperationRequest(request_id=request_id, kind=OperationKind.UPGRADE, actor=ADA, upgrade=upgrade)
    await handle.execute_update(Deployment.request, request)


async def test_a_deployment_takes_over_what_its_upgrade_has_reached(stage: Stage) -> None:
    """Release and Kubernetes version are in its specification, the facts are new, and converging moves nothing back."""
    handle = await begin_deployment(stage)

    await _ask(handle, BOTH)

    state = await stage.until(handle, lambda state: any(past.kind is OperationKind.UPGRADE for past in state.past))
    assert state.past[-1].phase is OperationPhase.DONE
    assert (state.order.release.version, state.order.spec.release) == (NEW, NEW)
    assert state.order.spec.kubernetes == "1.34"
    assert state.facts.cluster is not None
    assert state.facts.cluster.version == "1.34"
    assert running(stage).components == dict.fromkeys(Component, NEW)
    await handle.execute_update(
        Deployment.request, OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ADA)
    )
    await stage.until(handle, lambda state: len(state.past) == 3)
    assert running(stage).components == dict.fromkeys(Component, NEW)
    await handle.terminate()


async def test_a_deployment_stays_where_it_was_after_a_bad_release(stage: Stage) -> None:
    """The record has the signature; the specification the release that runs."""
    handle = await begin_deployment(stage)
    stage.cloud.upgrades.bad.add(Component.API)

    await _ask(handle, SERVER)

    state = await stage.until(handle, lambda state: any(past.kind is OperationKind.UPGRADE for past in state.past))
    assert (state.past[-1].phase, state.past[-1].signature) == (OperationPhase.ROLLED_BACK, "server/canary/api")
    assert (state.order.release.version, state.order.spec.release) == (OLD, OLD)
    assert {running(stage).components[name] for name in ("store", "api")} == {OLD}
    await handle.terminate()


async def test_what_a_terminated_upgrade_left_is_settled_by_the_next_one(stage: Stage) -> None:
    """Two releases run, so that nothing converges; asked for again, it goes on from the first one's record."""
    handle = await _terminated_at_the_api(stage)

    state = await stage.until(handle, lambda state: bool(state.unsettled))

    assert state.past[-1].phase is OperationPhase.LOST
    assert state.unsettled == f"{state.past[-1].operation_id} began server {NEW} and did not end it"
    assert state.order.release.version == OLD
    converge = OperationRequest(request_id="again", kind=OperationKind.PROVISION, actor=ADA)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update(Deployment.request, converge)
    assert "pods of two releases may run" in str(refused.value.cause)
    stage.cloud.upgrades.reset()
    await _ask(handle, SERVER, "once more")
    state = await stage.until(handle, lambda state: state.past[-1].phase is OperationPhase.DONE)
    assert (state.unsettled, state.order.release.version) == ("", NEW)
    assert running(stage).components == dict.fromkeys(Component, NEW)
    await handle.execute_update(Deployment.request, converge)
    await handle.terminate()


async def test_what_a_terminated_upgrade_reached_is_taken_over(stage: Stage) -> None:
    """What it had done is read from its record; machines of two versions are no reason not to converge."""
    handle = await begin_deployment(stage)
    stage.cloud.upgrades.findings["canary-node"] = "its daemons do not run"
    await _ask(handle, MINOR)
    upgrade = await _upgrade_of(stage, handle)
    await until_waiting(upgrade, "validate_node/services 1.34")

    await upgrade.terminate("by mistake")

    state = await stage.until(handle, lambda state: state.past[-1].phase is OperationPhase.LOST)
    assert (state.unsettled, state.order.spec.kubernetes, state.kubernetes) == ("", "1.34", "1.34")
    stage.cloud.upgrades.reset()
    await _ask(handle, MINOR, "once more")
    await stage.until(handle, lambda state: state.past[-1].phase is OperationPhase.DONE)
    assert running(stage).deeds.count("upgrade_control_plane 1.34") == 1
    assert set(running(stage).nodes.values()) == {"1.34"}
    await handle.terminate()


async def test_an_abort_puts_back_what_a_terminated_upgrade_left(stage: Stage) -> None:
    """Also the components that it has not come to itself; then one release runs, and it is the old one."""
    handle = await _terminated_at_the_api(stage)
    await stage.until(handle, lambda state: bool(state.unsettled))
    stage.cloud.upgrades.reset()
    stage.cloud.upgrades.silent.add(Component.STORE)
    await _ask(handle, SERVER, "once more")
    again = await _upgrade_of(stage, handle)
    await until_waiting(again, f"measure/store {NEW}")

    await decide(again, Choice.ABORT)

    state = await stage.until(handle, lambda state: state.past[-1].phase is OperationPhase.ABORTED)
    assert (state.unsettled, state.order.release.version) == ("", OLD)
    assert running(stage).components == dict.fromkeys(Component, OLD)
    await handle.terminate()


@pytest.mark.parametrize(
    ("trouble", "step"), [("silent", f"measure/authentication {NEW}"), ("bad", f"mend/server {NEW}")]
)
async def test_an_abort_where_nothing_can_be_put_back_leaves_it_unsettled(
    stage: Stage, trouble: str, step: str
) -> None:
    """The store writes what the old release cannot read: what runs stays, and is not converged away."""
    handle = await begin_deployment(stage)
    getattr(stage.cloud.upgrades, trouble).add(Component.AUTHENTICATION)
    await _ask(handle, UpgradeRequest(release=newer(schema_epoch=8), verification=BRIEF))
    upgrade = await _upgrade_of(stage, handle)
    await until_waiting(upgrade, step)

    await decide(upgrade, Choice.ABORT)

    state = await stage.until(handle, lambda state: state.past[-1].phase is OperationPhase.ABORTED)
    assert state.unsettled == f"{state.past[-1].operation_id} began server {NEW} and did not end it"
    assert running(stage).components["store"] == NEW
    await handle.terminate()


async def _terminated_at_the_api(stage: Stage) -> WorkflowHandle[Any, DeploymentState]:
    """Return a deployment whose upgrade was terminated when it could not tell how the API's canary does."""
    handle = await begin_deployment(stage)
    stage.cloud.upgrades.silent.add(Component.API)
    await _ask(handle, SERVER)
    upgrade = await _upgrade_of(stage, handle)
    await until_waiting(upgrade, f"measure/api {NEW}")
    await upgrade.terminate("by mistake")
    return handle


async def _upgrade_of(stage: Stage, handle: WorkflowHandle[Any, DeploymentState]) -> WorkflowHandle[Any, Any]:
    state = await stage.until(
        handle, lambda state: state.running is not None and state.running.summary.kind is OperationKind.UPGRADE
    )
    assert state.running is not None
    return stage.client.get_workflow_handle(state.running.summary.workflow_id)
