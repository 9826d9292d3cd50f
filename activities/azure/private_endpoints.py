"""The way to Azure's own services without leaving Azure's network: service endpoints of the nodes' subnet.

With them, vaults and storage accounts see the subnet itself, and the packets stay in Azure's network (Virtual Network,
"Service endpoints"). They are settings of the subnet, so there is nothing to pay for and nothing to delete.
"""

from __future__ import annotations

from azure.mgmt.network import NetworkManagementClient
from temporalio import activity

from activities.azure.egress import GATEWAY, GROUP_JOIN
from activities.azure.errors import failures_named
from activities.azure.own_network import AzureSubnetPart
from activities.azure.subnets import ENDPOINTS, SUBNET, endpoints_of, read_subnet
from activities.contracts import InNetwork, NetworkContract
from activities.failures import refused
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass


class AzurePrivateEndpoints(AzureSubnetPart, NetworkContract):
    """Sees to it that nodes reach Azure's services privately."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        f"{SUBNET}/read", f"{SUBNET}/write", f"{GATEWAY}/join/action", GROUP_JOIN,
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_private_endpoints(self, request: InNetwork) -> None:
        """The nodes' subnet has its service endpoints. It is made with them; what somebody took away is put back.

        Raises:
            ApplicationError: POLICY if they are gone from a network of the customer's own.
        """
        nodes = request.network.private_subnet_ids[0]
        with failures_named():
            client = self._connections.client(NetworkManagementClient, request.site, Purpose.OPERATE)
            subnet = read_subnet(client, nodes)
            missing = sorted(set(ENDPOINTS) - endpoints_of(subnet))
            if missing and request.network.ours:
                wanted = [{"service": service} for service in sorted(endpoints_of(subnet) | set(ENDPOINTS))]
                endpoints = {"serviceEndpoints": wanted}
                self._connect(client, subnet, endpoints, "the service endpoints of the nodes' subnet")
        if missing and not request.network.ours:
            message = f"The subnet {nodes} has lost its service endpoints for {', '.join(missing)}"
            raise refused(FailureClass.POLICY, message, resource=nodes)

    @activity.defn(no_thread_cancel_exception=True)
    def delete_private_endpoints(self, site: Site) -> None:
        """Nothing is left: the settings go with their subnet."""
