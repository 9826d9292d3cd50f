"""The firewall of nodes and pods: nothing comes in but what the cluster and its load balancer need.

It is a network security group of the nodes' subnet; packets of pods cross the subnet under the pods' own addresses. AKS
has another group at the machines themselves, which it keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from azure.mgmt.network import NetworkManagementClient
from temporalio import activity

from activities.azure.egress import GATEWAY, GROUP_JOIN
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import EMPTYING, group_name
from activities.azure.ids import resource_id, same_id
from activities.azure.own_network import AzureSubnetPart
from activities.azure.ownership import find_ours, ours_or_none, tags_with_ours
from activities.azure.subnets import SUBNET, VNET, Document, range_of, read_subnet
from activities.contracts import InNetwork, NetworkContract
from activities.kubernetes.manifests.topology import PUBLIC_PORTS
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Firewall
from domain.naming import owner_tags, resource_name

SECURITY_GROUP = "Microsoft.Network/networkSecurityGroups"
_NAME = "nodes"
_LAST_PRIORITY = 4096
"""Just before the rules that every group ends with, of which one lets in all that Azure calls the virtual network: what
is connected with it as well."""


class AzureFirewall(AzureSubnetPart, NetworkContract):
    """Makes the security group, and takes it away."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        f"{SECURITY_GROUP}/read", f"{SECURITY_GROUP}/write", GROUP_JOIN, f"{SUBNET}/read",
        f"{SUBNET}/write", f"{GATEWAY}/join/action",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_firewall(self, request: InNetwork) -> Firewall:
        """Nodes are reached by each other, by pods, by the API server, and at the endpoint's ports by clients.

        A subnet of the customer's own keeps its own group, if it has one. Here one group stands for that of the control
        plane too: the API server's subnet is Azure's.
        """
        site, network = request.site, request.network
        nodes = network.private_subnet_ids[0]
        with failures_named():
            client = self._connections.client(NetworkManagementClient, site, Purpose.OPERATE)
            if not network.ours:
                theirs = read_subnet(client, nodes).network_security_group
                group = theirs.id if theirs is not None else ""
                return Firewall(control_plane_group_id=group, node_group_id=group)
            ranges = [range_of(read_subnet(client, each)) for each in (nodes, *network.public_subnet_ids)]
            self._ensure_security_group(client, site, [*ranges, network.pod_range])
            group = resource_id(site, SECURITY_GROUP, resource_name(site, _NAME))
            subnet = read_subnet(client, nodes)
            if subnet.network_security_group is None or not same_id(subnet.network_security_group.id, group):
                wanted = {"networkSecurityGroup": {"id": group}}
                self._connect(client, subnet, wanted, "the firewall of the nodes' subnet")
        return Firewall(control_plane_group_id=group, node_group_id=group)

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        *EMPTYING, f"{SECURITY_GROUP}/delete", f"{SECURITY_GROUP}/read", f"{VNET}/read", f"{SUBNET}/read",
        f"{SUBNET}/write",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_firewall(self, site: Site) -> None:
        """No security group of the deployment is left; that at the machines went with the cluster."""
        name, group = resource_name(site, _NAME), group_name(site)
        with failures_named():
            client = self._connections.client(NetworkManagementClient, site, Purpose.DELETE)
            self._disconnect(client, site, "networkSecurityGroup", "the nodes' subnet without its firewall")
            groups = client.network_security_groups
            self._deleted(
                lambda: ours_or_none(if_exists(lambda: groups.get(group, name)), site),
                lambda: groups.begin_delete(group, name, polling=False),
                f"network security group {name}",
            )
            self._delete_group_if_empty(site)

    def _ensure_security_group(self, client: NetworkManagementClient, site: Site, inside: Sequence[str]) -> None:
        name, group, tags = resource_name(site, _NAME), group_name(site), owner_tags(site, "firewall")
        groups, rules = client.network_security_groups, list(_rules([each for each in inside if each]))

        def look() -> Any | None:  # noqa: ANN401 - the SDK is not typed here
            return find_ours(lambda: groups.get(group, name), site, f"network security group {name}")

        def write() -> None:
            wanted = {"location": site.region, "tags": tags, "properties": {"securityRules": rules}}
            groups.begin_create_or_update(group, name, wanted, polling=False)

        found = self._written(look, write, f"the network security group {name}")
        has = sorted(_comparable(each.name, each.properties) for each in found.security_rules or ())
        wanted = sorted(_comparable(each["name"], each["properties"]) for each in rules)
        if has != wanted or tags_with_ours(found.tags, tags) != found.tags:
            write()
            self._made(look, f"the network security group {name}")


def _rules(inside: Sequence[str]) -> Iterator[Document]:
    """Yield the rules as they have to be, in the order in which they count."""
    ports = [str(port) for port in PUBLIC_PORTS.values()]
    yield _rule("cluster", 100, {"sourceAddressPrefixes": list(inside), "protocol": "*", "destinationPortRange": "*"})
    yield _rule("clients", 110, {"sourceAddressPrefix": "Internet", "protocol": "Tcp", "destinationPortRanges": ports})
    yield _rule(
        "probes", 120, {"sourceAddressPrefix": "AzureLoadBalancer", "protocol": "*", "destinationPortRange": "*"}
    )
    yield _rule(
        "closed",
        _LAST_PRIORITY,
        {"sourceAddressPrefix": "*", "protocol": "*", "destinationPortRange": "*"},
        access="Deny",
    )


def _rule(name: str, priority: int, match: Document, *, access: str = "Allow") -> Document:
    properties = {
        "direction": "Inbound",
        "access": access,
        "priority": priority,
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        **match,
    }
    return {"name": name, "properties": properties}


_COMPARED = (
    "access", "destinationAddressPrefix", "destinationPortRange", "destinationPortRanges", "direction", "priority",
    "protocol", "sourceAddressPrefix", "sourceAddressPrefixes", "sourcePortRange",
)  # fmt: skip


def _comparable(name: str, properties: Any) -> tuple[str, ...]:  # noqa: ANN401 - a model of the SDK, or what is sent
    """Return what makes two rules the same."""
    found = (properties.get(field) for field in _COMPARED)
    return name, *(str(sorted(value) if isinstance(value, list) else value or "") for value in found)
