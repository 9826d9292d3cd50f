"""Who has to agree before an operation runs, and the book of who has: rules as functions, which workflows only apply.

A side (vendor, customer) approves a plan by its hash. An approval counts while it has not expired, for that hash alone.
Four eyes: nobody approves what he asked for himself, and the two sides are two persons. Whoever approves as somebody's
delegate counts as both of them, so that a delegation never lends what its giver has not.

A function `refusal_to_…` says why something cannot be done now, in words for who wants it; an empty string means that
it can. Persons are known by their names, without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from domain.actor import Actor
from domain.model import Model, OrderedModel
from domain.operation import OperationKind

SHORTEST_PREFIX = 8
"""Digits of a hash by which people may name it."""


class Side(StrEnum):
    """On whose behalf somebody approves."""

    VENDOR = "vendor"
    CUSTOMER = "customer"


class RiskClass(StrEnum):
    """How much an operation can break."""

    ROUTINE = "routine"
    """What happens every week and is undone by doing it again: API keys, converging to the known specification."""
    SIGNIFICANT = "significant"
    """It makes or changes what costs money or serves clients: a first provisioning, a changed specification, an
    upgrade."""
    DESTRUCTIVE = "destructive"
    """It deletes what nobody can bring back."""


PersonName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
"""A person's or a service's name, as it asks (`ada@vendor.example`)."""


class Approvers(OrderedModel):
    """Who may approve, by name."""

    vendor: tuple[PersonName, ...] = ()
    """Who approves for the vendor; empty: anybody who speaks for the vendor."""
    customer: tuple[PersonName, ...] = ()
    """Who approves for the customer; empty: anybody who speaks for the customer."""

    def of(self, side: Side) -> tuple[str, ...]:
        """Return who may approve for a side."""
        return self.vendor if side is Side.VENDOR else self.customer


class ApprovalPolicy(OrderedModel):
    """Which sides approve an operation of each risk class. Nobody has to, unless customer and vendor agreed on it."""

    routine: tuple[Side, ...] = ()
    """Who approves what happens every week: API keys, converging to the known specification."""
    significant: tuple[Side, ...] = ()
    """Who approves a first provisioning, a changed specification, and an upgrade."""
    destructive: tuple[Side, ...] = ()
    """Who approves a retirement."""
    expires_after: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=timedelta(days=30))] = timedelta(hours=72)
    """How long an approval is good for (ISO 8601, PT72H); an operation that has not started by then asks again."""
    approvers: Approvers = Approvers()
    """Who may approve for a side, by name; without names anybody who speaks for it."""

    def sides(self, risk: RiskClass) -> tuple[Side, ...]:
        """Return the sides that approve an operation of this class, each once."""
        match risk:
            case RiskClass.ROUTINE:
                named = self.routine
            case RiskClass.SIGNIFICANT:
                named = self.significant
            case RiskClass.DESTRUCTIVE:
                named = self.destructive
        return tuple(side for side in Side if side in named)


class SummarizedStep(Model):
    """One step of a plan, as people who approve it read it."""

    name: str
    summary: str


class PlanSummary(Model):
    """What a deployment keeps of a plan, and shows to whoever is to approve it."""

    hash: str
    basis: str
    made_at: datetime
    steps: tuple[SummarizedStep, ...]
    permissions: int = 0
    """How many different permissions the steps use."""
    takes: timedelta = timedelta(0)
    monthly_usd: float | None = None
    """Of what exists afterwards, by list price; None if the plan names no cost."""
    irreversible: tuple[str, ...] = ()


class Approval(Model):
    """One side's approval of one plan."""

    side: Side
    hash: str
    actor: Actor
    on_behalf_of: str = ""
    """Whose delegate the actor was; empty if he may approve himself."""
    reason: str = ""
    at: datetime
    expires_at: datetime

    def persons(self) -> frozenset[str]:
        """Return whose approval it is, in a form to be compared: the actor's and, with one, the delegating person's."""
        return frozenset(folded(name) for name in (self.actor.name, self.on_behalf_of) if name)

    def __str__(self) -> str:
        """Read as `ada@vendor.example (cli) for the vendor`."""
        behalf = f" on behalf of {self.on_behalf_of}" if self.on_behalf_of else ""
        return f"{self.actor}{behalf} for the {self.side}"


class Delegation(Model):
    """An approver's word that somebody else may approve in his place."""

    side: Side
    giver: Actor
    to: str
    operation_id: str = ""
    """The one operation that it is about; empty: every operation on the deployment."""
    until: datetime | None = None
    """When it ends; None: with the operation."""
    reason: str = ""
    at: datetime


