"""Overrides: that an urgent upgrade does not wait for window, exclusion and notice, which two persons have to approve.

An override never passes over preflight, backup or canary, nor over the account's approvals of plans. What has not
started when it expires waits for its window.
"""

from __future__ import annotations

from datetime import datetime

from domain.actor import Actor
from domain.appointment import OVERRIDE_APPROVERS, Appointment, Notices, is_urgent, overrides
from domain.approval import Approvers, folded
from domain.pending import OverrideDecision, OverrideStanding
from domain.text import instant
from domain.upgrade import Override, UpgradeRequest

_NOT_URGENT = "only a release of critical severity may be done outside of the windows"


def refusal_to_ask(request: UpgradeRequest, requester: Actor, notices: Notices, now: datetime) -> str:
    """Return why an override cannot be asked for together with an upgrade."""
    override = request.override
    if override is None:
        return ""
    if not is_urgent(request):
        return _NOT_URGENT
    names = [folded(approver.name) for approver in override.approvers]
    if folded(requester.name) in names:
        return f"{requester.name} asks for it and cannot approve its override as well"
    if len(set(names)) < len(names):
        return "the approvers of an override are different persons"
    if override.expires_at > now + notices.override:
        return f"an override is good until {instant(now + notices.override)} at most"
    return "" if override.expires_at > now else "the override has expired already"


def refusal_to_override(
    appointment: Appointment, decision: OverrideDecision, requester: Actor, approvers: Approvers, now: datetime
) -> str:
    """Return why somebody cannot approve an override."""
    if not appointment.urgent:
        return _NOT_URGENT
    if refusal := _refusal_to_speak(decision, approvers):
        return refusal
    if folded(decision.actor.name) == folded(requester.name):
        return f"{requester.name} asked for {decision.operation_id} and cannot approve its override as well"
    if decision.reason.strip() == "" and not _asked(appointment, now):
        return "an override needs a reason"
    if overrides(appointment, now) and not has_approved(appointment, decision.actor, now):
        return "the override is approved already"
    return ""


def refusal_to_take_back(appointment: Appointment, decision: OverrideDecision, approvers: Approvers) -> str:
    """Return why somebody cannot take an override back. Whoever approved it always can."""
    if appointment.override is None:
        return f"there is no override of {decision.operation_id}"
    if folded(decision.actor.name) in {folded(each.name) for each in appointment.override.approvers}:
        return ""
    return _refusal_to_speak(decision, approvers)


def has_approved(appointment: Appointment, actor: Actor, now: datetime) -> bool:
    """Return whether somebody has approved the present override already."""
    given = _asked(appointment, now)
    return given is not None and folded(actor.name) in {folded(each.name) for each in given.approvers}


def approve_override(
    appointment: Appointment, decision: OverrideDecision, notices: Notices, now: datetime
) -> Appointment:
    """Return the appointment with one more approver of its override; the first approval asks for it."""
    known = _asked(appointment, now)
    if known is None:
        known = Override(reason=decision.reason, expires_at=now + notices.override)
    if folded(decision.actor.name) not in {folded(each.name) for each in known.approvers}:
        known = known.model_copy(update={"approvers": (*known.approvers, decision.actor)})
    return appointment.model_copy(update={"override": known})


def override_expired(appointment: Appointment, now: datetime) -> bool:
    """Return whether there is an override that is not good any more."""
    return appointment.override is not None and appointment.override.expires_at <= now


def _asked(appointment: Appointment, now: datetime) -> Override | None:
    return None if override_expired(appointment, now) else appointment.override


def _refusal_to_speak(decision: OverrideDecision, approvers: Approvers) -> str:
    named = approvers.of(decision.side)
    if named and folded(decision.actor.name) not in {folded(name) for name in named}:
        return f"{decision.actor.name} may not decide for the {decision.side} (approvers: {', '.join(named)})"
    return ""


def override_standing(appointment: Appointment, operation_id: str) -> OverrideStanding:
    """Return where an override stands."""
    override = appointment.override
    return OverrideStanding(operation_id=operation_id, override=override, missing=missing_approvers(override))


def missing_approvers(override: Override | None) -> int:
    """Return how many persons have yet to approve an override."""
    given = len(override.approvers) if override else 0
    return max(OVERRIDE_APPROVERS - given, 0)
