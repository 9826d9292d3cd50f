"""Without any single statement of the template exactly the steps that need it wait, and name the action.

One account has several statements taken away from each of its three roles, right after the preflight, which would name
them first. Each is given back once it has been waited for, and a step that lacks two waits twice: so many statements
are tried in one life of a deployment.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from temporalio.service import RPCError

from activities.aws.verification import SIMULATE
from domain.account import AccountAccess, AccountPhase
from domain.clouds import Purpose
from domain.deployment import FinalBackup
from domain.failure import FailureClass, Party
from domain.operation import OperationProgress, StepState, WaitingFor
from domain.state import DeploymentPhase
from simulators.faults import Fault, FaultKind
from starters.client import ControlPlaneError
from tests.durability.installation import Installation, manifest
from tests.permissions.lifecycles import Life, leave_for_deletion
from tests.permissions.statements import Editor, StatementOf, statements
from workflows import steps

EVERY = statements()
KEEPING = {Purpose.OPERATE: "s3:PutObjectRetention", Purpose.OBSERVE: "s3:GetBucketTagging"}
"""What is needed only where the last backup is kept, and its bucket with it; keyed by the role."""

_FOR_EACH_ROLE = 6
"""Statements of a role that are tried in one life."""
_AT_ONCE = 4
"""Lives that are lived side by side: more would only wait for each other."""
_SETTLING = 1.5
"""Real seconds in which every step that a statement stops has come to wait."""


@dataclass
class Trial:
    """Statements that are taken away in one account, and what then waited."""

    taken: tuple[StatementOf, ...]
    waits: dict[StatementOf, list[WaitingFor]] = field(default_factory=dict)
    unexplained: list[WaitingFor] = field(default_factory=list)
    missing: dict[StatementOf, set[str]] = field(default_factory=dict)
    """What the daily verification named, for statements that it needs itself."""
    trouble: str = ""
    """Why the deployment did not come to its end, if it did not."""


def _keeps(statement: StatementOf) -> bool:
    """Return whether the statement is needed only where the last backup is kept."""
    return KEEPING.get(statement.purpose) in statement.actions


def trials() -> list[Trial]:
    """Return which statements are tried together: a few of each role.

    What the preflight itself needs is tried alone: as soon as that is given back, it would name whatever else is gone.
    """
    keeping = tuple(each for each in EVERY if _keeps(each))
    looking = tuple(each for each in EVERY if SIMULATE in each.actions)
    others = [each for each in EVERY if each not in (*keeping, *looking)]
    roles = [[each for each in others if each.purpose is purpose] for purpose in Purpose]
    lives = -(-max(map(len, roles)) // _FOR_EACH_ROLE)
    # What is next to each other in a template is often about the same action.
    together = [tuple(each for role in roles for each in role[life::lives]) for life in range(lives)]
    return [Trial(keeping), Trial(looking), *map(Trial, together)]


class Trials:
    """Lives the trials through, a batch at a time, when one of them is asked for.

    The tests are in the order of the trials: a test process that runs a part of them lives through little else.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._every = trials()
        self._begun: set[int] = set()

    async def of(self, statement: StatementOf) -> Trial:
        """Return the trial of a statement, lived through."""
        number = next(number for number, trial in enumerate(self._every) if statement in trial.taken)
        batch = number // _AT_ONCE
        if batch not in self._begun:
            self._begun.add(batch)
            assert self._installation.settings, "read before anything goes on side by side"
            first = batch * _AT_ONCE
            await asyncio.gather(*(self._live(each) for each in range(first, min(first + _AT_ONCE, len(self._every)))))
        return self._every[number]

    async def _live(self, number: int) -> None:
        trial = self._every[number]
        try:
            customer = await self._installation.customer(f"trial-{os.getpid()}-{number}")
            await _live(Life(self._installation, customer), trial)
        except (AssertionError, TimeoutError, ControlPlaneError, RPCError) as trouble:
            trial.trouble = repr(trouble)


@pytest.fixture(scope="session")
def lived(installation: Installation) -> Trials:
    """Every trial, lived through when it is asked for."""
    return Trials(installation)


def test_every_statement_of_the_template_is_tried_once() -> None:
    """None is left out by the way in which they are put together."""
    tried = [statement for trial in trials() for statement in trial.taken]

    assert sorted(tried, key=str) == sorted(EVERY, key=str)
    needs = [[need for each in trial.taken for need in each.needed_by] for trial in trials()]
    assert all(len(set(each)) == len(each) for each in needs), "which statement is missing could not be told"


@pytest.mark.parametrize("statement", [each for trial in trials() for each in trial.taken], ids=str)
async def test_without_it_exactly_the_steps_that_need_it_wait(lived: Trials, statement: StatementOf) -> None:
    """They wait for the customer and name the action; once it is given back everything goes on by itself."""
    trial = await lived.of(statement)
    assert trial.trouble == ""
    waits = trial.waits.get(statement, [])
    named = {(wait.step.partition("/")[0], wait.action) for wait in waits}

    if _is_verified(statement):
        assert trial.missing[statement] == set(statement.actions)
    else:
        assert named, "no step waited: another statement covers this one, or nothing needs it"
    assert named <= statement.needed_by
    assert {(wait.party, wait.failure) for wait in waits} <= {(Party.CUSTOMER, FailureClass.PERMISSION)}
    assert [f"{wait.step}: {wait.failure}: {wait.missing}" for wait in trial.unexplained] == []


