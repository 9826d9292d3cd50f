"""What is Azure's own in the manifests: managed disks, a Gateway of AKS's application routing, workload identity.

A load balancer of Azure passes TLS on. It ends in Envoy proxies, which AKS keeps for each Gateway beside it, in the
cluster and so in the region; their certificate comes out of Key Vault. Sources: AKS's documentation ("Configure ingress
with the Kubernetes Gateway API via the application routing add-on", "Configure Azure DNS and TLS with the Application
Routing Gateway API implementation", "Use Microsoft Entra Workload ID"), and those of the Azure Disk CSI driver (storage
class parameters) and of the cloud provider (annotations of load balancers).
"""

from __future__ import annotations

import json

from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.endpoint import ENDPOINT, backend, endpoint_object, gateway, route
from activities.kubernetes.manifests.identity import (
    POOL_LABEL,
    RESTORE_ACCOUNT,
    SERVER_NAMESPACE,
    labels,
    selector,
)
from activities.kubernetes.manifests.pods import ZONE
from activities.kubernetes.manifests.topology import PORTS, PUBLIC_PORTS
from activities.kubernetes.objects import CONFIG_MAP, GATEWAY, NETWORK_POLICY, Kind, Object
from domain.deployment import Site
from domain.facts import Certificate, Key, Network, Roles
from domain.naming import base_name, owner_tags, resource_name
from domain.shape import Component, PoolName

GATEWAY_CLASS = "approuting-istio"
ENDPOINT_ACCOUNT = ENDPOINT
"""The service account as which AKS reads the certificate. Its identity may read secrets of that vault and no more."""
_CERTIFICATE = "kubernetes.azure.com/tls-cert-keyvault-uri"
_CERTIFICATE_READER = "kubernetes.azure.com/tls-cert-service-account"
_CLIENT = "azure.workload.identity/client-id"
_USES_IDENTITY = "azure.workload.identity/use"
_PROXIES = {"gateway.networking.k8s.io/gateway-name": ENDPOINT}
"""What Istio puts on the proxies of a Gateway."""
_CONTROLLER_NAMESPACE = "aks-istio-system"
_CONTROLLER_PORT = 15012
"""Where the proxies are told what to do, over mutual TLS."""
_HEALTH_PORT = 15021
"""Where a proxy says whether it is ready, at `/healthz/ready`."""
_LONGEST_SILENCE = 30
"""Minutes without a byte after which the load balancer forgets a connection; 4 unless it is told otherwise."""


class AzureManifests(CloudManifests):
    """The Azure Disk CSI driver, and the Gateway controller of AKS's application routing.

    Pods get their credentials from Entra over HTTPS, and its load balancer asks the proxies alone for their health.
    """

    def storage(self, site: Site, key: Key) -> Object:  # noqa: ARG002 - the disk encryption set knows the key
        """Return premium SSDs of one zone that nobody can export, encrypted with the deployment's own key."""
        tags = owner_tags(site, "volume")
        return {
            "provisioner": "disk.csi.azure.com",
            "parameters": {
                "skuName": "Premium_LRS",
                "diskEncryptionSetID": disk_encryption_set(site),
                "networkAccessPolicy": "DenyAll",
                "publicNetworkAccess": "Disabled",
                "csi.storage.k8s.io/fstype": "ext4",
                "tags": _pairs(tags),
            },
        }

    def entrance(self) -> Kind:
        """Return the kind for which AKS keeps proxies, and a Service of type LoadBalancer before them.

        The Gateway itself vanishes at once. Its Service bears our labels, because Istio hands on those of the
        `infrastructure`, and stays until the load balancer is gone.
        """
        return GATEWAY

    def endpoint(self, site: Site, network: Network, certificate: Certificate) -> tuple[Object, ...]:  # noqa: ARG002 - AKS knows the network
        """Return Gateway, routes and Services, after what the proxies are to be like and whom they may talk to."""
        options = {_CERTIFICATE: certificate.certificate_id, _CERTIFICATE_READER: ENDPOINT_ACCOUNT}
        parameters = {"group": "", "kind": CONFIG_MAP.name, "name": ENDPOINT}
        infrastructure = {
            "labels": labels(site, ENDPOINT),
            "annotations": _load_balancer(site),
            "parametersRef": parameters,
        }
        return (
            *(backend(site, component) for component in PUBLIC_PORTS),
            _proxies(site),
            _proxy_policy(site),
            gateway(site, GATEWAY_CLASS, options, infrastructure),
            *(route(site, component) for component in PUBLIC_PORTS),
        )

    def load_balancer_peers(self) -> tuple[Object, ...]:
        """Return the proxies. To the network policies of Cilium no address range has pods or nodes in it."""
        return ({"podSelector": {"matchLabels": _PROXIES}},)

    def pod_security(self) -> str:
        """Return the standard of the proxies: they name no seccomp profile, and AKS lets nobody add one."""
        return "baseline"

    def service_accounts(self) -> tuple[str, ...]:
        """Return the service account as which AKS reads the certificate."""
        return (ENDPOINT_ACCOUNT,)

    def service_account_annotations(self, site: Site, name: str, roles: Roles | None) -> dict[str, str]:  # noqa: ARG002 - client ids tell all
        """Return as which managed identity the pods of a service account act; most act as nobody."""
        client = _clients(roles).get(name, "")
        return {_CLIENT: client} if client else {}

    def identity_labels(self, name: str) -> dict[str, str]:
        """Return what makes AKS give pods a token that Entra takes."""
        return {_USES_IDENTITY: "true"} if name in _clients(None) else {}


