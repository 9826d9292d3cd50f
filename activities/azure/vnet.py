"""The virtual network with its two subnets: of the nodes, and of the API server. Both span all zones."""

from __future__ import annotations

from typing import Any

from azure.mgmt.network import NetworkManagementClient
from temporalio import activity

from activities.azure.customer_network import verified_network
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import EMPTYING, ENSURING, group_name
from activities.azure.own_network import NODES, SERVER, own_vnet, subnet_id, vnet_id
from activities.azure.ownership import find_ours, tags_with_ours
from activities.azure.part import AzurePart
from activities.azure.subnets import (
    ENDPOINTS,
    SERVER_DELEGATION,
    SUBNET,
    VNET,
    Document,
    change_subnet,
    delegations_of,
    range_of,
    read_subnet,
)
from activities.contracts import NetworkContract, NetworkRequest
from activities.failures import refused
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import AddressPlan, Network
from domain.failure import FailureClass
from domain.naming import base_name, owner_tags


class AzureVnet(AzurePart, NetworkContract):
    """Makes network and subnets, and takes them away; verifies the customer's own and leaves it as it is."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *ENSURING, f"{VNET}/read", f"{VNET}/write", f"{SUBNET}/read", f"{SUBNET}/write",
        purpose=Purpose.OPERATE, why="Make the network and its subnets",
    )  # fmt: skip
    @needs(
        "Microsoft.Network/routeTables/read",
        purpose=Purpose.OPERATE, why="Verify a network of the customer's own",
    )  # fmt: skip
    def create_network(self, request: NetworkRequest) -> Network:
        """One network exists with a subnet for nodes and one, delegated to AKS, for the API server.

        The customer's own network is verified instead, and every finding is in one error.
        """
        site, plan = request.site, request.addresses
        with failures_named():
            client = self._connections.client(NetworkManagementClient, site, Purpose.OPERATE)
            if request.network.existing is not None:
                return verified_network(client, site, request)
            self._ensure_group(site)
            self._ensure_network(client, site, plan)
            subnets = {name: self._ensure_subnet(client, site, name, plan) for name in (NODES, SERVER)}
        return Network(
            network_id=vnet_id(site),
            private_subnet_ids=(subnets[NODES],),
            public_subnet_ids=(subnets[SERVER],),
            pod_range=plan.pod_cidr,
            service_range=plan.service_cidr,
        )

    @activity.defn(no_thread_cancel_exception=True)
    @needs(*EMPTYING, f"{VNET}/delete", f"{VNET}/read", purpose=Purpose.DELETE, why="Delete the network")
    def delete_network(self, site: Site) -> None:
        """No network of the deployment is left; what is still in use is looked at again."""
        name = base_name(site)
        with failures_named():
            client = self._connections.client(NetworkManagementClient, site, Purpose.DELETE)
            networks = client.virtual_networks
            found = own_vnet(client, site)
            if found is not None:
                self._deleted(
                    lambda: own_vnet(client, site),
                    lambda: networks.begin_delete(group_name(site), name, polling=False),
                    f"network {name}",
                )
            self._delete_group_if_empty(site)

    def _ensure_network(self, client: NetworkManagementClient, site: Site, plan: AddressPlan) -> None:
        name, networks, group = base_name(site), client.virtual_networks, group_name(site)
        tags = owner_tags(site, "network")

        def look() -> Any | None:  # noqa: ANN401 - the SDK is not typed here
            return find_ours(lambda: networks.get(group, name), site, f"network {name}")

        def write() -> None:
            wanted = {
                "location": site.region,
                "tags": tags,
                "properties": {
                    "addressSpace": {"addressPrefixes": [plan.cidr]},
                    "subnets": [{"name": each, "properties": _wanted(each, plan)} for each in (NODES, SERVER)],
                },
            }
            networks.begin_create_or_update(group, name, wanted, polling=False)

        found = self._written(look, write, f"the network {name}")
        ranges = found.address_space.address_prefixes if found.address_space is not None else []
        if ranges != [plan.cidr]:
            message = (
                f"The network {name} has the ranges {', '.join(ranges)}, not {plan.cidr}; one in use keeps its own"
            )
            raise refused(FailureClass.CONFIG, message, resource=name)
        if tags_with_ours(found.tags, tags) != found.tags:
            networks.update_tags(group, name, {"tags": tags_with_ours(found.tags, tags)})

    def _ensure_subnet(self, client: NetworkManagementClient, site: Site, name: str, plan: AddressPlan) -> str:
        """Let one subnet be as it has to be, whatever later steps add to it; return its id."""
        subnet, wanted = subnet_id(site, name), _wanted(name, plan)

        def look() -> Any | None:  # noqa: ANN401 - the SDK is not typed here
            return if_exists(lambda: read_subnet(client, subnet))

        def write() -> None:
            found = look()
            if found is not None:
                change_subnet(client, found, lambda _: None)
                return
            client.subnets.begin_create_or_update(
                group_name(site), base_name(site), name, {"properties": wanted}, polling=False
            )

        found = self._written(look, write, f"the subnet {name}")
        if range_of(found) != wanted["addressPrefix"]:
            message = (
                f"The subnet {name} of {base_name(site)} has the range {range_of(found)}, not"
                f" {wanted['addressPrefix']}; a subnet in use cannot change it"
            )
            raise refused(FailureClass.CONFIG, message, resource=subnet)
        if name == SERVER and SERVER_DELEGATION not in delegations_of(found):
            change_subnet(client, found, lambda properties: properties.update(delegations=wanted["delegations"]))
            self._made(look, f"the subnet {name}")
        return subnet


def _wanted(name: str, plan: AddressPlan) -> Document:
    """Return the properties with which a subnet is made."""
    if name == SERVER:
        delegation = {"name": "aks", "properties": {"serviceName": SERVER_DELEGATION}}
        return {"addressPrefix": plan.public_cidrs[0], "delegations": [delegation], "defaultOutboundAccess": False}
    return {
        "addressPrefix": plan.private_cidrs[0],
        # What Azure would give by itself is no way out that anybody could allow elsewhere.
        "defaultOutboundAccess": False,
        "serviceEndpoints": [{"service": service} for service in ENDPOINTS],
    }
