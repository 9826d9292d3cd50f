"""When a queued upgrade may start: each rule as a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from domain.actor import Actor, Door
from domain.appointment import (
    Appointment,
    Notices,
    appointed,
    computed,
    decide,
    earliest,
    fingerprint,
    is_open,
    may_start,
    must_look,
    next_instant,
    next_reminder,
    parked,
    refusal_to_decide,
    refusal_to_defer,
    uncomputed,
)
from domain.approval import Approvers
from domain.maintenance import Exclusion, MaintenancePolicy, Opening
from domain.override import approve_override, refusal_to_ask, refusal_to_override, refusal_to_take_back
from domain.pending import OverrideDecision, PendingChoice, PendingDecision
from domain.release import Release, Severity
from domain.supersession import Relation, left_of, relation_of, unreached
from domain.upgrade import Override, Stage, StageKind, UpgradeReport, UpgradeRequest
from tests.workflows.orders import release

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOTICES, POLICY = Notices(), MaintenancePolicy()
ADA, BOB, CARL, DORA = (Actor(name=name, door=Door.CLI) for name in ("ada", "bob", "carl", "dora"))
SERVER = Stage(name="server 4.12.2", kind=StageKind.SERVER, need=HOUR)
NODES = Stage(name="nodes 1.34 store", kind=StageKind.NODES, need=HOUR, kubernetes="1.34")
PLANE = Stage(name="control-plane 1.34", kind=StageKind.CONTROL_PLANE, need=HOUR, kubernetes="1.34")


def newer(version: str = "4.12.2", severity: Severity = Severity.ROUTINE) -> Release:
    return release().model_copy(update={"version": version, "severity": severity})


def waiting(**changes: Any) -> Appointment:
    """Return an appointment whose notice is over, with a window from tomorrow on that was computed just now."""
    plain = Appointment(stages=(SERVER,), asked_at=NOW - 4 * DAY, available_at=NOW - DAY, auto_apply_after=NOW - DAY)
    plain = plain.model_copy(update=changes)
    opening = Opening(start=NOW + DAY, end=NOW + DAY + 4 * HOUR, at=NOW + DAY + HOUR)
    return computed(plain, [opening], fingerprint(plain, POLICY), NOW, NOW + HOUR)


def confirmed(at: datetime, **changes: Any) -> Appointment:
    """Return it as it is once its window was computed again at an instant in it."""
    known = waiting(**changes)
    opening = Opening(start=NOW + DAY, end=NOW + DAY + 4 * HOUR, at=at)
    return computed(known, [opening], fingerprint(known, POLICY), at, at + HOUR)


def decision(choice: PendingChoice, actor: Actor = ADA) -> PendingDecision:
    return PendingDecision(operation_id="upgrade/2", choice=choice, actor=actor)


@pytest.mark.parametrize(
    ("stages", "severity", "notice"),
    [
        ((SERVER,), Severity.ROUTINE, 72 * HOUR),
        ((SERVER,), Severity.IMPORTANT, 72 * HOUR),
        ((NODES,), Severity.ROUTINE, 72 * HOUR),
        ((PLANE, NODES), Severity.ROUTINE, 14 * DAY),
        ((SERVER.model_copy(update={"irreversible": "formats"}),), Severity.ROUTINE, 14 * DAY),
        ((SERVER.model_copy(update={"irreversible": "formats"}),), Severity.CRITICAL, HOUR),
    ],
)
def test_the_notice_is_that_of_the_gravest_stage(
    stages: tuple[Stage, ...], severity: Severity, notice: timedelta
) -> None:
    """Routine three days, a Kubernetes minor version and what is irreversible two weeks, what is critical an hour."""
    booked = appointed(UpgradeRequest(release=newer(severity=severity)), stages, NOTICES, NOW)

    assert booked.available_at == booked.auto_apply_after == earliest(booked) == NOW + notice


def test_a_window_counts_once_it_was_computed_again_when_it_came() -> None:
    """Known before, it only sets the alarm; looked at again in time, it is open until the stage no longer fits."""
    at = NOW + DAY + HOUR
    known = waiting()

    assert next_instant(known, POLICY, NOW) == at
    assert not must_look(known, POLICY, NOW)
    assert (must_look(known, POLICY, at), is_open(known, POLICY, at)) == (True, False)
    again = confirmed(at)
    last = NOW + DAY + 4 * HOUR - timedelta(minutes=75)
    assert (is_open(again, POLICY, at), is_open(again, POLICY, last)) == (True, True)
    assert not is_open(again, POLICY, last + timedelta(seconds=1))
    assert must_look(again, POLICY, last + timedelta(seconds=1))


def test_another_policy_makes_a_window_void() -> None:
    """What was computed from the policy before neither lets start nor waits."""
    other = MaintenancePolicy(exclusions=(Exclusion.model_validate({"from": "2026-06-02", "to": "2026-06-03"}),))
    again = confirmed(NOW + DAY + HOUR)

    assert must_look(again, other, NOW + DAY + HOUR)
    assert not may_start(again, other, NOW + DAY + HOUR)


def test_a_failure_is_looked_at_again_later_or_when_the_policy_changes() -> None:
    """A zone that nobody knows makes no busy loop."""
    failed = uncomputed(waiting(), "no such zone", fingerprint(waiting(), POLICY), NOW + HOUR)

    assert [must_look(failed, POLICY, NOW + span) for span in (timedelta(0), HOUR)] == [False, True]
    assert next_instant(failed, POLICY, NOW) == NOW + HOUR


@pytest.mark.parametrize(
    ("changes", "starts"),
    [
        ({}, False),
        ({"opt_in": PendingChoice.IMMEDIATE}, True),
        ({"opt_in": PendingChoice.IMMEDIATE, "rollout": "r"}, False),
        ({"opt_in": PendingChoice.IMMEDIATE, "rollout": "r", "cleared": True}, True),
        ({"opt_in": PendingChoice.IMMEDIATE, "baked_at": NOW + HOUR}, False),
        ({"opt_in": PendingChoice.IMMEDIATE, "escalated": "parked"}, False),
        ({"forced_at": NOW}, True),
        ({"forced_at": NOW + HOUR}, False),
        ({"override": Override(reason="r", approvers=(BOB, CARL), expires_at=NOW + HOUR)}, True),
        ({"override": Override(reason="r", approvers=(BOB, CARL), expires_at=NOW)}, False),
        ({"override": Override(reason="r", approvers=(BOB,), expires_at=NOW + HOUR)}, False),
    ],
)
def test_what_lets_an_upgrade_start_before_its_window(changes: dict[str, Any], starts: bool) -> None:
    """A wish of the customer's, an override of two, what expires; never without clearance, nor during a bake."""
    assert may_start(waiting(**changes), POLICY, NOW) is starts


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({}, ""),
        ({"deferrals": 1}, ""),
        ({"deferrals": 2}, "deferred 2 times"),
        ({"urgent": True}, "urgent"),
        ({"done": ("x",)}, "has begun"),
        ({"forced_at": NOW + 6 * DAY}, "forced at"),
        ({"forced_at": NOW + 7 * DAY}, ""),
    ],
)
def test_what_keeps_an_upgrade_from_being_deferred(changes: dict[str, Any], refusal: str) -> None:
    """Twice at most, never past its forced instant, never what is urgent or has begun."""
    said = refusal_to_defer(waiting(**changes), NOTICES, NOW)

    assert refusal in said
    assert bool(said) is bool(refusal)


