"""The Kubernetes side of an upgrade: look, try one pod, compare, go on or back, migrate."""

from __future__ import annotations

from temporalio import activity

from activities.contracts import ComponentRequest
from activities.kubernetes import canary, inspection, measuring, one_off
from activities.kubernetes.access import KubernetesConnections
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.components import component_manifests
from activities.kubernetes.manifests.desired import Desired
from activities.kubernetes.settings import KubernetesSettings
from activities.kubernetes.smoke import PublicEndpoint
from activities.upgrade_contracts import (
    MeasurementRequest,
    MigrationRequest,
    NodeValidation,
    ServerCheckRequest,
    ServerUpgradeContract,
)
from domain.facts import ComponentStatus
from domain.upgrade import Check, Measurement


class ServerUpgrade(ServerUpgradeContract):
    """Upgrades the server in the clusters of one cloud."""

    _connections: KubernetesConnections
    _cloud: CloudManifests
    _settings: KubernetesSettings

    @activity.defn(no_thread_cancel_exception=True)
    def check_server(self, request: ServerCheckRequest) -> tuple[Check, ...]:
        """Return what was seen of nodes, pods, disruption budgets and webhooks; see `inspection`."""
        api = self._connections.api(request.site, request.cluster)
        return inspection.inspect(api, high_availability=request.high_availability)

    @activity.defn(no_thread_cancel_exception=True)
    def validate_node(self, request: NodeValidation) -> Check:
        """Run a job on the canary node of the pool and return whether node, daemons and job are as they should be."""
        api = self._connections.api(request.site, request.cluster)
        return one_off.validate_node(api, request.pool, request.kubernetes, self._cloud, self._settings)

    @activity.defn(no_thread_cancel_exception=True)
    def stage_canary(self, request: ComponentRequest) -> ComponentStatus:
        """Let one pod of the component run the new release, and return once it is ready; the others stay.

        A store with a single replica is updated as a whole. See `canary.stage`.
        """
        api = self._connections.api(request.site, request.cluster)
        workload = canary.workload_of(self._manifests(request))
        return canary.stage(api, request.component, request.release, workload, self._settings)

    @activity.defn(no_thread_cancel_exception=True)
    def measure(self, request: MeasurementRequest) -> Measurement:
        """Return what canary and control have counted, after so many requests of our own."""
        api = self._connections.api(request.site, request.cluster)
        with PublicEndpoint(request.site, request.domain.name, self._settings) as public:
            measuring.exercise(api, public, request.component, request.exercise, self._settings, activity.heartbeat)
        return measuring.measure(api, request.component, request.release)

    @activity.defn(no_thread_cancel_exception=True)
    def roll_back_component(self, request: ComponentRequest) -> ComponentStatus:
        """Put the release of the request back, delete pods stuck in the other one, wait until all are ready."""
        api = self._connections.api(request.site, request.cluster)
        desired = self._manifests(request)
        return canary.roll_back(api, request.component, request.release, desired, self._settings)

    @activity.defn(no_thread_cancel_exception=True)
    def migrate(self, request: MigrationRequest) -> None:
        """Run one phase of the migration by a job of the store's image, to its end; again, it changes nothing."""
        api = self._connections.api(request.site, request.cluster)
        one_off.migrate(api, request.release, request.phase, self._cloud, self._settings)

    def _manifests(self, request: ComponentRequest) -> Desired:
        return component_manifests(
            request.site, request.component, request.release, request.shape, request.spec, cloud=self._cloud
        )
