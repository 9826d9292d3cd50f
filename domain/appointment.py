"""When a queued upgrade may start: notice, window, deferral, override, and the rollout that clears it.

Rules as functions, which workflows only apply. Windows are computed elsewhere (`domain.windows`, outside of workflows);
what is kept here is the opening that was found last, and a fingerprint of what it was found for. An opening counts only
once it was computed again at or after its own instant: the policy may have changed, and machines learn new time zone
data.

A function `refusal_to_…` says why something cannot be done now, in words for who wants it; an empty string means that
it can.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.approval import Approvers, folded
from domain.maintenance import MARGIN, MaintenancePolicy, Opening, Work
from domain.model import Model
from domain.pending import PendingChoice, PendingDecision, PendingStanding
from domain.release import Severity
from domain.text import instant
from domain.upgrade import Override, Stage, StageKind, UpgradeReport, UpgradeRequest

MAX_DEFERRALS = 2
MAX_PARKS = 2
"""An upgrade that parks once more waits for an operator."""
OVERRIDE_APPROVERS = 2
KEPT_DECISIONS = 10
"""How many decisions' ids are remembered, so that one that is sent again counts once."""

_SOON = timedelta(milliseconds=1)


class Notices(Model):
    """How long before something happens it is told. Part of the order, so that a replay sees what the run saw."""

    routine: timedelta = timedelta(hours=72)
    """Before a window is used for routine work."""
    long: timedelta = timedelta(days=14)
    """For a Kubernetes minor version, and for what cannot be rolled back."""
    urgent: timedelta = timedelta(hours=1)
    """For a release of critical severity."""
    deferral: timedelta = timedelta(days=7)
    """How much later one deferral makes it."""
    override: timedelta = timedelta(hours=24)
    """How long an override is good for, from when it was asked for."""
    reminder: timedelta = timedelta(hours=24)
    """How often, at least, who has to approve is reminded."""
    last_reminder: timedelta = timedelta(hours=1)
    """How long before the window nobody is reminded any more."""


class Appointment(Model):
    """When a queued upgrade may start, and what is left of it."""

    stages: tuple[Stage, ...]
    """All of them, in order, as computed from where the deployment stood."""
    done: tuple[str, ...] = ()
    """Names of the stages that are done."""
    urgent: bool = False
    """Of critical severity: it goes before everything that is not."""
    asked_at: datetime
    available_at: datetime
    """When its notice ends."""
    auto_apply_after: datetime
    """The first window after this is its own: the end of its notice, or of a deferral."""
    forced_at: datetime | None = None
    """When it is applied even outside of a window; None: never."""
    opt_in: PendingChoice | None = None
    """IMMEDIATE or NEXT_WINDOW if somebody hurried it."""
    deferrals: int = 0
    parks: int = 0
    """How often a window was too short for what was left. A stop on request, or for a bake, does not count."""
    escalated: str = ""
    """Why it waits for an operator; empty if it does not."""
    baked_at: datetime | None = None
    """Until when the last stage bakes."""
    override: Override | None = None
    rollout: str = ""
    """Name of the rollout that it is part of."""
    cleared: bool = False
    """Whether the rollout has cleared its start."""
    opening: Opening | None = None
    """The window that was found last."""
    found_at: datetime | None = None
    """For which instant it was computed."""
    found_for: str = ""
    """Fingerprint of the policy and the question that it was computed from."""
    failure: str = ""
    """Why no window could be found; empty otherwise."""
    look_again_at: datetime | None = None
    """After a failure."""
    reminded_at: datetime | None = None
    """When who has to approve was reminded last."""
    decided: tuple[str, ...] = ()
    """Ids of the newest decisions about it."""
    window_ends: datetime | None = None
    """While it runs: the end of its window; None outside of any."""
    overran: bool = False
    """While it runs: whether its window has ended."""
    stopped: str = ""
    """While it runs: why it was asked to stop at its next checkpoint; empty if it was not."""
    reported: str = ""
    """What its rollout was told last."""

    @property
    def left(self) -> tuple[Stage, ...]:
        """The stages that are still to be done."""
        return tuple(stage for stage in self.stages if stage.name not in self.done)

    @property
    def next_stage(self) -> Stage:
        """The stage with which it goes on; there is one as long as it is queued."""
        return self.left[0]

    @property
    def work(self) -> Work:
        """What the next stage disturbs."""
        return self.next_stage.kind.work

    @property
    def need(self) -> timedelta:
        """How much of a window the next stage needs."""
        return self.next_stage.need

    @property
    def has_begun(self) -> bool:
        """Whether something of it was done already."""
        return bool(self.done)


# Making one


def is_urgent(request: UpgradeRequest) -> bool:
    """Return whether an upgrade goes before all that is routine."""
    return request.release is not None and request.release.severity is Severity.CRITICAL


