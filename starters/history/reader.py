"""Reading: every run of an entity that Temporal keeps, and of what they started, merged by time.

Histories are read page by page while their lines are told, so that memory holds what is open and no more.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TypeAlias

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.audit import AuditEntry, AuditKind
from starters.history.fold import Child, Fold, Told, operation_of
from starters.history.payloads import Payloads

_IDLE_AFTER = 0.5
"""Seconds after which a history that is followed counts as having nothing new for now."""

_NEVER = datetime.max.replace(tzinfo=UTC)

Opener: TypeAlias = Callable[[Child], AsyncIterator[Told]]


class Histories:
    """Reads the trail of one entity: an account, or a deployment with its operations."""

    def __init__(self, client: Client, *, follow: bool = False) -> None:
        """With `follow` the lines go on for as long as the entity does."""
        self._client = client
        self._follow = follow
        self._payloads = Payloads(client.data_converter)

    async def lines(self, workflow_id: str) -> AsyncIterator[AuditEntry]:
        """Yield the trail in the order in which its lines became true; what is under way comes last.

        Raises:
            RPCError: NOT_FOUND if Temporal keeps no run of this id.
        """
        runs = await self._runs(workflow_id)
        merge = _Merge(self.of_child, followed=self._follow)
        async for line in merge.lines(self._of_entity(workflow_id, runs)):
            yield line

    async def _runs(self, workflow_id: str) -> list[tuple[datetime, str]]:
        """Return the runs of this id that Temporal keeps, oldest first: of every generation."""
        newest = await self._client.get_workflow_handle(workflow_id).describe()
        quoted = workflow_id.replace("'", "''")
        listed = [each async for each in self._client.list_workflows(f"WorkflowId = '{quoted}'")]
        return sorted({each.run_id: (each.start_time, each.run_id) for each in (*listed, newest)}.values())

    async def _of_entity(self, workflow_id: str, runs: list[tuple[datetime, str]]) -> AsyncIterator[Told]:
        left, known = list(runs), {run_id for _, run_id in runs}
        while left:
            (began, run_id), *left = left
            fold = Fold(workflow_id, run_id, self._payloads, known_runs=frozenset(known - {run_id}))
            async for told in self._of_run(fold, Child(workflow_id, run_id, began)):
                yield told
            # The list of runs is a second behind the truth; a run names the one that follows it.
            if fold.continued_in and fold.continued_in not in known:
                known.add(fold.continued_in)
                left.insert(0, (began, fold.continued_in))

    def of_child(self, child: Child) -> AsyncIterator[Told]:
        """Yield what one run tells: its lines, and the runs that it started."""
        fold = Fold(child.workflow_id, child.run_id, self._payloads, known_runs=frozenset())
        return self._of_run(fold, child)

    async def _of_run(self, fold: Fold, run: Child) -> AsyncIterator[Told]:
        handle = self._client.get_workflow_handle(run.workflow_id, run_id=run.run_id)
        try:
            async for event in handle.fetch_history_events(wait_new_event=self._follow):
                for told in await fold.take(event):
                    yield told
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            yield AuditEntry(
                at=run.began,
                kind=AuditKind.GAP,
                operation=operation_of(run.workflow_id),
                summary=f"the history of {run.workflow_id} is not kept by Temporal any more",
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                event_id=0,
            )
            return
        for told in fold.rest():
            yield told


class _Merge:
    """Merges streams by the time of their lines; a child that a stream names becomes one more stream.

    A followed stream that has nothing for a while is idle, and not waited for: what it will tell is newer than the
    lines that are there.
    """

    def __init__(self, opened: Opener, *, followed: bool) -> None:
        self._opened = opened
        self._followed = followed
        self._asked: dict[asyncio.Task[Told | None], AsyncIterator[Told]] = {}
        self._idle: set[asyncio.Task[Told | None]] = set()
        self._heads: list[tuple[datetime, int, AuditEntry, AsyncIterator[Told]]] = []
        self._number = 0

    async def lines(self, first: AsyncIterator[Told]) -> AsyncIterator[AuditEntry]:
        """Yield the lines of `first` and of everything that it leads to."""
        self._ask(first)
        try:
            while self._asked or self._heads:
                for task in await self._answered():
                    self._idle.discard(task)
                    self._take(task.result(), self._asked.pop(task))
                if self._heads and not self._busy():
                    _, _, line, stream = heapq.heappop(self._heads)
                    yield line
                    self._ask(stream)
        finally:
            for task in self._asked:
                task.cancel()
            await asyncio.gather(*self._asked, return_exceptions=True)

    def _ask(self, stream: AsyncIterator[Told]) -> None:
        self._asked[asyncio.ensure_future(_next_of(stream))] = stream

    def _busy(self) -> set[asyncio.Task[Told | None]]:
        return set(self._asked) - self._idle

    async def _answered(self) -> set[asyncio.Task[Told | None]]:
        if busy := self._busy():
            done, slow = await asyncio.wait(busy, timeout=_IDLE_AFTER if self._followed else None)
            self._idle |= slow
            return done
        if self._heads:
            return {task for task in self._idle if task.done()}
        done, _ = await asyncio.wait(self._asked, return_when=asyncio.FIRST_COMPLETED)
        return done

    def _take(self, told: Told | None, stream: AsyncIterator[Told]) -> None:
        match told:
            case AuditEntry():
                self._number += 1
                due = _NEVER if told.under_way else told.known_at
                heapq.heappush(self._heads, (due, self._number, told, stream))
            case Child():
                self._ask(self._opened(told))
                self._ask(stream)
            case None:
                pass


async def _next_of(stream: AsyncIterator[Told]) -> Told | None:
    return await anext(stream, None)
