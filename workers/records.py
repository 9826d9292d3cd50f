"""Reading what workflows have recorded, also when they have ended."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.failures import not_ready
from activities.upgrade_contracts import RecordContract
from domain.state import Reached
from workflows.upgrade import Upgrade


class Records(RecordContract):
    """Asks workflows; a worker of lifecycles answers from the history, for those that have ended, too."""

    def __init__(self, client: Client, *, look_again_in: timedelta = timedelta(minutes=1)) -> None:
        """Look at a workflow whose end is awaited as often as that."""
        self._client = client
        self._look_again_in = look_again_in

    @activity.defn
    async def read_reached(self, workflow_id: str) -> Reached:
        """Return how far an upgrade came whose workflow was ended from outside, by what that has recorded."""
        return await self._client.get_workflow_handle(workflow_id).query(Upgrade.reached)

    @activity.defn
    async def await_end(self, workflow_id: str) -> str:
        """Return how a workflow has ended, in a word (`terminated`); one that still runs is looked at again."""
        try:
            status = (await self._client.get_workflow_handle(workflow_id).describe()).status
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return "forgotten"
            raise not_ready(f"{workflow_id}: {error}", look_again_in=self._look_again_in) from error
        if status is None or status is WorkflowExecutionStatus.RUNNING:
            raise not_ready(f"{workflow_id} is running", look_again_in=self._look_again_in)
        return status.name.lower().replace("_", " ")
