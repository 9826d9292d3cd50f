"""The network that we make for a deployment: what it and its subnets are called, and how its parts are changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azure.mgmt.network import NetworkManagementClient

from activities.azure.existing import if_exists
from activities.azure.groups import group_name
from activities.azure.ids import resource_id
from activities.azure.ownership import ours_or_none
from activities.azure.part import AzurePart
from activities.azure.subnets import SUBNET, VNET, Document, change_subnet, read_subnet
from domain.deployment import Site
from domain.naming import base_name

NODES, SERVER = "nodes", "apiserver"
"""Names of the subnets."""


def vnet_id(site: Site) -> str:
    """Return the id of the network."""
    return resource_id(site, VNET, base_name(site))


def subnet_id(site: Site, name: str) -> str:
    """Return the id of one of its subnets."""
    return resource_id(site, SUBNET, base_name(site), name)


def own_vnet(client: NetworkManagementClient, site: Site) -> Any | None:  # noqa: ANN401 - the SDK is not typed here
    """Return the network, None if there is none (any more), or only somebody else's of that name."""
    return ours_or_none(if_exists(lambda: client.virtual_networks.get(group_name(site), base_name(site))), site)


class AzureSubnetPart(AzurePart):
    """Activities on something that a subnet is connected with."""

    def _connect(self, client: NetworkManagementClient, subnet: Any, properties: Document, what: str) -> None:  # noqa: ANN401 - as above
        """Let a subnet that was read have further properties."""
        self._change(client, subnet, lambda document: document.update(properties), what)

    def _disconnect(self, client: NetworkManagementClient, site: Site, field: str, what: str) -> None:
        """Let the nodes' subnet be without something, which could not be deleted before; only in a network of ours."""
        if own_vnet(client, site) is None:
            return
        subnet = if_exists(lambda: read_subnet(client, subnet_id(site, NODES)))
        if subnet is not None and subnet.properties.get(field) is not None:
            self._change(client, subnet, lambda document: document.pop(field), what)

    def _change(
        self,
        client: NetworkManagementClient,
        subnet: Any,  # noqa: ANN401 - as above
        change: Callable[[Document], object],
        what: str,
    ) -> None:
        change_subnet(client, subnet, change)
        self._made(lambda: read_subnet(client, subnet.id), what)
