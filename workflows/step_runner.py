"""The one place that runs the steps of operations. A step never kills its operation.

What happens when a step does not succeed (lifecycles.md, section 6):

- what time cures (passing faults, throttling, "not ready yet") Temporal tries again, without adding to the history;
- what somebody must cure (permission, quota, capacity, anything unknown after three tries) makes the operation *wait*:
  it says who, what is missing and since when, probes by itself, and takes a decision: retry, skip or abort;
- while the customer holds the account the operation *parks*: what is under way comes to its end, and no step starts, no
  wait is probed and nothing is taken back until the account is released;
- after an abort, what was made is taken back, newest first. The promise to take back is made before the deed, because a
  creation whose reply is lost still leaves a resource behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.workflow import ActivityCancellationType

from activities.contracts import (
    Comparison,
    ComparisonContract,
    ComparisonQuestion,
    KubernetesContract,
    Retention,
)
from activities.upgrade_contracts import ServerUpgradeContract
from domain.account import AccountStanding
from domain.approval import ApprovedPlan
from domain.deployment import Site
from domain.failure import FailureClass, FailureDetail, Party, party_for
from domain.operation import Choice, Pace, StepDecision, StepRecord, StepState, WaitingFor
from workflows.steps import SLOW, Answer, Patience, Question, Step, Undo
from workflows.temporal import queues

ACCOUNT = "account"
"""The name of the wait that is not about a step: the customer holds the account, and the whole operation is parked."""

_IN_CLUSTER = KubernetesContract.__abstractmethods__ | ServerUpgradeContract.__abstractmethods__

_ENDED_BY_THE_CUSTOMER = (FailureClass.AUTH, FailureClass.PERMISSION, FailureClass.POLICY)
"""What a change of the account's standing may have cured."""

_COMPARISON = Patience(attempt=timedelta(minutes=1), deadline=timedelta(minutes=3))
"""Of looking at what exists for a plan, for which somebody waits."""
_COMPARISON_TRIES = 5

_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=60)
)
_UNKNOWN_TRIES = 3
_UNKNOWN_PAUSE = timedelta(seconds=10)
_STEADY_PROBES = 8
"""Probes at the pace's own interval, before they become rarer."""


class Aborted(Exception):  # noqa: N818 - it names what happened, an operator's decision, not an error
    """An operator aborted the operation; its branches unwind with this."""


class StepFailed(Exception):  # noqa: N818 - it names what happened; whoever runs the step decides what follows
    """A step has come to an end that its caller wanted to hear of instead of waiting for somebody."""

    def __init__(self, detail: FailureDetail) -> None:
        self.detail = detail
        super().__init__(detail.message)


class Board(Protocol):
    """Where steps show what they do: the operation's workflow."""

    def steps_changed(self) -> None:
        """Show the present steps and waits to whoever watches."""


async def until(condition: Callable[[], bool], *, within: timedelta | None = None, summary: str | None = None) -> bool:
    """Wait for `condition`; return False if `within` passed first.

    A cancellation of the workflow does not end the wait: conditions look for it themselves (`Steps` treats it as an
    abort), because delivered as an exception it can hit any await, and get lost in it.
    """
    deadline = None if within is None else workflow.now() + within
    while True:
        left = None if deadline is None else max(deadline - workflow.now(), timedelta(0))
        try:
            await workflow.wait_condition(condition, timeout=left, timeout_summary=summary)
        except asyncio.CancelledError:
            continue
        except TimeoutError:
            return False
        return True


