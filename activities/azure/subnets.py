"""Subnets: several steps change one, each its own part, so each writes only what nobody else changed since it read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azure.mgmt.network import NetworkManagementClient

from activities.azure.ids import group_of, name_of

VNET = "Microsoft.Network/virtualNetworks"
SUBNET = f"{VNET}/subnets"
SERVER_DELEGATION = "Microsoft.ContainerService/managedClusters"
"""What the subnet of an API server is delegated to."""
ENDPOINTS = ("Microsoft.KeyVault", "Microsoft.Storage")
"""Services that the nodes' subnet reaches inside Azure's own network."""

Document = dict[str, Any]


def network_of(subnet: str) -> str:
    """Return the id of the network in which a subnet lies, by its id."""
    return subnet.rpartition("/subnets/")[0]


def read_subnet(client: NetworkManagementClient, subnet: str) -> Any:  # noqa: ANN401 - the SDK is not typed here
    """Return a subnet by its id."""
    return client.subnets.get(group_of(subnet), name_of(network_of(subnet)), name_of(subnet))


def range_of(subnet: Any) -> str:  # noqa: ANN401 - the SDK is not typed here
    """Return a subnet's range of IPv4; Azure has it in one field or in another."""
    return str(subnet.address_prefix or next(iter(subnet.address_prefixes or ()), ""))


def delegations_of(subnet: Any) -> set[str]:  # noqa: ANN401 - the SDK is not typed here
    """Return the services to which a subnet is delegated."""
    return {each.service_name for each in subnet.delegations or ()}


def endpoints_of(subnet: Any) -> set[str]:  # noqa: ANN401 - the SDK is not typed here
    """Return the services that a subnet reaches inside Azure's own network."""
    return {each.service for each in subnet.service_endpoints or ()}


def change_subnet(client: NetworkManagementClient, subnet: Any, change: Callable[[Document], object]) -> None:  # noqa: ANN401 - as above
    """Begin to write a subnet with a change to its properties.

    Raises:
        HttpResponseError: 412 if somebody else has changed it since it was read.
    """
    document: Document = subnet.as_dict(exclude_readonly=True)
    change(document["properties"])
    client.subnets.begin_create_or_update(
        group_of(subnet.id),
        name_of(network_of(subnet.id)),
        subnet.name,
        document,
        headers={"If-Match": subnet.etag},
        polling=False,
    )
