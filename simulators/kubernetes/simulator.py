"""The Kubernetes simulator: one HTTPS endpoint that serves any number of clusters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from simulators.faults import Fault
from simulators.kubernetes import controllers
from simulators.kubernetes.certificates import CertificateAuthority
from simulators.kubernetes.garbage import GarbageCollector
from simulators.kubernetes.kinds import KINDS, NAMESPACES, NODES, PRIORITY_CLASSES, SECRETS, STANDARD, Kind
from simulators.kubernetes.objects import Object
from simulators.kubernetes.provider import CloudProvider
from simulators.kubernetes.server import application
from simulators.kubernetes.store import Event, Store
from simulators.world import World

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
PODS_PER_NODE = 110
_RESERVED_MILLICPU = 80
_RESERVED_MEMORY = 600 * 2**20
"""What the kubelet and the system keep of a node, in bytes."""


@dataclass(frozen=True)
class NodeShape:
    """One machine that joins a cluster."""

    name: str
    zone: str
    region: str
    instance_type: str
    pool: str
    cpu: int
    """Virtual processors."""
    memory_bytes: int
    version: str
    """The kubelet's version, `v1.34.1` or `1.34`."""
    provider_id: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[Object, ...] = ()
    pool_label: str = "eks.amazonaws.com/nodegroup"
    """The label by which the cloud names the pool."""
    os_image: str = "Amazon Linux 2023"


