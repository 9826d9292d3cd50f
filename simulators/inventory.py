"""What one AWS account holds: everything that a deployment could have made there, for proofs that nothing is left.

Whatever AWS itself puts into every account (the default network of each region, service-linked roles, keys that AWS
manages) is not listed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from simulators.customer import BotoClient, make_client

_ANY_REGION = "us-east-1"


class Resource(BaseModel):
    """One thing in an account."""

    model_config = ConfigDict(frozen=True)

    service: str
    type: str
    """`vpc`, `subnet`, `nat-gateway`, `role`, …, as in its ARN or its API."""
    id: str
    name: str = ""
    region: str = ""
    """Empty for what is global."""
    tags: dict[str, str] = {}
    encrypted: bool | None = None
    """None where the type has no such property."""
    state: str = ""
    details: dict[str, Any] = {}
    """A few facts that proofs ask for: the object count of a bucket, the zone of a volume, the oldest version of TLS of
    each listener of a load balancer (`tls`)."""


class Inventory:
    """Looks into one account as its root."""

    def __init__(self, endpoint: str, account: str, regions: Iterable[str], *, agent: str) -> None:
        """`agent` is the User-Agent by which the endpoint lets the calls pass beside journal and faults."""
        self._regions = sorted(set(regions) | {_ANY_REGION})
        self._account = account
        self._agent = agent
        self._endpoint = endpoint

    def resources(self) -> list[Resource]:
        """Return everything, regional things first, ordered by region, service and type."""
        found = [
            resource
            for region in self._regions
            for look in (_ec2, _load_balancers, _auto_scaling_groups, _eks, _kms, _certificates, _logs, _alarms)
            for resource in look(self._clients(region), region)
        ]
        for look_globally in (_iam, _buckets, _hosted_zones):
            found += look_globally(self._clients(_ANY_REGION))
        return found

    def _clients(self, region: str) -> _Clients:
        return functools.partial(_client, self._endpoint, self._account, self._agent, region)


@functools.lru_cache(maxsize=100)
def _client(endpoint: str, account: str, agent: str, region: str, service: str) -> BotoClient:
    """Return a client; whoever waits for an account to be empty looks into it again and again."""
    config = Config(user_agent=agent, retries={"total_max_attempts": 1})
    return make_client(service, region, endpoint, account, config)


_Clients = Callable[[str], BotoClient]


def _tags(listed: dict[str, str] | Iterable[dict[str, str]] | None) -> dict[str, str]:
    if isinstance(listed, dict):
        return {str(key): str(value) for key, value in listed.items()}
    return {tag.get("Key", tag.get("TagKey", "")): tag.get("Value", tag.get("TagValue", "")) for tag in listed or ()}


@dataclass(frozen=True)
class _Ec2Listing:
    """How one type of EC2 resource is listed."""

    type: str
    call: str
    items: str
    """Key of the list in the reply."""
    identifier: str
    """Key of the id in an item."""
    facts: tuple[str, ...] = ()
    """Further keys to report."""
    arguments: Mapping[str, Any] = field(default_factory=dict)


_EC2_LISTINGS = (
    _Ec2Listing("vpc", "describe_vpcs", "Vpcs", "VpcId"),
    _Ec2Listing("subnet", "describe_subnets", "Subnets", "SubnetId", ("AvailabilityZone", "VpcId")),
    _Ec2Listing("route-table", "describe_route_tables", "RouteTables", "RouteTableId", ("VpcId",)),
    _Ec2Listing("internet-gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    _Ec2Listing("nat-gateway", "describe_nat_gateways", "NatGateways", "NatGatewayId", ("SubnetId",)),
    _Ec2Listing("elastic-ip", "describe_addresses", "Addresses", "AllocationId"),
    _Ec2Listing("security-group", "describe_security_groups", "SecurityGroups", "GroupId", ("GroupName", "VpcId")),
    _Ec2Listing("vpc-endpoint", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", ("ServiceName",)),
    _Ec2Listing(
        "network-interface",
        "describe_network_interfaces",
        "NetworkInterfaces",
        "NetworkInterfaceId",
        ("Description", "SubnetId"),
    ),
    _Ec2Listing("volume", "describe_volumes", "Volumes", "VolumeId", ("AvailabilityZone",)),
    _Ec2Listing("snapshot", "describe_snapshots", "Snapshots", "SnapshotId", arguments={"OwnerIds": ["self"]}),
    _Ec2Listing(
        "launch-template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId", ("LaunchTemplateName",)
    ),
)

_GONE = frozenset({"deleted", "terminated"})


def _ec2(client: _Clients, region: str) -> Iterator[Resource]:
    ec2 = client("ec2")
    default_vpcs = {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if vpc.get("IsDefault")}
    for listing in _EC2_LISTINGS:
        for item in getattr(ec2, listing.call)(**listing.arguments)[listing.items]:
            if not _came_with_the_account(listing.type, item, default_vpcs) and item.get("State") not in _GONE:
                yield _ec2_resource(listing, item, region)
    instance = _Ec2Listing("instance", "describe_instances", "Instances", "InstanceId", ("InstanceType", "SubnetId"))
    for reservation in ec2.describe_instances()["Reservations"]:
        for item in reservation["Instances"]:
            state = item.get("State", {}).get("Name", "")
            if state not in _GONE:
                yield _ec2_resource(instance, {**item, "State": state}, region)


def _ec2_resource(listing: _Ec2Listing, item: dict[str, Any], region: str) -> Resource:
    tags = _tags(item.get("Tags") or item.get("TagSet"))
    return Resource(
        service="ec2",
        type=listing.type,
        id=item[listing.identifier],
        name=tags.get("Name", ""),
        region=region,
        tags=tags,
        encrypted=item.get("Encrypted"),
        state=str(item.get("State") or item.get("Status") or ""),
        details={key: item[key] for key in listing.facts if key in item},
    )


def _came_with_the_account(kind: str, item: dict[str, Any], default_vpcs: set[str]) -> bool:
    """Return whether AWS made this: the default network of a region, and what each network is born with."""
    match kind:
        case "vpc" | "subnet":
            return item["VpcId"] in default_vpcs
        case "route-table":
            return any(association.get("Main") for association in item.get("Associations", ()))
        case "internet-gateway":
            return bool(default_vpcs & {attachment.get("VpcId") for attachment in item.get("Attachments", ())})
        case "security-group":
            return bool(item["GroupName"] == "default")
    return False


def _load_balancers(client: _Clients, region: str) -> Iterator[Resource]:
    elb = client("elbv2")
    for balancer in elb.describe_load_balancers()["LoadBalancers"]:
        arn = balancer["LoadBalancerArn"]
        described = elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
        yield Resource(
            service="elasticloadbalancing",
            type="load-balancer",
            id=arn,
            name=balancer["LoadBalancerName"],
            region=region,
            tags=_tags(described[0].get("Tags") if described else None),
            state=balancer.get("State", {}).get("Code", ""),
            details={"tls": [_oldest_tls(each) for each in elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]]},
        )
    for group in elb.describe_target_groups()["TargetGroups"]:
        yield Resource(
            service="elasticloadbalancing",
            type="target-group",
            id=group["TargetGroupArn"],
            name=group["TargetGroupName"],
            region=region,
        )


def _oldest_tls(listener: Mapping[str, Any]) -> str:
    """Return the oldest version of TLS that a listener speaks, by the name of its policy; empty if it speaks none."""
    if listener["Protocol"] not in {"TLS", "HTTPS"}:
        return ""
    found = re.search(r"-TLS(?:13)?-1-(\d)-", listener.get("SslPolicy", ""))
    return f"1.{found[1]}" if found else "1.0"


def _auto_scaling_groups(client: _Clients, region: str) -> Iterator[Resource]:
    for group in client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]:
        name = group["AutoScalingGroupName"]
        yield Resource(
            service="autoscaling",
            type="auto-scaling-group",
            id=name,
            name=name,
            region=region,
            tags=_tags(group.get("Tags")),
        )


def _eks(client: _Clients, region: str) -> Iterator[Resource]:
    eks = client("eks")
    for name in eks.list_clusters()["clusters"]:
        cluster = eks.describe_cluster(name=name)["cluster"]
        yield Resource(
            service="eks",
            type="cluster",
            id=cluster["arn"],
            name=name,
            region=region,
            tags=_tags(cluster.get("tags")),
            state=cluster["status"],
            encrypted=bool(cluster.get("encryptionConfig")),
        )
        for pool in eks.list_nodegroups(clusterName=name)["nodegroups"]:
            group = eks.describe_nodegroup(clusterName=name, nodegroupName=pool)["nodegroup"]
            yield Resource(
                service="eks",
                type="nodegroup",
                id=group["nodegroupArn"],
                name=pool,
                region=region,
                tags=_tags(group.get("tags")),
                state=group["status"],
            )
        for addon_name in eks.list_addons(clusterName=name)["addons"]:
            addon = eks.describe_addon(clusterName=name, addonName=addon_name)["addon"]
            yield Resource(
                service="eks",
                type="addon",
                id=addon["addonArn"],
                name=addon_name,
                region=region,
                tags=_tags(addon.get("tags")),
                state=addon["status"],
            )
        for association in eks.list_pod_identity_associations(clusterName=name)["associations"]:
            yield Resource(
                service="eks",
                type="pod-identity-association",
                id=association["associationId"],
                name=association.get("serviceAccount", ""),
                region=region,
            )


def _kms(client: _Clients, region: str) -> Iterator[Resource]:
    kms = client("kms")
    for entry in kms.list_keys()["Keys"]:
        key = kms.describe_key(KeyId=entry["KeyId"])["KeyMetadata"]
        if key.get("KeyManager") == "AWS":
            continue
        tags = _tags(kms.list_resource_tags(KeyId=entry["KeyId"]).get("Tags"))
        yield Resource(
            service="kms",
            type="key",
            id=key["Arn"],
            name=tags.get("Name", ""),
            region=region,
            tags=tags,
            state=key["KeyState"],
        )
    for alias in kms.list_aliases()["Aliases"]:
        if not alias["AliasName"].startswith("alias/aws/"):
            yield Resource(service="kms", type="alias", id=alias["AliasName"], name=alias["AliasName"], region=region)


def _certificates(client: _Clients, region: str) -> Iterator[Resource]:
    acm = client("acm")
    for certificate in acm.list_certificates()["CertificateSummaryList"]:
        arn = certificate["CertificateArn"]
        yield Resource(
            service="acm",
            type="certificate",
            id=arn,
            name=certificate["DomainName"],
            region=region,
            tags=_tags(acm.list_tags_for_certificate(CertificateArn=arn)["Tags"]),
            state=acm.describe_certificate(CertificateArn=arn)["Certificate"].get("Status", ""),
        )


def _logs(client: _Clients, region: str) -> Iterator[Resource]:
    logs = client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        yield Resource(
            service="logs",
            type="log-group",
            id=name,
            name=name,
            region=region,
            tags=_tags(logs.list_tags_log_group(logGroupName=name).get("tags")),
            encrypted="kmsKeyId" in group,
        )


def _alarms(client: _Clients, region: str) -> Iterator[Resource]:
    for alarm in client("cloudwatch").describe_alarms()["MetricAlarms"]:
        yield Resource(service="monitoring", type="alarm", id=alarm["AlarmArn"], name=alarm["AlarmName"], region=region)


def _iam(client: _Clients) -> Iterator[Resource]:
    iam = client("iam")
    for role in iam.get_paginator("list_roles").paginate().build_full_result()["Roles"]:
        if not role["Path"].startswith("/aws-service-role/"):
            tags = _tags(iam.list_role_tags(RoleName=role["RoleName"])["Tags"])
            yield Resource(service="iam", type="role", id=role["Arn"], name=role["RoleName"], tags=tags)
    for policy in iam.get_paginator("list_policies").paginate(Scope="Local").build_full_result()["Policies"]:
        tags = _tags(iam.list_policy_tags(PolicyArn=policy["Arn"])["Tags"])
        yield Resource(service="iam", type="policy", id=policy["Arn"], name=policy["PolicyName"], tags=tags)
    for profile in iam.list_instance_profiles()["InstanceProfiles"]:
        name = profile["InstanceProfileName"]
        yield Resource(
            service="iam", type="instance-profile", id=profile["Arn"], name=name, tags=_tags(profile.get("Tags"))
        )
    for provider in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        yield Resource(service="iam", type="oidc-provider", id=provider["Arn"], name=provider["Arn"].rpartition("/")[2])


def _buckets(client: _Clients) -> Iterator[Resource]:
    s3 = client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        versions = s3.list_object_versions(Bucket=name)
        count = len(versions.get("Versions", ())) + len(versions.get("DeleteMarkers", ()))
        location = s3.get_bucket_location(Bucket=name).get("LocationConstraint") or "us-east-1"
        yield Resource(
            service="s3",
            type="bucket",
            id=name,
            name=name,
            region=location,
            tags=_tags(_bucket_tags(s3, name)),
            encrypted=_is_encrypted(s3, name),
            details={"object_versions": count},
        )


def _bucket_tags(s3: BotoClient, bucket: str) -> list[dict[str, str]]:
    try:
        tags: list[dict[str, str]] = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchTagSet":
            raise
        return []
    return tags


def _is_encrypted(s3: BotoClient, bucket: str) -> bool:
    """Return whether a key of the customer's encrypts the bucket (S3's own key always does)."""
    try:
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ServerSideEncryptionConfigurationNotFoundError":
            raise
        return False
    return any(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"].startswith("aws:kms") for rule in rules)


def _hosted_zones(client: _Clients) -> Iterator[Resource]:
    route53 = client("route53")
    for zone in route53.list_hosted_zones()["HostedZones"]:
        zone_id = zone["Id"].rpartition("/")[2]
        tags = route53.list_tags_for_resource(ResourceType="hostedzone", ResourceId=zone_id)["ResourceTagSet"]["Tags"]
        yield Resource(service="route53", type="hosted-zone", id=zone_id, name=zone["Name"], tags=_tags(tags))
        for record in route53.list_resource_record_sets(HostedZoneId=zone_id)["ResourceRecordSets"]:
            if not (record["Type"] in ("NS", "SOA") and record["Name"] == zone["Name"]):
                details = {"type": record["Type"]}
                yield Resource(
                    service="route53",
                    type="record",
                    id=f"{zone_id}/{record['Name']}/{record['Type']}",
                    name=record["Name"],
                    details=details,
                )
