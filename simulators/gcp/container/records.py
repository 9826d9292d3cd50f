"""What GKE keeps of clusters and of their node pools."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulators.gcp.refusals import Json, not_found


@dataclass
class PoolRecord:
    """A node pool and its machines."""

    document: Json
    instances: dict[str, str] = field(default_factory=dict)
    """Names of the Kubernetes nodes, keyed by the instance's full name; the newest last."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the nodes, keyed likewise: while a pool is upgraded they are not all the same."""

    @property
    def name(self) -> str:
        """The pool's name, unique in its cluster."""
        return str(self.document["name"])


@dataclass
class ClusterRecord:
    """A cluster with everything below it."""

    name: str
    """Full: `projects/p/locations/l/clusters/c`."""
    id: str
    """Of the cluster in the Kubernetes simulator, and the hash in the names of what GKE makes for it."""
    document: Json
    pools: dict[str, PoolRecord] = field(default_factory=dict)
    operation: str = ""
    """Name of the operation that is changing the cluster, empty if none is."""

    @property
    def project(self) -> str:
        """The project's id."""
        return self.name.split("/")[1]

    @property
    def location(self) -> str:
        """The region or zone of the control plane."""
        return self.name.split("/")[3]

    @property
    def short_name(self) -> str:
        """The name without its place."""
        return self.name.rpartition("/")[2]

    @property
    def hash(self) -> str:
        """What GKE puts into the names of the things it makes for the cluster."""
        return self.id[:8]

    @property
    def zones(self) -> list[str]:
        """The zones of the nodes."""
        return list(self.document["locations"])

    def described(self) -> Json:
        """Return the cluster as the API describes it."""
        pools = [pool.document for pool in self.pools.values()]
        nodes = sum(len(pool.instances) for pool in self.pools.values())
        return {**self.document, "nodePools": pools, "currentNodeCount": nodes}


class Clusters:
    """Every cluster of every project."""

    def __init__(self) -> None:
        self._clusters: dict[str, ClusterRecord] = {}

    def add(self, cluster: ClusterRecord) -> None:
        """Keep a cluster."""
        self._clusters[cluster.name] = cluster

    def remove(self, cluster: ClusterRecord) -> None:
        """Forget a cluster."""
        self._clusters.pop(cluster.name, None)

    def find(self, name: str) -> ClusterRecord | None:
        """Return the cluster of that full name, or None."""
        return self._clusters.get(name)

    def get(self, name: str) -> ClusterRecord:
        """Return the cluster; refuse as GKE does if there is none."""
        found = self._clusters.get(name)
        if found is None:
            raise not_found(f"Not found: {name}.", domain="container.googleapis.com")
        return found

    def pool(self, name: str) -> tuple[ClusterRecord, PoolRecord]:
        """Return a node pool and its cluster by the pool's full name."""
        cluster_name, _, pool_name = name.partition("/nodePools/")
        cluster = self.get(cluster_name)
        if pool_name not in cluster.pools:
            raise not_found(f"Not found: {name}.", domain="container.googleapis.com")
        return cluster, cluster.pools[pool_name]

    def by_id(self, cluster_id: str) -> ClusterRecord | None:
        """Return the cluster that the Kubernetes simulator knows by this id."""
        return next((cluster for cluster in self._clusters.values() if cluster.id == cluster_id), None)

    def of(self, project: str, location: str = "-") -> list[ClusterRecord]:
        """Return the clusters of a project, in one location or (`-`) in all of them."""
        return [
            cluster
            for cluster in self._clusters.values()
            if cluster.project == project and location in ("-", cluster.location)
        ]

    def clear(self) -> None:
        """Forget every cluster."""
        self._clusters.clear()
