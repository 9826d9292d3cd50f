"""A release on its way over a fleet: what a rollout knows, and the rules by which it goes on or halts.

Rules are functions that the workflow only applies. A function `refusal_to_…` says why something cannot be done now, in
words for who wants it; an empty string means that it can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from domain.actor import Actor
from domain.approval import folded
from domain.model import Model
from domain.rollout_messages import MemberReport, MemberState
from domain.state import Event, OperationRequest
from domain.waves import Wave, WaveName

KEPT_FAILURES = 200
GRAVE = ("integrity", "rollback")
"""How the signature of a failure begins after which nobody starts any more, however few have failed."""
NO_TELEMETRY = "telemetry"
"""How the signature of a failure begins of which nobody can say how it went."""
OVERRIDE_APPROVERS = 2
"""Persons, neither of whom asked for it."""


class RolloutPhase(StrEnum):
    """Where a rollout is."""

    APPROVING = "approving"
    """The next wave waits for somebody's approval."""
    RUNNING = "running"
    BAKING = "baking"
    """A wave is done and proves itself."""
    PAUSED = "paused"
    """An operator stopped it: nobody is asked and nobody starts."""
    HALTED = "halted"
    """A rule stopped it; it goes on when an operator has looked and says so."""
    ENDING = "ending"
    """It was ended before its time: what has not started is taken back, what runs comes to its end."""
    DONE = "done"
    ENDED = "ended"

    @property
    def is_over(self) -> bool:
        """Whether the rollout's life has ended."""
        return self in (RolloutPhase.DONE, RolloutPhase.ENDED)


class RolloutLimits(Model):
    """How many deployments are upgraded at the same time at most."""

    total: int = Field(50, ge=1)
    per_cloud: int = Field(20, ge=1)
    per_customer: int = Field(2, ge=1)


class RolloutPolicy(Model):
    """What a rollout does by itself, and when it stops."""

    limits: RolloutLimits = RolloutLimits()
    failed_share: float = 0.05
    """Of a wave: more failures than this, and than one, halt."""
    alike: int = 2
    """So many failures of one signature halt."""
    silence: timedelta = timedelta(hours=6)
    """A running deployment that says nothing for so long has lost its telemetry: that halts."""
    patience: timedelta = timedelta(days=8)
    """Deployments that still wait for their window after so long do not keep the wave: they go on by themselves."""
    approve: tuple[WaveName, ...] = ()
    """Waves that begin only when somebody has approved them."""


class RolloutOrder(Model):
    """What is rolled out, to whom, in which waves."""

    name: str
    target: str
    """In words: `release 4.12.1`, `Kubernetes 1.36`."""
    version: str = ""
    """The release's version; empty for Kubernetes alone."""
    requests: dict[str, OperationRequest]
    """What each deployment is asked; keyed by cloud."""
    waves: tuple[Wave, ...]
    """Members of waves that are over are forgotten on the way."""
    policy: RolloutPolicy = RolloutPolicy()
    urgent: bool = False
    actor: Actor
    reason: str = ""


class Progress(Model):
    """One deployment that was asked and is not over."""

    wave: int
    customer: str
    cloud: str
    state: MemberState | None = None
    """None until it has said anything."""
    heard_at: datetime
    opens_at: datetime | None = None
    cleared: bool = False
    held: bool = False
    """Whether it was told, after a halt, to stop at its next checkpoint."""
    detail: str = ""


class Tally(Model):
    """How one wave goes."""

    size: int
    asked: int = 0
    done: int = 0
    failed: int = 0
    refused: int = 0
    began_at: datetime | None = None
    complete_at: datetime | None = None
    """When nobody kept the wave any more; its bake runs from then."""


class Failure(Model):
    """One deployment on which the upgrade failed."""

    deployment: str
    wave: int
    signature: str
    detail: str = ""
    at: datetime
    acknowledged: bool = False
    """Whether an operator has looked at it and let the rollout go on: it counts no more towards halting."""


class RolloutState(Model):
    """Everything that a rollout's workflow knows."""

    order: RolloutOrder
    phase: RolloutPhase = RolloutPhase.RUNNING
    since: datetime
    wave: int = 0
    """Index of the wave that runs or bakes."""
    tallies: tuple[Tally, ...]
    """One for each wave."""
    active: dict[str, Progress] = Field(default_factory=dict)
    """Keyed by deployment: asked, and not over."""
    failures: tuple[Failure, ...] = ()
    """The newest 200."""
    approved: tuple[WaveName, ...] = ()
    overridden_by: tuple[Actor, ...] = ()
    """Who has approved that an urgent rollout passes over windows and notice; two different persons are needed."""
    stopped_because: str = ""
    """Why it is paused or halted."""
    trail: tuple[Event, ...] = ()
    runs: int = 1


class WaveApproval(Model):
    """Somebody lets a wave begin."""

    wave: WaveName
    actor: Actor
    reason: str = ""


class RolloutRequest(Model):
    """Somebody pauses, resumes, halts or ends a rollout."""

    actor: Actor
    reason: str = ""


