"""The network profile of a cluster: plugins, ranges, and the way out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from simulators.azure.cloud import Cloud
from simulators.azure.records import Record
from simulators.azure.refusals import Json, invalid

_DEFAULTS: Mapping[str, str] = {
    "networkPlugin": "azure",
    "networkPluginMode": "overlay",
    "networkDataplane": "azure",
    "networkPolicy": "none",
    "podCidr": "10.244.0.0/16",
    "serviceCidr": "10.0.0.0/16",
    "dnsServiceIP": "10.0.0.10",
    "outboundType": "loadBalancer",
    "loadBalancerSku": "standard",
}
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "networkPlugin": ("azure", "kubenet", "none"),
    "networkPluginMode": ("overlay",),
    "networkDataplane": ("azure", "cilium"),
    "networkPolicy": ("none", "azure", "calico", "cilium"),
    "outboundType": (
        "loadBalancer", "userDefinedRouting", "managedNATGateway", "userAssignedNATGateway", "none", "block",
    ),
    "loadBalancerSku": ("standard", "basic"),
}  # fmt: skip


def complete_network(cloud: Cloud, given: Json, subnets: list[str]) -> Json:
    """Return the network profile with what AKS fills in, or refuse it."""
    network: Json = {**_DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    if network["networkDataplane"] == "cilium" and "networkPolicy" not in given:
        network["networkPolicy"] = "cilium"
    for key, allowed in _ALLOWED.items():
        if network[key] not in allowed:
            raise invalid(
                "InvalidParameter", f"The value of {key} is invalid: {network[key]}.", f"networkProfile.{key}"
            )
    if network["networkPolicy"] == "cilium" and network["networkDataplane"] != "cilium":
        message = "The network policy cilium needs the network dataplane cilium."
        raise invalid("InvalidParameter", message, "networkProfile.networkPolicy")
    if network["networkDataplane"] == "cilium" and network["networkPolicy"] not in ("cilium", "none"):
        message = f"The network dataplane cilium does not go with the network policy {network['networkPolicy']}."
        raise invalid("InvalidParameter", message, "networkProfile.networkPolicy")
    pods, services = _range(network, "podCidr"), _range(network, "serviceCidr")
    resolver = ipaddress.ip_address(network["dnsServiceIP"])
    if resolver not in services or resolver in (services[0], services[1]):
        message = f"dnsServiceIP {resolver} has to be in serviceCidr {services}, and not its first address."
        raise invalid("InvalidDNSServiceIP", message, "networkProfile.dnsServiceIP")
    if pods.overlaps(services):
        message = f"podCidr {pods} overlaps with serviceCidr {services}."
        raise invalid("PodCidrOverlapServiceCidr", message, "networkProfile.podCidr")
    for subnet in _records(cloud, subnets):
        _require_apart(subnet, services, pods)
        if network["outboundType"] == "userAssignedNATGateway" and not subnet.properties.get("natGateway"):
            message = f"outboundType userAssignedNATGateway needs a NAT gateway at the subnet {subnet.id.text}."
            raise invalid("NATGatewayNotAssociatedWithSubnet", message, "networkProfile.outboundType")
    network["podCidrs"], network["serviceCidrs"] = [network["podCidr"]], [network["serviceCidr"]]
    network["ipFamilies"] = ["IPv4"]
    return network


def _require_apart(subnet: Record, services: ipaddress.IPv4Network, pods: ipaddress.IPv4Network) -> None:
    """Refuse ranges of the cluster that are the subnet's too."""
    given = subnet.properties.get("addressPrefixes") or [subnet.properties.get("addressPrefix")]
    for prefix in map(ipaddress.IPv4Network, given):
        if prefix.overlaps(services):
            raise invalid(
                "ServiceCidrOverlapExistingSubnetsCidr",
                f"The specified service CIDR {services} is conflicted with an existing subnet CIDR {prefix}",
                "networkProfile.serviceCIDR",
            )
        if prefix.overlaps(pods):
            message = f"The specified pod CIDR {pods} is conflicted with an existing subnet CIDR {prefix}"
            raise invalid("PodCidrOverlapExistingSubnetsCidr", message, "networkProfile.podCIDR")


def _records(cloud: Cloud, subnets: list[str]) -> Iterator[Record]:
    for subnet in dict.fromkeys(subnets):
        if (record := cloud.records.get(subnet)) is not None:
            yield record


def _range(network: Json, key: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(network[key])
    except ValueError as error:
        raise invalid("InvalidParameter", f"{key} is no range: {network[key]}.", f"networkProfile.{key}") from error
