"""The server of a rehearsal: Temporal's test server, which skips the time in which nothing happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

from temporalio.api.testservice.v1 import UnlockTimeSkippingRequest
from temporalio.client import Client
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from starters.playground.children import Child, ChildDied
from workflows.temporal.plugin import plugin

_PROGRAM = "temporal-test-server"
_LOOK = 0.02
_START_TIMEOUT = 30.0
"""Seconds."""


class CannotRehearse(Exception):  # noqa: N818 - it names what happened
    """There is no plan; the message says why, in one line."""


@contextlib.asynccontextmanager
async def rehearsal_server() -> AsyncIterator[Client]:
    """Start the test server on a free port of loopback, for this rehearsal alone; yield a client of it.

    It holds everything in memory and is gone afterwards: also when this process is killed, because the kernel tells it.

    Raises:
        CannotRehearse: The program is missing or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="byoc-plan-") as folder:
        port = _free_port()
        log = Path(folder) / "server.log"
        server = Child(_PROGRAM, [_program(), str(port)], environment=_environment(), log=log)
        try:
            yield await _connected(server, f"127.0.0.1:{port}")
        finally:
            # It has nothing to save.
            await asyncio.to_thread(server.kill)


async def _connected(server: Child, address: str) -> Client:
    async with asyncio.timeout(_START_TIMEOUT):
        while True:
            try:
                client = await Client.connect(address, plugins=[plugin()], runtime=_quiet())
            except RuntimeError:
                try:
                    server.check()
                except ChildDied as died:
                    raise CannotRehearse(f"the rehearsal's server did not start: {died}") from died
                await asyncio.sleep(_LOOK)
            else:
                # From now on it skips ahead by itself whenever nothing is under way.
                await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
                return client


@cache
def _quiet() -> Runtime:
    """Return a runtime that does not warn of what the test server cannot do, once for the process."""
    errors = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=errors)))


def _program() -> str:
    beside = Path(sys.executable).with_name(_PROGRAM)
    found = str(beside) if beside.exists() else shutil.which(_PROGRAM)
    if not found:
        raise CannotRehearse(f"{_PROGRAM!r} is not installed: pip install 'byoc[plans]'")
    return found


def _environment() -> dict[str, str]:
    """Return what the server needs of the environment; no cloud's credentials are among it."""
    return {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