def test_decisions_move_the_earliest_instant() -> None:
    """A deferral counts from now or the end of the notice, the later one; hurrying gives it up until undone."""
    deferred = decide(waiting(), decision(PendingChoice.DEFER), NOTICES, NOW)

    assert earliest(deferred) == NOW + 7 * DAY
    hurried = decide(deferred, decision(PendingChoice.NEXT_WINDOW), NOTICES, NOW)
    assert earliest(hurried) is None
    assert earliest(decide(hurried, decision(PendingChoice.UNDO), NOTICES, NOW)) == NOW + 7 * DAY


def test_only_the_customers_approvers_give_up_their_notice() -> None:
    """Where they are named; an upgrade that was escalated may be resumed by an operator."""
    named = Approvers(customer=("Bob",))
    asked = decision(PendingChoice.IMMEDIATE)

    assert "may not give up" in refusal_to_decide(waiting(), asked, named, NOTICES, NOW)
    assert not refusal_to_decide(waiting(), decision(PendingChoice.IMMEDIATE, BOB), named, NOTICES, NOW)
    assert not refusal_to_decide(waiting(escalated="parked"), asked, named, NOTICES, NOW)


@pytest.mark.parametrize(
    ("before", "report", "parks", "escalated"),
    [
        ({}, UpgradeReport(), 1, False),
        ({"parks": 2}, UpgradeReport(), 3, True),
        ({"parks": 2}, UpgradeReport(not_before=NOW + HOUR), 2, False),
        ({"parks": 2, "stopped": "urgent"}, UpgradeReport(), 2, False),
    ],
)
def test_only_windows_that_were_too_short_count_as_parks(
    before: dict[str, Any], report: UpgradeReport, parks: int, escalated: bool
) -> None:
    """A bake and a stop on request are as planned; the third park is somebody's to look at."""
    again = parked(waiting(**before), report.model_copy(update={"done": ("control-plane 1.34",)}), NOW)

    assert (again.parks, bool(again.escalated), again.opening, again.cleared) == (parks, escalated, None, False)
    assert again.done == ("control-plane 1.34",)


def test_reminders_come_daily_and_then_at_half_of_what_is_left() -> None:
    """The last hour is left in peace."""
    booked = waiting(asked_at=NOW - 2 * DAY)
    reminders = []
    while (instant := next_reminder(booked, NOTICES)) is not None:
        reminders.append(instant)
        booked = booked.model_copy(update={"reminded_at": instant})

    assert reminders[0] == NOW - DAY
    assert all(later - earlier <= DAY for earlier, later in pairwise(reminders))
    assert NOW + DAY - HOUR < reminders[-1] < NOW + DAY + HOUR
    assert len(reminders) < 10


