"""What controllers leave behind, and the proof that nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from activities.aws.connection import AwsClient
from activities.aws.ownership import as_tag_list
from activities.contracts import (
    BackupLock,
    BucketRequest,
    CertificateRequest,
    DomainRequest,
    InCluster,
    NodePoolRequest,
    Retention,
)
from domain.facts import Backup, Cluster, Leftover
from domain.naming import base_name, owner_tags
from domain.shape import PoolName
from simulators.faults import FaultKind
from tests.activities.aws.conftest import REGION, Account, Ground


def _leftovers(account: Account, *, keep_backups: bool = False) -> tuple[Leftover, ...]:
    found: tuple[Leftover, ...] = account.run("find_leftovers", Retention(site=account.site, keep_backups=keep_backups))
    return found


def test_load_balancers_and_volumes_of_our_cluster_go(account: Account, ground: Ground) -> None:
    """What carries our cluster's name, or our tags, goes in any spelling; what carries another's stays."""
    name = base_name(account.site)
    balancing, ec2 = account.customer("elbv2"), account.customer("ec2")
    for title, cluster in (("ours", name), ("theirs", f"{name}-2")):
        tags = [{"Key": "elbv2.k8s.aws/cluster", "Value": cluster}]
        balancing.create_load_balancer(
            Name=title, Type="network", Subnets=list(ground.network.public_subnet_ids), Tags=tags
        )
        balancing.create_target_group(Name=title, Protocol="TCP", Port=80, VpcId=ground.network.network_id, Tags=tags)
    kept = _volume(ec2, {f"kubernetes.io/cluster/{name}-2": "owned"})
    for spelling in (
        {f"kubernetes.io/cluster/{name}": "owned", "KubernetesCluster": name},
        owner_tags(account.site, "v"),
    ):
        _volume(ec2, spelling)
    for operation in ("DeleteLoadBalancer", "DeleteTargetGroup", "DeleteVolume"):
        account.inject(FaultKind.LOST_REPLY, operation, times=1)

    account.run_through("delete_load_balancers_and_volumes", account.site)

    assert [each["LoadBalancerName"] for each in balancing.describe_load_balancers()["LoadBalancers"]] == ["theirs"]
    assert [each["TargetGroupName"] for each in balancing.describe_target_groups()["TargetGroups"]] == ["theirs"]
    assert [volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]] == [kept]
    before = account.control.position()
    account.run("delete_load_balancers_and_volumes", account.site)
    assert account.changes(before) == []


def test_an_empty_account_has_no_leftovers(account: Account) -> None:
    """What the template made belongs to the customer, and nothing else is there."""
    assert _leftovers(account) == ()


def test_everything_is_found(
    account: Account,
    ground: Ground,
    cluster: Cluster,
    pool_request: Callable[[PoolName], NodePoolRequest],
) -> None:
    """Each kind of thing that a deployment has is listed, none of it as something that may stay."""
    account.run("create_node_pool", pool_request(PoolName.SERVICES))
    account.run("create_backup_bucket", BucketRequest(site=account.site, key=ground.key))
    domain = account.run("create_domain", DomainRequest(site=account.site, domain="db.acme.example"))
    account.run("create_certificate", CertificateRequest(site=account.site, domain=domain))
    account.run("create_alarms", InCluster(site=account.site, cluster=cluster))

    found = _leftovers(account)

    assert {left.kind for left in found} >= {
        "acm:certificate", "cloudwatch:alarm", "ec2:instance", "ec2:launch-template", "ec2:volume", "eks:cluster",
        "iam:role", "kms:key", "logs:log-group", "route53:hostedzone", "s3:bucket",
    }  # fmt: skip
    assert {left.kept_because for left in found} == {""}
    assert len({left.resource_id for left in found}) == len(found)
    assert sum(left.kind == "iam:role" for left in found) == 5


def test_what_a_controller_made_is_found_without_our_tag(account: Account, ground: Ground) -> None:
    """What carries the cluster's name alone is an orphan of ours; what carries another cluster's is not."""
    ec2, balancing, name = account.customer("ec2"), account.customer("elbv2"), base_name(account.site)
    ours = _volume(ec2, {f"kubernetes.io/cluster/{name}": "owned"})
    _volume(ec2, {f"kubernetes.io/cluster/{name}-2": "owned"})
    subnets = list(ground.network.public_subnet_ids)
    for title, cluster in (("ours", name), ("theirs", f"{name}-2")):
        tags = [{"Key": "elbv2.k8s.aws/cluster", "Value": cluster}]
        balancing.create_load_balancer(Name=title, Type="network", Subnets=subnets, Tags=tags)

    found = {left.kind: left.resource_id for left in _leftovers(account) if left.kind not in {"iam:role", "kms:key"}}

    assert set(found) == {"ec2:volume", "elasticloadbalancing:loadbalancer"}
    assert found["ec2:volume"].endswith(ours)
    assert "/ours/" in found["elasticloadbalancing:loadbalancer"]


def test_a_zone_of_an_earlier_generation_is_found(account: Account) -> None:
    """A deployment that was ordered again answers for what its earlier life has left."""
    account.run("create_domain", DomainRequest(site=account.site, domain="db.acme.example"))
    again = Retention(site=account.site.model_copy(update={"generation": 2}))

    (left,) = account.run("find_leftovers", again)

    assert left.kind == "route53:hostedzone"


def test_what_ec2_still_shows_of_the_gone_is_no_leftover(account: Account, ground: Ground) -> None:
    """A deleted NAT gateway and a deleted endpoint keep their tags for a while; they are not there any more."""
    ec2, tags = account.customer("ec2"), as_tag_list(owner_tags(account.site, "test"))
    account.run("delete_encryption_key", Retention(site=account.site))
    account.run("delete_roles", account.site)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = ec2.create_nat_gateway(
        SubnetId=ground.network.public_subnet_ids[0],
        AllocationId=address,
        TagSpecifications=[{"ResourceType": "natgateway", "Tags": tags}],
    )["NatGateway"]["NatGatewayId"]
    endpoint = ec2.create_vpc_endpoint(
        VpcId=ground.network.network_id,
        ServiceName=f"com.amazonaws.{REGION}.s3",
        TagSpecifications=[{"ResourceType": "vpc-endpoint", "Tags": tags}],
    )["VpcEndpoint"]["VpcEndpointId"]
    there = {left.kind for left in _leftovers(account)}

    ec2.delete_nat_gateway(NatGatewayId=gateway)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])

    assert there == {"ec2:natgateway", "ec2:vpc-endpoint", "kms:key"}
    assert {left.kind for left in _leftovers(account)} == {"kms:key"}


def test_a_key_on_its_way_out_may_stay(account: Account) -> None:
    """KMS deletes no key at once: the leftover says when it will."""
    account.run("create_encryption_key", account.site)
    account.run("delete_encryption_key", Retention(site=account.site))

    (left,) = _leftovers(account)

    assert left.kept_because.startswith("scheduled for deletion on 20")


def test_kept_backups_explain_themselves(account: Account, ground: Ground) -> None:
    """Bucket and key say until when they stay, if that was ordered; else they are orphans."""
    bucket = account.run("create_backup_bucket", BucketRequest(site=account.site, key=ground.key))
    account.customer("s3").put_object(Bucket=bucket.name, Key="final.bak", Body=b"data")
    backup = Backup(bucket=bucket.name, key="final.bak", size_bytes=4, sha256="", records=1, taken_at=datetime.now(UTC))
    locked = account.run("lock_backup", BackupLock(site=account.site, backup=backup, retain_days=35))
    until = locked.retain_until.date().isoformat()
    retention = Retention(site=account.site, keep_backups=True)
    for step in ("delete_backup_bucket", "delete_encryption_key"):
        account.run(step, retention)
    account.run("delete_roles", account.site)

    kept = _leftovers(account, keep_backups=True)

    assert {left.kind: left.kept_because for left in kept} == {
        "s3:bucket": f"holds backups that are locked until {until}",
        "kms:key": f"the backups that are kept until {until} cannot be read without it",
    }
    assert {left.kept_because for left in _leftovers(account)} == {""}


def _volume(ec2: AwsClient, tags: dict[str, str]) -> str:
    """Make a volume as a controller of some cluster does, and return its id."""
    specification = {"ResourceType": "volume", "Tags": [{"Key": name, "Value": value} for name, value in tags.items()]}
    made = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, Encrypted=True, TagSpecifications=[specification])
    return str(made["VolumeId"])
