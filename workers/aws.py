"""The AWS worker's activities, wired: AWS itself, and the Kubernetes clusters in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from activities.aws import template
from activities.aws.cloud import AwsCloud
from activities.aws.settings import AwsSettings
from activities.kubernetes.manifests.aws import AwsManifests
from activities.kubernetes.server import KubernetesServer
from activities.kubernetes.settings import KubernetesSettings
from domain.account import AccountAccess
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
            grace=settings.grace,
            access_grace=min(settings.grace, timedelta(minutes=1)),
            public_proxy=settings.public_proxy,
            public_ca_file=str(settings.public_ca_file) if settings.public_ca_file else None,
        ),
    )
    return [*cloud.activities(), *server.activities()]


def rendered_template(access: AccountAccess, regions: Sequence[str], form: str, settings: WorkerSettings) -> str:
    """Return the CloudFormation template of an account as `json` or `yaml`, or its permissions as a `table`.

    Raises:
        ValueError: The settings do not say as whom we act, so no role could trust us.
    """
    if not settings.aws_principal:
        raise ValueError(
            "BYOC_AWS_PRINCIPAL is not set: the customer's roles must name the ARN that the workers run as, "
            "such as arn:aws:iam::111122223333:role/byoc-control-plane"
        )
    needs = aws_cloud(settings).needs()
    if form == "table":
        return template.as_table(template.permissions(needs, access, regions))
    document = template.template(access, regions, settings.aws_principal, needs)
    return template.as_yaml(document) if form == "yaml" else template.as_json(document)
