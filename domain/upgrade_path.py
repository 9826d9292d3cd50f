"""From what runs to what was asked for: the stages of an upgrade, in an order in which every point is supported.

Releases are passed through in as few hops as their rules allow; the Kubernetes minor version moves by one at a time.
The two take turns where a release does not run on what comes next, so that each hop is made on a version that both the
release before and the release after it run on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise

from domain.release import Release
from domain.shape import PoolName
from domain.upgrade import Stage, StageKind, UpgradeRequest
from domain.version import version_order

POOLS = (PoolName.SERVICES, PoolName.STORE)
"""In this order: what holds no state first."""

_NEEDS = {
    StageKind.CONTROL_PLANE: timedelta(minutes=45),
    StageKind.ADD_ONS: timedelta(minutes=20),
    StageKind.NODES: timedelta(minutes=45),
    StageKind.SERVER: timedelta(minutes=60),
}
"""At the 95th percentile, where nothing was learnt of the cloud."""
_MORE_REPLICAS = {StageKind.NODES: timedelta(minutes=30), StageKind.SERVER: timedelta(minutes=15)}
"""What a highly available deployment adds to that: more machines, and more replicas one after another."""

_Point = tuple[Release, int]
"""A release, and the number of the Kubernetes minor version that it runs on."""


class NoPath(ValueError):  # noqa: N818 - named by what is so
    """What was asked for cannot be reached; the message says why, and what can."""


def stages_of(
    request: UpgradeRequest, *, release: Release, kubernetes: str, high_availability: bool, nodes: str = ""
) -> tuple[Stage, ...]:
    """Return the stages that lead to what was asked for.

    Args:
        request: What was asked for.
        release: The release that runs.
        kubernetes: The minor version of the control plane. Asked for again, add-ons and nodes are brought to it.
        high_availability: Whether the deployment has several replicas of everything.
        nodes: The minor version of the nodes, if they are known to be behind: they are levelled first.

    Raises:
        NoPath: No path leads there.
    """
    target = request.release or release
    _refuse_what_is_no_upgrade(request, release=release, kubernetes=kubernetes)
    start = (release, _minor(kubernetes))
    goal = (target, _minor(request.kubernetes) if request.kubernetes else start[1])
    path = _shortest(start, goal, _known(request, release))
    if path is None:
        raise NoPath(_why_there_is_none(start, goal, _known(request, release)))
    writer = _Writer(request, major=kubernetes.partition(".")[0], high_availability=high_availability)
    stages: list[Stage] = []
    moves_kubernetes = goal[1] != start[1]
    if (nodes and version_order(nodes) < version_order(kubernetes) and moves_kubernetes) or (
        request.kubernetes and not moves_kubernetes
    ):
        stages += writer.levelling(start[1])
    for before, after in pairwise(path):
        if before[0] == after[0]:
            stages += [writer.control_plane(after[1]), *writer.levelling(after[1])]
        else:
            stages.append(writer.server(before[0], after[0]))
    return tuple(stages)


def rolls_back(release: Release, previous: Release) -> bool:
    """Return whether `previous` may be put back where `release` ran: the same format, or declared to be possible."""
    return release.schema_epoch == previous.schema_epoch or previous.version in release.rollback_to


def hop_refusal(before: Release, after: Release, known: Sequence[Release]) -> str:
    """Return why one may not upgrade from one release to another directly, or an empty string.

    A stop that was withdrawn is not passed through, and only a later stop takes its place.
    """
    first, last = version_order(before.version), version_order(after.version)
    if last <= first:
        return f"{after.version} is not newer than {before.version}"
    if after.withdrawn:
        return f"{after.version} is withdrawn: {after.withdrawn}"
    if first < version_order(after.min_from):
        return f"{after.version} can be reached from {after.min_from} on, not from {before.version}"
    for stop in known:
        passed_over = stop.mandatory_stop and first < version_order(stop.version) < last
        if passed_over and not (stop.withdrawn and after.mandatory_stop):
            return f"every path to {after.version} passes through {stop.version}"
    return ""


def _refuse_what_is_no_upgrade(request: UpgradeRequest, *, release: Release, kubernetes: str) -> None:
    target = request.release
    if target is None and not request.kubernetes:
        raise NoPath("nothing was asked for: name a release, or a Kubernetes version")
    if target is not None and version_order(target.version) < version_order(release.version):
        raise NoPath(
            f"release {target.version} is older than {release.version}, which runs: an upgrade never goes backwards. "
            f"Ask for a release after {release.version}"
        )
    if target is not None and target.version == release.version and not request.kubernetes:
        raise NoPath(f"release {release.version} runs already: there is nothing to upgrade")
    if request.kubernetes and version_order(request.kubernetes) < version_order(kubernetes):
        raise NoPath(
            f"Kubernetes {request.kubernetes} is older than {kubernetes}, which the control plane has: it never goes "
            f"backwards. Ask for {kubernetes} or later"
        )
    if request.kubernetes and request.kubernetes.partition(".")[0] != kubernetes.partition(".")[0]:
        raise NoPath(f"Kubernetes {request.kubernetes} is another major version than {kubernetes}")
    if target is not None and target.withdrawn and target.version != release.version:
        raise NoPath(f"release {target.version} is withdrawn: {target.withdrawn} Ask for another release")


def _known(request: UpgradeRequest, release: Release) -> tuple[Release, ...]:
    """Return every release that a path may pass through, newest first, each once."""
    named = {each.version: each for each in (*request.stops, *([request.release] if request.release else []))}
    named.pop(release.version, None)
    return tuple(sorted(named.values(), key=lambda each: version_order(each.version), reverse=True))


def _shortest(start: _Point, goal: _Point, known: Sequence[Release]) -> list[_Point] | None:
    """Return the shortest path, both ends included; of several as short as each other, the one whose releases come
    first and go furthest.
    """
    paths, seen = [[start]], {_key(start)}
    for path in paths:
        if _key(path[-1]) == _key(goal):
            return path
        for point in _moves(path[-1], goal, known):
            if _key(point) not in seen:
                seen.add(_key(point))
                paths.append([*path, point])
    return None


def _key(point: _Point) -> tuple[str, int]:
    return point[0].version, point[1]


def _moves(point: _Point, goal: _Point, known: Sequence[Release]) -> Iterator[_Point]:
    release, minor = point
    major = goal[0].kubernetes_minimum.partition(".")[0]
    limit = version_order(goal[0].version)
    for after in known:
        allowed = version_order(after.version) <= limit and after.runs_on(f"{major}.{minor}")
        if allowed and not hop_refusal(release, after, known):
            yield after, minor
    if minor < goal[1] and release.runs_on(f"{major}.{minor + 1}"):
        yield release, minor + 1


def _why_there_is_none(start: _Point, goal: _Point, known: Sequence[Release]) -> str:
    """Return in words what keeps the goal from being reached, and what to ask for instead."""
    (release, minor), (target, wanted) = start, goal
    major = target.kubernetes_minimum.partition(".")[0]
    kubernetes = f"{major}.{wanted}"
    if not target.runs_on(kubernetes):
        supports = f"{target.kubernetes_minimum} to {target.kubernetes_maximum}"
        whose = "what was asked for" if wanted != minor else "what the control plane has"
        remedy = (
            f"Ask for a version of Kubernetes from {target.kubernetes_minimum} on with it"
            if version_order(kubernetes) < version_order(target.kubernetes_minimum)
            else f"Ask for a release that runs on {kubernetes} with it"
        )
        return f"release {target.version} runs on Kubernetes {supports}, and {kubernetes} is {whose}. {remedy}"
    if target.version == release.version or _release_path_exists(release, target, known):
        return (
            f"from {release.version} on Kubernetes {major}.{minor} to {target.version} on {kubernetes} no order of "
            "hops keeps every release on a Kubernetes version that it runs on. Ask for a release in between first"
        )
    refusal = hop_refusal(release, target, known)
    return (
        f"no path leads from release {release.version} to {target.version}: {refusal}. Ask for one of the releases in "
        "between that can be reached"
    )


def _release_path_exists(release: Release, target: Release, known: Sequence[Release]) -> bool:
    reached, frontier = {release.version}, [release]
    while frontier:
        before = frontier.pop()
        for after in known:
            if after.version not in reached and not hop_refusal(before, after, known):
                reached.add(after.version)
                frontier.append(after)
    return target.version in reached


def _minor(kubernetes: str) -> int:
    """Return the number of a minor version, 35 of `1.35`; a patch number behind it is left out."""
    return version_order(kubernetes)[1]


class _Writer:
    """Writes the stages of one upgrade."""

    def __init__(self, request: UpgradeRequest, *, major: str, high_availability: bool) -> None:
        self._request = request
        self._major = major
        self._high_availability = high_availability

    def control_plane(self, minor: int) -> Stage:
        """Return the stage of one minor version of the control plane."""
        version = f"{self._major}.{minor}"
        return Stage(
            name=f"{StageKind.CONTROL_PLANE} {version}",
            kind=StageKind.CONTROL_PLANE,
            need=self._need(StageKind.CONTROL_PLANE),
            bake=self._request.verification.bake,
            kubernetes=version,
            irreversible=f"Kubernetes {version} of the control plane: the version before cannot be put back",
        )

    def levelling(self, minor: int) -> list[Stage]:
        """Return the stages that bring add-ons and nodes to the version of the control plane."""
        version = f"{self._major}.{minor}"
        add_ons = Stage(
            name=f"{StageKind.ADD_ONS} {version}",
            kind=StageKind.ADD_ONS,
            need=self._need(StageKind.ADD_ONS),
            kubernetes=version,
        )
        pools = [
            Stage(
                name=f"{StageKind.NODES} {version} {pool}",
                kind=StageKind.NODES,
                need=self._need(StageKind.NODES),
                kubernetes=version,
                pool=pool,
            )
            for pool in POOLS
        ]
        return [add_ons, *pools]

    def server(self, before: Release, after: Release) -> Stage:
        """Return the stage of one release of the server."""
        return Stage(
            name=f"{StageKind.SERVER} {after.version}",
            kind=StageKind.SERVER,
            need=self._need(StageKind.SERVER),
            release=after,
            irreversible=_irreversible(before, after),
        )

    def _need(self, kind: StageKind) -> timedelta:
        if known := self._request.needs.get(kind):
            return known
        more = _MORE_REPLICAS.get(kind, timedelta(0)) if self._high_availability else timedelta(0)
        return _NEEDS[kind] + more


def _irreversible(before: Release, after: Release) -> str:
    if after.point_of_no_return:
        return f"Release {after.version}: {after.point_of_no_return}"
    if rolls_back(after, before):
        return ""
    return (
        f"Release {after.version}: it writes the store in format {after.schema_epoch}, which release {before.version} "
        "does not read"
    )
