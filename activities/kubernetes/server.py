"""The Kubernetes side of the contract: the server's five components, installed and used through the cluster's API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.contracts import (
    ApiKeysRequest,
    BackupRequest,
    ComponentRequest,
    EndpointRequest,
    KubernetesContract,
    NamespaceRequest,
    RestoreRequest,
    SmokeTestRequest,
    StorageClassRequest,
)
from activities.kubernetes import api_keys, backups, deletion, smoke
from activities.kubernetes.access import KubernetesConnections
from activities.kubernetes.apply import bring_about, bring_in_line
from activities.kubernetes.canary import workload_of
from activities.kubernetes.component import rolled_out
from activities.kubernetes.credentials import ClusterCredentials, ClusterFinder
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.desired import Desired
from activities.kubernetes.manifests.endpoint import address_of, entrance_reference
from activities.kubernetes.manifests.foundation import foundation, storage_class
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from activities.kubernetes.objects import EVENT, about
from activities.kubernetes.patience import still_waiting
from activities.kubernetes.rollout import entrance_problem
from activities.kubernetes.settings import KubernetesSettings
from activities.kubernetes.upgrade import ServerUpgrade
from domain.deployment import Site
from domain.facts import Backup, ComponentStatus, LoadBalancer, RestoreProof, SmokeTest
from domain.failure import FailureClass


class KubernetesServer(ServerUpgrade, KubernetesContract):
    """Installs, uses, upgrades and removes the server in the clusters of one cloud."""

    def __init__(
        self,
        credentials: ClusterCredentials,
        finder: ClusterFinder,
        cloud: CloudManifests,
        settings: KubernetesSettings,
    ) -> None:
        self._connections = KubernetesConnections(credentials, settings)
        self._finder = finder
        self._cloud = cloud
        self._settings = settings

    def activities(self) -> list[Callable[..., Any]]:
        """Return what a worker registers."""
        return [
            self.create_storage_class,
            self.create_namespace,
            self.install_component,
            self.open_endpoint,
            self.smoke_test,
            self.back_up,
            self.prove_restore,
            self.apply_api_keys,
            self.delete_workloads,
            self.check_server,
            self.validate_node,
            self.stage_canary,
            self.measure,
            self.roll_back_component,
            self.migrate,
        ]

    def close(self) -> None:
        """Close the connections to all clusters."""
        self._connections.close()

    @activity.defn(no_thread_cancel_exception=True)
    def create_storage_class(self, request: StorageClassRequest) -> None:
        """Apply the encrypted storage class and make it the default."""
        api = self._connections.api(request.site, request.cluster)
        bring_in_line(api, storage_class(request.site, request.key, self._cloud))

    @activity.defn(no_thread_cancel_exception=True)
    def create_namespace(self, request: NamespaceRequest) -> None:
        """Apply namespace, service accounts, deny-by-default network policies, secrets, the webhook's configuration.

        API keys that the cluster has already are left as they are.
        """
        api = self._connections.api(request.site, request.cluster)
        bring_about(api, foundation(request.site, request.auth_webhook, self._cloud, request.roles))
        api_keys.make_empty(api)

    @activity.defn(no_thread_cancel_exception=True)
    def install_component(self, request: ComponentRequest) -> ComponentStatus:
        """Apply one component and wait until it is rolled out; one that is held for its canary goes on.

        Raises:
            ApplicationError: NOT_READY while it is under way; after the grace, what keeps it from going on: CONFIG for
                an image or a crash loop, CAPACITY for a pod without a node, QUOTA or POLICY for what is not admitted.
        """
        api = self._connections.api(request.site, request.cluster)
        desired = self._manifests(request)
        bring_about(api, desired)
        return rolled_out(api, request.component, request.release, workload_of(desired), self._settings)

    @activity.defn(no_thread_cancel_exception=True)
    def open_endpoint(self, request: EndpointRequest) -> LoadBalancer:
        """Apply what the load balancer is made for and return its address once it has one."""
        api = self._connections.api(request.site, request.cluster)
        bring_about(api, Desired(self._cloud.endpoint(request.site, request.network, request.certificate)))
        reference = entrance_reference(self._cloud.entrance())
        entrance = api.get(reference)
        if entrance is None:
            raise still_waiting(self._settings, f"{reference} is not there yet")
        if address := address_of(entrance):
            return LoadBalancer(hostname=address)
        problem = entrance_problem(entrance, api.list(EVENT, namespace=SERVER_NAMESPACE, fields=about(reference)))
        raise still_waiting(self._settings, "the load balancer has no address yet", problem)

    @activity.defn(no_thread_cancel_exception=True)
    def smoke_test(self, request: SmokeTestRequest) -> SmokeTest:
        """Use the server as a client would; see `smoke.smoke_test`."""
        api = self._connections.api(request.site, request.cluster)
        with smoke.PublicEndpoint(request.site, request.domain.name, self._settings) as public:
            return smoke.smoke_test(
                api,
                public,
                request.release,
                self._settings,
                read_only=request.read_only,
                heartbeat=activity.heartbeat,
            )

    @activity.defn(no_thread_cancel_exception=True)
    def back_up(self, request: BackupRequest) -> Backup:
        """Run the backup job and return its object once it is complete."""
        api = self._connections.api(request.site, request.cluster)
        return backups.back_up(api, request, self._cloud, self._settings)

    @activity.defn(no_thread_cancel_exception=True)
    def prove_restore(self, request: RestoreRequest) -> RestoreProof:
        """Restore into an isolated namespace, compare checksum and number of records, and remove the namespace."""
        api = self._connections.api(request.site, request.cluster)
        return backups.prove_restore(api, request, self._cloud, self._settings)

    @activity.defn(no_thread_cancel_exception=True)
    def apply_api_keys(self, request: ApiKeysRequest) -> None:
        """Make the server accept exactly the keys that are valid."""
        api = self._connections.api(request.site, request.cluster)
        api_keys.replace_all(api, request.keys, datetime.now(UTC))

    @activity.defn(no_thread_cancel_exception=True)
    def delete_workloads(self, site: Site) -> None:
        """Delete the endpoint, the workloads and their claims, and wait for what controllers made for them.

        A cluster that does not exist (any more) has no workloads: that is success. One that does not answer is such
        a cluster only if the cloud says so.
        """
        cluster = self._finder.find(site)
        if cluster is None:
            return
        try:
            deletion.delete_workloads(self._connections.api(site, cluster), self._cloud, self._settings)
        except ApplicationError as error:
            silent = error.type in {FailureClass.TRANSIENT, FailureClass.AUTH}
            if not silent or self._finder.find(site) is not None:
                raise
