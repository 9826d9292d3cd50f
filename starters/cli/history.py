"""`history`: the audit trail of a deployment or an account, told line by line as it is read."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
import yaml

from domain.actor import CONTROL_PLANE
from domain.audit import AuditEntry, AuditKind, Deed, Resource
from starters.cli.asking import ask
from starters.cli.errors import BadInput
from starters.cli.output import duration
from starters.client import ControlPlane
from starters.history.cloudevents import cloud_event

SHOWN_RESOURCES = 3
"""How many resources a line names before it counts the rest; `--calls` and the other formats name them all."""

_AGO = re.compile(r"(\d+)(min|h|d)")
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

Lines = AsyncIterator[AuditEntry]


class HistoryFormat(StrEnum):
    """How a trail is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


Since = Annotated[str, typer.Option(help="only what was over then or later: 2026-05-01, 2026-05-01T12:00Z, 90min, 7d")]
Until = Annotated[str, typer.Option(help="only what began by then; written as in --since")]
Kinds = Annotated[list[AuditKind] | None, typer.Option("--kind", help="only lines of this kind; repeat for several")]
Output = Annotated[
    HistoryFormat,
    typer.Option(
        "--output",
        "-o",
        help="table for people; json, yaml, or jsonl (one object a line) for programs; cloudevents for export",
    ),
]
Calls = Annotated[bool, typer.Option("--calls", help="in a table: each call to the cloud on a line of its own")]
Follow = Annotated[bool, typer.Option("--follow", help="go on with what happens from now on, until Ctrl-C")]
Operation = Annotated[str, typer.Option(help="only this operation, `provision/1`")]


def deployment_history(
    name: Annotated[str, typer.Argument(help="name of the deployment", metavar="NAME")],
    since: Since = "",
    until: Until = "",
    operation: Operation = "",
    kinds: Kinds = None,
    calls: Calls = False,
    follow: Follow = False,
    output: Output = HistoryFormat.TABLE,
) -> None:
    """Tell who asked, who decided, what was done to which resource when, and what waited for whom how long.

    It is read from Temporal's histories, of every generation, and of every operation, for as long as Temporal keeps
    them; what it does not keep any more is named. Export it before: docs/audit.md says how.

    Example: byoc deployments history acme-prod --since 30d -o cloudevents > acme-prod.jsonl
    """
    wanted = _Wanted(since, until, operation, kinds)
    _tell(lambda plane: plane.deployment_history(name, follow=follow), wanted, output, calls=calls, follow=follow)


def account_history(
    name: Annotated[str, typer.Argument(help="name of the account", metavar="NAME")],
    since: Since = "",
    until: Until = "",
    kinds: Kinds = None,
    follow: Follow = False,
    output: Output = HistoryFormat.TABLE,
) -> None:
    """Tell who connected, held, released and revoked the account, and what each verification found.

    It is read from Temporal's histories for as long as Temporal keeps them.

    Example: byoc accounts history acme-aws --kind verified --since 7d
    """
    wanted = _Wanted(since, until, "", kinds)
    _tell(lambda plane: plane.account_history(name, follow=follow), wanted, output, calls=False, follow=follow)


class _Wanted:
    """Which lines are told."""

    def __init__(self, since: str, until: str, operation: str, kinds: list[AuditKind] | None) -> None:
        now = datetime.now(UTC)
        self._since = _instant("--since", since, now) if since else None
        self._until = _instant("--until", until, now) if until else None
        self._operation = operation
        self._kinds = frozenset(kinds or AuditKind)
        if self._since and self._until and self._since > self._until:
            raise BadInput([f"--until: {until} is before --since {since}"])

    def __contains__(self, line: AuditEntry) -> bool:
        return (
            line.kind in self._kinds
            and self._operation in ("", line.operation)
            and not (self._since and line.known_at < self._since and not line.under_way)
            and not (self._until and line.at > self._until)
        )


def _tell(
    trail: Callable[[ControlPlane], Lines], wanted: _Wanted, form: HistoryFormat, *, calls: bool, follow: bool
) -> None:
    if follow and form is HistoryFormat.JSON:
        raise BadInput(["--output: json is one array and cannot be followed. Allowed: table, yaml, jsonl, cloudevents"])

    async def telling(plane: ControlPlane) -> None:
        printer = _Printer(form, plane.client.namespace, calls=calls)
        async for line in trail(plane):
            if line in wanted:
                for text in printer.texts(line):
                    _write(text, at_once=follow)
        for text in printer.end():
            _write(text, at_once=False)

    ask(telling)