def opened(order: RolloutOrder, now: datetime) -> RolloutState:
    """Return the state of a rollout that begins."""
    return RolloutState(order=order, since=now, tallies=tuple(Tally(size=len(wave.members)) for wave in order.waves))


# Going on.


def is_moving(state: RolloutState) -> bool:
    """Whether deployments may be asked and cleared."""
    return state.phase in (RolloutPhase.RUNNING, RolloutPhase.BAKING, RolloutPhase.APPROVING)


def may_begin(state: RolloutState) -> bool:
    """Whether nobody has to approve the present wave any more."""
    if state.order.urgent and len(state.overridden_by) < OVERRIDE_APPROVERS:
        return False
    name = state.order.waves[state.wave].name
    return name not in state.order.policy.approve or name in state.approved


def to_clear(state: RolloutState, most: int) -> list[str]:
    """Return which deployments that are ready may start now, at most `most`, within the limits.

    Customers take turns: whoever has the fewest under way comes first, then who has waited longest.
    """
    if not is_moving(state):
        return []
    limits = state.order.policy.limits
    under_way = [each for each in state.active.values() if each.cleared]
    most = min(most, limits.total - len(under_way))
    clouds, customers = Counter(each.cloud for each in under_way), Counter(each.customer for each in under_way)
    waiting = [(name, each) for name, each in state.active.items() if _wants_clearance(each)]
    chosen: list[str] = []
    while waiting and len(chosen) < most:
        fitting = [
            (customers[each.customer], each.heard_at, name, each)
            for name, each in waiting
            if clouds[each.cloud] < limits.per_cloud and customers[each.customer] < limits.per_customer
        ]
        if not fitting:
            break
        _, _, name, each = min(fitting, key=lambda entry: entry[:3])
        chosen.append(name)
        clouds[each.cloud] += 1
        customers[each.customer] += 1
        waiting.remove((name, each))
    return chosen


def _wants_clearance(member: Progress) -> bool:
    return member.state is MemberState.READY and not member.cleared


def heard(state: RolloutState, report: MemberReport) -> RolloutState:
    """Return the state after a deployment's report; one of a deployment that is not on the way changes nothing."""
    known = state.active.get(report.deployment)
    if known is None:
        return state
    if report.state.is_over:
        return _over(state, known, report)
    # Cleared is who may be running: a deployment that parks or waits again has given its place back.
    cleared = known.cleared and report.state in (MemberState.READY, MemberState.RUNNING)
    progress = known.model_copy(
        update={
            "state": report.state,
            "heard_at": report.at,
            "opens_at": report.opens_at,
            "detail": report.detail,
            "cleared": cleared or report.state is MemberState.RUNNING,
        }
    )
    return state.model_copy(update={"active": {**state.active, report.deployment: progress}})


def _over(state: RolloutState, known: Progress, report: MemberReport) -> RolloutState:
    active = {name: each for name, each in state.active.items() if name != report.deployment}
    column = {MemberState.DONE: "done", MemberState.FAILED: "failed", MemberState.REFUSED: "refused"}[report.state]
    tally = state.tallies[known.wave]
    changed = {"active": active, "tallies": _with(state.tallies, known.wave, {column: getattr(tally, column) + 1})}
    if report.state is MemberState.FAILED:
        failure = Failure(
            deployment=report.deployment,
            wave=known.wave,
            signature=report.signature,
            detail=report.detail,
            at=report.at,
        )
        changed["failures"] = (*state.failures, failure)[-KEPT_FAILURES:]
    return state.model_copy(update=changed)


def is_complete(state: RolloutState, now: datetime) -> bool:
    """Whether nobody keeps the present wave: all were asked, and are over or have waited longer than our patience."""
    tally = state.tallies[state.wave]
    if tally.asked < tally.size or tally.began_at is None:
        return False
    kept = [each for each in state.active.values() if each.wave == state.wave]
    if not kept:
        return True
    is_last = state.wave == len(state.tallies) - 1
    waits_for_long = now >= tally.began_at + state.order.policy.patience
    return not is_last and waits_for_long and all(_only_waits(each) for each in kept)


def _only_waits(member: Progress) -> bool:
    return not member.cleared and member.state in (MemberState.WAITING, MemberState.PARKED)


def baked_at(state: RolloutState) -> datetime | None:
    """Return when the present wave has baked, None while it is not complete."""
    complete = state.tallies[state.wave].complete_at
    return None if complete is None else complete + state.order.waves[state.wave].bake


def next_instant(state: RolloutState) -> datetime | None:
    """Return when something happens by itself: a bake ends, our patience, or silence has lasted too long."""
    instants: list[datetime] = []
    policy = state.order.policy
    if baked := baked_at(state):
        instants.append(baked)
    elif began := state.tallies[state.wave].began_at:
        instants.append(began + policy.patience)
    instants += [each.heard_at + policy.silence for each in state.active.values() if each.cleared]
    return min(instants, default=None)


# Halting.


