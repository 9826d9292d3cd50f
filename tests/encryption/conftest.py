"""A namespace of its own for each test, in which clients and workers have the key rings that the test gives them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from starters.preparation import prepare
from tests.workflows.scenes import Stage
from tests.workflows.scripted_cloud import ScriptedCloud
from workers.assembly import WORKFLOWS
from workers.liveness import SignsOfLife
from workflows.temporal import private_file, queues
from workflows.temporal.connection import connect
from workflows.temporal.settings import UNENCRYPTED, Encryption, EncryptionSettings


def with_keys(path: Path | None) -> EncryptionSettings:
    """Return the settings of whoever has this key ring, or none."""
    if path is None:
        return UNENCRYPTED
    return EncryptionSettings(encryption=Encryption.REQUIRED, encryption_keys=path)


@dataclass(frozen=True)
class Place:
    """A namespace."""

    address: str
    name: str

    async def client(self, keys: Path | None) -> Client:
        """Return a client with a key ring, or with none."""
        return await connect(target_host=self.address, namespace=self.name, encryption=with_keys(keys))

    async def stage(self, keys: Path | None, cloud: ScriptedCloud) -> Stage:
        """Return a fresh deployment's name, as a client with a key ring sees it."""
        return Stage(await self.client(keys), cloud, f"d{uuid4().hex[:8]}")

    @contextlib.asynccontextmanager
    async def worker(
        self, keys: Path | None, cloud: ScriptedCloud, *, cloud_keys: Path | None = None
    ) -> AsyncIterator[None]:
        """Run the workers of lifecycles and of a scripted cloud (with `cloud_keys`), with a key ring or with none."""
        client = await self.client(keys)
        lifecycles = Worker(
            client,
            task_queue=queues.LIFECYCLES,
            workflows=WORKFLOWS,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        )
        acting = Worker(
            await self.client(cloud_keys or keys),
            task_queue=queues.cloud_queue("aws"),
            activities=cloud.activities(),
            activity_executor=ThreadPoolExecutor(20),
            max_concurrent_activities=20,
            interceptors=[SignsOfLife()],
        )
        async with lifecycles, acting:
            yield


@pytest.fixture
async def place(client: Client) -> Place:
    """A fresh namespace with our search attributes."""
    name = f"encryption-{uuid4().hex[:8]}"
    address = client.service_client.config.target_host
    await prepare(
        await connect(target_host=address, namespace=name, encryption=UNENCRYPTED), retention=timedelta(days=1)
    )
    return Place(address, name)


@pytest.fixture
def followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at whenever they are used, not once a second."""
    monkeypatch.setattr(private_file, "LOOK_AGAIN", 0.0)