def appointed(request: UpgradeRequest, stages: tuple[Stage, ...], notices: Notices, now: datetime) -> Appointment:
    """Return the appointment of an upgrade that was just asked for."""
    urgent = is_urgent(request)
    long = any(stage.kind is StageKind.CONTROL_PLANE or stage.irreversible for stage in stages)
    notice = notices.urgent if urgent else notices.long if long else notices.routine
    return Appointment(
        stages=stages,
        urgent=urgent,
        asked_at=now,
        available_at=now + notice,
        auto_apply_after=now + notice,
        forced_at=request.forced_at,
        override=request.override,
        rollout=request.rollout,
    )


def parked(appointment: Appointment, report: UpgradeReport, now: datetime) -> Appointment:
    """Return the appointment of an upgrade that has stopped between two stages."""
    bakes = report.not_before is not None and report.not_before > now
    parks = appointment.parks + (0 if bakes or appointment.stopped else 1)
    left = f"; {report.next_stage} is next" if report.next_stage else ""
    return appointment.model_copy(
        update={
            "done": tuple(dict.fromkeys((*appointment.done, *report.done))),
            "parks": parks,
            "escalated": f"its windows were too short {parks} times{left}" if parks > MAX_PARKS else "",
            "baked_at": report.not_before,
            "opt_in": None,
            "cleared": False,
            "opening": None,
            "found_at": None,
            "found_for": "",
            "window_ends": None,
            "overran": False,
            "stopped": "",
        }
    )


# When


def earliest(appointment: Appointment) -> datetime | None:
    """Return the instant before which no window is used; None: the next one will do."""
    instants = [appointment.baked_at]
    if appointment.opt_in is None and not appointment.has_begun:
        instants.append(appointment.auto_apply_after)
    return max((each for each in instants if each is not None), default=None)


