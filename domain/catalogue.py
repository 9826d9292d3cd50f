"""What can be ordered: shapes, releases, and for each cloud its regions, Kubernetes versions and the quotas we use.

A `Catalogue` is consistent by construction: everything that a model refers to exists, so that no rule has to ask twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from domain.clouds import Cloud
from domain.model import Model
from domain.release import Release
from domain.shape import SCALABLE, Component, PoolName, Scale, Shape, ShapeName
from domain.version import version_order

_PINNED_IMAGE = re.compile(r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}$")


class VersionStatus(StrEnum):
    """Where a Kubernetes minor version is in its life on one cloud, as this vendor qualifies it."""

    PREVIEW = "preview"
    """The cloud offers it; we have not qualified it. It cannot be ordered."""
    SUPPORTED = "supported"
    """It can be ordered."""
    DEPRECATED = "deprecated"
    """Deployments that run on it stay until they are upgraded; it cannot be ordered."""
    EXPIRED = "expired"
    """Nothing runs on it for long: the next consecutive minor version is forced in the next window."""


class KubernetesVersion(Model):
    """One minor version on one cloud."""

    version: str
    """`1.35`"""
    status: VersionStatus
    default: bool = False
    """True for the version that an order gets when it names none."""
    available_since: date | None = None
    """When the cloud released it."""
    standard_support_until: date | None = None
    """Last day of the cloud's standard support."""


class Region(Model):
    """One region of one cloud."""

    name: str
    location: str
    """Where the machines stand, in words."""
    jurisdiction: str
    """ISO 3166 code of the country whose law applies to the data."""
    zones: tuple[str, ...] = ()
    """Zones in the cloud's spelling; empty where the cloud has none in this region."""
    opt_in: bool = False
    """True where the customer has to switch the region on before anyone can use it."""


class QuotaUnit(StrEnum):
    """What a quota is counted by."""

    DEPLOYMENT = "deployment"
    ZONE = "zone"
    VCPU = "vcpu"
    VOLUME_GIB = "volume-gib"


class Quota(Model):
    """A quota of the customer's account from which every deployment takes its share."""

    service: str
    code: str
    """The cloud's own code, `L-1216C47A`."""
    name: str
    unit: QuotaUnit
    amount: int = 1
    """How much one unit takes."""
    only_our_network: bool = False
    """True if a deployment in the customer's own network takes nothing of it."""


class CloudOffer(Model):
    """What can be ordered on one cloud."""

    cloud: Cloud
    regions: tuple[Region, ...]
    kubernetes: tuple[KubernetesVersion, ...]
    quotas: tuple[Quota, ...] = ()

    def region(self, name: str) -> Region | None:
        """Return the region of this name, or None."""
        return next((region for region in self.regions if region.name == name), None)

    def kubernetes_version(self, version: str) -> KubernetesVersion | None:
        """Return what is known about a minor version, or None."""
        return next((known for known in self.kubernetes if known.version == version), None)

    def orderable_kubernetes(self) -> tuple[str, ...]:
        """Return the minor versions that can be ordered, oldest first."""
        return tuple(known.version for known in self.kubernetes if known.status is VersionStatus.SUPPORTED)


class Catalogue(Model):
    """Everything that can be ordered.

    Raises:
        pydantic.ValidationError: the catalogue contradicts itself; the message lists every contradiction.
    """

    shapes: tuple[Shape, ...]
    releases: tuple[Release, ...]
    """Oldest first."""
    clouds: dict[Cloud, CloudOffer]
    """Keyed by cloud."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if faults := [*_shape_faults(self), *_release_faults(self), *_cloud_faults(self)]:
            raise ValueError("; ".join(faults))
        return self

    def shape(self, name: ShapeName) -> Shape:
        """Return the shape of this name; every member of `ShapeName` has one."""
        return next(shape for shape in self.shapes if shape.name is name)

    def release(self, version: str) -> Release | None:
        """Return the release of this version, or None."""
        return next((release for release in self.releases if release.version == version), None)

    def orderable_releases(self) -> tuple[Release, ...]:
        """Return the releases that are not withdrawn, oldest first."""
        return tuple(release for release in self.releases if not release.withdrawn)

    def newest_release(self, kubernetes: str = "") -> Release | None:
        """Return the newest release that can be ordered, on this Kubernetes version if one is given."""
        fitting = [release for release in self.orderable_releases() if not kubernetes or release.runs_on(kubernetes)]
        return fitting[-1] if fitting else None

    def default_kubernetes(self, cloud: Cloud, release: Release | None = None) -> str | None:
        """Return the Kubernetes version of an order that names none: the cloud's default, else the newest that fits."""
        offer = self.clouds[cloud]
        fitting = [offered for offered in offer.orderable_kubernetes() if release is None or release.runs_on(offered)]
        default = next(known.version for known in offer.kubernetes if known.default)
        if default in fitting:
            return default
        return fitting[-1] if fitting else None

    def cloud_of_region(self, region: str) -> Cloud | None:
        """Return the cloud that has this region, or None; no two clouds share a region's name."""
        return next((cloud for cloud, offer in self.clouds.items() if offer.region(region)), None)


