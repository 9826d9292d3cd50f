"""What a cloud contributes to reaching a cluster. This module needs no Kubernetes SDK, so that clouds can import it."""

from __future__ import annotations

from typing import Protocol

from domain.deployment import Site
from domain.facts import Cluster


class ClusterCredentials(Protocol):
    """Makes short-lived bearer tokens for the API of a cluster, as the control plane's own identity."""

    def token(self, site: Site, cluster: Cluster) -> str:
        """Return a token that is valid for at least 10 minutes; raises the failures of `activities.failures`."""


class ClusterFinder(Protocol):
    """Finds the cluster of a deployment without recorded facts: what a deletion needs."""

    def find(self, site: Site) -> Cluster | None:
        """Return the cluster, or None if the cloud says that there is none or none that ever answered.

        Raises the failures of `activities.failures`: a cloud that cannot be asked is not a cluster that is gone.
        """
