"""The network of a deployment, put together from its parts."""

from __future__ import annotations

from activities.aws.egress import AwsEgress
from activities.aws.firewall import AwsFirewall
from activities.aws.private_endpoints import AwsPrivateEndpoints
from activities.aws.vpc import AwsVpc


class AwsNetwork(AwsVpc, AwsEgress, AwsPrivateEndpoints, AwsFirewall):
    """The whole of `NetworkContract`."""