class Cluster:
    """One simulated cluster: its objects, and what it knows about where it runs."""

    def __init__(
        self,
        cluster_id: str,
        url: str,
        *,
        version: str,
        provider: CloudProvider,
        world: World,
        account: str = "",
        region: str = "",
    ) -> None:
        self.id = cluster_id
        self.url = url
        self.version = version
        """The control plane's version, `1.34`; whoever upgrades the cluster changes it."""
        self.provider = provider
        self.world = world
        self.account = account
        """The cloud account and region, for the journal and for faults; empty outside any cloud."""
        self.region = region
        self.store = Store(world.clock)
        self.store.subscribe(self._note_secret)
        self.watches: set[asyncio.Queue[Any]] = set()
        """The queues of open watches; a None ends one."""
        self.log_source: Callable[[Object, str], str] | None = None
        """Returns what a container of a pod has logged; whoever runs the pods sets it."""
        self._afflictions: dict[tuple[Kind, str, str], Fault] = {}
        GarbageCollector(self.store)
        self._populate()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that the cluster serves: every cluster's, and those that its provider brings."""
        brought = self.provider.custom_kinds(self.id)
        return STANDARD + tuple(kind for kind in KINDS if kind in brought)

    def add_node(self, node: NodeShape) -> None:
        """Let a machine join as a Ready node."""
        self.store.create(NODES, _node(node, self.store.now()))

    def remove_node(self, name: str) -> None:
        """Take a node away at once, as if its machine were gone; removing an unknown node does nothing."""
        node = self.store.get(NODES, None, name)
        if node is not None:
            self.store.delete(NODES, node)

    def afflict(self, kind: Kind, namespace: str, name: str, fault: Fault) -> None:
        """Remember that the call which made or changed an object met a `stuck`, `crash` or `capacity` fault."""
        self._afflictions[kind, namespace, name] = fault

    def affliction(self, kind: Kind, namespace: str, name: str) -> Fault | None:
        """Return the fault of that object while its rule is in force; the controllers act accordingly."""
        fault = self._afflictions.get((kind, namespace, name))
        return fault if fault is not None and self.world.faults.active(fault.id) else None

    def log_of(self, pod: Object, container: str) -> str:
        """Return what a container has logged."""
        return self.log_source(pod, container) if self.log_source else ""

    def end_watches(self) -> None:
        """End every open watch, as when the API server goes away."""
        for queue in tuple(self.watches):
            queue.put_nowait(None)

    def _note_secret(self, event: Event) -> None:
        """Remember what a Secret holds, for who looks whether it turns up anywhere else."""
        if event.kind is SECRETS:
            for value in (event.object.get("data") or {}).values():
                self.world.secrets.note_encoded(value)

    def _populate(self) -> None:
        for name in SYSTEM_NAMESPACES:
            self.store.create(NAMESPACES, {"metadata": {"name": name}})
        for name, value in SYSTEM_PRIORITIES.items():
            self.store.create(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": value, "globalDefault": False})


class KubernetesSimulator:
    """Serves clusters at `<url>/clusters/<cluster id>` over HTTPS; a certificate authority of its own signs `url`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.url = ""
        self._authority = CertificateAuthority("simulated-kubernetes-ca")
        self._clusters: dict[str, Cluster] = {}
        self._controllers: dict[str, asyncio.Task[None]] = {}
        self._runner: web.AppRunner | None = None

    @property
    def ca_pem(self) -> bytes:
        """The certificate that clients of every cluster trust."""
        return self._authority.pem

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; `url` is known afterwards."""
        app = application(self)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        context = self._authority.server_context(("localhost",), ("127.0.0.1",))
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=context)
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Delete every cluster and stop listening."""
        tasks = list(self._controllers.values())
        for cluster_id in list(self._clusters):
            self.delete_cluster(cluster_id)
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._runner is not None:
            await self._runner.cleanup()

    def create_cluster(
        self,
        cluster_id: str,
        *,
        version: str,
        provider: CloudProvider,
        account: str = "",
        region: str = "",
        controlled: bool = True,
    ) -> Cluster:
        """Make an empty cluster and start its controllers; raises ValueError if the id is taken.

        With `controlled=False` nobody acts on the objects, which suits a test of the API alone.
        """
        if cluster_id in self._clusters:
            raise ValueError(f"there is a cluster {cluster_id} already")
        cluster = Cluster(
            cluster_id,
            f"{self.url}/clusters/{cluster_id}",
            version=version,
            provider=provider,
            world=self.world,
            account=account,
            region=region,
        )
        self._clusters[cluster_id] = cluster
        if controlled:
            self._controllers[cluster_id] = controllers.start(cluster)
        return cluster

    def cluster(self, cluster_id: str) -> Cluster | None:
        """Return the cluster of that id, or None."""
        return self._clusters.get(cluster_id)

    def clusters(self) -> list[Cluster]:
        """Return every cluster that exists."""
        return list(self._clusters.values())

    def delete_cluster(self, cluster_id: str) -> None:
        """Make the cluster unreachable and stop its controllers; what they made in the cloud stays behind."""
        cluster = self._clusters.pop(cluster_id, None)
        if cluster is not None:
            cluster.end_watches()
        task = self._controllers.pop(cluster_id, None)
        if task is not None:
            task.cancel()


def _node(node: NodeShape, now: str) -> Object:
    def conditions() -> list[Object]:
        healthy = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
        reasons = {"Ready": "KubeletReady"}
        return [
            {
                "type": type_,
                "status": status,
                "reason": reasons.get(type_, f"KubeletHasNo{type_}"),
                "message": "kubelet is posting ready status" if type_ == "Ready" else "",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for type_, status in healthy.items()
        ]

    version = node.version if node.version.startswith("v") else f"v{node.version}"
    capacity = {"cpu": str(node.cpu), "memory": f"{node.memory_bytes // 1024}Ki", "pods": str(PODS_PER_NODE)}
    allocatable = {
        "cpu": f"{node.cpu * 1000 - _RESERVED_MILLICPU}m",
        "memory": f"{(node.memory_bytes - _RESERVED_MEMORY) // 1024}Ki",
        "pods": str(PODS_PER_NODE),
    }
    return {
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": node.instance_type,
                "topology.kubernetes.io/region": node.region,
                "topology.kubernetes.io/zone": node.zone,
                node.pool_label: node.pool,
                **node.labels,
            },
        },
        "spec": {
            **({"providerID": node.provider_id} if node.provider_id else {}),
            **({"taints": [dict(taint) for taint in node.taints]} if node.taints else {}),
        },
        "status": {
            "capacity": capacity,
            "allocatable": allocatable,
            "conditions": conditions(),
            "addresses": [{"type": "InternalDNS", "address": node.name}, {"type": "Hostname", "address": node.name}],
            "nodeInfo": {
                "architecture": "amd64",
                "operatingSystem": "linux",
                "osImage": node.os_image,
                "kernelVersion": "6.1.0",
                "containerRuntimeVersion": "containerd://2.1.0",
                "kubeletVersion": version,
                "kubeProxyVersion": version,
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
            },
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    }