def fingerprint(appointment: Appointment, policy: MaintenancePolicy) -> str:
    """Return what tells whether an opening was computed for what is wanted now.

    Values that are a field's default are left out: a field that a later version adds must not change what an earlier
    one has kept.
    """
    content = {
        "policy": policy.model_dump(mode="json", exclude_defaults=True),
        "work": appointment.work,
        "need": appointment.need.total_seconds(),
        "earliest": str(earliest(appointment)),
        "urgent": appointment.urgent,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def must_look(appointment: Appointment, policy: MaintenancePolicy, now: datetime) -> bool:
    """Return whether a window has to be computed now: none is known, it has come, it is over, or was for another."""
    opening = appointment.opening
    if appointment.found_for != fingerprint(appointment, policy):
        return True
    if opening is None or appointment.found_at is None:
        return appointment.look_again_at is None or appointment.look_again_at <= now
    return appointment.found_at < opening.at <= now or now > latest_start(appointment, opening)


def latest_start(appointment: Appointment, opening: Opening) -> datetime:
    """Return the last instant at which the next stage still fits into a window."""
    return opening.end - MARGIN - appointment.need


def is_open(appointment: Appointment, policy: MaintenancePolicy, now: datetime) -> bool:
    """Return whether the next stage fits into a window that is open now, by the policy as it is now."""
    opening, found_at = appointment.opening, appointment.found_at
    return (
        opening is not None
        and found_at is not None
        and opening.at <= found_at
        and now <= latest_start(appointment, opening)
        and appointment.found_for == fingerprint(appointment, policy)
    )


def overrides(appointment: Appointment, now: datetime) -> bool:
    """Return whether an override is in force."""
    override = appointment.override
    return override is not None and len(override.approvers) >= OVERRIDE_APPROVERS and now < override.expires_at


def is_forced(appointment: Appointment, now: datetime) -> bool:
    """Return whether it is applied without waiting for a window any more."""
    return appointment.forced_at is not None and appointment.forced_at <= now


def obstacle(appointment: Appointment, policy: MaintenancePolicy, now: datetime) -> str:
    """Return what keeps an upgrade from starting, its rollout apart, in words; empty if nothing does."""
    if appointment.escalated:
        return f"waits for an operator: {appointment.escalated}"
    if appointment.baked_at is not None and now < appointment.baked_at:
        return f"bakes until {instant(appointment.baked_at)}"
    if (
        appointment.opt_in is PendingChoice.IMMEDIATE
        or overrides(appointment, now)
        or is_forced(appointment, now)
        or is_open(appointment, policy, now)
    ):
        return ""
    if appointment.failure:
        return f"waits for an operator: {appointment.failure}"
    if appointment.opening is None or appointment.found_for != fingerprint(appointment, policy):
        return "waits for a window, which is being computed"
    return f"waits for its window, from {instant(appointment.opening.at)} to {instant(appointment.opening.end)}"


def may_start(appointment: Appointment, policy: MaintenancePolicy, now: datetime) -> bool:
    """Return whether an upgrade may start now; whether its plan is approved is another question."""
    cleared = appointment.cleared or not appointment.rollout
    return cleared and not obstacle(appointment, policy, now)


def next_instant(appointment: Appointment, policy: MaintenancePolicy, now: datetime) -> datetime | None:
    """Return when something happens by itself: a window opens or is over, a bake ends, an override expires."""
    instants = [appointment.forced_at, appointment.baked_at, appointment.look_again_at]
    if appointment.opening is not None and not must_look(appointment, policy, now):
        instants += [appointment.opening.at, latest_start(appointment, appointment.opening) + _SOON]
    if appointment.override is not None:
        instants.append(appointment.override.expires_at)
    return min((each for each in instants if each is not None and each > now), default=None)


def next_reminder(appointment: Appointment, notices: Notices) -> datetime | None:
    """Return when who has to approve is reminded: after half of the time until the window, at least once a day."""
    if appointment.opening is None:
        return None
    last = appointment.reminded_at or appointment.asked_at
    left = appointment.opening.at - last
    if left <= notices.last_reminder:
        return None
    return last + min(left / 2, notices.reminder)


def computed(
    appointment: Appointment, openings: Sequence[Opening], found_for: str, found_at: datetime, look_again_at: datetime
) -> Appointment:
    """Return the appointment with what was computed: the next opening, or that there is none."""
    opening = openings[0] if openings else None
    failure = "" if opening else f"no window fits {appointment.next_stage.name} ({appointment.need})"
    return appointment.model_copy(
        update={
            "opening": opening,
            "found_at": found_at,
            "found_for": found_for,
            "failure": failure,
            "look_again_at": None if opening else look_again_at,
        }
    )


def uncomputed(appointment: Appointment, failure: str, found_for: str, look_again_at: datetime) -> Appointment:
    """Return the appointment without an opening, because none could be computed."""
    changes = {"opening": None, "found_at": None, "failure": failure, "found_for": found_for}
    return appointment.model_copy(update={**changes, "look_again_at": look_again_at})


# What people decide


def refusal_to_decide(
    appointment: Appointment, decision: PendingDecision, approvers: Approvers, notices: Notices, now: datetime
) -> str:
    """Return why somebody cannot decide so about an upgrade that waits.

    A window is the customer's: where the customer's approvers are named, only they give it up.
    """
    hurries = decision.choice in (PendingChoice.IMMEDIATE, PendingChoice.NEXT_WINDOW)
    named = {folded(name) for name in approvers.customer}
    if hurries and not appointment.escalated and named and folded(decision.actor.name) not in named:
        return f"{decision.actor.name} may not give up the customer's notice (may: {', '.join(approvers.customer)})"
    if decision.choice is PendingChoice.DEFER:
        return refusal_to_defer(appointment, notices, now)
    if decision.choice is PendingChoice.WITHDRAW and is_forced(appointment, now):
        return "what runs has expired: it cannot be withdrawn any more"
    return ""


def refusal_to_defer(appointment: Appointment, notices: Notices, now: datetime) -> str:
    """Return why an upgrade cannot be deferred by one more week."""
    if appointment.urgent:
        return "it is urgent and cannot be deferred"
    if appointment.has_begun:
        return "it has begun and cannot be deferred any more; it goes on in its next window"
    if appointment.deferrals >= MAX_DEFERRALS:
        return f"it was deferred {appointment.deferrals} times already, which is the most"
    until = max(appointment.auto_apply_after, now) + notices.deferral
    if appointment.forced_at is not None and until > appointment.forced_at:
        return f"it is forced at {instant(appointment.forced_at)}; deferred it would wait until {instant(until)}"
    return ""


def decide(appointment: Appointment, decision: PendingDecision, notices: Notices, now: datetime) -> Appointment:
    """Return the appointment after a decision; `refusal_to_decide` has said that it can be taken."""
    decided = (*appointment.decided, *([decision.request_id] if decision.request_id else []))[-KEPT_DECISIONS:]
    changes: dict[str, object] = {"decided": decided}
    match decision.choice:
        case PendingChoice.IMMEDIATE | PendingChoice.NEXT_WINDOW:
            changes |= {"opt_in": decision.choice, "escalated": ""}
            changes |= {"parks": 0} if appointment.escalated else {}
        case PendingChoice.UNDO:
            changes |= {"opt_in": None}
        case PendingChoice.DEFER:
            until = max(appointment.auto_apply_after, now) + notices.deferral
            changes |= {"opt_in": None, "deferrals": appointment.deferrals + 1, "auto_apply_after": until}
        case PendingChoice.WITHDRAW:
            pass
    return appointment.model_copy(update=changes)


def standing(appointment: Appointment, operation_id: str, policy: MaintenancePolicy) -> PendingStanding:
    """Return what who has decided is told."""
    known = appointment.found_for == fingerprint(appointment, policy)
    left = MAX_DEFERRALS - appointment.deferrals
    return PendingStanding(
        operation_id=operation_id,
        available_at=appointment.available_at,
        auto_apply_after=appointment.auto_apply_after,
        opt_in=appointment.opt_in or "",
        deferrals_left=0 if appointment.urgent or appointment.has_begun else left,
        opening=appointment.opening if known else None,
    )
