"""Reaching the Kubernetes API of an AKS cluster: where it is, and a bearer token that says who we are.

Entra gives the token, for Microsoft's own application that stands for all clusters of AKS; Azure's roles say what it
may do, verb by verb.
"""

from __future__ import annotations

from azure.mgmt.containerservice import ContainerServiceClient

from activities.azure.aks import CLUSTER, USER_CREDENTIALS, as_facts, find_cluster, state_of
from activities.azure.connection import AzureConnections
from activities.azure.errors import failures_named
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name

CLUSTER_SCOPE = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
"""For whom tokens of clusters are: the "Azure Kubernetes Service AAD Server" of every tenant."""
_NOT_ANSWERING = frozenset({"Creating", "Deleting"})
"""States of a cluster in which its API cannot be called (any more)."""


class AzureClusterTokens:
    """Fulfils `ClusterCredentials` and `ClusterFinder` of `activities.kubernetes.credentials`."""

    def __init__(self, connections: AzureConnections) -> None:
        self._connections = connections

    @needs(
        f"{CLUSTER}/read", USER_CREDENTIALS,
        purpose=Purpose.OPERATE, why="Find the cluster from which the server is deleted",
    )  # fmt: skip
    def find(self, site: Site) -> Cluster | None:
        """Return the deployment's cluster, None if there is none, or none (any more) whose API could answer."""
        with failures_named(resource=base_name(site)):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            cluster = find_cluster(aks, site)
            # One that AKS failed to make has no version that runs.
            if cluster is None or state_of(cluster) in _NOT_ANSWERING or not _has_come_up(cluster):
                return None
            return as_facts(aks, site, cluster)

    def token(self, site: Site, cluster: Cluster) -> str:
        """Return a token of the application that operates `cluster`; it is never stored."""
        with failures_named(resource=cluster.name):
            credential = self._connections.credential(site, Purpose.OPERATE)
            return str(credential.get_token(CLUSTER_SCOPE).token)


def _has_come_up(cluster: dict[str, object]) -> bool:
    properties = cluster["properties"]
    return isinstance(properties, dict) and bool(properties.get("fqdn") or properties.get("privateFQDN"))
