"""The part of the client library that is about upgrades and the windows in which they are done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any
from uuid import uuid4

from domain.actor import Actor
from domain.approval import ApprovalPolicy, Side
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
from domain.state import OperationAccepted, OperationRequest
from domain.upgrade import UpgradeRequest
from workflows.deployment import Deployment


class MaintenanceRequests(ABC):
    """What can be asked of a deployment about its maintenance; `ControlPlane` is one."""

    actor: Actor

    async def upgrade(
        self, name: str, upgrade: UpgradeRequest, *, reason: str = "", request_id: str = ""
    ) -> OperationAccepted:
        """Ask for an upgrade; it is queued, and done in a window of the deployment.

        Raises:
            Refused: No path leads there, or an upgrade that is queued leads there already.
        """
        request = OperationRequest(
            request_id=request_id or f"upgrade-{uuid4().hex[:12]}",
            kind=OperationKind.UPGRADE,
            actor=self.actor,
            reason=reason,
            upgrade=upgrade,
        )
        return await self.request(name, request)

    async def set_maintenance(
        self, name: str, policy: MaintenancePolicy, *, reason: str = "", request_id: str = ""
    ) -> OperationAccepted:
        """Set a deployment's windows and exclusions. What waits for a window waits for a new one from then on.

        Returns:
            The operation that makes the provider's own maintenance follow.
        """
        change = MaintenanceChange(
            request_id=request_id or f"maintenance-{uuid4().hex[:12]}",
            policy=policy,
            actor=self.actor,
            reason=reason,
            approvals=await self.policy_for(name),
        )
        answer: OperationAccepted = await self._update(name, Deployment.change_maintenance, change)
        return answer

    async def decide_pending(
        self, name: str, operation: str, choice: PendingChoice, *, reason: str = "", request_id: str = ""
    ) -> PendingStanding:
        """Decide when a queued upgrade is done: immediate, next-window, undo, defer, or withdraw it.

        Args:
            name: The deployment's.
            operation: The operation's id; empty: the only upgrade that waits.
            choice: What is decided.
            reason: Why; it goes into the audit trail.
            request_id: The same id decides once, however often it is sent.

        Raises:
            Refused: It does not wait, or may not be decided so; the message says why.
        """
        decision = PendingDecision(
            operation_id=operation,
            choice=choice,
            actor=self.actor,
            reason=reason,
            request_id=request_id or uuid4().hex,
        )
        answer: PendingStanding = await self._update(name, Deployment.decide_pending, decision)
        return answer

    async def approve_override(
        self, name: str, operation: str, *, reason: str = "", side: Side = Side.VENDOR
    ) -> OverrideStanding:
        """Approve that an urgent upgrade does not wait for its window. The first approval asks for a second one.

        Raises:
            Refused: It is not urgent, the actor asked for it or has approved already.
        """
        decision = OverrideDecision(operation_id=operation, actor=self.actor, side=side, reason=reason)
        answer: OverrideStanding = await self._update(name, Deployment.approve_override, decision)
        return answer

    async def withdraw_override(
        self, name: str, operation: str, *, reason: str = "", side: Side = Side.VENDOR
    ) -> OverrideStanding:
        """Take an override back while the upgrade has not started: it waits for its window.

        Raises:
            Refused: There is none, or the actor does not speak for the side.
        """
        decision = OverrideDecision(operation_id=operation, actor=self.actor, side=side, reason=reason)
        answer: OverrideStanding = await self._update(name, Deployment.withdraw_override, decision)
        return answer

    @abstractmethod
    async def request(self, name: str, request: OperationRequest) -> OperationAccepted:
        """Ask for an operation on a deployment; returns as soon as it is queued."""

    @abstractmethod
    async def policy_for(self, deployment: str) -> ApprovalPolicy | None:
        """Return the approval policy of a deployment's account, or None if the account is gone."""

    @abstractmethod
    async def _update(self, name: str, update: Any, message: Any) -> Any:  # noqa: ANN401 - as the SDK has it
        """Send an update to a deployment's workflow and return its answer."""