class Steps:
    """Runs the steps of one operation, records them, and takes back what they made."""

    def __init__(
        self,
        *,
        cloud: str,
        site: Site | None,
        pace: Pace,
        board: Board,
        approved: ApprovedPlan | None = None,
        standing: AccountStanding | None = None,
    ) -> None:
        self._cloud = cloud
        self._site = site
        self._pace = pace
        self._board = board
        self._approved = approved
        self._records: dict[str, StepRecord] = {}
        self._waits: dict[str, WaitingFor] = {}
        self._decisions: dict[str, StepDecision] = {}
        self._probes: dict[str, int] = {}
        self._promises: list[Undo] = []
        self._abort: StepDecision | None = None
        self._under_way = 0
        self._undoing = False
        self._taking_back = False
        self._standing = standing
        self._hurried: dict[str, bool] = {}
        """Keyed by step: waits that are probed now, because the account's standing has changed."""

    @property
    def records(self) -> tuple[StepRecord, ...]:
        """The steps in the order in which they started."""
        return tuple(self._records.values())

    @property
    def waiting_for(self) -> tuple[WaitingFor, ...]:
        """What is waited for, oldest first. While the account is held that comes before all else."""
        waits = tuple(self._waits.values())
        if self._standing is None or not self._standing.parks:
            return waits
        return (self._park_wait(self._standing), *(_parked(wait) for wait in waits))

    @property
    def skipped(self) -> tuple[StepRecord, ...]:
        """The steps that an operator skipped."""
        return tuple(record for record in self.records if record.state is StepState.SKIPPED)

    @property
    def aborted_by(self) -> StepDecision | None:
        """The decision to abort, if there was one."""
        return self._abort

    def refusal(self, decision: StepDecision) -> str:
        """Return why `decision` cannot be taken now, or an empty string."""
        if decision.choice is Choice.ABORT:
            return "the operation is already being taken back" if self._undoing or self._abort else ""
        if self._is_parked() and decision.choice is Choice.RETRY:
            return "nothing is tried while the customer holds the account; it goes on by itself after the release"
        waits = [wait for wait in self._waits.values() if decision.step in ("", wait.step)]
        if not waits:
            waiting = ", ".join(self._waits) or "none"
            return f"no step {decision.step!r} waits for a decision (waiting: {waiting})"
        for wait in waits:
            if decision.choice not in wait.choices:
                allowed = ", ".join(wait.choices)
                return f"step {wait.step!r} cannot be decided by {decision.choice.value!r} (allowed: {allowed})"
        return ""

    def decide(self, decision: StepDecision) -> None:
        """Take an operator's decision; `refusal` has said that it can be taken."""
        if decision.choice is Choice.ABORT:
            self._abort = decision
            return
        for wait in self._waits.values():
            if decision.step in ("", wait.step):
                self._decisions[wait.step] = decision

    def account_changed(self, standing: AccountStanding) -> None:
        """Take what the account tells: park, go on, or try again at once what the change may have cured."""
        self._standing = standing
        if not standing.parks:
            self._hurried.update(
                {name: True for name, wait in self._waits.items() if wait.failure in _ENDED_BY_THE_CUSTOMER}
            )
        self._board.steps_changed()

    async def run(self, step: Step[Question, Answer], question: Question, *, about: str = "") -> Answer:
        """Run one step to its end and return its answer.

        Args:
            step: One of the steps above.
            question: The activity's argument.
            about: What the step is about where one step runs for several things, `store`.

        Raises:
            Aborted: The operation was aborted.
        """
        return await self._run(step, question, about, skip_allowed=False)  # type: ignore[return-value] # none is skipped

    async def run_or_skip(self, step: Step[Question, Answer], question: Question, *, about: str = "") -> Answer | None:
        """Run one step that an operator may skip; return None if one did."""
        return await self._run(step, question, about, skip_allowed=step.may_skip)

    async def run_until(
        self,
        step: Step[Question, Answer],
        question: Question,
        *,
        accept: Callable[[Answer], FailureDetail | None],
        about: str = "",
    ) -> Answer | None:
        """Run a step that looks, until `accept` finds nothing wrong with its answer; None if an operator skipped it."""
        return await self._run(step, question, about, skip_allowed=step.may_skip, accept=accept)

    async def run_or_fail(
        self,
        step: Step[Question, Answer],
        question: Question,
        *,
        fatal: Callable[[FailureDetail], bool],
        about: str = "",
    ) -> Answer:
        """Run one step to its end, unless it fails in a way that the caller wants to hear of at once.

        Raises:
            StepFailed: `fatal` says so of how it failed; in every other way it waits as any step.
            Aborted: The operation was aborted.
        """
        return await self._run(step, question, about, skip_allowed=False, fatal=fatal)  # type: ignore[return-value]

    async def pause(self, span: timedelta, *, summary: str, unless: Callable[[], bool] | None = None) -> None:
        """Let time pass, or until `unless` is so.

        Raises:
            Aborted: The operation was aborted.
        """
        await until(lambda: self._must_stop() or (unless is not None and unless()), within=span, summary=summary)
        self._stop_if_aborted()

    async def ask_operator(self, name: str, summary: str, missing: str) -> None:
        """Wait until an operator says that it is to be tried again: nothing else is right, and nothing is probed.

        Raises:
            Aborted: The operation was aborted.
        """
        self._waits[name] = WaitingFor(
            step=name,
            summary=summary,
            party=Party.OPERATOR,
            failure=FailureClass.CONFIG,
            missing=missing,
            since=workflow.now(),
            probe_at=None,
            choices=(Choice.RETRY, Choice.ABORT),
        )
        self._record(name, summary, StepState.WAITING)
        await until(lambda: name in self._decisions or self._must_stop())
        self._stop_if_aborted(name)
        self._decisions.pop(name)
        self._record(name, summary, StepState.DONE)

    def probe_now(self, name: str) -> None:
        """Have a step that waits try again at once."""
        if name in self._waits:
            self._hurried[name] = True

    async def begin_to_take_back(self) -> None:
        """From here on steps run that put things back, in no plan, and not to be aborted; it waits for what goes on."""
        await until(lambda: self._under_way == 0)
        self._undoing = self._taking_back = True

    async def together(self, *branches: Awaitable[Any]) -> list[Any]:
        """Run branches side by side and return their answers in order.

        All branches come to their end before the first failure among them is raised: none is left running.
        """
        tasks = [asyncio.ensure_future(branch) for branch in branches]
        await until(lambda: all(task.done() for task in tasks))
        failures = [failure for task in tasks if (failure := task.exception()) is not None]
        if failures:
            raise failures[0]
        return [task.result() for task in tasks]

    async def take_back(self, *, keep_backups: bool = False) -> None:
        """Undo every promise, newest first. What cannot be taken back waits like any step, until it can.

        It begins when no step is under way any more, so that no deed overtakes its undo.
        """
        await until(lambda: self._under_way == 0)
        self._undoing = self._taking_back = True
        while self._promises:
            undo = self._promises[-1]
            await self.undo(undo, keep_backups=keep_backups)
            self._promises.pop()

    async def undo(self, undo: Undo, *, keep_backups: bool = False) -> None:
        """Take back what one kind of step made. An operator may skip it; the proof at the end names what stays.

        Raises:
            Aborted: It was aborted while it was kept from beginning: the account is held, its role is withheld, or it
                is not in the plan that was approved.
        """
        site = self._required_site()
        question = Retention(site=site, keep_backups=keep_backups) if undo.takes_retention else site
        summary = f"{undo.summary}, but for what is kept" if keep_backups and undo.takes_retention else undo.summary
        if not self._may_run(undo.name):
            await self._refuse_unapproved(undo.name, summary, skip_allowed=True)
            return
        if not self._is_kept_from_deleting():
            self._undoing = True
        step: Step[Any, None] = Step(
            undo.activity, summary, SLOW, may_skip=True, in_cluster=undo.in_cluster, deletes=True
        )
        await self._run(step, question, "", skip_allowed=True)

    async def _run(
        self,
        step: Step[Question, Answer],
        question: Question,
        about: str,
        *,
        skip_allowed: bool,
        accept: Callable[[Answer], FailureDetail | None] | None = None,
        fatal: Callable[[FailureDetail], bool] | None = None,
    ) -> Answer | None:
        name = f"{step.name}/{about}" if about else step.name
        summary = step.summary.format(about=about)
        self._stop_if_aborted()
        if not self._may_run(name):
            await self._refuse_unapproved(name, summary, skip_allowed=skip_allowed)
            return None
        if self._is_parked():
            await self._until_released()
        self._promise(step)
        self._record(name, summary, StepState.RUNNING)
        self._under_way += 1
        try:
            return await self._until_over(
                step, question, name, summary, skip_allowed=skip_allowed, accept=accept, fatal=fatal
            )
        finally:
            self._under_way -= 1

    async def _until_over(
        self,
        step: Step[Question, Answer],
        question: Question,
        name: str,
        summary: str,
        *,
        skip_allowed: bool,
        accept: Callable[[Answer], FailureDetail | None] | None,
        fatal: Callable[[FailureDetail], bool] | None,
    ) -> Answer | None:
        unknown_tries = 0
        while True:
            if self._is_parked():
                self._record(name, summary, StepState.WAITING)
                await self._until_released(name)
                self._record(name, summary, StepState.RUNNING)
            if step.deletes and self._is_withheld():
                if await self._until_lent(name, summary) is Choice.SKIP:
                    self._undoing = True
                    self._record(name, summary, StepState.SKIPPED)
                    return None
                continue
            if step.deletes:
                self._undoing = True
            try:
                answer = await self._attempt(step, question, summary)
                wrong = accept(answer) if accept else None
            except ActivityError as error:
                self._stop_if_aborted(name)
                wrong = detail_of(error)
            if wrong is None:
                self._record(name, summary, StepState.DONE)
                self._stop_if_aborted()
                return answer
            if wrong.failure is FailureClass.UNKNOWN and (unknown_tries := unknown_tries + 1) < _UNKNOWN_TRIES:
                await until(self._must_stop, within=_UNKNOWN_PAUSE, summary=f"Try again: {summary}")
                self._stop_if_aborted(name)
                continue
            self._give_up_if(fatal, name, summary, wrong)
            if await self._wait(name, summary, wrong, skip_allowed=skip_allowed) is Choice.SKIP:
                self._record(name, summary, StepState.SKIPPED)
                return None
            self._record(name, summary, StepState.RUNNING)

    def _give_up_if(
        self, fatal: Callable[[FailureDetail], bool] | None, name: str, summary: str, wrong: FailureDetail
    ) -> None:
        """End a step whose caller wants to hear of such a failure instead of waiting."""
        if fatal is not None and fatal(wrong):
            self._record(name, summary, StepState.FAILED)
            raise StepFailed(wrong)

    async def _attempt(self, step: Step[Question, Answer], question: Question, summary: str) -> Answer:
        """Run the activity; on an abort cancel it and wait for its end."""
        handle = workflow.start_activity_method(
            step.activity,
            question,
            task_queue=self._queue(in_cluster=step.in_cluster),
            start_to_close_timeout=step.patience.attempt,
            schedule_to_close_timeout=step.patience.deadline,
            heartbeat_timeout=self._pace.liveness,
            retry_policy=_RETRY,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=summary,
        )
        await until(lambda: handle.done() or self._must_stop())
        if not handle.done():
            handle.cancel()
            await until(handle.done)
        try:
            answer: Answer = handle.result()
        except asyncio.CancelledError:
            raise Aborted from None
        return answer

    async def _wait(self, name: str, summary: str, detail: FailureDetail, *, skip_allowed: bool) -> Choice:
        """Wait for whoever must act, for a decision, or for the time of the next probe."""
        pause = self._next_probe(name, detail.failure)
        known = self._waits.get(name)
        choices = [Choice.RETRY]
        if skip_allowed:
            choices.append(Choice.SKIP)
        if not self._undoing:
            choices.append(Choice.ABORT)
        self._waits[name] = WaitingFor(
            step=name,
            summary=summary,
            party=party_for(detail.failure),
            failure=detail.failure,
            missing=detail.message,
            action=detail.action,
            since=known.since if known else workflow.now(),
            probe_at=workflow.now() + pause,
            choices=tuple(choices),
        )
        self._record(name, summary, StepState.WAITING)
        woken = await until(
            lambda: name in self._decisions or name in self._hurried or self._must_stop(),
            within=pause,
            summary=f"Probe again: {summary}",
        )
        while self._is_parked() and name not in self._decisions and not self._must_stop():
            woken = await until(lambda: name in self._decisions or self._must_stop() or not self._is_parked())
        self._stop_if_aborted(name)
        self._hurried.pop(name, None)
        if not woken or name not in self._decisions:
            return Choice.RETRY
        return self._decisions.pop(name).choice

    def _may_run(self, name: str) -> bool:
        """Whether the plan that was approved has this step. Taking back what was made is always allowed."""
        return self._approved is None or self._taking_back or name in self._approved.steps

    async def _refuse_unapproved(self, name: str, summary: str, *, skip_allowed: bool) -> None:
        """Wait for an operator before a step that nobody approved: it may be skipped if that is allowed, never run."""
        assert self._approved is not None, "without an approved plan every step may run"
        choices = [Choice.SKIP] if skip_allowed else []
        if not self._undoing:
            choices.append(Choice.ABORT)
        self._waits[name] = WaitingFor(
            step=name,
            summary=summary,
            party=Party.OPERATOR,
            failure=FailureClass.POLICY,
            missing=f"It is not in the approved plan {self._approved.hash[:12]}: nobody has agreed to it",
            since=workflow.now(),
            probe_at=None,
            choices=tuple(choices),
        )
        self._record(name, summary, StepState.WAITING)
        await until(lambda: name in self._decisions or self._must_stop())
        self._stop_if_aborted(name)
        self._decisions.pop(name)
        self._record(name, summary, StepState.SKIPPED)

    async def _until_released(self, name: str = "") -> None:
        """Wait until the customer has released the account, or the operation is aborted.

        Args:
            name: The step, if it has begun.
        """
        while self._is_parked() and not self._must_stop():
            await until(lambda: not self._is_parked() or self._must_stop())
        self._stop_if_aborted(name)

    async def _until_lent(self, name: str, summary: str) -> Choice:
        """Wait until the account says that the customer lends the role for deletions (again), or for a decision.

        The deletion is not tried meanwhile: not every one needs that role, and the customer wants none of them.
        """
        standing = self._standing
        assert standing is not None, "only an account that has told so withholds a role"
        known = self._waits.get(name)
        self._waits[name] = WaitingFor(
            step=name,
            summary=summary,
            party=Party.CUSTOMER,
            failure=FailureClass.AUTH,
            missing=f"{standing.withholding_in_words()}: nothing is deleted until the customer lends it again",
            since=known.since if known else workflow.now(),
            probe_at=None,
            choices=(Choice.SKIP,) if self._undoing else (Choice.SKIP, Choice.ABORT),
        )
        self._record(name, summary, StepState.WAITING)
        await until(lambda: name in self._decisions or self._must_stop() or not self._is_withheld())
        self._stop_if_aborted(name)
        self._waits.pop(name)
        self._record(name, summary, StepState.RUNNING)
        return self._decisions.pop(name).choice if name in self._decisions else Choice.RETRY

    def _is_parked(self) -> bool:
        """Whether no step may start, because the customer holds the account."""
        return self._standing is not None and self._standing.parks

    def _is_withheld(self) -> bool:
        """Whether no deletion may start, because the customer withholds the role for that."""
        return self._standing is not None and self._standing.keeps_deletions_waiting

    def _is_kept_from_deleting(self) -> bool:
        return self._is_parked() or self._is_withheld()

    def _park_wait(self, standing: AccountStanding) -> WaitingFor:
        return WaitingFor(
            step=ACCOUNT,
            summary="Work in the account",
            party=Party.CUSTOMER,
            failure=FailureClass.HELD,
            missing=standing.hold_in_words(),
            since=standing.since,
            probe_at=None,
            choices=() if self._undoing or self._abort else (Choice.ABORT,),
        )

    def _next_probe(self, name: str, failure: FailureClass) -> timedelta:
        """Return the time to the next probe: the pace's, doubled for each probe after the first few."""
        number = self._probes[name] = self._probes.get(name, 0) + 1
        pause = self._probe_after(failure)
        doublings = min(max(0, number - _STEADY_PROBES), 10)
        factor: int = 2**doublings
        return min(pause * factor, max(pause, self._pace.longest_probe))

    def _probe_after(self, failure: FailureClass) -> timedelta:
        match failure:
            case FailureClass.AUTH | FailureClass.PERMISSION | FailureClass.POLICY:
                return self._pace.permission_probe
            case FailureClass.CAPACITY:
                return self._pace.capacity_probe
            case _:
                return self._pace.quota_probe

    def _promise(self, step: Step[Any, Any]) -> None:
        self._promises.extend(undo for undo in step.undo if undo not in self._promises)

    def _must_stop(self) -> bool:
        """Whether to unwind. A cancellation is looked for here too: delivered as an exception it can get lost."""
        return not self._undoing and (self._abort is not None or workflow.cancellation_reason() is not None)

    def _stop_if_aborted(self, name: str = "") -> None:
        if self._must_stop():
            if name:
                record = self._records[name]
                self._record(name, record.summary, StepState.FAILED)
            raise Aborted

    def _record(self, name: str, summary: str, state: StepState) -> None:
        now: datetime = workflow.now()
        known = self._records.get(name)
        over = state in (StepState.DONE, StepState.SKIPPED, StepState.FAILED)
        if over:
            self._waits.pop(name, None)
        self._records[name] = StepRecord(
            name=name,
            summary=summary,
            state=state,
            started_at=known.started_at if known else now,
            ended_at=now if over else None,
        )
        self._board.steps_changed()

    def _queue(self, *, in_cluster: bool) -> str:
        if in_cluster:
            return queues.kubernetes_queue(self._required_site())
        return queues.site_queue(self._site) if self._site else queues.cloud_queue(self._cloud)

    def _required_site(self) -> Site:
        if self._site is None:
            raise ApplicationError("this step needs a deployment", type="ConfigurationWrong")
        return self._site


