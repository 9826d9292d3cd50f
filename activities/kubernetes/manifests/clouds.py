"""Where manifests differ from cloud to cloud; each cloud's module fulfils this and a worker passes it in."""

from __future__ import annotations

from typing import Protocol

from activities.kubernetes.objects import Object
from domain.deployment import Site
from domain.facts import Certificate, Key, Network


class CloudManifests(Protocol):
    """The parts of manifests that a cloud decides."""

    def storage(self, site: Site, key: Key) -> Object:
        """Return `provisioner` and `parameters` of a storage class whose volumes are encrypted with `key`."""

    def load_balancer_annotations(self, site: Site, network: Network, certificate: Certificate) -> dict[str, str]:
        """Return the annotations of the public service: TLS from outside, over all zones, with our owner tags."""

    def identity_endpoints(self) -> tuple[tuple[str, int], ...]:
        """Return (address range, port) of what a pod asks for its cloud credentials besides HTTPS to the cloud."""
