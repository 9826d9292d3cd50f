"""The public service: one load balancer that ends TLS in front of API server and subscription server."""

from __future__ import annotations

from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.identity import INSTANCE, PUBLIC_LABEL, SERVER_NAMESPACE, labels
from activities.kubernetes.manifests.topology import PUBLIC_PORTS
from activities.kubernetes.objects import SERVICE, Object, Reference
from domain.deployment import Site
from domain.facts import Certificate, Network

ENDPOINT = "endpoint"


def endpoint_reference() -> Reference:
    """Return where the public service is."""
    return Reference(SERVICE, ENDPOINT, SERVER_NAMESPACE)


def endpoint(site: Site, network: Network, certificate: Certificate, cloud: CloudManifests) -> Object:
    """Return the service.

    It selects the pods of both public components. A target port is given by name, and a pod is an endpoint only of
    the ports that it has, so that each port leads to its own component.

    Every node leads on to every pod. If each led to its own pods alone ("Local"), a node would count as healthy for
    both ports as soon as it had a pod of either component.
    """
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.name,
        "metadata": {
            "name": ENDPOINT,
            "namespace": SERVER_NAMESPACE,
            "labels": labels(site, ENDPOINT),
            "annotations": cloud.load_balancer_annotations(site, network, certificate),
        },
        "spec": {
            "type": "LoadBalancer",
            "selector": {INSTANCE: site.deployment, PUBLIC_LABEL: "true"},
            "externalTrafficPolicy": "Cluster",
            "ports": [
                {"name": str(component), "port": port, "targetPort": str(component), "protocol": "TCP"}
                for component, port in PUBLIC_PORTS.items()
            ],
        },
    }
