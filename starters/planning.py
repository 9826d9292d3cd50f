"""From a file, or from what is known of a deployment, to the question for a plan."""

from __future__ import annotations

from datetime import UTC, datetime

from activities.contracts import PlanQuestion
from domain.approval import ApprovalPolicy
from domain.deployment import FinalBackup
from domain.facts import DeploymentFacts
from domain.operation import OperationKind
from domain.state import DeploymentOrder, DeploymentState, OperationOrder
from domain.upgrade import UpgradeWork
from starters.client import ControlPlane, NotFound, Refused
from starters.manifest import DeploymentManifest
from starters.ordering import place_order
from workflows.temporal import ids


async def plan_of_manifest(plane: ControlPlane, manifest: DeploymentManifest) -> PlanQuestion:
    """Return the question for a file: a first provisioning, or that of the deployment that exists to what it says."""
    order = await place_order(plane, manifest)
    try:
        known = await plane.deployment(manifest.metadata.name)
    except NotFound:
        return _first(order)
    if known.phase.is_over:
        return _first(order)
    return plan_of_deployment(known, OperationKind.PROVISION, order=order, policy=order.approvals)


def plan_of_deployment(
    state: DeploymentState,
    kind: OperationKind,
    *,
    order: DeploymentOrder | None = None,
    policy: ApprovalPolicy | None = None,
    final_backup: FinalBackup = FinalBackup.KEEP,
    upgrade: UpgradeWork | None = None,
) -> PlanQuestion:
    """Return the question for an operation on a deployment that exists, as its workflow would order it next.

    Args:
        state: What is known of it.
        kind: What is to be done.
        order: For a provisioning to another specification.
        policy: Of the account; without it the one that the deployment was told last.
        final_backup: For a retirement.
        upgrade: For an upgrade: its stages.

    Raises:
        Refused: The deployment is over.
    """
    site = state.order.site
    if state.phase.is_over:
        raise Refused(f"deployment {site.deployment!r} is {state.phase}: there is nothing to plan")
    wanted, now = order or state.order, datetime.now(UTC)
    operation = ids.operation_id(kind, state.operations + 1)
    return PlanQuestion(
        kind=kind,
        order=OperationOrder(
            operation_id=operation,
            site=site.model_copy(update={"operation": operation}),
            spec=wanted.spec,
            shape=wanted.shape,
            release=wanted.release,
            facts=state.facts,
            actor=wanted.actor,
            pace=state.order.pace,
            final_backup=final_backup,
            api_keys=tuple(key for key in state.api_keys if key.revoked_at is None and key.expires_at > now),
            first=not state.has_been_active,
            upgrade=upgrade,
        ),
        policy=state.order.approvals if policy is None else policy,
        changes_specification=(wanted.spec, wanted.shape, wanted.release)
        != (state.order.spec, state.order.shape, state.order.release),
    )


def _first(order: DeploymentOrder) -> PlanQuestion:
    operation = ids.operation_id(OperationKind.PROVISION, 1)
    return PlanQuestion(
        kind=OperationKind.PROVISION,
        order=OperationOrder(
            operation_id=operation,
            site=order.site.model_copy(update={"operation": operation}),
            spec=order.spec,
            shape=order.shape,
            release=order.release,
            facts=DeploymentFacts(),
            actor=order.actor,
            pace=order.pace,
        ),
        policy=order.approvals,
    )
