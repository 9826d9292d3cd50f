"""Where manifests differ from cloud to cloud; each cloud's module fulfils this and a worker passes it in."""

from __future__ import annotations

from typing import Protocol

from activities.kubernetes.objects import Kind, Object
from domain.deployment import Site
from domain.facts import Certificate, Key, Network


class CloudManifests(Protocol):
    """The parts of manifests that a cloud decides."""

    def storage(self, site: Site, key: Key) -> Object:
        """Return `provisioner` and `parameters` of a storage class whose volumes are encrypted with `key`."""

    def entrance(self) -> Kind:
        """Return of which kind the object is that a controller makes the load balancer for: a Service or a Gateway.

        Its name is `endpoint.ENDPOINT`, its status has the load balancer's address, and it does not vanish before the
        load balancer is gone.
        """

    def endpoint(self, site: Site, network: Network, certificate: Certificate) -> tuple[Object, ...]:
        """Return the objects that lead clients to the server, the entrance among them, in the order of application.

        TLS ends at the load balancer, on every port of `topology.PUBLIC_PORTS`; it is reached from outside and spread
        over all zones.
        """

    def probe_sources(self) -> tuple[str, ...]:
        """Return the address ranges from which the load balancer asks the public pods themselves for their health."""

    def service_account_annotations(self, site: Site, name: str) -> dict[str, str]:
        """Return what tells the cloud as whom the pods of the service account of that name act; maybe nothing."""

    def identity_endpoints(self) -> tuple[tuple[str, int], ...]:
        """Return (address range, port) of what a pod asks for its cloud credentials besides HTTPS to the cloud."""
