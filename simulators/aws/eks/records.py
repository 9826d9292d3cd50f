"""What EKS keeps of one cluster and of what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simulators.aws.refusals import Refusal
from simulators.aws.scope import Scope

Document = dict[str, Any]
"""A resource in the shape in which the API describes it."""


@dataclass
class UpdateRecord:
    """One update, of the cluster itself unless a node group or an add-on is named."""

    description: Document
    node_group: str = ""
    add_on: str = ""


@dataclass
class NodeGroupRecord:
    """A node group and its machines."""

    description: Document
    instances: dict[str, str] = field(default_factory=dict)
    """Names of the Kubernetes nodes, keyed by instance id."""
    next_subnet: int = 0
    """Counts launches, so that machines spread over the subnets in turn."""


@dataclass
class ClusterRecord:
    """A cluster with everything below it."""

    scope: Scope
    id: str
    """Of the cluster in the Kubernetes simulator."""
    description: Document
    node_groups: dict[str, NodeGroupRecord] = field(default_factory=dict)
    add_ons: dict[str, Document] = field(default_factory=dict)
    access_entries: dict[str, Document] = field(default_factory=dict)
    """Keyed by the principal's ARN."""
    access_policies: dict[tuple[str, str], Document] = field(default_factory=dict)
    """Associated policies, keyed by the ARNs of principal and policy."""
    pod_identities: dict[str, Document] = field(default_factory=dict)
    """Keyed by association id."""
    updates: dict[str, UpdateRecord] = field(default_factory=dict)
    interfaces: list[str] = field(default_factory=list)
    """Ids of the network interfaces by which the control plane reaches the nodes."""
    bootstraps_network: bool = True
    """Whether EKS installed the network plug-in itself when it made the cluster."""

    @property
    def name(self) -> str:
        """The cluster's name, unique in its account and region."""
        return str(self.description["name"])

    @property
    def status(self) -> str:
        """CREATING, ACTIVE, UPDATING, DELETING or FAILED."""
        return str(self.description["status"])

    @property
    def version(self) -> str:
        """The control plane's Kubernetes version."""
        return str(self.description["version"])

    def require_active(self) -> None:
        """Refuse a change while another one is under way."""
        if self.status != "ACTIVE":
            message = f"Cluster '{self.name}' is not in ACTIVE status (current: {self.status})"
            raise in_use(message, clusterName=self.name)


class Clusters:
    """Every cluster of every account."""

    def __init__(self) -> None:
        self._clusters: dict[tuple[Scope, str], ClusterRecord] = {}

    def add(self, cluster: ClusterRecord) -> None:
        """Keep a new cluster."""
        self._clusters[cluster.scope, cluster.name] = cluster

    def remove(self, cluster: ClusterRecord) -> None:
        """Forget a cluster."""
        self._clusters.pop((cluster.scope, cluster.name), None)

    def find(self, scope: Scope, name: str) -> ClusterRecord | None:
        """Return the cluster of that name, or None."""
        return self._clusters.get((scope, name))

    def get(self, scope: Scope, name: str) -> ClusterRecord:
        """Return the cluster of that name; refuse as EKS does if there is none."""
        cluster = self.find(scope, name)
        if cluster is None:
            raise not_found(f"No cluster found for name: {name}.", clusterName=name)
        return cluster

    def by_id(self, cluster_id: str) -> ClusterRecord | None:
        """Return the cluster that the Kubernetes simulator knows by this id."""
        return next((cluster for cluster in self._clusters.values() if cluster.id == cluster_id), None)

    def of(self, scope: Scope) -> list[ClusterRecord]:
        """Return the clusters of one account and region."""
        return [cluster for (home, _), cluster in self._clusters.items() if home == scope]

    def all(self) -> list[ClusterRecord]:
        """Return every cluster."""
        return list(self._clusters.values())

    def clear(self) -> None:
        """Forget every cluster."""
        self._clusters.clear()


def invalid(message: str, **details: str) -> Refusal:
    """A parameter is wrong."""
    return Refusal("InvalidParameterException", message, 400, **details)


def forbidden_now(message: str, **details: str) -> Refusal:
    """The request contradicts the resource's state or settings."""
    return Refusal("InvalidRequestException", message, 400, **details)


def in_use(message: str, **details: str) -> Refusal:
    """The resource exists already, or is busy."""
    return Refusal("ResourceInUseException", message, 409, **details)


def not_found(message: str, **details: str) -> Refusal:
    """There is no such resource."""
    return Refusal("ResourceNotFoundException", message, 404, **details)
