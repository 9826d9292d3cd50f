"""Backups taken by a job beside the store, and the proof that one can be restored, in a namespace of its own."""

from __future__ import annotations

import json
from datetime import datetime

import structlog
from pydantic import BaseModel, Field, ValidationError

from activities.contracts import BackupRequest, RestoreRequest
from activities.failures import failure, not_ready
from activities.kubernetes.access import ClusterApi
from activities.kubernetes.apply import bring_about, bring_in_line, check_ours, is_ours, remove
from activities.kubernetes.manifests import jobs
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.foundation import restore_foundation
from activities.kubernetes.manifests.identity import (
    BACKUP,
    JOB_LABEL,
    NAME,
    RESTORE_NAMESPACE,
    SERVER_NAMESPACE,
    labels,
    ours,
)
from activities.kubernetes.objects import (
    CONFIG_MAP,
    JOB,
    NAMESPACE,
    POD,
    Object,
    Reference,
    annotations_of,
    is_terminating,
    name_of,
    reference_to,
)
from activities.kubernetes.patience import still_waiting
from activities.kubernetes.rollout import State, job_rollout, termination_message
from activities.kubernetes.settings import KubernetesSettings
from domain.deployment import Site
from domain.facts import Backup, RestoreProof
from domain.failure import FailureClass, FailureDetail

_BACKUP_ANNOTATION = "byoc.dev/backup"
_OPERATION_ANNOTATION = "byoc.dev/operation"
_RECORD = Reference(CONFIG_MAP, "restore-proof", SERVER_NAMESPACE)
"""The newest proof. It outlives the namespace in which it was made, so that an attempt which finds that gone can tell
"proven" from "not begun"."""

_log = structlog.get_logger(__name__)


class _JobResult(BaseModel):
    """What the store's programs write to their termination log."""

    sha256: str
    records: int
    size_bytes: int = Field(default=0, alias="bytes")


class _Finished(BaseModel):
    """A job that is complete."""

    result: _JobResult
    started_at: datetime
    ended_at: datetime


class _JobFailed(Exception):  # noqa: N818 - it names what happened, as style has it
    """A job has used up its tries, or its result is not the one that was asked for."""

    def __init__(self, detail: FailureDetail) -> None:
        super().__init__(detail.message)
        self.detail = detail


def back_up(api: ClusterApi, request: BackupRequest, cloud: CloudManifests, settings: KubernetesSettings) -> Backup:
    """Return the backup of that name once its job is complete; earlier backups' jobs are gone then.

    Raises:
        ApplicationError: NOT_READY while the job runs; when it has failed PERMISSION if it may not write or not use the
            key, else UNKNOWN; another attempt begins anew.
    """
    job = jobs.backup_job(api.site, request.release, request.bucket, request.name, cloud)
    try:
        finished = _run(api, job, settings)
    except _JobFailed as error:
        remove(api, reference_to(job))
        raise failure(error.detail) from error
    for earlier in api.list(JOB, namespace=SERVER_NAMESPACE, selector=f"{ours(api.site)},{NAME}={BACKUP}"):
        if name_of(earlier) != name_of(job) and job_rollout(earlier, ()).state is not State.UNDER_WAY:
            api.delete(reference_to(earlier), uid=earlier["metadata"]["uid"])
    return Backup(
        bucket=request.bucket.name,
        key=jobs.backup_key(request.name),
        size_bytes=finished.result.size_bytes,
        sha256=finished.result.sha256,
        records=finished.result.records,
        # The data are those of the start: what was written while the job ran may be missing.
        taken_at=finished.started_at,
    )


def prove_restore(
    api: ClusterApi, request: RestoreRequest, cloud: CloudManifests, settings: KubernetesSettings
) -> RestoreProof:
    """Return the proof once the backup has been restored, compared, and everything made for it is gone.

    Raises:
        ApplicationError: NOT_READY while the job runs or its namespace goes; PERMISSION when it may not read or not use
            the key; UNKNOWN when the restore has failed otherwise or what came back is not what was backed up.
    """
    backup, namespace = request.backup, Reference(NAMESPACE, RESTORE_NAMESPACE)
    found = api.get(namespace)
    if found is not None:
        check_ours(api.site, found, namespace)
    proof = _recorded_proof(api, backup)
    if proof is not None and found is None:
        return proof
    marks = _marks(api.site, backup)
    if found is not None and (proof is not None or is_terminating(found) or not _bears(found, marks)):
        raise _clearing(api, namespace, settings)
    bring_about(api, restore_foundation(api.site, cloud, marks, request.roles))
    try:
        finished = _run(api, jobs.restore_job(api.site, request.release, backup, cloud), settings)
        _compare(backup, finished.result)
    except _JobFailed as error:
        remove(api, namespace)
        raise failure(error.detail) from error
    bring_in_line(api, _record(api.site, backup, finished))
    raise _clearing(api, namespace, settings)