async def _live(life: Life, trial: Trial) -> None:
    """Provision and retire; what is taken away meanwhile is given back as soon as it has been waited for."""
    plane = await life.installation.connected()
    account = await plane.account(life.customer.account_name)
    access = AccountAccess(
        account=account.spec.name,
        customer=account.spec.customer,
        cloud=life.customer.cloud,
        cloud_account_id=life.customer.account,
        external_id=account.external_id,
    )
    editor = Editor(life.root("iam"), access)
    for statement in trial.taken:
        if _is_verified(statement):
            await _verify_without(life, editor, trial, statement)
    left = set(trial.taken)
    at_once = {each for each in left if SIMULATE in each.actions}
    for statement in at_once:
        await asyncio.to_thread(editor.take_away, statement)
    faults = [] if at_once else _hold_after_preflight(life)
    await life.order(manifest(life.customer))
    if not at_once:
        await _until_preflight_is_over(life, len(faults))
    for statement in left - at_once:
        await asyncio.to_thread(editor.take_away, statement)
    await _let_go(life, faults)
    await _watch(life, editor, trial, left, DeploymentPhase.ACTIVE)
    await asyncio.to_thread(leave_for_deletion, life)
    keeping = any(_keeps(each) for each in trial.taken)
    await life.retire(FinalBackup.KEEP if keeping else FinalBackup.NONE)
    await _watch(life, editor, trial, left, DeploymentPhase.RETIRED)


def _is_verified(statement: StatementOf) -> bool:
    """Return whether the daily verification needs the statement and, without it, can still say what is missing."""
    activities = {activity for activity, _ in statement.needed_by}
    return steps.VERIFY_ACCESS.name in activities and SIMULATE not in statement.actions


async def _verify_without(life: Life, editor: Editor, trial: Trial, statement: StatementOf) -> None:
    """Let the account be verified without a statement, and then with it."""
    plane = await life.installation.connected()
    await asyncio.to_thread(editor.take_away, statement)
    state = await plane.verify_account(life.customer.account_name)
    assert state.report is not None
    trial.missing[statement] = {missing.action for missing in state.report.missing}
    await asyncio.to_thread(editor.give_back, statement)
    await life.installation.until_account(life.customer.account_name, AccountPhase.ACTIVE)


def _hold_after_preflight(life: Life) -> list[Fault]:
    """Let the looks that go on beside the preflight be held, however often they are tried, so that it is over first."""
    account = life.customer.account
    return [
        life.installation.control.inject(Fault(kind=FaultKind.HOLD_BEFORE, account=account, agent=f"step/{step.name}"))
        for step in (steps.CHECK_QUOTAS, steps.CHOOSE_PLACEMENT)
    ]


async def _until_preflight_is_over(life: Life, holds: int) -> None:
    deadline = time.monotonic() + life.installation.patience
    while time.monotonic() < deadline:
        progress = await _progress(life)
        over = progress and any(
            step.name == steps.CHECK_PERMISSIONS.name and step.state is StepState.DONE for step in progress.steps
        )
        if over and len(_held(life)) >= holds:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the preflight does not end")


def _held(life: Life) -> list[str]:
    held = life.installation.control.held()
    return [each.id for each in held if each.call.account == life.customer.account]


async def _let_go(life: Life, faults: Iterable[Fault]) -> None:
    for fault in faults:
        life.installation.control.remove_fault(fault.id)
    for held in _held(life):
        life.installation.control.release(held)


async def _progress(life: Life) -> OperationProgress | None:
    plane = await life.installation.connected()
    state = await plane.deployment(life.name)
    return await plane.progress(state.running.summary.workflow_id) if state.running else None


async def _watch(life: Life, editor: Editor, trial: Trial, left: set[StatementOf], until: DeploymentPhase) -> None:
    """Note who waits for what; give back what was waited for, once all who need it have come to wait."""
    plane = await life.installation.connected()
    first_seen: dict[StatementOf, float] = {}
    deadline = time.monotonic() + life.installation.patience
    while (await plane.deployment(life.name)).phase is not until:
        progress = await _progress(life)
        assert time.monotonic() < deadline, f"{life.name} stays {progress}, without {', '.join(map(str, left))}"
        for wait in progress.waiting_for if progress else ():
            statement = _explaining(wait, left)
            if statement is None:
                if _explaining(wait, trial.taken) is None:
                    trial.unexplained.append(wait)
                continue
            trial.waits.setdefault(statement, []).append(wait)
            first_seen.setdefault(statement, time.monotonic())
        for statement in [each for each in first_seen if each in left]:
            if time.monotonic() - first_seen[statement] > _SETTLING:
                await asyncio.to_thread(editor.give_back, statement)
                left.discard(statement)
        await asyncio.sleep(0.5)


def _explaining(wait: WaitingFor, taken: Iterable[StatementOf]) -> StatementOf | None:
    """Return the statement for whose lack a step waits."""
    asked = (wait.step.partition("/")[0], wait.action)
    return next((each for each in taken if asked in each.needed_by), None)