def _shape_faults(catalogue: Catalogue) -> Iterator[str]:
    names = [shape.name for shape in catalogue.shapes]
    for name in ShapeName:
        if names.count(name) != 1:
            yield f"shape {name} is defined {names.count(name)} times, not once"
    for shape in catalogue.shapes:
        for fault in _one_shape_faults(shape):
            yield f"shape {shape.name}: {fault}"


def _one_shape_faults(shape: Shape) -> Iterator[str]:
    yield from _missing(shape.components, Component, "component")
    yield from _missing(shape.pools, PoolName, "pool")
    yield from _missing(shape.scaling_bounds, SCALABLE, "scaling bound")
    if shape.high_availability_offered:
        yield from _missing(shape.highly_available_replicas, Component, "highly available component")
        yield from _missing(shape.highly_available_pools, PoolName, "highly available pool")
    scales = {component: (size.scale,) for component, size in shape.components.items()}
    for component, scale in shape.highly_available_replicas.items():
        scales[component] = (*scales.get(component, ()), scale)
    for component, limits in scales.items():
        for scale in limits:
            if not 1 <= scale.minimum <= scale.maximum:
                yield f"{component} scales from {scale.minimum} to {scale.maximum}"
            elif not _inside(scale, shape.scaling_bounds.get(component)):
                yield f"the default limits of {component} lie outside its scaling bounds"


def _inside(scale: Scale, bounds: Scale | None) -> bool:
    return bounds is None or bounds.minimum <= scale.minimum <= scale.maximum <= bounds.maximum


def _release_faults(catalogue: Catalogue) -> Iterator[str]:
    versions = [release.version for release in catalogue.releases]
    if not catalogue.orderable_releases():
        yield "no release can be ordered"
    if versions != sorted(set(versions), key=version_order):
        yield f"releases are not in order, each once: {', '.join(versions)}"
    for release in catalogue.releases:
        for fault in _one_release_faults(release):
            yield f"release {release.version}: {fault}"
        for earlier in release.rollback_to:
            if earlier not in versions:
                yield f"release {release.version}: rolls back to {earlier}, which is not in the catalogue"


def _one_release_faults(release: Release) -> Iterator[str]:
    yield from _missing(release.components, Component, "component")
    for component, image in release.components.items():
        if not _PINNED_IMAGE.fullmatch(image):
            yield f"the image of {component} is not pinned by digest: {image}"
    if version_order(release.kubernetes_minimum) > version_order(release.kubernetes_maximum):
        yield f"its Kubernetes range {release.kubernetes_minimum} to {release.kubernetes_maximum} is empty"
    if version_order(release.min_from) > version_order(release.version):
        yield f"may be reached only from {release.min_from}, which is newer"


def _cloud_faults(catalogue: Catalogue) -> Iterator[str]:
    yield from _missing(catalogue.clouds, Cloud, "cloud")
    regions = [region.name for offer in catalogue.clouds.values() for region in offer.regions]
    for name in sorted({name for name in regions if regions.count(name) > 1}):
        yield f"region {name} is defined {regions.count(name)} times"
    for cloud, offer in catalogue.clouds.items():
        for fault in _one_cloud_faults(cloud, offer, catalogue):
            yield f"cloud {cloud}: {fault}"


def _one_cloud_faults(cloud: Cloud, offer: CloudOffer, catalogue: Catalogue) -> Iterator[str]:
    if offer.cloud is not cloud:
        yield f"is filed under another cloud's name, {offer.cloud}"
    versions = [known.version for known in offer.kubernetes]
    if versions != sorted(set(versions), key=version_order):
        yield f"Kubernetes versions are not in order, each once: {', '.join(versions)}"
    defaults = [known for known in offer.kubernetes if known.default]
    if len(defaults) != 1 or defaults[0].status is not VersionStatus.SUPPORTED:
        yield "exactly one supported Kubernetes version must be the default"
    for version in offer.orderable_kubernetes():
        if catalogue.newest_release(version) is None:
            yield f"no release runs on Kubernetes {version}"


def _missing(given: Collection[str], expected: Iterable[str], what: str) -> Iterator[str]:
    for name in expected:
        if name not in given:
            yield f"{what} {name} is missing"
