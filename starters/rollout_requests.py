"""From what is asked for (a release, a Kubernetes version) to what the deployments of each cloud are asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from catalog import durations
from domain.catalogue import Catalogue, VersionStatus
from domain.clouds import Cloud
from domain.durations import CloudDurations
from domain.problem import nearest
from domain.release import Release
from domain.upgrade import Override, StageKind, UpgradeRequest
from domain.version import version_order
from workflows.server_release import TIERS

_BEFORE = ("check_upgrade", "check_server", "back_up")
_NODES = ("create_canary_node", "validate_node", "delete_canary_nodes", "upgrade_node_pool")


class RequestInvalid(Exception):  # noqa: N818 - it names what is so
    """What is to be rolled out cannot be; `problems` says each reason: option, value, what is allowed."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def upgrades_to(
    catalogue: Catalogue,
    *,
    release: str,
    kubernetes: str,
    override: Override | None = None,
    forced_at: datetime | None = None,
) -> dict[Cloud, UpgradeRequest]:
    """Return what the deployments of each cloud are asked; a cloud that lacks the Kubernetes version has no entry.

    Raises:
        RequestInvalid: Nothing is asked for, or what is not in the catalogue or is withdrawn.
    """
    problems: list[str] = []
    if not release and not kubernetes:
        problems.append("--release or --kubernetes: one of them says what is rolled out")
    target = _release(catalogue, release, problems) if release else None
    clouds = [cloud for cloud in Cloud if not kubernetes or _offers(catalogue, cloud, kubernetes)]
    if kubernetes and not clouds:
        offered = sorted({each for cloud in Cloud for each in catalogue.clouds[cloud].orderable_kubernetes()})
        problems.append(f'--kubernetes: "{kubernetes}" is supported on no cloud. Allowed: {", ".join(offered)}')
    if target is not None and kubernetes and not problems and not target.runs_on(kubernetes):
        problems.append(
            f'--kubernetes: release {target.version} does not run on "{kubernetes}". '
            f"Allowed: {target.kubernetes_minimum} to {target.kubernetes_maximum}"
        )
    if problems:
        raise RequestInvalid(problems)
    request = UpgradeRequest(
        release=target,
        stops=_stops(catalogue, target) if target else (),
        kubernetes=kubernetes,
        override=override,
        forced_at=forced_at,
    )
    table = durations()
    return {cloud: with_needs(request, table.clouds[cloud]) for cloud in clouds}


def with_needs(request: UpgradeRequest, known: CloudDurations) -> UpgradeRequest:
    """Return the request with how long a stage of each kind takes, by the recorded durations of its steps."""
    verification = request.verification
    observed = verification.interval * verification.rounds
    tiers = [
        observed
        + max(known.nearly_always(f"stage_canary/{each}") for each in tier)
        + max(known.nearly_always(f"install_component/{each}") for each in tier)
        for tier in TIERS
    ]
    before = sum((known.nearly_always(step) for step in _BEFORE), timedelta(0))
    after = known.nearly_always("smoke_test")
    needs = {
        StageKind.CONTROL_PLANE: known.nearly_always("upgrade_control_plane") + after,
        StageKind.ADD_ONS: known.nearly_always("upgrade_add_on") + after,
        StageKind.NODES: sum((known.nearly_always(step) for step in _NODES), after),
        # One tier of components after the other, between two phases of the migration.
        StageKind.SERVER: sum(tiers, 2 * known.nearly_always("migrate") + after),
    }
    # The first stage in a window comes after preflight and backup, whichever stage that is.
    return request.model_copy(update={"needs": {kind: before + need for kind, need in needs.items()}})


def _release(catalogue: Catalogue, version: str, problems: list[str]) -> Release | None:
    found = catalogue.release(version)
    offered = [each.version for each in catalogue.orderable_releases()]
    if found is None:
        problems.append(
            f'--release: "{version}" is no release{nearest(version, offered)}. Allowed: {", ".join(offered)}'
        )
    elif found.withdrawn:
        problems.append(f'--release: "{version}" is withdrawn: {found.withdrawn} Allowed: {", ".join(offered)}')
    return found


def _offers(catalogue: Catalogue, cloud: Cloud, kubernetes: str) -> bool:
    known = catalogue.clouds[cloud].kubernetes_version(kubernetes)
    return known is not None and known.status in (VersionStatus.SUPPORTED, VersionStatus.DEPRECATED)


def _stops(catalogue: Catalogue, target: Release) -> tuple[Release, ...]:
    """Return the releases through which a path may lead."""
    return tuple(
        each for each in catalogue.orderable_releases() if version_order(each.version) < version_order(target.version)
    )
