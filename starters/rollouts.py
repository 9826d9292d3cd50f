"""Rollouts: a release, or a Kubernetes version, for the whole fleet. Who is asked, and how a rollout is steered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from domain.clouds import Cloud
from domain.model import Model
from domain.operation import OperationKind
from domain.rollout import RolloutOrder, RolloutPhase, RolloutRequest, RolloutState, WaveApproval, opened
from domain.state import DeploymentPhase, DeploymentState, OperationRequest
from domain.upgrade import UpgradeRequest
from domain.version import version_order
from domain.waves import Member, WaveName
from starters.client import ControlPlane, Listed, NotFound, Refused, explained
from workflows.rollout import Rollout
from workflows.temporal import ids, queues
from workflows.temporal import search_attributes as attributes

LARGEST_FLEET = 12_000
"""Deployments in one rollout: what it carries from run to run stays below a payload's limit of 2 MiB."""
_ASKED_AT_ONCE = 50


class Selection(Model):
    """Which deployments a rollout is for; what is empty selects all."""

    clouds: tuple[Cloud, ...] = ()
    customers: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def takes(self, listed: Listed) -> bool:
        """Return whether a deployment is selected."""
        pairs = (
            (self.clouds, listed.cloud),
            (self.customers, listed.customer),
            (self.accounts, listed.account),
            (self.regions, listed.region),
            (self.names, listed.name),
        )
        return all(not allowed or value in allowed for allowed, value in pairs)


class ListedRollout(Model):
    """One rollout in a list."""

    name: str
    phase: str
    release: str
    waiting_for: str
    started_at: datetime
    open: bool


async def fleet(plane: ControlPlane, selection: Selection, upgrade: UpgradeRequest) -> list[Member]:
    """Return the deployments that a rollout is for: selected, active, and behind what is to be reached."""
    return [
        Member(listed.name, listed.customer, listed.cloud, listed.shape)
        for listed in await plane.deployments()
        if selection.takes(listed) and is_behind(listed, upgrade)
    ]


def is_behind(listed: Listed, upgrade: UpgradeRequest) -> bool:
    """Return whether a deployment lives and has something to gain."""
    if listed.phase not in (DeploymentPhase.ACTIVE, DeploymentPhase.CHANGING):
        return False
    older_server = upgrade.release is not None and _is_older(listed.release, upgrade.release.version)
    return older_server or bool(upgrade.kubernetes and _is_older(listed.kubernetes, upgrade.kubernetes))


def _is_older(present: str, wanted: str) -> bool:
    return bool(present) and version_order(present) < version_order(wanted)


def requests_of(
    plane: ControlPlane, name: str, upgrades: Mapping[Cloud, UpgradeRequest], reason: str
) -> dict[str, OperationRequest]:
    """Return what the deployments of each cloud are asked."""
    return {
        cloud: OperationRequest(
            request_id=f"rollout-{name}",
            kind=OperationKind.UPGRADE,
            actor=plane.actor,
            reason=reason or f"rollout {name}",
            upgrade=upgrade.model_copy(update={"rollout": name}),
        )
        for cloud, upgrade in upgrades.items()
    }


async def start(plane: ControlPlane, order: RolloutOrder) -> RolloutState:
    """Start a rollout. The same one again changes nothing.

    Raises:
        Refused: There is a rollout of this name to something else, or it is over; or the fleet is empty or too large.
    """
    size = sum(len(wave.members) for wave in order.waves)
    if not size:
        raise Refused(f"rollout {order.name!r}: no active deployment is selected that has anything to gain")
    if size > LARGEST_FLEET:
        raise Refused(f"rollout {order.name!r}: {size} deployments; at most {LARGEST_FLEET} in one, select fewer")
    with explained(f"rollout {order.name!r}"):
        try:
            await plane.client.start_workflow(
                Rollout.run,
                opened(order, datetime.now(UTC)),
                id=ids.rollout_id(order.name),
                task_queue=queues.LIFECYCLES,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(attributes.PHASE, RolloutPhase.RUNNING),
                        SearchAttributePair(attributes.RELEASE, order.version or order.target),
                        SearchAttributePair(attributes.WAITING_FOR, attributes.NOBODY),
                    ]
                ),
                static_summary=f"{order.target} for {size} deployments",
                static_details=f"Started by {order.actor}" + (f": {order.reason}" if order.reason else ""),
            )
        except WorkflowAlreadyStartedError:
            known = await state(plane, order.name)
            if known.order.target != order.target or known.phase.is_over:
                raise Refused(
                    f"rollout {order.name!r} is there already, for {known.order.target}, and is {known.phase}; "
                    "choose another name"
                ) from None
            return known
        return await state(plane, order.name)