def _run(api: ClusterApi, job: Object, settings: KubernetesSettings) -> _Finished:
    """Return what the job says once it is complete; it is made if it is not there.

    A job that is there is never applied again: its template cannot be changed, and a newer release changes nothing
    about a result that is there.

    Raises:
        _JobFailed: It has used up its tries.
        ApplicationError: NOT_READY while it runs; after the grace, what keeps its pods from running.
    """
    reference = reference_to(job)
    found = api.get(reference)
    if found is None:
        bring_in_line(api, job)
        raise not_ready(f"{reference} has begun", look_again_in=settings.poll_interval)
    check_ours(api.site, found, reference)
    pods = api.list(POD, namespace=reference.namespace, selector=f"{JOB_LABEL}={reference.name}")
    rollout = job_rollout(found, pods)
    if is_terminating(found) or rollout.state is State.UNDER_WAY:
        raise still_waiting(settings, f"{reference}: {rollout.progress}", rollout.problem)
    if rollout.problem is not None:
        raise _JobFailed(rollout.problem.model_copy(update={"resource": str(reference)}))
    said = termination_message(pods)
    try:
        result = _JobResult.model_validate_json(said)
    except ValidationError as error:
        # Also when the pod is gone with its node, and its message with it.
        detail = f"{reference} is complete, but its pod does not say with what result ({said or 'nothing'})"
        raise _JobFailed(_unknown(detail, "NoResult", str(reference))) from error
    status = found["status"]
    return _Finished(result=result, started_at=status["startTime"], ended_at=status["completionTime"])


def _compare(backup: Backup, restored: _JobResult) -> None:
    """Raise _JobFailed unless what was restored is what was backed up."""
    if (restored.sha256, restored.records) == (backup.sha256, backup.records):
        return
    message = (
        f"the backup {backup.key} held {backup.records} records with checksum {backup.sha256}; "
        f"restored were {restored.records} with {restored.sha256}"
    )
    _log.error("a restored backup differs", key=backup.key)
    raise _JobFailed(_unknown(message, "RestoreDiffers", backup.key))


def _clearing(api: ClusterApi, namespace: Reference, settings: KubernetesSettings) -> Exception:
    """Ask for the deletion of the restore namespace, and return the error that means "look again"."""
    found = api.get(namespace)
    if found is not None and not is_terminating(found):
        api.delete(namespace, uid=found["metadata"]["uid"])
    return not_ready(f"{namespace} is going", look_again_in=settings.poll_interval)


def _marks(site: Site, backup: Backup) -> dict[str, str]:
    """Return the annotations that tell one proof from another: of this backup, for this operation."""
    return {_BACKUP_ANNOTATION: f"{backup.key}@{backup.sha256}", _OPERATION_ANNOTATION: site.operation}


def _bears(obj: Object, marks: dict[str, str]) -> bool:
    return marks.items() <= annotations_of(obj).items()


def _record(site: Site, backup: Backup, finished: _Finished) -> Object:
    proof = RestoreProof(
        key=backup.key,
        records=finished.result.records,
        sha256=finished.result.sha256,
        seconds=(finished.ended_at - finished.started_at).total_seconds(),
        proven_at=finished.ended_at,
    )
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": {
            "name": _RECORD.name,
            "namespace": _RECORD.namespace,
            "labels": labels(site, _RECORD.name),
            "annotations": _marks(site, backup),
        },
        "data": {"proof.json": proof.model_dump_json()},
    }


def _recorded_proof(api: ClusterApi, backup: Backup) -> RestoreProof | None:
    """Return the proof that an earlier attempt of this very step recorded, if one did."""
    found = api.get(_RECORD)
    if found is None or not is_ours(api.site, found) or not _bears(found, _marks(api.site, backup)):
        return None
    return RestoreProof.model_validate(json.loads(found["data"]["proof.json"]))


def _unknown(message: str, code: str, resource: str) -> FailureDetail:
    return FailureDetail(failure=FailureClass.UNKNOWN, message=message, code=code, resource=resource)
