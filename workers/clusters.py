"""What a worker does in the Kubernetes clusters of its cloud: everywhere the same, but for what each cloud decides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from activities.cloud import ClusterAccess
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.server import KubernetesServer
from activities.kubernetes.settings import KubernetesSettings
from workers.settings import WorkerSettings


def cluster_activities(
    settings: WorkerSettings, entrance: ClusterAccess, manifests: CloudManifests
) -> list[Callable[..., Any]]:
    """Return the activities that a cloud's worker registers beside those of the cloud itself."""
    server = KubernetesServer(
        entrance,
        entrance,
        manifests,
        KubernetesSettings(
            poll_interval=settings.poll_interval,
            grace=settings.grace,
            access_grace=min(settings.grace, timedelta(minutes=1)),
            public_proxy=settings.public_proxy,
            public_ca_file=str(settings.public_ca_file) if settings.public_ca_file else None,
        ),
    )
    return server.activities()
