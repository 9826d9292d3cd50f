"""What the cluster's own controllers make in the group of its nodes: the load balancer, its addresses, the disks.

They go when the workloads are deleted, as long as the controllers run, and with the cluster at the latest, since AKS
deletes the whole group. What is left before that, because a controller was gone first, is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from temporalio import activity

from activities.azure.aks import cluster_id
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import node_group_name
from activities.azure.ids import same_id
from activities.azure.ownership import is_ours, require_ours
from activities.azure.part import AzurePart
from activities.contracts import ClusterContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site

BALANCER = "Microsoft.Network/loadBalancers"
PUBLIC_BALANCER = "kubernetes"
BALANCERS = frozenset({PUBLIC_BALANCER, "kubernetes-internal"})
"""How the cloud provider calls the load balancers of Services. AKS has others, such as that of the API server."""
_SERVICE = "k8s-azure-service"
"""Tag by which it says for which Services an address is."""
_CLAIM = "kubernetes.io-created-for-pvc-name"
"""Tag by which the storage driver says for which claim a disk is."""


class AzureControllerMade(AzurePart, ClusterContract):
    """Deletes what the cluster's controllers left."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Network/loadBalancers/read",
        "Microsoft.Network/loadBalancers/delete", "Microsoft.Network/publicIPAddresses/read",
        "Microsoft.Network/publicIPAddresses/delete", "Microsoft.Compute/disks/read", "Microsoft.Compute/disks/delete",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_load_balancers_and_volumes(self, site: Site) -> None:
        """No load balancer of a Service and no volume of the deployment's cluster is left; others are untouched.

        The addresses go after the load balancer that uses them.
        """
        with failures_named():
            if not self._has_node_group(site):
                return
            network = self._connections.client(NetworkManagementClient, site, Purpose.DELETE)
            compute = self._connections.client(ComputeManagementClient, site, Purpose.DELETE)
            group = node_group_name(site)
            disks = list(volumes_of(compute.disks.list_by_resource_group(group)))
            for disk in disks:
                if disk.managed_by is None:
                    _begin(compute.disks.begin_delete, group, disk.name)
            balancers = [each for each in network.load_balancers.list(group) if each.name in BALANCERS]
            for balancer in balancers:
                _begin(network.load_balancers.begin_delete, group, balancer.name)
            addresses = list(addresses_of(network.public_ip_addresses.list(group)))
            if not balancers:
                for address in addresses:
                    _begin(network.public_ip_addresses.begin_delete, group, address.name)
            if left := [each.name for each in (*balancers, *addresses, *disks)]:
                raise self._look_again(f"Azure is deleting {', '.join(left)}")

    def _has_node_group(self, site: Site) -> bool:
        """Return whether the group of the nodes exists.

        Raises:
            ApplicationError: NOT_OURS, if somebody else's group has its name.
        """
        resources = self._connections.client(ResourceManagementClient, site, Purpose.DELETE)
        group = if_exists(lambda: resources.resource_groups.get(node_group_name(site)))
        if group is None:
            return False
        if not is_node_group(group, site):
            require_ours({}, site, f"resource group {node_group_name(site)}")
        return True


def is_node_group(group: Any, site: Site) -> bool:  # noqa: ANN401 - a model of the SDK
    """Return whether AKS made a group for the nodes of the deployment's cluster; it hands on the cluster's tags."""
    return is_ours(group.tags, site) and same_id(group.managed_by or "", cluster_id(site))


def addresses_of(addresses: Iterable[Any]) -> Iterator[Any]:
    """Yield the public addresses that are for Services."""
    return (each for each in addresses if _SERVICE in _tags(each))


def volumes_of(disks: Iterable[Any]) -> Iterator[Any]:
    """Yield the disks that are for claims."""
    return (each for each in disks if _CLAIM in _tags(each))


def _tags(resource: Any) -> Mapping[str, str]:  # noqa: ANN401 - a model of the SDK
    tags: Mapping[str, str] = resource.tags or {}
    return tags


def _begin(deletion: Callable[..., object], group: str, name: str) -> None:
    """Begin to delete something in a group, unless it is gone already."""
    if_exists(lambda: deletion(group, name, polling=False))