class ApprovalRecord(Model):
    """What was approved, and by whom: what stays in an operation's record."""

    hash: str
    approvals: tuple[Approval, ...]


class ApprovedPlan(ApprovalRecord):
    """What an operation may do: it runs no step that is not among these."""

    steps: tuple[str, ...]
    """The names of the planned steps."""

    def record(self) -> ApprovalRecord:
        """Return what stays when the operation is over."""
        return ApprovalRecord(hash=self.hash, approvals=self.approvals)


class ApprovalBook(Model):
    """What one queued operation needs in order to start, and who has approved what."""

    operation_id: str
    requester: Actor
    risk: RiskClass
    policy: ApprovalPolicy
    """As it was when the operation was asked for: a policy that changes holds for later requests."""
    plan: PlanSummary | None = None
    """None while it is being made."""
    planned: int = 0
    """How many plans were made so far: more than one if facts changed before everybody had approved."""
    failure: str = ""
    """Why no plan could be made; empty when there is one, or it is being made."""
    plan_again_at: datetime | None = None
    """After a failure: when it is tried again by itself."""
    approvals: tuple[Approval, ...] = ()

    @property
    def sides(self) -> tuple[Side, ...]:
        """Whose approval the operation needs."""
        return self.policy.sides(self.risk)


class ApprovalDecision(Model):
    """Somebody approves or declines an operation's plan, or takes his side's approval back."""

    operation_id: str
    side: Side
    actor: Actor
    hash: str = ""
    """The plan's, whole. An approval has to name it."""
    reason: str = ""


class DelegationRequest(Model):
    """An approver names another person."""

    side: Side
    actor: Actor
    to: str
    operation_id: str = ""
    until: datetime | None = None
    reason: str = ""


class ApprovalStanding(Model):
    """The answer to a decision: where the operation's approvals stand."""

    operation_id: str
    hash: str = ""
    approvals: tuple[Approval, ...] = ()
    missing: tuple[Side, ...] = ()
    declined: bool = False


class PolicyChange(Model):
    """A change of an account's approval policy."""

    approvals: ApprovalPolicy
    side: Side
    actor: Actor
    reason: str = ""


def folded(name: str) -> str:
    """Return a person's name in the form in which names are compared."""
    return name.strip().casefold()


def risk_of(kind: OperationKind, *, changes_specification: bool) -> RiskClass:
    """Return an operation's risk class.

    Args:
        kind: What the operation does.
        changes_specification: True for a first provisioning and for one to a changed specification.
    """
    match kind:
        case OperationKind.RETIRE:
            return RiskClass.DESTRUCTIVE
        case OperationKind.UPGRADE:
            return RiskClass.SIGNIFICANT
        case OperationKind.PROVISION if changes_specification:
            return RiskClass.SIGNIFICANT
        case _:
            return RiskClass.ROUTINE


# The book: what is missing, and how it changes.


def valid(book: ApprovalBook, now: datetime) -> tuple[Approval, ...]:
    """Return the approvals that count now: of the present plan, not expired."""
    present = book.plan.hash if book.plan else None
    return tuple(each for each in book.approvals if each.hash == present and each.expires_at > now)


def missing(book: ApprovalBook, now: datetime) -> tuple[Side, ...]:
    """Return the sides that have yet to approve."""
    given = {approval.side for approval in valid(book, now)}
    return tuple(side for side in book.sides if side not in given)


def may_start(book: ApprovalBook, now: datetime) -> bool:
    """Return whether everybody has approved the present plan, with four eyes."""
    approvals = valid(book, now)
    persons = [person for approval in approvals for person in approval.persons()]
    return (
        book.plan is not None
        and not missing(book, now)
        and folded(book.requester.name) not in persons
        and len(persons) == len(set(persons))
    )


def next_instant(book: ApprovalBook, now: datetime) -> datetime | None:
    """Return when something happens by itself: an approval expires, or planning is tried again."""
    instants = [approval.expires_at for approval in valid(book, now)]
    if book.plan_again_at is not None:
        instants.append(book.plan_again_at)
    return min(instants, default=None)


def expired(book: ApprovalBook, now: datetime) -> tuple[Approval, ...]:
    """Return the approvals that were good and are not any more."""
    return tuple(approval for approval in book.approvals if approval.expires_at <= now)


def without_expired(book: ApprovalBook, now: datetime) -> ApprovalBook:
    """Return the book without approvals that have expired: their sides are asked again."""
    return book.model_copy(update={"approvals": tuple(each for each in book.approvals if each.expires_at > now)})


