"""What is shown of upgrades that wait, and of windows that were broken, in the Temporal UI and to operators."""

from __future__ import annotations

from datetime import datetime

from domain.appointment import OVERRIDE_APPROVERS, Appointment, fingerprint, is_forced, overrides
from domain.maintenance import MaintenancePolicy
from domain.pending import BrokenWindow, PendingChoice
from domain.state import DeploymentState, QueuedOperation
from domain.text import escaped, instant, table


def policy_of(state: DeploymentState) -> MaintenancePolicy:
    """Return a deployment's windows and exclusions."""
    spec = state.order.spec
    return MaintenancePolicy(windows=spec.windows, exclusions=spec.exclusions)


def upgrades_waiting(state: DeploymentState) -> list[tuple[QueuedOperation, Appointment]]:
    """Return the upgrades in a deployment's queue, in the order in which they are done."""
    return [(queued, queued.appointment) for queued in state.queue if queued.appointment is not None]


def window_in_words(booked: Appointment, policy: MaintenancePolicy) -> str:
    """Return when an upgrade is to start, or why that is not known."""
    if booked.escalated or booked.failure:
        return f"waits for an operator: {booked.escalated or booked.failure}"
    if booked.opt_in is PendingChoice.IMMEDIATE:
        return "at once, outside of windows"
    if booked.opening is None or booked.found_for != fingerprint(booked, policy):
        return "its window is being computed"
    span = f"from {instant(booked.opening.at)}, in the window until {instant(booked.opening.end)}"
    return span if booked.cleared or not booked.rollout else f"{span}, when rollout {booked.rollout} has cleared it"


def conditions_in_words(booked: Appointment, now: datetime) -> str:
    """Return what else decides when an upgrade starts: deferrals, parks, its override, when it is forced."""
    said = []
    if booked.done:
        said.append(f"{len(booked.done)} of {len(booked.stages)} stages are done")
    if booked.deferrals:
        said.append(f"deferred {booked.deferrals} times, until {instant(booked.auto_apply_after)}")
    if booked.opt_in is PendingChoice.NEXT_WINDOW:
        said.append("hurried to the next window")
    if booked.parks:
        said.append(f"parked {booked.parks} times")
    if booked.override is not None and not overrides(booked, now):
        given, expires = len(booked.override.approvers), instant(booked.override.expires_at)
        said.append(f"override approved by {given} of {OVERRIDE_APPROVERS}, until {expires}")
    elif booked.override is not None:
        said.append(f"override by {' and '.join(map(str, booked.override.approvers))}")
    if is_forced(booked, now):
        said.append("forced: what runs has expired")
    elif booked.forced_at is not None:
        said.append(f"forced at {instant(booked.forced_at)}")
    return "; ".join(said)


def waiting(state: DeploymentState) -> list[str]:
    """Return a paragraph for each upgrade that waits: its next stage, its window, and what else it waits for.

    It is written once and read later, so that an override counts as it did at the newest line of the trail.
    """
    policy, now = policy_of(state), state.trail[-1].at if state.trail else state.since
    parts = []
    for queued, booked in upgrades_waiting(state):
        urgent = ", urgent" if booked.urgent else ""
        name, when = escaped(booked.next_stage.name), escaped(window_in_words(booked, policy))
        lines = [f"> **{queued.summary.operation_id}** ({name}{urgent}) {when}"]
        if more := conditions_in_words(booked, now):
            lines.append(f"> {escaped(more)}")
        irreversible = [stage.irreversible for stage in booked.left if stage.irreversible]
        lines += [f"> **Cannot be taken back:** {escaped(what)}" for what in irreversible]
        parts.append("\n>\n".join(lines))
    return parts


def broken_windows(receipts: tuple[BrokenWindow, ...]) -> list[str]:
    """Return the receipts of upgrades that were begun outside of the windows, newest first, as a table."""
    if not receipts:
        return []
    rows = [receipt_row(each) for each in reversed(receipts)]
    head = ("Operation", "Started", "Ended", "Approved by", "Why", "Window")
    return ["**Windows that were broken:**", table(head, rows)]


def receipt_row(receipt: BrokenWindow) -> tuple[str, ...]:
    """Return one receipt as the cells of a table; the last one is the window for which it would have waited."""
    return (
        receipt.operation_id,
        instant(receipt.started_at),
        instant(receipt.ended_at),
        ", ".join(map(str, receipt.approvers)) or "-",
        receipt.reason,
        instant(receipt.next_window.at) if receipt.next_window else "-",
    )
