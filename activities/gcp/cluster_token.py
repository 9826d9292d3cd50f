"""How the control plane enters a cluster: with the token of the account that operates it. IAM decides what it may."""

from __future__ import annotations

from activities.gcp.connection import GcpConnections
from activities.gcp.errors import failures_named
from activities.gcp.gke import Gke, State, as_facts, find_cluster
from activities.gcp.ownership import is_ours, require_ours
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name

_ANSWERING = (State.RUNNING, State.RECONCILING, State.DEGRADED)
"""States of a cluster in which its API can be called. What is being deleted has no workloads any more."""


class GcpClusterTokens:
    """Fulfils `ClusterCredentials` and `ClusterFinder` of `activities.kubernetes.credentials`."""

    def __init__(self, connections: GcpConnections) -> None:
        self._connections = connections

    @needs("container.clusters.get", purpose=Purpose.OPERATE, why="Find the cluster from which the server is deleted")
    def find(self, site: Site) -> Cluster | None:
        """Return the deployment's cluster, None if there is none, or none (any more) whose API could answer."""
        name = base_name(site)
        with failures_named(resource=name):
            cluster = find_cluster(self._connections.client(Gke, site, Purpose.OPERATE), site)
        if cluster is None or cluster.status not in _ANSWERING or not cluster.endpoint:
            return None
        require_ours(f"GKE cluster {name}", site, ours=is_ours(cluster.resource_labels, site))
        return as_facts(cluster)

    def token(self, site: Site, cluster: Cluster) -> str:
        """Return a token of the account that operates `cluster`."""
        with failures_named(resource=cluster.name):
            token, _ = self._connections.token(site, Purpose.OPERATE)
        return token
