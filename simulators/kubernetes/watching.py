"""Watches: the changes of a collection as a stream of JSON lines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from simulators.kubernetes.api import Api, is_selected
from simulators.kubernetes.errors import ApiError
from simulators.kubernetes.objects import Object
from simulators.kubernetes.request import Request
from simulators.kubernetes.store import Event, EventType

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

BOOKMARK_SECONDS = 30.0
"""Real seconds between bookmarks on a quiet watch."""
_LONGEST_SECONDS = 1800.0
_TRUE = ("true", "True", "1")

Rendering = Callable[[Object], Object]
"""How the client wants to see an object: as it is, or as a table."""


async def stream(cluster: Cluster, request: Request, render: Rendering) -> AsyncGenerator[bytes, None]:
    """Yield the initial objects (if asked for) and every later change, until the time is up or the cluster is gone.

    Raises ApiError Expired before the first line if the history does not reach back to the version asked for.
    """
    queue: asyncio.Queue[Event | None] = asyncio.Queue()
    start = request.query.get("resourceVersion") or "0"
    wants_initial = request.query.get("sendInitialEvents") in _TRUE
    first: list[bytes] = []
    if start == "0" or wants_initial:
        first = [_line(EventType.ADDED, render(obj)) for obj in Api(cluster).selected(request)]
        if wants_initial:
            first.append(_bookmark(cluster, request, initial=True))
    else:
        missed = [_translated(request, event, render) for event in cluster.store.since(_version(start))]
        first = [line for line in missed if line is not None]

    unsubscribe = cluster.store.subscribe(queue.put_nowait)
    cluster.watches.add(queue)
    try:
        yield b"".join(first)
        async for lines in _changes(cluster, request, queue, render):
            yield lines
    finally:
        cluster.watches.discard(queue)
        unsubscribe()


async def _changes(
    cluster: Cluster, request: Request, queue: asyncio.Queue[Event | None], render: Rendering
) -> AsyncGenerator[bytes, None]:
    seconds = float(request.query.get("timeoutSeconds") or _LONGEST_SECONDS)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                event = await queue.get()
        except TimeoutError:
            if request.query.get("allowWatchBookmarks") in _TRUE:
                yield _bookmark(cluster, request, initial=False)
            continue
        if event is None:
            return
        line = _translated(request, event, render)
        if line is not None:
            yield line


def _translated(request: Request, event: Event, render: Rendering) -> bytes | None:
    """Return the line that tells this watch of a change; to enter or leave the selection is to be added or deleted."""
    if event.kind is not request.target.kind:
        return None
    was_in = event.previous is not None and is_selected(request, event.previous)
    is_in = event.type is not EventType.DELETED and is_selected(request, event.object)
    if not was_in and not is_in:
        return None
    type_ = EventType.MODIFIED if was_in and is_in else EventType.ADDED if is_in else EventType.DELETED
    return _line(type_, render(event.object))


def _line(type_: str, obj: Object) -> bytes:
    return json.dumps({"type": str(type_), "object": obj}).encode() + b"\n"


def _bookmark(cluster: Cluster, request: Request, *, initial: bool) -> bytes:
    kind = request.target.kind
    metadata: Object = {"resourceVersion": str(cluster.store.resource_version), "creationTimestamp": None}
    if initial:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return _line("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})


def _version(text: str) -> int:
    if not text.isdigit():
        message = f'Invalid value: "{text}": invalid resource version'
        raise ApiError(400, "BadRequest", message)
    return int(text)
