"""The book of approvals: no sequence of decisions lets an operation start without every side's unexpired approval."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain import approval
from domain.account import AccountSpec
from domain.actor import Actor, Door
from domain.approval import (
    ApprovalBook,
    ApprovalDecision,
    ApprovalPolicy,
    Approvers,
    Delegation,
    DelegationRequest,
    PlanSummary,
    PolicyChange,
    RiskClass,
    Side,
    SummarizedStep,
)
from domain.clouds import Cloud
from domain.operation import OperationKind
from domain.order import check_account

START = datetime(2026, 6, 1, tzinfo=UTC)
PEOPLE = ("ada", "bob", "carl", "dora", "ADA ")
PERSONS = st.sampled_from(PEOPLE)
SIDES = st.sampled_from([*Side])
HASHES = ("a" * 64, "b" * 64, "c" * 64)
SIDE_LISTS = st.lists(SIDES, max_size=3).map(tuple)
NAMES = st.lists(st.sampled_from(PEOPLE[:4]), max_size=3).map(tuple)
POLICIES = st.builds(
    ApprovalPolicy,
    routine=SIDE_LISTS,
    significant=SIDE_LISTS,
    destructive=SIDE_LISTS,
    expires_after=st.sampled_from([timedelta(minutes=5), timedelta(hours=1), timedelta(days=3)]),
    approvers=st.builds(Approvers, vendor=NAMES, customer=NAMES),
)


def actor(name: str) -> Actor:
    return Actor(name=name, door=Door.CLI)


def plan(hash_: str) -> PlanSummary:
    return PlanSummary(
        hash=hash_, basis="0" * 64, made_at=START, steps=(SummarizedStep(name="create_network", summary="Create it"),)
    )


def book(policy: ApprovalPolicy, requester: str = "ada", risk: RiskClass = RiskClass.DESTRUCTIVE) -> ApprovalBook:
    empty = ApprovalBook(operation_id="retire/3", requester=actor(requester), risk=risk, policy=policy)
    return approval.with_plan(empty, plan(HASHES[0]))


def by(name: str, side: Side, hash_: str = HASHES[0]) -> ApprovalDecision:
    return ApprovalDecision(operation_id="retire/3", side=side, actor=actor(name), hash=hash_)


class Approving(RuleBasedStateMachine):
    """People approve, withdraw and delegate, time passes, plans change; a log beside the book says what is true."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.delegations: list[Delegation] = []
        self.given: dict[Side, tuple[str, str, datetime]] = {}
        """The approvals that were accepted and not taken back: whose, of which hash, until when."""

    @initialize(policy=POLICIES, requester=PERSONS)
    def _open(self, policy: ApprovalPolicy, requester: str) -> None:
        self.requester = requester.strip().lower()
        self.policy = policy.model_copy(update={"destructive": policy.destructive or (Side.VENDOR, Side.CUSTOMER)})
        self.book = book(self.policy, requester)

    @rule(name=PERSONS, side=SIDES, hash_=st.sampled_from(HASHES))
    def _approve(self, name: str, side: Side, hash_: str) -> None:
        decision = by(name, side, hash_)
        if approval.refusal_to_approve(self.book, decision, self.delegations, self.now):
            return
        repeated = approval.is_repeated(self.book, decision, self.now)
        self.book = approval.approve(self.book, decision, self.delegations, self.now)
        if not repeated:
            self.given[side] = (name.strip().lower(), hash_, self.now + self.policy.expires_after)

    @rule(name=PERSONS, side=SIDES)
    def _withdraw(self, name: str, side: Side) -> None:
        if not approval.refusal_to_withdraw(self.book, by(name, side), self.delegations, self.now):
            self.book = approval.withdraw(self.book, side)
            self.given.pop(side, None)

    @rule(name=PERSONS, to=PERSONS, side=SIDES, hours=st.integers(1, 48), one=st.booleans())
    def _delegate(self, name: str, to: str, side: Side, hours: int, one: bool) -> None:
        request = DelegationRequest(
            side=side,
            actor=actor(name),
            to=to,
            operation_id="retire/3" if one else "",
            until=self.now + timedelta(hours=hours),
        )
        if not approval.refusal_to_delegate(self.policy, request, self.now):
            self.delegations.append(
                Delegation(
                    side=side,
                    giver=request.actor,
                    to=to,
                    operation_id=request.operation_id,
                    until=request.until,
                    at=self.now,
                )
            )

    @rule(minutes=st.integers(1, 5000))
    def _wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def _expire(self) -> None:
        self.book = approval.without_expired(self.book, self.now)

    @rule(hash_=st.sampled_from(HASHES))
    def _plan_again(self, hash_: str) -> None:
        self.book = approval.with_plan(approval.without_plan(self.book), plan(hash_))
        self.given.clear()

    @rule()
    def _lose_the_plan(self) -> None:
        self.book = approval.without_plan(self.book, failure="no", again_at=self.now)
        self.given.clear()

    @invariant()
    def _starts_only_with_every_sides_approval_by_two_persons(self) -> None:
        good = {
            side: name
            for side, (name, hash_, until) in self.given.items()
            if until > self.now and self.book.plan is not None and hash_ == self.book.plan.hash
        }
        complete = self.book.plan is not None and set(good) >= set(self.book.sides)
        assert approval.may_start(self.book, self.now) == complete
        assert self.requester not in good.values()
        assert len(set(good.values())) == len(good)
        assert {each.side for each in approval.valid(self.book, self.now)} == set(good)

    @invariant()
    def _only_who_may_has_approved(self) -> None:
        for each in self.book.approvals:
            approvers = {name.strip().lower() for name in self.policy.approvers.of(each.side)}
            speaker = (each.on_behalf_of or each.actor.name).strip().lower()
            assert not approvers or speaker in approvers
            assert self.requester not in each.persons()

    @invariant()
    def _a_timer_is_set_for_the_first_expiry(self) -> None:
        instants = [until for _, hash_, until in self.given.values() if until > self.now]
        if self.book.plan is not None:
            assert approval.next_instant(self.book, self.now) == min(instants, default=None)


