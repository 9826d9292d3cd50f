"""A highly available server on its way from one release to the next, as the tests of upgrades use it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import catalog
from activities.contracts import ComponentRequest
from activities.upgrade_contracts import MeasurementRequest, MigrationRequest
from domain.deployment import Site
from domain.facts import ComponentStatus
from domain.release import Release
from domain.shape import Component
from domain.upgrade import Measurement, MigrationPhase
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object
from tests.activities.kubernetes.playground import REAL_SECONDS, Playground
from tests.activities.kubernetes.samples import BUCKET, DOMAIN, MEDIUM, SITE, spec_of

OLD, NEW = (next(release for release in catalog.load().releases if release.version == v) for v in ("4.11.0", "4.12.1"))
"""Two releases, of which the new one has another schema epoch."""


def bad(component: Component, image: str = "registry.vendor.example/server/{}@sha256:bad") -> Release:
    """Return the new release, of the old schema epoch, with another image of one component."""
    images = {**NEW.components, component: image.format(component)}
    return NEW.model_copy(update={"components": images, "version": "4.12.9", "schema_epoch": OLD.schema_epoch})


SAME_EPOCH = NEW.model_copy(update={"version": "4.12.8", "schema_epoch": OLD.schema_epoch})
"""The new release as if it needed no migration."""


class Upgraded(Playground):
    """A highly available server of the old release, and the steps of its upgrade."""

    def __init__(self, folder: Path, *, components: tuple[Component, ...] = tuple(Component)) -> None:
        super().__init__(folder, nodes_in_each_zone=2, size=MEDIUM)
        self.found()
        for component in components:
            self.promote(component, OLD)
        self.open()

    def request(self, component: Component, release: Release) -> ComponentRequest:
        """Return the request of staging, installing or rolling back."""
        spec = spec_of(MEDIUM, high_availability=True)
        return ComponentRequest(
            site=SITE,
            cluster=self.cluster,
            component=component,
            release=release,
            shape=MEDIUM,
            spec=spec,
            bucket=BUCKET,
        )

    def stage(self, component: Component, release: Release) -> ComponentStatus:
        """Stage the canary until it is ready."""
        return self.until_done(self.server.stage_canary, self.request(component, release))

    def promote(self, component: Component, release: Release) -> ComponentStatus:
        """Install the component until it is rolled out."""
        return self.until_done(self.server.install_component, self.request(component, release))

    def roll_back(self, component: Component) -> ComponentStatus:
        """Put the old release back until all is ready."""
        return self.until_done(self.server.roll_back_component, self.request(component, OLD))

    def measure(self, component: Component, release: Release, exercise: int = 12) -> Measurement:
        """Measure canary and control after some requests."""
        request = MeasurementRequest(
            site=SITE, cluster=self.cluster, component=component, release=release, domain=DOMAIN, exercise=exercise
        )
        return self.until_done(self.server.measure, request)

    def migration(self, phase: MigrationPhase, release: Release = NEW, site: Site = SITE) -> MigrationRequest:
        """Return the request of one phase."""
        return MigrationRequest(site=site, cluster=self.cluster, release=release, phase=phase)

    def until(self, seen: Callable[[], bool]) -> None:
        """Wait until something is seen."""
        deadline = time.monotonic() + REAL_SECONDS
        while not seen():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def pods(self, component: Component) -> list[Object]:
        """Return the component's pods that are not on their way out."""
        return [
            pod
            for pod in self.listed(kinds.PODS, "byoc-server")
            if pod["metadata"]["labels"]["app.kubernetes.io/name"] == component
            and "deletionTimestamp" not in pod["metadata"]
        ]

    def releases(self, component: Component) -> list[str]:
        """Return the release of each pod, in the order of their names for the store."""
        found = sorted(self.pods(component), key=lambda pod: str(pod["metadata"]["name"]))
        return [pod["metadata"]["labels"]["app.kubernetes.io/version"] for pod in found]
