"""Versions of the workflows' code: which builds a server knows, and how the fleet goes over to a new one.

Temporal calls what belongs together a worker deployment (ours is `byoc`) and one build of it a version. An operation
ends on the build that began it. An entity (account, deployment) goes over to the current one by continuing as new, and
notices that it should at its next workflow task; an idle one is therefore asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum

from temporalio.api.deployment.v1 import WorkerDeploymentInfo
from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.api.enums.v1 import WorkerDeploymentVersionStatus as Status
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import (
    RPCTimeoutOrCancelledError,
    WorkflowExecution,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from domain.model import Model
from starters.client import ControlPlane, ControlPlaneError, NotFound, Refused, Unreachable
from workflows.temporal import queues

VERSION = SearchAttributeKey.for_keyword("TemporalWorkerDeploymentVersion")
"""Temporal's own search attribute: `byoc:1.4.0`. A workflow that an unversioned worker runs has none."""
UNVERSIONED = ""
_ASKED_AT_ONCE = 20
_LOOKS, _PAUSE = 480, 0.25
"""How often, and every how many seconds, the server is asked whether a new build is current everywhere."""
_CONTINUE = "continue_as_new_now"
"""The update by which entities go over: accounts, deployments, published releases. It is called the same in each."""
_OPEN_ENTITIES = "WorkflowType IN ('Account', 'Deployment', 'Releases') AND ExecutionStatus = 'Running'"


class BadQuery(ControlPlaneError):  # noqa: N818 - named by what is so
    """What was given as a visibility query is none."""


class BuildStatus(StrEnum):
    """What a build is to the server."""

    CREATED = "created"
    """It is known, and none of its workers was seen yet."""
    INACTIVE = "inactive"
    """Its workers are there and get nothing to do."""
    CURRENT = "current"
    """New workflows begin on it."""
    RAMPING = "ramping"
    """A share of the new workflows begins on it."""
    DRAINING = "draining"
    """Nothing begins on it any more; its workers have to stay until what runs there has ended."""
    DRAINED = "drained"
    """Its workers may go, as far as open workflows are concerned."""


_STATUSES = {
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_CREATED: BuildStatus.CREATED,
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: BuildStatus.CURRENT,
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: BuildStatus.RAMPING,
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: BuildStatus.DRAINING,
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: BuildStatus.DRAINED,
}


class Build(Model):
    """One build of the lifecycles workers, as the server knows it."""

    build_id: str
    status: BuildStatus
    since: datetime
    """When its status became what it is, or when it came."""
    open_workflows: int
    """How many open workflows are pinned to it (a second or so behind the truth)."""


class Promotion(Model):
    """What a promotion did."""

    build_id: str
    previous: str
    """The build that was current before; empty if none was, and this one if it was current already."""
    went_over: int = 0
    """How many accounts and deployments run on this build already."""
    asked: tuple[str, ...] = ()
    """Workflows of accounts and deployments that go over to it now."""
    leaving: tuple[str, ...] = ()
    """Workflows that will not go over because they are about to end."""
    silent: tuple[str, ...] = ()
    """Workflows that did not answer: no worker of their build runs, or it has much to do."""


class Replayed(Model):
    """How the history of one open workflow replays with the code that is installed."""

    workflow_id: str
    run_id: str
    workflow_type: str
    build: str
    """To which version it is pinned, `byoc:1.4.0`; empty if to none."""
    events: int
    problem: str = ""
    """What went wrong; empty if it replays."""


class HistoriesReport(Model):
    """How the open workflows of a server replay."""

    found: int
    """How many there are."""
    replayed: tuple[Replayed, ...]
    """Those that were looked at, newest first."""


async def builds(plane: ControlPlane, deployment: str) -> list[Build]:
    """Return the builds that the server knows, newest first; none if no worker ever named one."""
    try:
        described = await _describe(plane, deployment)
    except NotFound:
        return []
    found = [_build(summary) for summary in described.worker_deployment_info.version_summaries]
    counts = await asyncio.gather(*(_open_on(plane, deployment, build.build_id) for build in found))
    counted = [build.model_copy(update={"open_workflows": count}) for build, count in zip(found, counts, strict=True)]
    return sorted(counted, key=lambda build: build.since, reverse=True)


async def promote(plane: ControlPlane, deployment: str, build_id: str) -> Promotion:
    """Make a build current, and ask every open account and deployment on another build to go over to it.

    A repeat changes nothing but asks those that have not gone over yet.

    Raises:
        NotFound: No worker of this build ever came.
        Refused: The server does not take the build, for want of workers for example.
    """
    described = (await _describe(plane, deployment)).worker_deployment_info
    known = [summary.deployment_version.build_id for summary in described.version_summaries]
    if build_id not in known:
        raise NotFound(
            f"no worker of build {build_id!r} has come yet (known: {', '.join(known) or 'none'}); "
            f"start one with BYOC_BUILD_ID={build_id}"
        )
    previous = described.routing_config.current_deployment_version.build_id
    if previous != build_id:
        await _make_current(plane, deployment, build_id)
    await _until_current_everywhere(plane, deployment, build_id)
    return await _take_over(plane, deployment, Promotion(build_id=build_id, previous=previous))