TestApproving = Approving.TestCase
TestApproving.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(
    ("kind", "changes", "risk"),
    [
        (OperationKind.RETIRE, False, RiskClass.DESTRUCTIVE),
        (OperationKind.RETIRE, True, RiskClass.DESTRUCTIVE),
        (OperationKind.PROVISION, True, RiskClass.SIGNIFICANT),
        (OperationKind.PROVISION, False, RiskClass.ROUTINE),
        (OperationKind.RECONFIGURE, False, RiskClass.ROUTINE),
    ],
)
def test_every_operation_has_a_risk_class(kind: OperationKind, changes: bool, risk: RiskClass) -> None:
    """What deletes is destructive, what changes the specification significant, all else routine."""
    assert approval.risk_of(kind, changes_specification=changes) is risk


@given(POLICIES)
def test_a_policy_names_each_side_once(policy: ApprovalPolicy) -> None:
    """A side that is listed twice is asked once, and nobody is asked who is not listed."""
    for risk in RiskClass:
        sides = policy.sides(risk)
        assert len(set(sides)) == len(sides)
        assert set(sides) == set(getattr(policy, risk.value))


@given(POLICIES, st.integers(1, 10_000))
def test_an_approval_is_good_until_it_expires_and_not_an_instant_longer(policy: ApprovalPolicy, seconds: int) -> None:
    """Before the instant it counts, at the instant it does not."""
    one = policy.model_copy(update={"destructive": (Side.VENDOR,), "approvers": Approvers()})
    at = START + timedelta(seconds=seconds)

    approved = approval.approve(book(one), by("bob", Side.VENDOR), (), at)

    ends = at + one.expires_after
    assert approval.may_start(approved, ends - timedelta(microseconds=1))
    assert not approval.may_start(approved, ends)
    assert approval.expired(approved, ends) == approved.approvals


@given(POLICIES, POLICIES, SIDES, PERSONS, st.booleans())
def test_only_the_customer_loosens_a_policy_and_a_side_its_own_approvers(
    present: ApprovalPolicy,
    wanted: ApprovalPolicy,
    side: Side,
    name: str,
    same_approvers: bool,
) -> None:
    """Whatever a side may change, it never takes an approval or an approver away that is not its own to give."""
    if same_approvers:
        wanted = wanted.model_copy(update={"approvers": present.approvers})
    change = PolicyChange(approvals=wanted, side=side, actor=actor(name))
    if approval.refusal_of_change(present, change):
        return

    if side is Side.VENDOR:
        assert all(set(present.sides(risk)) <= set(wanted.sides(risk)) for risk in RiskClass)
        assert wanted.expires_after <= present.expires_after
    other = Side.CUSTOMER if side is Side.VENDOR else Side.VENDOR
    assert {*present.approvers.of(other)} == {*wanted.approvers.of(other)}


def test_a_requester_cannot_approve_through_a_delegate() -> None:
    """What the giver may not approve himself, his delegate may not approve in his place."""
    policy = ApprovalPolicy(destructive=(Side.CUSTOMER,), approvers=Approvers(customer=("ada",)))
    lent = Delegation(side=Side.CUSTOMER, giver=actor("ada"), to="bob", operation_id="retire/3", at=START)

    refusal = approval.refusal_to_approve(book(policy), by("bob", Side.CUSTOMER), [lent], START)

    assert refusal == "bob may not decide for the customer (approvers: ada)"


def test_one_person_does_not_stand_behind_both_sides() -> None:
    """Who approved for the vendor cannot have a delegate approve for the customer in his place."""
    policy = ApprovalPolicy(
        destructive=(Side.VENDOR, Side.CUSTOMER), approvers=Approvers(vendor=("bob",), customer=("bob", "dora"))
    )
    lent = Delegation(side=Side.CUSTOMER, giver=actor("bob"), to="carl", operation_id="retire/3", at=START)
    half = approval.approve(book(policy), by("bob", Side.VENDOR), (), START)

    refusal = approval.refusal_to_approve(half, by("carl", Side.CUSTOMER), [lent], START)

    assert "two persons" in refusal


def test_a_policy_that_nobody_can_fulfil_is_refused_at_the_door() -> None:
    """One person as the only approver of both sides could never approve with four eyes."""
    from catalog import load

    policy = ApprovalPolicy(
        destructive=(Side.VENDOR, Side.CUSTOMER), approvers=Approvers(vendor=("Ada",), customer=("ada",))
    )
    spec = AccountSpec(
        name="acme-aws",
        customer="acme",
        cloud=Cloud.AWS,
        cloud_account_id="1" * 12,
        regions=("eu-west-1",),
        approvals=policy,
    )

    problems = check_account(spec, load())

    assert [problem.path for problem in problems] == ["spec.approvals.destructive"]
    assert "two persons" in problems[0].message
