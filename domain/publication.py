"""Releases that were published, and withdrawn, after the packaged catalogue was written."""

from __future__ import annotations

from datetime import datetime

from domain.actor import Actor
from domain.catalogue import Catalogue
from domain.model import Model
from domain.release import Release
from domain.version import version_order


class Publication(Model):
    """A release is published: from then on it can be ordered and upgraded to. What it is never changes again."""

    release: Release
    actor: Actor
    reason: str = ""
    at: datetime | None = None
    """When; the workflow says it."""


class Withdrawal(Model):
    """Nobody may order or upgrade to a release any more; what runs it goes on."""

    version: str
    reason: str
    actor: Actor
    at: datetime | None = None
    """When; the workflow says it."""


class ReleasesState(Model):
    """What is kept of releases beside the packaged catalogue."""

    published: tuple[Publication, ...] = ()
    """In the order in which they were published."""
    withdrawn: tuple[Withdrawal, ...] = ()
    """Also of packaged releases."""
    runs: int = 1

    def publication(self, version: str) -> Publication | None:
        """Return how a release was published, or None."""
        return next((each for each in self.published if each.release.version == version), None)

    def withdrawal(self, version: str) -> Withdrawal | None:
        """Return how a release was withdrawn, or None."""
        return next((each for each in self.withdrawn if each.version == version), None)


def merged(packaged: Catalogue, state: ReleasesState) -> Catalogue:
    """Return the catalogue as it is now: packaged releases and published ones, with what was withdrawn.

    A release that is packaged as well as published is as packaged.

    Raises:
        pydantic.ValidationError: together they contradict the catalogue's rules; the message lists every contradiction.
    """
    known = {release.version: release for release in packaged.releases}
    for each in state.published:
        known.setdefault(each.release.version, each.release)
    for withdrawal in state.withdrawn:
        if release := known.get(withdrawal.version):
            known[release.version] = release.model_copy(update={"withdrawn": withdrawal.reason})
    releases = tuple(sorted(known.values(), key=lambda release: version_order(release.version)))
    return Catalogue(shapes=packaged.shapes, releases=releases, clouds=packaged.clouds)
