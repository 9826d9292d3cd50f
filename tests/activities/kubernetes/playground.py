"""A simulated cluster, the internet in front of it, and our activities beside both, for tests with real sockets."""

from __future__ import annotations

import asyncio
import base64
import copy
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.contracts import ComponentRequest, EndpointRequest, NamespaceRequest, StorageClassRequest
from activities.kubernetes.manifests.aws import AwsManifests
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from activities.kubernetes.server import KubernetesServer
from activities.kubernetes.settings import KubernetesSettings
from domain.deployment import Site
from domain.facts import Cluster
from domain.failure import FailureClass, FailureDetail
from domain.shape import Component, PoolName, Shape
from simulators.clock import Clock
from simulators.faults import Fault
from simulators.internet import Internet
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object
from simulators.kubernetes.provider import OPERATORS, Destination, StandaloneProvider, User
from simulators.kubernetes.simulator import KubernetesSimulator, NodeShape
from simulators.world import World
from tests.activities.kubernetes.samples import (
    BUCKET,
    CERTIFICATE,
    DOMAIN,
    KEY,
    NETWORK,
    RELEASE,
    SITE,
    SMALL,
    WEBHOOK,
    spec_of,
)

T = TypeVar("T")
CLUSTER_ID = "c1"
TOKEN = "operator-token"
REAL_SECONDS = 15.0
"""The longest that a test waits for the simulated controllers."""


@dataclass
class Identity:
    """The cloud's part: tokens, and where the cluster is."""

    cluster: Cluster | None
    tokens_made: int = 0
    token_value: str = TOKEN

    def token(self, site: Site, cluster: Cluster) -> str:
        """Return the operator's token."""
        self.tokens_made += 1
        return self.token_value

    def find(self, site: Site) -> Cluster | None:
        """Return the cluster, or None after it was deleted."""
        return self.cluster


@dataclass
class Names:
    """The public DNS: one name, which leads to one service once it is published."""

    destinations: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def resolve(self, hostname: str, port: int = 443) -> Destination | None:
        """Return where the name leads."""
        found = self.destinations.get(hostname)
        return Destination(*found, port) if found else None

    def has_certificate(self, hostname: str, port: int = 443) -> bool:
        """Return True: certificates are the cloud's business."""
        return True


