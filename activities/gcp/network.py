"""The whole of `NetworkContract`, put together from its parts."""

from __future__ import annotations

from activities.gcp.egress import GcpEgress
from activities.gcp.firewall import GcpFirewall
from activities.gcp.private_endpoints import GcpPrivateEndpoints
from activities.gcp.vpc import GcpVpc


class GcpNetwork(GcpVpc, GcpEgress, GcpPrivateEndpoints, GcpFirewall):
    """Network, way out, private access and firewall."""
