"""Upgrades and rollouts that tests of workflow logic and recorded histories begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import WorkflowHandle

from domain.appointment import Notices
from domain.approval import ApprovedPlan
from domain.facts import DeploymentFacts
from domain.operation import OperationKind, Pace
from domain.release import Release
from domain.rollout import RolloutOrder, RolloutState, opened
from domain.state import DeploymentPhase, DeploymentState, OperationOutcome, OperationRequest
from domain.upgrade import UpgradeRequest, UpgradeWork, Verification
from domain.upgrade_path import stages_of
from domain.waves import Wave
from tests.workflows.orders import ADA, BRISK, deployment_state, operation_order, release
from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ANSWERS
from tests.workflows.windows import weekly
from workflows.deployment import Deployment
from workflows.rollout import Rollout
from workflows.temporal import ids, queues
from workflows.upgrade import Upgrade

OLD, NEW = "4.12.1", "4.12.2"
BRIEF = Verification(
    rounds=2,
    interval=timedelta(milliseconds=10),
    ready_within=timedelta(milliseconds=700),
    bake=timedelta(milliseconds=10),
)
FACTS = DeploymentFacts(
    placement=ANSWERS["choose_placement"],
    network=ANSWERS["create_network"],
    firewall=ANSWERS["create_firewall"],
    roles=ANSWERS["create_roles"],
    key=ANSWERS["create_encryption_key"],
    bucket=ANSWERS["create_backup_bucket"],
    domain=ANSWERS["create_domain"],
    cluster=ANSWERS["create_cluster"],
)


def newer(**changes: Any) -> Release:
    """Return the release to which is upgraded."""
    return release().model_copy(update={"version": NEW, **changes})


def work(request: UpgradeRequest, **changes: Any) -> UpgradeWork:
    """Return what an upgrade is handed."""
    stages = stages_of(request, release=release(), kubernetes="1.33", high_availability=False)
    return UpgradeWork.model_validate({"stages": stages, "verification": BRIEF, **changes})


SERVER = UpgradeRequest(release=newer(), verification=BRIEF)
MINOR = UpgradeRequest(kubernetes="1.34", verification=BRIEF)
BOTH = UpgradeRequest(release=newer(), kubernetes="1.34", verification=BRIEF)


async def begin_upgrade(
    stage: Stage,
    request: UpgradeRequest,
    *,
    facts: DeploymentFacts = FACTS,
    pace: Pace = BRISK,
    approved: ApprovedPlan | None = None,
    **changes: Any,
) -> WorkflowHandle[Any, OperationOutcome]:
    """Start an upgrade by itself, without its deployment."""
    order = operation_order(stage.name, "upgrade/2", facts=facts, first=False, pace=pace, approved=approved)
    return await stage.client.start_workflow(
        Upgrade.run,
        order.model_copy(update={"upgrade": work(request, **changes)}),
        id=ids.operation_workflow_id(stage.name, "upgrade/2"),
        task_queue=queues.LIFECYCLES,
    )


async def begin_deployment(stage: Stage, name: str = "") -> WorkflowHandle[Any, DeploymentState]:
    """Start a deployment whose window is open now, and which gives no notice; return it once it is active."""
    name = name or stage.name
    state = deployment_state(name)
    none = timedelta(milliseconds=1)
    windows = weekly(datetime.now(UTC) - timedelta(hours=1), timedelta(hours=12)).windows
    order = state.order.model_copy(
        update={
            "notices": Notices(routine=none, long=none, urgent=none),
            "spec": state.order.spec.model_copy(update={"windows": windows}),
        }
    )
    handle = await stage.client.start_workflow(
        Deployment.run,
        state.model_copy(update={"order": order}),
        id=ids.deployment_id(name),
        task_queue=queues.LIFECYCLES,
    )
    await stage.until_phase(handle, DeploymentPhase.ACTIVE)
    return handle


async def begin_rollout(
    stage: Stage, waves: tuple[Wave, ...], upgrade: UpgradeRequest
) -> WorkflowHandle[Any, RolloutState]:
    """Start a rollout of an upgrade."""
    request = OperationRequest(
        request_id=f"{stage.name}-1",
        kind=OperationKind.UPGRADE,
        actor=ADA,
        upgrade=upgrade.model_copy(update={"rollout": stage.name}),
    )
    order = RolloutOrder(name=stage.name, target="what is newest", requests={"aws": request}, waves=waves, actor=ADA)
    return await stage.client.start_workflow(
        Rollout.run, opened(order, datetime.now(UTC)), id=ids.rollout_id(stage.name), task_queue=queues.LIFECYCLES
    )
