"""What GKE's Gateway controller makes in a project: a regional external Application Load Balancer for each Gateway.

It has one address; for each listener a forwarding rule, a proxy and a URL map; for each Service that a route leads to a
backend service, a health check and a network endpoint group in every zone. Its proxies live in the network's
proxy-only subnetwork. Only the class `gke-l7-regional-external-managed` is simulated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from simulators.gcp.api import region_of
from simulators.gcp.certificates import CertificateManager
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.records import ROOT
from simulators.gcp.compute.service import ComputeService
from simulators.gcp.container.records import ClusterRecord
from simulators.gcp.refusals import Json, Refusal
from simulators.kubernetes.objects import Object, name_of, namespace_of
from simulators.kubernetes.provider import Attachment, Entrance, HinderedError

GATEWAY_CLASS = "gke-l7-regional-external-managed"
CERTIFICATES = "networking.gke.io/cert-manager-certs"
_PROXIES = "REGIONAL_MANAGED_PROXY"
_HEALTH_SOURCES = ["35.191.0.0/16", "130.211.0.0/22"]
_KINDS = (
    "addresses", "firewalls", "forwardingRules", "networkEndpointGroups", "regionBackendServices",
    "regionHealthChecks", "regionTargetHttpsProxies", "regionUrlMaps",
)  # fmt: skip
"""Of which the service agent has to be allowed to make resources."""
_LONGEST_NAME = 63
_DEFAULT_TIMEOUT = 30


@dataclass(frozen=True)
class Listener:
    """Where one port of a Gateway leads, and what it presents."""

    namespace: str
    service: str
    """Name of the Service, empty if no route is attached."""
    port: int
    """Of the Service."""
    certificates: tuple[str, ...]
    """Full names."""


@dataclass
class _Balancer:
    """The load balancer of one Gateway."""

    cluster_id: str
    address: str = ""
    parts: list[str] = field(default_factory=list)
    """Full names of everything that was made for it, in the order of making."""
    listeners: dict[int, Listener] = field(default_factory=dict)
    """Keyed by port."""
    active: bool = False


class Gateways:
    """The load balancers of all Gateways of all clusters."""

    def __init__(
        self,
        cloud: Cloud,
        compute: ComputeService,
        certificates: CertificateManager,
        require_agent: Callable[[ClusterRecord, str], None],
    ) -> None:
        """`require_agent` refuses what GKE's service agent may not do in a cluster's project."""
        self._cloud = cloud
        self._compute = compute
        self._certificates = certificates
        self._require_agent = require_agent
        self._balancers: dict[tuple[str, str, str], _Balancer] = {}
        """Keyed by cluster id, namespace and name of the Gateway."""

    def ensure(self, cluster: ClusterRecord, entrance: Entrance) -> str | None:
        """Make the load balancer or bring it in line; return its address once it is active.

        Raises:
            HinderedError: Something in the project is missing, in the words of the controller.
        """
        gateway = entrance.gateway
        if gateway["spec"]["gatewayClassName"] != GATEWAY_CLASS:
            return None
        self._cloud.work.settle()
        for kind in _KINDS:
            self._require_agent(cluster, f"compute.{kind}.create")
        key = (cluster.id, namespace_of(gateway), name_of(gateway))
        known = self._balancers.get(key)
        balancer = known or _Balancer(cluster.id)
        try:
            plan = _Plan(self, cluster, entrance)
            # Before an address is reserved everything else is in order.
            plan.parts(balancer.address)
            parts = plan.parts(self._address(plan, balancer))
        except Refusal as refusal:
            raise HinderedError(f"googleapi: Error {refusal.http}: {refusal}") from refusal
        for name, document in parts.items():
            self._put(name, document)
        before, balancer.parts = balancer.parts, list(parts)
        self._balancers[key] = balancer
        self._remove_unused(before)
        balancer.listeners = plan.listeners()
        if known is None:

            def activate() -> None:
                balancer.active = True

            self._cloud.work.start(self._cloud.durations.service_load_balancer, activate)
        self._cloud.work.settle()
        return balancer.address if balancer.active else None

    def delete(self, cluster_id: str, gateway: Object) -> bool:
        """Take the load balancer away; it is gone at once."""
        balancer = self._balancers.pop((cluster_id, namespace_of(gateway), name_of(gateway)), None)
        self._remove_unused(balancer.parts if balancer is not None else [])
        return True

    def _remove_unused(self, parts: list[str]) -> None:
        """Remove those parts that no load balancer has any more: Services and the firewall may be several Gateways'."""
        used = {name for balancer in self._balancers.values() for name in balancer.parts}
        for name in reversed(parts):
            if name not in used:
                self._compute.records.remove(name)

    def listener_at(self, address: str, port: int) -> tuple[str, Listener] | None:
        """Return the cluster and the listener behind an address and a port, if the load balancer is active."""
        for balancer in self._balancers.values():
            if balancer.address == address and balancer.active and port in balancer.listeners:
                rules = self._compute.records
                if any("/forwardingRules/" in part and rules.find(part) for part in balancer.parts):
                    return balancer.cluster_id, balancer.listeners[port]
        return None

    def forget(self) -> None:
        """Forget every load balancer."""
        self._balancers.clear()

    def _address(self, plan: _Plan, balancer: _Balancer) -> str:
        """Return the load balancer's address, which the controller reserves before anything else."""
        if not balancer.address:
            name, document = plan.reservation()
            balancer.address = self._put(name, document)["address"]
        return balancer.address

    def _put(self, name: str, document: Json) -> Json:
        found = self._compute.records.find(name)
        if found is None:
            return self._compute.put(name, document).document
        found.document.update(self._compute.records.canonical(name.split("/")[1], document))
        return found.document

    def proxies_of(self, cluster: ClusterRecord) -> str:
        """Return the range of the proxy-only subnetwork in the cluster's network and region."""
        place = f"regions/{region_of(cluster.location)}"
        network = network_of(cluster)
        for record in self._compute.records.of(cluster.project, "subnetworks", place):
            document = record.document
            if document.get("purpose") == _PROXIES and document["network"] == network:
                return str(document["ipCidrRange"])
        raise HinderedError(
            "generic::invalid_argument: An active proxy-only subnetwork is required in the same region and VPC as the"
            " forwarding rule."
        )

    def require_certificate(self, name: str) -> None:
        """Raise HinderedError unless a certificate exists and is issued."""
        state = self._certificates.state_of(name)
        if state is None:
            raise HinderedError(f'Error GWCER106: Certificate "{name}" does not exist.')
        if state != "ACTIVE":
            raise HinderedError(f'Error GWCER106: Certificate "{name}" is {state} and not ACTIVE.')

    def require_ssl_policy(self, name: str) -> None:
        """Raise Refusal unless an SSL policy exists in the region."""
        self._compute.records.get(name)


