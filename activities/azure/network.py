"""The whole of `NetworkContract`, put together from its parts."""

from __future__ import annotations

from activities.azure.egress import AzureEgress
from activities.azure.firewall import AzureFirewall
from activities.azure.private_endpoints import AzurePrivateEndpoints
from activities.azure.vnet import AzureVnet


class AzureNetwork(AzureVnet, AzureEgress, AzurePrivateEndpoints, AzureFirewall):
    """Network, way out, private access and firewall."""
