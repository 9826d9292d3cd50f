"""What people say about an upgrade that waits (now, in the next window, later, not at all), and what they are told."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from domain.actor import Actor
from domain.approval import ApprovalPolicy, Side
from domain.maintenance import MaintenancePolicy, Opening
from domain.model import Model
from domain.upgrade import Override


class PendingChoice(StrEnum):
    """What may be decided about an upgrade that waits."""

    IMMEDIATE = "immediate"
    """As soon as its turn comes, without notice, outside of windows."""
    NEXT_WINDOW = "next-window"
    """In the next window, without waiting for the end of its notice or of a deferral."""
    UNDO = "undo"
    """Neither: as it was before it was hurried."""
    DEFER = "defer"
    """A week later; twice at most."""
    WITHDRAW = "withdraw"
    """Not at all. What a parked upgrade has done already stays."""


class PendingDecision(Model):
    """Somebody decides when an upgrade that waits is done."""

    operation_id: str
    choice: PendingChoice
    actor: Actor
    reason: str = ""
    request_id: str = ""
    """The same id decides once, however often it is sent; empty: each counts."""


class PendingStanding(Model):
    """The answer to a decision: when the upgrade is done."""

    operation_id: str
    withdrawn: bool = False
    available_at: datetime | None = None
    """When its notice ends."""
    auto_apply_after: datetime | None = None
    """The first window after this is its own."""
    opt_in: str = ""
    """`immediate` or `next-window` if somebody hurried it."""
    deferrals_left: int = 0
    opening: Opening | None = None
    """The window in which it is to start, as computed last; None while it is being computed."""


class OverrideDecision(Model):
    """Somebody approves that an urgent upgrade does not wait for window, exclusion and notice, or takes that back."""

    operation_id: str
    actor: Actor
    side: Side = Side.VENDOR
    reason: str = ""


class OverrideStanding(Model):
    """The answer: where the override stands."""

    operation_id: str
    override: Override | None = None
    """None once it was taken back."""
    missing: int = 0
    """How many approvers it still needs."""


class MaintenanceChange(Model):
    """New windows and exclusions of a deployment. They take effect at once."""

    request_id: str
    policy: MaintenancePolicy
    actor: Actor
    reason: str = ""
    approvals: ApprovalPolicy | None = None
    """The account's policy when this was asked for; None: the one that the deployment was told last."""


class BrokenWindow(Model):
    """The receipt of an upgrade that was begun outside of the windows."""

    operation_id: str
    started_at: datetime
    ended_at: datetime | None = None
    """None while it runs."""
    approvers: tuple[Actor, ...] = ()
    """Who approved the override; nobody where what ran expired."""
    reason: str = ""
    next_window: Opening | None = None
    """The window for which it would have waited; None if none was known."""
