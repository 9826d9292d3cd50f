"""What a cluster makes for its Services of type LoadBalancer: one load balancer, with an address for each of them.

They are in the group of the cluster's nodes, where the cluster's identity may do what it likes, and go with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulators.azure.cloud import Cloud
from simulators.azure.container.fleet import id_of
from simulators.azure.container.machines import Machines
from simulators.azure.container.node_group import NodeGroup
from simulators.azure.records import Record
from simulators.azure.refusals import Json
from simulators.kubernetes.objects import Object, name_of, namespace_of
from simulators.kubernetes.provider import Destination, HinderedError

BALANCER = "Microsoft.Network/loadBalancers"
ADDRESS = "Microsoft.Network/publicIPAddresses"
NAME = "kubernetes"
"""Of the load balancer, and of the pool of nodes behind it."""
_ANNOTATIONS = "service.beta.kubernetes.io"
_SILENCE = 4
"""Minutes without a byte after which a connection is forgotten, unless the Service says otherwise."""
_LONGEST_NAME = 32


@dataclass
class _Front:
    """What one Service has of the load balancer."""

    service: Object
    address: str
    active: bool = False

    @property
    def name(self) -> str:
        """The name of its part of the load balancer."""
        return front_name(self.service)


class LoadBalancers:
    """The load balancers of all clusters."""

    def __init__(self, cloud: Cloud, machines: Machines) -> None:
        self._cloud = cloud
        self._machines = machines
        self._fronts: dict[tuple[str, str, str], _Front] = {}
        """Keyed by cluster id, namespace and name of the Service."""

    def ensure(self, cluster: Record, service: Object) -> str | None:
        """Make the Service's part, or bring it in line; return its address once it leads in.

        Raises:
            HinderedError: The Service asks for what is not simulated.
        """
        internal = _annotation(service, "azure-load-balancer-internal") == "true"
        if internal or service["spec"].get("loadBalancerClass"):
            raise HinderedError("internal load balancers, and those of a class, are not simulated")
        self._cloud.work.settle()
        key = (id_of(cluster), namespace_of(service), name_of(service))
        front = self._fronts.get(key)
        if front is None:
            front = self._fronts[key] = _Front(service, self._put_address(cluster, service))
            self._put(cluster)
            made = front

            def activate() -> None:
                made.active = True

            self._cloud.work.start(self._cloud.durations.service_load_balancer, activate)
            self._cloud.work.settle()
        elif front.service["spec"] != service["spec"]:
            front.service = service
            self._put(cluster)
        return front.address if front.active else None

    def delete(self, cluster: Record, service: Object) -> None:
        """Take the Service's part away; the load balancer goes with the last one."""
        front = self._fronts.pop((id_of(cluster), namespace_of(service), name_of(service)), None)
        if front is None:
            return
        self._put(cluster)
        group = self._machines.group_of(cluster)
        if (address := group.get(ADDRESS, f"{NAME}-{front.name}")) is not None:
            group.remove(address)

    def destination_at(self, address: str, port: int) -> Destination | None:
        """Return which Service is behind a port of an address, if the load balancer leads there."""
        for key, front in self._fronts.items():
            ports = [entry["port"] for entry in front.service["spec"].get("ports") or ()]
            if front.address == address and front.active and port in ports:
                return Destination(*key, port)
        return None

    def forget_cluster(self, cluster_id: str) -> None:
        """Forget what went with a cluster."""
        self._fronts = {key: front for key, front in self._fronts.items() if key[0] != cluster_id}

    def forget(self) -> None:
        """Forget every load balancer."""
        self._fronts.clear()

    def _put_address(self, cluster: Record, service: Object) -> str:
        """Return the address of a new Service."""
        pairs = (pair.partition("=") for pair in _annotation(service, "azure-pip-tags").split(",") if pair.strip())
        tags = {
            **(cluster.document.get("tags") or {}),
            **{key.strip(): value.strip() for key, _, value in pairs},
            "k8s-azure-service": f"{namespace_of(service)}/{name_of(service)}",
            "k8s-azure-cluster-name": NAME,
        }
        record = self._machines.group_of(cluster).put(
            ADDRESS,
            f"{NAME}-{front_name(service)}",
            document={
                "sku": {"name": "Standard", "tier": "Regional"},
                "tags": tags,
                "zones": ["1", "2", "3"],
                "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
            },
        )
        return str(record.properties["ipAddress"])

    def _put(self, cluster: Record) -> None:
        """Bring the cluster's load balancer in line with its Services, or take it away when there are none."""
        group = self._machines.group_of(cluster)
        fronts = [front for key, front in self._fronts.items() if key[0] == id_of(cluster)]
        if fronts:
            parts = _Parts(group, fronts)
            group.put(BALANCER, NAME, document={"sku": {"name": "Standard"}, "properties": parts.document()})
        elif (record := group.get(BALANCER, NAME)) is not None:
            group.remove(record)


