"""Following an operation until it is over: also while it waits for approval, for its window, or for the customer."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from rich.markup import escape

from domain import appointment
from domain.approval import missing
from domain.maintenance_text import policy_of, upgrades_waiting
from domain.operation import OperationPhase, OperationProgress
from domain.state import DeploymentPhase, DeploymentState, OperationAccepted, OperationSummary
from starters.cli.approvals import SHORT
from starters.cli.asking import ask
from starters.cli.errors import Exit, fail
from starters.cli.output import stdout
from starters.cli.watching import watch
from starters.client import ControlPlane, Refused

_LOOKS = 100
"""How often, every fifth of a second, an operation that was queued is looked for."""
_PAUSE = 0.2
"""Seconds."""
_NOT_ANY_MORE = (OperationPhase.DECLINED, OperationPhase.SUPERSEDED)


def print_queued(accepted: OperationAccepted) -> None:
    """Print that an operation is queued, and what keeps it from starting."""
    stdout.print(f"{accepted.operation_id} is queued.")
    if accepted.parked:
        stdout.print(escape(parked(accepted.parked)))


def parked(why: str) -> str:
    """Return what keeps an operation from starting while the customer holds the account, as sentences."""
    return f"Parked: {why}. It goes on by itself after the release; nothing has to be asked again."


def watch_newest(name: str, operation: str = "") -> None:
    """Watch the newest (or the named) operation, print how it ended, and leave with a code that says so."""

    async def watching(plane: ControlPlane) -> OperationProgress | None:
        started = await _started(plane, name, operation)
        while started.started_at is not None and started.phase not in _NOT_ANY_MORE:
            progress = await watch(plane, started.workflow_id, stdout)
            if progress.phase is not OperationPhase.PARKED:
                return progress
            await _until_queued_again(plane, name, started)
            started = await _started(plane, name, started.operation_id)
        return None

    try:
        ended = ask(watching)
    except (KeyboardInterrupt, asyncio.CancelledError):
        stdout.print(f"\nStopped watching. The work goes on: `byoc deployments watch {name}` shows it again.")
        sys.exit(Exit.INTERRUPTED)
    if ended is None:
        fail("the operation does not run: it was declined or withdrawn, or another one takes its place", Exit.ABORTED)
        return
    stdout.print(f"{ended.operation} is {ended.phase}.")
    state = ask(lambda plane: plane.deployment(name))
    if state.phase is DeploymentPhase.RETIRED:
        stdout.print(f"`byoc deployments receipt {name}` prints the receipt.")
    if ended.phase is not OperationPhase.DONE:
        sys.exit(Exit.ABORTED)


async def _started(plane: ControlPlane, name: str, operation: str) -> OperationSummary:
    """Return the named operation, or the newest, once it has started or was declined.

    It waits a moment for one that was just queued, and as long as it takes for one that has to be approved, that waits
    for its window (once more, if it has parked), or that is parked until the customer releases the account.
    """
    looks, told = 0, ""
    while looks < _LOOKS:
        state = await plane.deployment(name)
        queued = [each.summary for each in state.queue]
        running = [state.running.summary] if state.running else []
        known = [*state.past, *running, *queued]
        named = [each for each in known if operation in ("", each.operation_id)]
        if operation and not named:
            ids = ", ".join(each.operation_id for each in known) or "none"
            raise Refused(f"deployment {name!r} has no operation {operation!r} (operations: {ids})")
        if named and named[-1] not in queued and (named[-1].started_at is not None or named[-1].phase in _NOT_ANY_MORE):
            return named[-1]
        operation = named[-1].operation_id if named else operation
        waits = _why_not_started(state, name, operation)
        if waits and waits != told:
            stdout.print(escape(waits), soft_wrap=True)
        looks, told = (0 if waits else looks + 1), waits
        await asyncio.sleep(_PAUSE)
    raise Refused(f"deployment {name!r} has queued an operation that does not start; is a worker running?")


async def _until_queued_again(plane: ControlPlane, name: str, parked_one: OperationSummary) -> None:
    """Wait until a deployment knows that its upgrade has parked, or has gone on with it already."""
    while True:
        running = (await plane.deployment(name)).running
        if running is None or running.summary.operation_id != parked_one.operation_id:
            return
        if (await plane.progress(parked_one.workflow_id)).phase is not OperationPhase.PARKED:
            return
        await asyncio.sleep(_PAUSE)


def _why_not_started(state: DeploymentState, name: str, operation: str) -> str:
    """Return what a queued operation waits for before anybody runs it, or nothing if only for its turn."""
    if waits := _waits_for_approval(state, operation):
        return f"{waits} `byoc approvals show {name} {operation}` shows the plan."
    policy, now = policy_of(state), datetime.now(UTC)
    for queued, booked in upgrades_waiting(state):
        if queued.summary.operation_id != operation:
            continue
        if obstacle := appointment.obstacle(booked, policy, now):
            return f"{operation} {obstacle}."
        if booked.rollout and not booked.cleared:
            return f"{operation} waits until the rollout {booked.rollout} lets it start."
    standing = state.standing
    return parked(standing.hold_in_words()) if standing is not None and standing.parks else ""


def _waits_for_approval(state: DeploymentState, operation: str) -> str:
    """Return what a queued operation waits for before anybody runs it, or nothing if it is nobody's approval."""
    books = (queued.approval for queued in state.queue if queued.summary.operation_id == operation)
    book = next((book for book in books if book is not None), None)
    if book is None:
        return ""
    if book.plan is None:
        return f"{operation} cannot be planned: {book.failure}." if book.failure else f"{operation} is being planned."
    asked = missing(book, datetime.now(UTC))
    if not asked:
        return f"{operation} is approved, and waits for its turn."
    return f"{operation} waits for approval by the {' and the '.join(asked)}: plan {book.plan.hash[:SHORT]}."
