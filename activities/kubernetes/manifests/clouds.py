"""Where manifests differ from cloud to cloud; each cloud's module fulfils this and a worker passes it in."""

from __future__ import annotations

from typing import Protocol

from activities.kubernetes.objects import Kind, Object
from domain.deployment import Site
from domain.facts import Certificate, Key, Network, Roles

RESTRICTED = "restricted"
"""The strictest of Kubernetes' pod security standards, which all our own pods meet."""


class CloudManifests(Protocol):
    """The parts of manifests that a cloud decides; what only some clouds need has a default."""

    def storage(self, site: Site, key: Key) -> Object:
        """Return `provisioner` and `parameters` of a storage class whose volumes are encrypted with `key`."""
        ...

    def entrance(self) -> Kind:
        """Return of which kind the object is that a controller makes the load balancer for: a Service or a Gateway.

        Its name is `endpoint.ENDPOINT` and its status has the load balancer's address. It does not vanish before the
        load balancer is gone, unless there is a Service of our labels for it that does not.
        """
        ...

    def endpoint(self, site: Site, network: Network, certificate: Certificate) -> tuple[Object, ...]:
        """Return the objects that lead clients to the server, the entrance among them, in the order of application.

        TLS ends at the load balancer, or at proxies behind it in the cluster, on every port of `topology.PUBLIC_PORTS`;
        it is reached from outside and spread over all zones.
        """
        ...

    def probe_sources(self) -> tuple[str, ...]:
        """Return the address ranges from which the load balancer asks the public pods themselves for their health."""
        return ()

    def load_balancer_peers(self) -> tuple[Object, ...]:
        """Return the peers of network policies through which alone clients reach public pods; nothing: any address."""
        return ()

    def pod_security(self) -> str:
        """Return the standard that every pod in the server's namespace meets, those of the cloud's controllers too."""
        return RESTRICTED

    def service_accounts(self) -> tuple[str, ...]:
        """Return which service accounts the cloud's own controllers need in the server's namespace."""
        return ()

    def service_account_annotations(self, site: Site, name: str, roles: Roles | None) -> dict[str, str]:  # noqa: ARG002 - for those who override it
        """Return what tells the cloud as whom the pods of the service account of that name act; maybe nothing."""
        return {}

    def identity_labels(self, name: str) -> dict[str, str]:  # noqa: ARG002 - for those who override it
        """Return the labels by which the cloud gives credentials to a service account of that name, and to its pods."""
        return {}

    def identity_endpoints(self) -> tuple[tuple[str, int], ...]:
        """Return (address range, port) of what a pod asks for its cloud credentials besides HTTPS to the cloud."""
        return ()