async def compare(question: ComparisonQuestion) -> Comparison:
    """Ask the queue of a step's activity what the step would change. It is tried a few times; nobody is waited for."""
    in_cluster = question.activity in _IN_CLUSTER
    site = question.site
    return await workflow.execute_activity_method(
        ComparisonContract.compare,
        question,
        task_queue=queues.kubernetes_queue(site) if in_cluster else queues.site_queue(site),
        start_to_close_timeout=_COMPARISON.attempt,
        schedule_to_close_timeout=_COMPARISON.deadline,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_attempts=_COMPARISON_TRIES
        ),
        summary="Compare with what exists",
    )


def _parked(wait: WaitingFor) -> WaitingFor:
    """Return a step's wait as it is while the account is held: nothing is tried, by us or on request."""
    choices = tuple(choice for choice in wait.choices if choice is not Choice.RETRY)
    return wait.model_copy(update={"probe_at": None, "choices": choices})


def detail_of(error: ActivityError) -> FailureDetail:
    """Return what an activity said of its failure, or an UNKNOWN one in words."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.details:
        found = cause.details[0]
        return FailureDetail.model_validate(found)
    if isinstance(cause, TemporalTimeoutError):
        last = f"; the last answer was: {cause.cause}" if cause.cause else ""
        return FailureDetail(failure=FailureClass.UNKNOWN, message=f"it did not finish within its deadline{last}")
    return FailureDetail(failure=FailureClass.UNKNOWN, message=str(cause or error))


def waiting_text(waits: tuple[WaitingFor, ...]) -> str:
    """Return the value of the search attribute `ByocWaitingFor`."""
    parties: list[Party] = []
    for wait in waits:
        if wait.party not in parties:
            parties.append(wait.party)
    return ", ".join(parties)
