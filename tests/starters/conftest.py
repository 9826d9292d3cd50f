"""The command line against a real Temporal server of its own, with a scripted cloud behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from typer.testing import CliRunner

from starters.cli.app import app
from tests.conftest import dynamic_config_arguments, executable
from tests.workflows.conftest import workers  # noqa: F401 - a fixture
from tests.workflows.scripted_cloud import ScriptedCloud
from workflows.temporal import search_attributes
from workflows.temporal.plugin import plugin


@dataclass(frozen=True)
class Ran:
    """How one call of the command line ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return what was printed, as JSON."""
        return json.loads(self.out)


Byoc = Callable[..., Awaitable[Ran]]


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A server whose only workers are those of these tests."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable("temporal"),
        dev_server_extra_args=dynamic_config_arguments(),
        dev_server_log_level="error",
        search_attributes=search_attributes.ALL,
        plugins=[plugin()],
    ) as environment:
        yield environment


@pytest.fixture
def byoc(temporal: WorkflowEnvironment) -> Byoc:
    """Run `byoc` with arguments; the server is the one of these tests unless the environment says otherwise."""

    async def run(*arguments: str, typed: str = "", **environment: str) -> Ran:
        variables = {"TEMPORAL_ADDRESS": temporal.client.service_client.config.target_host, "BYOC_ACTOR": "ada@vendor"}
        result = await asyncio.to_thread(
            CliRunner().invoke, app, list(arguments), input=typed, env={**variables, **environment}
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def cloud(workers: ScriptedCloud) -> ScriptedCloud:  # noqa: F811 - the fixture
    """The scripted cloud, with nothing scripted."""
    workers.reset()
    return workers


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t{uuid4().hex[:8]}"


@pytest.fixture
async def account(byoc: Byoc, cloud: ScriptedCloud, name: str) -> str:
    """A connected, active account."""
    connected = await byoc(
        "accounts", "connect", f"{name}-aws", "--customer", "acme", "--account-id", "111122223333",
        "--region", "eu-central-1", "--wait",
    )  # fmt: skip
    assert connected.code == 0, connected.err
    return f"{name}-aws"


@pytest.fixture
async def workflows_started(client: Client) -> Callable[[], Awaitable[int]]:
    """Count the workflows that there are."""

    async def count() -> int:
        return (await client.count_workflows()).count

    return count
