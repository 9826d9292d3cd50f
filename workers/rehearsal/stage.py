"""The rehearsal itself: the workflow runs on the test server, and which step needs which is found by delaying steps.

A step whose end a second one waits for delays it; any other step does not. So each step is delayed once, far longer
than everything else takes: its first attempt says `NotReadyYet`, to be looked at again after twenty minutes of
simulated time. The test server skips time only when nothing at all is under way, so whatever can start without the
delayed step has started, and ended, before the clock jumps. What starts after the jump needs the step: exactly, not by
coincidence.

One run delays several steps, each chosen among those that the end of the last one let start. There are about as many
runs as steps that run side by side at the widest place, and the answer does not depend on how they are chosen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from activities.calling import PRODUCT
from activities.failures import not_ready
from domain.operation import OperationKind, OperationPhase, OperationProgress, Pace, StepRecord
from domain.state import OperationOrder, OperationOutcome
from workers.rehearsal.answers import ACTIVITIES, Answers
from workers.rehearsal.server import CannotRehearse
from workflows.operation import Operation
from workflows.provision import Provision
from workflows.reconfigure import Reconfigure
from workflows.retire import Retire
from workflows.steps import name_of
from workflows.temporal import ids, queues
from workflows.upgrade import Upgrade

OPERATIONS: Mapping[OperationKind, type[Operation]] = {
    each.kind: each for each in (Provision, Reconfigure, Retire, Upgrade)
}
"""The workflow of each kind of operation. A new kind is one more name here."""

_DELAY = timedelta(minutes=20)
"""Longer than a rehearsal takes, shorter than a step's deadline."""
_UNHURRIED = Pace(liveness=timedelta(hours=1))
"""No worker is missed in a rehearsal, however long the clock jumps."""
_REAL_TIME, _REAL_TIME_ASKING = 60.0, 900.0
"""Real seconds after which a run is given up: one that answers by itself, and one in which somebody else does."""

Interpose = Callable[[str, str, Any], Awaitable[Any]]
"""Called with a step's key, activity and question; returns the answer that the step gets."""


@dataclass(frozen=True)
class Rehearsed:
    """What was seen of one step."""

    name: str
    activity: str
    summary: str
    needs: frozenset[str]
    """Names of all steps that have to end before this one starts."""
    after: tuple[str, ...]
    """The last among them: the others are needed by these."""
    key: str
    """What tells the step's question from all others."""


_AGAIN = " again "


@dataclass
class _Run:
    """One run of the workflow."""

    delays: bool
    delayed: str = ""
    """The step that is being delayed, empty while none is."""
    seen: dict[str, str] = field(default_factory=dict)
    """Key of each activity that was asked, keyed by Temporal's id for it."""

    def key_of(self, activity_id: str, question: str) -> str:
        """Return the key of an activity; one that asks the same as another before it in the run is numbered."""
        if activity_id not in self.seen:
            times = sum(key.partition(_AGAIN)[0] == question for key in self.seen.values())
            self.seen[activity_id] = f"{question}{_AGAIN}{times + 1}" if times else question
        return self.seen[activity_id]


