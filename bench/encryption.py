"""(e) What encryption costs: the same provisionings with and without it, interleaved, on one server."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psutil
from temporalio.client import Client
from temporalio.converter import PayloadCodec
from temporalio.worker import Worker

from bench.servers import cpu_seconds, server
from starters.preparation import prepare
from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.assembly import WORKFLOWS
from workers.liveness import SignsOfLife
from workflows.temporal import key_ring, queues
from workflows.temporal.encryption import EncryptionCodec
from workflows.temporal.key_ring import KeyFile
from workflows.temporal.plugin import plugin

ROUNDS = 5
TOGETHER = 6
"""Operations of each kind in one round, started together."""


async def measure() -> dict[str, float]:
    """Return `encryption_cpu_ratio`, `encryption_wall_ratio` (medians of interleaved rounds) and the histories' ratios.

    `encryption_history_ratio` is as payloads are kept; `…_uncompressed` shows what compression saves.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.json"
        key_ring.make(path)
        codecs: dict[str, PayloadCodec | None] = {
            "plain": None,
            "encrypted": EncryptionCodec(KeyFile(path)),
            "uncompressed": EncryptionCodec(KeyFile(path), compressed_from=sys.maxsize),
        }
        async with server() as (environment, process), contextlib.AsyncExitStack() as stack:
            address = environment.client.service_client.config.target_host
            clouds = {name: ScriptedCloud() for name in codecs}
            clients = {
                name: await stack.enter_async_context(_working(address, name, codec, clouds[name]))
                for name, codec in codecs.items()
            }
            sizes = {name: await _bytes(client, clouds[name]) for name, client in clients.items()}
            samples: dict[str, list[tuple[float, float]]] = {"plain": [], "encrypted": []}
            for number in range(ROUNDS):
                for name, taken in samples.items():
                    before, started = cpu_seconds(psutil.Process(), process), time.perf_counter()
                    await asyncio.gather(
                        *(_provision(clients[name], clouds[name], f"{number}x{each}") for each in range(TOGETHER))
                    )
                    taken.append((cpu_seconds(psutil.Process(), process) - before, time.perf_counter() - started))
    return {
        "encryption_cpu_ratio": _median(samples["encrypted"], 0) / _median(samples["plain"], 0),
        "encryption_wall_ratio": _median(samples["encrypted"], 1) / _median(samples["plain"], 1),
        "encryption_history_ratio": sizes["encrypted"] / sizes["plain"],
        "encryption_history_ratio_uncompressed": sizes["uncompressed"] / sizes["plain"],
    }


@contextlib.asynccontextmanager
async def _working(
    address: str, namespace: str, codec: PayloadCodec | None, cloud: ScriptedCloud
) -> AsyncIterator[Client]:
    """Run workers in a namespace of their own, with a codec or without."""
    client = await Client.connect(address, namespace=namespace, plugins=[plugin(codec)])
    await prepare(client, retention=timedelta(days=1))
    acting = Worker(
        client,
        task_queue=queues.cloud_queue("aws"),
        activities=cloud.activities(),
        activity_executor=ThreadPoolExecutor(40),
        max_concurrent_activities=40,
        interceptors=[SignsOfLife()],
    )
    async with Worker(client, task_queue=queues.LIFECYCLES, workflows=WORKFLOWS), acting:
        yield client


async def _provision(client: Client, cloud: ScriptedCloud, name: str) -> None:
    handle = await Stage(client, cloud, f"d{name}").provision()
    await handle.result()


async def _bytes(client: Client, cloud: ScriptedCloud) -> float:
    """Return the size of one provisioning's history; it warms everything up as well."""
    handle = await Stage(client, cloud, "sizes").provision()
    await handle.result()
    described = await handle.describe()
    return float(described.raw_description.workflow_execution_info.history_size_bytes)


def _median(samples: list[tuple[float, float]], index: int) -> float:
    ordered = sorted(sample[index] for sample in samples)
    return ordered[len(ordered) // 2]
