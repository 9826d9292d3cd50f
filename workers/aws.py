"""The AWS worker's activities, wired: AWS itself, and the Kubernetes clusters in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from activities.aws import template
from activities.aws.cloud import AwsCloud
from activities.aws.settings import AwsSettings
from activities.kubernetes.manifests.aws import AwsManifests
from activities.kubernetes.server import KubernetesServer
from activities.kubernetes.settings import KubernetesSettings
from activities.needs import Need
from domain.account import AccountAccess
from domain.permission import PermissionLine, PermissionTable
from workers.assembly import WORKFLOWS
from workers.permissions import as_markdown, occurrences, uses
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
    """Return the CloudFormation template of an account as `json` or `yaml`, or its permissions.

    These are a `table` in Markdown for people, or the same as JSON, `table-json`.

    Raises:
        ValueError: The settings do not say as whom we act, so no role could trust us.
    """
    if not settings.aws_principal:
        raise ValueError(
            "BYOC_AWS_PRINCIPAL is not set: the customer's roles must name the ARN that the workers run as, "
            "such as arn:aws:iam::111122223333:role/byoc-control-plane"
        )
    needs = aws_cloud(settings).needs()
    if form.startswith("table"):
        permissions = permission_table(access, regions, settings.aws_principal, needs)
        return as_markdown(permissions) if form == "table" else permissions.model_dump_json(by_alias=True) + "\n"
    document = template.template(access, regions, settings.aws_principal, needs)
    return template.as_yaml(document) if form == "yaml" else template.as_json(document)


def permission_table(
    access: AccountAccess, regions: Sequence[str], principal: str, needs: Iterable[Need]
) -> PermissionTable:
    """Return every permission of the template, with the steps and lifecycles that need it."""
    where = occurrences(WORKFLOWS)
    return PermissionTable(
        access=access,
        regions=tuple(sorted(regions)),
        principal=principal,
        protections=template.protections(access, regions, principal),
        lines=tuple(
            PermissionLine(
                action=permission.action,
                purpose=permission.purpose,
                resources=permission.scope.resources,
                conditions=tuple(str(condition) for condition in permission.scope.conditions),
                uses=uses([(need.activity, need.why) for need in permission.needs], where),
            )
            for permission in template.permissions(needs, access, regions)
        ),
    )
