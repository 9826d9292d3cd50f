"""Network, way out and firewall of a deployment."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from activities.contracts import InNetwork, NetworkRequest
from activities.gcp.compute import last_part
from domain.deployment import ExistingNetwork, NetworkSpec, Site
from domain.facts import AddressPlan, Machine, Network, Placement
from domain.failure import FailureClass
from domain.naming import owner_labels
from domain.shape import PoolName
from simulators.gcp.documents import GcpOwnNetwork
from tests.activities.gcp.conftest import REGION, Account

PLAN = AddressPlan(
    cidr="10.64.0.0/16",
    private_cidrs=("10.64.0.0/20",),
    public_cidrs=("10.64.16.0/23",),
    pod_cidr="10.64.128.0/17",
    service_cidr="10.64.32.0/20",
)
PLACEMENT = Placement(zones=tuple(f"{REGION}-{letter}" for letter in "abc"), machines=())
DELETIONS = ("delete_firewall", "delete_private_endpoints", "delete_egress", "delete_network")


def order(site: Site, existing: ExistingNetwork | None = None, placement: Placement = PLACEMENT) -> NetworkRequest:
    """Return the order for a network of ours, or the customer's own."""
    return NetworkRequest(site=site, network=NetworkSpec(existing=existing), placement=placement, addresses=PLAN)


def make(account: Account, run: Any = None) -> Network:
    """Make everything around the network; what the NAT logs is encrypted."""
    run = run or account.run
    run("create_encryption_key", account.site)
    network: Network = run("create_network", order(account.site))
    inside = InNetwork(site=account.site, network=network)
    run("create_firewall", inside)
    run("create_egress", inside)
    run("create_private_endpoints", inside)
    return network


@pytest.fixture
def network(account: Account) -> Network:
    """The deployment's network, whole."""
    return make(account)


def subnetwork(account: Account, name: str) -> compute_v1.Subnetwork:
    """Return a subnetwork as the customer sees it."""
    client = account.customer(compute_v1.SubnetworksClient)
    return client.get(project=account.project, region=REGION, subnetwork=name)


def kinds(account: Account) -> list[str]:
    """Return what Compute Engine holds in the project, by kind, without the routes that come by themselves."""
    return sorted(each.type for each in account.resources() if each.service == "compute" and each.type != "route")


def test_the_network_has_the_planned_ranges(account: Account, network: Network) -> None:
    """Nodes, pods and services have theirs, and so have the load balancer's proxies."""
    nodes = subnetwork(account, network.private_subnet_ids[0])
    proxies = subnetwork(account, network.public_subnet_ids[0])

    assert (nodes.ip_cidr_range, last_part(nodes.network)) == ("10.64.0.0/20", network.network_id)
    assert {each.range_name: each.ip_cidr_range for each in nodes.secondary_ip_ranges} == {
        network.pod_range: "10.64.128.0/17",
        network.service_range: "10.64.32.0/20",
    }
    assert nodes.private_ip_google_access
    assert (proxies.ip_cidr_range, proxies.purpose) == ("10.64.16.0/23", "REGIONAL_MANAGED_PROXY")


def test_nodes_go_out_by_one_address_of_their_own(account: Account, network: Network) -> None:
    """The NAT has an address that stays, and serves the nodes' subnetwork alone."""
    routers = account.customer(compute_v1.RoutersClient)
    (router,) = routers.list(project=account.project, region=REGION)
    (address,) = account.customer(compute_v1.AddressesClient).list(project=account.project, region=REGION)
    (nat,) = router.nats

    assert [last_part(each) for each in nat.nat_ips] == [address.name]
    assert [last_part(each.name) for each in nat.subnetworks] == [network.private_subnet_ids[0]]
    assert dict(address.labels)["byoc-deployment"] == account.site.deployment


