"""Histories, recorded and twisted, folded into lines: nothing is lost, and nothing makes the reader fall."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from domain.actor import CONTROL_PLANE, Actor, Door
from domain.audit import AuditEntry, AuditKind, Resource, named_once
from domain.failure import Party
from starters.cli.history import table_head, table_row
from starters.history.fold import Child, Fold, Told
from starters.history.payloads import Payloads
from starters.history.sentences import step_name
from tests.lifecycle_steps import undos_of
from tests.workflows.orders import ADA, deployment_state
from workers.assembly import WORKFLOWS
from workflows import steps

FOLDER = Path(__file__).parents[1] / "histories"
HISTORIES = sorted(path for path in FOLDER.glob("*.json") if path.stem != "propose")
"""Those of what has a trail; the monthly proposal is asked by a schedule, with nothing that anybody could read."""
GOLDEN = Path(__file__).parent / "golden"
WORKFLOW_ID = "deployment/acme-prod/provision/1"


def events_of(stem: str) -> list[HistoryEvent]:
    """Return the events of a recorded history."""
    return list(WorkflowHistory.from_json(WORKFLOW_ID, (FOLDER / f"{stem}.json").read_text()).events)


async def folded(
    events: list[HistoryEvent], *, workflow_id: str = WORKFLOW_ID, known_runs: frozenset[str] = frozenset()
) -> list[Told]:
    """Return what a history tells, with what is under way at its end."""
    fold = Fold(workflow_id, "run-1", Payloads(pydantic_data_converter), known_runs=known_runs)
    told = [each for event in events for each in await fold.take(event)]
    return [*told, *fold.rest()]


def lines_in(told: list[Told]) -> list[AuditEntry]:
    """Return the lines among what is told."""
    return [each for each in told if isinstance(each, AuditEntry)]


def payload_of(model: BaseModel) -> Payload:
    """Return a model as a history holds it."""
    (payload,) = pydantic_data_converter.payload_converter.to_payloads([model])
    return payload


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_every_recorded_history_is_told_from_its_beginning_to_its_end(path: Path) -> None:
    """Each has one end, nothing open or unreadable, ids that differ, its own order, and actors."""
    lines = lines_in(await folded(events_of(path.stem)))

    assert lines[0].kind in {AuditKind.REQUESTED, AuditKind.STARTED}
    assert [line.kind for line in lines].count(AuditKind.ENDED) == (0 if _goes_on(path) else 1)
    assert _goes_on(path) or lines[-1].kind is AuditKind.ENDED
    assert [line for line in lines if line.under_way or line.unreadable] == []
    assert len({line.id for line in lines}) == len(lines)
    assert [line for line in lines[1:] if line.actor is None] == []
    assert [line.event_id for line in lines] == sorted(line.event_id for line in lines)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_every_activity_of_a_recorded_history_is_within_a_line_of_its_step(path: Path) -> None:
    """What was scheduled and what was closed is told: no attempt is outside of the time of a line about it."""
    events = events_of(path.stem)
    lines = lines_in(await folded(events))
    kinds = {AuditKind.STEP, AuditKind.VERIFIED}

    scheduled = [event for event in events if event.HasField("activity_task_scheduled_event_attributes")]
    for event in scheduled:
        name = event.activity_task_scheduled_event_attributes.activity_type.name
        at = event.event_time.ToDatetime(tzinfo=UTC)
        assert [
            line
            for line in lines
            if line.kind in kinds
            and line.step.partition("/")[0] == name
            and line.ended_at
            and line.at <= at <= line.ended_at
        ], name


async def test_the_table_of_a_recorded_history() -> None:
    """The lines for people, compared with a file; a change of it is a change of what operators read."""
    lines = lines_in(await folded(events_of("provision-waiting")))

    table = "\n".join([table_head(), *map(table_row, lines)]) + "\n"

    assert table == (GOLDEN / "history-provision-waiting.txt").read_text("utf-8")


async def test_a_wait_says_for_whom_what_for_and_how_it_ended() -> None:
    """One ends by a probe and one by a decision, which is the deed of who decided."""
    lines = lines_in(await folded(events_of("provision-waiting")))

    waits = {line.step: line for line in lines if line.kind is AuditKind.WAITED}
    began = {line.step: line for line in lines if line.kind is AuditKind.WAITING}
    assert {step: (line.party, line.outcome, line.actor) for step, line in waits.items()} == {
        "create_egress": (Party.CUSTOMER, "done", CONTROL_PLANE),
        "smoke_test": (Party.OPERATOR, "skipped", ADA),
    }
    assert {step: line.at for step, line in began.items()} == {step: line.at for step, line in waits.items()}
    assert "create_egress met PermissionMissing" in waits["create_egress"].missing
    retried = next(line for line in lines if line.kind is AuditKind.STEP and line.step == "create_egress")
    assert (retried.tries, retried.last_failure) == (2, "create_egress met PermissionMissing")


async def test_a_step_in_the_middle_of_a_wait_is_told_as_under_way() -> None:
    """A history that goes on tells what it waits for, since when, and claims no end."""
    events = events_of("provision-waiting")
    waits = next(number for number, event in enumerate(events) if event.HasField("timer_started_event_attributes"))

    lines = lines_in(await folded(events[: waits + 1]))

    open_lines = {(line.kind, line.step): line for line in lines if line.under_way}
    assert open_lines[AuditKind.WAITED, "create_egress"].party is Party.CUSTOMER
    assert open_lines[AuditKind.STEP, "create_egress"].took is None
    assert AuditKind.ENDED not in {line.kind for line in lines}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_who_asked_for_a_recorded_workflow_is_told(path: Path) -> None:
    """Whatever was started on somebody's behalf names them in its first line."""
    events = events_of(path.stem)
    name = events[0].workflow_execution_started_event_attributes.workflow_type.name
    (asked,) = workflow._Definition.must_from_class(next(e for e in WORKFLOWS if e.__name__ == name)).arg_types or [
        None
    ]
    names_somebody = bool({"actor", "order"} & get_type_hints(asked).keys())

    first = lines_in(await folded(events))[0]

    assert (first.actor is not None) == names_somebody


