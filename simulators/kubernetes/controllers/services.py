"""Services: the endpoints behind them, and the load balancers in front."""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

from simulators.faults import FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.controllers.pods import is_finished, is_serving
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object, is_terminating, labels_of, name_of, namespace_of, owner_reference
from simulators.kubernetes.scheduler import ZONE
from simulators.kubernetes.selectors import matches_label_selector
from simulators.kubernetes.store import Store

LOAD_BALANCER_FINALIZER: Final = "service.kubernetes.io/load-balancer-cleanup"
SERVICE_NAME: Final = "kubernetes.io/service-name"

_Groups: TypeAlias = list[tuple[list[Object], list[Object]]]
"""Pairs of the ports and the pods that serve at exactly these."""


class ServiceController(Controller):
    """Gives each Service that asks for one a load balancer.

    A Service with a load balancer does not vanish before the cloud says that the load balancer is gone. One that was
    made or changed by a call that met a `stuck` or `capacity` fault gets none while the rule is in force.
    """

    name = "service-controller"
    watches = (kinds.SERVICES, kinds.NODES)
    heeds_faults = True

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._ensured: dict[str, object] = {}
        """What the load balancer was last brought in line with, keyed by the Service's uid."""

    def reconcile(self) -> None:
        """Take one step for every Service."""
        for service in self.store.list(kinds.SERVICES):
            if service["spec"].get("type") == "LoadBalancer" and not is_terminating(service):
                self._ensure(self.add_finalizer(kinds.SERVICES, service, LOAD_BALANCER_FINALIZER))
            else:
                self._clean_up(service)

    def _ensure(self, service: Object) -> None:
        """Ask the cloud for the load balancer until it is active, and again whenever its configuration changes."""
        if self.affliction(service, FaultKind.STUCK, FaultKind.CAPACITY):
            return
        uid = service["metadata"]["uid"]
        nodes = tuple(name_of(node) for node in self.store.list(kinds.NODES))
        configuration = (service["spec"], service["metadata"].get("annotations"), nodes)
        if self._ensured.get(uid) == configuration and _ingress(service):
            return
        if uid not in self._ensured:
            self.events.normal(service, self.name, "EnsuringLoadBalancer", "Ensuring load balancer")
        self._ensured[uid] = configuration
        reached = self.provider.ensure_load_balancer(self.cluster.id, service)
        if reached is None:
            self.alarm.wake_after(self.durations.provider_poll, least_real=self.durations.least_wait)
            return
        ingress = [{"ip" if _is_address(reached) else "hostname": reached}]
        if _ingress(service) != ingress:
            self.update_status(kinds.SERVICES, service, {"loadBalancer": {"ingress": ingress}})
            self.events.normal(service, self.name, "EnsuredLoadBalancer", "Ensured load balancer")

    def _clean_up(self, service: Object) -> None:
        """Give the load balancer back, if there is one, and let the Service go."""
        if LOAD_BALANCER_FINALIZER not in (service["metadata"].get("finalizers") or ()):
            return
        if not self.provider.delete_load_balancer(self.cluster.id, service):
            self.alarm.wake_after(self.durations.provider_poll, least_real=self.durations.least_wait)
            return
        self._ensured.pop(service["metadata"]["uid"], None)
        self.events.normal(service, self.name, "DeletedLoadBalancer", "Deleted load balancer")
        service = self.update_status(kinds.SERVICES, service, {"loadBalancer": {}})
        self.remove_finalizer(kinds.SERVICES, service, LOAD_BALANCER_FINALIZER)


