"""AWS, as the contract suite sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from activities.aws.actions import action_of
from activities.aws.bucket import backup_bucket
from activities.aws.cloud import AwsCloud
from activities.aws.connection import AwsClient
from activities.aws.encryption import alias_name
from activities.aws.errors import classify
from activities.aws.policy import with_dependents
from activities.aws.role_policies import RoleName, role_name
from activities.aws.settings import AwsSettings
from activities.cloud import Activity
from activities.kubernetes.manifests.aws import AwsManifests
from activities.kubernetes.manifests.identity import canary_of
from activities.needs import Need
from domain.clouds import Cloud, Purpose
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import TAG_DEPLOYMENT, TAG_OWNER, base_name, resource_name
from domain.shape import PoolName
from tests.activities.aws.conftest import REGION, Account, connect, open_account
from tests.contract.life import Facts
from tests.contract.under_test import Stranger, World, registered

_ROLE = re.compile(rf":assumed-role/byoc-\S+-({'|'.join(Purpose)})/")


def _someones_role(account: Account, facts: Facts) -> None:
    nobody = json.dumps({"Version": "2012-10-17", "Statement": []})
    account.customer("iam").create_role(RoleName=role_name(facts.site, RoleName.STORE), AssumeRolePolicyDocument=nobody)


def _someones_key(account: Account, facts: Facts) -> None:
    kms = account.customer("kms")
    kms.create_alias(AliasName=alias_name(facts.site), TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])


def _someones_bucket(account: Account, facts: Facts) -> None:
    account.customer("s3").create_bucket(
        Bucket=backup_bucket(facts.site), CreateBucketConfiguration={"LocationConstraint": REGION}
    )


def _someones_group(account: Account, facts: Facts) -> None:
    account.customer("ec2").create_security_group(
        GroupName=resource_name(facts.site, "nodes"), Description="theirs", VpcId=facts.network.network_id
    )


def _delete_group(account: Account, facts: Facts) -> None:
    ec2 = account.customer("ec2")
    named = [{"Name": "group-name", "Values": [resource_name(facts.site, "nodes")]}]
    for group in ec2.describe_security_groups(Filters=named)["SecurityGroups"]:
        ec2.delete_security_group(GroupId=group["GroupId"])


def _someones_cluster(account: Account, facts: Facts) -> None:
    eks, name = account.customer("eks"), base_name(facts.site)
    eks.create_cluster(
        name=name,
        version=facts.kubernetes,
        roleArn=_role_for_clusters(account),
        resourcesVpcConfig={"subnetIds": list(facts.network.private_subnet_ids)},
    )
    eks.get_waiter("cluster_active").wait(name=name, WaiterConfig={"Delay": 0, "MaxAttempts": 100})


def _delete_cluster(account: Account, facts: Facts) -> None:
    account.customer("eks").delete_cluster(name=base_name(facts.site))
    account.customer("iam").delete_role(RoleName="theirs")


def _role_for_clusters(account: Account) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = account.customer("iam").create_role(RoleName="theirs", AssumeRolePolicyDocument=document)
    return str(role["Role"]["Arn"])


def _someones_zone(account: Account, facts: Facts) -> None:
    zone = account.customer("route53").create_hosted_zone(Name=facts.domain_name, CallerReference="theirs")
    zone_id = zone["HostedZone"]["Id"].removeprefix("/hostedzone/")
    facts.domain = facts.domain.model_copy(update={"zone_id": zone_id})


def _groups(eks: AwsClient, cluster: str) -> Iterator[str]:
    for name in eks.list_nodegroups(clusterName=cluster)["nodegroups"]:
        yield eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]["nodegroupArn"]


def _canary(facts: Facts) -> dict[str, str]:
    name = resource_name(facts.site, canary_of(PoolName.SERVICES))
    return {"clusterName": facts.cluster.name, "nodegroupName": name}


def _someones_canary(account: Account, facts: Facts) -> None:
    eks, subnets = account.customer("eks"), list(facts.network.private_subnet_ids)
    eks.create_nodegroup(**_canary(facts), subnets=subnets, nodeRole=facts.roles.nodes)
    eks.get_waiter("nodegroup_active").wait(**_canary(facts), WaiterConfig={"Delay": 0, "MaxAttempts": 100})


def _delete_canary(account: Account, facts: Facts) -> None:
    account.customer("eks").delete_nodegroup(**_canary(facts))


def _add_on(eks: AwsClient, cluster: str) -> Iterator[str]:
    yield eks.describe_addon(clusterName=cluster, addonName="vpc-cni")["addon"]["addonArn"]


def _disowned(find: Any) -> tuple[Any, Any]:
    """Return how our tags are taken off the parts of the cluster that `find` names, and how they are put back."""

    def arrive(account: Account, facts: Facts) -> None:
        eks = account.customer("eks")
        for arn in find(eks, facts.cluster.name):
            eks.untag_resource(resourceArn=arn, tagKeys=[TAG_OWNER, TAG_DEPLOYMENT])

    def leave(account: Account, facts: Facts) -> None:
        eks = account.customer("eks")
        for arn in find(eks, facts.cluster.name):
            eks.tag_resource(resourceArn=arn, tags={TAG_OWNER: "managed", TAG_DEPLOYMENT: facts.site.deployment})

    return arrive, leave


def _alarms(account: Account) -> tuple[AwsClient, list[str]]:
    cloudwatch = account.customer("cloudwatch")
    return cloudwatch, [alarm["AlarmArn"] for alarm in cloudwatch.describe_alarms()["MetricAlarms"]]


def _disown_alarms(account: Account, facts: Facts) -> None:
    cloudwatch, alarms = _alarms(account)
    for arn in alarms:
        cloudwatch.untag_resource(ResourceARN=arn, TagKeys=[TAG_OWNER, TAG_DEPLOYMENT])


def _own_alarms(account: Account, facts: Facts) -> None:
    cloudwatch, alarms = _alarms(account)
    tags = {TAG_OWNER: "managed", TAG_DEPLOYMENT: facts.site.deployment}
    for arn in alarms:
        cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def _group_of_endpoints(account: Account, facts: Facts) -> tuple[AwsClient, list[str]]:
    ec2 = account.customer("ec2")
    named = [{"Name": "group-name", "Values": [resource_name(facts.site, "endpoints")]}]
    return ec2, [group["GroupId"] for group in ec2.describe_security_groups(Filters=named)["SecurityGroups"]]


def _disown_group(account: Account, facts: Facts) -> None:
    ec2, groups = _group_of_endpoints(account, facts)
    ec2.delete_tags(Resources=groups, Tags=[{"Key": TAG_OWNER}, {"Key": TAG_DEPLOYMENT}])


def _own_group(account: Account, facts: Facts) -> None:
    ec2, groups = _group_of_endpoints(account, facts)
    tags = {TAG_OWNER: "managed", TAG_DEPLOYMENT: facts.site.deployment}
    ec2.create_tags(Resources=groups, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


_BY_TAG = "EC2 has no names: what is ours is known by its tags alone"
CODES: Mapping[str, FailureClass] = {
    "InternalError": FailureClass.TRANSIENT,
    "RequestTimeout": FailureClass.TRANSIENT,
    "ServerException": FailureClass.TRANSIENT,
    "ServiceUnavailableException": FailureClass.TRANSIENT,
    "RequestLimitExceeded": FailureClass.THROTTLE,
    "Throttling": FailureClass.THROTTLE,
    "ThrottlingException": FailureClass.THROTTLE,
    "TooManyRequestsException": FailureClass.THROTTLE,
    "SlowDown": FailureClass.THROTTLE,
    "DependencyViolation": FailureClass.CONFLICT,
    "IncorrectState": FailureClass.CONFLICT,
    "ResourceInUseException": FailureClass.CONFLICT,
    "InstanceLimitExceeded": FailureClass.QUOTA,
    "VcpuLimitExceeded": FailureClass.QUOTA,
    "ResourceLimitExceededException": FailureClass.QUOTA,
    "LimitExceeded": FailureClass.QUOTA,
    "MaxTemplateLimitExceeded": FailureClass.QUOTA,
    "TooManyTargetGroups": FailureClass.QUOTA,
    "InsufficientInstanceCapacity": FailureClass.CAPACITY,
    "UnfulfillableCapacity": FailureClass.CAPACITY,
    "UnsupportedAvailabilityZoneException": FailureClass.CAPACITY,
    "AuthFailure": FailureClass.AUTH,
    "ExpiredToken": FailureClass.AUTH,
    "InvalidClientTokenId": FailureClass.AUTH,
    "UnauthorizedOperation": FailureClass.PERMISSION,
    "AccessDenied": FailureClass.PERMISSION,
    "AccessDeniedException": FailureClass.PERMISSION,
    "403": FailureClass.PERMISSION,
    "KmsGrantRevoked": FailureClass.POLICY,
    "OptInRequired": FailureClass.POLICY,
    "IdempotentParameterMismatch": FailureClass.CONFIG,
    "InvalidParameterValue": FailureClass.CONFIG,
    "InvalidVpcID.Malformed": FailureClass.CONFIG,
    "InvalidVpcID.NotFound": FailureClass.CONFLICT,
    "NobodyKnowsThis": FailureClass.UNKNOWN,
}
"""What each code means. What is not found was just made, or has just gone: looking again settles which."""

_OURS_AS_A_WHOLE = "it is a setting of a cluster that is ours"


class Aws:
    """AWS; its tenant is an account."""

    cloud = Cloud.AWS
    # A refused HEAD has no body, and so no code.
    looks = "[!H]*"
    names: Mapping[FailureClass, str] = {
        FailureClass.AUTH: "ExpiredToken",
        FailureClass.CONFLICT: "OperationAborted",
    }
    waits: Mapping[str, str] = {
        # ACM sees the validation record only when it looks.
        "create_certificate": "ListCertificates",
        "create_egress": "CreateNatGateway",
        "create_private_endpoints": "CreateVpcEndpoint",
        "create_cluster": "CreateCluster",
        "install_add_on/network": "CreateAddon",
        "create_node_pool/store": "CreateNodegroup",
        "create_node_pool/services": "CreateNodegroup",
        "upgrade_control_plane": "UpdateClusterVersion",
        "upgrade_add_on/proxy": "UpdateAddon",
        "create_canary_node/services": "CreateNodegroup",
        "delete_canary_nodes": "DeleteNodegroup",
        "upgrade_node_pool/services": "UpdateNodegroupVersion",
        "upgrade_node_pool/store": "UpdateNodegroupVersion",
        "install_component/store": "patch statefulsets",
        "install_component/api": "patch deployments",
        "open_endpoint": "patch services",
        "back_up": "patch jobs",
        "prove_restore": "patch jobs",
        "delete_node_pools": "DeleteNodegroup",
        "delete_cluster": "DeleteCluster",
        "delete_egress": "DeleteNatGateway",
    }
    machines: Mapping[str, str] = {
        "create_node_pool": "CreateNodegroup",
        "create_canary_node": "CreateNodegroup",
        "upgrade_node_pool": "UpdateNodegroupVersion",
    }
    strangers = (
        Stranger("create_roles", "delete_roles", _someones_role),
        Stranger("create_encryption_key", "delete_encryption_key", _someones_key),
        Stranger("create_backup_bucket", "delete_backup_bucket", _someones_bucket),
        Stranger("create_firewall", "delete_firewall", _someones_group, _delete_group),
        Stranger("create_private_endpoints", "", _disown_group, _own_group, namesake=False),
        Stranger("create_cluster", "delete_cluster", _someones_cluster, _delete_cluster),
        Stranger("publish_endpoint", "delete_domain", _someones_zone),
        Stranger("create_node_pool", "delete_node_pools", *_disowned(_groups), namesake=False, about="store"),
        Stranger("install_add_on", "", *_disowned(_add_on), namesake=False, about="network"),
        Stranger(
            "create_canary_node",
            "delete_canary_nodes",
            _someones_canary,
            _delete_canary,
            namesake=False,
            about=PoolName.SERVICES,
        ),
        Stranger("upgrade_node_pool", "", *_disowned(_groups), namesake=False, about=PoolName.STORE),
        Stranger("upgrade_add_on", "", *_disowned(_add_on), namesake=False, about="network"),
        Stranger("create_alarms", "delete_alarms", _disown_alarms, _own_alarms, namesake=False),
    )
    nameless: Mapping[str, str] = {
        "create_network": _BY_TAG,
        "create_egress": _BY_TAG,
        "create_domain": "an account may have many zones of one name",
        "create_certificate": "an account may have many certificates for one name",
        "grant_cluster_access": _OURS_AS_A_WHOLE,
        "create_workload_identity": _OURS_AS_A_WHOLE,
        "set_maintenance_policy": _OURS_AS_A_WHOLE,
        "upgrade_control_plane": _OURS_AS_A_WHOLE,
    }
    unasked = re.compile(r"(sts|kubernetes):")
    codes: Mapping[str, FailureClass] = CODES
    kept = ("kms:key",)
    restorable = ()

    def tenant(self, world: World, number: int) -> Account:
        """Return a fresh account in which the customer has applied our template."""
        cloud = connect(world.endpoints, world.control)
        account = open_account(world.endpoints, world.control, cloud, number)
        return replace(account, activities=registered(world, cloud, AwsManifests()))

    def activities(self, world: World) -> Mapping[str, Activity]:
        """Return what another worker registers, keyed by name."""
        return registered(world, connect(world.endpoints, world.control), AwsManifests())

    def implementation(self) -> AwsCloud:
        """Return the implementation of the contracts, connected to nothing."""
        return AwsCloud(AwsSettings(principal="arn:aws:iam::111111111111:role/control-plane"))

    def leave(self, tenant: Account) -> None:
        """Let the customer delete the stack."""
        tenant.control.customer(tenant.site.cloud_account_id).delete_template()

    def purpose(self, site: Site, principal: str) -> Purpose | None:
        """Return for which purpose a role is assumed."""
        role = _ROLE.search(principal)
        return Purpose(role[1]) if role else None

    def action(self, service: str, operation: str) -> str:
        """Return the action after which IAM names a call."""
        return action_of(service, operation)

    def classify(self, code: str) -> FailureClass:
        """Return what a code means."""
        return classify(code)

    def granted(self, needs: Iterable[Need]) -> Iterable[Need]:
        """Return the needs with what AWS demands beside them."""
        return with_dependents(needs)


CLOUD = Aws()
