"""The proxy that is the public internet, used by a real HTTP client over real TLS."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from simulators.clock import Clock
from simulators.internet import Internet, Traffic
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import is_ready
from simulators.kubernetes.provider import Destination, StandaloneProvider
from simulators.kubernetes.simulator import Cluster, KubernetesSimulator, NodeShape
from simulators.world import World
from tests.simulators.kubernetes.clusters import image

HOST = "prod.acme.example"


@dataclass
class Names:
    """Names and certificates as the test says."""

    records: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    certificates: set[str] = field(default_factory=set)

    def resolve(self, hostname: str, port: int = 443) -> Destination | None:
        """Return where the name leads."""
        found = self.records.get(hostname)
        return Destination(*found, port) if found else None

    def has_certificate(self, hostname: str, port: int = 443) -> bool:
        """Return whether the name has a certificate."""
        return hostname in self.certificates


@dataclass
class Client:
    """A client whose only way out is the proxy."""

    internet: Internet
    names: Names
    cluster: Cluster
    session: aiohttp.ClientSession
    tls: ssl.SSLContext

    async def get(self, host: str, path: str = "/healthz") -> tuple[int, dict[str, object]]:
        """Return status and body of one request."""
        url = f"https://{host}{path}"
        async with self.session.get(url, proxy=self.internet.proxy_url, ssl=self.tls) as reply:
            return reply.status, await reply.json()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most five seconds."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come to hold")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A cluster in which every component is ready behind one public name."""
    world = World(clock=Clock(math.inf))
    kubernetes = KubernetesSimulator(world)
    cluster = kubernetes.create_cluster("c1", version="1.34", provider=StandaloneProvider())
    cluster.add_node(NodeShape("node", "eu-west-1a", "eu-west-1", "m5.xlarge", "p", 8, 2**34, "1.34"))
    cluster.store.create(kinds.NAMESPACES, {"metadata": {"name": "server"}})
    for component in ("store", "authentication", "api", "subscription", "cdc"):
        labels = {"app": component}
        container = {"name": component, "image": image(component)}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        cluster.store.create(kinds.DEPLOYMENTS, {"metadata": {"name": component}, "spec": spec}, "server")
    spec = {"type": "LoadBalancer", "selector": {"app": "api"}, "ports": [{"port": 443, "targetPort": 8080}]}
    cluster.store.create(kinds.SERVICES, {"metadata": {"name": "endpoint"}, "spec": spec}, "server")
    names = Names({HOST: ("c1", "server", "endpoint")}, {HOST})
    internet = Internet(world, kubernetes, names)
    await internet.start()
    await until(lambda: sum(map(is_ready, cluster.store.list(kinds.PODS))) == 5)
    async with aiohttp.ClientSession() as session:
        tls = ssl.create_default_context(cadata=internet.ca_pem.decode())
        yield Client(internet, names, cluster, session, tls)
    await internet.stop()
    await kubernetes.stop()


async def test_a_public_name_leads_to_the_server(client: Client) -> None:
    """The certificate is the name's own, signed by the public authority, and the answer is the server's."""
    status, body = await client.get(HOST)

    assert (status, body["status"]) == (200, "ok")
    assert client.internet.traffic[HOST] == Traffic(requests=1, failures=0)


async def test_a_name_that_leads_nowhere_is_a_bad_gateway(client: Client) -> None:
    """The proxy refuses to connect."""
    with pytest.raises(aiohttp.ClientHttpProxyError) as refused:
        await client.get("unknown.acme.example")

    assert refused.value.status == 502
    assert client.internet.traffic["unknown.acme.example"].failures == 1


async def test_a_listener_without_a_certificate_hangs_up(client: Client) -> None:
    """The handshake fails, and it counts as a failure of the server."""
    client.names.certificates.clear()

    with pytest.raises(aiohttp.ClientConnectionError):
        await client.get(HOST)

    assert client.internet.traffic[HOST] == Traffic(requests=1, failures=1)


async def test_a_server_without_ready_pods_is_unavailable(client: Client) -> None:
    """The client gets 503 with a reason in JSON, over the connection that it had already."""
    before, _ = await client.get(HOST)
    deployment = client.cluster.store.get(kinds.DEPLOYMENTS, "server", "api")
    assert deployment is not None
    client.cluster.store.save(kinds.DEPLOYMENTS, {**deployment, "spec": {**deployment["spec"], "replicas": 0}})
    await until(lambda: not client.cluster.store.list(kinds.PODS, "server", "app=api"))

    status, body = await client.get(HOST)

    assert (before, status) == (200, 503)
    assert body == {"error": "service server/endpoint has no ready endpoints at port 443"}
    assert client.internet.traffic[HOST] == Traffic(requests=2, failures=1)


async def test_a_removed_record_is_seen_by_open_connections(client: Client) -> None:
    """The name is looked up for every request."""
    await client.get(HOST)

    client.names.records.clear()
    status, _ = await client.get(HOST)

    assert status == 503


async def test_replies_carry_simulated_time(client: Client) -> None:
    """The Date header is that of the world's clock, by which keys expire."""
    client.internet.world.clock.set_speed(1e6)
    await asyncio.sleep(0.1)
    earliest = client.internet.world.clock.time()

    url = f"https://{HOST}/healthz"
    async with client.session.get(url, proxy=client.internet.proxy_url, ssl=client.tls) as reply:
        seen = parsedate_to_datetime(reply.headers["Date"])

    assert earliest - 1 <= seen.timestamp() <= client.internet.world.clock.time()


async def test_many_clients_are_served_at_once(client: Client) -> None:
    """A hundred requests over many connections are all answered and counted."""
    replies = await asyncio.gather(*(client.get(HOST, "/version") for _ in range(100)))

    assert {status for status, _ in replies} == {200}
    assert client.internet.traffic[HOST] == Traffic(requests=100, failures=0)


async def test_only_tunnels_are_offered(client: Client) -> None:
    """A plain proxy request is refused."""
    async with client.session.get(f"http://{HOST}/", proxy=client.internet.proxy_url) as reply:
        assert reply.status == 405
