"""What other clouds install as add-ons: on AKS a part of every cluster, or a setting of it."""

from __future__ import annotations

from collections.abc import Mapping

from azure.mgmt.containerservice import ContainerServiceClient
from temporalio import activity

from activities.azure.aks import CLUSTER, Document, state_of
from activities.azure.cluster_settings import (
    CERTIFICATES,
    GATEWAY_API,
    GATEWAYS,
    ISSUER,
    STORAGE,
    WORKLOAD_IDENTITY,
    Setting,
    differing,
    enforces_policies,
)
from activities.azure.cluster_writing import AzureClusterWriting
from activities.azure.errors import failures_named
from activities.azure.health import health_failure
from activities.azure.versions import has_half_upgraded
from activities.contracts import AddOn, ClusterContract
from activities.failures import refused
from activities.needs import needs
from domain.clouds import Purpose
from domain.failure import FailureClass
from domain.naming import base_name

ADD_ONS: Mapping[str, tuple[Setting, ...]] = {
    # Cilium is network plug-in, network policies and kube-proxy in one; it is chosen when a cluster is made.
    "network": (),
    "dns": (),
    "storage": (STORAGE,),
    "metrics": (),
    "proxy": (CERTIFICATES, GATEWAY_API, GATEWAYS),
    "identity": (ISSUER, WORKLOAD_IDENTITY),
}
"""The settings on which each add-on depends, keyed by the contract's name. What has none, AKS runs in every cluster."""


class AzureAddOnKeeping(AzureClusterWriting):
    """Keeps add-ons switched on."""

    def _keep_add_on(self, request: AddOn) -> None:
        """Let an add-on be switched on in a healthy cluster.

        Raises:
            ApplicationError: NOT_READY while that is under way; CONFIG for an add-on that AKS does not have.
        """
        site, name = request.site, request.name
        if name not in ADD_ONS:
            message = f"There is no add-on {name!r} on AKS; there are {', '.join(ADD_ONS)}"
            raise refused(FailureClass.CONFIG, message, resource=name)
        with failures_named(resource=name):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            cluster = self._running(aks, site)
            if name == "network":
                _require_policies(cluster)
            self._put_back(aks, site, cluster, differing(cluster, ADD_ONS[name]))
            if state_of(cluster) != "Succeeded" and not has_half_upgraded(cluster):
                raise health_failure(cluster, f"the add-on {name} of {base_name(site)}")


class AzureAddOns(AzureAddOnKeeping, ClusterContract):
    """Installs what other clouds install as add-ons."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(f"{CLUSTER}/read", f"{CLUSTER}/write", purpose=Purpose.OPERATE)
    def install_add_on(self, request: AddOn) -> None:
        """The add-on is switched on, in the version that AKS gives the cluster, and the cluster is healthy."""
        self._keep_add_on(request)


def _require_policies(cluster: Document) -> None:
    """Refuse a cluster in which nothing enforces network policies."""
    if not enforces_policies(cluster):
        message = f"AKS cluster {cluster['name']} was made without Cilium, which can only be chosen then"
        raise refused(FailureClass.CONFIG, message, resource=str(cluster["name"]))
