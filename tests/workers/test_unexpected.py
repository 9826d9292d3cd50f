"""Defects of ours: an exception that nobody thought of reaches an operator, and not only a log."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from domain.clouds import Cloud
from domain.failure import FailureClass, Party
from domain.operation import Choice, OperationPhase, Pace, StepDecision
from tests.workflows.orders import ADA
from tests.workflows.scenes import Stage, until_waiting
from tests.workflows.scripted_cloud import ScriptedCloud
from workers import assembly
from workers.settings import WorkerSettings
from workflows import step_runner, steps
from workflows.temporal import search_attributes

ROLES = steps.CREATE_ROLES.name


async def test_a_defect_is_shown_to_an_operator_after_three_tries(
    client: Client, temporal: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait names the exception, the operation goes on when the defect is gone, and the tries were three."""
    cloud = ScriptedCloud()
    monkeypatch.setattr(assembly, "cloud_activities", lambda settings, of: cloud.activities())
    monkeypatch.setattr(step_runner, "_UNKNOWN_PAUSE", timedelta(milliseconds=100))
    settings = WorkerSettings(graceful_shutdown=timedelta(0))
    broken = True

    def meet_a_defect() -> None:
        if broken:
            raise KeyError("Arn")

    cloud.during(ROLES, meet_a_defect)
    stage = Stage(client, cloud, "acme-prod")
    async with assembly.lifecycles_worker(client, settings), assembly.cloud_worker(client, settings, Cloud.AWS):
        handle = await stage.provision(pace=Pace(liveness=timedelta(minutes=1)))

        wait = await until_waiting(handle, ROLES)

        assert (wait.party, wait.failure) == (Party.OPERATOR, FailureClass.UNKNOWN)
        assert wait.missing == "KeyError: 'Arn'"
        assert wait.choices == (Choice.RETRY, Choice.ABORT)
        assert cloud.calls.count(ROLES) == 3
        described = await handle.describe()
        assert described.typed_search_attributes[search_attributes.WAITING_FOR] == Party.OPERATOR
        broken = False
        await handle.execute_update("decide", StepDecision(choice=Choice.RETRY, actor=ADA))
        assert (await handle.result()).phase is OperationPhase.DONE
