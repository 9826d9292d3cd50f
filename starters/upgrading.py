"""From a release or a Kubernetes version to the upgrade of one deployment: what is asked, in which stages, and when."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.appointment import appointed
from domain.catalogue import Catalogue
from domain.clouds import Cloud
from domain.maintenance import MARGIN, Opening
from domain.maintenance_text import policy_of
from domain.model import Model
from domain.release import Severity
from domain.state import DeploymentState
from domain.upgrade import Override, Stage, UpgradeRequest, UpgradeWork
from domain.upgrade_path import NoPath, stages_of
from domain.windows import openings
from starters.client import Refused
from starters.rollout_requests import RequestInvalid, upgrades_to


class Start(Model):
    """When an upgrade may start, by the windows as they are now."""

    notice_ends: datetime
    opening: Opening | None
    """The first window after the notice in which its first stage fits; None if there is none."""


def request_for(
    catalogue: Catalogue, state: DeploymentState, *, release: str, kubernetes: str, urgent_because: str = ""
) -> UpgradeRequest:
    """Return what is asked of a deployment, checked against the catalogue; without both versions the newest release.

    Args:
        catalogue: As it is now.
        state: What is known of the deployment.
        release: The release to reach; empty: it stays.
        kubernetes: The minor version to reach; empty: it stays.
        urgent_because: Why it is not to wait for its window; empty: it waits.

    Raises:
        RequestInvalid: A version is not there, withdrawn, or not supported in the cloud; or it is not that urgent.
    """
    cloud = Cloud(state.order.site.cloud)
    if not release and not kubernetes:
        newest = catalogue.newest_release()
        release = newest.version if newest else ""
    override = None
    if urgent_because:
        override = Override(reason=urgent_because, expires_at=datetime.now(UTC) + state.order.notices.override)
    upgrades = upgrades_to(catalogue, release=release, kubernetes=kubernetes, override=override)
    if cloud not in upgrades:
        offered = ", ".join(catalogue.clouds[cloud].orderable_kubernetes())
        raise RequestInvalid([f'--kubernetes: "{kubernetes}" is not supported on {cloud}. Allowed: {offered}'])
    asked = upgrades[cloud]
    if urgent_because and (asked.release is None or asked.release.severity is not Severity.CRITICAL):
        raise RequestInvalid(
            ["--urgent: only a release of critical severity may pass over the window. Allowed: without it"]
        )
    return asked


def stages_for(state: DeploymentState, asked: UpgradeRequest) -> tuple[Stage, ...]:
    """Return the stages as the deployment will find them itself.

    Raises:
        Refused: No path leads there, or the deployment is over, or not provisioned yet.
    """
    order = state.order
    if state.phase.is_over or not state.has_been_active:
        raise Refused(f"deployment {order.site.deployment!r} is {state.phase}: there is nothing to upgrade")
    try:
        return stages_of(
            asked,
            release=order.release,
            kubernetes=state.kubernetes,
            high_availability=order.spec.high_availability,
            nodes=state.oldest_nodes,
        )
    except NoPath as error:
        raise Refused(f"deployment {order.site.deployment!r}: {error}") from error


def work_for(state: DeploymentState, asked: UpgradeRequest) -> UpgradeWork:
    """Return what the deployment would hand to the upgrade, without the end of a window.

    Raises:
        Refused: No path leads there, or the deployment is over, or not provisioned yet.
    """
    return UpgradeWork(stages=stages_for(state, asked), verification=asked.verification, margin=MARGIN)


def start_of(state: DeploymentState, asked: UpgradeRequest, stages: tuple[Stage, ...], now: datetime) -> Start:
    """Return when an upgrade that is asked for now may start, as the deployment will find it itself."""
    booked = appointed(asked, stages, state.order.notices, now)
    found = openings(
        policy_of(state),
        booked.work,
        now=now,
        need=booked.need,
        not_before=booked.auto_apply_after,
        spread_by="" if booked.urgent else state.order.site.deployment,
    )
    return Start(notice_ends=booked.available_at, opening=next(found, None))
