"""The identity with which a cluster acts in the subscription: what it is allowed, and what else the nodes stand on.

It gets roles where they are needed and nowhere else: at the subnets in which nodes and API server stand, at the
identity that it lends to the nodes, at the key of its secrets, and at the set with which its disks are encrypted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient

from activities.azure.existing import if_exists
from activities.azure.granting import BuiltInRole, give_role
from activities.azure.groups import group_name
from activities.azure.ids import resource_id
from activities.azure.roles import RoleName, identity_id
from activities.azure.subnets import read_subnet
from activities.contracts import ClusterRequest
from activities.failures import refused
from activities.kubernetes.manifests.azure import disk_encryption_set
from domain.deployment import Site
from domain.facts import Network
from domain.failure import FailureClass
from domain.naming import resource_name


def find_identity(identities: ManagedServiceIdentityClient, site: Site, role: RoleName) -> Any | None:  # noqa: ANN401 - the SDK is not typed here
    """Return one of the deployment's identities, None if there is none."""
    return if_exists(lambda: identities.user_assigned_identities.get(group_name(site), resource_name(site, role)))


def lend_roles(authorization: AuthorizationManagementClient, request: ClusterRequest, principal: str) -> None:
    """Let the cluster's identity have every role that it needs; they may take minutes to count."""
    for scope, role in _wanted(request):
        give_role(authorization, request.site, scope, role, principal)


def _wanted(request: ClusterRequest) -> Iterator[tuple[str, BuiltInRole]]:
    """Yield scope and role of everything that the cluster's identity needs."""
    site, network = request.site, request.network
    for subnet in (*network.private_subnet_ids, *network.public_subnet_ids):
        yield subnet, BuiltInRole.NETWORK_CONTRIBUTOR
    yield identity_id(site, RoleName.NODES), BuiltInRole.IDENTITY_OPERATOR
    yield key_scope(site, request.key.key_id), BuiltInRole.KEY_USER
    yield disk_encryption_set(site), BuiltInRole.READER


def key_scope(site: Site, url: str) -> str:
    """Return the resource id of a key in one of the deployment's vaults, by the key's URL."""
    parts = urlsplit(url)
    vault, key = parts.netloc.partition(".")[0], parts.path.strip("/").split("/")[1]
    return resource_id(site, "Microsoft.KeyVault/vaults/keys", vault, key)


def way_out(networks: NetworkManagementClient, network: Network) -> str:
    """Return how nodes reach out, as AKS calls it; empty while the gateway of a network of ours is being made.

    Raises:
        ApplicationError: CONFIG, for a network of the customer's own that leads nowhere.
    """
    subnet_id = network.private_subnet_ids[0]
    subnet = read_subnet(networks, subnet_id)
    if subnet.nat_gateway is not None:
        return "userAssignedNATGateway"
    if subnet.route_table is not None and not network.ours:
        return "userDefinedRouting"
    if network.ours:
        return ""
    message = f"The subnet {subnet_id} has neither a NAT gateway nor a route table: nodes there would reach nothing"
    raise refused(FailureClass.CONFIG, message, resource=subnet_id)
