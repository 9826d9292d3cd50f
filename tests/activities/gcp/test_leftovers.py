"""The proof that nothing of a deployment is left in the customer's project."""

from __future__ import annotations

from datetime import UTC, datetime

from google.cloud import compute_v1, iam_admin_v1, resourcemanager_v3, storage

from activities.contracts import (
    BackupLock,
    BucketRequest,
    CertificateRequest,
    ClusterRequest,
    DomainRequest,
    InCluster,
    InNetwork,
    NodePoolRequest,
    Retention,
)
from activities.gcp.roles import NODE_ROLE
from domain.facts import Backup, Leftover, Machine, Placement
from domain.naming import base_name, owner_labels
from domain.shape import PoolName
from tests.activities.gcp.conftest import Account
from tests.activities.gcp.ground import MACHINE, ZONES
from tests.activities.gcp.test_network import make
from tests.activities.gcp.test_node_pools import make_balancer, make_network

DOMAIN = "left.db.acme.example"
PLACEMENT = Placement(
    zones=ZONES, machines=(Machine(pool=PoolName.SERVICES, instance_type=MACHINE, minimum=2, maximum=4),)
)
DELETIONS = (
    "delete_alarms", "delete_load_balancers_and_volumes", "delete_node_pools", "delete_cluster", "delete_certificate",
    "delete_domain", "delete_firewall", "delete_egress", "delete_network", "delete_roles",
)  # fmt: skip


def leftovers(account: Account, *, keep_backups: bool = False) -> tuple[Leftover, ...]:
    """Return what is left."""
    retention = Retention(site=account.site, keep_backups=keep_backups)
    found: tuple[Leftover, ...] = account.run("find_leftovers", retention)
    return found


def add_disk(account: Account, name: str, labels: dict[str, str]) -> None:
    """Make a disk as the customer."""
    disks = account.customer(compute_v1.DisksClient)
    disk = compute_v1.Disk(name=name, size_gb=10, labels=labels)
    disks.insert_unary(project=account.project, zone=ZONES[0], disk_resource=disk)


def test_an_empty_project_has_no_leftovers(account: Account) -> None:
    """What the customer's script made belongs to the customer, and nothing else is there; nothing is changed."""
    assert leftovers(account) == ()
    assert account.changes() == []


def test_everything_is_found_until_it_is_deleted(account: Account) -> None:
    """Each kind of thing that a deployment has is listed; after the deletion, key and log bucket on their way out."""
    site, run = account.site, account.run
    network = make(account)
    made = {
        "network": network,
        "firewall": run("create_firewall", InNetwork(site=site, network=network)),
        "roles": run("create_roles", site),
        "key": run("create_encryption_key", site),
    }
    run("create_backup_bucket", BucketRequest(site=site, key=made["key"]))
    domain = run("create_domain", DomainRequest(site=site, domain=DOMAIN))
    run("create_certificate", CertificateRequest(site=site, domain=domain))
    cluster = run("create_cluster", ClusterRequest(site=site, kubernetes="1.35", **made))
    pool = NodePoolRequest(site=site, cluster=cluster, placement=PLACEMENT, pool=PoolName.SERVICES, **made)
    run("create_node_pool", pool)
    make_balancer(account, "gkegw1-1a2b", base_name(site))
    add_disk(account, "pvc-ours", {"goog-k8s-cluster-name": cluster.name, "goog-gke-volume": ""})
    run("create_alarms", InCluster(site=site, cluster=cluster))

    found = leftovers(account)

    assert {left.kind for left in found} == {
        "certificatemanager:certificates", "certificatemanager:dnsAuthorizations", "compute:addresses",
        "compute:backendServices", "compute:disks", "compute:firewalls", "compute:forwardingRules",
        "compute:healthChecks", "compute:instances", "compute:networkEndpointGroups", "compute:networks",
        "compute:routers", "compute:sslPolicies", "compute:subnetworks", "compute:targetHttpsProxies",
        "compute:urlMaps", "container:clusters", "dns:managedZones", "iam:serviceAccounts", "kms:cryptoKeys",
        "logging:buckets", "logging:exclusions", "logging:sinks", "monitoring:alertPolicies",
        "resourcemanager:bindings", "storage:buckets",
    }  # fmt: skip
    assert {left.kept_because for left in found} == {""}
    assert len({left.resource_id for left in found}) == len(found)
    assert sum(left.kind == "iam:serviceAccounts" for left in found) == 3
    assert [left.resource_id.rpartition("/")[2] for left in found if "pvc-" in left.resource_id] == ["pvc-ours"]

    for activity in DELETIONS:
        run(activity, site)
    for activity in ("delete_backup_bucket", "delete_encryption_key"):
        run(activity, Retention(site=site))

    key, logs = sorted(leftovers(account), key=lambda left: left.kind)
    assert logs.kind == "logging:buckets"
    assert logs.kept_because.startswith("Google deletes log buckets seven days after")
    assert key.resource_id == made["key"].key_id
    assert key.kept_because.startswith("Google keeps the names of keys; the last version is destroyed on 20")


