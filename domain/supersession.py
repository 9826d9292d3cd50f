"""What two upgrades of one deployment have to do with each other, and what is left of one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from domain.appointment import is_urgent
from domain.upgrade import Stage, StageKind, UpgradeRequest
from domain.version import version_order


class Relation(StrEnum):
    """What a new upgrade is to one that is queued already."""

    CONTAINED = "contained"
    """The queued one leads there, too."""
    REPLACES = "replaces"
    """It leads everywhere that the queued one leads to, and further."""
    CONTRADICTS = "contradicts"
    """One of them is ahead in the release, the other one in Kubernetes."""
    APART = "apart"
    """Each is done in its turn; what is reached by then is left out."""


def relation_of(new: UpgradeRequest, queued: UpgradeRequest) -> Relation:
    """Return what a new upgrade is to a queued one. An urgent and a routine one do not take each other's place."""
    ours, theirs = _target(new), _target(queued)
    if is_urgent(new) is not is_urgent(queued):
        return Relation.APART
    if _within(ours, theirs):
        return Relation.CONTAINED
    if _within(theirs, ours):
        return Relation.REPLACES
    return Relation.CONTRADICTS if all((*ours, *theirs)) else Relation.APART


def target_in_words(request: UpgradeRequest) -> str:
    """Return what an upgrade leads to: `release 4.13.0 and Kubernetes 1.36`."""
    release = f"release {request.release.version}" if request.release else ""
    kubernetes = f"Kubernetes {request.kubernetes}" if request.kubernetes else ""
    return " and ".join(each for each in (release, kubernetes) if each) or "nothing"


def left_of(request: UpgradeRequest, *, release: str, kubernetes: str) -> UpgradeRequest | None:
    """Return what is left of an upgrade from where a deployment stands; None if it is there already.

    The control plane's own version stays: add-ons and nodes may have to be brought to it.
    """
    target = request.release
    if target is not None and version_order(target.version) <= version_order(release):
        target = None
    wanted = request.kubernetes
    if wanted and version_order(wanted) < version_order(kubernetes):
        wanted = ""
    if target is None and not wanted:
        return None
    return request.model_copy(update={"release": target, "kubernetes": wanted})


def unreached(stages: Sequence[Stage], *, release: str, kubernetes: str) -> Iterator[Stage]:
    """Yield the stages that are not made needless by a release or a control plane that is as new already."""
    for stage in stages:
        if stage.kind is StageKind.SERVER and stage.release is not None:
            if version_order(stage.release.version) > version_order(release):
                yield stage
        elif stage.kind is not StageKind.CONTROL_PLANE or version_order(stage.kubernetes) > version_order(kubernetes):
            yield stage


def _target(request: UpgradeRequest) -> tuple[tuple[int, ...], tuple[int, ...]]:
    release = version_order(request.release.version) if request.release else ()
    return release, version_order(request.kubernetes) if request.kubernetes else ()


def _within(one: tuple[tuple[int, ...], ...], other: tuple[tuple[int, ...], ...]) -> bool:
    return all(mine <= theirs for mine, theirs in zip(one, other, strict=True))
