"""Run one worker process: `python -m workers lifecycles`, `… cloud --cloud aws`, or `… all` (both in one)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

from domain.clouds import Cloud
from workers import assembly, telemetry
from workers.settings import WorkerSettings
from workflows.temporal import logs
from workflows.temporal.connection import connect, telemetry_runtime

log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, then let what is under way finish (up to the graceful shutdown time)."""
    parser = argparse.ArgumentParser(prog="byoc worker", description=__doc__)
    parser.add_argument("kind", choices=["lifecycles", "cloud", "all"])
    parser.add_argument("--cloud", choices=[*Cloud], default=Cloud.AWS, help="whose activities to run")
    parser.add_argument("--region", default="", help="poll the queue of one region, where data locality asks for it")
    options = parser.parse_args(arguments)
    settings = WorkerSettings()
    logs.configure(level=settings.log_level, as_json=settings.log_json)
    tracing = telemetry.start_tracing() if settings.tracing else contextlib.nullcontext()
    with tracing:
        asyncio.run(_run(options.kind, Cloud(options.cloud), options.region, settings))
    sys.stdout.flush()
    # The SDK's runtime threads may abort an interpreter that is being torn down; everything is closed by now.
    os._exit(0)


async def _run(kind: str, cloud: Cloud, region: str, settings: WorkerSettings) -> None:
    client = await connect(
        profile=settings.temporal_profile,
        tracing=settings.tracing,
        runtime=telemetry_runtime(settings.metrics_address),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as running:
        for worker in _workers(kind, cloud, region, client, settings):
            await running.enter_async_context(worker)
        log.info("worker runs", kind=kind, cloud=cloud, region=region, pid=os.getpid())
        await stop.wait()
        log.info("worker stops, finishing what is under way", kind=kind)


def _workers(kind: str, cloud: Cloud, region: str, client: Client, settings: WorkerSettings) -> list[Worker]:
    workers = []
    if kind in ("lifecycles", "all"):
        workers.append(assembly.lifecycles_worker(client, settings))
    if kind in ("cloud", "all"):
        workers.append(assembly.cloud_worker(client, settings, cloud, region))
    return workers


if __name__ == "__main__":
    sys.exit(main())
