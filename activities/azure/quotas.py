"""How much of a region's quotas is in use by others than the deployment, so that a repeated look answers the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.network import NetworkManagementClient

from activities.azure.connection import AzureConnections
from activities.azure.existing import if_exists
from activities.azure.groups import group_name, node_group_name
from activities.azure.ids import group_of
from activities.azure.offers import Offer
from activities.azure.ownership import is_ours
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import base_name

CORES, ADDRESSES = "cores", "PublicIPAddresses"


class UsedByOthers:
    """What a region says is in use, less what the deployment has there already."""

    def __init__(self, connections: AzureConnections, site: Site, offers: Mapping[str, Offer]) -> None:
        """`offers` are the sizes of machines of the region, keyed by name."""
        self._site = site
        compute = connections.client(ComputeManagementClient, site, Purpose.OBSERVE)
        network = connections.client(NetworkManagementClient, site, Purpose.OBSERVE)
        clusters = connections.client(ContainerServiceClient, site, Purpose.OBSERVE)
        usages = [*compute.usage.list(site.region), *network.usages.list(site.region)]
        self.limits: dict[str, int] = {usage.name.value: int(usage.limit) for usage in usages}
        """Keyed by the usage's name; what the region does not list is not limited."""
        self._usage: dict[str, int] = {usage.name.value: int(usage.current_value) for usage in usages}
        self._ours = self._cores(clusters, offers) + self._addresses(network)

    def of(self, name: str) -> int:
        """Return how much others use."""
        return max(0, self._usage.get(name, 0) - self._ours[name])

    def _cores(self, clusters: ContainerServiceClient, offers: Mapping[str, Offer]) -> Counter[str]:
        """Return the cores of the cluster's machines, in all and by family."""
        name, group = base_name(self._site), group_name(self._site)
        found: Counter[str] = Counter()
        for pool in if_exists(lambda: list(clusters.agent_pools.list(group, name))) or ():
            offer = offers.get(pool.vm_size or "")
            if offer is not None:
                found.update({CORES: offer.cores * (pool.count or 0), offer.family: offer.cores * (pool.count or 0)})
        return found

    def _addresses(self, network: NetworkManagementClient) -> Counter[str]:
        """Return the deployment's public addresses: ours, and that of the load balancer, which is AKS's."""
        listed = network.public_ip_addresses.list_all()
        nodes = node_group_name(self._site).lower()
        return Counter(
            {
                ADDRESSES: sum(
                    address.location == self._site.region
                    and (is_ours(address.tags, self._site) or group_of(address.id).lower() == nodes)
                    for address in listed
                )
            }
        )
