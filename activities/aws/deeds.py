"""Which resource a call to AWS changes: how each operation names it, in its request or in its reply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from activities import deeds
from activities.aws.actions import changes
from domain.audit import Resource

_ASKED = "byoc_asked"
"""Key of the SDK's context of one call that holds its service, operation and parameters."""
_BEGUN = "byoc_begun"
"""Key of the same context that holds the entry of a call that changes something, until it is answered."""

RESOURCES: Mapping[str, Mapping[str, str]] = {
    "ec2:vpc": {
        "CreateVpc": "reply.Vpc.VpcId",
        "ModifyVpcAttribute": "VpcId",
        "DeleteVpc": "VpcId",
        "AttachInternetGateway": "VpcId",
        "DetachInternetGateway": "VpcId",
    },
    "ec2:subnet": {"CreateSubnet": "reply.Subnet.SubnetId", "DeleteSubnet": "SubnetId"},
    "ec2:route-table": {
        "CreateRouteTable": "reply.RouteTable.RouteTableId",
        "AssociateRouteTable": "RouteTableId",
        "CreateRoute": "RouteTableId",
        "ReplaceRoute": "RouteTableId",
        "DeleteRoute": "RouteTableId",
        "DeleteRouteTable": "RouteTableId",
    },
    "ec2:route-table-association": {"DisassociateRouteTable": "AssociationId"},
    "ec2:internet-gateway": {
        "CreateInternetGateway": "reply.InternetGateway.InternetGatewayId",
        "AttachInternetGateway": "InternetGatewayId",
        "DetachInternetGateway": "InternetGatewayId",
        "DeleteInternetGateway": "InternetGatewayId",
    },
    "ec2:elastic-ip": {"AllocateAddress": "reply.AllocationId", "ReleaseAddress": "AllocationId"},
    "ec2:natgateway": {
        "CreateNatGateway": "reply.NatGateway.NatGatewayId",
        "DeleteNatGateway": "NatGatewayId",
    },
    "ec2:vpc-endpoint": {
        "CreateVpcEndpoint": "reply.VpcEndpoint.VpcEndpointId",
        "DeleteVpcEndpoints": "VpcEndpointIds",
    },
    "ec2:security-group": {
        "CreateSecurityGroup": "reply.GroupId",
        "AuthorizeSecurityGroupIngress": "GroupId",
        "RevokeSecurityGroupIngress": "GroupId",
        "DeleteSecurityGroup": "GroupId",
    },
    "ec2:network-interface": {"DeleteNetworkInterface": "NetworkInterfaceId"},
    "ec2:volume": {"DeleteVolume": "VolumeId"},
    "ec2:launch-template": {
        "CreateLaunchTemplate": "reply.LaunchTemplate.LaunchTemplateId",
        "DeleteLaunchTemplate": "LaunchTemplateId",
    },
    "ec2:resource": {"CreateTags": "Resources"},
    "elasticloadbalancing:loadbalancer": {"DeleteLoadBalancer": "LoadBalancerArn"},
    "elasticloadbalancing:targetgroup": {"DeleteTargetGroup": "TargetGroupArn"},
    "iam:role": {
        "CreateRole": "RoleName",
        "TagRole": "RoleName",
        "UpdateAssumeRolePolicy": "RoleName",
        "PutRolePermissionsBoundary": "RoleName",
        "AttachRolePolicy": "RoleName",
        "DetachRolePolicy": "RoleName",
        "PutRolePolicy": "RoleName",
        "DeleteRolePolicy": "RoleName",
        "DeleteRole": "RoleName",
    },
    "kms:key": {
        "CreateKey": "reply.KeyMetadata.Arn",
        "TagResource": "KeyId",
        "UntagResource": "KeyId",
        "EnableKeyRotation": "KeyId",
        "PutKeyPolicy": "KeyId",
        "ScheduleKeyDeletion": "KeyId",
    },
    "kms:alias": {"CreateAlias": "AliasName", "UpdateAlias": "AliasName", "DeleteAlias": "AliasName"},
    "s3:bucket": {
        "CreateBucket": "Bucket",
        "PutBucketTagging": "Bucket",
        "PutBucketEncryption": "Bucket",
        "PutPublicAccessBlock": "Bucket",
        "PutBucketPolicy": "Bucket",
        "PutBucketLifecycleConfiguration": "Bucket",
        "DeleteObjects": "Bucket",
        "AbortMultipartUpload": "Bucket",
        "PutObjectRetention": "Bucket",
        "DeleteBucket": "Bucket",
    },
    "s3:object": {"PutObjectRetention": "Key", "AbortMultipartUpload": "Key"},
    "route53:hostedzone": {
        "CreateHostedZone": "reply.HostedZone.Id",
        "ChangeTagsForResource": "ResourceId",
        "ChangeResourceRecordSets": "HostedZoneId",
        "DeleteHostedZone": "Id",
    },
    "acm:certificate": {"RequestCertificate": "reply.CertificateArn", "DeleteCertificate": "CertificateArn"},
    "eks:cluster": {
        "CreateCluster": "name",
        "UpdateClusterConfig": "name",
        "UpdateClusterVersion": "name",
        "DeleteCluster": "name",
        "CreateAccessEntry": "clusterName",
        "AssociateAccessPolicy": "clusterName",
    },
    "eks:resource": {"TagResource": "resourceArn"},
    "eks:access-entry": {"CreateAccessEntry": "principalArn", "AssociateAccessPolicy": "principalArn"},
    "eks:pod-identity-association": {
        "CreatePodIdentityAssociation": "reply.association.associationId",
        "UpdatePodIdentityAssociation": "associationId",
    },
    "eks:addon": {"CreateAddon": "addonName", "UpdateAddon": "addonName", "DeleteAddon": "addonName"},
    "eks:nodegroup": {
        "CreateNodegroup": "nodegroupName",
        "UpdateNodegroupConfig": "nodegroupName",
        "UpdateNodegroupVersion": "nodegroupName",
        "DeleteNodegroup": "nodegroupName",
    },
    "cloudwatch:alarm": {"PutMetricAlarm": "AlarmName", "DeleteAlarms": "AlarmNames"},
    "logs:log-group": {
        "CreateLogGroup": "logGroupName",
        "PutRetentionPolicy": "logGroupName",
        "DeleteLogGroup": "logGroupName",
    },
    "logs:resource": {"TagResource": "resourceArn"},
}
"""Of each kind, the operations that change a resource of it and where they name it: in a parameter, or in the reply."""

