"""Determinism over years: every recorded history replays with today's code, and a reordering is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from domain.deployment import Site
from domain.facts import AddressPlan, Placement
from domain.state import OperationOrder, OperationOutcome
from workers.assembly import WORKFLOWS
from workflows import steps
from workflows.provision import Provision
from workflows.temporal.plugin import plugin

HISTORIES = sorted((Path(__file__).parents[1] / "histories").glob("*.json"))


def test_every_workflow_type_has_a_history() -> None:
    """A new workflow type comes with a recorded history."""
    recorded = {
        json.loads(path.read_text())["events"][0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"]
        for path in HISTORIES
    }

    assert recorded == {each.__name__ for each in WORKFLOWS}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_history_replays(path: Path) -> None:
    """Today's code makes the commands that the history holds."""
    history = WorkflowHistory.from_json(f"replay/{path.stem}/1", path.read_text())

    await Replayer(workflows=WORKFLOWS, plugins=[plugin()]).replay_workflow(history)


@workflow.defn(name="Provision", sandboxed=False)
class Reordered(Provision):
    """A provisioning that lays the ground before it has looked: what a careless edit would do."""

    @workflow.init
    def __init__(self, order: OperationOrder) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OperationOrder) -> OperationOutcome:
        """Run as before, with one step moved."""
        return await Provision.run(self, order)

    async def _look_before(self) -> tuple[Placement, AddressPlan]:
        await self.steps.run(steps.CREATE_ROLES, Site.model_validate(self.order.site))
        return await super()._look_before()


async def test_a_reordering_fails_the_replay() -> None:
    """The gate does notice: a step moved to another place is a nondeterminism error."""
    path = next(path for path in HISTORIES if path.stem == "provision")
    history = WorkflowHistory.from_json("replay/provision/1", path.read_text())

    with pytest.raises(workflow.NondeterminismError):
        await Replayer(workflows=[Reordered], plugins=[plugin()]).replay_workflow(history)