def with_plan(book: ApprovalBook, plan: PlanSummary) -> ApprovalBook:
    """Return the book with a new plan. What was approved before is void."""
    fresh = {"plan": plan, "planned": book.planned + 1, "failure": "", "plan_again_at": None, "approvals": ()}
    return book.model_copy(update=fresh)


def without_plan(book: ApprovalBook, *, failure: str = "", again_at: datetime | None = None) -> ApprovalBook:
    """Return the book without plan and approvals: it is to be planned again, at once or after a failure."""
    return book.model_copy(update={"plan": None, "approvals": (), "failure": failure, "plan_again_at": again_at})


def standing(book: ApprovalBook, now: datetime) -> ApprovalStanding:
    """Return where the approvals stand."""
    return ApprovalStanding(
        operation_id=book.operation_id,
        hash=book.plan.hash if book.plan else "",
        approvals=valid(book, now),
        missing=missing(book, now),
    )


def approved_plan(book: ApprovalBook, now: datetime) -> ApprovedPlan:
    """Return what the operation may do; `may_start` has said that everybody approved it."""
    assert book.plan is not None, "what may start has a plan"
    steps = tuple(step.name for step in book.plan.steps)
    return ApprovedPlan(hash=book.plan.hash, steps=steps, approvals=valid(book, now))


# Who may do what.


def behalf_of(
    book: ApprovalBook, side: Side, name: str, delegations: Iterable[Delegation], now: datetime
) -> str | None:
    """Return on whose behalf somebody may speak for a side: "" for himself, a name as a delegate, None for nobody."""
    approvers = {folded(approver) for approver in book.policy.approvers.of(side)}
    if not approvers or folded(name) in approvers:
        return ""
    givers = (
        delegation.giver.name
        for delegation in delegations
        if delegation.side is side
        and folded(delegation.to) == folded(name)
        and delegation.operation_id in ("", book.operation_id)
        and (delegation.until is None or delegation.until > now)
        and folded(delegation.giver.name) in approvers
    )
    eligible = [giver for giver in givers if folded(giver) != folded(book.requester.name)]
    return eligible[0] if eligible else None


def refusal_to_approve(
    book: ApprovalBook, decision: ApprovalDecision, delegations: Iterable[Delegation], now: datetime
) -> str:
    """Return why somebody cannot approve."""
    if is_repeated(book, decision, now):
        return ""
    if refusal := _refusal_to_speak(book, decision, delegations, now) or _refusal_of_hash(book, decision):
        return refusal
    name, side = decision.actor.name, decision.side
    behalf = behalf_of(book, side, name, delegations, now)
    if folded(book.requester.name) in (folded(name), folded(behalf or "")):
        return f"{name} asked for {book.operation_id} and cannot approve it as well; somebody else has to"
    persons = {folded(person) for person in (name, behalf) if person}
    for approval in valid(book, now):
        if approval.side is side:
            return f"the {side}'s side has approved already: {approval.actor}"
        if persons & approval.persons():
            return f"{approval} has approved already; the two sides have to be two persons"
    return ""


def refusal_to_decline(
    book: ApprovalBook, decision: ApprovalDecision, delegations: Iterable[Delegation], now: datetime
) -> str:
    """Return why somebody cannot decline. Whoever asked for the operation may always take his request back."""
    if folded(decision.actor.name) == folded(book.requester.name):
        return ""
    return _refusal_to_speak(book, decision, delegations, now)


def refusal_to_withdraw(
    book: ApprovalBook, decision: ApprovalDecision, delegations: Iterable[Delegation], now: datetime
) -> str:
    """Return why somebody cannot take his side's approval back. Whoever gave it always can."""
    if any(each.side is decision.side and folded(decision.actor.name) in each.persons() for each in book.approvals):
        return ""
    return _refusal_to_speak(book, decision, delegations, now)


def refusal_to_delegate(policy: ApprovalPolicy, request: DelegationRequest, now: datetime) -> str:
    """Return why somebody cannot name a delegate. A delegate names no further ones."""
    side, name = request.side, request.actor.name
    approvers = policy.approvers.of(side)
    known = {folded(approver) for approver in approvers}
    if not approvers:
        return f"the policy names no approvers of the {side}: anybody who speaks for the {side} may approve already"
    if folded(name) not in known:
        return f"{name} is no approver of the {side} and cannot delegate (approvers: {', '.join(approvers)})"
    if not request.to.strip() or folded(request.to) in known:
        return f"a delegation names a person who may not approve for the {side} already, not {request.to!r}"
    if not request.operation_id and request.until is None:
        return "a delegation is for one operation, or until an instant: name either"
    over = request.until is not None and request.until <= now
    return f"a delegation until {request.until:%Y-%m-%dT%H:%M:%SZ} is over before it begins" if over else ""


