"""Jobs that are run once, to their end: migrations of the store's schema, and the first job on a new node."""

from __future__ import annotations

from activities.failures import failure, not_ready, refused
from activities.kubernetes.access import ClusterApi
from activities.kubernetes.apply import bring_in_line, check_ours, remove
from activities.kubernetes.manifests import jobs
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.components import RELEASE_INFORMATION
from activities.kubernetes.manifests.identity import (
    JOB_LABEL,
    MIGRATION,
    NAME,
    POOL_LABEL,
    SERVER_NAMESPACE,
    canary_of,
    ours,
)
from activities.kubernetes.objects import (
    CONFIG_MAP,
    JOB,
    NODE,
    POD,
    Object,
    Reference,
    annotations_of,
    is_ready,
    is_terminating,
    name_of,
    reference_to,
)
from activities.kubernetes.patience import still_waiting
from activities.kubernetes.rollout import Rollout, State, job_rollout
from activities.kubernetes.settings import KubernetesSettings
from activities.patience import is_young
from domain.failure import FailureClass
from domain.release import Release
from domain.shape import Component, PoolName
from domain.upgrade import Check, MigrationPhase

_OPERATION = "byoc.dev/operation"
"""Annotation of a job: for which operation it ran. Another one does not take its word, and runs it again."""


def migrate(
    api: ClusterApi, release: Release, phase: MigrationPhase, cloud: CloudManifests, settings: KubernetesSettings
) -> None:
    """Return once the phase is done; the job stays, so that it is known to be, and those of earlier ones go.

    Raises:
        ApplicationError: NOT_READY while the job runs; when it has failed UNKNOWN with what it said (another attempt
            begins anew); after the grace, what keeps its pods from running.
    """
    job = _of_operation(api, jobs.migration_job(api.site, release, phase, cloud))
    rollout = _run(api, job, settings)
    if rollout.problem is not None and rollout.state is State.UNDER_WAY:
        raise still_waiting(settings, f"{reference_to(job)}: {rollout.progress}", rollout.problem)
    if rollout.problem is not None:
        remove(api, reference_to(job))
        raise failure(rollout.problem.model_copy(update={"resource": str(reference_to(job))}))
    for earlier in api.list(JOB, namespace=SERVER_NAMESPACE, selector=f"{ours(api.site)},{NAME}={MIGRATION}"):
        if name_of(earlier) != name_of(job) and job_rollout(earlier, ()).state is not State.UNDER_WAY:
            api.delete(reference_to(earlier), uid=earlier["metadata"]["uid"])


def validate_node(
    api: ClusterApi, pool: PoolName, kubernetes: str, cloud: CloudManifests, settings: KubernetesSettings
) -> Check:
    """Return whether the pool's canary node is ready at the version, its daemons are, and a job has run on it.

    The job is gone afterwards. What is not so yet is waited for, for as long as the step is young.

    Raises:
        ApplicationError: NOT_READY while it is waited for, or the job runs.
    """
    name = f"node-{pool}"
    nodes = api.list(NODE, selector=f"{POOL_LABEL}={canary_of(pool)}")
    complaint = _complaint(api, nodes, kubernetes) if nodes else f"pool {pool} has no canary node"
    if complaint:
        if is_young(settings.grace):
            raise not_ready(complaint, look_again_in=settings.poll_interval)
        return Check(name=name, passed=False, evidence=complaint)
    node = name_of(nodes[0])
    job = _of_operation(api, jobs.validation_job(api.site, _running(api), pool, node, cloud))
    rollout = _run(api, job, settings)
    if rollout.problem is not None and rollout.state is State.UNDER_WAY and is_young(settings.grace):
        raise not_ready(f"{reference_to(job)}: {rollout.problem.message}", look_again_in=settings.poll_interval)
    remove(api, reference_to(job))
    if rollout.problem is not None:
        return Check(name=name, passed=False, evidence=f"the job on {node}: {rollout.problem.message}")
    return Check(name=name, passed=True, evidence=f"{node} runs {_version(nodes[0])}, its daemons are ready, a job ran")


def _complaint(api: ClusterApi, nodes: tuple[Object, ...], kubernetes: str) -> str:
    """Return the first thing that is not as it should be about the nodes and their daemons, or nothing."""
    for node in nodes:
        if not is_ready(node):
            return f"{name_of(node)} is not ready"
        if not f"{_version(node)}.".startswith(f"v{kubernetes}."):
            return f"{name_of(node)} runs {_version(node)} and not {kubernetes}"
        for pod in api.list(POD, fields=f"spec.nodeName={name_of(node)}"):
            owners = pod["metadata"].get("ownerReferences") or ()
            if any(owner["kind"] == "DaemonSet" for owner in owners) and not is_ready(pod):
                return f"daemon {name_of(pod)} on {name_of(node)} is not ready"
    return ""


def _version(node: Object) -> str:
    return str(((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", ""))


def _running(api: ClusterApi) -> Release:
    """Return the release that runs, as far as a job needs it, from what its components read themselves."""
    found = api.get(Reference(CONFIG_MAP, RELEASE_INFORMATION, SERVER_NAMESPACE))
    data = (found or {}).get("data") or {}
    if f"image.{Component.STORE}" not in data:
        raise refused(FailureClass.CONFIG, "the cluster does not say which release runs", resource=RELEASE_INFORMATION)
    return Release(
        version=data.get("version", ""),
        components={key.removeprefix("image."): image for key, image in data.items() if key.startswith("image.")},
        min_from="",
        kubernetes_minimum="",
        kubernetes_maximum="",
        schema_epoch=int(data.get("schemaEpoch", 0)),
    )


def _of_operation(api: ClusterApi, job: Object) -> Object:
    job["metadata"]["annotations"] = {_OPERATION: api.site.operation}
    return job


def _run(api: ClusterApi, job: Object, settings: KubernetesSettings) -> Rollout:
    """Return how the job stands once it is over or something keeps it from going on; it is made if it is not there.

    One of an earlier operation is taken away first. Raises NOT_READY in the meantime.
    """
    reference = reference_to(job)
    found = api.get(reference)
    if found is None:
        bring_in_line(api, job)
        raise not_ready(f"{reference} has begun", look_again_in=settings.poll_interval)
    check_ours(api.site, found, reference)
    if is_terminating(found) or annotations_of(found).get(_OPERATION) != annotations_of(job)[_OPERATION]:
        remove(api, reference)
        raise not_ready(f"{reference} of an earlier operation is going", look_again_in=settings.poll_interval)
    pods = api.list(POD, namespace=reference.namespace, selector=f"{JOB_LABEL}={reference.name}")
    rollout = job_rollout(found, pods)
    if rollout.state is State.UNDER_WAY and rollout.problem is None:
        raise not_ready(f"{reference}: {rollout.progress}", look_again_in=settings.poll_interval)
    return rollout
