"""The firewall of nodes and pods: nothing comes in but what the cluster and its load balancer need.

GKE adds rules of its own for the control plane's way to the nodes (`gke-…`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.cloud import compute_v1
from temporalio import activity

from activities.contracts import InNetwork, NetworkContract
from activities.gcp.compute import GLOBAL_OPERATION, DeploymentCompute, if_exists, last_part
from activities.gcp.errors import failures_named
from activities.gcp.ownership import is_described_as_ours, owner_description, require_ours
from activities.gcp.part import GcpPart
from activities.kubernetes.manifests.gcp import HEALTH_CHECKS
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Firewall
from domain.naming import base_name, resource_name

_LAST_PRIORITY = 65534
"""Just before the rule that every network ends with."""
_LEAKED = ("gke-", "gkegw1-", "k8s-", "k8s2-")
"""How rules begin that GKE and its controllers make."""


class GcpFirewall(GcpPart, NetworkContract):
    """Makes the firewall rules, and takes them away."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.firewalls.create", "compute.firewalls.get", "compute.firewalls.update",
        "compute.networks.updatePolicy", "compute.subnetworks.get", GLOBAL_OPERATION,
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_firewall(self, request: InNetwork) -> Firewall:
        """Nodes are reached by each other, by pods, by the load balancer's proxies and health checks; by nobody else.

        The nodes' network tag stands for their group, and the rule that lets them talk to each other for the other one.
        """
        site = request.site
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.OPERATE)
            for rule in _rules(compute, request):
                self._ensure_rule(compute, rule)
        return Firewall(control_plane_group_id=resource_name(site, "internal"), node_group_id=node_tag(site))

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.firewalls.delete", "compute.firewalls.list", "compute.networks.get", "compute.networks.updatePolicy",
        GLOBAL_OPERATION,
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_firewall(self, site: Site) -> None:
        """No rule of the deployment is left, nor one that GKE or its controllers made for its cluster.

        In a network that has our name and is not ours, only what is for our nodes goes.
        """
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.DELETE)
            firewalls = compute.client(compute_v1.FirewallsClient)
            network = own_network(compute)
            doomed = [each.name for each in firewalls.list(project=compute.project) if belongs_to(each, site, network)]
            compute.settle_all(
                [firewalls.delete_unary(project=compute.project, firewall=name) for name in doomed],
                "the deletion of the firewall rules",
            )

    def _ensure_rule(self, compute: DeploymentCompute, wanted: compute_v1.Firewall) -> None:
        firewalls = compute.client(compute_v1.FirewallsClient)
        found = if_exists(lambda: firewalls.get(project=compute.project, firewall=wanted.name))
        if found is None:
            made = firewalls.insert_unary(project=compute.project, firewall_resource=wanted)
            compute.settle(made, f"the firewall rule {wanted.name}")
            return
        ours = is_described_as_ours(found.description, compute.site)
        require_ours(f"firewall rule {wanted.name}", compute.site, ours=ours)
        if _comparable(found) != _comparable(wanted):
            changed = firewalls.update_unary(project=compute.project, firewall=wanted.name, firewall_resource=wanted)
            compute.settle(changed, f"the firewall rule {wanted.name}")


def node_tag(site: Site) -> str:
    """Return the network tag of the deployment's nodes, by which the rules know them."""
    return resource_name(site, "nodes")


def is_tag_of_cluster(tag: str, site: Site) -> bool:
    """Return whether GKE gives this network tag to the nodes of the deployment's cluster.

    It ends with the cluster's hash. The deployment `acme` is not led to the nodes of `acme-prod`.
    """
    return re.fullmatch(rf"gke-{re.escape(base_name(site))}-[0-9a-f]{{8}}-node", tag) is not None


def _rules(compute: DeploymentCompute, request: InNetwork) -> Iterator[compute_v1.Firewall]:
    """Yield the rules as they have to be."""
    network = request.network
    subnetworks = compute.client(compute_v1.SubnetworksClient)
    where = {"project": compute.project, "region": compute.region}
    nodes = subnetworks.get(**where, subnetwork=network.private_subnet_ids[0])
    proxies = [subnetworks.get(**where, subnetwork=name).ip_cidr_range for name in network.public_subnet_ids]
    pods = [each.ip_cidr_range for each in nodes.secondary_ip_ranges if each.range_name == network.pod_range]
    tcp = compute_v1.Allowed(I_p_protocol="tcp")
    everything = [compute_v1.Allowed(I_p_protocol=protocol) for protocol in ("icmp", "tcp", "udp")]
    for part, sources, allowed in (
        ("internal", [nodes.ip_cidr_range, *pods], everything),
        ("balancer", [*HEALTH_CHECKS, *proxies], [tcp]),
    ):
        yield _rule(compute, network.network_id, part, source_ranges=sources, allowed=allowed, priority=1000)
    denied = [compute_v1.Denied(I_p_protocol="all")]
    yield _rule(
        compute, network.network_id, "closed", source_ranges=["0.0.0.0/0"], denied=denied, priority=_LAST_PRIORITY
    )


def _rule(compute: DeploymentCompute, network: str, part: str, **fields: object) -> compute_v1.Firewall:
    return compute_v1.Firewall(
        name=resource_name(compute.site, part),
        description=owner_description(compute.site, part),
        network=f"projects/{compute.project}/global/networks/{network}",
        direction="INGRESS",
        target_tags=[node_tag(compute.site)],
        **fields,
    )


def own_network(compute: DeploymentCompute) -> str:
    """Return the name of the network that we made for the deployment, empty if there is none (any more)."""
    networks, name = compute.client(compute_v1.NetworksClient), base_name(compute.site)
    found = if_exists(lambda: networks.get(project=compute.project, network=name))
    return name if found is not None and is_described_as_ours(found.description, compute.site) else ""


def belongs_to(rule: compute_v1.Firewall, site: Site, network: str) -> bool:
    """Return whether a rule is ours, or was made by GKE for a cluster in our network or for nodes of our cluster.

    `network` is the name of the network that we made, empty if there is none.
    """
    if is_described_as_ours(rule.description, site):
        return True
    made_by_gke = rule.name.startswith(_LEAKED)
    for_our_nodes = any(tag == node_tag(site) or is_tag_of_cluster(tag, site) for tag in rule.target_tags)
    return made_by_gke and (last_part(rule.network) == network or for_our_nodes)


def _comparable(rule: compute_v1.Firewall) -> tuple[object, ...]:
    """Return what makes two rules the same."""
    return (
        last_part(rule.network),
        rule.direction,
        rule.priority,
        rule.disabled,
        sorted(rule.source_ranges),
        sorted(rule.target_tags),
        sorted((each.I_p_protocol, *each.ports) for each in rule.allowed),
        sorted((each.I_p_protocol, *each.ports) for each in rule.denied),
    )
