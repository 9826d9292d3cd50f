"""One deployment's name, its scripted cloud, and how to start and await things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from activities.contracts import Comparison, ComparisonQuestion
from domain.account import AccountPhase
from domain.approval import ApprovalPolicy
from domain.failure import FailureClass
from domain.operation import OperationProgress, Pace, WaitingFor
from domain.state import AccountState, DeploymentPhase, DeploymentState, OperationOutcome
from tests.workflows.orders import BRISK, NO_APPROVALS, account_state, deployment_state, operation_order
from tests.workflows.scripted_cloud import ScriptedCloud
from workflows.account import Account
from workflows.compare import Compare
from workflows.deployment import Deployment
from workflows.provision import Provision
from workflows.reconfigure import Reconfigure
from workflows.retire import Retire
from workflows.temporal import ids, queues

PATIENCE = 900
"""Looks, 20 ms apart."""


@dataclass
class Stage:
    """A fresh deployment's name on one server, and the cloud that is scripted for it."""

    client: Client
    cloud: ScriptedCloud
    name: str

    async def provision(self, **changes: Any) -> WorkflowHandle[Any, OperationOutcome]:
        """Start a provisioning by itself, without its deployment."""
        return await self._operation(Provision.run, "provision/1", **changes)

    async def retire(self, **changes: Any) -> WorkflowHandle[Any, OperationOutcome]:
        """Start a retirement by itself."""
        return await self._operation(Retire.run, "retire/2", first=False, **changes)

    async def reconfigure(self, **changes: Any) -> WorkflowHandle[Any, OperationOutcome]:
        """Start a reconfiguration by itself."""
        return await self._operation(Reconfigure.run, "reconfigure/2", first=False, **changes)

    async def compare(self) -> WorkflowHandle[Any, Comparison]:
        """Start the comparison of one step, which meets one passing fault."""
        self.cloud.fail("compare", FailureClass.TRANSIENT)
        site = operation_order(self.name).site
        question = ComparisonQuestion(
            site=site, step="create_roles", activity="create_roles", question=site.model_dump(mode="json")
        )
        return await self.client.start_workflow(
            Compare.run,
            question,
            id=ids.comparison_id(self.name, "1", question.step),
            task_queue=queues.LIFECYCLES,
        )

    async def deployment(
        self,
        name: str = "",
        *,
        account: str = "acme-aws",
        pace: Pace = BRISK,
        approvals: ApprovalPolicy = NO_APPROVALS,
    ) -> WorkflowHandle[Any, DeploymentState]:
        """Start a deployment, which provisions itself; its account is there only if `account` was called."""
        name = name or self.name
        return await self.client.start_workflow(
            Deployment.run,
            deployment_state(name, pace, account=account, approvals=approvals),
            id=ids.deployment_id(name),
            task_queue=queues.LIFECYCLES,
        )

    @property
    def account_name(self) -> str:
        """Name of the account that `account` starts."""
        return f"{self.name}-aws"

    async def account(self, pace: Pace = BRISK) -> WorkflowHandle[Any, AccountState]:
        """Start an account and wait until it is active."""
        handle = await self.client.start_workflow(
            Account.run,
            account_state(self.account_name, pace),
            id=ids.account_id(self.account_name),
            task_queue=queues.LIFECYCLES,
        )
        await self.until_account(handle, lambda state: state.phase is AccountPhase.ACTIVE)
        return handle

    async def until_account(
        self, handle: WorkflowHandle[Any, Any], condition: Callable[[AccountState], bool]
    ) -> AccountState:
        """Return the account's state as soon as `condition` holds of it."""
        for _ in range(PATIENCE):
            state = await handle.query(Account.current_state)
            if condition(state):
                return state
            await asyncio.sleep(0.02)
        raise AssertionError(f"the account stayed {state.phase}: {state}")

    async def until(
        self, handle: WorkflowHandle[Any, Any], condition: Callable[[DeploymentState], bool]
    ) -> DeploymentState:
        """Return the deployment's state as soon as `condition` holds of it."""
        for _ in range(PATIENCE):
            state = await handle.query(Deployment.current_state)
            if condition(state):
                return state
            await asyncio.sleep(0.02)
        raise AssertionError(f"the deployment stayed {state.phase}: {state.report}")

    async def until_phase(self, handle: WorkflowHandle[Any, Any], phase: DeploymentPhase) -> DeploymentState:
        """Return the deployment's state as soon as it is in `phase`."""
        return await self.until(handle, lambda state: state.phase is phase)

    async def _operation(self, run: Any, operation: str, **changes: Any) -> WorkflowHandle[Any, OperationOutcome]:
        order = operation_order(self.name, operation, **changes)
        handle: WorkflowHandle[Any, OperationOutcome] = await self.client.start_workflow(
            run, order, id=ids.operation_workflow_id(self.name, operation), task_queue=queues.LIFECYCLES
        )
        return handle


async def progress(handle: WorkflowHandle[Any, Any]) -> OperationProgress:
    """Ask an operation how it is going."""
    answer: OperationProgress = await handle.query("progress", result_type=OperationProgress)
    return answer


async def until_waiting(handle: WorkflowHandle[Any, Any], step: str = "") -> WaitingFor:
    """Return the first wait (in `step`, if one is named) as soon as there is one."""
    for _ in range(PATIENCE):
        for wait in await _waits(handle):
            if step in ("", wait.step):
                return wait
        await asyncio.sleep(0.02)
    raise AssertionError(f"the operation never waited in {step or 'any step'}")


async def _waits(handle: WorkflowHandle[Any, Any]) -> tuple[WaitingFor, ...]:
    """Return what an operation waits for; nothing for one that its deployment names an instant before it starts."""
    try:
        return (await progress(handle)).waiting_for
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return ()
