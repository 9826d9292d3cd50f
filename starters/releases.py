"""The catalogue as it is now: what is packaged, and what was published and withdrawn since."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from catalog import load
from domain.catalogue import Catalogue
from domain.publication import Publication, ReleasesState, Withdrawal, merged
from domain.release import Release
from starters.client import ControlPlane, NotFound, Refused, explained
from workflows.releases import Releases
from workflows.temporal import ids, queues


async def published(plane: ControlPlane) -> ReleasesState:
    """Return what was published and withdrawn; nothing as long as nobody did."""
    handle = plane.client.get_workflow_handle_for(Releases.run, ids.RELEASES)
    try:
        with explained("the catalogue of releases"):
            return await handle.query(Releases.current_state, rpc_timeout=plane.patience)
    except NotFound:
        return ReleasesState()


async def current_catalogue(plane: ControlPlane) -> Catalogue:
    """Return the catalogue that orders and upgrades are checked against."""
    return merged(load(), await published(plane))


async def publish(plane: ControlPlane, release: Release, *, reason: str = "") -> ReleasesState:
    """Publish a release; the same one again changes nothing.

    Raises:
        Refused: It contradicts the catalogue, or another release has its version.
    """
    publication = Publication(release=release, actor=plane.actor, reason=reason)
    packaged = load().release(release.version)
    if packaged is not None and packaged != release:
        raise Refused(f"release {release.version} is packaged already, and is another one: publish a new version")
    state = await published(plane)
    if known := state.publication(release.version):
        state = state.model_copy(update={"published": tuple(each for each in state.published if each != known)})
    _check(state.model_copy(update={"published": (*state.published, publication)}))
    return await _update(plane, Releases.publish, publication)


async def withdraw(plane: ControlPlane, version: str, reason: str) -> ReleasesState:
    """Withdraw a release, packaged or published.

    Raises:
        Refused: There is none of this version, or the catalogue needs it.
    """
    state = await published(plane)
    known = merged(load(), state)
    if known.release(version) is None:
        versions = ", ".join(release.version for release in known.releases)
        raise Refused(f"there is no release {version} (releases: {versions})")
    withdrawal = Withdrawal(version=version, reason=reason, actor=plane.actor)
    _check(state.model_copy(update={"withdrawn": (*state.withdrawn, withdrawal)}))
    return await _update(plane, Releases.withdraw, withdrawal)


def _check(state: ReleasesState) -> None:
    try:
        merged(load(), state)
    except ValidationError as error:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise Refused(f"the catalogue would contradict itself: {faults}") from error
    except ValueError as error:
        raise Refused(f"the catalogue would contradict itself: {error}") from error


async def _update(plane: ControlPlane, update: Any, message: Publication | Withdrawal) -> ReleasesState:  # noqa: ANN401
    start = WithStartWorkflowOperation(
        Releases.run,
        ReleasesState(),
        id=ids.RELEASES,
        task_queue=queues.LIFECYCLES,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary="Releases that were published after the packaged catalogue",
    )
    with explained("the catalogue of releases"):
        state: ReleasesState = await plane.client.execute_update_with_start_workflow(
            update, message, start_workflow_operation=start, rpc_timeout=plane.patience
        )
    return state
