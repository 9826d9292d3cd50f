"""A deployment on a server that skips time: what is asked of it, and how days pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from domain.actor import Actor
from domain.approval import ApprovalPolicy
from domain.maintenance import MaintenancePolicy
from domain.operation import OperationKind
from domain.pending import (
    MaintenanceChange,
    OverrideDecision,
    OverrideStanding,
    PendingChoice,
    PendingDecision,
    PendingStanding,
)
from domain.release import Release, Severity
from domain.state import DeploymentPhase, DeploymentState, OperationAccepted, OperationRequest
from domain.upgrade import UpgradeRequest
from tests.workflows.orders import ADA, NO_APPROVALS, deployment_state, release
from tests.workflows.scripted_cloud import ScriptedCloud
from workflows.deployment import Deployment
from workflows.temporal import ids, queues

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

_LOOKS, _PAUSE = 300, 0.02


def newer(version: str = "4.12.2", severity: Severity = Severity.ROUTINE) -> Release:
    """Return a release to which the tests' deployments can be upgraded."""
    return release().model_copy(update={"version": version, "severity": severity})


def urgent(version: str = "4.12.3") -> Release:
    """Return a release of critical severity."""
    return newer(version, Severity.CRITICAL)


@dataclass
class Skipping:
    """One active deployment on the server that skips time."""

    environment: WorkflowEnvironment
    cloud: ScriptedCloud
    name: str
    handle: WorkflowHandle[Any, DeploymentState]

    @classmethod
    async def begun(
        cls,
        environment: WorkflowEnvironment,
        cloud: ScriptedCloud,
        name: str,
        *,
        policy: MaintenancePolicy,
        approvals: ApprovalPolicy = NO_APPROVALS,
    ) -> Skipping:
        """Start a deployment with these windows, and wait until it is active."""
        state = deployment_state(name, approvals=approvals)
        spec = state.order.spec.model_copy(update={"windows": policy.windows, "exclusions": policy.exclusions})
        order = state.order.model_copy(update={"spec": spec})
        state = state.model_copy(update={"order": order, "was_active": True})
        handle = await environment.client.start_workflow(
            Deployment.run, state, id=ids.deployment_id(name), task_queue=queues.LIFECYCLES
        )
        deployment = cls(environment, cloud, name, handle)
        await deployment.until(lambda now: now.phase is DeploymentPhase.ACTIVE)
        return deployment

    async def now(self) -> datetime:
        """Return the server's present instant."""
        return await self.environment.get_current_time()

    async def pass_time(self, span: timedelta) -> None:
        """Let time pass; what happens in it happens."""
        await self.environment.sleep(span)

    async def pass_until(self, instant: datetime) -> None:
        """Let time pass up to an instant."""
        left = instant - await self.now()
        if left > timedelta(0):
            await self.pass_time(left)

    async def state(self) -> DeploymentState:
        """Return everything that the deployment knows."""
        return await self.handle.query(Deployment.current_state)

    async def until(self, condition: Callable[[DeploymentState], bool]) -> DeploymentState:
        """Return the state as soon as `condition` holds of it; no time is skipped meanwhile."""
        for _ in range(_LOOKS):
            state = await self.state()
            if condition(state):
                return state
            await asyncio.sleep(_PAUSE)
        raise AssertionError(f"{state.phase}: {[event.what for event in state.trail][-12:]}")

    async def ask(
        self,
        *,
        actor: Actor = ADA,
        reason: str = "monthly",
        request_id: str = "",
        **upgrade: Any,
    ) -> OperationAccepted:
        """Ask for an upgrade and wait until its window was computed."""
        request = OperationRequest(
            request_id=request_id or f"{self.name}-{len((await self.state()).trail)}",
            kind=OperationKind.UPGRADE,
            actor=actor,
            reason=reason,
            upgrade=UpgradeRequest(**upgrade),
        )
        accepted = await self.handle.execute_update(Deployment.request, request)
        await self.until_booked(accepted.operation_id)
        return accepted

    async def until_booked(self, operation: str) -> DeploymentState:
        """Return the state once an upgrade's window was computed, or it has left the queue."""
        return await self.until(
            lambda state: all(
                each.appointment is None or each.appointment.opening is not None
                for each in state.queue
                if each.summary.operation_id == operation
            )
        )

    async def decide(self, operation: str, choice: PendingChoice, actor: Actor = ADA) -> PendingStanding:
        """Decide about an upgrade that waits."""
        decision = PendingDecision(operation_id=operation, choice=choice, actor=actor, reason="said so")
        return await self.handle.execute_update(Deployment.decide_pending, decision)

    async def override(self, operation: str, actor: Actor) -> OverrideStanding:
        """Approve an override."""
        decision = OverrideDecision(operation_id=operation, actor=actor, reason="it is exploited")
        return await self.handle.execute_update(Deployment.approve_override, decision)

    async def change(self, policy: MaintenancePolicy) -> None:
        """Set the windows."""
        change = MaintenanceChange(request_id=f"windows-{len(policy.windows)}", policy=policy, actor=ADA)
        await self.handle.execute_update(Deployment.change_maintenance, change)

    async def ended(self, operation: str) -> DeploymentState:
        """Return the state once an operation is over."""
        return await self.until(lambda state: operation in [past.operation_id for past in state.past])


def opening_of(state: DeploymentState, operation: str) -> datetime:
    """Return when an upgrade that waits is to start."""
    booked = next(each.appointment for each in state.queue if each.summary.operation_id == operation)
    assert booked is not None, "it is an upgrade"
    assert booked.opening is not None, "its window was computed"
    return booked.opening.at


def trail_of(state: DeploymentState) -> str:
    """Return the trail as lines."""
    return "\n".join(event.what for event in state.trail)


async def refused(awaitable: Any) -> str:
    """Return the words with which a request was refused."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await awaitable
    return str(caught.value.cause)
