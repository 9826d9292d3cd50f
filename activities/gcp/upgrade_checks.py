"""What Google knows that stands in the way of an upgrade."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network

from google.cloud import certificate_manager_v1 as certificates
from google.cloud import compute_v1, container_v1
from temporalio import activity

from activities.gcp.certificate import certificate_name
from activities.gcp.compute import DeploymentCompute, if_exists, last_part
from activities.gcp.errors import failures_named
from activities.gcp.gke import cluster_name, find_cluster, location_name, minor_of, minors_between
from activities.gcp.node_configuration import BOOT_DISK_GB
from activities.gcp.part import GcpPart
from activities.gcp.quotas import SSD, UsedByOthers, cpu_metrics, cpus_of
from activities.needs import needs
from activities.upgrade_contracts import UpgradeCheckRequest, UpgradeContract
from domain.clouds import Purpose
from domain.deployment import Site
from domain.upgrade import Check

CERTIFICATE_LEFT = timedelta(days=30)
_RESERVED = 4
"""Addresses of a subnetwork that Google keeps."""
_PODS_BITS = 24
"""Length of the range that a node gets for its pods, unless a pool says otherwise."""
_NODE_MARK = "goog-gke-node"
"""GKE puts this label on machines."""
_Paused = container_v1.ClusterUpgradeInfo.AutoUpgradePausedReason


class GcpUpgradeChecks(GcpPart, UpgradeContract):
    """Looks, and changes nothing."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "certificatemanager.certs.get", "compute.addresses.list", "compute.disks.list", "compute.instances.list",
        "compute.regions.get", "compute.subnetworks.list", "container.clusters.get", "container.clusters.list",
        purpose=Purpose.OBSERVE, why="Look for what stands in the way of an upgrade",
    )  # fmt: skip
    def check_upgrade(self, request: UpgradeCheckRequest) -> tuple[Check, ...]:
        """Return the checks `provider-insights`, `surge-quota`, `free-addresses`, `certificate`, `cluster-settled`.

        Google's insights are what GKE itself says of cluster and pools: their conditions, the versions on offer, and
        whether it has stopped upgrading them by itself. Its list of calls to deprecated APIs is the Recommender's, for
        which customers would have to switch on one more API; GKE stops its own upgrades for these, too.
        """
        site = request.site
        with failures_named(resource=request.cluster.name):
            gke = self._connections.client(container_v1.ClusterManagerClient, site, Purpose.OBSERVE)
            cluster = find_cluster(gke, site)
            if cluster is None:
                raise self._look_again(f"GKE cluster {request.cluster.name} is not there")
            compute = DeploymentCompute(self._settings, self._connections, site, Purpose.OBSERVE)
            machines = _machines(compute)
            manager = self._connections.client(certificates.CertificateManagerClient, site, Purpose.OBSERVE)
            return (
                _insights(gke, cluster, request),
                _surge_quota(compute, request),
                _free_addresses(compute, cluster, machines, request),
                _certificate(manager, site, datetime.now(UTC)),
                _settled(cluster),
            )


def _insights(
    gke: container_v1.ClusterManagerClient, cluster: container_v1.Cluster, request: UpgradeCheckRequest
) -> Check:
    site, wanted = request.site, request.kubernetes
    found = [f"{cluster.name}: {each.message} ({each.code.name})" for each in cluster.conditions]
    offered = ""
    if wanted and minors_between(cluster.current_master_version, wanted) > 0:
        channels = gke.get_server_config(name=location_name(site)).channels
        valid = [
            version
            for each in channels
            if each.channel == cluster.release_channel.channel
            for version in each.valid_versions
        ]
        offered = next((version for version in valid if minor_of(version) == wanted), "")
        if not offered:
            found.append(f"GKE offers no {wanted} in {site.region}: {', '.join(sorted(set(map(minor_of, valid))))}")
    for pool in cluster.node_pools:
        found += [f"{pool.name}: {each.message} ({each.code.name})" for each in pool.conditions]
    info = gke.fetch_cluster_upgrade_info(name=cluster_name(site))
    # That our exclusions stop GKE's own upgrades says nothing, nor does how those of node pools stand.
    if _Paused.SYSTEM_CONFIG in info.paused_reason:
        statuses = ", ".join(each.name for each in (*info.auto_upgrade_status, *info.paused_reason))
        found.append(f"GKE itself does not upgrade {cluster.name} for the time being ({statuses})")
    fine = f"GKE reports nothing of {cluster.name} and its {len(cluster.node_pools)} node pools"
    fine += f", offers {offered}" if offered else ""
    if until := info.end_of_standard_support_timestamp:
        fine += f", and supports {minor_of(cluster.current_master_version)} until {until}"
    return _check("provider-insights", found, fine)


