"""GKE node pools: made, converged, replaced and deleted; and what the cluster's controllers leave."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from google.cloud import compute_v1, container_v1

from activities.gcp.gke import pool_path
from activities.gcp.node_configuration import BOOT_DISK_GB
from domain.facts import Cluster
from domain.naming import base_name, owner_labels
from domain.shape import PoolName
from simulators.faults import FaultKind
from tests.activities.gcp.conftest import REGION, Account
from tests.activities.gcp.ground import MACHINE, ZONES, Ground

OTHERS = next(pool for pool in PoolName if pool is not PoolName.STORE)
LABEL = "byoc.dev/pool"


def gke(account: Account) -> Any:
    """Return the customer's client of GKE."""
    return account.customer(container_v1.ClusterManagerClient)


def described(account: Account, pool: PoolName = PoolName.STORE) -> container_v1.NodePool:
    """Return a pool as the customer sees it."""
    return gke(account).get_node_pool(name=pool_path(account.site, pool))


def machines(account: Account) -> Counter[str]:
    """Return how many machines run in each zone."""
    return Counter(each.id.split("/")[3] for each in account.resources() if each.type == "instance")


def test_the_stores_pool_keeps_its_nodes_in_their_zones(account: Account, ground: Ground, cluster: Cluster) -> None:
    """As many zones as it has nodes, limits for each, and a taint that keeps everything else away."""
    pool = account.run("create_node_pool", ground.pool_request(cluster, minimum=2, maximum=5))

    found = described(account)
    assert (pool.name, pool.instance_type) == ("store", MACHINE)
    assert list(found.locations) == list(ZONES[:2])
    assert (found.autoscaling.min_node_count, found.autoscaling.max_node_count) == (1, 3)
    assert [(each.key, each.value, each.effect.name) for each in found.config.taints] == [
        (LABEL, "store", "NO_SCHEDULE")
    ]
    assert dict(found.config.labels) == {LABEL: "store"}
    assert machines(account) == dict.fromkeys(ZONES[:2], 1)


@pytest.mark.parametrize(
    ("minimum", "maximum", "zones", "nodes"), [(2, 6, 3, 3), (3, 6, 3, 3), (4, 5, 3, 4), (1, 1, 1, 1), (1, 2, 2, 2)]
)
def test_other_pools_have_limits_for_all_zones_together(
    account: Account, ground: Ground, cluster: Cluster, minimum: int, maximum: int, zones: int, nodes: int
) -> None:
    """They never begin beyond the maximum, nor in a zone that could have no node."""
    account.run("create_node_pool", ground.pool_request(cluster, OTHERS, minimum=minimum, maximum=maximum))

    found = described(account, OTHERS)
    scaling = found.autoscaling
    assert (scaling.total_min_node_count, scaling.total_max_node_count) == (minimum, maximum)
    assert scaling.location_policy.name == "BALANCED"
    assert (len(found.locations), sum(machines(account).values())) == (zones, nodes)
    assert not found.config.taints


def test_machines_are_closed_and_encrypted(account: Account, ground: Ground, cluster: Cluster) -> None:
    """No public address, a verified boot, disks under our key, and no credentials of the node for its pods."""
    account.run("create_node_pool", ground.pool_request(cluster))

    found = described(account)
    config = found.config
    assert config.service_account == ground.roles.nodes
    assert (config.boot_disk_kms_key, config.disk_size_gb) == (ground.key.key_id, BOOT_DISK_GB)
    assert config.workload_metadata_config.mode.name == "GKE_METADATA"
    assert config.shielded_instance_config.enable_secure_boot
    assert list(config.tags) == [ground.firewall.node_group_id]
    # Cloud Logging would not know whose cluster the serial port of a machine belongs to.
    assert config.metadata["serial-port-logging-enable"] == "false"
    assert dict(config.resource_labels) == owner_labels(account.site, "pool-store")
    assert found.network_config.enable_private_nodes
    assert (found.management.auto_upgrade, found.management.auto_repair) == (True, True)
    assert (found.upgrade_settings.max_surge, found.upgrade_settings.max_unavailable) == (1, 0)


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("set_node_pool_autoscaling", {"autoscaling": {"enabled": False}}),
        ("set_node_pool_management", {"management": {"auto_upgrade": True, "auto_repair": False}}),
        ("update_node_pool", {"upgrade_settings": {"max_surge": 0, "max_unavailable": 2}}),
        ("update_node_pool", {"labels": {"labels": {}}}),
        ("update_node_pool", {"taints": {"taints": []}}),
        ("update_node_pool", {"locations": [ZONES[0]]}),
    ],
    ids=["limits", "management", "surge", "labels", "taints", "zones"],
)
def test_a_changed_setting_of_a_pool_is_put_back(
    account: Account, ground: Ground, cluster: Cluster, method: str, change: dict[str, Any]
) -> None:
    """Whatever somebody changed of a pool is as before after the next run."""
    request = ground.pool_request(cluster)
    account.run("create_node_pool", request)
    before = container_v1.NodePool.to_dict(described(account))
    getattr(gke(account), method)(request={"name": pool_path(account.site, "store"), **change})

    account.run("create_node_pool", request)

    assert container_v1.NodePool.to_dict(described(account)) == before


