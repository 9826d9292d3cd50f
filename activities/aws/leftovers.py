"""The proof that nothing is left: every kind of thing that we make is looked for where it lives.

The Resource Groups Tagging API alone would not do: it knows no roles, shows what was deleted for some time after, and
does not know what the cluster's controllers tag in their own way. It is asked for what no other look covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from temporalio import activity

from activities.aws.alarms import our_alarms
from activities.aws.bucket import backup_bucket
from activities.aws.cluster import find_cluster
from activities.aws.cluster_logs import find_log_group
from activities.aws.connection import AwsClient
from activities.aws.controller_made import load_balancers, network_interfaces, target_groups, volumes
from activities.aws.dns import our_certificates, our_zones
from activities.aws.encryption import log_group_arn
from activities.aws.errors import failures_named
from activities.aws.existence import if_exists
from activities.aws.ownership import from_tag_list
from activities.aws.part import AwsPart
from activities.aws.role_policies import cluster_arn, role_definitions
from activities.contracts import ClusterContract, Retention
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Leftover
from domain.naming import TAG_DEPLOYMENT, TAG_RETAINED_UNTIL

_LOOKED_AT_THEMSELVES = frozenset(
    {"acm", "cloudwatch", "ec2", "eks", "elasticloadbalancing", "iam", "kms", "logs", "route53", "s3"}
)
"""Services whose own answer counts, not the tagging service's."""


class AwsLeftovers(AwsPart, ClusterContract):
    """Looks for what is left of a deployment."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "acm:ListCertificates", "acm:ListTagsForCertificate", "cloudwatch:DescribeAlarms",
        "cloudwatch:ListTagsForResource", "ec2:DescribeInstances", "ec2:DescribeNatGateways",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeTags", "ec2:DescribeVolumes", "ec2:DescribeVpcEndpoints",
        "eks:DescribeCluster", "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:DescribeTargetGroups", "iam:GetRole", "kms:DescribeKey", "kms:ListResourceTags",
        "logs:DescribeLogGroups", "route53:ListHostedZones", "route53:ListTagsForResource", "s3:GetBucketTagging",
        "s3:ListBucket", "tag:GetResources",
        purpose=Purpose.OBSERVE, why="Look for anything that is left of the deployment",
    )  # fmt: skip
    def find_leftovers(self, retention: Retention) -> tuple[Leftover, ...]:
        """Return everything of the deployment that exists, ordered by id, each once; what may stay says why.

        Keys on their way out may always stay: KMS deletes none at once. Bucket and key may stay as long as they keep
        backups.
        """
        site = retention.site
        with failures_named():
            found = [
                *self._left_in_network(site),
                *self._left_of_cluster(site),
                *self._left_of_foundation(site),
                *self._left_keys_and_others(retention),
                *self._left_bucket(retention),
            ]
        return tuple(sorted({left.resource_id: left for left in found}.values(), key=lambda left: left.resource_id))

    def _observing(self, site: Site, service: str) -> AwsClient:
        return self._connections.client(service, site, Purpose.OBSERVE)

    def _left_in_network(self, site: Site) -> Iterator[Leftover]:
        ec2 = self._observing(site, "ec2")
        prefix = f"arn:aws:ec2:{site.region}:{site.cloud_account_id}"
        for kind, identifier in _tagged_in_ec2(ec2, site):
            if not _is_gone(ec2, kind, identifier):
                yield Leftover(resource_id=f"{prefix}:{kind}/{identifier}", kind=f"ec2:{kind}")
        for volume in volumes(ec2, site):
            yield Leftover(resource_id=f"{prefix}:volume/{volume['VolumeId']}", kind="ec2:volume")
        for interface in network_interfaces(ec2, site):
            identifier = interface["NetworkInterfaceId"]
            yield Leftover(resource_id=f"{prefix}:network-interface/{identifier}", kind="ec2:network-interface")
        balancing = self._observing(site, "elbv2")
        for balancer in load_balancers(balancing, site):
            yield Leftover(resource_id=balancer["LoadBalancerArn"], kind="elasticloadbalancing:loadbalancer")
        for group in target_groups(balancing, site):
            yield Leftover(resource_id=group["TargetGroupArn"], kind="elasticloadbalancing:targetgroup")

    def _left_of_cluster(self, site: Site) -> Iterator[Leftover]:
        # Node groups, add-ons, access entries and pod identities live and die with their cluster.
        if find_cluster(self._observing(site, "eks"), cluster_arn(site).rpartition("/")[2]) is not None:
            yield Leftover(resource_id=cluster_arn(site), kind="eks:cluster")
        if find_log_group(self._observing(site, "logs"), site) is not None:
            yield Leftover(resource_id=log_group_arn(site), kind="logs:log-group")
        for alarm in our_alarms(self._observing(site, "cloudwatch"), site):
            yield Leftover(resource_id=alarm["AlarmArn"], kind="cloudwatch:alarm")

    def _left_of_foundation(self, site: Site) -> Iterator[Leftover]:
        iam = self._observing(site, "iam")
        for definition in role_definitions(site):
            if role := if_exists(iam.get_role, RoleName=definition.name):
                yield Leftover(resource_id=role["Role"]["Arn"], kind="iam:role")
        for zone in our_zones(self._observing(site, "route53"), site):
            identifier = zone["Id"].removeprefix("/hostedzone/")
            yield Leftover(resource_id=f"arn:aws:route53:::hostedzone/{identifier}", kind="route53:hostedzone")
        for arn in our_certificates(self._observing(site, "acm"), site):
            yield Leftover(resource_id=arn, kind="acm:certificate")

    def _left_keys_and_others(self, retention: Retention) -> Iterator[Leftover]:
        site = retention.site
        kms = self._observing(site, "kms")
        pages = self._observing(site, "resourcegroupstaggingapi").get_paginator("get_resources")
        for page in pages.paginate(TagFilters=[{"Key": TAG_DEPLOYMENT, "Values": [site.deployment]}]):
            for resource in page["ResourceTagMappingList"]:
                arn = resource["ResourceARN"]
                service = arn.split(":")[2]
                if service == "kms":
                    yield from _key(kms, arn, keep_backups=retention.keep_backups)
                elif service not in _LOOKED_AT_THEMSELVES:
                    yield Leftover(resource_id=arn, kind=service)

    def _left_bucket(self, retention: Retention) -> Iterator[Leftover]:
        site = retention.site
        s3 = self._observing(site, "s3")
        which = {"Bucket": backup_bucket(site), "ExpectedBucketOwner": site.cloud_account_id}
        if if_exists(s3.head_bucket, **which) is None:
            return
        tagging = if_exists(s3.get_bucket_tagging, **which)
        until = from_tag_list(tagging["TagSet"]).get(TAG_RETAINED_UNTIL) if tagging else None
        kept = f"holds backups that are locked until {until}" if until and retention.keep_backups else ""
        yield Leftover(resource_id=f"arn:aws:s3:::{backup_bucket(site)}", kind="s3:bucket", kept_because=kept)


def _tagged_in_ec2(ec2: AwsClient, site: Site) -> Iterator[tuple[str, str]]:
    """Yield kind and id of everything in EC2 that carries the deployment's tag."""
    by_tag = [{"Name": f"tag:{TAG_DEPLOYMENT}", "Values": [site.deployment]}]
    for page in ec2.get_paginator("describe_tags").paginate(Filters=by_tag):
        for tag in page["Tags"]:
            yield tag["ResourceType"], tag["ResourceId"]