async def test_a_hold_that_parks_an_operation_is_a_wait_for_the_customer() -> None:
    """From the account's word that it is held until its word that it is not, with who said so."""
    events = events_of("provision")
    held, released = (HistoryEvent(event_id=number, event_time=events[9].event_time) for number in (9001, 9002))
    released.event_time.seconds += 90
    for event, phase, reason in ((held, "held", "change freeze"), (released, "active", "")):
        event.workflow_execution_signaled_event_attributes.signal_name = "account_changed"
        (payload,) = pydantic_data_converter.payload_converter.to_payloads(
            [{"phase": phase, "holdReason": reason, "verified": True, "by": ADA.model_dump(mode="json")}]
        )
        event.workflow_execution_signaled_event_attributes.input.payloads.append(payload)

    whole = lines_in(await folded([*events[:10], held, released, *events[10:]]))
    so_far = lines_in(await folded([*events[:10], held]))

    waiting, waited = [line for line in whole if line.party is Party.CUSTOMER]
    assert (waiting.kind, waiting.actor) == (AuditKind.WAITING, ADA)
    assert (waited.kind, waited.took, waited.actor) == (AuditKind.WAITED, timedelta(seconds=90), ADA)
    assert "change freeze" in waited.missing
    assert [line.kind for line in so_far if line.under_way and not line.step] == [AuditKind.WAITED]


async def test_an_abort_is_told_with_what_it_ended_and_what_was_taken_back() -> None:
    """The step that waited ends aborted by who decided; the deletions follow."""
    lines = lines_in(await folded(events_of("provision-aborted")))

    decided = next(number for number, line in enumerate(lines) if line.kind is AuditKind.DECIDED)
    assert (lines[decided].summary, lines[decided].actor) == ("abort", ADA)
    after = [(line.kind, line.step, line.outcome) for line in lines[decided + 1 :]]
    assert after[:2] == [("waited", "open_endpoint", "aborted"), ("step", "open_endpoint", "aborted")]
    assert {step for kind, step, _ in after[2:] if kind == "step"} == {
        undo.name for undo in undos_of("provision") if undo is not steps.DELETE_ALARMS
    }


async def test_facts_name_what_was_made_where_no_deeds_were_recorded() -> None:
    """Histories that are older than the recording of calls still say which network, key and cluster."""
    lines = lines_in(await folded(events_of("provision")))

    told = {str(resource) for line in lines for resource in line.resources}
    assert told >= {"network vpc-1", "subnet subnet-1", "security-group sg-1", "key key-1", "cluster byoc-acme"}


async def test_a_deployment_names_its_operations_and_who_asked_for_them() -> None:
    """A request's line knows the operation that came of it; each operation is one more history to read."""
    told = await folded(events_of("deployment"), workflow_id="deployment/deployment")

    children = [each.workflow_id for each in told if isinstance(each, Child)]
    asked = [(line.operation, line.actor) for line in lines_in(told) if line.kind is AuditKind.REQUESTED]
    assert children == [f"deployment/deployment/{each}" for each in ("provision/1", "provision/2", "retire/3")]
    assert asked == [("", ADA), ("provision/2", ADA), ("retire/3", ADA)]


