"""The AWS worker's activities, wired: AWS itself, and the Kubernetes clusters in it; and what its customers apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from activities.aws import template
from activities.aws.cloud import AwsCloud
from activities.aws.settings import AwsSettings
from activities.kubernetes.manifests.aws import AwsManifests
from activities.needs import Need
from domain.account import AccountAccess
from domain.permission import PermissionTable, TemplateForm
from workers.assembly import WORKFLOWS
from workers.clusters import cluster_activities
from workers.permissions import rendered, table_of
from workers.settings import WorkerSettings

IN_REGIONS = "aws:RequestedRegion = "
"""Begins the condition that nearly every permission has."""


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


def declared_needs(settings: WorkerSettings) -> tuple[Need, ...]:
    """Return the permissions that these activities declare."""
    return aws_cloud(settings).needs()


def activities(settings: WorkerSettings) -> list[Callable[..., Any]]:
    """Return every activity that a worker of the queue `cloud-aws` registers."""
    cloud = aws_cloud(settings)
    return [*cloud.activities(), *cluster_activities(settings, cloud.cluster_credentials, AwsManifests())]


def rendered_template(
    access: AccountAccess, regions: Sequence[str], form: TemplateForm, settings: WorkerSettings
) -> str:
    """Return the CloudFormation template of an account, or its permissions as a table.

    Raises:
        ValueError: The settings do not say as whom we act, so no role could trust us.
    """
    if not settings.aws_principal:
        raise ValueError(
            "BYOC_AWS_PRINCIPAL is not set: the customer's roles must name the ARN that the workers run as, "
            "such as arn:aws:iam::111122223333:role/byoc-control-plane"
        )
    needs = declared_needs(settings)
    if form in (TemplateForm.TABLE, TemplateForm.TABLE_JSON):
        table = permission_table(access, regions, settings.aws_principal, needs)
        return rendered(table, form, in_regions=IN_REGIONS)
    document = template.template(access, regions, settings.aws_principal, needs)
    return template.as_yaml(document) if form is TemplateForm.YAML else template.as_json(document)


def permission_table(
    access: AccountAccess, regions: Sequence[str], principal: str, needs: Iterable[Need]
) -> PermissionTable:
    """Return every permission of the template, with the steps and lifecycles that need it."""
    return table_of(
        template.permissions(needs, access, regions),
        WORKFLOWS,
        access,
        regions,
        principal=principal,
        protections=template.protections(access, regions, principal),
    )
