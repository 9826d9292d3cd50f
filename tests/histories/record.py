"""Record one history of each workflow type: `python -m tests.histories.record` (after a change that needs new ones).

Recorded against a scripted cloud, because a history is about workflow logic. Existing files are kept: workflows that
run today must still replay them; `--replace` is for before a first release.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

import catalog
from domain.account import AccountPhase, AccountSpec, AccountStanding
from domain.actor import Actor, Door
from domain.appointment import Notices
from domain.approval import (
    ApprovalBook,
    ApprovalDecision,
    ApprovalPolicy,
    ApprovedPlan,
    Approvers,
    DelegationRequest,
    PolicyChange,
    Side,
)
from domain.clouds import Cloud, Purpose
from domain.facts import ApiKeyRecord, Bucket, Cluster, DeploymentFacts
from domain.failure import FailureClass
from domain.operation import Choice, OperationKind, StepDecision
from domain.pending import MaintenanceChange, OverrideDecision, PendingChoice, PendingDecision
from domain.publication import Publication, ReleasesState, Withdrawal
from domain.release import Severity
from domain.rollout import RolloutRequest
from domain.rollout_messages import MemberState
from domain.shape import Component
from domain.state import AccountState, ApiKeyChange, ApiKeyChangeKind, DeploymentPhase, OperationRequest
from domain.upgrade import StageKind, UpgradeRequest
from domain.waves import Member, Wave, WaveName
from starters.client import ControlPlane, NotFound, Refused
from starters.versions import promote
from tests.conftest import dynamic_config_arguments, executable
from tests.workflows.orders import ADA, BRISK, GRACE, deployment_state, release
from tests.workflows.scenes import Stage, until_waiting
from tests.workflows.scripted_cloud import ScriptedCloud
from tests.workflows.upgrade_scenes import BOTH, MINOR, SERVER, begin_deployment, begin_rollout, begin_upgrade
from tests.workflows.upgrading import ScriptedUpgrade
from tests.workflows.windows import weekly
from workers.assembly import WORKFLOWS, lifecycles_worker
from workers.liveness import SignsOfLife
from workers.settings import WorkerSettings
from workflows.account import Account, AccountRequest
from workflows.approvals import PlanningRequest
from workflows.deployment import Deployment
from workflows.propose import Propose
from workflows.releases import Releases
from workflows.rollout import Rollout
from workflows.step_runner import ACCOUNT
from workflows.temporal import ids, queues, search_attributes
from workflows.temporal.plugin import plugin
from workflows.upgrade import Upgrade

FOLDER = Path(__file__).parent
FACTS = DeploymentFacts(
    bucket=Bucket(name="bucket-1"),
    cluster=Cluster(name="byoc-acme", endpoint="https://c", certificate_authority="", version="1.33"),
)

BOB = Actor(name="bob@acme.example", door=Door.CLI)
CARL = Actor(name="carl@acme.example", door=Door.CLI)

Scene = Callable[[Stage], Awaitable[WorkflowHandle[Any, Any]]]


async def account(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Invited, refused once, active, held, released, revoked."""
    stage.cloud.fail("verify_access", FailureClass.AUTH)
    spec = AccountSpec(
        name=stage.name, customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", regions=("eu-west-1",)
    )
    handle = await stage.client.start_workflow(
        Account.run,
        AccountState(spec=spec, external_id="ext-1", pace=BRISK, since=datetime(2026, 6, 1, tzinfo=UTC)),
        id=ids.account_id(stage.name),
        task_queue=queues.LIFECYCLES,
    )
    await handle.execute_update(Account.verify, AccountRequest(actor=ADA))
    await handle.execute_update(Account.hold, AccountRequest(actor=ADA, reason="audit"))
    await handle.execute_update(Account.release, AccountRequest(actor=ADA))
    await handle.execute_update(Account.verify, AccountRequest(actor=ADA))
    await handle.execute_update(Account.revoke, AccountRequest(actor=ADA))
    return handle


