"""What accepts connections from outside, and how old the TLS may be that it speaks there.

Rules of security groups stop nothing here, but a port that they close counts as closed.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulators.azure.cloud import Cloud
from simulators.azure.kubernetes_provider import AzureProvider
from simulators.azure.load_balancers import BALANCER
from simulators.azure.records import Record
from simulators.azure.refusals import Json
from simulators.azure.storage_accounts import ACCOUNT

_POOL = "Microsoft.ContainerService/managedClusters/agentPools"
_FROM_OUTSIDE = frozenset({"*", "internet", "0.0.0.0/0"})


def oldest_tls(cloud: Cloud, provider: AzureProvider, record: Record) -> list[str]:
    """Return for each door of a resource the oldest version of TLS there, empty for a door without TLS."""
    if record.kind.type == ACCOUNT:
        return [str(record.properties["minimumTlsVersion"]).removeprefix("TLS").replace("_", ".")]
    return list(_of_balancer(cloud, provider, record)) if record.kind.type == BALANCER else []


def _of_balancer(cloud: Cloud, provider: AzureProvider, balancer: Record) -> Iterator[str]:
    addresses = {
        f"{balancer.id.text}/frontendIPConfigurations/{each['name']}".lower(): _address(cloud, each)
        for each in balancer.properties.get("frontendIPConfigurations") or ()
    }
    for rule in balancer.properties.get("loadBalancingRules") or ():
        properties = rule["properties"]
        address = addresses.get(properties["frontendIPConfiguration"]["id"].lower(), "")
        port = int(properties["frontendPort"])
        cluster = provider.cluster_at(address, port)
        if cluster is not None and _is_open(cloud, cluster, port):
            yield provider.oldest_tls(address, port)


def _address(cloud: Cloud, front: Json) -> str:
    record = cloud.records.get((front["properties"].get("publicIPAddress") or {}).get("id", ""))
    return str(record.properties["ipAddress"]) if record is not None else ""


def _is_open(cloud: Cloud, cluster: Record, port: int) -> bool:
    """Return whether anybody outside reaches a port of the cluster's nodes."""
    pools = cloud.records.of_type(_POOL, below=cluster.id.text)
    subnets = {str(pool.properties.get("vnetSubnetID", "")) for pool in pools}
    return any(_lets_in(_group_of(cloud, subnet), port) for subnet in subnets)


def _group_of(cloud: Cloud, subnet: str) -> Record | None:
    found = cloud.records.get(subnet)
    group = (found.properties.get("networkSecurityGroup") or {}).get("id", "") if found is not None else ""
    return cloud.records.get(group)


def _lets_in(group: Record | None, port: int) -> bool:
    """Return what the first rule about a port says; without a group nothing is closed."""
    if group is None:
        return True
    rules = [each["properties"] for each in group.properties.get("securityRules") or ()]
    for rule in sorted(rules, key=lambda each: int(each["priority"])):
        if rule["direction"] == "Inbound" and _is_from_outside(rule) and _is_about(rule, port):
            return bool(rule["access"] == "Allow")
    return False


def _is_from_outside(rule: Json) -> bool:
    sources = [rule.get("sourceAddressPrefix"), *(rule.get("sourceAddressPrefixes") or ())]
    return any(str(each).lower() in _FROM_OUTSIDE for each in sources)


def _is_about(rule: Json, port: int) -> bool:
    ranges = [rule.get("destinationPortRange"), *(rule.get("destinationPortRanges") or ())]
    return any(_holds(str(each), port) for each in ranges if each)


def _holds(ports: str, port: int) -> bool:
    first, _, last = ports.partition("-")
    return ports == "*" or int(first) <= port <= int(last or first)
