"""The Google Cloud worker's activities, wired: its APIs, and the clusters of GKE; and what its customers apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from activities.gcp import permissions, template
from activities.gcp.cloud import GcpCloud
from activities.gcp.settings import GcpSettings
from activities.kubernetes.manifests.gcp import GcpManifests
from activities.needs import Need
from domain.account import AccountAccess
from domain.permission import PermissionTable, TemplateForm
from workers.assembly import WORKFLOWS
from workers.clusters import cluster_activities
from workers.permissions import rendered, table_of
from workers.settings import WorkerSettings


def gcp_cloud(settings: WorkerSettings) -> GcpCloud:
    """Return the Google Cloud side. Without a key, Google's library finds the identity of the machine or pod."""
    return GcpCloud(
        GcpSettings(
            principal=settings.gcp_principal,
            egress_cidrs=settings.egress_cidrs,
            poll_interval=settings.poll_interval,
            consistency_wait=settings.consistency_wait,
            endpoint_url=settings.gcp_endpoint_url,
            grpc_address=settings.gcp_grpc_address,
            credentials_file=str(settings.gcp_credentials_file) if settings.gcp_credentials_file else None,
        )
    )


def declared_needs(settings: WorkerSettings) -> tuple[Need, ...]:
    """Return the permissions that these activities declare."""
    return gcp_cloud(settings).needs()


def activities(settings: WorkerSettings) -> list[Callable[..., Any]]:
    """Return every activity that a worker of the queue `cloud-gcp` registers."""
    cloud = gcp_cloud(settings)
    return [*cloud.activities(), *cluster_activities(settings, cloud.cluster_credentials, GcpManifests())]


def rendered_template(
    access: AccountAccess, regions: Sequence[str], form: TemplateForm, settings: WorkerSettings
) -> str:
    """Return what lets us into a project, as a script, for Terraform or as a document, or its permissions as a table.

    Raises:
        ValueError: The settings do not say as whom we act, so nobody could be let in.
    """
    if not settings.gcp_principal:
        raise ValueError(
            "BYOC_GCP_PRINCIPAL is not set: the customer's service accounts must name the one that the workers run as, "
            "such as control-plane@byoc-vendor.iam.gserviceaccount.com"
        )
    needs = declared_needs(settings)
    if form in (TemplateForm.TABLE, TemplateForm.TABLE_JSON):
        return rendered(permission_table(access, regions, settings.gcp_principal, needs), form)
    document = template.template(access, regions, settings.gcp_principal, needs)
    match form:
        case TemplateForm.GCLOUD:
            return template.as_gcloud(document, access)
        case TemplateForm.TERRAFORM:
            return template.as_terraform(document, access)
        case _:
            return template.as_json(document)


def permission_table(
    access: AccountAccess, regions: Sequence[str], principal: str, needs: Iterable[Need]
) -> PermissionTable:
    """Return every permission of the template, with the steps and lifecycles that need it."""
    return table_of(
        permissions.permissions(needs, access, regions),
        WORKFLOWS,
        access,
        regions,
        principal=principal,
        protections=template.protections(access, regions, principal),
    )
