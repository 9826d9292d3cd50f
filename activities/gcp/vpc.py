"""The VPC network of a deployment: a subnetwork for nodes, pods and services, and one for the load balancer's proxies.

A subnetwork spans the region, so there is one for all zones.
"""

from __future__ import annotations

from google.cloud import compute_v1
from temporalio import activity

from activities.contracts import NetworkContract, NetworkRequest
from activities.failures import refused
from activities.gcp.compute import GLOBAL_OPERATION, REGION_OPERATION, DeploymentCompute, if_exists, last_part
from activities.gcp.customer_network import verified_network
from activities.gcp.errors import failures_named
from activities.gcp.ownership import is_described_as_ours, owner_description, require_ours
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import AddressPlan, Network
from domain.failure import FailureClass
from domain.naming import base_name, resource_name

PODS, SERVICES = "pods", "services"
"""Names of the secondary ranges."""
PROXY_ONLY = "REGIONAL_MANAGED_PROXY"
"""Purpose of the subnetwork in which a regional load balancer's proxies have their addresses; one for each network and
region (Cloud Load Balancing, "Proxy-only subnets")."""


class GcpVpc(GcpPart, NetworkContract):
    """Makes network and subnetworks, and takes them away; verifies the customer's own and leaves it as it is."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.networks.create", "compute.networks.get", "compute.networks.updatePolicy",
        "compute.subnetworks.create", "compute.subnetworks.get", "compute.subnetworks.setPrivateIpGoogleAccess",
        "compute.subnetworks.update", GLOBAL_OPERATION, REGION_OPERATION,
        purpose=Purpose.OPERATE, why="Make the network and its subnetworks",
    )  # fmt: skip
    @needs(
        "compute.routers.list", "compute.routes.list", "compute.subnetworks.list",
        purpose=Purpose.OPERATE, why="Verify a network of the customer's own",
    )  # fmt: skip
    def create_network(self, request: NetworkRequest) -> Network:
        """One network exists, and in the region a subnetwork for nodes with secondary ranges, and a proxy-only one.

        The customer's own network is verified instead, and every finding is in one error.
        """
        site = request.site
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.OPERATE)
            if request.network.existing is not None:
                return verified_network(compute, request.network.existing, request.placement)
            self._ensure_network(compute)
            nodes, proxies = self._wanted(compute, request.addresses)
            self._ensure_subnetwork(compute, nodes)
            self._ensure_subnetwork(compute, proxies)
        return Network(
            network_id=base_name(site),
            private_subnet_ids=(nodes.name,),
            public_subnet_ids=(proxies.name,),
            pod_range=PODS,
            service_range=SERVICES,
        )

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.networks.delete", "compute.networks.get", "compute.networks.updatePolicy",
        "compute.subnetworks.delete", "compute.subnetworks.list", GLOBAL_OPERATION, REGION_OPERATION,
        purpose=Purpose.DELETE, why="Delete the network and its subnetworks",
    )  # fmt: skip
    def delete_network(self, site: Site) -> None:
        """No network or subnetwork of the deployment is left; what is still in use is looked at again."""
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.DELETE)
            subnetworks = compute.client(compute_v1.SubnetworksClient)
            where = {"project": compute.project, "region": compute.region}
            compute.settle_all(
                [
                    subnetworks.delete_unary(**where, subnetwork=each.name)
                    for each in list(subnetworks.list(**where))
                    if is_described_as_ours(each.description, site)
                ],
                "the deletion of the subnetworks",
            )
            networks = compute.client(compute_v1.NetworksClient)
            name = base_name(site)
            found = if_exists(lambda: networks.get(project=compute.project, network=name))
            if found is not None and is_described_as_ours(found.description, site):
                doomed = networks.delete_unary(project=compute.project, network=name)
                compute.settle(doomed, f"the deletion of the network {name}")

    def _ensure_network(self, compute: DeploymentCompute) -> None:
        site, name = compute.site, base_name(compute.site)
        networks = compute.client(compute_v1.NetworksClient)
        found = if_exists(lambda: networks.get(project=compute.project, network=name))
        if found is not None:
            require_ours(f"network {name}", site, ours=is_described_as_ours(found.description, site))
            return
        wanted = compute_v1.Network(
            name=name,
            description=owner_description(site, "network"),
            auto_create_subnetworks=False,
            routing_config=compute_v1.NetworkRoutingConfig(routing_mode="REGIONAL"),
        )
        made = networks.insert_unary(project=compute.project, network_resource=wanted)
        compute.settle(made, f"the network {name}")

    @staticmethod
    def _wanted(compute: DeploymentCompute, plan: AddressPlan) -> tuple[compute_v1.Subnetwork, compute_v1.Subnetwork]:
        """Return the subnetworks as they have to be: that of the nodes, and that of the proxies."""
        site, network = compute.site, f"projects/{compute.project}/global/networks/{base_name(compute.site)}"
        ranges = {PODS: plan.pod_cidr, SERVICES: plan.service_cidr}
        nodes = compute_v1.Subnetwork(
            name=resource_name(site, "nodes"),
            description=owner_description(site, "nodes"),
            network=network,
            ip_cidr_range=plan.private_cidrs[0],
            # Nodes have internal addresses alone; with this, Google's own services answer those.
            private_ip_google_access=True,
            secondary_ip_ranges=[
                compute_v1.SubnetworkSecondaryRange(range_name=name, ip_cidr_range=cidr)
                for name, cidr in ranges.items()
            ],
        )
        proxies = compute_v1.Subnetwork(
            name=resource_name(site, "proxies"),
            description=owner_description(site, "proxies"),
            network=network,
            ip_cidr_range=plan.public_cidrs[0],
            purpose=PROXY_ONLY,
            role="ACTIVE",
        )
        return nodes, proxies

    def _ensure_subnetwork(self, compute: DeploymentCompute, wanted: compute_v1.Subnetwork) -> None:
        site, where = compute.site, {"project": compute.project, "region": compute.region}
        subnetworks = compute.client(compute_v1.SubnetworksClient)
        found = if_exists(lambda: subnetworks.get(**where, subnetwork=wanted.name))
        if found is None:
            made = subnetworks.insert_unary(**where, subnetwork_resource=wanted)
            compute.settle(made, f"the subnetwork {wanted.name}")
            return
        require_ours(f"subnetwork {wanted.name}", site, ours=is_described_as_ours(found.description, site))
        if _ranges(found) != _ranges(wanted):
            message = (
                f"The subnetwork {wanted.name} has the ranges {_ranges_in_words(found)}, not"
                f" {_ranges_in_words(wanted)}; a subnetwork in use cannot change them"
            )
            raise refused(FailureClass.CONFIG, message, resource=wanted.name)
        if wanted.private_ip_google_access and not found.private_ip_google_access:
            access = compute_v1.SubnetworksSetPrivateIpGoogleAccessRequest(private_ip_google_access=True)
            changed = subnetworks.set_private_ip_google_access_unary(
                **where,
                subnetwork=wanted.name,
                subnetworks_set_private_ip_google_access_request_resource=access,
            )
            compute.settle(changed, f"private access to Google's services from {wanted.name}")
        if found.role != wanted.role:
            promoted = compute_v1.Subnetwork(role=wanted.role, fingerprint=found.fingerprint)
            changed = subnetworks.patch_unary(**where, subnetwork=wanted.name, subnetwork_resource=promoted)
            compute.settle(changed, f"the role of the subnetwork {wanted.name}")


def _ranges(subnetwork: compute_v1.Subnetwork) -> dict[str, str]:
    """Return a subnetwork's ranges, keyed by name; its own has none."""
    secondary = {each.range_name: each.ip_cidr_range for each in subnetwork.secondary_ip_ranges}
    return {"": subnetwork.ip_cidr_range, "network": last_part(subnetwork.network), **secondary}


def _ranges_in_words(subnetwork: compute_v1.Subnetwork) -> str:
    return ", ".join(f"{name} {value}".strip() for name, value in _ranges(subnetwork).items())