def test_the_labels_of_machines_come_back(account: Account, ground: Ground, cluster: Cluster) -> None:
    """Ours are as before, and what the customer added stays."""
    request = ground.pool_request(cluster)
    account.run("create_node_pool", request)
    marks = owner_labels(account.site, "pool-store")
    theirs = {**marks, "byoc-resource": "mine", "cost-centre": "42"}
    gke(account).update_node_pool(
        request={"name": pool_path(account.site, "store"), "resource_labels": {"labels": theirs}}
    )

    account.run("create_node_pool", request)

    assert dict(described(account).config.resource_labels) == {**marks, "cost-centre": "42"}


def test_what_controllers_left_is_deleted(account: Account, ground: Ground, cluster: Cluster) -> None:
    """The load balancer's parts go from the front to the back, the volume too; a stranger's stay."""
    make_balancer(account, "gkegw1-1a2b", base_name(account.site))
    stranger = make_balancer(account, "gkegw1-9z9z", make_network(account, "theirs"))
    marks = {"goog-k8s-cluster-name": cluster.name, "goog-gke-volume": ""}
    for name, labels in (("pvc-ours", marks), ("pvc-theirs", {"goog-k8s-cluster-name": "another"})):
        disk = compute_v1.Disk(name=name, size_gb=10, labels=labels)
        account.customer(compute_v1.DisksClient).insert_unary(
            project=account.project, zone=ZONES[0], disk_resource=disk
        )
    for operation in ("regionBackendServices.delete", "disks.delete"):
        account.inject(FaultKind.LOST_REPLY, operation, times=1)

    account.run_through("delete_load_balancers_and_volumes", account.site)
    before = account.control.position()
    account.run("delete_load_balancers_and_volumes", account.site)

    assert account.changes(before) == []
    left = {each.id.rpartition("/")[2] for each in account.resources()}
    assert {name for name in left if name.startswith(("gkegw", "k8s", "pvc"))} == {*stranger, "pvc-theirs"}


def make_network(account: Account, name: str, description: str = "") -> str:
    """Make a network (somebody else's, unless described as ours) and return its name."""
    network = compute_v1.Network(name=name, description=description, auto_create_subnetworks=False)
    account.customer(compute_v1.NetworksClient).insert_unary(project=account.project, network_resource=network)
    return name


def make_balancer(account: Account, prefix: str, network: str) -> set[str]:
    """Make what GKE's Gateway controller makes, and return the names; the rule alone names the network."""
    project, name = account.project, f"{prefix}-byoc-server-endpoint-0c0c"
    region = f"projects/{project}/regions/{REGION}"
    full = f"projects/{project}/global/networks/{network}"
    where = {"project": project, "region": REGION}
    account.customer(compute_v1.RegionHealthChecksClient).insert_unary(
        **where, health_check_resource=compute_v1.HealthCheck(name=name)
    )
    group = f"k8s1-{prefix[-4:]}-byoc-server-api-8080"
    account.customer(compute_v1.NetworkEndpointGroupsClient).insert_unary(
        project=project,
        zone=ZONES[0],
        network_endpoint_group_resource=compute_v1.NetworkEndpointGroup(name=group, network=full),
    )
    service = compute_v1.BackendService(
        name=name,
        health_checks=[f"{region}/healthChecks/{name}"],
        backends=[compute_v1.Backend(group=f"projects/{project}/zones/{ZONES[0]}/networkEndpointGroups/{group}")],
    )
    account.customer(compute_v1.RegionBackendServicesClient).insert_unary(**where, backend_service_resource=service)
    paths = compute_v1.UrlMap(name=name, default_service=f"{region}/backendServices/{name}")
    account.customer(compute_v1.RegionUrlMapsClient).insert_unary(**where, url_map_resource=paths)
    proxy = compute_v1.TargetHttpsProxy(name=name, url_map=f"{region}/urlMaps/{name}")
    account.customer(compute_v1.RegionTargetHttpsProxiesClient).insert_unary(**where, target_https_proxy_resource=proxy)
    rule = compute_v1.ForwardingRule(name=name, target=f"{region}/targetHttpsProxies/{name}", network=full)
    account.customer(compute_v1.ForwardingRulesClient).insert_unary(**where, forwarding_rule_resource=rule)
    return {name, group}
