"""A simulated cluster without its API server, and the workloads that tests put into it."""

from __future__ import annotations

import math
import time
from typing import Any

from simulators.clock import Clock
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.loop import ControllerLoop
from simulators.kubernetes.controllers.timing import Durations
from simulators.kubernetes.defaults import set_defaults
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object, copied, is_ready, is_terminating, name_of
from simulators.kubernetes.provider import CloudProvider, StandaloneProvider
from simulators.kubernetes.simulator import Cluster, NodeShape
from simulators.world import World

NAMESPACE = "server"
STORAGE_CLASS = "encrypted"


def image(component: str, digest: str = "aa") -> str:
    """Return the image of one component of the server."""
    return f"registry.byoc.example/server/{component}@sha256:{digest}"


def template(component: str, *, digest: str = "aa", cpu: str = "100m", **spec: Any) -> Object:
    """Return a pod template that runs one component, with further fields of the pod's specification."""
    container = {
        "name": component,
        "image": image(component, digest),
        "env": [{"name": "SERVER_RELEASE", "value": "1.0.0"}],
        "ports": [{"name": component, "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "resources": {"requests": {"cpu": cpu, "memory": "128Mi"}},
    }
    return {"metadata": {"labels": {"app": component}}, "spec": {"containers": [container], **spec}}


def claim_template(size: str = "10Gi") -> Object:
    """Return a volume claim template of a StatefulSet."""
    resources = {"requests": {"storage": size}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": STORAGE_CLASS, "resources": resources}
    return {"metadata": {"name": "data"}, "spec": spec}


class Playground:
    """One cluster whose controllers act when the test says so."""

    def __init__(
        self,
        *,
        speed: float = math.inf,
        provider: CloudProvider | None = None,
        zones: str = "abc",
        durations: Durations | None = None,
    ) -> None:
        self.world = World(clock=Clock(speed))
        self.provider = provider or StandaloneProvider()
        self.cluster = Cluster("c1", "https://c1", version="1.34", provider=self.provider, world=self.world)
        self.store = self.cluster.store
        self.loop = ControllerLoop(self.cluster, durations)
        for zone in zones:
            self.add_node(f"node-{zone}", zone)
        self.store.create(kinds.NAMESPACES, {"metadata": {"name": NAMESPACE}})
        self.store.create(
            kinds.STORAGE_CLASSES,
            {
                "metadata": {"name": STORAGE_CLASS},
                "provisioner": "ebs.csi.aws.com",
                "volumeBindingMode": "WaitForFirstConsumer",
                "allowVolumeExpansion": True,
                "reclaimPolicy": "Delete",
            },
        )
        self.settle()

    def add_node(self, name: str, zone: str, *, cpu: int = 4, taints: tuple[Object, ...] = ()) -> None:
        """Let a node of 16 GiB join."""
        region, memory = "eu-west-1", 16 * 2**30
        shape = NodeShape(name, region + zone, region, "m5.xlarge", "services", cpu, memory, "1.34", taints=taints)
        self.cluster.add_node(shape)

    def settle(self) -> None:
        """Let the controllers do all that can be done now."""
        self.loop.settle()

    def pass_time(self, simulated_seconds: float) -> None:
        """Let simulated time go by, with the controllers acting in between."""
        until = self.world.clock.time() + simulated_seconds
        while self.world.clock.time() < until:
            self.settle()
            time.sleep(0.002)
        self.settle()

    def create(self, kind: Kind, obj: Object, namespace: str = NAMESPACE) -> Object:
        """Create an object and let the controllers act on it."""
        created = self.store.create(kind, obj, namespace)
        self.settle()
        return self.get(kind, name_of(created), namespace)

    def get(self, kind: Kind, name: str, namespace: str = NAMESPACE) -> Object:
        """Return an object that has to be there."""
        found = self.store.get(kind, namespace, name)
        assert found is not None, f"{kind.kind} {namespace}/{name} is gone"
        return found

    def edit(self, kind: Kind, name: str, **spec: Any) -> Object:
        """Change fields of an object's specification, as the API would, without letting the controllers act yet."""
        changed = copied(self.get(kind, name))
        changed["spec"].update(copied(spec))
        set_defaults(kind, changed, self.store)
        return self.store.save(kind, changed)

    def pods(self, component: str = "", namespace: str = NAMESPACE) -> list[Object]:
        """Return the pods of a component that are not on their way out."""
        selector = f"app={component}" if component else ""
        return [pod for pod in self.store.list(kinds.PODS, namespace, selector) if not is_terminating(pod)]

    def ready(self, component: str) -> int:
        """Return how many pods of a component are ready."""
        return sum(is_ready(pod) for pod in self.pods(component))

    def deploy(self, component: str, replicas: int = 3, **spec: Any) -> Object:
        """Create a Deployment of one component."""
        pods = spec.pop("template", template(component))
        selector = {"matchLabels": {"app": component}}
        content = {"replicas": replicas, "selector": selector, "template": pods, **spec}
        return self.create(kinds.DEPLOYMENTS, {"metadata": {"name": component}, "spec": content})

    def keep(self, component: str = "store", replicas: int = 3, **spec: Any) -> Object:
        """Create a StatefulSet of one component with a volume for each replica."""
        content = {
            "replicas": replicas,
            "serviceName": component,
            "selector": {"matchLabels": {"app": component}},
            "template": template(component),
            "volumeClaimTemplates": [claim_template()],
            **spec,
        }
        return self.create(kinds.STATEFUL_SETS, {"metadata": {"name": component}, "spec": content})

    def expose(self, name: str, *components: str) -> Object:
        """Create a load balancer in front of components: the first at port 443, the next at 8443."""
        ports = [
            {"name": component, "port": port, "targetPort": component}
            for component, port in zip(components, (443, 8443), strict=False)
        ]
        spec = {"type": "LoadBalancer", "selector": {"public": "true"}, "ports": ports}
        if len(components) == 1:
            spec["selector"] = {"app": components[0]}
        return self.create(kinds.SERVICES, {"metadata": {"name": name}, "spec": spec})

    def fault(self, kind: FaultKind, operation: str, resource: str = "", service: str = "kubernetes") -> Fault:
        """Put a rule in force."""
        return self.world.faults.add(Fault(kind=kind, service=service, operation=operation, resource=resource))


def waiting_reasons(pods: list[Object]) -> set[str]:
    """Return why the containers of these pods wait."""
    states = (entry["state"] for pod in pods for entry in (pod.get("status") or {}).get("containerStatuses") or ())
    return {state["waiting"]["reason"] for state in states if "waiting" in state}


def found_condition(obj: Object, type_: str) -> Object:
    """Return a condition that has to be there."""
    conditions: list[Object] = obj["status"]["conditions"]
    return next(entry for entry in conditions if entry["type"] == type_)
