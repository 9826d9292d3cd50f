"""The wiring: which workflows and activities a worker of each kind runs, and with what behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, assert_never

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities.calling import PRODUCT
from activities.comparison import Comparisons
from activities.needs import Need
from activities.windows import Windows
from domain.account import AccountAccess
from domain.clouds import Cloud
from domain.permission import FORMS, TemplateForm
from workers.clouds import CloudWiring, NoSuchForm, NotServed
from workers.deeds import RecordedDeeds
from workers.liveness import SignsOfLife
from workers.proposals import Proposals
from workers.records import Records
from workers.rehearsal.planning import Planning
from workers.settings import WorkerSettings
from workers.unexpected import UnknownFailures
from workflows.account import Account
from workflows.compare import Compare
from workflows.deployment import Deployment
from workflows.propose import Propose
from workflows.provision import Provision
from workflows.reconfigure import Reconfigure
from workflows.releases import Releases
from workflows.retire import Retire
from workflows.rollout import Rollout
from workflows.temporal import queues
from workflows.upgrade import Upgrade

WORKFLOWS: tuple[type, ...] = (
    Account,
    Compare,
    Deployment,
    Propose,
    Provision,
    Reconfigure,
    Releases,
    Retire,
    Rollout,
    Upgrade,
)
"""Every workflow type. A new lifecycle is one more name here."""

_OURS = frozenset({"activities", "catalog", "domain", "starters", "workers", "workflows"})
"""Packages of this repository: that one of them cannot be imported is a defect."""


def lifecycles_worker(client: Client, settings: WorkerSettings) -> Worker:
    """Return the worker that runs workflows and nothing else.

    A worker that names no build names the product's version: Temporal would read and hash every imported module first,
    which takes a worker with three clouds' SDKs seconds.
    """
    return Worker(
        client,
        task_queue=queues.LIFECYCLES,
        workflows=WORKFLOWS,
        max_cached_workflows=settings.workflow_cache,
        max_concurrent_workflow_tasks=20,
        sticky_queue_schedule_to_start_timeout=settings.sticky_timeout,
        graceful_shutdown_timeout=settings.graceful_shutdown,
        build_id=PRODUCT if settings.build_id is None else None,
        deployment_config=_build_of(settings),
        # Activities have queues of their own, so none is eager; one that were would overtake its queue's fairness.
        disable_eager_activity_execution=True,
    )


def _build_of(settings: WorkerSettings) -> WorkerDeploymentConfig | None:
    """Return under which build the lifecycles worker appears, or None if it is unversioned.

    Everything is pinned: an operation ends on the build that began it. An entity lives longer than any build, so it
    goes over by continuing as new. A behaviour is never declared at a workflow itself: that would keep it from running
    on an unversioned worker.
    """
    if settings.build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=settings.worker_deployment, build_id=settings.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


def cloud_worker(client: Client, settings: WorkerSettings, cloud: Cloud, region: str = "") -> Worker:
    """Return the worker that acts in one cloud, and in the Kubernetes clusters in it, and that compares with both.

    It is unversioned on purpose: the newest one acts, also for operations that an older build began (decision 16).
    """
    activities = cloud_activities(settings, cloud)
    return Worker(
        client,
        task_queue=queues.cloud_queue(cloud, region),
        build_id=PRODUCT,
        activities=[*activities, Comparisons(activities).compare],
        activity_executor=ThreadPoolExecutor(settings.activity_slots, thread_name_prefix="activity"),
        max_concurrent_activities=settings.activity_slots,
        max_task_queue_activities_per_second=settings.activities_per_second,
        graceful_shutdown_timeout=settings.graceful_shutdown,
        interceptors=[SignsOfLife(), RecordedDeeds(), UnknownFailures()],
    )


def services_worker(client: Client, settings: WorkerSettings) -> Worker:
    """Return the worker of what needs no credentials: it makes plans, and reads windows and records."""
    records = Records(client)
    return Worker(
        client,
        task_queue=queues.SERVICES,
        build_id=PRODUCT,
        activities=[
            Planning(settings, declared_needs).make_plan,
            Proposals(client).propose_rollouts,
            records.await_end,
            records.read_reached,
            Windows().find_openings,
        ],
        activity_executor=ThreadPoolExecutor(settings.activity_slots, thread_name_prefix="activity"),
        max_concurrent_activities=settings.activity_slots,
        graceful_shutdown_timeout=settings.graceful_shutdown,
        interceptors=[SignsOfLife(), UnknownFailures()],
    )


def declared_needs(settings: WorkerSettings, cloud: Cloud) -> tuple[Need, ...]:
    """Return the permissions that the activities of one cloud declare.

    Raises:
        NotServed: The cloud's SDK is not installed.
    """
    return _wiring_of(cloud).declared_needs(settings)


def cloud_activities(settings: WorkerSettings, cloud: Cloud) -> Sequence[Callable[..., Any]]:
    """Return the activities of one cloud.

    Raises:
        NotServed: The cloud's SDK is not installed.
    """
    return _wiring_of(cloud).activities(settings)


def permission_template(
    access: AccountAccess, regions: Sequence[str], form: TemplateForm | None, settings: WorkerSettings
) -> str:
    """Return what the customer applies, or the table that their security review reads.

    Without a form it is the one that is usually applied in the account's cloud.

    Raises:
        NotServed: The SDK of the account's cloud is not installed.
        NoSuchForm: The cloud does not have the form.
        ValueError: The settings do not say who acts.
    """
    wiring, forms = _wiring_of(access.cloud), FORMS[access.cloud]
    if form is not None and form not in forms:
        raise NoSuchForm(f"--format: {form} is no form of {access.cloud}. Allowed: {', '.join(forms)}")
    return wiring.rendered_template(access, regions, form or forms[0], settings)


def _wiring_of(cloud: Cloud) -> CloudWiring:
    """Return the module of one cloud; only here its SDK is imported, so a worker needs only its cloud's extra."""
    try:
        match cloud:
            case Cloud.AWS:
                from workers import aws  # noqa: PLC0415 - only this cloud's worker has this SDK installed

                return aws
            case Cloud.GCP:
                from workers import gcp  # noqa: PLC0415 - as above

                return gcp
            case Cloud.AZURE:
                from workers import azure  # noqa: PLC0415 - as above

                return azure
            case _:
                assert_never(cloud)
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        raise NotServed(
            f"cloud is {cloud}, whose SDK is not installed ({error}): pip install 'byoc[{cloud}]'"
        ) from error