def halt_reason(state: RolloutState, now: datetime) -> str:
    """Return why nobody may start any more, or an empty string."""
    fresh = [failure for failure in state.failures if not failure.acknowledged]
    return next((reason for reason in _halt_reasons(state, fresh, now) if reason), "")


def _halt_reasons(state: RolloutState, fresh: Iterable[Failure], now: datetime) -> Iterator[str]:
    policy = state.order.policy
    failures = list(fresh)
    for failure in failures:
        kind = failure.signature.partition("/")[0]
        if kind in GRAVE:
            yield f"{failure.deployment}: {failure.signature}: {failure.detail}".rstrip(": ")
        if kind == NO_TELEMETRY:
            yield f"{failure.deployment} has no telemetry: {failure.detail}".rstrip(": ")
    for signature, number in Counter(failure.signature for failure in failures).items():
        if number >= policy.alike:
            where = ", ".join(failure.deployment for failure in failures if failure.signature == signature)
            yield f"{signature} on {number} deployments: {where}"
    for index, number in sorted(Counter(failure.wave for failure in failures).items()):
        size = state.tallies[index].size
        if number > max(1.0, policy.failed_share * size):
            yield f"{number} of {size} failed in wave {state.order.waves[index].name}"
    for name, each in state.active.items():
        if each.cleared and now >= each.heard_at + policy.silence:
            yield f"{name} has not been heard of since {each.heard_at:%Y-%m-%dT%H:%M:%SZ}"


def acknowledged(state: RolloutState, now: datetime) -> RolloutState:
    """Return the state after an operator has looked: what has failed so far counts no more, the silent are heard."""
    failures = tuple(failure.model_copy(update={"acknowledged": True}) for failure in state.failures)
    active = {
        name: each.model_copy(update={"heard_at": now, "held": False}) if each.cleared else each
        for name, each in state.active.items()
    }
    return state.model_copy(update={"failures": failures, "active": active})


# What may be asked of it.


def refusal_to_pause(state: RolloutState) -> str:
    """Return why it cannot be paused."""
    return "" if is_moving(state) else f"the rollout is {state.phase}"


def refusal_to_resume(state: RolloutState) -> str:
    """Return why it cannot be resumed."""
    stopped = state.phase in (RolloutPhase.PAUSED, RolloutPhase.HALTED)
    return "" if stopped else f"the rollout is {state.phase}: there is nothing to resume"


def refusal_to_stop(state: RolloutState) -> str:
    """Return why it cannot be halted."""
    stoppable = is_moving(state) or state.phase is RolloutPhase.PAUSED
    return "" if stoppable else f"the rollout is {state.phase}"


def refusal_to_approve(state: RolloutState, approval: WaveApproval) -> str:
    """Return why a wave cannot be approved."""
    names = [wave.name for wave in state.order.waves]
    if state.phase.is_over or state.phase is RolloutPhase.ENDING:
        return f"the rollout is {state.phase}"
    if approval.wave not in names:
        return f"there is no wave {approval.wave} (waves: {', '.join(names)})"
    if names.index(approval.wave) < state.wave:
        return f"wave {approval.wave} is over"
    return ""


def refusal_to_override(state: RolloutState, request: RolloutRequest) -> str:
    """Return why somebody cannot approve that windows and notice are passed over."""
    if not state.order.urgent:
        return "the rollout is not urgent: it respects every window"
    if state.phase.is_over or state.phase is RolloutPhase.ENDING:
        return f"the rollout is {state.phase}"
    if folded(request.actor.name) == folded(state.order.actor.name):
        return f"{request.actor.name} asked for it: two other persons approve"
    if len(state.overridden_by) >= OVERRIDE_APPROVERS and not _has_overridden(state, request.actor):
        return "two persons have approved it already"
    return ""


def overridden(state: RolloutState, request: RolloutRequest) -> RolloutState:
    """Return the state with one more approver; the same one again changes nothing."""
    if _has_overridden(state, request.actor):
        return state
    return state.model_copy(update={"overridden_by": (*state.overridden_by, request.actor)})


def _has_overridden(state: RolloutState, actor: Actor) -> bool:
    return any(folded(given.name) == folded(actor.name) for given in state.overridden_by)


def request_for(state: RolloutState, cloud: str) -> OperationRequest:
    """Return what a deployment of a cloud is asked; an urgent request names who approved the override."""
    request = state.order.requests[cloud]
    if request.upgrade is None or request.upgrade.override is None:
        return request
    override = request.upgrade.override.model_copy(update={"approvers": state.overridden_by})
    return request.model_copy(update={"upgrade": request.upgrade.model_copy(update={"override": override})})


def _with(tallies: tuple[Tally, ...], index: int, changes: dict[str, object]) -> tuple[Tally, ...]:
    changed = tallies[index].model_copy(update=changes)
    return (*tallies[:index], changed, *tallies[index + 1 :])


def tallied(state: RolloutState, index: int, **changes: object) -> RolloutState:
    """Return the state with changes in one wave's tally."""
    return state.model_copy(update={"tallies": _with(state.tallies, index, changes)})