class EndpointController(Controller):
    """Keeps Endpoints and EndpointSlices of each Service with a selector: the addresses of its ready pods."""

    name = "endpoint-controller"
    watches = (kinds.SERVICES, kinds.PODS)

    def reconcile(self) -> None:
        """Bring the endpoints of every Service in line with its pods."""
        for service in self.store.list(kinds.SERVICES):
            if service["spec"].get("selector") and not is_terminating(service):
                groups = _grouped(service, backends(self.store, service))
                self._publish_endpoints(service, groups)
                self._publish_slices(service, groups)

    def _publish_endpoints(self, service: Object, groups: _Groups) -> None:
        metadata = {
            "name": name_of(service),
            "labels": labels_of(service),
            "ownerReferences": [owner_reference(service)],
        }
        self._put(kinds.ENDPOINTS, service, metadata, {"subsets": [_subset(*group) for group in groups]})

    def _publish_slices(self, service: Object, groups: _Groups) -> None:
        """Keep one slice for each set of ports, and delete those that are left over."""
        prefix = f"{name_of(service)}-{service['metadata']['uid'][:4]}"
        wanted = {f"{prefix}{index}": group for index, group in enumerate(groups)}
        for name, (ports, pods) in wanted.items():
            metadata = {
                "name": name,
                "labels": {
                    **labels_of(service),
                    SERVICE_NAME: name_of(service),
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                },
                "ownerReferences": [owner_reference(service)],
            }
            endpoints = [self._endpoint(pod) for pod in pods]
            named = [{"name": "", **port} for port in ports]  # clients rely on a slice's ports having a name
            content = {"addressType": "IPv4", "endpoints": endpoints, "ports": named}
            self._put(kinds.ENDPOINT_SLICES, service, metadata, content)
        for present in self.owned(kinds.ENDPOINT_SLICES, service):
            if name_of(present) not in wanted:
                self.store.delete(kinds.ENDPOINT_SLICES, present)

    def _put(self, kind: Kind, service: Object, metadata: Object, content: Object) -> None:
        present = self.store.get(kind, namespace_of(service), metadata["name"])
        if present is None:
            self.store.create(kind, {"metadata": metadata, **content}, namespace_of(service))
        else:
            self.store.save(kind, {**present, **content})

    def _endpoint(self, pod: Object) -> Object:
        node = self.store.get(kinds.NODES, None, pod["spec"]["nodeName"])
        endpoint: Object = {
            "addresses": [pod["status"]["podIP"]],
            "conditions": {
                "ready": is_serving(pod),
                "serving": is_serving(pod),
                "terminating": is_terminating(pod),
            },
            "nodeName": pod["spec"]["nodeName"],
            "targetRef": _target(pod),
        }
        zone = labels_of(node).get(ZONE) if node else None
        return {**endpoint, "zone": zone} if zone else endpoint


def backends(store: Store, service: Object) -> list[Object]:
    """Return the pods with an address that the Service's selector names, sorted by name; they may not be ready."""
    selector = {"matchLabels": service["spec"].get("selector") or {}}
    return [
        pod
        for pod in store.list(kinds.PODS, namespace_of(service))
        if matches_label_selector(selector, labels_of(pod))
        and not is_finished(pod)
        and (pod.get("status") or {}).get("podIP")
    ]


def backends_at(store: Store, service: Object, port: int) -> list[Object]:
    """Return those backends that serve behind one port of the Service: they have the port that it leads to."""
    matching = [entry for entry in service["spec"].get("ports") or () if entry["port"] == port]
    return [pod for pod in backends(store, service) if any(_target_port(entry, pod) for entry in matching)]


def _ingress(service: Object) -> list[Object]:
    ingress: list[Object] = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return ingress


def _is_address(reached: str) -> bool:
    """Return whether a load balancer is reached at an IP address, as Google's are, and not by a name."""
    try:
        ipaddress.ip_address(reached)
    except ValueError:
        return False
    return True


def _target(pod: Object) -> Object:
    return {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": pod["metadata"]["uid"]}


def _address(pod: Object) -> Object:
    return {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": _target(pod)}


def _target_port(port: Object, pod: Object) -> int | None:
    """Return the number of the pod's port that a Service's port leads to, or None if the pod has none of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = (
        entry["containerPort"]
        for container in pod["spec"]["containers"]
        for entry in container.get("ports") or ()
        if entry.get("name") == target
    )
    return next(named, None)


def _ports(service: Object, pod: Object) -> list[Object]:
    ports = []
    for port in service["spec"].get("ports") or ():
        number = _target_port(port, pod)
        if number is not None:
            described: Object = {"port": number, "protocol": port.get("protocol", "TCP")}
            ports.append({"name": port["name"], **described} if port.get("name") else described)
    return ports


def _grouped(service: Object, pods: list[Object]) -> _Groups:
    """Return the pods by the ports that they serve at, because an endpoint stands for all ports of its slice."""
    groups: _Groups = []
    for pod in pods:
        ports = _ports(service, pod)
        group = next((members for known, members in groups if known == ports), None)
        if group is None:
            groups.append((ports, [pod]))
        else:
            group.append(pod)
    return groups


def _subset(ports: list[Object], pods: list[Object]) -> Object:
    ready = [_address(pod) for pod in pods if is_serving(pod)]
    waiting = [_address(pod) for pod in pods if not is_serving(pod)]
    return {
        **({"addresses": ready} if ready else {}),
        **({"notReadyAddresses": waiting} if waiting else {}),
        **({"ports": ports} if ports else {}),
    }
