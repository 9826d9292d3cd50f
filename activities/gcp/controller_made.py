"""What the cluster's own controllers make in the project: parts of load balancers, and the volumes' disks.

They go when the workloads are deleted, as long as the controllers run. What is left after that, because a controller
was gone first or its reply was lost, is found here. Parts of load balancers have no labels. They are known by the
network, by the cluster's name in their description, by the part of their name that all of one cluster share, and by
what they lead to: whatever leads to a part of ours, or is led to by one, is ours, as long as a controller named it.

Backend services and health checks come last and may have lost all that led to them: those that a controller named for
our namespace and that nothing uses are ours. A controller that is about to use such a one makes it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.cloud import compute_v1
from temporalio import activity

from activities.contracts import ClusterContract
from activities.gcp.compute import (
    REGION_OPERATION,
    ZONE_OPERATION,
    DeploymentCompute,
    Operation,
    if_exists,
    last_part,
    path_of,
)
from activities.gcp.errors import failures_named
from activities.gcp.firewall import is_tag_of_cluster, own_network
from activities.gcp.ownership import is_ours
from activities.gcp.part import GcpPart
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import base_name

_NAMED_BY_CONTROLLER = re.compile(r"(?P<cluster>(?:gkegw|gk3|k8s)\d*-\w+)-.+|a[0-9a-f]{31}")
"""Names of the controllers of Gateways, of network endpoint groups, and of Services (the object's uid). What is marked
as `cluster` is the same for all that one controller makes for one cluster."""
_SERVICE_RULE = "k8s-fw-"
"""How the firewall rule of a Service's load balancer begins; the load balancer's name follows."""
_LABEL_CLUSTER, _LABEL_NODE = "goog-k8s-cluster-name", "goog-gke-node"


@dataclass(frozen=True)
class Collection:
    """A kind of which controllers make things, in the region or in its zones."""

    client: type[Any]
    argument: str
    """What a deletion calls the name."""
    scope: str = "region"


ORDER: tuple[tuple[Collection, ...], ...] = (
    (Collection(compute_v1.ForwardingRulesClient, "forwarding_rule"),),
    (
        Collection(compute_v1.RegionTargetHttpsProxiesClient, "target_https_proxy"),
        Collection(compute_v1.TargetPoolsClient, "target_pool"),
        Collection(compute_v1.AddressesClient, "address"),
    ),
    (Collection(compute_v1.RegionUrlMapsClient, "url_map"),),
    (Collection(compute_v1.RegionBackendServicesClient, "backend_service"),),
    (
        Collection(compute_v1.RegionHealthChecksClient, "health_check"),
        Collection(compute_v1.NetworkEndpointGroupsClient, "network_endpoint_group", "zone"),
    ),
)
"""The parts of load balancers, in the order in which they can be deleted: nothing before what leads to it."""


@dataclass(frozen=True)
class Made:
    """One thing that a controller made."""

    path: str
    """`projects/p/regions/r/forwardingRules/f`."""
    description: str
    network: str
    leads_to: frozenset[str]
    """Paths of what it refers to."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return last_part(self.path)

    @property
    def is_end(self) -> bool:
        """Whether it is a backend service or health check for our namespace that leads to no group of endpoints."""
        is_end = any(f"/{collection}/" in self.path for collection in ("backendServices", "healthChecks"))
        leads_on = any("/networkEndpointGroups/" in path for path in self.leads_to)
        return is_end and not leads_on and f"-{SERVER_NAMESPACE}-" in self.name

    @property
    def place(self) -> str:
        """The zone or region."""
        return self.path.split("/")[3]


class GcpControllerMade(GcpPart, ClusterContract):
    """Deletes what the cluster's controllers left."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.forwardingRules.list", "compute.forwardingRules.delete", "compute.regionTargetHttpsProxies.list",
        "compute.regionTargetHttpsProxies.delete", "compute.targetPools.list", "compute.targetPools.delete",
        "compute.addresses.list", "compute.addresses.delete", "compute.regionUrlMaps.list",
        "compute.regionUrlMaps.delete",
        "compute.regionBackendServices.list", "compute.regionBackendServices.delete",
        "compute.regionHealthChecks.list", "compute.regionHealthChecks.delete", "compute.networkEndpointGroups.list",
        "compute.networkEndpointGroups.delete", "compute.firewalls.list", "compute.networks.get",
        "compute.disks.list", "compute.disks.delete",
        REGION_OPERATION, ZONE_OPERATION,
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_load_balancers_and_volumes(self, site: Site) -> None:
        """No part of a load balancer and no volume of the deployment's cluster is left; others are untouched.

        Firewall rules that controllers left go with the firewall.
        """
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.DELETE)
            doomed = load_balancer_parts(compute)
            for kinds in ORDER:
                begun = [_delete(compute, kind, made) for kind in kinds for made in doomed[kind]]
                compute.settle_all(filter(None, begun), f"the deletion of load balancers of {base_name(site)}")
            remaining = list(volumes(compute))
            # One that is in use belongs to a node on its way out, which lets go of it.
            begun = [_delete_disk(compute, each) for each in remaining if not each.users]
            compute.settle_all(filter(None, begun), f"the deletion of volumes of {base_name(site)}")
            if any(each.users for each in remaining):
                raise self._look_again(f"volumes of {base_name(site)} are still in use")


def load_balancer_parts(compute: DeploymentCompute) -> Mapping[Collection, list[Made]]:
    """Return the parts of load balancers that controllers of the deployment's cluster made, keyed by their kind."""
    found = {kind: list(_listed(compute, kind)) for kinds in ORDER for kind in kinds}
    everything = [made for listed in found.values() for made in listed]
    firewalls = compute.client(compute_v1.FirewallsClient).list(project=compute.project)
    ours = _known(everything, compute.site, own_network(compute), set(_services(firewalls, compute.site)))
    return {kind: [made for made in listed if made.path in ours] for kind, listed in found.items()}


def volumes(compute: DeploymentCompute) -> Iterator[compute_v1.Disk]:
    """Yield the disks of the deployment's volumes, not those from which its nodes start."""
    pages = compute.client(compute_v1.DisksClient).aggregated_list(project=compute.project)
    for place, listed in pages:
        if not last_part(place).startswith(f"{compute.region}-"):
            continue
        for disk in listed.disks:
            labels = dict(disk.labels)
            if _LABEL_NODE not in labels and is_of_cluster(labels, compute.site):
                yield disk


def is_of_cluster(labels: Mapping[str, str], site: Site) -> bool:
    """Return whether a machine or disk belongs to the deployment's cluster, by GKE's label or by ours."""
    return labels.get(_LABEL_CLUSTER) == base_name(site) or is_ours(labels, site)


def _known(everything: Iterable[Made], site: Site, network: str, services: set[str]) -> set[str]:
    """Return the paths of what is ours: what says so itself, and whatever hangs together with it."""
    everything = list(everything)
    used = {path for made in everything for path in made.leads_to}
    ours: set[str] = set()
    clusters: set[str] = set()
    while True:
        before = len(ours)
        led_to = {path for made in everything if made.path in ours for path in made.leads_to}
        for made in everything:
            itself = _says_so(made, site, network) or made.name in services or _cluster_in(made.name) in clusters
            if itself or made.path in led_to or made.leads_to & ours or (made.is_end and made.path not in used):
                ours.add(made.path)
                clusters |= {_cluster_in(made.name)} - {""}
        if len(ours) == before:
            return ours


def _says_so(made: Made, site: Site, network: str) -> bool:
    """Return whether something is in the network that we made (empty if there is none), or names our cluster."""
    in_our_network = bool(network) and last_part(made.network) == network
    return in_our_network or f'/locations/{site.region}/clusters/{base_name(site)}"' in made.description


def _cluster_in(name: str) -> str:
    found = _NAMED_BY_CONTROLLER.fullmatch(name)
    return (found["cluster"] or "") if found else ""


def _services(firewalls: Iterable[compute_v1.Firewall], site: Site) -> Iterator[str]:
    """Yield the names of load balancers of Services whose firewall rule lets clients reach our nodes."""
    for rule in firewalls:
        if rule.name.startswith(_SERVICE_RULE) and any(is_tag_of_cluster(tag, site) for tag in rule.target_tags):
            yield rule.name.removeprefix(_SERVICE_RULE)


def _listed(compute: DeploymentCompute, kind: Collection) -> Iterator[Made]:
    """Yield what there is of a kind that a controller named."""
    client = compute.client(kind.client)
    if kind.scope == "zone":
        things = [
            thing
            for place, listed in client.aggregated_list(project=compute.project)
            if last_part(place).startswith(f"{compute.region}-")
            for thing in listed.network_endpoint_groups
        ]
    else:
        things = list(client.list(project=compute.project, region=compute.region))
    for thing in things:
        if _NAMED_BY_CONTROLLER.fullmatch(thing.name):
            yield Made(
                path=path_of(thing.self_link),
                description=thing.description,
                network=getattr(thing, "network", ""),
                leads_to=frozenset(path_of(reference) for reference in _references(thing)),
            )


def _references(thing: Any) -> Iterator[str]:  # noqa: ANN401 - a resource of any collection
    """Yield the URLs of what a part of a load balancer leads to."""
    for field in ("target", "url_map", "default_service"):
        if reference := getattr(thing, field, ""):
            yield reference
    yield from getattr(thing, "health_checks", ())
    for backend in getattr(thing, "backends", ()):
        yield backend.group
    for matcher in getattr(thing, "path_matchers", ()):
        yield matcher.default_service
        for rule in (*matcher.path_rules, *matcher.route_rules):
            yield rule.service
            yield from (each.backend_service for each in rule.route_action.weighted_backend_services)


def _delete(compute: DeploymentCompute, kind: Collection, made: Made) -> Operation | None:
    """Begin to delete a thing; None if it is gone already."""
    which = {kind.scope: made.place, kind.argument: made.name}
    delete = compute.client(kind.client).delete_unary
    return if_exists(lambda: delete(project=compute.project, **which))


def _delete_disk(compute: DeploymentCompute, disk: compute_v1.Disk) -> Operation | None:
    """Begin to delete a disk; None if it is gone already."""
    delete = compute.client(compute_v1.DisksClient).delete_unary
    return if_exists(lambda: delete(project=compute.project, zone=last_part(disk.zone), disk=disk.name))