class _Parts:
    """What the load balancer consists of."""

    def __init__(self, group: NodeGroup, fronts: list[_Front]) -> None:
        self._group = group
        self._fronts = fronts
        self._id = group.id_of(BALANCER, NAME).text

    def document(self) -> Json:
        """Return the properties of the load balancer."""
        return {
            "frontendIPConfigurations": [
                {
                    "name": front.name,
                    "properties": {"publicIPAddress": {"id": self._group.id_of(ADDRESS, f"{NAME}-{front.name}").text}},
                }
                for front in self._fronts
            ],
            "backendAddressPools": [{"name": NAME, "properties": {}}],
            "probes": [probe for front in self._fronts for probe in self._probes(front)],
            "loadBalancingRules": [rule for front in self._fronts for rule in self._rules(front)],
        }

    @staticmethod
    def _probes(front: _Front) -> Iterator[Json]:
        for port in front.service["spec"].get("ports") or ():
            asked = f"port_{port['port']}_health-probe"
            protocol = _annotation(front.service, f"{asked}_protocol").capitalize() or "Tcp"
            path = _annotation(front.service, f"{asked}_request-path")
            number = _annotation(front.service, f"{asked}_port")
            by_number = {str(each["port"]): each for each in front.service["spec"].get("ports") or ()}
            target = by_number.get(number, port)
            properties = {
                "protocol": protocol,
                "port": target.get("nodePort", target["port"]),
                **({"requestPath": path or "/"} if protocol != "Tcp" else {}),
                "intervalInSeconds": 5,
                "numberOfProbes": 2,
            }
            yield {"name": f"{front.name}-TCP-{port['port']}", "properties": properties}

    def _rules(self, front: _Front) -> Iterator[Json]:
        silence = _annotation(front.service, "azure-load-balancer-tcp-idle-timeout") or _SILENCE
        for port in front.service["spec"].get("ports") or ():
            name = f"{front.name}-TCP-{port['port']}"
            properties = {
                "frontendIPConfiguration": {"id": f"{self._id}/frontendIPConfigurations/{front.name}"},
                "backendAddressPool": {"id": f"{self._id}/backendAddressPools/{NAME}"},
                "probe": {"id": f"{self._id}/probes/{name}"},
                "protocol": "Tcp",
                "frontendPort": port["port"],
                "backendPort": port["port"],
                "enableFloatingIP": True,
                "disableOutboundSnat": True,
                "idleTimeoutInMinutes": int(silence),
            }
            yield {"name": name, "properties": properties}


def front_name(service: Object) -> str:
    """Return how a Service's part of the load balancer is called."""
    return f"a{service['metadata']['uid'].replace('-', '')}"[:_LONGEST_NAME]


def _annotation(service: Object, name: str) -> str:
    return str((service["metadata"].get("annotations") or {}).get(f"{_ANNOTATIONS}/{name}", ""))