def is_repeated(book: ApprovalBook, decision: ApprovalDecision, now: datetime) -> bool:
    """Return whether this very approval was given already and still counts."""
    return any(
        approval.side is decision.side
        and approval.hash == decision.hash
        and folded(approval.actor.name) == folded(decision.actor.name)
        for approval in valid(book, now)
    )


def approve(
    book: ApprovalBook, decision: ApprovalDecision, delegations: Iterable[Delegation], now: datetime
) -> ApprovalBook:
    """Return the book with an approval; `refusal_to_approve` has said that it can be given."""
    if is_repeated(book, decision, now):
        return book
    approval = Approval(
        side=decision.side,
        hash=decision.hash,
        actor=decision.actor,
        on_behalf_of=behalf_of(book, decision.side, decision.actor.name, delegations, now) or "",
        reason=decision.reason,
        at=now,
        expires_at=now + book.policy.expires_after,
    )
    others = tuple(each for each in book.approvals if each.side is not decision.side)
    return book.model_copy(update={"approvals": (*others, approval)})


def withdraw(book: ApprovalBook, side: Side) -> ApprovalBook:
    """Return the book without a side's approval."""
    return book.model_copy(update={"approvals": tuple(each for each in book.approvals if each.side is not side)})


def _refusal_to_speak(
    book: ApprovalBook, decision: ApprovalDecision, delegations: Iterable[Delegation], now: datetime
) -> str:
    if decision.side not in book.sides:
        return f"the {decision.side} is not asked about {book.operation_id} (asked: {', '.join(book.sides)})"
    if behalf_of(book, decision.side, decision.actor.name, delegations, now) is None:
        approvers = ", ".join(book.policy.approvers.of(decision.side))
        return f"{decision.actor.name} may not decide for the {decision.side} (approvers: {approvers})"
    return ""


def _refusal_of_hash(book: ApprovalBook, decision: ApprovalDecision) -> str:
    if book.plan is None:
        return f"{book.operation_id} has no plan yet; `byoc approvals show` prints it once it is made"
    if decision.hash != book.plan.hash:
        return f"the plan has changed: present hash {book.plan.hash}; `byoc approvals show` prints it"
    return ""


# The policy itself.


def refusal_of_change(present: ApprovalPolicy, change: PolicyChange) -> str:
    """Return why a policy cannot be changed so.

    Whoever is named as an approver of a side speaks for it; what makes the policy looser only the customer may ask for;
    and who approves for a side is that side's own business.
    """
    approvers = present.approvers.of(change.side)
    if approvers and folded(change.actor.name) not in {folded(approver) for approver in approvers}:
        return f"{change.actor.name} does not speak for the {change.side} (approvers: {', '.join(approvers)})"
    for side in Side:
        if change.side is not side and _names(present, side) != _names(change.approvals, side):
            return f"who approves for the {side} is changed by the {side}'s side alone"
    looser = loosened(present, change.approvals)
    if looser and change.side is not Side.CUSTOMER:
        return f"only the customer's side may loosen the policy: {'; '.join(looser)}"
    return ""


def loosened(present: ApprovalPolicy, wanted: ApprovalPolicy) -> tuple[str, ...]:
    """Return what would become looser, in words: sides that approve no longer, approvals that last longer."""
    found = [
        f"{risk} operations would no longer need the {side}'s approval"
        for risk in RiskClass
        for side in present.sides(risk)
        if side not in wanted.sides(risk)
    ]
    if wanted.expires_after > present.expires_after:
        found.append("approvals would last longer")
    return tuple(found)


def unfulfillable(policy: ApprovalPolicy) -> tuple[RiskClass, ...]:
    """Return the classes that nobody could ever approve: both sides are asked, and name the same single person."""
    vendor, customer = _names(policy, Side.VENDOR), _names(policy, Side.CUSTOMER)
    if len(vendor | customer) != 1 or not vendor or not customer:
        return ()
    return tuple(risk for risk in RiskClass if len(policy.sides(risk)) == len(Side))


def _names(policy: ApprovalPolicy, side: Side) -> frozenset[str]:
    return frozenset(folded(name) for name in policy.approvers.of(side))
