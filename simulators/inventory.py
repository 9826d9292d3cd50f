"""What one AWS account holds: everything that a deployment could have made there, for proofs that nothing is left.

Whatever AWS itself puts into every account (the default network of each region, service-linked roles, keys that AWS
manages) is not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

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
    """A few facts that proofs ask for: the object count of a bucket, the zone of a volume."""


class Inventory:
    """Looks into one account as its root."""

    def __init__(self, endpoint: str, account: str, regions: Iterable[str], *, agent: str) -> None:
        """`agent` is the User-Agent by which the endpoint lets the calls pass beside journal and faults."""
        self._regions = sorted(set(regions) | {_ANY_REGION})
        self._session = boto3.Session(aws_access_key_id=account, aws_secret_access_key="test")
        self._config = Config(user_agent=agent, retries={"total_max_attempts": 1}, max_pool_connections=1)
        self._endpoint = endpoint

    def resources(self) -> list[Resource]:
        """Return everything, regional things first, ordered by region, service and type."""
        found = [
            resource
            for region in self._regions
            for look in (_ec2, _load_balancers, _auto_scaling_groups, _eks, _kms, _certificates, _logs, _alarms)
            for resource in self._tolerant(look, region)
        ]
        for look in (_iam, _buckets, _hosted_zones):
            found += self._tolerant(look, _ANY_REGION)
        return found

    def _tolerant(self, look: Callable[[_Clients, str], Iterator[Resource]], region: str) -> list[Resource]:
        return list(look(lambda service: self._client(service, region), region))

    def _client(self, service: str, region: str) -> Any:
        return self._session.client(service, region_name=region, endpoint_url=self._endpoint, config=self._config)


_Clients = Callable[[str], Any]


def _tags(listed: Any) -> dict[str, str]:
    if isinstance(listed, dict):
        return {str(key): str(value) for key, value in listed.items()}
    return {tag.get("Key", tag.get("TagKey", "")): tag.get("Value", tag.get("TagValue", "")) for tag in listed or ()}


def _ec2(client: _Clients, region: str) -> Iterator[Resource]:
    ec2 = client("ec2")

    def resource(type: str, id: str, description: dict[str, Any], **more: Any) -> Resource:
        tags = _tags(description.get("Tags"))
        return Resource(service="ec2", type=type, id=id, name=tags.get("Name", ""), region=region, tags=tags, **more)

    vpcs = ec2.describe_vpcs()["Vpcs"]
    default_vpcs = {vpc["VpcId"] for vpc in vpcs if vpc.get("IsDefault")}
    for vpc in vpcs:
        if vpc["VpcId"] not in default_vpcs:
            yield resource("vpc", vpc["VpcId"], vpc, state=vpc.get("State", ""))
    for subnet in ec2.describe_subnets()["Subnets"]:
        if subnet["VpcId"] not in default_vpcs:
            details = {"zone": subnet.get("AvailabilityZone"), "vpc": subnet["VpcId"]}
            yield resource("subnet", subnet["SubnetId"], subnet, state=subnet.get("State", ""), details=details)
    for table in ec2.describe_route_tables()["RouteTables"]:
        main = any(association.get("Main") for association in table.get("Associations", ()))
        if table["VpcId"] not in default_vpcs and not main:
            yield resource("route-table", table["RouteTableId"], table)
    for gateway in ec2.describe_internet_gateways()["InternetGateways"]:
        if not default_vpcs & {attachment.get("VpcId") for attachment in gateway.get("Attachments", ())}:
            yield resource("internet-gateway", gateway["InternetGatewayId"], gateway)
    for nat in ec2.describe_nat_gateways()["NatGateways"]:
        if nat.get("State") != "deleted":
            yield resource("nat-gateway", nat["NatGatewayId"], nat, state=nat.get("State", ""))
    for address in ec2.describe_addresses()["Addresses"]:
        yield resource("elastic-ip", address.get("AllocationId", address.get("PublicIp", "")), address)
    for group in ec2.describe_security_groups()["SecurityGroups"]:
        if group["GroupName"] != "default":
            yield resource("security-group", group["GroupId"], group, details={"group_name": group["GroupName"]})
    for endpoint in ec2.describe_vpc_endpoints()["VpcEndpoints"]:
        if endpoint.get("State") != "deleted":
            details = {"service": endpoint.get("ServiceName")}
            yield resource(
                "vpc-endpoint", endpoint["VpcEndpointId"], endpoint, state=endpoint.get("State", ""), details=details
            )
    for interface in ec2.describe_network_interfaces()["NetworkInterfaces"]:
        description = {"Tags": interface.get("TagSet") or interface.get("Tags")}
        details = {"description": interface.get("Description", "")}
        yield resource("network-interface", interface["NetworkInterfaceId"], description, details=details)
    for volume in ec2.describe_volumes()["Volumes"]:
        yield resource(
            "volume",
            volume["VolumeId"],
            volume,
            state=volume.get("State", ""),
            encrypted=bool(volume.get("Encrypted")),
            details={"zone": volume.get("AvailabilityZone")},
        )
    for snapshot in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        yield resource(
            "snapshot",
            snapshot["SnapshotId"],
            snapshot,
            state=snapshot.get("State", ""),
            encrypted=bool(snapshot.get("Encrypted")),
        )
    for template in ec2.describe_launch_templates()["LaunchTemplates"]:
        details = {"launch_template_name": template.get("LaunchTemplateName")}
        yield resource("launch-template", template["LaunchTemplateId"], template, details=details)
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            state = instance.get("State", {}).get("Name", "")
            if state != "terminated":
                yield resource("instance", instance["InstanceId"], instance, state=state)


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
        )
    for group in elb.describe_target_groups()["TargetGroups"]:
        yield Resource(
            service="elasticloadbalancing",
            type="target-group",
            id=group["TargetGroupArn"],
            name=group["TargetGroupName"],
            region=region,
        )


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


def _iam(client: _Clients, region: str) -> Iterator[Resource]:
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


def _buckets(client: _Clients, region: str) -> Iterator[Resource]:
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


def _bucket_tags(s3: Any, bucket: str) -> Any:
    try:
        return s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchTagSet":
            raise
        return ()


def _is_encrypted(s3: Any, bucket: str) -> bool:
    """Return whether a key of the customer's encrypts the bucket (S3's own key always does)."""
    try:
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ServerSideEncryptionConfigurationNotFoundError":
            raise
        return False
    return any(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"].startswith("aws:kms") for rule in rules)


def _hosted_zones(client: _Clients, region: str) -> Iterator[Resource]:
    route53 = client("route53")
    for zone in route53.list_hosted_zones()["HostedZones"]:
        id = zone["Id"].rpartition("/")[2]
        tags = route53.list_tags_for_resource(ResourceType="hostedzone", ResourceId=id)["ResourceTagSet"]["Tags"]
        yield Resource(service="route53", type="hosted-zone", id=id, name=zone["Name"], tags=_tags(tags))
        for record in route53.list_resource_record_sets(HostedZoneId=id)["ResourceRecordSets"]:
            if not (record["Type"] in ("NS", "SOA") and record["Name"] == zone["Name"]):
                details = {"type": record["Type"]}
                yield Resource(
                    service="route53",
                    type="record",
                    id=f"{id}/{record['Name']}/{record['Type']}",
                    name=record["Name"],
                    details=details,
                )