def test_only_nodes_pods_and_the_load_balancer_come_in(account: Account, network: Network) -> None:
    """All rules are about our nodes; whatever no rule lets in is denied, before the network's own last word."""
    rules = {each.name: each for each in account.customer(compute_v1.FirewallsClient).list(project=account.project)}

    assert {tag for rule in rules.values() for tag in rule.target_tags} == {f"byoc-{account.site.deployment}-nodes"}
    sources = {name.rpartition("-")[2]: set(rule.source_ranges) for name, rule in rules.items()}
    assert sources == {
        "internal": {"10.64.0.0/20", "10.64.128.0/17"},
        "balancer": {"35.191.0.0/16", "130.211.0.0/22", "10.64.16.0/23"},
        "closed": {"0.0.0.0/0"},
    }
    assert [rule.name.rpartition("-")[2] for rule in rules.values() if rule.denied] == ["closed"]


def test_what_somebody_changed_is_put_back(account: Account, network: Network) -> None:
    """Rules, NAT, private access, the proxies' role and the address's labels are as before after the next run."""
    where = {"project": account.project, "region": REGION}
    rule = f"byoc-{account.site.deployment}-balancer"
    everybody = compute_v1.Firewall(source_ranges=["0.0.0.0/0"])
    account.customer(compute_v1.FirewallsClient).patch_unary(
        project=account.project, firewall=rule, firewall_resource=everybody
    )
    routers = account.customer(compute_v1.RoutersClient)
    (router,) = routers.list(**where)
    everything = compute_v1.RouterNat(
        name="egress",
        nat_ip_allocate_option="AUTO_ONLY",
        source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
    )
    routers.patch_unary(**where, router=router.name, router_resource=compute_v1.Router(nats=[everything]))
    off = compute_v1.SubnetworksSetPrivateIpGoogleAccessRequest(private_ip_google_access=False)
    account.customer(compute_v1.SubnetworksClient).set_private_ip_google_access_unary(
        **where,
        subnetwork=network.private_subnet_ids[0],
        subnetworks_set_private_ip_google_access_request_resource=off,
    )
    demote(account, network.public_subnet_ids[0])
    label(account, f"byoc-{account.site.deployment}-egress", {"team": "network"})

    make(account)

    (found,) = (
        each for each in account.customer(compute_v1.FirewallsClient).list(project=account.project) if each.name == rule
    )
    assert "0.0.0.0/0" not in found.source_ranges
    (router,) = routers.list(**where)
    assert router.nats[0].nat_ip_allocate_option == "MANUAL_ONLY"
    assert subnetwork(account, network.private_subnet_ids[0]).private_ip_google_access
    assert subnetwork(account, network.public_subnet_ids[0]).role == "ACTIVE"
    (address,) = account.customer(compute_v1.AddressesClient).list(**where)
    assert dict(address.labels) == {**owner_labels(account.site, "egress"), "team": "network"}


def demote(account: Account, name: str) -> None:
    """Make a subnetwork of proxies the one that is not used."""
    backup = compute_v1.Subnetwork(role="BACKUP", fingerprint=subnetwork(account, name).fingerprint)
    account.customer(compute_v1.SubnetworksClient).patch_unary(
        project=account.project, region=REGION, subnetwork=name, subnetwork_resource=backup
    )


def label(account: Account, address: str, labels: dict[str, str]) -> None:
    """Give an address these labels and no others."""
    where = {"project": account.project, "region": REGION}
    addresses = account.customer(compute_v1.AddressesClient)
    wanted = compute_v1.RegionSetLabelsRequest(
        labels=labels, label_fingerprint=addresses.get(**where, address=address).label_fingerprint
    )
    addresses.set_labels_unary(**where, resource=address, region_set_labels_request_resource=wanted)


def test_rules_that_gke_leaked_go_with_the_network(account: Account, network: Network) -> None:
    """Controllers that are deleted before they clean up leave rules that keep the network from being deleted."""
    leak(account, "k8s-fw-a1b2c3", network.network_id)

    account.run("delete_firewall", account.site)

    assert "firewall" not in kinds(account)


