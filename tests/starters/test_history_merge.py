"""Several histories, told as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from domain.audit import AuditEntry, AuditKind
from starters.history.fold import Child, Told
from starters.history.reader import _Merge

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def line(workflow: str, minute: int, *, under_way: bool = False) -> AuditEntry:
    """Return a line of a workflow."""
    at = NOON + timedelta(minutes=minute)
    return AuditEntry(
        at=at,
        under_way=under_way,
        kind=AuditKind.STEP,
        summary=f"{workflow}{minute}",
        workflow_id=workflow,
        run_id="r",
        event_id=minute,
    )


def child(workflow: str, minute: int) -> Child:
    """Return a run that another one started."""
    return Child(workflow, "r", NOON + timedelta(minutes=minute))


async def stream(*told: Told) -> AsyncIterator[Told]:
    """Yield what is told, with a pause where a server would be asked for the next page."""
    for each in told:
        await asyncio.sleep(0)
        yield each


async def summaries(merge: _Merge, first: AsyncIterator[Told]) -> list[str]:
    """Return what the merged lines say."""
    return [each.summary async for each in merge.lines(first)]


async def test_lines_of_parent_and_children_come_in_the_order_of_time() -> None:
    """A child's lines stand between its parent's; a grandchild's are found too."""
    children = {
        "b": [line("b", 2), child("c", 3), line("b", 6)],
        "c": [line("c", 3), line("c", 4), line("c", 9)],
    }
    merge = _Merge(lambda found: stream(*children[found.workflow_id]), followed=False)

    told = await summaries(merge, stream(line("a", 1), child("b", 2), line("a", 5), line("a", 7)))

    assert told == ["a1", "b2", "c3", "c4", "a5", "b6", "a7", "c9"]


async def test_what_is_under_way_comes_last() -> None:
    """Whatever began long ago and is not over is told after all that is over."""
    merge = _Merge(lambda _: stream(line("b", 3)), followed=False)

    told = await summaries(merge, stream(child("b", 1), line("a", 2), line("a", 1, under_way=True)))

    assert told == ["a2", "b3", "a1"]


async def test_a_history_that_has_nothing_new_holds_up_no_other() -> None:
    """Followed, what is there is told while the other history is silent; what that tells later is told when it does."""
    silent = asyncio.Event()

    async def late() -> AsyncIterator[Told]:
        yield line("a", 1)
        yield child("b", 2)
        await silent.wait()
        yield line("a", 9)

    merge = _Merge(lambda _: stream(line("b", 2), line("b", 3)), followed=True)
    told = []
    async for each in merge.lines(late()):
        told.append(each.summary)
        if each.summary == "b3":
            silent.set()

    assert told == ["a1", "b2", "b3", "a9"]


async def test_who_stops_listening_leaves_no_reader_behind() -> None:
    """A trail that is not read to its end ends its reads."""
    before = asyncio.all_tasks()

    async def endless() -> AsyncIterator[Told]:
        yield line("a", 1)
        await asyncio.Event().wait()

    lines = _Merge(lambda _: stream(), followed=True).lines(endless())
    first = await anext(lines)
    reading = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert first.summary == "a1"
    assert asyncio.all_tasks() - before == set()