def disk_encryption_set(site: Site) -> str:
    """Return the id of the disk encryption set through which the deployment's disks are encrypted with its key."""
    group = f"/subscriptions/{site.cloud_account_id}/resourceGroups/{base_name(site)}"
    return f"{group}/providers/Microsoft.Compute/diskEncryptionSets/{resource_name(site, 'disks')}"


def _clients(roles: Roles | None) -> dict[str, str]:
    """Return the client ids of the identities of service accounts, keyed by name; empty ones if they are not known."""
    return {
        Component.STORE: roles.store if roles else "",
        RESTORE_ACCOUNT: roles.restore if roles else "",
        ENDPOINT_ACCOUNT: roles.endpoint if roles else "",
    }


def _load_balancer(site: Site) -> dict[str, str]:
    """Return the annotations of the Service before the proxies.

    Without them the cloud provider would look at each port in the protocol of its listener, and by TLS without a name
    the proxies answer nothing.
    """
    health = {"port": str(_HEALTH_PORT), "protocol": "http", "request-path": "/healthz/ready"}
    return {
        "service.beta.kubernetes.io/azure-pip-tags": _pairs(owner_tags(site, "load-balancer")),
        "service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout": str(_LONGEST_SILENCE),
        **{
            f"service.beta.kubernetes.io/port_{port}_health-probe_{name}": value
            for port in PUBLIC_PORTS.values()
            for name, value in health.items()
        },
    }


def _proxies(site: Site) -> Object:
    """Return where the proxies run: on the nodes of the components without state, spread over the zones.

    These fields are among those that AKS lets a Gateway decide. Numbers of proxies are AKS's: two to five.
    """
    spread = {
        "topologyKey": ZONE,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _PROXIES},
    }
    pod = {"nodeSelector": {POOL_LABEL: str(PoolName.SERVICES)}, "topologySpreadConstraints": [spread]}
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": {"name": ENDPOINT, "namespace": SERVER_NAMESPACE, "labels": labels(site, ENDPOINT)},
        # The controller reads YAML, and JSON is YAML.
        "data": {"deployment": json.dumps({"spec": {"template": {"spec": pod}}})},
    }


def _proxy_policy(site: Site) -> Object:
    """Let everybody reach the proxies, and these the public components and their own controller.

    A rule without peers is for every address, whether of a client, of a node that leads on, or of a probe.
    """
    ports = (*PUBLIC_PORTS.values(), _HEALTH_PORT)
    controller = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": _CONTROLLER_NAMESPACE}},
        "podSelector": {"matchLabels": {"app": "istiod"}},
    }
    components = [
        {
            "to": [{"podSelector": {"matchLabels": selector(site, component)}}],
            "ports": [{"protocol": "TCP", "port": PORTS[component]}],
        }
        for component in PUBLIC_PORTS
    ]
    spec: Object = {
        "podSelector": {"matchLabels": _PROXIES},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in ports]}],
        "egress": [*components, {"to": [controller], "ports": [{"protocol": "TCP", "port": _CONTROLLER_PORT}]}],
    }
    return endpoint_object(site, NETWORK_POLICY, ENDPOINT, spec)


def _pairs(tags: dict[str, str]) -> str:
    """Return tags as the driver and the cloud provider read them, `byoc=managed,byoc:deployment=acme-prod`."""
    return ",".join(f"{tag}={value}" for tag, value in tags.items())
