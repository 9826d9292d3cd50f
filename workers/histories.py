"""Replaying the open workflows of a running server with the code that is installed here, before it runs there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from temporalio.client import Client, WorkflowExecution, WorkflowHistory
from temporalio.worker import Plugin, Replayer

from starters.versions import HistoriesReport, Replayed, open_workflows, version_of

_LONGEST_PROBLEM = 500


async def check_histories(client: Client, workflows: Sequence[type], *, query: str = "", limit: int) -> HistoriesReport:
    """Return how open workflows replay, the newest `limit` of those that `query` finds as well.

    Nothing is changed on the server: histories are read, and no worker polls.
    """
    whole = open_workflows(query)
    found = (await client.count_workflows(whole)).count
    executions: dict[str, WorkflowExecution] = {}

    async def histories() -> AsyncIterator[WorkflowHistory]:
        async for execution in client.list_workflows(whole, limit=limit):
            executions[execution.run_id] = execution
            yield await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()

    # The client's own plugins, as in a worker: the same conversion of payloads, the same sandbox.
    plugins = [plugin for plugin in client.config()["plugins"] if isinstance(plugin, Plugin)]
    replayer = Replayer(
        workflows=workflows,
        data_converter=client.data_converter,
        plugins=plugins,
        runtime=client.service_client.config.runtime,
    )
    async with replayer.workflow_replay_iterator(histories()) as results:
        replayed = [
            _replayed(executions[result.history.run_id], result.history, result.replay_failure)
            async for result in results
        ]
    return HistoriesReport(found=found, replayed=tuple(replayed))


def _replayed(execution: WorkflowExecution, history: WorkflowHistory, failure: Exception | None) -> Replayed:
    return Replayed(
        workflow_id=execution.id,
        run_id=execution.run_id,
        workflow_type=execution.workflow_type,
        build=version_of(execution),
        events=len(history.events),
        problem=" ".join(f"{type(failure).__name__}: {failure}".split())[:_LONGEST_PROBLEM] if failure else "",
    )
