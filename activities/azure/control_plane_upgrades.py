"""Upgrading the control plane of AKS, and with it what AKS runs in every cluster."""

from __future__ import annotations

from azure.mgmt.containerservice import ContainerServiceClient
from temporalio import activity

from activities.azure.add_ons import AzureAddOnKeeping
from activities.azure.aks import CLUSTER, USER_CREDENTIALS, Document, as_facts, one_operation_at_a_time
from activities.azure.errors import failures_named
from activities.azure.health import health_failure
from activities.azure.roles import IDENTITY
from activities.azure.subnets import SUBNET
from activities.azure.versions import is_half_upgraded, minor_of, version_of
from activities.barrier import changes_are_barred
from activities.contracts import AddOn
from activities.failures import refused
from activities.needs import needs
from activities.upgrade_contracts import ControlPlaneUpgrade, UpgradeContract
from domain.clouds import Purpose
from domain.facts import Cluster
from domain.failure import FailureClass
from domain.naming import base_name

JOINING = (f"{SUBNET}/join/action", f"{IDENTITY}/assign/action", "Microsoft.Compute/diskEncryptionSets/read")
"""What writing a whole cluster needs, for what it is linked with."""


class AzureControlPlaneUpgrades(AzureAddOnKeeping, UpgradeContract):
    """Moves the control plane on."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{CLUSTER}/read", f"{CLUSTER}/write", USER_CREDENTIALS, *JOINING, purpose=Purpose.OPERATE)
    def upgrade_control_plane(self, request: ControlPlaneUpgrade) -> Cluster:
        """The control plane runs the asked minor version, or one beyond it, in the newest patch that AKS has of it.

        The cluster is written as it is, but for the version: the pools are in it with the versions that they have, and
        stay as they are. Whether AKS may pass over the use of interfaces that the version lacks is put back to no. What
        AKS failed to upgrade is written again, which is how AKS goes on.

        Raises:
            ApplicationError: CONFIG, if it is more than one minor version, or AKS has seen such a use.
        """
        site, name, wanted = request.site, base_name(request.site), minor_of(request.kubernetes)
        with failures_named(resource=name):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            cluster = self._running(aks, site)
            present = version_of(cluster["properties"])
            if minor_of(present) >= wanted:
                return as_facts(aks, site, cluster)
            if wanted != (minor_of(present)[0], minor_of(present)[1] + 1) and not changes_are_barred():
                message = f"AKS cluster {name} is at {present}: {request.kubernetes} would skip a minor version"
                raise refused(FailureClass.CONFIG, message, resource=name)
            reported = None
            if is_half_upgraded(cluster["properties"]):
                reported = health_failure(cluster, f"the AKS cluster {name} in Kubernetes {request.kubernetes}")
            with one_operation_at_a_time(self._look_again):
                _ask_for(cluster, request.kubernetes)
                self._write(aks, site, cluster)
            raise reported or self._look_again(f"AKS is upgrading {name} to Kubernetes {request.kubernetes}")

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{CLUSTER}/read", f"{CLUSTER}/write", *JOINING, purpose=Purpose.OPERATE)
    def upgrade_add_on(self, request: AddOn) -> None:
        """The add-on is switched on and the cluster healthy: AKS brings add-ons on with the control plane."""
        self._keep_add_on(request)


def _ask_for(cluster: Document, kubernetes: str) -> None:
    """Put another version of the control plane into a cluster."""
    properties = cluster["properties"]
    properties["kubernetesVersion"] = kubernetes
    settings = properties.get("upgradeSettings") or {}
    if (settings.get("overrideSettings") or {}).get("forceUpgrade"):
        settings["overrideSettings"]["forceUpgrade"] = False
