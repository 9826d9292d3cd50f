"""A network of the customer's own, verified for what a deployment needs and never changed."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from google.cloud import compute_v1

from activities.failures import refused
from activities.gcp.compute import DeploymentCompute, if_exists, last_part
from domain.deployment import ExistingNetwork
from domain.facts import Network, Placement
from domain.failure import FailureClass

_PROXY_ONLY = "REGIONAL_MANAGED_PROXY"
_RESERVED = 5
"""Addresses of a nodes' range that no node gets: four of Google's own (VPC, "Subnets"), one of the control plane."""
_PODS_OF_NODE = 256
"""Addresses that GKE sets aside for the pods of one node, 110 at most (GKE, "VPC-native clusters")."""
_LEAST_SERVICES = 32
_LEAST_PROXIES = 64
"""The least that Google accepts: a /27 for services, a /26 for proxies."""
_ANYWHERE = "0.0.0.0/0"
_EVERYTHING = frozenset({"ALL_SUBNETWORKS_ALL_IP_RANGES", "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES"})


def verified_network(compute: DeploymentCompute, existing: ExistingNetwork, placement: Placement) -> Network:
    """Return the customer's network with its subnetworks, whose ranges have room for all nodes of `placement`.

    Raises:
        CONFIG: something is not as it has to be; the message names every finding.
    """
    name, subnet = existing.network_id, next(iter(existing.private_subnet_ids), "")
    networks = compute.client(compute_v1.NetworksClient)
    network = if_exists(lambda: networks.get(project=compute.project, network=name))
    subnetworks = [
        each
        for each in compute.client(compute_v1.SubnetworksClient).list(project=compute.project, region=compute.region)
        if last_part(each.network) == name
    ]
    nodes = next((each for each in subnetworks if each.name == subnet), None)
    proxies = [each for each in subnetworks if each.purpose == _PROXY_ONLY and each.role == "ACTIVE"]
    findings = [*_about(compute, existing, network, nodes)]
    if nodes is not None:
        findings += _about_sizes(existing, nodes, placement)
    if network is not None and not proxies:
        findings.append(
            f"it has no active subnetwork of the purpose {_PROXY_ONLY} in {compute.region}, from which the load"
            " balancer's proxies take their addresses"
        )
    findings += [
        finding
        for each in proxies
        if (finding := _too_small(f"the subnetwork {each.name} of the proxies", each.ip_cidr_range, _LEAST_PROXIES))
    ]
    if findings:
        raise refused(FailureClass.CONFIG, f"The network {name} cannot be used: {'; '.join(findings)}", resource=name)
    return Network(
        network_id=name,
        private_subnet_ids=(subnet,),
        public_subnet_ids=tuple(each.name for each in proxies[:1]),
        ours=False,
        pod_range=existing.pod_range,
        service_range=existing.service_range,
    )


def _about(
    compute: DeploymentCompute,
    existing: ExistingNetwork,
    network: compute_v1.Network | None,
    nodes: compute_v1.Subnetwork | None,
) -> Iterator[str]:
    if network is None:
        yield f"it does not exist in the project {compute.project}"
        return
    if len(existing.private_subnet_ids) != 1:
        yield f"{len(existing.private_subnet_ids)} private subnetworks are named; one spans all zones of the region"
    if nodes is None:
        yield f"it has no subnetwork {', '.join(existing.private_subnet_ids)} in {compute.region}"
        return
    ranges = {each.range_name for each in nodes.secondary_ip_ranges}
    for field, wanted in (("podRange", existing.pod_range), ("serviceRange", existing.service_range)):
        if wanted not in ranges:
            yield f"{field}: the subnetwork {nodes.name} has no secondary range {wanted!r}, only {sorted(ranges)}"
    if not nodes.private_ip_google_access:
        yield f"private access to Google's services is off in the subnetwork {nodes.name}, whose nodes need it"
    if not _has_way_out(compute, existing.network_id, nodes):
        yield f"nothing leads out of the subnetwork {nodes.name}: there is neither a NAT nor a default route"


def _about_sizes(existing: ExistingNetwork, nodes: compute_v1.Subnetwork, placement: Placement) -> Iterator[str]:
    """Yield which ranges are too small for the most nodes that there may be, with one more for each pool's renewal."""
    most = max(1, sum(machine.maximum + 1 for machine in placement.machines))
    ranges = {each.range_name: each.ip_cidr_range for each in nodes.secondary_ip_ranges}
    for words, cidr, needed in (
        (f"the subnetwork {nodes.name}", nodes.ip_cidr_range, most + _RESERVED),
        (f"podRange: the range {existing.pod_range}", ranges.get(existing.pod_range), most * _PODS_OF_NODE),
        (f"serviceRange: the range {existing.service_range}", ranges.get(existing.service_range), _LEAST_SERVICES),
    ):
        if cidr is not None and (finding := _too_small(words, cidr, needed)):
            yield finding


def _too_small(words: str, cidr: str, needed: int) -> str:
    """Return what there is to say about a range that has fewer addresses than are needed, empty if it has enough."""
    there_are = ip_network(cidr).num_addresses
    return f"{words} ({cidr}) has {there_are} addresses, needs {needed}" if there_are < needed else ""


def _has_way_out(compute: DeploymentCompute, network: str, nodes: compute_v1.Subnetwork) -> bool:
    """Return whether nodes without public addresses can reach the internet: by Cloud NAT, or by a gateway's route."""
    routers = compute.client(compute_v1.RoutersClient).list(project=compute.project, region=compute.region)
    for router in (each for each in routers if last_part(each.network) == network):
        for nat in router.nats:
            listed = {last_part(each.name) for each in nat.subnetworks}
            if nat.source_subnetwork_ip_ranges_to_nat in _EVERYTHING or nodes.name in listed:
                return True
    routes = compute.client(compute_v1.RoutesClient).list(project=compute.project)
    return any(
        last_part(route.network) == network
        and route.dest_range == _ANYWHERE
        and not route.next_hop_gateway
        and bool(route.next_hop_instance or route.next_hop_ip or route.next_hop_ilb or route.next_hop_vpn_tunnel)
        for route in routes
    )
