"""(d) What an idle fleet costs: memory and CPU of server and worker with 1,000 and 5,000 deployments at rest."""

from __future__ import annotations

import asyncio

from temporalio.client import Client

from bench.servers import cpu_seconds, lifecycles_worker, server
from domain.state import DeploymentPhase, DeploymentState
from tests.workflows.orders import deployment_state
from workflows.deployment import Deployment
from workflows.temporal import ids, queues

FLEETS = (1_000, 5_000)
REST_SECONDS = 10.0


async def measure() -> dict[str, float]:
    """Return bytes for each idle deployment in worker and server (between both fleet sizes), and CPU shares at rest."""
    results: dict[str, float] = {}
    async with server() as (environment, server_process):
        address = environment.client.service_client.config.target_host
        with lifecycles_worker(address) as worker_process:
            await _start(environment.client, range(100))
            base = (worker_process.memory_info().rss, server_process.memory_info().rss)
            sizes = {100: base}
            known = 100
            for fleet in FLEETS:
                await _start(environment.client, range(known, fleet))
                known = fleet
                await asyncio.sleep(2)
                before = (cpu_seconds(worker_process), cpu_seconds(server_process))
                await asyncio.sleep(REST_SECONDS)
                results[f"idle_{fleet}_worker_cpu_share"] = (cpu_seconds(worker_process) - before[0]) / REST_SECONDS
                results[f"idle_{fleet}_server_cpu_share"] = (cpu_seconds(server_process) - before[1]) / REST_SECONDS
                sizes[fleet] = (worker_process.memory_info().rss, server_process.memory_info().rss)
                results[f"idle_{fleet}_worker_mib"] = sizes[fleet][0] / 2**20
                results[f"idle_{fleet}_server_mib"] = sizes[fleet][1] / 2**20
            small, large = 100, FLEETS[-1]
            results["idle_worker_bytes_per_deployment"] = (sizes[large][0] - sizes[small][0]) / (large - small)
            results["idle_server_bytes_per_deployment"] = (sizes[large][1] - sizes[small][1]) / (large - small)
    return results


async def _start(client: Client, numbers: range) -> None:
    """Start deployments that are active and have nothing to do, 50 at a time, and wait until each has gone to rest."""
    for first in range(numbers.start, numbers.stop, 50):
        chunk = range(first, min(first + 50, numbers.stop))
        await asyncio.gather(*(_start_one(client, number) for number in chunk))


async def _start_one(client: Client, number: int) -> None:
    name = f"idle{number}"
    handle = await client.start_workflow(
        Deployment.run, _at_rest(name), id=ids.deployment_id(name), task_queue=queues.LIFECYCLES
    )
    await handle.query(Deployment.current_state)


def _at_rest(name: str) -> DeploymentState:
    return deployment_state(name).model_copy(update={"operations": 1, "phase": DeploymentPhase.ACTIVE})