def _goes_on(path: Path) -> bool:
    """Whether the recorded run ended by going on in a fresh one."""
    return bool(events_of(path.stem)[-1].HasField("workflow_execution_continued_as_new_event_attributes"))


def _encrypt(payload: Payload) -> None:
    payload.metadata["encoding"] = b"binary/encrypted"


def _tear(payload: Payload) -> None:
    payload.data = b'{"torn'


@pytest.mark.parametrize("spoil", [_encrypt, _tear], ids=["encrypted", "torn"])
@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_what_cannot_be_read_is_said_and_the_rest_is_told(path: Path, spoil: Callable[[Payload], None]) -> None:
    """Without the codec's key, or with a payload that is broken, the trail has its lines all the same."""
    events = events_of(path.stem)
    for event in events:
        _each_payload(event, spoil)

    lines = lines_in(await folded(events))

    assert _goes_on(path) or lines[-1].kind is AuditKind.ENDED
    assert lines[0].unreadable
    assert {line.unreadable for line in lines if line.kind is AuditKind.STEP and line.outcome == "done"} <= {True}


def _each_payload(message: Any, spoil: Callable[[Payload], None]) -> None:
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        repeated = hasattr(value, "__len__") and not hasattr(value, "ListFields")
        for part in value if repeated else [value]:
            if isinstance(part, Payload):
                spoil(part)
            else:
                _each_payload(part, spoil)


@pytest.mark.parametrize(
    ("update", "kind"),
    [
        ("approve", AuditKind.APPROVED),
        ("decline", AuditKind.DECLINED),
        ("do_what_nobody_has_thought_of", AuditKind.REQUESTED),
    ],
)
async def test_any_update_with_an_actor_is_a_line(update: str, kind: AuditKind) -> None:
    """A request that the reader has never heard of is told with who asked, why, and by which process."""
    events = events_of("deployment")
    accepted = next(event for event in events if event.HasField("workflow_execution_update_accepted_event_attributes"))
    accepted.workflow_execution_update_accepted_event_attributes.accepted_request.input.name = update

    lines = lines_in(await folded(events))

    line = next(line for line in lines if line.event_id == accepted.event_id)
    assert (line.kind, line.actor, line.sent_by) == (kind, ADA, "byoc")
    assert line.summary.startswith(update.replace("_", " "))


async def test_decisions_about_a_plan_name_operation_plan_and_side() -> None:
    """Who approved which plan of what for whom, who lent his right to whom, and who declined, is told."""
    lines = lines_in(await folded(events_of("deployment-approved")))

    told = [line.summary for line in lines if line.kind in (AuditKind.APPROVED, AuditKind.DECLINED)]
    assert [re.sub("[0-9a-f]{12}", "…", each) for each in told] == [
        "approve retire/2, plan … for the vendor",
        "decline retire/2, plan … for the customer",
        *["approve retire/3, plan … for the vendor"] * 3,
        "approve retire/3, plan … for the customer",
    ]
    assert "delegate retire/3, to carl@acme.example for the customer" in [line.summary for line in lines]


async def test_what_a_later_server_writes_is_passed_over() -> None:
    """An event of a kind that the reader does not know changes nothing in the lines of the others."""
    events = events_of("provision")
    plain = lines_in(await folded(events))
    unknown = HistoryEvent(event_id=9999)
    unknown.event_time.FromDatetime(datetime(2027, 1, 1, tzinfo=UTC))

    assert lines_in(await folded([unknown, *events, unknown])) == plain


async def test_that_a_deployment_watches_its_operation_after_a_fresh_run_is_no_step() -> None:
    """The watch and its end, a cancellation as a rule, change nothing in the lines of the others."""
    events = events_of("deployment")
    began, now = events[0], events[-1].event_time
    scheduled = HistoryEvent(event_id=9001, event_time=began.event_time)
    scheduled.activity_task_scheduled_event_attributes.activity_type.name = "await_end"
    cancelled = HistoryEvent(event_id=9002, event_time=now)
    cancelled.activity_task_canceled_event_attributes.scheduled_event_id = 9001

    told = lines_in(await folded([began, scheduled, *events[1:], cancelled]))

    assert told == lines_in(await folded(events))