class Stage:
    """Runs one operation again and again until it is known which step needs which."""

    def __init__(self, client: Client, kind: OperationKind, order: OperationOrder, answers: Answers) -> None:
        self._client = client
        self._kind = kind
        # Neither a hold of the account nor what was approved before decides on what the operation would do.
        self._order = _unhurried(order.model_copy(update={"pace": _UNHURRIED, "standing": None, "approved": None}))
        self._answers = answers
        self._runs: dict[str, _Run] = {}
        """Keyed by workflow id."""
        self._delayed: set[str] = set()
        """Keys of the steps that were delayed in some run."""
        self._given: dict[str, Any] = {}
        """Answers by key, where somebody else than `answers` has given them."""
        self._interpose: Interpose | None = None
        self._broken = asyncio.Event()
        self._fault: Exception | None = None
        """The first thing that went wrong inside an activity."""

    async def rehearse(
        self, *, interpose: Interpose | None = None, runner: WorkflowRunner | None = None
    ) -> tuple[Rehearsed, ...]:
        """Return the steps: those that need fewer others before them first, and then in the order of their names.

        Args:
            interpose: Asked once for each step, in a run of its own that delays nothing, and answers in our place.
            runner: How the workflow runs. By default outside the sandbox, which guards against what a test has to find
                and would cost each run a tenth of a second.

        Raises:
            CannotRehearse: The operation does not come to its end.
        """
        lifecycles = Worker(
            self._client,
            task_queue=queues.LIFECYCLES,
            build_id=PRODUCT,
            workflows=[OPERATIONS[self._kind]],
            workflow_runner=runner or UnsandboxedWorkflowRunner(),
        )
        cloud = Worker(
            self._client,
            task_queue=queues.site_queue(self._order.site),
            build_id=PRODUCT,
            activities=[self._act],
        )
        self._interpose = interpose
        async with lifecycles, cloud:
            if interpose is not None:
                await self._run(delays=False)
            records, keys = await self._run(delays=True)
            needs = _needed(records, {keys[key] for key in self._delayed})
            while untried := keys.keys() - self._delayed:
                before = len(self._delayed)
                records, _ = await self._run(delays=True)
                if len(self._delayed) == before:
                    lost = ", ".join(sorted(keys[key] for key in untried))
                    raise CannotRehearse(f"these steps did not run again in a second rehearsal: {lost}")
                for step, needed in _needed(records, {keys[key] for key in self._delayed}).items():
                    needs.setdefault(step, set()).update(needed)
        return _in_order(records, needs, keys)

    async def _run(self, *, delays: bool) -> tuple[tuple[StepRecord, ...], dict[str, str]]:
        """Run the operation once; return its steps, and the name of each by its key."""
        number = len(self._runs) + 1
        workflow_id = ids.operation_workflow_id(self._order.site.deployment, f"{self._kind}/rehearsal-{number}")
        run = self._runs[workflow_id] = _Run(delays=delays)
        handle: WorkflowHandle[Any, OperationOutcome] = await self._client.start_workflow(
            OPERATIONS[self._kind].__name__,
            self._order,
            id=workflow_id,
            task_queue=queues.LIFECYCLES,
            result_type=OperationOutcome,
        )
        outcome = await self._ended(handle)
        if outcome.phase is not OperationPhase.DONE:
            raise CannotRehearse(f"the operation would end {outcome.phase}: {outcome.summary}")
        progress = await handle.query(Operation.progress, result_type=OperationProgress)  # type: ignore[call-overload] # the base class is no workflow
        return progress.steps, await self._names(handle, run)

    async def _ended(self, handle: WorkflowHandle[Any, OperationOutcome]) -> OperationOutcome:
        """Return the outcome; fail as soon as an activity does, because the workflow would wait for somebody."""
        patience = _REAL_TIME if self._interpose is None else _REAL_TIME_ASKING
        ending: asyncio.Task[Any] = asyncio.create_task(handle.result())
        broken: asyncio.Task[Any] = asyncio.create_task(self._broken.wait())
        try:
            async with asyncio.timeout(patience):
                await asyncio.wait([ending, broken], return_when=asyncio.FIRST_COMPLETED)
                if self._fault is not None:
                    raise CannotRehearse(str(self._fault)) from self._fault
                outcome: OperationOutcome = await ending
                return outcome
        except TimeoutError:
            raise CannotRehearse(f"the operation did not end within {patience:.0f} s of rehearsal") from None
        except WorkflowFailureError as error:
            raise CannotRehearse(f"the operation failed in its rehearsal: {error.cause}") from error
        finally:
            ending.cancel()
            broken.cancel()

    async def _names(self, handle: WorkflowHandle[Any, OperationOutcome], run: _Run) -> dict[str, str]:
        """Return the step's name for each key, by the words that the activity has in the history."""
        found = {}
        async for event in handle.fetch_history_events():
            if event.HasField("activity_task_scheduled_event_attributes"):
                asked = event.activity_task_scheduled_event_attributes
                (summary,) = await self._client.data_converter.decode([event.user_metadata.summary], [str])
                found[run.seen[asked.activity_id]] = name_of(asked.activity_type.name, summary)
        return found

    @activity.defn(dynamic=True)
    async def _act(self, arguments: Sequence[RawValue]) -> Any:  # noqa: ANN401 - each activity has types of its own
        info = activity.info()
        assert info.workflow_id is not None, "only workflows ask here"
        run, (argument,) = self._runs[info.workflow_id], arguments
        key = run.key_of(info.activity_id, f"{info.activity_type} {argument.payload.data.decode()}")
        if info.attempt == 1 and run.delays and not run.delayed and key not in self._delayed:
            self._delayed.add(key)
            run.delayed = key
            raise not_ready("delayed, to see what waits for it", look_again_in=_DELAY)
        if run.delayed == key:
            run.delayed = ""
        try:
            return await self._answer(key, info.activity_type, argument)
        except Exception as error:
            # Whatever it is: the workflow would wait for an operator, and there is none.
            self._fault = self._fault or error
            self._broken.set()
            raise ApplicationError(str(error), non_retryable=True) from error

    async def _answer(self, key: str, name: str, argument: RawValue) -> Any:  # noqa: ANN401 - as above
        if key in self._given:
            return self._given[key]
        asked = ACTIVITIES.get(name)
        takes = asked.takes if asked else dict
        question = activity.payload_converter().from_payload(argument.payload, takes)
        if self._interpose is None:
            return self._answers.answer(name, question)
        answer = self._given[key] = await self._interpose(key, name, question)
        return answer


