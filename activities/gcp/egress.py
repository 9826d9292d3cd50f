"""The way out of the network: Cloud NAT behind one address that stays, so that the customer can allow it elsewhere."""

from __future__ import annotations

from google.cloud import compute_v1, container_v1
from google.cloud.logging_v2.services.config_service_v2 import ConfigServiceV2Client
from temporalio import activity

from activities.contracts import InNetwork, NetworkContract
from activities.gcp.compute import REGION_OPERATION, DeploymentCompute, if_exists, last_part, path_of
from activities.gcp.errors import failures_named
from activities.gcp.gke import is_there
from activities.gcp.logs import PERMISSIONS_TO_ROUTE, PERMISSIONS_TO_STOP, route_logs, stop_routing
from activities.gcp.ownership import is_described_as_ours, is_ours, owner_description, require_ours
from activities.gcp.part import GcpPart
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import owner_labels, resource_name

_NAT = "egress"
_LOGGED = compute_v1.RouterNatLogConfig(enable=True, filter="ERRORS_ONLY")


class GcpEgress(GcpPart, NetworkContract):
    """Makes router, NAT and address, and takes them away. They span the region: no zone goes out by another one."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.addresses.create", "compute.addresses.get", "compute.addresses.setLabels", "compute.addresses.use",
        "compute.networks.updatePolicy", "compute.routers.create", "compute.routers.get", "compute.routers.update",
        REGION_OPERATION, *PERMISSIONS_TO_ROUTE,
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_egress(self, request: InNetwork) -> None:
        """The nodes' subnetwork reaches out through a NAT with an address of its own, and no other subnetwork does.

        What the NAT has to report is kept in the region. A network of the customer's own has its own way out, which was
        verified.
        """
        if not request.network.ours:
            return
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, request.site, Purpose.OPERATE)
            self._ensure_address(compute)
            route_logs(compute.client(ConfigServiceV2Client), request.site, self._look_again)
            self._ensure_router(compute, request.network.network_id, request.network.private_subnet_ids[0])

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "compute.addresses.delete", "compute.addresses.list", "compute.networks.updatePolicy",
        "compute.routers.delete", "compute.routers.list", "container.clusters.get", REGION_OPERATION,
        *PERMISSIONS_TO_STOP,
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_egress(self, site: Site) -> None:
        """No router and no address of the deployment is left, nor the routing of its logs once its cluster is gone."""
        with failures_named():
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.DELETE)
            where = {"project": compute.project, "region": compute.region}
            routers = compute.client(compute_v1.RoutersClient)
            compute.settle_all(
                [routers.delete_unary(**where, router=each.name) for each in our_routers(compute)],
                "the deletion of the router",
            )
            addresses = compute.client(compute_v1.AddressesClient)
            compute.settle_all(
                [
                    addresses.delete_unary(**where, address=each.name)
                    for each in list(addresses.list(**where))
                    if is_our_address(each, site)
                ],
                "the release of the address",
            )
            if not is_there(compute.client(container_v1.ClusterManagerClient), site):
                stop_routing(compute.client(ConfigServiceV2Client), site)

    def _ensure_address(self, compute: DeploymentCompute) -> None:
        site, name = compute.site, resource_name(compute.site, _NAT)
        where = {"project": compute.project, "region": compute.region}
        addresses = compute.client(compute_v1.AddressesClient)
        found = if_exists(lambda: addresses.get(**where, address=name))
        if found is not None:
            require_ours(f"address {name}", site, ours=is_our_address(found, site))
            labels = {**found.labels, **owner_labels(site, _NAT)}
            if labels != dict(found.labels):
                wanted_labels = compute_v1.RegionSetLabelsRequest(
                    labels=labels, label_fingerprint=found.label_fingerprint
                )
                labelled = addresses.set_labels_unary(
                    **where, resource=name, region_set_labels_request_resource=wanted_labels
                )
                compute.settle(labelled, f"the labels of the address {name}")
            return
        wanted = compute_v1.Address(
            name=name,
            address_type="EXTERNAL",
            network_tier="PREMIUM",
            # Labels are changed by a call of their own; what it is known by has to be there from the beginning.
            description=owner_description(site, _NAT),
            labels=owner_labels(site, _NAT),
        )
        compute.settle(addresses.insert_unary(**where, address_resource=wanted), f"the address {name}")

    def _ensure_router(self, compute: DeploymentCompute, network: str, subnetwork: str) -> None:
        site, name = compute.site, resource_name(compute.site, _NAT)
        where = {"project": compute.project, "region": compute.region}
        nat = _nat_wanted(compute, subnetwork)
        wanted = compute_v1.Router(
            name=name,
            description=owner_description(site, _NAT),
            network=f"projects/{compute.project}/global/networks/{network}",
            nats=[nat],
        )
        routers = compute.client(compute_v1.RoutersClient)
        found = if_exists(lambda: routers.get(**where, router=name))
        if found is None:
            compute.settle(routers.insert_unary(**where, router_resource=wanted), f"the router {name}")
            return
        require_ours(f"router {name}", site, ours=is_described_as_ours(found.description, site))
        if [_comparable(each) for each in found.nats] != [_comparable(nat)]:
            changed = routers.patch_unary(**where, router=name, router_resource=compute_v1.Router(nats=[nat]))
            compute.settle(changed, f"the NAT of the router {name}")


def our_routers(compute: DeploymentCompute) -> list[compute_v1.Router]:
    """Return the routers that were made for the deployment."""
    routers = compute.client(compute_v1.RoutersClient).list(project=compute.project, region=compute.region)
    return [each for each in routers if is_described_as_ours(each.description, compute.site)]


def is_our_address(address: compute_v1.Address, site: Site) -> bool:
    """Return whether an address was reserved for the deployment."""
    return is_described_as_ours(address.description, site) or is_ours(address.labels, site)


def _nat_wanted(compute: DeploymentCompute, subnetwork: str) -> compute_v1.RouterNat:
    region = f"projects/{compute.project}/regions/{compute.region}"
    return compute_v1.RouterNat(
        name=_NAT,
        nat_ip_allocate_option="MANUAL_ONLY",
        nat_ips=[f"{region}/addresses/{resource_name(compute.site, _NAT)}"],
        source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
        subnetworks=[
            compute_v1.RouterNatSubnetworkToNat(
                name=f"{region}/subnetworks/{subnetwork}", source_ip_ranges_to_nat=["ALL_IP_RANGES"]
            )
        ],
        log_config=_LOGGED,
    )


def _comparable(nat: compute_v1.RouterNat) -> tuple[object, ...]:
    """Return what makes two NATs the same; Google spells resources as URLs."""
    return (
        nat.name,
        nat.nat_ip_allocate_option,
        sorted(path_of(address) for address in nat.nat_ips),
        nat.source_subnetwork_ip_ranges_to_nat,
        sorted((last_part(each.name), sorted(each.source_ip_ranges_to_nat)) for each in nat.subnetworks),
        (nat.log_config.enable, nat.log_config.filter),
    )
