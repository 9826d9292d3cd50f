"""The way out of the network: a NAT gateway with one address that stays, so that the customer can allow it elsewhere.

The address belongs to all zones. The gateway stands in one, which Azure chooses.
"""

from __future__ import annotations

from typing import Any

from azure.mgmt.network import NetworkManagementClient
from temporalio import activity

import catalog
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import EMPTYING, group_name
from activities.azure.ids import resource_id, same_id
from activities.azure.own_network import AzureSubnetPart
from activities.azure.ownership import find_ours, ours_or_none, tags_with_ours
from activities.azure.subnets import SUBNET, VNET, read_subnet
from activities.contracts import InNetwork, NetworkContract
from activities.needs import needs
from domain.clouds import Cloud, Purpose
from domain.deployment import Site
from domain.naming import owner_tags, resource_name

ADDRESS = "Microsoft.Network/publicIPAddresses"
GATEWAY = "Microsoft.Network/natGateways"
GROUP_JOIN = "Microsoft.Network/networkSecurityGroups/join/action"
"""Writing a subnet needs it for whatever the subnet has already."""
_NAME = "egress"
_IDLE_MINUTES = 4
"""After which a connection without traffic is forgotten; the least, and what Azure takes by itself."""


class AzureEgress(AzureSubnetPart, NetworkContract):
    """Makes gateway and address, and takes them away."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        f"{ADDRESS}/join/action", f"{ADDRESS}/read", f"{ADDRESS}/write", f"{GATEWAY}/join/action",
        f"{GATEWAY}/read", f"{GATEWAY}/write", f"{SUBNET}/read", f"{SUBNET}/write", GROUP_JOIN,
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_egress(self, request: InNetwork) -> None:
        """The nodes' subnet reaches out through a gateway with an address of its own, and no other subnet does.

        A network of the customer's own has its own way out, which was verified.
        """
        if not request.network.ours:
            return
        site = request.site
        with failures_named():
            client = self._connections.client(NetworkManagementClient, site, Purpose.OPERATE)
            self._ensure_address(client, site)
            self._ensure_gateway(client, site)
            subnet = read_subnet(client, request.network.private_subnet_ids[0])
            if subnet.nat_gateway is None or not same_id(subnet.nat_gateway.id, _gateway_id(site)):
                gateway = {"natGateway": {"id": _gateway_id(site)}}
                self._connect(client, subnet, gateway, "the way out of the nodes' subnet")

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *EMPTYING, f"{ADDRESS}/delete", f"{ADDRESS}/read", f"{GATEWAY}/delete", f"{GATEWAY}/read", f"{VNET}/read",
        f"{SUBNET}/read", f"{SUBNET}/write", GROUP_JOIN,
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_egress(self, site: Site) -> None:
        """No gateway and no address of the deployment is left."""
        name, group = resource_name(site, _NAME), group_name(site)
        with failures_named():
            client = self._connections.client(NetworkManagementClient, site, Purpose.DELETE)
            self._disconnect(client, site, "natGateway", "the nodes' subnet without its way out")
            gateways, addresses = client.nat_gateways, client.public_ip_addresses
            self._deleted(
                lambda: ours_or_none(if_exists(lambda: gateways.get(group, name)), site),
                lambda: gateways.begin_delete(group, name, polling=False),
                f"NAT gateway {name}",
            )
            self._deleted(
                lambda: ours_or_none(if_exists(lambda: addresses.get(group, name)), site),
                lambda: addresses.begin_delete(group, name, polling=False),
                f"address {name}",
            )
            self._delete_group_if_empty(site)

    def _ensure_address(self, client: NetworkManagementClient, site: Site) -> None:
        name, group, tags = resource_name(site, _NAME), group_name(site), owner_tags(site, _NAME)
        addresses = client.public_ip_addresses
        region = catalog.load().clouds[Cloud.AZURE].region(site.region)
        zones = region.zones if region is not None else ()

        def look() -> Any | None:  # noqa: ANN401 - the SDK is not typed here
            return find_ours(lambda: addresses.get(group, name), site, f"address {name}")

        def write() -> None:
            wanted = {
                "location": site.region,
                "tags": tags,
                "sku": {"name": "Standard", "tier": "Regional"},
                "zones": list(zones),
                "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
            }
            addresses.begin_create_or_update(group, name, wanted, polling=False)

        found = self._written(look, write, f"the address {name}")
        if tags_with_ours(found.tags, tags) != found.tags:
            addresses.update_tags(group, name, {"tags": tags_with_ours(found.tags, tags)})

    def _ensure_gateway(self, client: NetworkManagementClient, site: Site) -> None:
        name, group, tags = resource_name(site, _NAME), group_name(site), owner_tags(site, _NAME)
        gateways, address = client.nat_gateways, resource_id(site, ADDRESS, resource_name(site, _NAME))

        def look() -> Any | None:  # noqa: ANN401 - the SDK is not typed here
            return find_ours(lambda: gateways.get(group, name), site, f"NAT gateway {name}")

        def write() -> None:
            wanted = {
                "location": site.region,
                "tags": tags,
                "sku": {"name": "Standard"},
                "properties": {"publicIpAddresses": [{"id": address}], "idleTimeoutInMinutes": _IDLE_MINUTES},
            }
            gateways.begin_create_or_update(group, name, wanted, polling=False)

        found = self._written(look, write, f"the NAT gateway {name}")
        has = [each.id.lower() for each in found.public_ip_addresses or ()]
        if has != [address.lower()] or tags_with_ours(found.tags, tags) != found.tags:
            write()
            self._made(look, f"the NAT gateway {name}")


def _gateway_id(site: Site) -> str:
    return resource_id(site, GATEWAY, resource_name(site, _NAME))