def _is_gone(ec2: AwsClient, kind: str, identifier: str) -> bool:
    """Return whether EC2 still shows the tags of something that is no more: it does for up to an hour."""
    match kind:
        case "natgateway":
            found = if_exists(ec2.describe_nat_gateways, NatGatewayIds=[identifier])
            return all(gateway["State"] == "deleted" for gateway in (found or {}).get("NatGateways", ()))
        case "vpc-endpoint":
            found = if_exists(ec2.describe_vpc_endpoints, VpcEndpointIds=[identifier])
            return all(endpoint["State"] == "deleted" for endpoint in (found or {}).get("VpcEndpoints", ()))
        case "instance":
            found = if_exists(ec2.describe_instances, InstanceIds=[identifier])
            instances = [each for group in (found or {}).get("Reservations", ()) for each in group["Instances"]]
            return all(instance["State"]["Name"] == "terminated" for instance in instances)
        case _:
            return False


def _key(kms: AwsClient, arn: str, *, keep_backups: bool) -> Iterator[Leftover]:
    found = if_exists(kms.describe_key, KeyId=arn)
    if found is None:
        return
    kept = _why_key_stays(kms, found["KeyMetadata"], keep_backups=keep_backups)
    yield Leftover(resource_id=arn, kind="kms:key", kept_because=kept)


def _why_key_stays(kms: AwsClient, key: dict[str, Any], *, keep_backups: bool) -> str:
    if key["KeyState"] in {"PendingDeletion", "PendingReplicaDeletion"}:
        on: datetime | None = key.get("DeletionDate")
        return f"scheduled for deletion on {on.date().isoformat()}" if on else "scheduled for deletion"
    pages = kms.get_paginator("list_resource_tags").paginate(KeyId=key["Arn"])
    until = next((tag["TagValue"] for page in pages for tag in page["Tags"] if tag["TagKey"] == TAG_RETAINED_UNTIL), "")
    return f"the backups that are kept until {until} cannot be read without it" if until and keep_backups else ""
