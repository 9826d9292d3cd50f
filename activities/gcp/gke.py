"""GKE for one deployment: its names, its states, and one operation at a time for each cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from google.api_core.exceptions import AlreadyExists, FailedPrecondition
from google.cloud import container_v1
from temporalio.exceptions import ApplicationError

from activities.failures import failure, not_ready
from activities.gcp.compute import if_exists
from activities.gcp.errors import described, reason_of
from activities.gcp.settings import GcpSettings
from domain.deployment import Site
from domain.facts import Cluster
from domain.failure import FailureClass, FailureDetail
from domain.naming import base_name

Gke: TypeAlias = container_v1.ClusterManagerClient
State: TypeAlias = container_v1.Cluster.Status
PoolState: TypeAlias = container_v1.NodePool.Status

UNDER_WAY = (State.PROVISIONING, State.RECONCILING, State.STOPPING)
_BUSY = ("CLUSTER_ALREADY_HAS_OPERATION", "incompatible operation")


def location_name(site: Site) -> str:
    """Return the full name of the region."""
    return f"projects/{site.cloud_account_id}/locations/{site.region}"


def cluster_name(site: Site) -> str:
    """Return the full name of the deployment's cluster."""
    return f"{location_name(site)}/clusters/{base_name(site)}"


def find_cluster(gke: Gke, site: Site) -> container_v1.Cluster | None:
    """Return the deployment's cluster as GKE has it, or None."""
    return if_exists(lambda: gke.get_cluster(name=cluster_name(site)))


def as_facts(cluster: container_v1.Cluster) -> Cluster:
    """Return how a running cluster is reached."""
    return Cluster(
        name=cluster.name,
        endpoint=f"https://{cluster.endpoint}",
        certificate_authority=cluster.master_auth.cluster_ca_certificate,
        version=minor_of(cluster.current_master_version),
        oidc_issuer=cluster.self_link,
    )


def minor_of(version: str) -> str:
    """Return `1.35` of `1.35.2-gke.1300000`."""
    return ".".join(version.split(".")[:2])


@contextmanager
def one_at_a_time(settings: GcpSettings, what: str) -> Iterator[None]:
    """Look again later where GKE still works on something else of the cluster, or where it made the thing already."""
    try:
        yield
    except AlreadyExists as error:
        raise not_ready(f"GKE is making {what}", look_again_in=settings.poll_interval) from error
    except FailedPrecondition as error:
        if reason_of(error) not in _BUSY and not any(words in str(error.message) for words in _BUSY):
            raise
        message = f"GKE works on something else before {what}: {error.message}"
        raise not_ready(message, look_again_in=settings.poll_interval) from error


def health_failure(conditions: Sequence[container_v1.StatusCondition], remark: str, what: str) -> ApplicationError:
    """Return the failure for what GKE says of a resource that it could not make, or that does not work.

    The first condition that has a class decides.
    """
    details = [
        described(_code_of(condition), f"GKE could not make {what}: {condition.message}", resource=what)
        for condition in conditions
    ]
    known = [detail for detail in details if detail.failure is not FailureClass.UNKNOWN]
    unexplained = FailureDetail(
        failure=FailureClass.UNKNOWN,
        message=f"GKE could not make {what}: {remark or 'it gives no reason'}",
        resource=what,
    )
    return failure(next(iter([*known, *details]), unexplained))


def _code_of(condition: container_v1.StatusCondition) -> str:
    """Return the condition's code; the newer, canonical one says more than UNKNOWN."""
    if condition.code != container_v1.StatusCondition.Code.UNKNOWN:
        return str(condition.code.name)
    return str(condition.canonical_code.name)
