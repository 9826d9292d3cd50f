"""A simulated cluster on a loop of its own, so that tests can call it with the synchronous clients of the real API."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import urllib3
from kubernetes import client

from simulators.clock import Clock
from simulators.kubernetes.provider import OPERATORS, StandaloneProvider, User
from simulators.kubernetes.simulator import Cluster, KubernetesSimulator
from simulators.world import World

T = TypeVar("T")
OPERATOR_TOKEN = "operator-token"
STRANGER_TOKEN = "stranger-token"


@dataclass(frozen=True)
class Answer:
    """What the server replied."""

    status: int
    headers: dict[str, str]
    body: Any


class Playground:
    """One Kubernetes simulator with one cluster, served from another thread."""

    def __init__(self, folder: Path, *, controlled: bool) -> None:
        self.world = World(clock=Clock(math.inf))
        self.provider = StandaloneProvider(OPERATOR_TOKEN, User("operator", (OPERATORS,)))
        self.provider.tokens[STRANGER_TOKEN] = User("stranger", ("others",))
        self.simulator = KubernetesSimulator(self.world)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.simulator.start(), self.loop).result(10)
        self.cluster: Cluster = self.on_loop(
            lambda: self.simulator.create_cluster(
                "demo",
                version="1.34",
                provider=self.provider,
                account="111122223333",
                region="eu-west-1",
                controlled=controlled,
            )
        )
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.simulator.ca_pem)

    def on_loop(self, deed: Callable[[], T]) -> T:
        """Do something on the simulator's thread and return its result."""

        async def wrapped() -> T:
            return deed()

        return asyncio.run_coroutine_threadsafe(wrapped(), self.loop).result(10)

    def client(self, token: str = OPERATOR_TOKEN, agent: str = "tests/1.0") -> client.ApiClient:
        """Return the official client, which verifies the server's certificate."""
        configuration = client.Configuration(host=self.cluster.url)
        configuration.ssl_ca_cert = str(self.ca_file)
        configuration.api_key = {"authorization": f"Bearer {token}"}
        configuration.retries = False
        api = client.ApiClient(configuration)
        api.user_agent = agent
        return api

    def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Answer:
        """Send one request as the operator, past the checks that the official client makes itself."""
        headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}", "Content-Type": content_type, "User-Agent": "raw/1.0"}
        with urllib3.PoolManager(ca_certs=str(self.ca_file), retries=False) as pool:
            reply = pool.request(method, self.cluster.url + path, json=body, headers=headers, timeout=10)
        return Answer(reply.status, dict(reply.headers), reply.json())

    def stop(self) -> None:
        """Stop the simulator and its thread."""
        asyncio.run_coroutine_threadsafe(self.simulator.stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    """A cluster in which nobody but the test acts."""
    running = Playground(tmp_path, controlled=False)
    yield running
    running.stop()


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Playground]:
    """A cluster with its controllers, scheduler and kubelets."""
    running = Playground(tmp_path, controlled=True)
    yield running
    running.stop()
