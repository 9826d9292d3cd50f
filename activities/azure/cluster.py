"""The AKS control plane."""

from __future__ import annotations

from datetime import timedelta

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from temporalio import activity

from activities.azure.aks import (
    CLUSTER,
    USER_CREDENTIALS,
    Document,
    as_facts,
    find_cluster,
    is_settled,
    one_operation_at_a_time,
    pools_of_ours,
    state_of,
)
from activities.azure.cluster_identity import find_identity, lend_roles, way_out
from activities.azure.cluster_settings import changeable, creation, differing
from activities.azure.cluster_writing import AzureClusterWriting
from activities.azure.controller_made import is_node_group
from activities.azure.errors import code_of, failures_named
from activities.azure.existing import if_exists
from activities.azure.granting import ASSIGNING
from activities.azure.groups import EMPTYING, ENSURING, group_name, node_group_name
from activities.azure.health import health_failure
from activities.azure.roles import IDENTITY, RoleName
from activities.azure.subnets import SUBNET
from activities.azure.system_pool import READ_SIZES, system_pool
from activities.azure.versions import has_half_upgraded
from activities.contracts import ClusterContract, ClusterRequest
from activities.needs import needs
from activities.patience import is_young
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Cluster
from domain.naming import base_name

_NOT_ALLOWED_YET = frozenset({
    "AzureKeyVaultKmsValidateIdentityPermissionFailed", "CustomKubeletIdentityMissingPermissionError",
})  # fmt: skip
"""Codes by which AKS says that the cluster's identity lacks a role, which may only not count yet."""
_NOT_LINKED = "LinkedAuthorizationFailed"
"""The same by whatever the cluster is linked with; also about our own application."""
_ROLES_COUNT_AFTER = timedelta(minutes=30)
"""A role may take ten minutes to count, and a cluster as long to fail for it."""


