"""GKE for one deployment: full names, looking, and its rule of one operation a cluster at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from google.api_core.exceptions import FailedPrecondition
from google.cloud import container_v1

from activities.gcp.compute import if_exists
from activities.gcp.ownership import is_ours, require_ours
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name

UNDER_WAY = frozenset({"PROVISIONING", "RECONCILING", "STOPPING"})
"""States of clusters and node pools that GKE is working on."""

FIRST_POOL = "first"
"""The pool with which a cluster has to be made, as GKE makes none without nodes; it goes before the cluster is used."""

_BUSY = "CLUSTER_ALREADY_HAS_OPERATION"


def location_name(site: Site) -> str:
    """Return the full name of the region, in which a regional cluster lives."""
    return f"projects/{site.cloud_account_id}/locations/{site.region}"


def cluster_name(site: Site) -> str:
    """Return the full name of the deployment's cluster."""
    return f"{location_name(site)}/clusters/{base_name(site)}"


def pool_path(site: Site, pool: str) -> str:
    """Return the full name of a node pool of the deployment's cluster."""
    return f"{cluster_name(site)}/nodePools/{pool}"


def find_cluster(gke: container_v1.ClusterManagerClient, site: Site) -> container_v1.Cluster | None:
    """Return the deployment's cluster with its node pools, None if there is none.

    Raises:
        ApplicationError: NOT_OURS, if somebody else's cluster has its name.
    """
    found = if_exists(lambda: gke.get_cluster(name=cluster_name(site)))
    if found is not None:
        require_ours(f"GKE cluster {base_name(site)}", site, ours=is_ours(found.resource_labels, site))
    return found


def is_there(gke: container_v1.ClusterManagerClient, site: Site) -> bool:
    """Return whether the deployment has a cluster, in whatever state; somebody else's of its name is none."""
    found = if_exists(lambda: gke.get_cluster(name=cluster_name(site)))
    return found is not None and is_ours(found.resource_labels, site)


def as_facts(cluster: container_v1.Cluster) -> Cluster:
    """Return the facts of a cluster that has been running; of its version the minor one, as it was ordered."""
    return Cluster(
        name=cluster.name,
        endpoint=f"https://{cluster.endpoint}",
        certificate_authority=cluster.master_auth.cluster_ca_certificate,
        version=minor_of(cluster.current_master_version),
        oidc_issuer=cluster.self_link,
    )


def minor_of(version: str) -> str:
    """Return `1.36` of `1.36.0-gke.1100000`."""
    return ".".join(version.split(".")[:2])


def minors_between(older: str, newer: str) -> int:
    """Return by how many minor versions `newer` is ahead of `older`; negative if it is behind."""
    (first, second), (other_first, other_second) = (
        tuple(int(part) for part in minor_of(version).split(".")) for version in (older, newer)
    )
    return (other_first - first) * 100 + other_second - second


@contextmanager
def one_operation_at_a_time(look_again: Callable[[str], Exception]) -> Iterator[None]:
    """Let a call wait, as the error of `look_again`, that GKE refuses because another one changes the cluster."""
    try:
        yield
    except FailedPrecondition as error:
        if error.reason == _BUSY or "incompatible operation" in str(error.message):
            raise look_again("GKE is busy with another change of the cluster") from error
        raise