def _surge_quota(compute: DeploymentCompute, request: UpgradeCheckRequest) -> Check:
    """Compare the quotas with one more machine of each pool, of which no two are ever needed at once."""
    if not request.replaces_nodes:
        return Check(name="surge-quota", passed=True, evidence="no machine is replaced")
    needed: Counter[str] = Counter()
    for machine in request.placement.machines:
        for metric in cpu_metrics(machine.instance_type):
            needed[metric] += cpus_of(machine.instance_type)
        needed[SSD] += BOOT_DISK_GB
    used = UsedByOthers(compute)
    told, short = [], []
    for metric, more in sorted(needed.items()):
        limit, in_use = used.limits.get(metric), used.and_ours(metric)
        text = f"{metric}: {in_use} of {'any number' if limit is None else round(limit)} in use, {more} more needed"
        told.append(text)
        if limit is not None and in_use + more > limit:
            short.append(text)
    return _check("surge-quota", short, "; ".join(told))


def _machines(compute: DeploymentCompute) -> list[compute_v1.Instance]:
    listed = compute.client(compute_v1.InstancesClient).aggregated_list(project=compute.project)
    return [
        machine
        for place, found in listed
        if last_part(place).startswith(f"{compute.region}-")
        for machine in found.instances
    ]


def _free_addresses(
    compute: DeploymentCompute,
    cluster: container_v1.Cluster,
    machines: Iterable[compute_v1.Instance],
    request: UpgradeCheckRequest,
) -> Check:
    """Count what is left of the nodes' range, and how many nodes' worth of the pods' one."""
    if not request.replaces_nodes:
        return Check(name="free-addresses", passed=True, evidence="no machine is replaced")
    needed, name = len(request.placement.machines), request.network.private_subnet_ids[0]
    subnetworks = compute.client(compute_v1.SubnetworksClient).list(project=compute.project, region=compute.region)
    subnetwork = next((each for each in subnetworks if each.name == name), None)
    if subnetwork is None:
        return Check(name="free-addresses", passed=False, evidence=f"there is no subnetwork {name}")
    inside = [
        machine
        for machine in machines
        if any(last_part(each.subnetwork) == name for each in machine.network_interfaces)
    ]
    nodes = sum(_NODE_MARK in machine.labels for machine in inside)
    free = IPv4Network(subnetwork.ip_cidr_range).num_addresses - _RESERVED - len(inside)
    pods = next(
        (each.ip_cidr_range for each in subnetwork.secondary_ip_ranges if each.range_name == request.network.pod_range),
        "",
    )
    bits = min((pool.pod_ipv4_cidr_size or _PODS_BITS for pool in cluster.node_pools), default=_PODS_BITS)
    room = 2 ** max(0, bits - IPv4Network(pods).prefixlen) - nodes if pods else 0
    told = f"{free} addresses of {subnetwork.ip_cidr_range} and pods' ranges for {room} nodes of {pods} are free"
    short = [f"{told}; {needed} are needed"] if min(free, room) < needed else []
    return _check("free-addresses", short, told)


def _certificate(manager: certificates.CertificateManagerClient, site: Site, now: datetime) -> Check:
    name = certificate_name(site)
    found = if_exists(lambda: manager.get_certificate(name=name))
    if found is None:
        return Check(name="certificate", passed=False, evidence=f"there is no certificate {name}")
    state, until = found.managed.state.name, found.expire_time
    if state != "ACTIVE":
        return Check(name="certificate", passed=False, evidence=f"{name} is {state}")
    left = datetime.fromtimestamp(until.timestamp(), UTC) - now
    evidence = f"{name} is {state} and valid for {left.days} more days"
    return Check(name="certificate", passed=left > CERTIFICATE_LEFT, evidence=evidence)


def _settled(cluster: container_v1.Cluster) -> Check:
    """Return whether GKE is done with everything."""
    parts = [(cluster.name, cluster.status.name), *((pool.name, pool.status.name) for pool in cluster.node_pools)]
    found = [f"{name} is {status}" for name, status in parts if status != "RUNNING"]
    return _check("cluster-settled", found, f"{cluster.name} and its {len(parts) - 1} node pools are RUNNING")


def _check(name: str, found: list[str], fine: str) -> Check:
    return Check(name=name, passed=not found, evidence="; ".join(found) or fine)
