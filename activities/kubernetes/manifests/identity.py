"""Names, labels and selectors of everything that we put into a cluster."""

from __future__ import annotations

from domain.deployment import Site
from domain.naming import PREFIX
from domain.shape import PoolName

SERVER_NAMESPACE = "byoc-server"
"""Where the server's five components live. A cluster holds one deployment, so the name needs nothing of it."""
RESTORE_NAMESPACE = "byoc-restore"
"""Where a restore is proven. Its name is fixed because clouds bind a workload identity to a namespace's exact name; it
exists only while a proof runs."""
RESTORE_ACCOUNT = "restore"
"""Service account, in the restore namespace, that may read the backup bucket and nothing else."""
BACKUP = "backup"
"""Name of the pods that take a backup."""
RESTORE = "restore"
"""Name of the pods that restore one."""

MIGRATION = "migration"
"""Name of the pods that migrate the store's schema."""
VALIDATION = "validation"
"""Name of the pods that try a new node."""

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
VERSION = "app.kubernetes.io/version"
MANAGED_BY = "app.kubernetes.io/managed-by"
DEPLOYMENT_LABEL = "byoc.dev/deployment"
POOL_LABEL = "byoc.dev/pool"
"""Label of nodes, and key of the store pool's taint and of a canary's. Its value is the pool's name, on a canary
`canary_of` the pool."""
PUBLIC_LABEL = "byoc.dev/public"
"""On pods that the public load balancer leads to."""
JOB_LABEL = "byoc.dev/job"
"""On the pods of a job: the job's name."""


def canary_of(pool: PoolName) -> str:
    """Return the value of pool label and taint (NoSchedule) of the machine that tries a new version for a pool.

    Nothing of ours tolerates that taint but the job by which the machine is validated.
    """
    return f"canary-{pool}"


def labels(site: Site, name: str, *, version: str = "") -> dict[str, str]:
    """Return the labels of an object; `version` is the release's, for what changes with it."""
    found = {
        NAME: str(name),
        INSTANCE: site.deployment,
        MANAGED_BY: PREFIX,
        "app.kubernetes.io/part-of": "byoc-server",
        DEPLOYMENT_LABEL: site.deployment,
    }
    if version:
        found[VERSION] = version
    return found


def selector(site: Site, name: str) -> dict[str, str]:
    """Return the labels that select the pods of that name: a part of `labels` that never changes."""
    return {NAME: str(name), INSTANCE: site.deployment}


def ours(site: Site) -> str:
    """Return the label selector of everything that we made for this deployment."""
    return f"{MANAGED_BY}={PREFIX},{DEPLOYMENT_LABEL}={site.deployment}"
