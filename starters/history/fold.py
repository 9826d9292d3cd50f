"""One run's history, folded into lines: each event is taken once, in order, and only what is open is remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from pydantic import ValidationError
from temporalio.api.history.v1 import HistoryEvent

from domain.actor import CONTROL_PLANE, Actor, Door
from domain.audit import AuditEntry, AuditKind, Deed, Resource, named_once
from domain.failure import FailureClass, FailureDetail, Party, party_for
from domain.operation import Choice
from domain.state import Event
from starters.history import sentences
from starters.history.payloads import Payloads, Trouble, Value
from workflows import steps

_PROBE = "Probe again: "
"""How the summary of a timer begins that stands for a wait."""

_OWN_SIGNALS = frozenset({"operation_reported", "operation_ended"})
"""What operations tell their deployment: their own histories have it first hand."""

_OWN_WATCHES = frozenset({"await_end"})
"""Activities by which a deployment watches its operation after a fresh run: how that ended is told by its end."""

_SUFFIX = "_event_attributes"


@dataclass(frozen=True)
class Child:
    """One run of a workflow that another one started; its own history tells what it did."""

    workflow_id: str
    run_id: str
    began: datetime


Told: TypeAlias = AuditEntry | Child


@dataclass
class _Wait:
    since: datetime
    event_id: int
    detail: FailureDetail
    ended_by: Actor = CONTROL_PLANE
    """Who decided about it last; the control plane for a probe."""


@dataclass
class _Step:
    """A step under way: one activity, or the same again after each wait."""

    key: str
    """Its name, with a number behind it where two of one name run at a time."""
    name: str
    summary: str
    began: datetime
    event_id: int
    running: bool = True
    """Whether one of its activities is scheduled and not closed."""
    tries: int = 0
    trouble: FailureDetail | None = None
    deeds: list[Deed] = field(default_factory=list)
    readable: bool = True
    wait: _Wait | None = None


class Fold:
    """The lines of one run of one workflow."""

    def __init__(self, workflow_id: str, run_id: str, payloads: Payloads, *, known_runs: frozenset[str]) -> None:
        """`known_runs` are the other runs under the same id that Temporal still keeps."""
        self.continued_in = ""
        """The run that follows this one, once it is known."""
        self._workflow_id, self._run_id = workflow_id, run_id
        self._payloads = payloads
        self._known_runs = known_runs
        self._operation = ""
        self._steps: dict[str, _Step] = {}
        self._scheduled: dict[int, _Step] = {}
        self._names: dict[str, str] = {}
        """Names of steps, keyed by their sentences."""
        self._request: tuple[int, str, AuditEntry] | None = None
        """An accepted request whose answer, which names the operation, comes with the next event."""
        self._held_back: list[AuditEntry] | None = None
        """Lines that wait for a child's run id, because the child's own lines come first."""
        self._aborted = False
        self._hold: _Wait | None = None
        """Since when the whole operation rests because the customer holds the account."""

    async def take(self, event: HistoryEvent) -> list[Told]:
        """Return the lines that this event completes."""
        told = self._in_order(self._flush(event))
        which = (event.WhichOneof("attributes") or "").removesuffix(_SUFFIX)
        handler: Callable[[HistoryEvent, Any], Awaitable[list[Told]]] | None = getattr(self, f"_on_{which}", None)
        if handler is not None:
            told += self._in_order(await handler(event, getattr(event, which + _SUFFIX)))
        return told

    def rest(self) -> list[Told]:
        """Return the lines about what is under way where the history ends so far."""
        told: list[Told] = list(self._flush(None))
        told, self._held_back = [*(self._held_back or ()), *told], None
        for step in self._steps.values():
            if step.wait:
                told.append(self._waited(step, None, step.event_id, ""))
            told.append(self._step_line(step, None, step.event_id, ""))
        return [*told, self._released(None, CONTROL_PLANE)] if self._hold else told

    # How a run begins and ends

    async def _on_workflow_execution_started(self, event: HistoryEvent, started: Any) -> list[Told]:  # noqa: ANN401 - a protobuf message
        value = await self._payloads.first(started.input.payloads)
        kind = started.workflow_type.name
        if started.continued_execution_run_id:
            told = self._if_a_run_is_lost(event, started.continued_execution_run_id, value)
            return [*told, self._line(event, AuditKind.CONTINUED, "went on in a fresh run", actor=CONTROL_PLANE)]
        readable, by = value.readable, started.identity
        if kind in {"Deployment", "Account"}:
            told = self._if_a_generation_is_lost(event, value)
            who = sentences.actor_in(value)
            said = "" if who else await self._payloads.text(event.user_metadata.details)
            what = sentences.ordered(value) if value.data else "started; what was asked for cannot be read"
            summary = f"{what}. {said}" if said else what
            line = self._line(event, AuditKind.REQUESTED, summary, actor=who, sent_by=by, unreadable=not readable)
            return [*told, line]
        self._operation = str(value.get("operationId") or operation_of(self._workflow_id))
        reason = value.get("reason")
        summary = f"{self._operation or kind.lower()} begins" + (f": {reason}" if reason else "")
        who = sentences.actor_in(value)
        return [self._line(event, AuditKind.STARTED, summary, actor=who, unreadable=not readable)]

    async def _on_workflow_execution_completed(self, event: HistoryEvent, completed: Any) -> list[Told]:  # noqa: ANN401
        value = await self._payloads.first(completed.result.payloads)
        phase = str(value.get("phase") or "over")
        said = value.get("summary")
        summary = f"{phase}: {said}" if said else phase
        proof = value.get("proof", "refusals") or ()
        line = self._line(
            event,
            AuditKind.ENDED,
            summary,
            actor=CONTROL_PLANE,
            outcome=phase,
            missing="; ".join(map(str, proof)),
            unreadable=not value.readable,
        )
        return [*self._close_all(event), line]

    async def _on_workflow_execution_failed(self, event: HistoryEvent, failed: Any) -> list[Told]:  # noqa: ANN401
        trouble = await self._payloads.trouble(failed.failure)
        summary = f"failed: {trouble.detail.message}"
        return [*self._close_all(event), self._line(event, AuditKind.ENDED, summary, outcome="failed")]

    async def _on_workflow_execution_timed_out(self, event: HistoryEvent, _: Any) -> list[Told]:  # noqa: ANN401
        return [*self._close_all(event), self._line(event, AuditKind.ENDED, "timed out", outcome="failed")]

    async def _on_workflow_execution_canceled(self, event: HistoryEvent, _: Any) -> list[Told]:  # noqa: ANN401
        return [*self._close_all(event), self._line(event, AuditKind.ENDED, "cancelled", outcome="cancelled")]

    async def _on_workflow_execution_terminated(self, event: HistoryEvent, ended: Any) -> list[Told]:  # noqa: ANN401
        summary = "terminated" + (f": {ended.reason}" if ended.reason else "")
        who = Actor(name=ended.identity or "unknown", door=Door.TEMPORAL)
        line = self._line(event, AuditKind.INTERVENED, summary, actor=who, outcome="lost", sent_by=ended.identity)
        return [*self._close_all(event), line]

    async def _on_workflow_execution_cancel_requested(self, event: HistoryEvent, asked: Any) -> list[Told]:  # noqa: ANN401
        summary = "cancellation requested" + (f": {asked.cause}" if asked.cause else "")
        who = Actor(name=asked.identity or "unknown", door=Door.TEMPORAL)
        line = self._line(event, AuditKind.INTERVENED, summary, actor=who, sent_by=asked.identity)
        return [line, *self._abort(event, who)]

    async def _on_workflow_execution_continued_as_new(self, event: HistoryEvent, continued: Any) -> list[Told]:  # noqa: ANN401
        self.continued_in = continued.new_execution_run_id
        return self._close_all(event)

    # What is asked, decided and told

    async def _on_workflow_execution_update_accepted(self, event: HistoryEvent, accepted: Any) -> list[Told]:  # noqa: ANN401
        request = accepted.accepted_request
        name = request.input.name
        value = await self._payloads.first(request.input.args.payloads)
        who = sentences.actor_in(value)
        line = self._line(
            event,
            sentences.KINDS.get(name, AuditKind.REQUESTED),
            sentences.requested(name, value),
            actor=who,
            sent_by=request.meta.identity,
            operation=str(value.get("operationId") or self._operation),
            step=str(value.get("step") or ""),
            resources=sentences.keys_in(value),
            unreadable=not value.readable,
        )
        if name == "decide":
            return [line, *self._decide(event, value, who)]
        self._request = (event.event_id, name, line)
        return []

    async def _on_workflow_execution_update_completed(self, event: HistoryEvent, completed: Any) -> list[Told]:  # noqa: ANN401
        told: list[Told] = []
        operation = self._operation
        if completed.outcome.HasField("success"):
            value = await self._payloads.first(completed.outcome.success.payloads)
            operation = str(value.get("operationId") or operation)
        if self._request is not None:
            _, _, line = self._request
            told.append(line.model_copy(update={"operation": line.operation or operation}))
            self._request = None
        if completed.outcome.HasField("failure"):
            trouble = await self._payloads.trouble(completed.outcome.failure)
            told.append(self._line(event, AuditKind.REFUSED, trouble.detail.message, actor=CONTROL_PLANE))
        return told

    async def _on_workflow_execution_signaled(self, event: HistoryEvent, signaled: Any) -> list[Told]:  # noqa: ANN401
        if signaled.signal_name in _OWN_SIGNALS:
            return []
        value = await self._payloads.first(signaled.input.payloads)
        parks = sentences.parks(signaled.signal_name, value) if self._operation else None
        if parks is not None and parks is not (self._hold is not None):
            who = sentences.teller_in(value)
            return [self._park(event, value, who)] if parks else [self._released(event, who)]
        return [
            self._line(
                event,
                AuditKind.TOLD,
                sentences.told(signaled.signal_name, value),
                actor=sentences.teller_in(value) or CONTROL_PLANE,
                sent_by=signaled.identity,
                unreadable=not value.readable,
            )
        ]

    async def _on_start_child_workflow_execution_initiated(self, _: HistoryEvent, __: Any) -> list[Told]:  # noqa: ANN401
        self._held_back = self._held_back or []
        return []

    async def _on_child_workflow_execution_started(self, event: HistoryEvent, started: Any) -> list[Told]:  # noqa: ANN401
        held, self._held_back = self._held_back or [], None
        child = Child(started.workflow_execution.workflow_id, started.workflow_execution.run_id, _at(event))
        return [child, *held]

    async def _on_start_child_workflow_execution_failed(self, event: HistoryEvent, failed: Any) -> list[Told]:  # noqa: ANN401
        held, self._held_back = self._held_back or [], None
        operation = operation_of(failed.workflow_id)
        summary = f"{operation or failed.workflow_id} could not be started: there is a workflow of this id"
        return [*held, self._line(event, AuditKind.REFUSED, summary, actor=CONTROL_PLANE, operation=operation)]

    # What is done

    async def _on_activity_task_scheduled(self, event: HistoryEvent, scheduled: Any) -> list[Told]:  # noqa: ANN401
        activity = scheduled.activity_type.name
        if activity in _OWN_WATCHES:
            return []
        summary = await self._payloads.text(event.user_metadata.summary) or activity.replace("_", " ")
        name = self._names[summary] = sentences.step_name(activity, summary)
        known = self._steps.get(name)
        key = f"{name}#{event.event_id}" if known and known.running else name
        step = self._steps.setdefault(key, _Step(key, name, summary, _at(event), event.event_id))
        step.running = True
        self._scheduled[event.event_id] = step
        return []

    async def _on_activity_task_started(self, _: HistoryEvent, started: Any) -> list[Told]:  # noqa: ANN401
        step = self._scheduled.get(started.scheduled_event_id)
        if step is not None:
            step.tries += started.attempt
            if started.HasField("last_failure"):
                step.trouble = (await self._payloads.trouble(started.last_failure)).detail
        return []

    async def _on_activity_task_completed(self, event: HistoryEvent, completed: Any) -> list[Told]:  # noqa: ANN401
        step = self._scheduled.pop(completed.scheduled_event_id, None)
        if step is None:
            return []
        step.running = False
        value = await self._payloads.first(completed.result.payloads)
        step.deeds.extend(value.deeds)
        step.readable = step.readable and value.readable
        if step.name == steps.VERIFY_ACCESS.name:
            found, missing = sentences.verified(value)
            return [self._verified(step, event, found, missing)]
        return self._close(step, event, "done", sentences.named_in(step.name.partition("/")[0], value))

    async def _on_activity_task_failed(self, event: HistoryEvent, failed: Any) -> list[Told]:  # noqa: ANN401
        return self._stumble(failed.scheduled_event_id, event, await self._payloads.trouble(failed.failure))

    async def _on_activity_task_timed_out(self, event: HistoryEvent, timed_out: Any) -> list[Told]:  # noqa: ANN401
        return self._stumble(timed_out.scheduled_event_id, event, await self._payloads.trouble(timed_out.failure))

    async def _on_activity_task_canceled(self, event: HistoryEvent, canceled: Any) -> list[Told]:  # noqa: ANN401
        step = self._scheduled.pop(canceled.scheduled_event_id, None)
        if step is None:
            return []
        step.running = False
        return self._close(step, event, "cancelled")

    async def _on_timer_started(self, event: HistoryEvent, _: Any) -> list[Told]:  # noqa: ANN401
        """A timer of this summary is a wait: what the step met before says for whom."""
        summary = await self._payloads.text(event.user_metadata.summary)
        if not summary.startswith(_PROBE):
            return []
        sentence = summary.removeprefix(_PROBE)
        name = self._names.get(sentence, sentence)
        step = self._steps.get(name)
        if step is None:
            # Its activity succeeded, and what it found was not accepted: the search for leftovers.
            step = self._steps[name] = _Step(name, name, sentence, _at(event), event.event_id, running=False)
        detail = step.trouble or FailureDetail(
            failure=FailureClass.CONFIG, message="what was found is not as it should be"
        )
        if step.wait is None:
            step.wait = _Wait(_at(event), event.event_id, detail)
        elif step.wait.detail.message == detail.message:
            return []
        step.wait.detail = detail
        return [self._waiting(step, event)]

    # Steps and waits

    def _stumble(self, scheduled_event_id: int, event: HistoryEvent, trouble: Trouble) -> list[Told]:
        step = self._scheduled.pop(scheduled_event_id, None)
        if step is None:
            return []
        step.running = False
        step.trouble = trouble.detail
        step.deeds.extend(trouble.deeds)
        step.readable = step.readable and trouble.readable
        if step.name == steps.VERIFY_ACCESS.name:
            return [self._verified(step, event, f"could not look: {trouble.detail.message}", trouble.detail.message)]
        return self._close(step, event, "aborted") if self._aborted else []

    def _decide(self, event: HistoryEvent, value: Value, who: Actor | None) -> list[Told]:
        if value.get("choice") == Choice.ABORT:
            return self._abort(event, who)
        told: list[Told] = []
        decided = str(value.get("step") or "")
        for step in [each for each in self._steps.values() if each.wait and decided in {"", each.name}]:
            assert step.wait is not None, "it was chosen for its wait"
            step.wait.ended_by = who or CONTROL_PLANE
            if value.get("choice") == Choice.SKIP:
                told += self._close(step, event, "skipped")
        return told

    def _abort(self, event: HistoryEvent, who: Actor | None) -> list[Told]:
        """Close what waits; what runs is cancelled and closes itself."""
        self._aborted = True
        told: list[Told] = []
        for step in [each for each in self._steps.values() if not each.running]:
            if step.wait:
                step.wait.ended_by = who or CONTROL_PLANE
            told += self._close(step, event, "aborted")
        return told

    def _close_all(self, event: HistoryEvent) -> list[Told]:
        """Close what a run leaves open: it was ended from outside, or went on in another run."""
        told = [line for step in list(self._steps.values()) for line in self._close(step, event, "left")]
        return [*told, self._released(event, CONTROL_PLANE)] if self._hold else told

    def _close(self, step: _Step, event: HistoryEvent, outcome: str, named: tuple[Resource, ...] = ()) -> list[Told]:
        told: list[Told] = [self._waited(step, _at(event), event.event_id, outcome)] if step.wait else []
        told.append(self._step_line(step, _at(event), event.event_id, outcome, named))
        self._steps.pop(step.key, None)
        return told

    def _step_line(
        self, step: _Step, ended_at: datetime | None, event_id: int, outcome: str, named: tuple[Resource, ...] = ()
    ) -> AuditEntry:
        touched = tuple(resource for deed in step.deeds for resource in deed.resources)
        return self._made(
            at=step.began,
            ended_at=ended_at,
            under_way=ended_at is None,
            kind=AuditKind.STEP,
            actor=CONTROL_PLANE,
            step=step.name,
            summary=step.summary,
            outcome=outcome,
            tries=step.tries,
            last_failure=step.trouble.message if step.trouble else "",
            resources=named_once((*touched, *named)),
            calls=tuple(step.deeds),
            unreadable=not step.readable,
            event_id=event_id,
        )

    def _waiting(self, step: _Step, event: HistoryEvent) -> AuditEntry:
        assert step.wait is not None, "it has just begun to wait"
        party = party_for(step.wait.detail.failure)
        return self._line(
            event,
            AuditKind.WAITING,
            f"waits for the {party}: {step.summary}",
            actor=CONTROL_PLANE,
            step=step.name,
            party=party,
            missing=_named_missing(step.wait.detail),
        )

    def _waited(self, step: _Step, ended_at: datetime | None, event_id: int, outcome: str) -> AuditEntry:
        assert step.wait is not None, "only a wait ends"
        wait, step.wait = step.wait, (step.wait if ended_at is None else None)
        party = party_for(wait.detail.failure)
        over = "waited" if ended_at else "has been waiting"
        return self._made(
            at=wait.since,
            ended_at=ended_at,
            under_way=ended_at is None,
            kind=AuditKind.WAITED,
            actor=wait.ended_by,
            step=step.name,
            summary=f"{over} for the {party}: {step.summary}",
            outcome=outcome,
            party=party,
            missing=_named_missing(wait.detail),
            event_id=event_id,
        )

    def _park(self, event: HistoryEvent, value: Value, who: Actor | None) -> AuditEntry:
        reason = str(value.get("holdReason") or "no reason was given")
        detail = FailureDetail(failure=FailureClass.AUTH, message=f"the customer holds the account: {reason}")
        self._hold = _Wait(_at(event), event.event_id, detail)
        return self._line(
            event,
            AuditKind.WAITING,
            "rests: the customer holds the account",
            actor=who or CONTROL_PLANE,
            party=Party.CUSTOMER,
            missing=detail.message,
        )

    def _released(self, event: HistoryEvent | None, who: Actor | None) -> AuditEntry:
        """Return the line of a rest that is over with this event; without one, of a rest that goes on."""
        assert self._hold is not None, "only a rest ends"
        hold, self._hold = self._hold, None
        return self._made(
            at=hold.since,
            ended_at=_at(event) if event else None,
            under_way=event is None,
            kind=AuditKind.WAITED,
            actor=who or CONTROL_PLANE,
            summary="rested while the customer held the account" if event else "rests: the customer holds the account",
            party=Party.CUSTOMER,
            missing=hold.detail.message,
            event_id=event.event_id if event else hold.event_id,
        )

    def _verified(self, step: _Step, event: HistoryEvent, found: str, missing: str) -> AuditEntry:
        self._steps.pop(step.key, None)
        return self._made(
            at=step.began,
            ended_at=_at(event),
            kind=AuditKind.VERIFIED,
            actor=CONTROL_PLANE,
            step=step.name,
            summary=found,
            tries=step.tries,
            party=Party.CUSTOMER if missing else None,
            missing=missing,
            unreadable=not step.readable,
            event_id=event.event_id,
        )

    # What is lost, and lines

    def _if_a_run_is_lost(self, event: HistoryEvent, run_id: str, value: Value) -> list[Told]:
        if run_id in self._known_runs:
            return []
        notes = self._notes(event, value)
        gap = self._line(event, AuditKind.GAP, "what was before is not kept by Temporal any more, but for these notes")
        return [gap.model_copy(update={"at": notes[0].at if notes else gap.at}), *notes]

    def _notes(self, event: HistoryEvent, value: Value) -> list[AuditEntry]:
        """Return the trail that the workflow carried into this run."""
        told: list[AuditEntry] = []
        for number, carried in enumerate(value.get("trail") or ()):
            try:
                note = Event.model_validate(carried)
            except ValidationError:
                continue
            line = self._line(event, AuditKind.NOTED, note.what, actor=note.actor, step=f"note-{number}")
            told.append(line.model_copy(update={"at": note.at}))
        return told

    def _if_a_generation_is_lost(self, event: HistoryEvent, value: Value) -> list[Told]:
        generation = value.get("order", "site", "generation") or 1
        if generation == 1 or self._known_runs:
            return []
        summary = f"the deployment's {generation - 1} earlier generations are not kept by Temporal any more"
        return [self._line(event, AuditKind.GAP, summary)]

    def _flush(self, event: HistoryEvent | None) -> list[Told]:
        """Return an accepted request whose answer is not the next event: its line waits no longer."""
        if self._request is None:
            return []
        number, _, line = self._request
        completed = event.workflow_execution_update_completed_event_attributes if event else None
        if completed is not None and completed.accepted_event_id == number:
            return []
        self._request = None
        return [line]

    def _in_order(self, told: list[Told]) -> list[Told]:
        if self._held_back is None:
            return told
        self._held_back.extend(line for line in told if isinstance(line, AuditEntry))
        return []

    def _line(self, event: HistoryEvent, kind: AuditKind, summary: str, **parts: Any) -> AuditEntry:  # noqa: ANN401 - fields of the line
        return self._made(at=_at(event), kind=kind, summary=summary, event_id=event.event_id, **parts)

    def _made(self, **parts: Any) -> AuditEntry:  # noqa: ANN401 - fields of the line
        parts.setdefault("operation", self._operation)
        return AuditEntry(workflow_id=self._workflow_id, run_id=self._run_id, **parts)


def _at(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(tzinfo=UTC)


def operation_of(workflow_id: str) -> str:
    """Return the operation's id from that of its workflow; empty for another workflow."""
    return "/".join(workflow_id.split("/")[2:])


def _named_missing(detail: FailureDetail) -> str:
    return (
        f"{detail.message} ({detail.action})"
        if detail.action and detail.action not in detail.message
        else detail.message
    )
