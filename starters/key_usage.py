"""Which keys of a ring are still needed: read from the metadata of what Temporal keeps, without opening any of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from domain.model import Model
from starters.client import ControlPlaneError
from workflows.temporal.encryption import is_encrypted, key_of
from workflows.temporal.key_ring import KeyRing


class KeyUse(Model):
    """One key, and what needs it."""

    id: str
    fingerprint: str
    known: bool
    """Whether the ring holds it."""
    encrypts: bool = False
    """Whether it is the first of the ring."""
    open_workflows: int = 0
    closed_workflows: int = 0
    """Workflows that ended and that Temporal still keeps."""
    example: str = ""
    """Id of a workflow that needs it."""

    @property
    def needed(self) -> bool:
        """Whether anything that was looked at needs it."""
        return self.open_workflows + self.closed_workflows > 0


class KeyUsage(Model):
    """What needs which key."""

    workflows: int
    """How many workflows were looked at: the open ones first, each time the newest first."""
    complete: bool
    """Whether these are all that there are."""
    plain_workflows: int
    """Workflows that hold payloads which are not encrypted."""
    keys: tuple[KeyUse, ...]


class _Found(NamedTuple):
    open: bool
    workflow_id: str
    keys: frozenset[tuple[str, str]]
    """(id, fingerprint)"""
    plain: bool


async def key_usage(client: Client, ring: KeyRing, *, limit: int) -> KeyUsage:
    """Look at the histories of at most `limit` workflows, those that run before those that ended.

    The client need not have the keys: nothing is decrypted.

    Raises:
        ControlPlaneError: Temporal refuses.
    """
    try:
        found = [await _look(client, *each) for each in await _listed(client, limit + 1)]
    except RPCError as error:
        raise ControlPlaneError(f"the histories cannot be read: {error.message}") from error
    complete, found = len(found) <= limit, found[:limit]
    mine = [(key.id, key.fingerprint) for key in ring.keys]
    others = sorted({key for each in found for key in each.keys} - set(mine))
    return KeyUsage(
        workflows=len(found),
        complete=complete,
        plain_workflows=sum(each.plain for each in found),
        keys=tuple(_use(key, found, mine) for key in (*mine, *others)),
    )


def _use(key: tuple[str, str], found: list[_Found], mine: list[tuple[str, str]]) -> KeyUse:
    needing = [each for each in found if key in each.keys]
    return KeyUse(
        id=key[0],
        fingerprint=key[1],
        known=key in mine,
        encrypts=key == mine[0],
        open_workflows=sum(each.open for each in needing),
        closed_workflows=sum(not each.open for each in needing),
        example=needing[0].workflow_id if needing else "",
    )


async def _listed(client: Client, limit: int) -> list[tuple[str, str, bool]]:
    """Return (workflow id, run id, whether it runs) of at most `limit` workflows, those that run first."""
    listed: list[tuple[str, str, bool]] = []
    for query in ("ExecutionStatus = 'Running'", "ExecutionStatus != 'Running'"):
        if left := limit - len(listed):
            async for each in client.list_workflows(query, limit=left):
                listed.append((each.id, each.run_id, each.status is WorkflowExecutionStatus.RUNNING))  # noqa: PERF401 - `left` is counted anew for the second query
    return listed


async def _look(client: Client, workflow_id: str, run_id: str, is_open: bool) -> _Found:
    keys, plain = set(), False
    try:
        async for event in client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history_events():
            for payload in payloads_in(event):
                if is_encrypted(payload):
                    keys.add(key_of(payload))
                else:
                    plain = True
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # its retention has ended since it was listed
            raise
    return _Found(is_open, workflow_id, frozenset(keys), plain)


def payloads_in(message: Any) -> Iterator[Payload]:  # noqa: ANN401 - any protobuf message; its package is google's
    """Return every payload inside a message, however deep; search attributes, which are never encrypted, left out."""
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None or field.name == "search_attributes":
            continue
        if kind.GetOptions().map_entry:
            of_messages = kind.fields_by_name["value"].message_type is not None
            inside = [value[key] for key in value] if of_messages else []
        else:
            inside = list(value) if field.is_repeated else [value]
        for each in inside:
            if isinstance(each, Payload):
                yield each
            else:
                yield from payloads_in(each)
