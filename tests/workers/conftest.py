"""A Temporal server for each test here: its only workers are those that the test starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from simulators.control_client import ControlClient
from simulators.launch import running_simulators
from tests.conftest import dynamic_config_arguments, executable
from tests.starters.conftest import Byoc, Ran
from tests.starters.conftest import byoc as quick_byoc  # noqa: F401 - a fixture
from tests.workers.processes import WorkerProcesses
from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.liveness import SignsOfLife
from workflows.temporal import queues, search_attributes
from workflows.temporal.plugin import plugin

DYNAMIC_CONFIG = (
    'matching.wv.VersionDrainageStatusVisibilityGracePeriod="1s"',
    'matching.wv.VersionDrainageStatusRefreshInterval="1s"',
)
"""Without these the server looks after minutes whether a build is drained."""


@pytest.fixture
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A server without any worker."""
    more = [argument for value in DYNAMIC_CONFIG for argument in ("--dynamic-config-value", value)]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable("temporal"),
        dev_server_extra_args=[*dynamic_config_arguments(), *more],
        dev_server_log_level="error",
        search_attributes=search_attributes.ALL,
        plugins=[plugin()],
    ) as environment:
        yield environment


@pytest.fixture
def address(temporal: WorkflowEnvironment) -> str:
    """Where that server answers."""
    return temporal.client.service_client.config.target_host


@pytest.fixture
def byoc(quick_byoc: Byoc) -> Byoc:  # noqa: F811 - the fixture
    """Run `byoc` with arguments, with the patience that new worker processes on a busy machine need."""

    async def run(*arguments: str, **environment: str) -> Ran:
        return await quick_byoc(*arguments, **{"BYOC_PATIENCE": "60", **environment})

    return run


@pytest.fixture
def worker_processes(address: str, tmp_path: Path) -> Iterator[WorkerProcesses]:
    """Starts worker processes against that server."""
    processes = WorkerProcesses(tmp_path, {"TEMPORAL_ADDRESS": address, "BYOC_STICKY_TIMEOUT": "1"})
    yield processes
    processes.kill_all()


@pytest.fixture
async def cloud(client: Client) -> AsyncIterator[ScriptedCloud]:
    """A scripted cloud whose worker runs in this process; workflows are run by whatever the test starts."""
    scripted = ScriptedCloud()
    async with Worker(
        client,
        task_queue=queues.cloud_queue("aws"),
        activities=scripted.activities(),
        activity_executor=ThreadPoolExecutor(20),
        max_concurrent_activities=20,
        interceptors=[SignsOfLife()],
    ):
        yield scripted


@pytest.fixture
def stage(client: Client, cloud: ScriptedCloud) -> Stage:
    """A deployment's name, and the scripted cloud."""
    return Stage(client, cloud, "acme-prod")


@pytest.fixture
def simulated_aws(worker_processes: WorkerProcesses) -> Iterator[ControlClient]:
    """Simulated clouds in which nothing takes time; worker processes that are started from now on act in them."""
    with running_simulators() as endpoints:
        control = ControlClient(endpoints.control_url)
        vendor = control.vendor()
        worker_processes.environment = {
            **worker_processes.environment,
            "BYOC_AWS_ENDPOINT_URL": endpoints.aws_url,
            "BYOC_AWS_PRINCIPAL": vendor.principal,
            "AWS_ACCESS_KEY_ID": vendor.access_key_id,
            "AWS_SECRET_ACCESS_KEY": vendor.secret_access_key,
        }
        yield control
        control.close()
