"""The Azure worker's activities, wired: its APIs, and the clusters of AKS; and what its customers apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from activities.azure import permissions, template
from activities.azure.bicep import as_bicep
from activities.azure.cloud import AzureCloud
from activities.azure.settings import AzureSettings
from activities.kubernetes.manifests.azure import AzureManifests
from activities.needs import Need
from domain.account import AccountAccess
from domain.clouds import Purpose
from domain.permission import PermissionTable, TemplateForm
from workers.assembly import WORKFLOWS
from workers.clusters import cluster_activities
from workers.permissions import rendered, table_of
from workers.settings import WorkerSettings


def azure_cloud(settings: WorkerSettings) -> AzureCloud:
    """Return the Azure side. Files with secrets are read when they are needed, so the template is made without them."""
    authority = {"acme_directory_url": settings.azure_acme_directory_url} if settings.azure_acme_directory_url else {}
    return AzureCloud(
        AzureSettings(
            applications=settings.azure_applications,
            credentials_file=_path(settings.azure_credentials_file) or "",
            egress_cidrs=settings.egress_cidrs,
            poll_interval=settings.poll_interval,
            consistency_wait=settings.consistency_wait,
            endpoint_url=settings.azure_endpoint_url,
            acme_account_key_file=_path(settings.azure_acme_account_key_file) or "",
            acme_ca_file=_path(settings.azure_acme_ca_file),
            **authority,
        )
    )


def declared_needs(settings: WorkerSettings) -> tuple[Need, ...]:
    """Return the permissions that these activities declare."""
    return azure_cloud(settings).needs()


def activities(settings: WorkerSettings) -> list[Callable[..., Any]]:
    """Return every activity that a worker of the queue `cloud-azure` registers."""
    cloud = azure_cloud(settings)
    return [*cloud.activities(), *cluster_activities(settings, cloud.cluster_credentials, AzureManifests())]


def rendered_template(
    access: AccountAccess, regions: Sequence[str], form: TemplateForm, settings: WorkerSettings
) -> str:
    """Return what lets us into a subscription, as Bicep or as a document, or its permissions as a table.

    Raises:
        ValueError: The settings do not say as whom we act, so nobody could be let in.
    """
    if not settings.azure_applications:
        raise ValueError(
            "BYOC_AZURE_APPLICATIONS is not set: the customer's roles are given to the vendor's applications, such as "
            "observe=CLIENT-ID,operate=CLIENT-ID,delete=CLIENT-ID"
        )
    needs, applications = declared_needs(settings), settings.azure_applications
    if form in (TemplateForm.TABLE, TemplateForm.TABLE_JSON):
        return rendered(permission_table(access, regions, applications, needs), form)
    document = template.template(access, applications, needs)
    return as_bicep(document, access, regions) if form is TemplateForm.BICEP else template.as_json(document)


def permission_table(
    access: AccountAccess, regions: Sequence[str], applications: Mapping[Purpose, str], needs: Iterable[Need]
) -> PermissionTable:
    """Return every permission of the template, with the steps and lifecycles that need it."""
    return table_of(
        permissions.permissions(needs, access),
        WORKFLOWS,
        access,
        regions,
        principal=", ".join(f"{purpose}: {applications[purpose]}" for purpose in Purpose),
        protections=template.protections(access, regions, applications),
    )


def _path(file: object) -> str | None:
    return str(file) if file else None