def _unhurried(order: OperationOrder) -> OperationOrder:
    """Return the order of an upgrade with all the time there is: its canaries may be late and are looked at once, its
    window does not end, and what was proven is long ago: when it starts, the backup may have to be proven anew.
    """
    if order.upgrade is None:
        return order
    patient = order.upgrade.verification.model_copy(update={"rounds": 1, "ready_within": timedelta(days=1)})
    upgrade = order.upgrade.model_copy(update={"verification": patient, "window_ends": None})
    facts = order.facts.model_copy(update={"restore_proof": None})
    return order.model_copy(update={"upgrade": upgrade, "facts": facts})


def _needed(records: Sequence[StepRecord], delayed: set[str]) -> dict[str, set[str]]:
    """Return which of the delayed steps each step needs, as one run shows it.

    Steps that were delayed in other runs alone took no time in this one: what started after their end says nothing.
    """
    ends = {
        record.name: record.ended_at
        for record in records
        if record.name in delayed and record.ended_at is not None and record.ended_at - record.started_at >= _DELAY
    }
    return {record.name: {name for name, ended in ends.items() if record.started_at >= ended} for record in records}


def _in_order(
    records: Sequence[StepRecord], needs: Mapping[str, set[str]], keys: Mapping[str, str]
) -> tuple[Rehearsed, ...]:
    key_of = {name: key for key, name in keys.items()}
    steps = [
        Rehearsed(
            name=record.name,
            activity=record.name.partition("/")[0],
            summary=record.summary,
            needs=frozenset(needs[record.name]),
            after=tuple(sorted(_last_of(needs[record.name], needs))),
            key=key_of[record.name],
        )
        for record in records
    ]
    return tuple(sorted(steps, key=lambda step: (_depth(step.name, needs), step.name)))


def _last_of(needed: set[str], needs: Mapping[str, set[str]]) -> set[str]:
    return {each for each in needed if not any(each in needs[other] for other in needed)}


def _depth(name: str, needs: Mapping[str, set[str]]) -> int:
    """Return the number of steps in the longest chain before this one."""
    depths: dict[str, int] = {}
    for each in sorted(needs, key=lambda step: len(needs[step])):
        depths[each] = max((depths[need] + 1 for need in needs[each]), default=0)
    return depths[name]
