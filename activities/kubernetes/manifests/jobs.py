"""The jobs that take a backup, prove one by restoring it, migrate the store's schema, and try a new node."""

from __future__ import annotations

import hashlib
import re

from activities.kubernetes.manifests import pods
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.foundation import SERVICES_PRIORITY, STORAGE_CLASS_NAME
from activities.kubernetes.manifests.identity import (
    BACKUP,
    JOB_LABEL,
    MIGRATION,
    POOL_LABEL,
    RESTORE,
    RESTORE_ACCOUNT,
    RESTORE_NAMESPACE,
    SERVER_NAMESPACE,
    VALIDATION,
    canary_of,
    labels,
)
from activities.kubernetes.manifests.topology import address
from activities.kubernetes.objects import JOB, Object
from domain.deployment import Site
from domain.facts import Backup, Bucket
from domain.release import Release
from domain.shape import Component, PoolName
from domain.upgrade import MigrationPhase

JOB_CPU_MILLIS = 250
JOB_MEMORY_MIB = 512
_LONGEST_NAME = 50
"""Of a job: its pods' names have 63 characters and end in a suffix of their own."""
_TRIES = 3
_LONGEST_SECONDS = 24 * 3600
_GIB = 2**30
POOLS_FIRST = {PoolName.STORE: Component.STORE, PoolName.SERVICES: Component.API}
"""As which component a job acts that tries a node of the pool."""


def backup_job_name(name: str) -> str:
    """Return the name of the job that takes the backup of that name."""
    return _job_name(BACKUP, name)


def backup_key(name: str) -> str:
    """Return the key of the backup of that name in the deployment's bucket."""
    return f"backups/{name}"


def backup_job(site: Site, release: Release, bucket: Bucket, name: str, cloud: CloudManifests) -> Object:
    """Return the job that writes the store's content to the bucket and says size, checksum and number of records."""
    arguments = ["backup", "--bucket", bucket.name, "--key", backup_key(name)]
    return _job(
        site,
        release,
        namespace=SERVER_NAMESPACE,
        name=backup_job_name(name),
        kind=BACKUP,
        account=str(Component.STORE),
        cloud=cloud,
        arguments=arguments,
        variables={"STORE_ADDRESS": address(Component.STORE)},
        scratch=pods.scratch_volume(),
    )


def restore_job(site: Site, release: Release, backup: Backup, cloud: CloudManifests) -> Object:
    """Return the job that reads the backup into an empty store of its own and says what it found in it."""
    arguments = ["restore", "--bucket", backup.bucket, "--key", backup.key, "--sha256", backup.sha256]
    return _job(
        site,
        release,
        namespace=RESTORE_NAMESPACE,
        name=_job_name(RESTORE, backup.key.rpartition("/")[2]),
        kind=RESTORE,
        account=RESTORE_ACCOUNT,
        cloud=cloud,
        arguments=arguments,
        variables={},
        scratch=_restored_volume(site, backup),
    )


def migration_job(site: Site, release: Release, phase: MigrationPhase, cloud: CloudManifests) -> Object:
    """Return the job that does one phase of the migration to the schema of `release`."""
    return _job(
        site,
        release,
        namespace=SERVER_NAMESPACE,
        name=_job_name(MIGRATION, f"{phase}-{release.version}"),
        kind=MIGRATION,
        account=str(Component.STORE),
        cloud=cloud,
        arguments=["migrate", str(phase), "--epoch", str(release.schema_epoch)],
        variables={"STORE_ADDRESS": address(Component.STORE)},
        scratch=pods.scratch_volume(),
    )


def validation_job(site: Site, release: Release, pool: PoolName, node: str, cloud: CloudManifests) -> Object:
    """Return the job that runs the store's image on the canary node of a pool, and nowhere else."""
    job = _job(
        site,
        release,
        namespace=SERVER_NAMESPACE,
        name=_job_name(VALIDATION, node),
        kind=VALIDATION,
        account=str(POOLS_FIRST[pool]),
        cloud=cloud,
        arguments=["try-machine"],
        variables={},
        scratch=pods.scratch_volume(),
    )
    spec = job["spec"]["template"]["spec"]
    spec["nodeSelector"] = {POOL_LABEL: canary_of(pool)}
    spec["tolerations"] = [{"key": POOL_LABEL, "operator": "Exists"}]
    return job


def _job_name(kind: str, name: str) -> str:
    """Return `backup-<name>`, made a valid name of Kubernetes; different names stay different."""
    plain = f"{kind}-{name}"
    valid = re.sub(r"[^a-z0-9-]+", "-", plain.lower())[:_LONGEST_NAME].strip("-")
    if valid == plain:
        return plain
    return f"{valid[: _LONGEST_NAME - 9]}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def _restored_volume(site: Site, backup: Backup) -> Object:
    """Return an encrypted volume with room for what is restored, which goes with its pod."""
    gib = 1 + 2 * -(-backup.size_bytes // _GIB)
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": STORAGE_CLASS_NAME,
        "resources": {"requests": {"storage": f"{gib}Gi"}},
    }
    template = {"metadata": {"labels": labels(site, RESTORE)}, "spec": claim}
    return {"name": pods.SCRATCH, "ephemeral": {"volumeClaimTemplate": template}}


def _job(
    site: Site,
    release: Release,
    *,
    namespace: str,
    name: str,
    kind: str,
    account: str,
    cloud: CloudManifests,
    arguments: list[str],
    variables: dict[str, str],
    scratch: Object,
) -> Object:
    marks = {**labels(site, kind, version=release.version), JOB_LABEL: name}
    container: Object = {
        "name": kind,
        "image": release.components[Component.STORE],
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "env": pods.environment(SERVER_RELEASE=release.version, **variables),
        "resources": pods.resources(JOB_CPU_MILLIS, JOB_MEMORY_MIB),
        "volumeMounts": [pods.scratch_mount()],
        **pods.confined_container(),
    }
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {"name": name, "namespace": namespace, "labels": marks},
        "spec": {
            "backoffLimit": _TRIES - 1,
            "activeDeadlineSeconds": _LONGEST_SECONDS,
            "template": {
                "metadata": {"labels": {**marks, **cloud.identity_labels(account)}},
                "spec": {
                    "serviceAccountName": account,
                    "priorityClassName": SERVICES_PRIORITY,
                    "restartPolicy": "Never",
                    **pods.confined_pod(),
                    **pods.on_pool(PoolName.SERVICES),
                    "containers": [container],
                    "volumes": [scratch],
                },
            },
        },
    }
