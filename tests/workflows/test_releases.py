"""The workflow that holds published releases."""

from __future__ import annotations

from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError

import catalog
from domain.publication import Publication, ReleasesState, Withdrawal, merged
from tests.workflows.orders import ADA
from tests.workflows.scenes import Stage
from workflows.releases import Releases
from workflows.temporal import queues

NEWEST = catalog.load().releases[-1]
NEXT = NEWEST.model_copy(update={"version": "99.0.0"})


async def start(client: Client) -> WorkflowHandle[Releases, None]:
    """Start one of its own."""
    return await client.start_workflow(
        Releases.run, ReleasesState(), id=f"releases-{uuid4().hex[:8]}", task_queue=queues.LIFECYCLES
    )


async def test_what_is_published_once_stays_as_it_is(stage: Stage) -> None:
    """The same again changes nothing; another one of the same version is refused."""
    handle = await start(stage.client)

    first = await handle.execute_update(Releases.publish, Publication(release=NEXT, actor=ADA))
    again = await handle.execute_update(Releases.publish, Publication(release=NEXT, actor=ADA))
    other = NEXT.model_copy(update={"notes": "another"})
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(Releases.publish, Publication(release=other, actor=ADA))

    assert first == again == await handle.query(Releases.current_state)
    assert [each.release for each in first.published] == [NEXT]
    assert merged(catalog.load(), first).newest_release() == NEXT


async def test_everything_survives_a_fresh_run(stage: Stage) -> None:
    """A withdrawal too, which needs a reason."""
    handle = await start(stage.client)
    await handle.execute_update(Releases.publish, Publication(release=NEXT, actor=ADA))
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(Releases.withdraw, Withdrawal(version="99.0.0", reason="", actor=ADA))
    before = await handle.execute_update(Releases.withdraw, Withdrawal(version="99.0.0", reason="leaks", actor=ADA))

    assert await handle.execute_update(Releases.continue_as_new_now, ADA) == 1
    current = stage.client.get_workflow_handle_for(Releases.run, handle.id)
    after = await current.execute_update(Releases.publish, Publication(release=NEXT, actor=ADA))

    assert after == before.model_copy(update={"runs": 2})
    assert merged(catalog.load(), after).newest_release() == NEWEST