class AzureCluster(AzureClusterWriting, ClusterContract):
    """Makes, converges and deletes the control plane."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *ENSURING, *ASSIGNING, f"{CLUSTER}/read", f"{CLUSTER}/write", f"{CLUSTER}/delete", USER_CREDENTIALS,
        f"{IDENTITY}/read", f"{IDENTITY}/assign/action", READ_SIZES, "Microsoft.Compute/diskEncryptionSets/read",
        f"{SUBNET}/read", f"{SUBNET}/join/action",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_cluster(self, request: ClusterRequest) -> Cluster:
        """The control plane runs, set up as `creation` says; whatever differs is put back.

        Beside it runs the pool of AKS's own pods. The Kubernetes version is left as it is: moving that is an upgrade. A
        control plane that AKS failed to make is deleted, as long as it has no nodes of ours, so that the next look
        makes it again; with nodes it is written once more, which is how AKS cures it. One in which an upgrade failed
        is left to the next upgrade: written, it would be upgraded further.
        """
        site, name = request.site, base_name(request.site)
        with failures_named(resource=name):
            self._ensure_group(site)
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OPERATE)
            cluster = find_cluster(aks, site)
            if cluster is None:
                self._create_cluster(aks, request)
                raise self._look_again(f"AKS is creating {name}")
            if not is_settled(cluster):
                raise self._look_again(f"AKS reports {name} as {state_of(cluster)}")
            settings = changeable(request, self._settings.egress_cidrs)
            if has_half_upgraded(cluster):
                return as_facts(aks, site, cluster)
            if state_of(cluster) != "Succeeded":
                raise self._give_up_on_cluster(aks, site, cluster)
            self._put_back(aks, site, cluster, differing(cluster, settings))
            return as_facts(aks, site, cluster)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *EMPTYING, f"{CLUSTER}/read", f"{CLUSTER}/delete",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_cluster(self, site: Site) -> None:
        """The control plane is gone with the pool of AKS's own pods, and so is the group of the nodes."""
        name = base_name(site)
        with failures_named(resource=name):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.DELETE)
            cluster = find_cluster(aks, site)
            if cluster is not None:
                if not is_settled(cluster):
                    raise self._look_again(f"AKS reports {name} as {state_of(cluster)}")
                # The pools of a cluster that never came up cannot be deleted by themselves.
                if state_of(cluster) == "Succeeded" and pools_of_ours(cluster):
                    raise self._look_again(f"AKS cluster {name} still has node pools")
                with one_operation_at_a_time(self._look_again):
                    if_exists(lambda: aks.managed_clusters.begin_delete(group_name(site), name, polling=False))
                raise self._look_again(f"AKS is deleting {name}")
            self._delete_node_group(site)
            self._delete_group_if_empty(site)

    def _create_cluster(self, aks: ContainerServiceClient, request: ClusterRequest) -> None:
        site = request.site
        outbound = way_out(self._connections.client(NetworkManagementClient, site, Purpose.OPERATE), request.network)
        if not outbound:
            raise self._look_again("the NAT gateway of the nodes' subnet is not there yet")
        identities = self._connections.client(ManagedServiceIdentityClient, site, Purpose.OPERATE)
        own, nodes = (find_identity(identities, site, role) for role in (RoleName.CLUSTER, RoleName.NODES))
        if own is None or nodes is None:
            raise self._look_again("the identities of cluster and nodes are not visible yet")
        authorization = self._connections.client(AuthorizationManagementClient, site, Purpose.OPERATE)
        lend_roles(authorization, request, str(own.principal_id))
        compute = self._connections.client(ComputeManagementClient, site, Purpose.OPERATE)
        wanted = creation(
            request,
            self._settings.egress_cidrs,
            system_pool=system_pool(compute, site, request.network),
            nodes={"resourceId": nodes.id, "clientId": nodes.client_id, "objectId": nodes.principal_id},
            identity=own.id,
            outbound=outbound,
        )
        try:
            aks.managed_clusters.begin_create_or_update(
                group_name(site),
                base_name(site),
                wanted,
                # Nobody else's cluster is ever overwritten.
                match_condition=MatchConditions.IfMissing,
                polling=False,
            )
        except ResourceExistsError as error:
            raise self._look_again(f"AKS cluster {base_name(site)} is not visible yet") from error
        except HttpResponseError as error:
            if is_not_allowed_yet(error, str(own.client_id)) and is_young(self._settings.delegation_grace):
                raise self._look_again("the roles of the cluster's identity do not count yet") from error
            raise

    def _give_up_on_cluster(self, aks: ContainerServiceClient, site: Site, cluster: Document) -> Exception:
        """Delete a control plane that never came up, or write it again, and return the failure that says why."""
        with one_operation_at_a_time(self._look_again):
            if pools_of_ours(cluster):
                self._write(aks, site, cluster)
            else:
                if_exists(lambda: aks.managed_clusters.begin_delete(group_name(site), base_name(site), polling=False))
        reported = health_failure(cluster, f"the AKS cluster {base_name(site)}")
        if reported.details[0].code == _NOT_LINKED and is_young(_ROLES_COUNT_AFTER):
            return self._look_again("a role of the cluster's identity did not count yet when AKS made the cluster")
        return reported

    def _delete_node_group(self, site: Site) -> None:
        """Let the group of the nodes be gone, which AKS deletes with the cluster unless something keeps it from that.

        Raises:
            ApplicationError: NOT_READY while it is on its way out.
        """
        resources = self._connections.client(ResourceManagementClient, site, Purpose.DELETE)
        group = if_exists(lambda: resources.resource_groups.get(node_group_name(site)))
        if group is None or not is_node_group(group, site):
            return
        if group.properties is None or group.properties.provisioning_state != "Deleting":
            if_exists(lambda: resources.resource_groups.begin_delete(node_group_name(site), polling=False))
        raise self._look_again(f"the resource group {node_group_name(site)} is being deleted")


def is_not_allowed_yet(error: HttpResponseError, client_id: str) -> bool:
    """Return whether AKS refuses because of a role of the cluster's identity, which may only not count yet."""
    code, message = code_of(error), str(error.message)
    return code in _NOT_ALLOWED_YET or (code == _NOT_LINKED and client_id in message)