async def account_continued(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Verified, asked for a fresh run; the history is that of the first run."""
    spec = AccountSpec(
        name=stage.name, customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", regions=("eu-west-1",)
    )
    handle = await stage.client.start_workflow(
        Account.run,
        AccountState(spec=spec, external_id="ext-1", pace=BRISK, since=datetime(2026, 6, 1, tzinfo=UTC)),
        id=ids.account_id(stage.name),
        task_queue=queues.LIFECYCLES,
    )
    await handle.execute_update(Account.verify, AccountRequest(actor=ADA))
    await handle.execute_update(Account.continue_as_new_now, ADA)
    await stage.client.get_workflow_handle(handle.id).execute_update(Account.revoke, AccountRequest(actor=ADA))
    return stage.client.get_workflow_handle(handle.id, run_id=handle.result_run_id)


async def releases(stage: Stage) -> WorkflowHandle[Any, Any]:
    """One published, twice; one withdrawn; a fresh run. The history is that of the first run."""
    release = catalog.load().releases[0]
    handle = await stage.client.start_workflow(
        Releases.run, ReleasesState(), id=stage.name, task_queue=queues.LIFECYCLES
    )
    for _ in range(2):
        await handle.execute_update(Releases.publish, Publication(release=release, actor=ADA))
    withdrawal = Withdrawal(version=release.version, reason="leaks", actor=ADA)
    await handle.execute_update(Releases.withdraw, withdrawal)
    await handle.execute_update(Releases.continue_as_new_now, ADA)
    return stage.client.get_workflow_handle(handle.id, run_id=handle.result_run_id)


async def provision(stage: Stage) -> WorkflowHandle[Any, Any]:
    """No trouble at all."""
    return await stage.provision()


async def provision_waiting(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Two waits: one ends by a probe, one by a decision to skip."""
    stage.cloud.fail("create_egress", FailureClass.PERMISSION)
    stage.cloud.refuse("smoke_test", FailureClass.CONFIG)
    handle = await stage.provision()
    await until_waiting(handle, "smoke_test")
    await handle.execute_update("decide", StepDecision(choice=Choice.SKIP, actor=ADA))
    return handle


async def provision_aborted(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Aborted late, and taken back."""
    stage.cloud.refuse("open_endpoint", FailureClass.CONFIG)
    handle = await stage.provision()
    await until_waiting(handle, "open_endpoint")
    await handle.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))
    return handle


async def retire(stage: Stage) -> WorkflowHandle[Any, Any]:
    """With a final backup."""
    return await stage.retire(facts=FACTS)


async def reconfigure(stage: Stage) -> WorkflowHandle[Any, Any]:
    """One change of the API keys."""
    return await stage.reconfigure(facts=FACTS)


async def compare(stage: Stage) -> WorkflowHandle[Any, Any]:
    """One step, after a passing fault."""
    return await stage.compare()


async def deployment(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Ordered, converged again after a wait, retired."""
    handle = await stage.deployment()
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    stage.cloud.fail("create_roles", FailureClass.PERMISSION)
    for kind in (OperationKind.PROVISION, OperationKind.RETIRE):
        await handle.execute_update(
            Deployment.request, OperationRequest(request_id=f"{kind}-again", kind=kind, actor=ADA)
        )
    return handle


async def deployment_approved(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Approved by both sides: a plan that fails, one that is stale, an expiry, a withdrawal, a delegate."""
    approvers = Approvers(vendor=(GRACE.name,), customer=(BOB.name,))
    both = ApprovalPolicy(destructive=(Side.VENDOR, Side.CUSTOMER), approvers=approvers)
    brief = both.model_copy(update={"expires_after": timedelta(seconds=1)})
    handle = await stage.deployment(approvals=brief)
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    stage.cloud.fail("make_plan", FailureClass.CONFIG)
    await _ask(handle, "expires", OperationKind.RETIRE)
    await _planned(stage, handle)
    await _decide(stage, handle, Deployment.approve, Side.VENDOR, GRACE)
    await stage.until(handle, lambda state: any("has expired" in event.what for event in state.trail))
    await _decide(stage, handle, Deployment.decline, Side.CUSTOMER, BOB)
    await _ask(handle, "approved", OperationKind.RETIRE, approvals=both)
    await _planned(stage, handle)
    await _decide(stage, handle, Deployment.approve, Side.VENDOR, GRACE)
    await handle.execute_update(
        Deployment.delegate, DelegationRequest(side=Side.CUSTOMER, actor=BOB, to=CARL.name, operation_id="retire/3")
    )
    now = datetime.now(UTC)
    record_of_key = ApiKeyRecord(
        id="k1", name="k1", sha256="0" * 64, scopes=("read",), created_at=now, expires_at=now + timedelta(days=90)
    )
    await handle.execute_update(
        Deployment.change_api_keys,
        ApiKeyChange(request_id="k1", kind=ApiKeyChangeKind.CREATE, actor=ADA, record=record_of_key),
    )
    await stage.until(handle, lambda state: any("is stale" in event.what for event in state.trail))
    await _planned(stage, handle)
    await _decide(stage, handle, Deployment.approve, Side.VENDOR, GRACE)
    await _decide(stage, handle, Deployment.withdraw_approval, Side.VENDOR, GRACE)
    await _decide(stage, handle, Deployment.approve, Side.VENDOR, GRACE)
    await _decide(stage, handle, Deployment.approve, Side.CUSTOMER, CARL)
    return handle


async def deployment_declined(stage: Stage) -> WorkflowHandle[Any, Any]:
    """An order that the customer declines before anything is made."""
    handle = await stage.deployment(approvals=ApprovalPolicy(significant=(Side.CUSTOMER,)))
    await _planned(stage, handle)
    await _decide(stage, handle, Deployment.decline, Side.CUSTOMER, BOB)
    return handle


async def provision_unapproved(stage: Stage) -> WorkflowHandle[Any, Any]:
    """A step that the approved plan lacks: aborted, and taken back."""
    plan = ApprovedPlan(hash="a" * 64, approvals=(), steps=("check_permissions", "check_quotas", "choose_placement"))
    handle = await stage.provision(approved=plan)
    await until_waiting(handle, "plan_addresses")
    await handle.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))
    return handle


async def retire_unapproved(stage: Stage) -> WorkflowHandle[Any, Any]:
    """A first deletion that the approved plan lacks, and an abort before anything is deleted."""
    handle = await stage.retire(approved=ApprovedPlan(hash="a" * 64, approvals=(), steps=()))
    await until_waiting(handle, "delete_workloads")
    await handle.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))
    return handle


async def account_approvals(stage: Stage) -> WorkflowHandle[Any, Any]:
    """A policy that the vendor tightens and the customer loosens, then revoked."""
    spec = AccountSpec(
        name=stage.name, customer="acme", cloud=Cloud.AWS, cloud_account_id="222222222222", regions=("eu-west-1",)
    )
    handle = await stage.client.start_workflow(
        Account.run,
        AccountState(spec=spec, external_id="ext-1", pace=BRISK, since=datetime(2026, 6, 1, tzinfo=UTC)),
        id=ids.account_id(stage.name),
        task_queue=queues.LIFECYCLES,
    )
    policies = ((ApprovalPolicy(destructive=(Side.CUSTOMER,)), Side.VENDOR), (ApprovalPolicy(), Side.CUSTOMER))
    for policy, side in policies:
        await handle.execute_update(
            Account.set_approvals, PolicyChange(approvals=policy, side=side, actor=ADA, reason="agreed")
        )
    await handle.execute_update(Account.revoke, AccountRequest(actor=ADA))
    return handle


async def account_with_deployments(stage: Stage) -> WorkflowHandle[Any, Any]:
    """A deployment joins, hears of a hold and of its end, and leaves; only then is the account revoked."""
    handle = await stage.account()
    resident = await stage.deployment(account=stage.account_name)
    await stage.until_phase(resident, DeploymentPhase.ACTIVE)
    await handle.execute_update(Account.hold, AccountRequest(actor=ADA, reason="audit"))
    await stage.until(resident, lambda state: state.is_held)
    await handle.execute_update(Account.release, AccountRequest(actor=ADA))
    await stage.until(resident, lambda state: not state.is_held)
    await handle.execute_update(Account.verify, AccountRequest(actor=ADA))
    await resident.execute_update(
        Deployment.request, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)
    )
    await stage.until_account(handle, lambda state: not state.deployments)
    await handle.execute_update(Account.revoke, AccountRequest(actor=ADA))
    return handle


async def _ask(handle: WorkflowHandle[Any, Any], request_id: str, kind: OperationKind, **changes: Any) -> None:
    request = OperationRequest(request_id=request_id, kind=kind, actor=ADA, **changes)
    await handle.execute_update(Deployment.request, request)


async def _planned(stage: Stage, handle: WorkflowHandle[Any, Any]) -> ApprovalBook:
    """Return the book of the only operation that waits, once it has a plan; one that cannot be made is asked again."""
    state = await stage.until(
        handle,
        lambda state: any(each.approval and (each.approval.plan or each.approval.failure) for each in state.queue),
    )
    book = next(each.approval for each in state.queue if each.approval is not None)
    if book.plan is not None:
        return book
    await handle.execute_update(Deployment.plan_again, PlanningRequest(operation_id=book.operation_id, actor=ADA))
    return await _planned(stage, handle)


async def _decide(stage: Stage, handle: WorkflowHandle[Any, Any], update: Any, side: Side, actor: Actor) -> None:
    book = await _planned(stage, handle)
    assert book.plan is not None, "it is planned"
    decision = ApprovalDecision(operation_id=book.operation_id, side=side, actor=actor, hash=book.plan.hash)
    await handle.execute_update(update, decision)


async def deployment_went_over(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Ordered on one build, gone over to another while it waits; the history is that of the run on the first build."""
    plane = ControlPlane(stage.client, ADA)
    stage.cloud.refuse("create_cluster", FailureClass.CONFIG)
    async with _build(stage.client, "one"):
        await _promoted(plane, "one")
        handle = await stage.deployment()
        first = stage.client.get_workflow_handle(handle.id, run_id=handle.result_run_id)
        await stage.until(handle, lambda state: bool(state.report and state.report.waiting_for))
        async with _build(stage.client, "two"):
            await _promoted(plane, "two")
            await stage.until(handle, lambda state: state.runs == 2)
            stage.cloud.allow("create_cluster")
            await stage.until_phase(handle, DeploymentPhase.ACTIVE)
            leaving = OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)
            await handle.execute_update(Deployment.request, leaving)
            await handle.result()
    return first


def _build(client: Client, build_id: str) -> Worker:
    return lifecycles_worker(client, WorkerSettings(build_id=build_id, graceful_shutdown=timedelta(0)))


async def _promoted(plane: ControlPlane, build_id: str) -> None:
    """Make a build current as soon as the server has seen its worker."""
    while True:
        with contextlib.suppress(NotFound, Refused):
            await promote(plane, "byoc", build_id)
            return
        await asyncio.sleep(0.1)


async def deployment_held(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Held while its first operation runs, held again with one in its queue, released both times, retired."""
    account = await stage.account()
    stage.cloud.refuse("create_egress", FailureClass.PERMISSION)
    handle = await stage.deployment(account=stage.account_name)
    await stage.until(handle, lambda state: state.report is not None and bool(state.report.waiting_for))
    await account.execute_update(Account.hold, AccountRequest(actor=ADA, reason="audit"))
    await stage.until(handle, lambda state: state.is_held)
    stage.cloud.allow("create_egress")
    await account.execute_update(Account.release, AccountRequest(actor=ADA))
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    await account.execute_update(Account.hold, AccountRequest(actor=ADA, reason="freeze"))
    await stage.until(handle, lambda state: state.is_held)
    await handle.execute_update(
        Deployment.request, OperationRequest(request_id="bye", kind=OperationKind.RETIRE, actor=ADA)
    )
    await account.execute_update(Account.release, AccountRequest(actor=ADA))
    return handle


async def provision_parked(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Parked while a step waits and others run, then goes on, is parked once more, aborted, and taken back."""
    stage.cloud.refuse("create_egress", FailureClass.PERMISSION)
    handle = await stage.provision()
    await until_waiting(handle, "create_egress")
    await handle.signal("account_changed", _standing(AccountPhase.HELD))
    await until_waiting(handle, ACCOUNT)
    stage.cloud.allow("create_egress")
    stage.cloud.refuse("open_endpoint", FailureClass.CONFIG)
    await handle.signal("account_changed", _standing(AccountPhase.ACTIVE))
    await until_waiting(handle, "open_endpoint")
    await handle.signal("account_changed", _standing(AccountPhase.HELD))
    await until_waiting(handle, ACCOUNT)
    await handle.execute_update("decide", StepDecision(choice=Choice.ABORT, actor=ADA))
    await handle.signal("account_changed", _standing(AccountPhase.ACTIVE))
    return handle


async def retire_narrowed(stage: Stage) -> WorkflowHandle[Any, Any]:
    """The role for deletions is withheld at the start and lent again later."""
    order = {"facts": FACTS, "standing": _standing(AccountPhase.ACTIVE, withheld=(Purpose.DELETE,))}
    handle = await stage.retire(**order)
    await until_waiting(handle, "delete_workloads")
    await handle.signal("account_changed", _standing(AccountPhase.ACTIVE))
    return handle


async def deployment_upgraded(stage: Stage) -> WorkflowHandle[Any, Any]:
    """One upgrade waits, is deferred and hurried, and finds other windows; an urgent one is let past them; retired."""
    now = datetime.now(UTC)
    state = deployment_state(stage.name)
    brief = timedelta(milliseconds=200)
    order = state.order.model_copy(
        update={
            "notices": Notices(routine=brief, urgent=brief, deferral=brief),
            "spec": state.order.spec.model_copy(update={"windows": weekly(now + timedelta(days=1)).windows}),
        }
    )
    handle = await stage.client.start_workflow(
        Deployment.run,
        state.model_copy(update={"order": order}),
        id=ids.deployment_id(stage.name),
        task_queue=queues.LIFECYCLES,
    )
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    needs = dict.fromkeys(StageKind, timedelta(milliseconds=100))
    urgent = release().model_copy(update={"version": "4.12.2", "severity": Severity.CRITICAL})
    for request_id, target in (("monthly", release().model_copy(update={"version": "4.12.3"})), ("urgent", urgent)):
        upgrade = UpgradeRequest(release=target, needs=needs)
        await _ask(handle, request_id, OperationKind.UPGRADE, upgrade=upgrade)
    for choice in (PendingChoice.DEFER, PendingChoice.NEXT_WINDOW, PendingChoice.UNDO):
        decision = PendingDecision(operation_id="upgrade/2", choice=choice, actor=ADA)
        await handle.execute_update(Deployment.decide_pending, decision)
    for actor in (GRACE, BOB):
        await handle.execute_update(
            Deployment.approve_override, OverrideDecision(operation_id="upgrade/3", actor=actor, reason="exploited")
        )
    await stage.until(handle, lambda state: "upgrade/3" in [past.operation_id for past in state.past])
    await handle.execute_update(
        Deployment.change_maintenance,
        MaintenanceChange(request_id="windows", policy=weekly(now - timedelta(hours=1)), actor=ADA),
    )
    await stage.until(handle, lambda state: "upgrade/2" in [past.operation_id for past in state.past])
    await stage.until(handle, lambda state: not state.queue and state.running is None)
    await _ask(handle, "bye", OperationKind.RETIRE)
    return handle


async def upgrade(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Release and Kubernetes version; a check that fails at first, a canary without telemetry, and no other trouble."""
    stage.cloud.upgrades.findings["surge-quota"] = "no machine more"
    stage.cloud.upgrades.silent.add(Component.CDC)
    handle = await begin_upgrade(stage, BOTH)
    await until_waiting(handle, "check_upgrade")
    stage.cloud.upgrades.findings.clear()
    await until_waiting(handle, "measure/cdc")
    stage.cloud.upgrades.silent.clear()
    return handle


async def upgrade_parked(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Asked to stop while the first node is validated: what has begun is finished, the next stage is left."""
    stage.cloud.upgrades.findings["canary-node"] = "its daemons do not run"
    handle = await begin_upgrade(stage, MINOR)
    await until_waiting(handle, "validate_node/services")
    await handle.signal(Upgrade.stop_at_checkpoint, "something urgent")
    stage.cloud.upgrades.findings.clear()
    return handle


async def upgrade_rolled_back(stage: Stage) -> WorkflowHandle[Any, Any]:
    """A bad canary of the API."""
    stage.cloud.upgrades.bad.add(Component.API)
    return await begin_upgrade(stage, SERVER)


async def propose(stage: Stage) -> WorkflowHandle[Any, Any]:
    """One month."""
    return await stage.client.start_workflow(Propose.run, id=stage.name, task_queue=queues.LIFECYCLES)


async def rollout(stage: Stage) -> WorkflowHandle[Any, Any]:
    """Two deployments in two waves: the first is halted while it runs, is ready again, goes on and bakes; done."""
    names = (f"{stage.name}-one", f"{stage.name}-two")
    for name in names:
        await begin_deployment(stage, name)
    members = [Member(name, "acme", "aws", "v1-small") for name in names]
    waves = (
        Wave(name=WaveName.CANARY, bake=timedelta(milliseconds=100), members=(members[0],)),
        Wave(name=WaveName.REST, bake=timedelta(0), members=(members[1],)),
    )
    stage.cloud.upgrades.findings["webhooks"] = "one fails closed"
    handle = await begin_rollout(stage, waves, SERVER)
    request = RolloutRequest(actor=ADA, reason="looked at it")
    await _until_member(handle, names[0], MemberState.RUNNING)
    await handle.execute_update(Rollout.halt, request)
    stage.cloud.upgrades.findings.clear()
    await _until_member(handle, names[0], MemberState.READY)
    await handle.execute_update(Rollout.resume, request)
    return handle


async def _until_member(handle: WorkflowHandle[Any, Any], name: str, state: MemberState) -> None:
    while True:
        member = (await handle.query(Rollout.current_state)).active.get(name)
        if member is not None and member.state is state:
            return
        await asyncio.sleep(0.05)


def _standing(phase: AccountPhase, withheld: tuple[Purpose, ...] = ()) -> AccountStanding:
    since = datetime(2026, 6, 1, tzinfo=UTC)
    return AccountStanding(account="acme-aws", phase=phase, withheld=withheld, since=since)


SCENES: tuple[Scene, ...] = (
    account,
    account_continued,
    provision,
    provision_waiting,
    provision_aborted,
    retire,
    reconfigure,
    compare,
    deployment,
    deployment_approved,
    deployment_declined,
    provision_unapproved,
    retire_unapproved,
    account_approvals,
    account_with_deployments,
    deployment_held,
    deployment_upgraded,
    provision_parked,
    retire_narrowed,
    releases,
    upgrade,
    upgrade_parked,
    upgrade_rolled_back,
    rollout,
    propose,
    # The last one: from then on new workflows begin on its builds, and these are gone.
    deployment_went_over,
)


async def record(*, replace: bool) -> None:
    """Play every scene on a real server and write its history."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable("temporal"),
        dev_server_extra_args=dynamic_config_arguments(),
        dev_server_log_level="error",
        search_attributes=search_attributes.ALL,
        plugins=[plugin()],
        identity="byoc",
    ) as environment:
        cloud = ScriptedCloud()
        lifecycles = Worker(environment.client, task_queue=queues.LIFECYCLES, workflows=_workflows())
        acting = Worker(
            environment.client,
            task_queue=queues.cloud_queue("aws"),
            activities=cloud.activities(),
            activity_executor=ThreadPoolExecutor(20),
            max_concurrent_activities=20,
            interceptors=[SignsOfLife()],
        )
        services = Worker(
            environment.client,
            task_queue=queues.SERVICES,
            activities=cloud.activities(),
            activity_executor=ThreadPoolExecutor(4),
            max_concurrent_activities=4,
            interceptors=[SignsOfLife()],
        )
        async with lifecycles, acting, services:
            for scene in SCENES:
                cloud.reset()
                name = scene.__name__.replace("_", "-")  # type: ignore[attr-defined] # scenes are functions
                path = FOLDER / f"{name}.json"
                if path.exists() and not replace:
                    continue
                handle = await scene(Stage(environment.client, cloud, name))
                with contextlib.suppress(WorkflowContinuedAsNewError):
                    await handle.result(follow_runs=False)
                history = _without_traces(json.loads((await handle.fetch_history()).to_json()))
                path.write_text(json.dumps(history, indent=1, sort_keys=True) + "\n")
                sys.stdout.write(f"{path.name}: {len(history['events'])} events\n")


def _workflows() -> list[type]:
    """Return every workflow type; where there is none for upgrades, what stands in for it."""
    known = {each.__name__ for each in WORKFLOWS}
    return [*WORKFLOWS, *([] if "Upgrade" in known else [ScriptedUpgrade])]


def _without_traces(value: Any) -> Any:
    """Return the history without stack traces, which name the recording machine's folders."""
    if isinstance(value, dict):
        return {key: "" if key == "stackTrace" else _without_traces(part) for key, part in value.items()}
    return [_without_traces(part) for part in value] if isinstance(value, list) else value


if __name__ == "__main__":
    asyncio.run(record(replace="--replace" in sys.argv))