def leak(account: Account, name: str, network: str, *tags: str) -> None:
    """Make a rule as GKE's controllers make it."""
    leaked = compute_v1.Firewall(
        name=name,
        network=f"projects/{account.project}/global/networks/{network}",
        source_ranges=["0.0.0.0/0"],
        target_tags=list(tags),
        allowed=[compute_v1.Allowed(I_p_protocol="tcp")],
    )
    account.customer(compute_v1.FirewallsClient).insert_unary(project=account.project, firewall_resource=leaked)


def test_rules_for_other_clusters_stay(account: Account) -> None:
    """A deployment's name may be the beginning of another one's in the same network."""
    existing = own_network(account)
    cluster = f"gke-byoc-{account.site.deployment}"
    leak(account, "k8s-fw-ours", existing.network_id, f"{cluster}-0123abcd-node")
    leak(account, "k8s-fw-theirs", existing.network_id, f"{cluster}-eu-0123abcd-node")

    account.run("delete_firewall", account.site)

    rules = account.customer(compute_v1.FirewallsClient).list(project=account.project)
    assert [each.name for each in rules] == ["k8s-fw-theirs"]


def test_rules_in_a_network_that_only_has_our_name_stay(account: Account) -> None:
    """What GKE made for somebody else's cluster is not ours because of the network's name."""
    theirs = compute_v1.Network(name=f"byoc-{account.site.deployment}", auto_create_subnetworks=False)
    account.customer(compute_v1.NetworksClient).insert_unary(project=account.project, network_resource=theirs)
    leak(account, "k8s-fw-a1b2c3", theirs.name)

    account.run("delete_firewall", account.site)

    assert "firewall" in kinds(account)


def own_network(account: Account, *, nat: bool = True, proxies: bool = True) -> ExistingNetwork:
    """Make a network as a customer has it."""
    made = account.control.project(account.project).make_network(GcpOwnNetwork(region=REGION, nat=nat))
    if proxies:
        subnetworks = account.customer(compute_v1.SubnetworksClient)
        wanted = compute_v1.Subnetwork(
            name="proxies",
            network=f"projects/{account.project}/global/networks/{last_part(made.network)}",
            ip_cidr_range="10.90.0.0/23",
            purpose="REGIONAL_MANAGED_PROXY",
            role="ACTIVE",
        )
        subnetworks.insert_unary(project=account.project, region=REGION, subnetwork_resource=wanted)
    return ExistingNetwork(
        network_id=last_part(made.network),
        private_subnet_ids=(last_part(made.subnetwork),),
        pod_range=made.pods_range,
        service_range=made.services_range,
    )


def test_the_customers_own_network_is_used_and_left_alone(account: Account) -> None:
    """It is verified; nothing is made in it but firewall rules for our own nodes."""
    existing = own_network(account)
    before = account.control.position()

    network = account.run("create_network", order(account.site, existing))
    account.run("create_egress", InNetwork(site=account.site, network=network))
    account.run("create_private_endpoints", InNetwork(site=account.site, network=network))

    assert not network.ours
    assert network.public_subnet_ids == ("proxies",)
    assert account.changes(before) == []


def test_every_finding_about_the_customers_network_is_in_one_error(account: Account) -> None:
    """Ranges, proxies and the way out are missing: the customer learns all of it at once."""
    existing = own_network(account, nat=False, proxies=False).model_copy(update={"pod_range": "nope"})

    detail = account.failure("create_network", order(account.site, existing))

    assert detail.failure is FailureClass.CONFIG
    for finding in ("podRange", "REGIONAL_MANAGED_PROXY", "nothing leads out"):
        assert finding in detail.message


def test_ranges_without_room_for_the_nodes_are_named(account: Account) -> None:
    """Each node takes an address, for which there is just room, and 256 more for its pods, for which there is none."""
    existing = own_network(account)
    machine = Machine(pool=PoolName.STORE, instance_type="n2-standard-2", minimum=3, maximum=4090)
    placement = Placement(zones=PLACEMENT.zones, machines=(machine,))

    detail = account.failure("create_network", order(account.site, existing, placement))

    assert detail.failure is FailureClass.CONFIG
    assert "10.80.0.0/20" not in detail.message
    assert "podRange: the range pods (10.96.0.0/14) has 262144 addresses, needs 1047296" in detail.message
