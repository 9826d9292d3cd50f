"""A Temporal server and worker processes of their own for a measurement, and what they use."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
from temporalio.testing import WorkflowEnvironment

from tests.conftest import dynamic_config_arguments, executable
from workflows.temporal import search_attributes
from workflows.temporal.plugin import plugin


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[tuple[WorkflowEnvironment, psutil.Process]]:
    """Start a development server; yield it with its process."""
    before = {child.pid for child in psutil.Process().children()}
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable("temporal"),
        dev_server_extra_args=dynamic_config_arguments(),
        dev_server_log_level="error",
        search_attributes=search_attributes.ALL,
        plugins=[plugin()],
    ) as environment:
        started = [child for child in psutil.Process().children() if child.pid not in before]
        yield environment, started[0]


@contextlib.contextmanager
def lifecycles_worker(address: str) -> Iterator[psutil.Process]:
    """Start `python -m workers lifecycles` against the server at `address`."""
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": address,
        "BYOC_ENCRYPTION": "off",
        "BYOC_WORKFLOW_CACHE": "20000",
        "BYOC_LOG_LEVEL": "error",
    }
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "workers", "lifecycles"], env=environment, stdout=log, stderr=log
        )
        try:
            yield psutil.Process(child.pid)
        finally:
            child.terminate()
            child.wait(30)


def cpu_seconds(*processes: psutil.Process) -> float:
    """Return user and system time used so far by all of them."""
    times = [process.cpu_times() for process in processes]
    return sum(time.user + time.system for time in times)