async def state(plane: ControlPlane, name: str) -> RolloutState:
    """Return everything that is known about a rollout."""
    with explained(f"rollout {name!r}"):
        handle = _handle(plane, name)
        description = await handle.describe(rpc_timeout=plane.patience)
        if description.status is WorkflowExecutionStatus.COMPLETED:
            return await handle.result(rpc_timeout=plane.patience)
        return await handle.query(Rollout.current_state, rpc_timeout=plane.patience)


async def listed(plane: ControlPlane, *, include_closed: bool = False) -> list[ListedRollout]:
    """Return the rollouts, newest first."""
    query = "WorkflowType = 'Rollout'" + ("" if include_closed else " AND ExecutionStatus = 'Running'")
    with explained("the list"):
        return [
            ListedRollout(
                name=execution.id.partition("/")[2],
                phase=execution.typed_search_attributes.get(attributes.PHASE, ""),
                release=execution.typed_search_attributes.get(attributes.RELEASE, ""),
                waiting_for=execution.typed_search_attributes.get(attributes.WAITING_FOR, ""),
                started_at=execution.start_time,
                open=execution.status is WorkflowExecutionStatus.RUNNING,
            )
            async for execution in plane.client.list_workflows(query)
        ]


async def pause(plane: ControlPlane, name: str, reason: str) -> RolloutState:
    """Keep everybody from being asked and from starting, until it is resumed."""
    return await _update(plane, name, Rollout.pause, RolloutRequest(actor=plane.actor, reason=reason))


async def resume(plane: ControlPlane, name: str, reason: str) -> RolloutState:
    """Go on after a pause or a halt; the failures so far have been looked at and count no more."""
    return await _update(plane, name, Rollout.resume, RolloutRequest(actor=plane.actor, reason=reason))


async def halt(plane: ControlPlane, name: str, reason: str) -> RolloutState:
    """Halt: nobody starts, those under way stop at their next checkpoint."""
    return await _update(plane, name, Rollout.halt, RolloutRequest(actor=plane.actor, reason=reason))


async def end(plane: ControlPlane, name: str, reason: str) -> RolloutState:
    """End for good: what has not started is taken back."""
    return await _update(plane, name, Rollout.end, RolloutRequest(actor=plane.actor, reason=reason))


async def approve_wave(plane: ControlPlane, name: str, wave: WaveName, reason: str) -> RolloutState:
    """Let a wave begin."""
    return await _update(plane, name, Rollout.approve_wave, WaveApproval(wave=wave, actor=plane.actor, reason=reason))


async def approve_override(plane: ControlPlane, name: str, reason: str) -> RolloutState:
    """Approve that an urgent rollout passes over windows and notice."""
    return await _update(plane, name, Rollout.approve_override, RolloutRequest(actor=plane.actor, reason=reason))


async def specifications(plane: ControlPlane, members: Iterable[Member]) -> dict[str, DeploymentState]:
    """Return what is known of each deployment, asked side by side; one that has gone meanwhile is left out."""
    known: dict[str, DeploymentState] = {}
    gate = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(name: str) -> None:
        async with gate:
            try:
                known[name] = await plane.deployment(name)
            except NotFound:
                return

    await asyncio.gather(*(ask(member.deployment) for member in members))
    return known


async def _update(plane: ControlPlane, name: str, update: Any, request: Model) -> RolloutState:  # noqa: ANN401
    with explained(f"rollout {name!r}"):
        changed: RolloutState = await _handle(plane, name).execute_update(
            update, request, rpc_timeout=plane.patience + timedelta(seconds=1)
        )
        return changed


def _handle(plane: ControlPlane, name: str) -> WorkflowHandle[Any, RolloutState]:
    return plane.client.get_workflow_handle(ids.rollout_id(name), result_type=RolloutState)