_ZONE = "/hostedzone/"
"""Route 53 puts it before a zone's id in some replies, and takes it in requests or not."""

_SERVICES = {"elbv2": "elasticloadbalancing"}
"""Where the SDK's name of a service is another than the one in ARNs and receipts."""


def resources_of(
    service: str, operation: str, asked: Mapping[str, Any], reply: Mapping[str, Any]
) -> tuple[Resource, ...]:
    """Return what one call changed; nothing for an operation that the table above does not know."""
    prefix = f"{_SERVICES.get(service, service)}:"
    return tuple(
        Resource(kind=kind, id=identifier)
        for kind, operations in RESOURCES.items()
        if kind.startswith(prefix) and (path := operations.get(operation))
        for identifier in _identifiers(path, asked, reply)
    )


def note_the_request(params: dict[str, Any], model: Any, context: dict[str, Any], **_: object) -> None:  # noqa: ANN401
    """Keep what is asked for when the reply is there: the SDK hands the two to nobody together."""
    context[_ASKED] = (model.service_model.service_name, model.name, dict(params))


def enter_the_call(context: dict[str, Any], **_: object) -> None:
    """Enter a call that changes something, as the last thing before it is made."""
    service, operation, asked = context[_ASKED]
    if changes(operation):
        context[_BEGUN] = deeds.begin(service, operation, resources_of(service, operation, asked, {}))


def note_the_reply(parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    """Note what a call changed, unless AWS refused it. Without a reply it may have changed something all the same."""
    begun: deeds.Begun | None = context.pop(_BEGUN, None)
    if begun is None:
        return
    service, operation, asked = context[_ASKED]
    if parsed.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 300:
        begun.answered(resources_of(service, operation, asked, parsed))
    else:
        begun.refused()


def _identifiers(path: str, asked: Mapping[str, Any], reply: Mapping[str, Any]) -> Iterator[str]:
    found: Any = reply if path.startswith("reply.") else asked
    for name in path.removeprefix("reply.").split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list | tuple) else [found]
    yield from (str(value).removeprefix(_ZONE) for value in values if value)
