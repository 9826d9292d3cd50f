"""The AWS worker's activities, wired: AWS itself, and the Kubernetes clusters in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from activities.aws.cloud import AwsCloud
from activities.aws.settings import AwsSettings
from activities.kubernetes.manifests.aws import AwsManifests
from activities.kubernetes.server import KubernetesServer
from activities.kubernetes.settings import KubernetesSettings
from workers.settings import WorkerSettings


def aws_cloud(settings: WorkerSettings) -> AwsCloud:
    """Return the AWS side. The worker's own identity comes from the SDK's usual chain (environment, pod, machine)."""
    return AwsCloud(
        AwsSettings(
            principal=settings.aws_principal,
            egress_cidrs=settings.egress_cidrs,
            default_region=settings.aws_region,
            poll_interval=settings.poll_interval,
            consistency_wait=settings.consistency_wait,
            endpoint_url=settings.aws_endpoint_url,
        )
    )


def activities(settings: WorkerSettings) -> list[Callable[..., Any]]:
    """Return every activity that a worker of the queue `cloud-aws` registers."""
    cloud = aws_cloud(settings)
    server = KubernetesServer(
        cloud.cluster_credentials,
        cloud.cluster_credentials,
        AwsManifests(),
        KubernetesSettings(
            poll_interval=settings.poll_interval,
            public_proxy=settings.public_proxy,
            public_ca_file=str(settings.public_ca_file) if settings.public_ca_file else None,
        ),
    )
    return [*cloud.activities(), *server.activities()]
