"""Reaching the Kubernetes API of a GKE cluster: where it is, and a bearer token that says who we are.

GKE takes the access token of any identity of Google and asks IAM what it may do, verb by verb.
"""

from __future__ import annotations

from google.cloud import container_v1

from activities.gcp.connection import GcpConnections
from activities.gcp.errors import failures_named
from activities.gcp.gke import as_facts, find_cluster
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name

_ANSWERING = frozenset({"RUNNING", "RECONCILING", "DEGRADED"})
"""States of a cluster in which its API can be called. What is being deleted has no workloads any more."""


class GcpClusterTokens:
    """Fulfils `ClusterCredentials` and `ClusterFinder` of `activities.kubernetes.credentials`."""

    def __init__(self, connections: GcpConnections) -> None:
        self._connections = connections

    @needs("container.clusters.get", purpose=Purpose.OPERATE, why="Find the cluster from which the server is deleted")
    def find(self, site: Site) -> Cluster | None:
        """Return the deployment's cluster, None if there is none, or none (any more) whose API could answer."""
        with failures_named(resource=base_name(site)):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OPERATE)
            cluster = find_cluster(gke, site)
        if cluster is None or cluster.status.name not in _ANSWERING or not cluster.endpoint:
            return None
        return as_facts(cluster)

    def token(self, site: Site, cluster: Cluster) -> str:
        """Return an access token of the service account that operates `cluster`; it is never stored."""
        with failures_named(resource=cluster.name):
            token, _ = self._connections.token(site, Purpose.OPERATE)
        return token
