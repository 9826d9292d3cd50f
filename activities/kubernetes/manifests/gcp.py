"""What is Google Cloud's own in the manifests: persistent disks, a Gateway of GKE's controller, Workload Identity.

A Service's load balancer passes TLS on, and a global one would take it outside the region. So the endpoint is a
regional external Application Load Balancer, which GKE makes for a Gateway. Sources: GKE's documentation ("GatewayClass
capabilities", "Secure a Gateway", "Configure Gateway resources using Policies", "Workload Identity Federation for GKE")
and the storage class parameters of the Compute Engine persistent disk CSI driver.
"""

from __future__ import annotations

from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.components import grace
from activities.kubernetes.manifests.endpoint import (
    ENDPOINT,
    backend,
    backend_name,
    endpoint_object,
    gateway,
    route,
)
from activities.kubernetes.manifests.identity import RESTORE_ACCOUNT
from activities.kubernetes.manifests.topology import METRICS_PORT, PUBLIC_PORTS
from activities.kubernetes.objects import (
    GATEWAY,
    GOOGLE_BACKEND_POLICY,
    GOOGLE_GATEWAY_POLICY,
    GOOGLE_HEALTH_CHECK_POLICY,
    SERVICE,
    Kind,
    Object,
)
from domain.deployment import Site
from domain.facts import Certificate, Key, Network, Roles
from domain.naming import owner_labels, resource_name, short_name
from domain.shape import Component

GATEWAY_CLASS = "gke-l7-regional-external-managed"
_CERTIFICATES = "networking.gke.io/cert-manager-certs"
"""Option of a listener: names of certificates of Certificate Manager in the cluster's region."""
_ACCOUNT = "iam.gke.io/gcp-service-account"
HEALTH_CHECKS = ("35.191.0.0/16", "130.211.0.0/22")
"""From where Google's load balancers look at their backends ("Health checks overview")."""
_LONGEST_ID = 30
_LONGEST_REQUEST = 24 * 60 * 60
"""Seconds after which the load balancer ends a request, and so a subscription, which then is begun anew. Both ports
carry subscriptions, because the API server passes them on."""


class GcpManifests(CloudManifests):
    """The persistent disk CSI driver and GKE's own Gateway controller."""

    def storage(self, site: Site, key: Key) -> Object:
        """Return balanced disks of one zone encrypted with the deployment's own key, each with the owner labels."""
        labels = owner_labels(site, "volume")
        return {
            "provisioner": "pd.csi.storage.gke.io",
            "parameters": {
                "type": "pd-balanced",
                "disk-encryption-kms-key": key.key_id,
                "csi.storage.k8s.io/fstype": "ext4",
                "labels": ",".join(f"{label}={value}" for label, value in labels.items()),
            },
        }

    def entrance(self) -> Kind:
        """Return the kind for which GKE makes an Application Load Balancer."""
        return GATEWAY

    def endpoint(self, site: Site, network: Network, certificate: Certificate) -> tuple[Object, ...]:  # noqa: ARG002 - GKE finds the network by itself
        """Return Gateway, routes and Services, after the policies that GKE is to follow from the beginning."""
        target = {"group": GATEWAY.api_version.partition("/")[0], "kind": GATEWAY.name, "name": ENDPOINT}
        tls = {"default": {"sslPolicy": tls_policy(site)}, "targetRef": target}
        options = {_CERTIFICATES: certificate.certificate_id.rpartition("/")[2]}
        return (
            *(backend(site, component) for component in PUBLIC_PORTS),
            *(_health(site, component) for component in PUBLIC_PORTS),
            *(_connections(site, component) for component in PUBLIC_PORTS),
            endpoint_object(site, GOOGLE_GATEWAY_POLICY, ENDPOINT, tls),
            gateway(site, GATEWAY_CLASS, options),
            *(route(site, component) for component in PUBLIC_PORTS),
        )

    def probe_sources(self) -> tuple[str, ...]:
        """Return from where Google's load balancers look at the health of pods."""
        return HEALTH_CHECKS

    def service_account_annotations(self, site: Site, name: str, roles: Roles | None) -> dict[str, str]:  # noqa: ARG002 - names say it all
        """Return the service account of the project as which the store or the restore acts; others act as nobody."""
        if name not in (Component.STORE, RESTORE_ACCOUNT):
            return {}
        return {_ACCOUNT: account_email(site, name)}

    def identity_endpoints(self) -> tuple[tuple[str, int], ...]:
        """Return GKE's metadata server on each node, as policies see it in clusters with Dataplane V2."""
        return (("169.254.169.254/32", 80),)


def account_id(site: Site, name: str) -> str:
    """Return the id of one of the deployment's service accounts in the project: of `nodes`, `store` or `restore`."""
    return short_name(site, str(name), limit=_LONGEST_ID)


def account_email(site: Site, name: str) -> str:
    """Return the e-mail address of one of them, whether or not it exists."""
    return f"{account_id(site, name)}@{site.cloud_account_id}.iam.gserviceaccount.com"


def tls_policy(site: Site) -> str:
    """Return the name of the SSL policy in the project that says which versions of TLS the load balancer speaks."""
    return resource_name(site, "tls")


def _policy(site: Site, kind: Kind, component: Component, default: Object) -> Object:
    target = {"group": "", "kind": SERVICE.name, "name": backend_name(component)}
    return endpoint_object(site, kind, backend_name(component), {"default": default, "targetRef": target})


def _health(site: Site, component: Component) -> Object:
    """Return the policy by which a pod counts as healthy when it says that it is ready, as for the kubelet."""
    check = {"portSpecification": "USE_FIXED_PORT", "port": METRICS_PORT, "requestPath": "/readyz"}
    default = {
        "checkIntervalSec": 10,
        "timeoutSec": 5,
        "healthyThreshold": 1,
        "unhealthyThreshold": 2,
        "config": {"type": "HTTP", "httpHealthCheck": check},
    }
    return _policy(site, GOOGLE_HEALTH_CHECK_POLICY, component, default)


def _connections(site: Site, component: Component) -> Object:
    """Return the policy that lets subscriptions last, and what is under way end when a pod goes.

    Requests are not logged: the load balancer's entries would leave the region, and name clients and paths.
    """
    default = {
        "timeoutSec": _LONGEST_REQUEST,
        "connectionDraining": {"drainingTimeoutSec": grace(component)},
        "logging": {"enabled": False},
    }
    return _policy(site, GOOGLE_BACKEND_POLICY, component, default)