@pytest.mark.parametrize(
    ("urgent", "actor", "reason", "approvers", "refusal"),
    [
        (True, BOB, "exploited", (), ""),
        (False, BOB, "exploited", (), "critical severity"),
        (True, ADA, "exploited", (), "asked for"),
        (True, BOB, "", (), "needs a reason"),
        (True, BOB, "exploited", ("carl",), "may not decide"),
    ],
)
def test_who_may_approve_an_override(
    urgent: bool, actor: Actor, reason: str, approvers: tuple[str, ...], refusal: str
) -> None:
    """Of what is critical, by others than the requester, by those who are named."""
    asked = OverrideDecision(operation_id="upgrade/2", actor=actor, reason=reason)
    said = refusal_to_override(waiting(urgent=urgent), asked, ADA, Approvers(vendor=approvers), NOW)

    assert refusal in said
    assert bool(said) is bool(refusal)


def test_an_override_needs_two_persons_within_a_day() -> None:
    """The same person twice is one; after a day the first approval is void; who gave it may take it back."""

    def approved(booked: Appointment, actor: Actor, at: datetime) -> Appointment:
        asked = OverrideDecision(operation_id="upgrade/2", actor=actor, reason="exploited")
        return approve_override(booked, asked, NOTICES, at)

    once = approved(approved(waiting(urgent=True), BOB, NOW), BOB, NOW + HOUR)
    assert once.override is not None
    assert (once.override.approvers, once.override.expires_at) == ((BOB,), NOW + DAY)
    assert not may_start(once, POLICY, NOW + HOUR)
    twice = approved(once, CARL, NOW + HOUR)
    assert may_start(twice, POLICY, NOW + HOUR)
    late = approved(once, CARL, NOW + DAY)
    assert late.override is not None
    assert late.override.approvers == (CARL,)
    word = OverrideDecision(operation_id="upgrade/2", actor=BOB)
    assert not refusal_to_take_back(twice, word, Approvers(vendor=("dora",)))
    assert refusal_to_take_back(late, word, Approvers(vendor=("dora",)))


@pytest.mark.parametrize(
    ("severity", "approvers", "lasts", "refusal"),
    [
        (Severity.CRITICAL, (BOB, CARL), DAY, ""),
        (Severity.IMPORTANT, (BOB, CARL), DAY, "critical severity"),
        (Severity.CRITICAL, (ADA, CARL), DAY, "asks for it"),
        (Severity.CRITICAL, (BOB, BOB), DAY, "different persons"),
        (Severity.CRITICAL, (BOB, CARL), DAY + HOUR, "at most"),
        (Severity.CRITICAL, (BOB, CARL), -HOUR, "expired"),
    ],
)
def test_an_override_that_comes_with_the_request_obeys_the_same_rules(
    severity: Severity, approvers: tuple[Actor, ...], lasts: timedelta, refusal: str
) -> None:
    """Severity, two different persons, neither of them who asks, a day at most."""
    override = Override(reason="exploited", approvers=approvers, expires_at=NOW + lasts)
    said = refusal_to_ask(UpgradeRequest(release=newer(severity=severity), override=override), ADA, NOTICES, NOW)

    assert refusal in said
    assert bool(said) is bool(refusal)


def asked(version: str = "", kubernetes: str = "", severity: Severity = Severity.ROUTINE) -> UpgradeRequest:
    return UpgradeRequest(release=newer(version, severity) if version else None, kubernetes=kubernetes)


@pytest.mark.parametrize(
    ("new", "queued", "relation"),
    [
        (asked("4.12.2"), asked("4.12.2"), Relation.CONTAINED),
        (asked("4.12.2"), asked("4.12.3", "1.34"), Relation.CONTAINED),
        (asked("4.12.10"), asked("4.12.9"), Relation.REPLACES),
        (asked("4.12.3", "1.34"), asked("4.12.2"), Relation.REPLACES),
        (asked(kubernetes="1.34"), asked("4.12.2"), Relation.APART),
        (asked("4.12.2", "1.35"), asked("4.12.3", "1.34"), Relation.CONTRADICTS),
        (asked("4.12.2", severity=Severity.CRITICAL), asked("4.12.3"), Relation.APART),
        (asked("4.12.3"), asked("4.12.2", severity=Severity.CRITICAL), Relation.APART),
    ],
)
def test_what_a_new_upgrade_is_to_one_that_waits(
    new: UpgradeRequest, queued: UpgradeRequest, relation: Relation
) -> None:
    """Contained, a replacement, a contradiction, or something else."""
    assert relation_of(new, queued) is relation


def test_what_is_reached_meanwhile_is_left_out() -> None:
    """Of what has not begun the target, of what has begun the stages."""
    assert left_of(asked("4.12.2"), release="4.12.3", kubernetes="1.33") is None
    left = left_of(asked("4.12.2", "1.34"), release="4.12.3", kubernetes="1.33")
    assert left is not None
    assert (left.release, left.kubernetes) == (None, "1.34")
    server = SERVER.model_copy(update={"release": newer("4.12.2")})
    assert [*unreached((PLANE, NODES, server), release="4.12.3", kubernetes="1.34")] == [NODES]