async def test_who_goes_past_our_doors_is_told_by_their_identity() -> None:
    """A termination and a cancellation in Temporal itself name who did it, and end what was open."""
    events = events_of("provision-waiting")
    waits = next(number for number, event in enumerate(events) if event.HasField("timer_started_event_attributes"))
    now = events[waits].event_time
    cancelled = HistoryEvent(event_id=9001, event_time=now)
    cancelled.workflow_execution_cancel_requested_event_attributes.cause = "wrong customer"
    cancelled.workflow_execution_cancel_requested_event_attributes.identity = "mallory@laptop"
    terminated = HistoryEvent(event_id=9002, event_time=now)
    terminated.workflow_execution_terminated_event_attributes.reason = "too slow"
    terminated.workflow_execution_terminated_event_attributes.identity = "mallory@laptop"

    lines = lines_in(await folded([*events[: waits + 1], cancelled, terminated]))

    intervened = [line for line in lines if line.kind is AuditKind.INTERVENED]
    assert [line.summary for line in intervened] == [
        "cancellation requested: wrong customer",
        "terminated: too slow",
    ]
    assert {line.actor for line in intervened} == {Actor(name="mallory@laptop", door=Door.TEMPORAL)}
    waited = next(line for line in lines if line.kind is AuditKind.WAITED)
    assert (waited.outcome, waited.actor) == ("aborted", intervened[0].actor)
    assert [line for line in lines if line.under_way] == []


async def test_a_lost_run_is_a_gap_and_its_notes_are_told() -> None:
    """A run whose predecessor is gone says so, and tells the trail that the state carried over."""
    state = deployment_state("acme-prod")
    noted = state.model_copy(
        update={"trail": ({"at": "2026-01-02T03:04:05Z", "what": "provision asked: ordered", "actor": ADA},)}
    )
    first = events_of("deployment")[0]
    first.workflow_execution_started_event_attributes.continued_execution_run_id = "lost"
    first.workflow_execution_started_event_attributes.input.payloads[0].CopyFrom(payload_of(noted))

    gone = lines_in(await folded([first], workflow_id="deployment/acme-prod"))
    kept = lines_in(await folded([first], workflow_id="deployment/acme-prod", known_runs=frozenset({"lost"})))

    assert [line.kind for line in gone] == [AuditKind.GAP, AuditKind.NOTED, AuditKind.CONTINUED]
    assert (gone[1].summary, gone[1].actor, gone[1].at) == (
        "provision asked: ordered", ADA, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )  # fmt: skip
    assert [line.kind for line in kept] == [AuditKind.CONTINUED]


async def test_lost_generations_are_a_gap() -> None:
    """A name that was ordered before, of which Temporal keeps nothing, does not begin as if it were new."""
    state = deployment_state("acme-prod")
    site = state.order.site.model_copy(update={"generation": 3})
    third = state.model_copy(update={"order": state.order.model_copy(update={"site": site})})
    first = events_of("deployment")[0]
    first.workflow_execution_started_event_attributes.input.payloads[0].CopyFrom(payload_of(third))

    lines = lines_in(await folded([first], workflow_id="deployment/acme-prod"))

    assert [line.kind for line in lines] == [AuditKind.GAP, AuditKind.REQUESTED]
    assert "2 earlier generations" in lines[0].summary
    assert "generation 3" in lines[1].summary


def _says_who(asked: type) -> bool:
    return asked is Actor or get_type_hints(asked).get("actor") is Actor


@pytest.mark.parametrize("each", WORKFLOWS, ids=lambda each: each.__name__)
def test_every_update_says_who_asks(each: type) -> None:
    """Whatever is asked of a workflow carries its actor into the history; an update without one cannot be added."""
    definition = workflow._Definition.must_from_class(each)

    asked = {name: list(update.arg_types or ()) for name, update in definition.updates.items()}

    assert {name for name, types in asked.items() if not any(map(_says_who, types))} == set()


def test_updates_are_found_where_there_are_some() -> None:
    """The test above looks at what it means to look at."""
    found = {name for each in WORKFLOWS for name in workflow._Definition.must_from_class(each).updates}

    assert found >= {"request", "change_api_keys", "continue_as_new_now", "decide", "verify", "hold", "revoke"}


def test_steps_are_named_as_operators_type_them() -> None:
    """The activity, and behind it what the step is about, read from its sentence."""
    assert step_name("create_network", "Create the network") == "create_network"
    assert step_name("create_node_pool", "Create the store node pool") == "create_node_pool/store"
    assert step_name("create_node_pool", "A sentence of another time") == "create_node_pool"


def test_a_resource_is_named_once_by_who_names_it_first() -> None:
    """A call knows the kind better than a fact, and comes before it."""
    call, fact = Resource(kind="ec2:vpc", id="vpc-1"), Resource(kind="network", id="vpc-1")

    assert named_once((call, Resource(kind="a", id="b"), fact, call)) == (call, Resource(kind="a", id="b"))