def _write(text: str, *, at_once: bool) -> None:
    """Write one line; a reader that has gone away ends the command quietly."""
    sys.stdout.write(f"{text}\n")
    if at_once or sys.stdout.isatty():
        sys.stdout.flush()


class _Printer:
    """Says a trail in one format, a line at a time, so that a long one takes no memory."""

    def __init__(self, form: HistoryFormat, namespace: str, *, calls: bool) -> None:
        self._form = form
        self._namespace = namespace
        self._calls = calls
        self._told = 0

    def texts(self, line: AuditEntry) -> Iterator[str]:
        """Yield what is printed for a line."""
        self._told += 1
        match self._form:
            case HistoryFormat.TABLE:
                if self._told == 1:
                    yield table_head()
                yield table_row(line)
                if self._calls:
                    yield from (_call_row(call) for call in line.calls)
            case HistoryFormat.JSON:
                yield "[" if self._told == 1 else ","
                yield json.dumps(_plain(line), indent=2)
            case HistoryFormat.YAML:
                yield yaml.safe_dump([_plain(line)], sort_keys=False).rstrip()
            case HistoryFormat.JSONL:
                yield json.dumps(_plain(line))
            case HistoryFormat.CLOUDEVENTS:
                # What is under way has not happened yet: a later export tells it once, when it is over.
                if not line.under_way:
                    yield json.dumps(cloud_event(line, self._namespace))

    def end(self) -> Iterator[str]:
        """Yield what is printed after the last line."""
        if self._form is HistoryFormat.JSON:
            yield "]" if self._told else "[]"
        elif self._form is HistoryFormat.YAML and not self._told:
            yield "[]"
        elif self._form is HistoryFormat.TABLE and not self._told:
            yield "There is no such line in the history."


def table_head() -> str:
    """Return the names of the columns."""
    return _row("TIME", "WHO", "OPERATION", "KIND", "WHAT")


def table_row(line: AuditEntry) -> str:
    """Return one line for people: when it was true, who, of which operation, what, on which resources, how long."""
    when = "under way" if line.under_way else f"{line.known_at:%Y-%m-%d %H:%M:%SZ}"
    who = "-" if line.actor is None else "byoc" if line.actor == CONTROL_PLANE else str(line.actor)
    return _row(when, who, line.operation, line.kind, " ".join(_parts(line)))


def _row(when: str, who: str, operation: str, kind: str, what: str) -> str:
    return f"{when:<20}  {who:<26}  {operation:<13}  {kind:<11}  {what}".rstrip()


def _parts(line: AuditEntry) -> Iterator[str]:
    yield line.summary
    if line.under_way:
        yield f"since {line.at:%Y-%m-%d %H:%M:%SZ}"
    if line.took is not None and line.kind is not AuditKind.VERIFIED:
        tries = f", {line.tries} tries" if line.tries > 1 else ""
        yield f"({duration(line.took)}{tries})"
    if line.kind in {AuditKind.STEP, AuditKind.WAITED} and line.outcome not in {"", "done"}:
        yield f"- {line.outcome}"
    if line.missing and line.missing not in line.summary:
        yield f"- {line.missing}"
    elif line.last_failure and line.outcome != "done":
        yield f"- {line.last_failure}"
    if line.resources:
        yield f"- {_named(line.resources)}"
    if line.unreadable:
        yield "- a part of this record cannot be read"


def _named(resources: tuple[Resource, ...]) -> str:
    shown = ", ".join(map(str, resources[:SHOWN_RESOURCES]))
    more = len(resources) - SHOWN_RESOURCES
    return f"{shown} and {more} more" if more > 0 else shown


def _call_row(call: Deed) -> str:
    doubt = "" if call.answered else " (the reply was lost)"
    on = ", ".join(map(str, call.resources))
    return f"{'':<22}{call.at:%H:%M:%SZ}  {call.service} {call.operation}  {on}{doubt}".rstrip()


def _plain(line: AuditEntry) -> dict[str, object]:
    return {"id": line.id, **line.model_dump(mode="json", by_alias=True)}


def _instant(option: str, text: str, now: datetime) -> datetime:
    """Return the instant that an operator wrote: a date, a date with a time, or how long ago."""
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        written = datetime.fromisoformat(text)
    except ValueError:
        allowed = "2026-05-01, 2026-05-01T12:00Z, or how long ago: 90min, 12h, 7d"
        raise BadInput([f"{option}: {text!r} is no instant. Allowed: {allowed}"]) from None
    return written if written.tzinfo else written.replace(tzinfo=UTC)
