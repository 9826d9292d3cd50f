"""A network of the customer's own, verified for what a deployment needs and never changed."""

from __future__ import annotations

from collections.abc import Iterator

from google.cloud import compute_v1

from activities.failures import refused
from activities.gcp.compute import DeploymentCompute, if_exists, last_part
from domain.deployment import ExistingNetwork
from domain.facts import Network
from domain.failure import FailureClass

_PROXY_ONLY = "REGIONAL_MANAGED_PROXY"
_ANYWHERE = "0.0.0.0/0"
_EVERYTHING = frozenset({"ALL_SUBNETWORKS_ALL_IP_RANGES", "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES"})


def verified_network(compute: DeploymentCompute, existing: ExistingNetwork) -> Network:
    """Return the customer's network with its subnetworks.

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
    proxies = [each.name for each in subnetworks if each.purpose == _PROXY_ONLY and each.role == "ACTIVE"]
    findings = [*_about(compute, existing, network, nodes)]
    if network is not None and not proxies:
        findings.append(
            f"it has no active subnetwork of the purpose {_PROXY_ONLY} in {compute.region}, from which the load"
            " balancer's proxies take their addresses"
        )
    if findings:
        raise refused(FailureClass.CONFIG, f"The network {name} cannot be used: {'; '.join(findings)}", resource=name)
    return Network(
        network_id=name,
        private_subnet_ids=(subnet,),
        public_subnet_ids=tuple(proxies[:1]),
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
