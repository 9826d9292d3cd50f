"""Clients notice nothing of an upgrade: a probe through the public endpoint asks without a pause meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import requests
from kubernetes import client

from domain.shape import Component
from domain.upgrade import MigrationPhase
from simulators.kubernetes import kinds
from tests.activities.kubernetes.highly_available import NEW, Upgraded
from tests.activities.kubernetes.playground import TOKEN
from tests.activities.kubernetes.samples import DOMAIN

SPEED = 120.0
"""Simulated seconds in a real one: slow enough for load balancers to notice late what has stopped."""


class Probe:
    """Asks for the health of the whole server, and for the subscription server at its own port, all the time."""

    def __init__(self, server: Upgraded) -> None:
        self.seen: Counter[str] = Counter()
        """How often the answer was what; a status, or the name of what went wrong."""
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = server.settings.public_ca_file or True
        self._session.proxies = {"https": server.internet.proxy_url}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        self._session.close()

    def _ask(self) -> None:
        urls = (f"https://{DOMAIN.name}/healthz", f"https://{DOMAIN.name}:8443/subscribe/healthz")
        while not self._over.is_set():
            for url in urls:
                try:
                    self.seen[str(self._session.get(url, timeout=5).status_code)] += 1
                except requests.RequestException as error:
                    self.seen[type(error).__name__] += 1
            time.sleep(0.005)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Upgraded]:
    """A highly available server, with time that passes."""
    running = Upgraded(tmp_path)
    yield running
    running.stop()


def drain(server: Upgraded, node: str) -> int:
    """Cordon a node and evict what is on it, as often as budgets want; return how often one said no."""
    configuration = client.Configuration(host=server.cluster.endpoint)
    configuration.ca_cert_data = server.simulator.ca_pem.decode()
    configuration.api_key = {"authorization": f"Bearer {TOKEN}"}
    core, refusals = client.CoreV1Api(client.ApiClient(configuration)), 0
    server.edit(kinds.NODES, node, lambda obj: obj["spec"].update(unschedulable=True), namespace="")
    while pods := core.list_namespaced_pod("byoc-server", field_selector=f"spec.nodeName={node}").items:
        for pod in pods:
            if pod.metadata.deletion_timestamp is None:
                eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod.metadata.name))
                try:
                    core.create_namespaced_pod_eviction(pod.metadata.name, "byoc-server", eviction)
                except client.exceptions.ApiException as error:
                    assert error.status == 429  # noqa: PT017 - anything else is a mistake of this test
                    refusals += 1
        time.sleep(0.05)
    return refusals


def test_no_request_fails_from_one_release_to_the_next(server: Upgraded) -> None:
    """Migration, canary, promotion of each component, and a node that is drained: every answer is 200."""
    server.world.clock.set_speed(SPEED)
    with Probe(server) as probe:
        server.until_done(server.server.migrate, server.migration(MigrationPhase.EXPAND))
        for component in Component:
            server.stage(component, NEW)
            server.promote(component, NEW)
        drain(server, "services-0")
        server.until_done(server.server.migrate, server.migration(MigrationPhase.ACTIVATE))

    assert [set(server.releases(component)) for component in Component] == [{NEW.version}] * 5
    assert set(probe.seen) == {"200"}
    assert probe.seen["200"] > 100