def test_strangers_are_no_leftovers(account: Account) -> None:
    """Neither what nobody labelled nor what belongs to a deployment whose name begins as ours does."""
    other = account.site.model_copy(update={"deployment": f"{account.site.deployment}-2"})
    make_balancer(account, "gkegw1-9z9z", make_network(account, "theirs"))
    add_disk(account, "labelled", owner_labels(other, "volume"))
    add_disk(account, "plain", {"goog-k8s-cluster-name": base_name(other)})
    account.run("create_domain", DomainRequest(site=other, domain=DOMAIN))
    account.run("create_encryption_key", other)

    assert leftovers(account) == ()


def test_what_an_earlier_generation_left_is_found(account: Account) -> None:
    """A deployment that was ordered again answers for what its earlier life has left."""
    account.run("create_domain", DomainRequest(site=account.site, domain=DOMAIN))
    again = Retention(site=account.site.model_copy(update={"generation": 2}))

    (left,) = account.run("find_leftovers", again)

    assert left.kind == "dns:managedZones"


def test_a_role_that_outlived_its_account_is_found(account: Account) -> None:
    """An account that somebody deleted stays in the project's policy under another name."""
    roles = account.run("create_roles", account.site)
    iam = account.customer(iam_admin_v1.IAMClient)
    for email in (roles.nodes, roles.store, roles.restore):
        iam.delete_service_account(name=f"projects/{account.project}/serviceAccounts/{email}")
    policy = account.customer(resourcemanager_v3.ProjectsClient).get_iam_policy(resource=f"projects/{account.project}")
    assert [binding.role for binding in policy.bindings if roles.nodes in str(binding.members)] == [NODE_ROLE]

    (left,) = leftovers(account)

    assert left.kind == "resourcemanager:bindings"
    assert NODE_ROLE in left.resource_id
    assert roles.nodes in left.resource_id
    account.run("delete_roles", account.site)
    assert leftovers(account) == ()


def test_kept_backups_say_until_when(account: Account) -> None:
    """Bucket and key stay for a reason as long as backups are to be kept; else they are orphans."""
    site = account.site
    key = account.run("create_encryption_key", site)
    bucket = account.run("create_backup_bucket", BucketRequest(site=site, key=key))
    account.customer(storage.Client).bucket(bucket.name).blob("b").upload_from_string(b"data")
    backup = Backup(bucket=bucket.name, key="b", size_bytes=4, sha256="", records=1, taken_at=datetime.now(UTC))
    locked = account.run("lock_backup", BackupLock(site=site, backup=backup, retain_days=3))
    for activity in ("delete_backup_bucket", "delete_encryption_key"):
        account.run(activity, Retention(site=site, keep_backups=True))
    until = locked.retain_until.date().isoformat()

    reasons = {left.kind: left.kept_because for left in leftovers(account, keep_backups=True)}

    assert reasons == {
        "storage:buckets": f"holds backups that are locked until {until}",
        "kms:cryptoKeys": f"the backups that are kept until {until} cannot be read without it",
    }
    assert {left.kept_because for left in leftovers(account)} == {""}