class _Plan:
    """What one Gateway, as it is now, asks for."""

    def __init__(self, gateways: Gateways, cluster: ClusterRecord, entrance: Entrance) -> None:
        self._gateways = gateways
        self._cluster = cluster
        self._entrance = entrance
        self._gateway = entrance.gateway
        self._region = f"projects/{cluster.project}/regions/{region_of(cluster.location)}"

    def reservation(self) -> tuple[str, Json]:
        """Return the reservation of the address."""
        return f"{self._region}/addresses/{self._name(self._gateway)}", {
            "description": self._described(self._gateway),
            "addressType": "EXTERNAL",
        }

    def listeners(self) -> dict[int, Listener]:
        """Return where each port leads."""
        found = {}
        for listener in self._gateway["spec"]["listeners"]:
            attached = self._attached(listener["name"])
            found[int(listener["port"])] = Listener(
                namespace_of(self._gateway),
                name_of(attached.service) if attached else "",
                attached.port if attached else 0,
                self._certificates(listener),
            )
        return found

    def parts(self, address: str) -> dict[str, Json]:
        """Return the documents of all parts, keyed by full name, each after what it refers to.

        Raises:
            HinderedError: The proxy-only subnetwork or a certificate is missing.
            Refusal: The SSL policy is missing.
        """
        proxies = self._gateways.proxies_of(self._cluster)
        parts: dict[str, Json] = dict([self.reservation()])
        parts |= self._firewall(proxies)
        for attachment in self._entrance.attachments:
            parts |= self._backend(attachment)
        for listener in self._gateway["spec"]["listeners"]:
            parts |= self._frontend(listener, address)
        return parts

    def _firewall(self, proxies: str) -> dict[str, Json]:
        network = network_of(self._cluster)
        name = f"gkegw1-{self._cluster.hash[:4]}-l7-{network.rpartition('/')[2]}-{region_of(self._cluster.location)}"
        return {
            f"projects/{self._cluster.project}/global/firewalls/{name[:_LONGEST_NAME]}": {
                "network": network,
                "allowed": [{"IPProtocol": "tcp", "ports": ["1-65535"]}],
                "sourceRanges": [*_HEALTH_SOURCES, proxies],
                "targetTags": [f"gke-{self._cluster.short_name}-{self._cluster.hash}-node"],
            }
        }

    def _backend(self, attachment: Attachment) -> dict[str, Json]:
        """Return backend service, health check and groups of endpoints of one Service."""
        service = attachment.service
        health = self._policy_for("HealthCheckPolicy", service)
        connections = self._policy_for("GCPBackendPolicy", service)
        name = self._name(service, str(attachment.port))
        group = self._name(service, str(attachment.port), prefix=f"k8s1-{self._cluster.hash}")
        config = health.get("config") or {"type": "HTTP", "httpHealthCheck": {"portSpecification": "USE_SERVING_PORT"}}
        intervals = ("checkIntervalSec", "timeoutSec", "healthyThreshold", "unhealthyThreshold")
        check: Json = {**config, **{each: health[each] for each in intervals if each in health}}
        network = self._cluster.document["networkConfig"]
        groups = {
            f"projects/{self._cluster.project}/zones/{zone}/networkEndpointGroups/{group}": {
                "description": json.dumps({"namespace": namespace_of(service), "service-name": name_of(service)}),
                "networkEndpointType": "GCE_VM_IP_PORT",
                "network": network_of(self._cluster),
                "subnetwork": network["subnetwork"],
            }
            for zone in self._cluster.zones
        }
        return {
            **groups,
            f"{self._region}/healthChecks/{name}": check,
            f"{self._region}/backendServices/{name}": {
                "description": self._described(service),
                "loadBalancingScheme": "EXTERNAL_MANAGED",
                "protocol": "HTTP",
                "timeoutSec": connections.get("timeoutSec", _DEFAULT_TIMEOUT),
                "connectionDraining": connections.get("connectionDraining") or {"drainingTimeoutSec": 0},
                "logConfig": {"enable": bool((connections.get("logging") or {}).get("enabled"))},
                "healthChecks": [f"{ROOT}{self._region}/healthChecks/{name}"],
                "backends": [{"group": ROOT + each, "balancingMode": "RATE"} for each in groups],
            },
        }

    def _frontend(self, listener: Object, address: str) -> dict[str, Json]:
        """Return forwarding rule, proxy and URL map of one listener."""
        if listener["protocol"] != "HTTPS":
            raise HinderedError(f"listeners of protocol {listener['protocol']} are not simulated")
        certificates = self._certificates(listener)
        if not certificates:
            raise HinderedError(f"Error GWCER105: the HTTPS listener {listener['name']} has no certificate")
        for each in certificates:
            self._gateways.require_certificate(each)
        name = self._name(self._gateway, str(listener["port"]))
        attached = self._attached(listener["name"])
        backend = self._name(attached.service, str(attached.port)) if attached else ""
        described = self._described(self._gateway)
        proxy: Json = {
            "description": described,
            "urlMap": f"{ROOT}{self._region}/urlMaps/{name}",
            "sslCertificates": [f"//certificatemanager.googleapis.com/{each}" for each in certificates],
        }
        if policy := self._policy_for("GCPGatewayPolicy", self._gateway).get("sslPolicy"):
            self._gateways.require_ssl_policy(f"{self._region}/sslPolicies/{policy}")
            proxy["sslPolicy"] = f"{ROOT}{self._region}/sslPolicies/{policy}"
        return {
            f"{self._region}/urlMaps/{name}": {
                "description": described,
                **({"defaultService": f"{ROOT}{self._region}/backendServices/{backend}"} if backend else {}),
            },
            f"{self._region}/targetHttpsProxies/{name}": proxy,
            f"{self._region}/forwardingRules/{name}": {
                "description": described,
                "IPAddress": address,
                "IPProtocol": "TCP",
                "loadBalancingScheme": "EXTERNAL_MANAGED",
                "network": network_of(self._cluster),
                "portRange": f"{listener['port']}-{listener['port']}",
                "target": f"{ROOT}{self._region}/targetHttpsProxies/{name}",
            },
        }

    def _certificates(self, listener: Object) -> tuple[str, ...]:
        options = (listener.get("tls") or {}).get("options") or {}
        names = [name.strip() for name in options.get(CERTIFICATES, "").split(",") if name.strip()]
        place = f"projects/{self._cluster.project}/locations/{region_of(self._cluster.location)}"
        return tuple(f"{place}/certificates/{name}" for name in names)

    def _attached(self, listener: str) -> Attachment | None:
        return next((each for each in self._entrance.attachments if each.listener == listener), None)

    def _policy_for(self, kind: str, target: Object) -> Mapping[str, Json]:
        """Return what the policy of that kind says about an object, nothing if there is none."""
        for policy in self._entrance.policies:
            reference = policy["spec"]["targetRef"]
            if (policy["kind"], reference["kind"], reference["name"]) == (kind, target["kind"], name_of(target)):
                return dict(policy["spec"].get("default") or {})
        return {}

    def _name(self, obj: Object, *more: str, prefix: str = "") -> str:
        """Return the name of a part: the cluster's own prefix, what it is for, and a digest that tells it apart."""
        readable = "-".join((namespace_of(obj), name_of(obj), *more))
        digest = hashlib.sha256(f"{obj['metadata']['uid']}/{more}".encode()).hexdigest()[:12]
        begin = prefix or f"gkegw1-{self._cluster.hash[:4]}"
        room = _LONGEST_NAME - len(begin) - len(digest) - 2
        return f"{begin}-{readable[:room].rstrip('-')}-{digest}"

    def _described(self, obj: Object) -> str:
        """Return how the controller says which object of which cluster a part is for."""
        return json.dumps(
            {
                "resource": f"{namespace_of(obj)}/{name_of(obj)}",
                "cluster": f"projects/{self._cluster.project}/locations/{self._cluster.location}"
                f"/clusters/{self._cluster.short_name}",
            }
        )


def network_of(cluster: ClusterRecord) -> str:
    """Return the URL of the cluster's network."""
    network = str(cluster.document["networkConfig"]["network"])
    return network if network.startswith(ROOT) else ROOT + network