async def count_open(plane: ControlPlane, query: str = "") -> int:
    """Return how many workflows are open, of those that `query` finds.

    Raises:
        BadQuery: The server does not understand the query.
    """
    with _explained("the list"):
        try:
            return (await plane.client.count_workflows(open_workflows(query), rpc_timeout=plane.patience)).count
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise BadQuery(error.message) from error
            raise


def open_workflows(query: str = "") -> str:
    """Return the visibility query for our open workflows that `query` finds as well."""
    clauses = [f"TaskQueue = '{queues.LIFECYCLES}'", "ExecutionStatus = 'Running'", *([f"({query})"] if query else [])]
    return " AND ".join(clauses)


async def _describe(plane: ControlPlane, deployment: str) -> DescribeWorkerDeploymentResponse:
    request = DescribeWorkerDeploymentRequest(namespace=plane.client.namespace, deployment_name=deployment)
    with _explained(f"builds of {deployment!r}; no lifecycles worker with BYOC_BUILD_ID has come yet"):
        return await plane.client.workflow_service.describe_worker_deployment(request, timeout=plane.patience)


async def _make_current(plane: ControlPlane, deployment: str, build_id: str) -> None:
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=plane.client.namespace,
        deployment_name=deployment,
        build_id=build_id,
        identity=plane.actor.name,
    )
    with _explained(f"build {build_id!r}"):
        await plane.client.workflow_service.set_worker_deployment_current_version(request, timeout=plane.patience)


async def _until_current_everywhere(plane: ControlPlane, deployment: str, build_id: str) -> None:
    """Wait until all of the server knows the build as current: a fresh run could begin on the old one until then.

    Raises:
        ControlPlaneError: It takes long, or another build was made current meanwhile.
    """
    for _ in range(_LOOKS):
        described = (await _describe(plane, deployment)).worker_deployment_info
        current = described.routing_config.current_deployment_version.build_id
        if current != build_id:
            raise Refused(f"build {current!r} was made current meanwhile")
        if described.routing_config_update_state != RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS:
            return
        await asyncio.sleep(_PAUSE)
    raise ControlPlaneError(f"build {build_id!r} is current, but not yet everywhere in the server; repeat this")


async def _take_over(plane: ControlPlane, deployment: str, promotion: Promotion) -> Promotion:
    """Ask every open entity that is not on the promoted build to continue as new, some at a time."""
    target = f"{deployment}:{promotion.build_id}"
    with _explained("the list"):
        entities = [execution async for execution in plane.client.list_workflows(_OPEN_ENTITIES)]
    behind = [entity for entity in entities if version_of(entity) != target]
    at_once = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(entity: WorkflowExecution) -> str:
        async with at_once:
            return await _ask(plane, entity)

    answers = await asyncio.gather(*(ask(entity) for entity in behind))
    sorted_by_answer = {
        answer: tuple(entity.id for entity, given in zip(behind, answers, strict=True) if given == answer)
        for answer in ("asked", "leaving", "silent")
    }
    return promotion.model_copy(update={"went_over": len(entities) - len(behind), **sorted_by_answer})


async def _ask(plane: ControlPlane, entity: WorkflowExecution) -> str:
    """Ask one entity to continue as new; return the field of a `Promotion` in which it belongs."""
    handle = plane.client.get_workflow_handle(entity.id)
    try:
        await handle.execute_update(_CONTINUE, plane.actor, rpc_timeout=plane.patience)
    except WorkflowUpdateFailedError:
        return "leaving"
    except (RPCTimeoutOrCancelledError, WorkflowUpdateRPCTimeoutOrCancelledError):
        return "silent"
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return "leaving"  # It ended meanwhile.
        raise Unreachable(f"Temporal went away: {error.message}") from error
    return "asked"


async def _open_on(plane: ControlPlane, deployment: str, build_id: str) -> int:
    version = f"{deployment}:{build_id}".replace("'", "''")
    with _explained("the list"):
        found = await plane.client.count_workflows(f"{VERSION.name} = '{version}' AND ExecutionStatus = 'Running'")
    return found.count


def version_of(execution: WorkflowExecution) -> str:
    """Return the version to which a workflow is pinned, `byoc:1.4.0`, or an empty string."""
    return execution.typed_search_attributes.get(VERSION, UNVERSIONED)


def _build(summary: WorkerDeploymentInfo.WorkerDeploymentVersionSummary) -> Build:
    status = _STATUSES.get(summary.status, BuildStatus.INACTIVE)
    since = summary.routing_update_time if summary.HasField("routing_update_time") else summary.create_time
    return Build(
        build_id=summary.deployment_version.build_id,
        status=status,
        since=since.ToDatetime(tzinfo=UTC),
        open_workflows=0,
    )


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn Temporal's errors into ours."""
    try:
        yield
    except RPCError as error:
        match error.status:
            case RPCStatusCode.NOT_FOUND:
                raise NotFound(f"there is no {what}") from error
            case RPCStatusCode.FAILED_PRECONDITION | RPCStatusCode.INVALID_ARGUMENT:
                raise Refused(f"{what}: {error.message}") from error
            case RPCStatusCode.UNAVAILABLE | RPCStatusCode.DEADLINE_EXCEEDED | RPCStatusCode.CANCELLED:
                raise Unreachable(f"Temporal does not answer: {error.message}") from error
            case _:
                raise ControlPlaneError(f"{what}: {error.message}") from error