class Playground:
    """One cluster with nodes in three zones, whose controllers act by themselves."""

    def __init__(self, folder: Path, *, nodes_in_each_zone: int = 1, size: Shape = SMALL) -> None:
        self.size = size
        self.world = World(clock=Clock(math.inf))
        self.provider = StandaloneProvider(TOKEN, User("operator", (OPERATORS,)))
        self.names = Names()
        self.simulator = KubernetesSimulator(self.world)
        self.internet = Internet(self.world, self.simulator, self.names)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for server in (self.simulator, self.internet):
            asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(REAL_SECONDS)
        self.simulated = self.on_loop(
            lambda: self.simulator.create_cluster(
                CLUSTER_ID, version="1.34", provider=self.provider, account=SITE.cloud_account_id, region=SITE.region
            )
        )
        for number in range(3 * nodes_in_each_zone):
            self._add_nodes(number)
        self.cluster = Cluster(
            name="byoc-acme-prod",
            endpoint=self.simulated.url,
            certificate_authority=base64.b64encode(self.simulator.ca_pem).decode(),
            version="1.34",
        )
        self.identity = Identity(self.cluster)
        public_ca = folder / "public-ca.pem"
        public_ca.write_bytes(self.internet.ca_pem)
        self.settings = KubernetesSettings(
            poll_interval=timedelta(seconds=0.02),
            grace=timedelta(hours=1),
            request_timeout=timedelta(seconds=5),
            public_proxy=self.internet.proxy_url,
            public_ca_file=str(public_ca),
            key_propagation=timedelta(seconds=1),
        )
        self.server = self.server_with(self.settings)

    def server_with(self, settings: KubernetesSettings) -> KubernetesServer:
        """Return the activities with these settings."""
        return KubernetesServer(self.identity, self.identity, AwsManifests(), settings)

    def stop(self) -> None:
        """Stop everything."""
        self.server.close()
        for server in (self.internet, self.simulator):
            asyncio.run_coroutine_threadsafe(server.stop(), self._loop).result(REAL_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(REAL_SECONDS)
        self._loop.close()

    # --- activities

    def attempt(self, activity: Callable[[Any], T], request: object) -> T:
        """Call an activity once, as Temporal does."""
        environment = ActivityEnvironment()
        environment.info = replace(
            ActivityEnvironment.default_info(), activity_type=activity.__name__, scheduled_time=datetime.now(UTC)
        )
        return environment.run(activity, request)

    def until_done(self, activity: Callable[[Any], T], request: object) -> T:
        """Call an activity again and again, while it says that something is not ready yet or that a try may help."""
        deadline = time.monotonic() + REAL_SECONDS
        while True:
            try:
                return self.attempt(activity, request)
            except ApplicationError as error:
                if error.non_retryable or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def failure_of(self, activity: Callable[[Any], object], request: object) -> FailureDetail:
        """Call an activity until it fails for good, and return how."""
        deadline = time.monotonic() + REAL_SECONDS
        while time.monotonic() < deadline:
            try:
                self.attempt(activity, request)
            except ApplicationError as error:
                if error.type != FailureClass.NOT_READY:
                    detail = error.details[0]
                    assert isinstance(detail, FailureDetail)
                    return detail
                time.sleep(0.02)
            else:
                raise AssertionError(f"{activity.__name__} succeeded")
        raise AssertionError(f"{activity.__name__} never failed")

    def found(self) -> None:
        """Make storage class and namespace."""
        self.until_done(self.server.create_storage_class, StorageClassRequest(site=SITE, cluster=self.cluster, key=KEY))
        self.until_done(self.server.create_namespace, self.namespace_request())

    def install(self, *components: Component) -> None:
        """Install components (all, if none is named) on a cluster that has the namespace."""
        for component in components or tuple(Component):
            self.until_done(self.server.install_component, self.component_request(component))

    def open(self) -> None:
        """Open the endpoint and publish its name."""
        self.until_done(self.server.open_endpoint, self.endpoint_request())
        self.names.destinations[DOMAIN.name] = (CLUSTER_ID, SERVER_NAMESPACE, "endpoint")

    def namespace_request(self, *, webhook: bool = True) -> NamespaceRequest:
        """Return the request of `create_namespace`."""
        return NamespaceRequest(site=SITE, cluster=self.cluster, auth_webhook=WEBHOOK if webhook else None)

    def component_request(self, component: Component, *, image: str = "") -> ComponentRequest:
        """Return the request of `install_component`, maybe with another image."""
        release = RELEASE
        if image:
            release = RELEASE.model_copy(update={"components": {**RELEASE.components, component: image}})
        return ComponentRequest(
            site=SITE,
            cluster=self.cluster,
            component=component,
            release=release,
            shape=SMALL,
            spec=spec_of(SMALL),
            bucket=BUCKET,
        )

    def endpoint_request(self) -> EndpointRequest:
        """Return the request of `open_endpoint`."""
        return EndpointRequest(site=SITE, cluster=self.cluster, network=NETWORK, domain=DOMAIN, certificate=CERTIFICATE)

    # --- the simulated world

    def on_loop(self, deed: Callable[[], T]) -> T:
        """Do something on the simulators' thread and return its result."""

        async def wrapped() -> T:
            return deed()

        return asyncio.run_coroutine_threadsafe(wrapped(), self._loop).result(REAL_SECONDS)

    def get(self, kind: Kind, name: str, namespace: str = SERVER_NAMESPACE) -> Object | None:
        """Return an object as the cluster has it."""
        return self.on_loop(lambda: self.simulated.store.get(kind, namespace, name))

    def listed(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        """Return the objects of a kind."""
        return self.on_loop(lambda: self.simulated.store.list(kind, namespace))

    def put(self, kind: Kind, obj: Object, namespace: str | None = None) -> None:
        """Make an object behind our back."""
        self.on_loop(lambda: self.simulated.store.create(kind, obj, namespace))

    def edit(self, kind: Kind, name: str, change: Callable[[Object], None], namespace: str = SERVER_NAMESPACE) -> None:
        """Change an object behind our back."""

        def deed() -> None:
            obj = copy.deepcopy(self.simulated.store.get(kind, namespace, name))
            assert obj is not None
            change(obj)
            self.simulated.store.save(kind, obj)

        self.on_loop(deed)

    def fault(self, fault: Fault) -> Fault:
        """Put a fault in force."""
        return self.world.faults.add(fault)

    def changes(self, after: int = 0) -> list[str]:
        """Return what our calls changed since a position of the journal, as `operation resource`."""
        calls = self.world.journal.calls(after=after, service="kubernetes", changed=True, agent="byoc/")
        return [f"{call.operation} {call.resource}" for call in calls]

    def _add_nodes(self, number: int) -> None:
        zone = SITE.region + "abc"[number % 3]
        taint = {"key": "byoc.dev/pool", "value": "store", "effect": "NoSchedule"}
        for pool in PoolName:
            node = NodeShape(
                name=f"{pool}-{number}",
                zone=zone,
                region=SITE.region,
                instance_type="m7i.xlarge",
                pool=pool,
                cpu=self.size.pools[pool].cpu,
                memory_bytes=self.size.pools[pool].memory_gib * 2**30,
                version="1.34",
                labels={"byoc.dev/pool": str(pool)},
                taints=(taint,) if pool is PoolName.STORE else (),
            )
            self.on_loop(partial(self.simulated.add_node, node))


def names(objects: list[Object]) -> set[str]:
    """Return the names of objects."""
    return {obj["metadata"]["name"] for obj in objects}
