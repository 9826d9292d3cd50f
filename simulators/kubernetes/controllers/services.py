"""Services: addresses, the endpoints behind them, and load balancers in front."""

from __future__ import annotations

import itertools
from typing import Any, Final

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.controllers.pods import is_finished, is_serving
from simulators.kubernetes.objects import Object, is_terminating, labels_of, name_of, namespace_of, owner_reference
from simulators.kubernetes.scheduler import ZONE
from simulators.kubernetes.selectors import matches_label_selector

LOAD_BALANCER_FINALIZER: Final = "service.kubernetes.io/load-balancer-cleanup"
SERVICE_NAME: Final = "kubernetes.io/service-name"
_FIRST_NODE_PORT: Final = 30_000


class ServiceController(Controller):
    """Gives each Service an address and, if it asks for one, a load balancer.

    A Service with a load balancer does not vanish before the cloud says that the load balancer is gone.
    """

    name = "service-controller"
    watches = (kinds.SERVICES, kinds.NODES)

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._ensured: dict[str, object] = {}
        """What the load balancer was last brought in line with, keyed by the Service's uid."""
        self._addresses = itertools.count(10)
        self._ports = itertools.count(_FIRST_NODE_PORT)

    def reconcile(self) -> None:
        """Take one step for every Service."""
        for service in self.store.list(kinds.SERVICES):
            if is_terminating(service):
                self._clean_up(service)
                continue
            service = self._address(service)
            if service["spec"].get("type") == "LoadBalancer":
                self._ensure(self.add_finalizer(kinds.SERVICES, service, LOAD_BALANCER_FINALIZER))
            else:
                self._clean_up(service)

    def _address(self, service: Object) -> Object:
        """Return the Service with cluster addresses and node ports given out."""
        spec: dict[str, Any] = service["spec"]
        given: dict[str, Any] = {}
        if not spec.get("clusterIP") and spec.get("type") != "ExternalName":
            number = next(self._addresses)
            given["clusterIP"] = f"172.20.{number // 250 % 250}.{number % 250 + 1}"
            given["clusterIPs"] = [given["clusterIP"]]
        ports = spec.get("ports") or []
        if spec.get("type") in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts", True):
            if any(not port.get("nodePort") for port in ports):
                given["ports"] = [{**port, "nodePort": port.get("nodePort") or next(self._ports)} for port in ports]
        return self.update_spec(kinds.SERVICES, service, given) if given else service

    def _ensure(self, service: Object) -> None:
        """Ask the cloud for the load balancer until it is active, and again whenever its configuration changes."""
        uid = service["metadata"]["uid"]
        nodes = tuple(name_of(node) for node in self.store.list(kinds.NODES))
        configuration = (service["spec"], service["metadata"].get("annotations"), nodes)
        if self._ensured.get(uid) == configuration and _ingress(service):
            return
        if uid not in self._ensured:
            self.events.normal(service, self.name, "EnsuringLoadBalancer", "Ensuring load balancer")
        self._ensured[uid] = configuration
        hostname = self.provider.ensure_load_balancer(self.cluster.id, service)
        if hostname is None:
            self.alarm.wake_after(self.durations.provider_poll, least_real=self.durations.least_wait)
            return
        if _ingress(service) != [{"hostname": hostname}]:
            self.update_status(kinds.SERVICES, service, {"loadBalancer": {"ingress": [{"hostname": hostname}]}})
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
                pods = [pod for pod in backends(self.cluster.store, service) if (pod.get("status") or {}).get("podIP")]
                self._publish_endpoints(service, pods)
                self._publish_slice(service, pods)

    def _publish_endpoints(self, service: Object, pods: list[Object]) -> None:
        ready = [_address(pod) for pod in pods if is_serving(pod)]
        waiting = [_address(pod) for pod in pods if not is_serving(pod)]
        ports = _ports(service, pods)
        subset: Object = {
            **({"addresses": ready} if ready else {}),
            **({"notReadyAddresses": waiting} if waiting else {}),
            **({"ports": ports} if ports else {}),
        }
        present = self.store.get(kinds.ENDPOINTS, namespace_of(service), name_of(service))
        content: Object = {"subsets": [subset] if pods else []}
        if present is not None:
            self.store.save(kinds.ENDPOINTS, {**present, **content})
            return
        metadata = {"name": name_of(service), "labels": labels_of(service), "ownerReferences": [owner_reference(service)]}
        self.store.create(kinds.ENDPOINTS, {"metadata": metadata, **content}, namespace_of(service))

    def _publish_slice(self, service: Object, pods: list[Object]) -> None:
        name = f"{name_of(service)}-{service['metadata']['uid'][:5]}"
        content: Object = {
            "addressType": "IPv4",
            "endpoints": [self._endpoint(pod) for pod in pods],
            "ports": _ports(service, pods),
        }
        present = self.store.get(kinds.ENDPOINT_SLICES, namespace_of(service), name)
        if present is not None:
            self.store.save(kinds.ENDPOINT_SLICES, {**present, **content})
            return
        metadata = {
            "name": name,
            "labels": {
                **labels_of(service),
                SERVICE_NAME: name_of(service),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [owner_reference(service)],
        }
        self.store.create(kinds.ENDPOINT_SLICES, {"metadata": metadata, **content}, namespace_of(service))

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


def backends(store: Any, service: Object) -> list[Object]:
    """Return the pods that the Service's selector names and that have not ended, sorted by name."""
    selector = {"matchLabels": service["spec"].get("selector") or {}}
    pods: list[Object] = store.list(kinds.PODS, namespace_of(service))
    return [pod for pod in pods if matches_label_selector(selector, labels_of(pod)) and not is_finished(pod)]


def _ingress(service: Object) -> list[Object]:
    ingress: list[Object] = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return ingress


def _target(pod: Object) -> Object:
    return {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": pod["metadata"]["uid"]}


def _address(pod: Object) -> Object:
    return {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": _target(pod)}


def _ports(service: Object, pods: list[Object]) -> list[Object]:
    """Return the ports at which the pods serve; a named target port is looked up in the first pod."""
    ports = []
    for port in service["spec"].get("ports") or ():
        target = port.get("targetPort", port["port"])
        if isinstance(target, str):
            named = (
                entry["containerPort"]
                for pod in pods[:1]
                for container in pod["spec"]["containers"]
                for entry in container.get("ports") or ()
                if entry.get("name") == target
            )
            target = next(named, port["port"])
        named_port: Object = {"port": target, "protocol": port.get("protocol", "TCP")}
        ports.append({"name": port["name"], **named_port} if port.get("name") else named_port)
    return ports
