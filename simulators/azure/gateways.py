"""What application routing makes in a cluster for Gateways: proxies, a Service before them, and their certificates.

The load balancer is that of the Service. TLS ends in the proxies, with a certificate that is read from Key Vault as the
identity of a service account. Only the class `approuting-istio` is simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from simulators.azure.container.fleet import id_of
from simulators.azure.container.validation import at
from simulators.azure.records import Record, merged
from simulators.azure.refusals import Json, Refusal
from simulators.azure.secret_reader import SecretReader
from simulators.azure.workloads import Workloads
from simulators.kubernetes import kinds
from simulators.kubernetes.defaults import set_defaults
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object, is_ready, is_terminating, labels_of, name_of, namespace_of
from simulators.kubernetes.provider import Destination, Entrance, HinderedError
from simulators.kubernetes.routes import attachments
from simulators.kubernetes.simulator import Cluster, KubernetesSimulator
from simulators.kubernetes.store import Store

GATEWAY_CLASS = "approuting-istio"
CERTIFICATE = "kubernetes.azure.com/tls-cert-keyvault-uri"
READER = "kubernetes.azure.com/tls-cert-service-account"
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
HEALTH_PORT = 15021
_IMAGE = "mcr.microsoft.com/oss/v2/istio/proxyv2:v1.28"
_LEAST, _MOST = 2, 5
"""Proxies of each Gateway."""
_ISTIO = "ingressProfile.webAppRouting.gatewayAPIImplementations.appRoutingIstio.mode"
_MADE = (
    kinds.SERVICE_ACCOUNTS,
    kinds.DEPLOYMENTS,
    kinds.SERVICES,
    kinds.HORIZONTAL_POD_AUTOSCALERS,
    kinds.POD_DISRUPTION_BUDGETS,
)
"""Kinds of what is made for a Gateway, all of one name; they go with it as its dependents."""


class Gateways:
    """The Gateways of all clusters."""

    def __init__(self, kubernetes: KubernetesSimulator, workloads: Workloads, secrets: SecretReader) -> None:
        self._kubernetes = kubernetes
        self._workloads = workloads
        self._secrets = secrets
        self._synced: dict[tuple[str, str, str], tuple[str, ...]] = {}
        """Names in the certificate that the proxies have, keyed by cluster id, the Gateway's uid and the listener."""

    def are_served(self, cluster: Record) -> bool:
        """Return whether a cluster has the kinds of the Gateway API."""
        return bool(at(cluster.properties, "ingressProfile.gatewayAPI.installation") == "Standard")

    def ensure(self, cluster: Record, entrance: Entrance) -> str | None:
        """Make proxies and Service, or bring them in line; return the address once everything serves.

        Raises:
            HinderedError: A listener has no certificate, in the words of whoever says why.
        """
        gateway = entrance.gateway
        running = self._kubernetes.cluster(id_of(cluster))
        is_on = at(cluster.properties, _ISTIO) == "Enabled"
        if gateway["spec"]["gatewayClassName"] != GATEWAY_CLASS or running is None or not is_on:
            return None
        home = running.store.get(kinds.NAMESPACES, None, namespace_of(gateway))
        if home is None or is_terminating(home):
            return None
        plan = _Plan(running.store, gateway)
        for kind, document in plan.documents():
            _put(running.store, kind, gateway, document)
        service = running.store.get(kinds.SERVICES, namespace_of(gateway), plan.name)
        ingress = (((service or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        address = str(ingress[0]["ip"]) if ingress else ""
        self._require_certificates(cluster, gateway, address)
        return address or None

    def _require_certificates(self, cluster: Record, gateway: Object, address: str) -> None:
        problems: dict[str, HinderedError] = {}
        for listener in gateway["spec"]["listeners"]:
            try:
                self._sync(cluster, gateway, listener)
            except HinderedError as hindrance:
                problems[listener["name"]] = hindrance
        if problems:
            first = next(iter(problems.values()))
            raise HinderedError(str(first), reason=first.reason, address=address, listeners=tuple(problems))

    def _sync(self, cluster: Record, gateway: Object, listener: Object) -> None:
        """Read the certificate of a listener; the proxies keep the one that was read last."""
        if listener["protocol"] != "HTTPS":
            return
        options = (listener.get("tls") or {}).get("options") or {}
        url, account = options.get(CERTIFICATE, ""), options.get(READER, "")
        if not url or not account:
            missing = CERTIFICATE if not url else READER
            message = f"error while processing Keyvault reference: the TLS option {missing} is required"
            raise HinderedError(message, reason="InvalidInput")
        if not at(cluster.properties, "addonProfiles.azureKeyvaultSecretsProvider.enabled"):
            message = "driver name secrets-store.csi.k8s.io not found in the list of registered CSI drivers"
            raise HinderedError(message, reason="FailedMount")
        namespace = namespace_of(gateway)
        try:
            principal = self._workloads.of_account(cluster, namespace, account)
            names = self._secrets.names_in(principal, url)
        except HinderedError as hindrance:
            message = f"error while processing Keyvault reference: {hindrance}"
            raise HinderedError(message, reason="InvalidInput") from hindrance
        except Refusal as refusal:
            message = f"failed to get objectType:secret of {url}: {refusal.status} ERROR CODE: {refusal.code}"
            raise HinderedError(f"{message}: {refusal.message}", reason="FailedMount") from refusal
        self._synced[id_of(cluster), gateway["metadata"]["uid"], listener["name"]] = names

    def behind(self, found: Destination) -> Destination | None:
        """Return where the routes of a Gateway lead, of whose proxies' Service a port was reached.

        What is no Service of proxies is returned as it is; None if no proxy is ready, or nothing is behind the port.
        """
        reached = self._listener(found)
        if reached is None:
            return found
        running, gateway, listener = reached
        if gateway is None or listener is None or not _has_proxies(running.store, gateway):
            return None
        for each in attachments(running.store, gateway):
            if each.listener == listener["name"]:
                return Destination(found.cluster_id, namespace_of(gateway), name_of(each.service), each.port)
        return None

    def covers(self, found: Destination, hostname: str) -> bool:
        """Return whether the listener behind a Service's port presents a certificate that covers a name."""
        reached = self._listener(found)
        gateway, listener = (reached[1], reached[2]) if reached is not None else (None, None)
        if gateway is None or listener is None:
            return False
        names = self._synced.get((found.cluster_id, gateway["metadata"]["uid"], listener["name"]), ())
        return any(name in (hostname, f"*.{hostname.partition('.')[2]}") for name in names)

    def renew(self, cluster: Record, gateway: Object) -> None:
        """Read the certificates again, as the driver does every other minute; what cannot be read stays as it is."""
        for listener in gateway["spec"]["listeners"]:
            try:
                self._sync(cluster, gateway, listener)
            except HinderedError:
                continue

    def gateway_behind(self, found: Destination) -> Object | None:
        """Return the Gateway of whose proxies' Service a port was reached, or None."""
        reached = self._listener(found)
        return reached[1] if reached is not None else None

    def listener_behind(self, found: Destination) -> Object | None:
        """Return the listener of a Gateway behind a port of its proxies' Service, or None."""
        reached = self._listener(found)
        return reached[2] if reached is not None else None

    def _listener(self, found: Destination) -> tuple[Cluster, Object | None, Object | None] | None:
        """Return Gateway and listener behind a Service's port; None if that is no Service of proxies."""
        running = self._kubernetes.cluster(found.cluster_id)
        service = running.store.get(kinds.SERVICES, found.namespace, found.service) if running is not None else None
        name = labels_of(service).get(GATEWAY_LABEL) if service is not None else None
        if running is None or name is None:
            return None
        gateway = running.store.get(kinds.GATEWAYS, found.namespace, name)
        listeners: list[Object] = gateway["spec"]["listeners"] if gateway is not None else []
        return running, gateway, next((each for each in listeners if each["port"] == found.port), None)

    def forget_cluster(self, cluster_id: str) -> None:
        """Forget what went with a cluster."""
        self._synced = {key: names for key, names in self._synced.items() if key[0] != cluster_id}

    def forget(self) -> None:
        """Forget every certificate."""
        self._synced.clear()


class _Plan:
    """What one Gateway, as it is now, asks for."""

    def __init__(self, store: Store, gateway: Object) -> None:
        self._store = store
        self._gateway = gateway
        self.name = f"{name_of(gateway)}-{GATEWAY_CLASS}"
        infrastructure = gateway["spec"].get("infrastructure") or {}
        self._selector = {GATEWAY_LABEL: name_of(gateway)}
        self._labels = {**(infrastructure.get("labels") or {}), **self._selector, "istio.io/dataplane-mode": "none"}
        self._annotations = dict(infrastructure.get("annotations") or {})
        self._customized = self._customization(infrastructure.get("parametersRef") or {})

    def documents(self) -> list[tuple[Kind, Object]]:
        """Return the objects, each with its kind."""
        wanted: Mapping[Kind, tuple[str, Json]] = {
            kinds.SERVICE_ACCOUNTS: ("serviceAccount", {}),
            kinds.DEPLOYMENTS: ("deployment", {"spec": self._deployment()}),
            kinds.SERVICES: ("service", {"spec": self._service()}),
            kinds.HORIZONTAL_POD_AUTOSCALERS: ("horizontalPodAutoscaler", {"spec": self._autoscaler()}),
            kinds.POD_DISRUPTION_BUDGETS: ("podDisruptionBudget", {"spec": self._budget()}),
        }
        return [
            (kind, merged({"metadata": self._metadata(), **wanted[kind][1]}, self._customized.get(wanted[kind][0], {})))
            for kind in _MADE
        ]

    def _metadata(self) -> Object:
        owner = {
            "apiVersion": kinds.GATEWAYS.api_version,
            "kind": kinds.GATEWAYS.kind,
            "name": name_of(self._gateway),
            "uid": self._gateway["metadata"]["uid"],
        }
        return {
            "name": self.name,
            "namespace": namespace_of(self._gateway),
            "labels": dict(self._labels),
            "annotations": dict(self._annotations),
            "ownerReferences": [owner],
        }

    def _deployment(self) -> Object:
        probe = {"httpGet": {"path": "/healthz/ready", "port": HEALTH_PORT}, "periodSeconds": 15}
        ports = [{"name": "status-port", "containerPort": HEALTH_PORT, "protocol": "TCP"}]
        proxy = {
            "name": "istio-proxy",
            "image": _IMAGE,
            "ports": ports,
            "readinessProbe": probe,
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"cpu": "2", "memory": "1Gi"},
            },
        }
        template = {
            "metadata": {"labels": dict(self._labels)},
            "spec": {"serviceAccountName": self.name, "containers": [proxy]},
        }
        return {"replicas": _LEAST, "selector": {"matchLabels": self._selector}, "template": template}

    def _service(self) -> Object:
        listeners = {int(each["port"]): str(each["protocol"]).lower() for each in self._gateway["spec"]["listeners"]}
        ports = [{"name": "status-port", "port": HEALTH_PORT, "protocol": "TCP"}]
        ports += [{"name": f"{kind}-{port}", "port": port, "protocol": "TCP"} for port, kind in listeners.items()]
        return {"type": "LoadBalancer", "selector": self._selector, "ports": ports}

    def _autoscaler(self) -> Object:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name}
        usage = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        metrics = [{"type": "Resource", "resource": usage}]
        return {"scaleTargetRef": target, "minReplicas": _LEAST, "maxReplicas": _MOST, "metrics": metrics}

    def _budget(self) -> Object:
        return {"minAvailable": 1, "selector": {"matchLabels": self._selector}}

    def _customization(self, reference: Object) -> dict[str, Any]:
        """Return what a ConfigMap says about the objects, keyed by what it calls them."""
        if reference.get("kind") != "ConfigMap":
            return {}
        found = self._store.get(kinds.CONFIG_MAPS, namespace_of(self._gateway), reference["name"])
        return {key: yaml.safe_load(text) for key, text in ((found or {}).get("data") or {}).items()}


def _put(store: Store, kind: Kind, gateway: Object, document: Object) -> None:
    """Make an object, or bring it in line; what others have filled in stays."""
    present = store.get(kind, namespace_of(gateway), document["metadata"]["name"])
    if present is None:
        store.create(kind, document, namespace_of(gateway))
        return
    wanted = merged(present, document)
    if kind is kinds.DEPLOYMENTS:
        wanted["spec"]["replicas"] = present["spec"]["replicas"]
    if kind is kinds.SERVICES:
        wanted["spec"]["ports"] = _with_node_ports(present, document["spec"]["ports"])
    set_defaults(kind, wanted, store)
    store.save(kind, wanted)


def _with_node_ports(present: Object, ports: list[Object]) -> list[Object]:
    known = {each["port"]: each for each in present["spec"].get("ports") or ()}
    return [{**known.get(each["port"], {}), **each} for each in ports]


def _has_proxies(store: Store, gateway: Object) -> bool:
    """Return whether a proxy is ready to end TLS."""
    selector = f"{GATEWAY_LABEL}={name_of(gateway)}"
    return any(is_ready(pod) for pod in store.list(kinds.PODS, namespace_of(gateway), selector))
