"""What the control plane may do in a customer's account: policy statements, derived from the activities' declarations.

Each declared action is scoped as tightly as AWS allows: by the tag that we put on what we make, by the name prefix
`byoc-`, by region, or by the service that a role is handed to. An action for which nothing is said here cannot be
granted: `Scopes.of` fails, and a test calls it for every declaration.

Sources: the Service Authorization Reference (which action knows which resource and condition key) and the permissions
sections of the EKS and EC2 user guides (which further actions AWS demands from a caller).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from activities.aws.identity import PATH, boundary_arn, control_role_arn
from activities.needs import Need
from domain.account import AccountAccess
from domain.clouds import Purpose
from domain.naming import OWNER_VALUE, PREFIX, TAG_OWNER

DEPENDENT_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "acm:RequestCertificate": ("acm:AddTagsToCertificate",),
    "cloudwatch:PutMetricAlarm": ("cloudwatch:TagResource",),
    "ec2:AllocateAddress": ("ec2:CreateTags",),
    "ec2:CreateInternetGateway": ("ec2:CreateTags",),
    "ec2:CreateLaunchTemplate": ("ec2:CreateTags",),
    "ec2:CreateNatGateway": ("ec2:CreateTags", "iam:CreateServiceLinkedRole"),
    "ec2:CreateRouteTable": ("ec2:CreateTags",),
    "ec2:CreateSecurityGroup": ("ec2:CreateTags",),
    "ec2:CreateSubnet": ("ec2:CreateTags",),
    "ec2:CreateVpc": ("ec2:CreateTags",),
    "ec2:CreateVpcEndpoint": ("ec2:CreateTags",),
    "eks:CreateAccessEntry": ("eks:TagResource",),
    "eks:CreateAddon": ("eks:TagResource",),
    "eks:CreateCluster": (
        "eks:TagResource",
        "iam:PassRole",
        "iam:CreateServiceLinkedRole",
        "kms:CreateGrant",
        "kms:DescribeKey",
        "ec2:DescribeSubnets",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeVpcs",
    ),
    "eks:CreateNodegroup": (
        "eks:TagResource",
        "iam:PassRole",
        "iam:GetRole",
        "iam:ListAttachedRolePolicies",
        "iam:CreateServiceLinkedRole",
        "ec2:RunInstances",
        "ec2:CreateTags",
        "ec2:DescribeSubnets",
        "ec2:DescribeLaunchTemplateVersions",
    ),
    "eks:UpdateNodegroupVersion": ("ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeLaunchTemplateVersions"),
    "eks:CreatePodIdentityAssociation": ("eks:TagResource", "iam:PassRole", "iam:GetRole"),
    "iam:CreateRole": ("iam:TagRole",),
    "kms:CreateKey": ("kms:TagResource",),
    "logs:CreateLogGroup": ("logs:TagResource",),
    "s3:CreateBucket": ("s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning", "s3:TagResource"),
}
"""Keyed by the action that we call; what AWS demands from the caller beside it."""

PASSED_TO = ("ec2.amazonaws.com", "eks.amazonaws.com", "pods.eks.amazonaws.com")
"""The services to which our roles may be handed."""

SERVICE_LINKED_ROLES = (
    "autoscaling.amazonaws.com",
    "eks-nodegroup.amazonaws.com",
    "eks.amazonaws.com",
    "elasticloadbalancing.amazonaws.com",
    "natgateway.amazonaws.com",
)
"""The services that make a role of their own in the account when they are used for the first time."""

MADE_BY_CLUSTER: tuple[tuple[str, str], ...] = (
    ("cluster.k8s.amazonaws.com/name", f"{PREFIX}-*"),
    ("elbv2.k8s.aws/cluster", f"{PREFIX}-*"),
    ("eks:cluster-name", f"{PREFIX}-*"),
    ("KubernetesCluster", f"{PREFIX}-*"),
)
"""Tags that the cluster's own controllers (network plug-in, load balancer controller, EKS, storage driver) put on what
they make, with the value that says that the cluster is one of ours."""

_EC2_CREATIONS = frozenset(
    {
        "AllocateAddress",
        "CreateInternetGateway",
        "CreateLaunchTemplate",
        "CreateNatGateway",
        "CreateNetworkInterface",
        "CreateRouteTable",
        "CreateSecurityGroup",
        "CreateSnapshot",
        "CreateSubnet",
        "CreateVolume",
        "CreateVpc",
        "CreateVpcEndpoint",
        "RunInstances",
    }
)
_EC2_CREATIONS_IN_SOMETHING = frozenset(
    {"CreateNatGateway", "CreateNetworkInterface", "CreateRouteTable", "CreateSubnet", "CreateVpcEndpoint"}
)
"""Creations that are authorized on an existing resource as well; it has to be ours."""

_EKS_ABOUT_NO_CLUSTER = frozenset(
    {"DescribeAddonConfiguration", "DescribeAddonVersions", "DescribeClusterVersions", "ListClusters"}
)

_READS = ("Describe", "Get", "List", "Search")

_IAM_WITHIN_BOUNDARY = frozenset(
    {
        "AttachRolePolicy",
        "CreateRole",
        "DeleteRolePolicy",
        "DetachRolePolicy",
        "PutRolePermissionsBoundary",
        "PutRolePolicy",
    }
)
"""Actions that AWS lets depend on the role's permissions boundary."""

_S3_ON_OBJECTS = frozenset(
    {
        "AbortMultipartUpload",
        "BypassGovernanceRetention",
        "DeleteObject",
        "DeleteObjectVersion",
        "GetObject",
        "GetObjectLegalHold",
        "GetObjectRetention",
        "GetObjectTagging",
        "GetObjectVersion",
        "ListMultipartUploadParts",
        "PutObject",
        "PutObjectLegalHold",
        "PutObjectRetention",
        "PutObjectTagging",
    }
)


@dataclass(frozen=True, order=True)
class Condition:
    """One line of a statement's condition: the key has one of the values, as the operator compares."""

    operator: str
    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        """Read as `aws:ResourceTag/byoc = managed`."""
        return f"{self.key} = {' or '.join(self.values)}"


@dataclass(frozen=True, order=True)
class Scope:
    """To what an action is limited."""

    resources: tuple[str, ...] = ("*",)
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, order=True)
class Statement:
    """Actions that are allowed (or denied) within one scope."""

    scope: Scope
    actions: tuple[str, ...]
    effect: str = "Allow"

    def document(self) -> dict[str, object]:
        """Return the statement as IAM reads it."""
        document: dict[str, object] = {
            "Effect": self.effect,
            "Action": list(self.actions),
            "Resource": list(self.scope.resources),
        }
        if self.scope.conditions:
            document["Condition"] = {
                operator: {condition.key: list(condition.values) for condition in conditions}
                for operator, conditions in groupby(sorted(self.scope.conditions), key=lambda each: each.operator)
            }
        return document


class Scopes:
    """The scope of every action, for one account and the regions that were agreed on."""

    def __init__(
        self, access: AccountAccess, regions: Sequence[str], granted: Iterable[str], purpose: Purpose | None = None
    ) -> None:
        """Take the actions that are granted together: they decide which creations may tag what they make.

        With the role's `purpose` known, the policies that it may read are those of our own three roles.
        """
        self._purpose = purpose
        account = access.cloud_account_id
        self._access = access
        self._in_regions = Condition("StringEquals", "aws:RequestedRegion", tuple(sorted(regions)))
        self._granted = frozenset(granted)
        self._regional = Scope(conditions=(self._in_regions,))
        self._made = Scope(conditions=(self._in_regions, _tag("aws:RequestTag", TAG_OWNER, OWNER_VALUE)))
        self._ours = Scope(conditions=(self._in_regions, _tag("aws:ResourceTag", TAG_OWNER, OWNER_VALUE)))
        self._made_by_cluster = tuple(
            Scope(conditions=(self._in_regions, _tag("aws:ResourceTag", name, value)))
            for name, value in MADE_BY_CLUSTER
        )
        self._roles = f"arn:aws:iam::{account}:role{PATH}{PREFIX}-*"
        self._account = account

    def of(self, action: str) -> tuple[Scope, ...]:
        """Return the scopes of `action`: each is granted, because AWS checks some actions on several resources.

        Raises:
            LookupError: it is not said here how the actions of this service are scoped.
        """
        service, _, operation = action.partition(":")
        match service:
            case "ec2":
                return self._of_ec2(operation)
            case "eks":
                return self._of_eks(operation)
            case "iam":
                return self._of_iam(operation)
            case "kms":
                return self._of_kms(operation)
            case "s3":
                return self._of_s3(operation)
            case _:
                return self._of_others(service, operation)

    def _of_ec2(self, operation: str) -> tuple[Scope, ...]:  # noqa: PLR0911 (a return for each rule)
        match operation:
            case "CreateTags":
                # A tag may be set while something is made, or on what is ours: never on what is not, which it would
                # make ours in the eyes of the other statements.
                return (self._tags_on_creation(), self._ours)
            case "RunInstances":
                templates = f"arn:aws:ec2:*:{self._account}:launch-template/*"
                return (Scope(conditions=(self._in_regions, Condition("ArnLike", "ec2:LaunchTemplate", (templates,)))),)
            case "CreateSecurityGroup":
                # In the customer's own network too, which does not carry our tag.
                networks = Scope((f"arn:aws:ec2:*:{self._account}:vpc/*",), (self._in_regions,))
                return (self._made, networks)
            case _ if operation in _EC2_CREATIONS_IN_SOMETHING:
                return (self._made, self._ours)
            case _ if operation in _EC2_CREATIONS:
                return (self._made,)
            case "DeleteNetworkInterface" | "DeleteSecurityGroup" | "DeleteVolume" | "DetachNetworkInterface":
                return (self._ours, *self._made_by_cluster)
            case _ if operation.startswith(_READS):
                return (self._regional,)
            case _:
                return (self._ours,)

    def _tags_on_creation(self) -> Scope:
        creations = sorted(name for name in _EC2_CREATIONS if f"ec2:{name}" in self._granted)
        tagged = _tag("aws:RequestTag", TAG_OWNER, OWNER_VALUE)
        return Scope(
            conditions=(self._in_regions, tagged, Condition("StringEquals", "ec2:CreateAction", tuple(creations)))
        )

    def _of_eks(self, operation: str) -> tuple[Scope, ...]:
        if operation in _EKS_ABOUT_NO_CLUSTER:
            return (self._regional,)
        # Clusters, and node groups, add-ons, access entries, pod identities: their ARNs begin with the cluster's name.
        return (Scope((f"arn:aws:eks:*:{self._account}:*/{PREFIX}-*",), (self._in_regions,)),)

    def _of_iam(self, operation: str) -> tuple[Scope, ...]:  # noqa: PLR0911 (a return for each rule)
        roles = Scope((self._roles,))
        boundary = Condition("StringEquals", "iam:PermissionsBoundary", (boundary_arn(self._access),))
        match operation:
            case _ if (own := self._of_own_access(operation)) is not None:
                return (own,)
            case _ if operation in _IAM_WITHIN_BOUNDARY:
                return (Scope((self._roles,), (boundary,)),)
            case "PassRole":
                return (Scope((self._roles,), (Condition("StringEquals", "iam:PassedToService", PASSED_TO),)),)
            case "CreateServiceLinkedRole":
                services = Condition("StringEquals", "iam:AWSServiceName", SERVICE_LINKED_ROLES)
                return (Scope((f"arn:aws:iam::{self._account}:role/aws-service-role/*",), (services,)),)
            case "GetRole":
                # IAM cannot know the path of a role that does not exist, so it authorizes the look at one without it;
                # and EKS looks, as the caller, whether its service-linked roles exist.
                arn = f"arn:aws:iam::{self._account}:role"
                return (roles, Scope((f"{arn}/{PREFIX}-*", f"{arn}/aws-service-role/eks*")))
            case "ListRoles" | "ListOpenIDConnectProviders" | "ListInstanceProfiles":
                return (Scope(),)
            case _ if "OpenIDConnectProvider" in operation:
                return (Scope((f"arn:aws:iam::{self._account}:oidc-provider/oidc.eks.*",)),)
            case _ if "InstanceProfile" in operation and operation != "ListInstanceProfilesForRole":
                return (Scope((f"arn:aws:iam::{self._account}:instance-profile{PATH}{PREFIX}-*",)),)
            case _:
                return (roles,)

    def _of_own_access(self, operation: str) -> Scope | None:
        """Return the scope of what looks at the control plane's own roles; None if `operation` does something else."""
        match operation:
            case "GetPolicy" | "GetPolicyVersion":
                # Our own, and those of AWS, which are the same for everybody. Not the customer's others.
                return Scope((f"arn:aws:iam::{self._account}:policy{PATH}*", "arn:aws:iam::aws:policy/*"))
            case "SimulatePrincipalPolicy":
                return Scope(tuple(control_role_arn(self._access, purpose) for purpose in Purpose))
            case "GetRolePolicy" | "ListAttachedRolePolicies" | "ListRolePolicies" if self._purpose is Purpose.OBSERVE:
                return Scope(tuple(control_role_arn(self._access, purpose) for purpose in Purpose))
            case _:
                return None

    def _of_kms(self, operation: str) -> tuple[Scope, ...]:
        match operation:
            case "CreateKey":
                return (self._made,)
            case "TagResource":
                # A key may be tagged while it is made, which only that role does, or if it is ours.
                return (self._made, self._ours) if "kms:CreateKey" in self._granted else (self._ours,)
            case "CreateAlias" | "DeleteAlias" | "UpdateAlias":
                aliases = Scope((f"arn:aws:kms:*:{self._account}:alias/{PREFIX}-*",), (self._in_regions,))
                return (aliases, self._ours)
            case "CreateGrant":
                by_services = Condition("Bool", "kms:GrantIsForAWSResource", ("true",))
                return (Scope(conditions=(*self._ours.conditions, by_services)),)
            case _ if operation.startswith(_READS):
                return (self._regional,)
            case _:
                return (self._ours,)

    def _of_s3(self, operation: str) -> tuple[Scope, ...]:
        if operation == "ListAllMyBuckets":
            return (Scope(),)
        what = "/*" if operation in _S3_ON_OBJECTS else ""
        return (Scope((f"arn:aws:s3:::{PREFIX}-*{what}",), (self._in_regions,)),)

    def _of_others(self, service: str, operation: str) -> tuple[Scope, ...]:  # noqa: PLR0911 (a return for each rule)
        reads = operation.startswith(_READS)
        match service:
            case "acm":
                makes = operation in ("RequestCertificate", "AddTagsToCertificate")
                return (self._made if makes else self._regional if reads else self._ours,)
            case "autoscaling" | "servicequotas" | "tag" if reads:
                return (self._regional,)
            case "cloudwatch":
                alarms = Scope((f"arn:aws:cloudwatch:*:{self._account}:alarm:{PREFIX}-*",), (self._in_regions,))
                return (self._regional if reads else alarms,)
            case "elasticloadbalancing":
                return (self._regional,) if reads else (self._ours, *self._made_by_cluster)
            case "logs":
                groups = Scope((f"arn:aws:logs:*:{self._account}:log-group:/aws/eks/{PREFIX}-*",), (self._in_regions,))
                return (self._regional if operation == "DescribeLogGroups" else groups,)
            case "route53":
                return (_route53_scope(operation),)
            case "ssm" if reads:
                return (Scope(("arn:aws:ssm:*::parameter/aws/service/*",), (self._in_regions,)),)
            case _:
                raise LookupError(f"activities.aws.policy does not say how {service}:{operation} is scoped")


def _route53_scope(operation: str) -> Scope:
    """Route 53 is global and knows no tag conditions; the activities check the tags themselves."""
    if operation.startswith(("CreateHostedZone", "ListHostedZones")):
        return Scope()
    return Scope(("arn:aws:route53:::change/*" if operation == "GetChange" else "arn:aws:route53:::hostedzone/*",))


def _tag(family: str, name: str, value: str) -> Condition:
    return Condition("StringLike" if "*" in value else "StringEquals", f"{family}/{name}", (value,))


def with_dependents(needs: Iterable[Need]) -> tuple[Need, ...]:
    """Return `needs` and, for the same purpose and activity, what AWS demands beside them; ordered by action."""
    complete = set(needs)
    for need in tuple(complete):
        complete |= {
            Need(action, need.purpose, need.activity, f"AWS demands it for {need.action}")
            for action in DEPENDENT_ACTIONS.get(need.action, ())
            if not any((other.action, other.purpose, other.activity) == (action, need.purpose, need.activity)
                       for other in complete)
        }  # fmt: skip
    return tuple(sorted(complete))


def statements(
    needs: Iterable[Need], access: AccountAccess, regions: Sequence[str], purpose: Purpose
) -> tuple[Statement, ...]:
    """Return what the role of `purpose` is allowed: each scope once, with all its actions."""
    actions = sorted({need.action for need in with_dependents(needs) if need.purpose is purpose})
    scopes = Scopes(access, regions, actions, purpose)
    by_scope: dict[tuple[str, Scope], list[str]] = {}
    for action in actions:
        for scope in scopes.of(action):
            by_scope.setdefault((action.partition(":")[0], scope), []).append(action)
    return tuple(Statement(scope, tuple(granted)) for (_, scope), granted in by_scope.items())


def denials(access: AccountAccess) -> tuple[Statement, ...]:
    """Return what no role of ours may do, whatever else allows it: change its own limits."""
    changes = (
        "iam:Add*", "iam:Attach*", "iam:Create*", "iam:Delete*", "iam:Detach*", "iam:Pass*", "iam:Put*", "iam:Remove*",
        "iam:Set*", "iam:Tag*", "iam:Untag*", "iam:Update*",
    )  # fmt: skip
    own = Scope(
        (
            *(control_role_arn(access, purpose) for purpose in Purpose),
            f"arn:aws:iam::{access.cloud_account_id}:policy{PATH}*",
        )
    )
    other_boundary = Condition("StringNotEquals", "iam:PermissionsBoundary", (boundary_arn(access),))
    return (
        Statement(own, changes, "Deny"),
        Statement(Scope(), ("iam:DeleteRolePermissionsBoundary",), "Deny"),
        Statement(Scope(conditions=(other_boundary,)), ("iam:PutRolePermissionsBoundary",), "Deny"),
    )


def boundary_statements(access: AccountAccess, regions: Sequence[str]) -> tuple[Statement, ...]:
    """Return the most that any role which we make can do: what clusters, nodes and the store's backups need.

    A boundary grants nothing by itself. The lists follow AWS's managed policies for EKS clusters, nodes, the network
    plug-in, the EBS driver and the load balancer controller.
    """
    in_regions = Condition("StringEquals", "aws:RequestedRegion", tuple(sorted(regions)))
    ours = _tag("aws:ResourceTag", TAG_OWNER, OWNER_VALUE)
    regional = Scope(conditions=(in_regions,))
    to_load_balancers = Condition("StringEquals", "iam:AWSServiceName", ("elasticloadbalancing.amazonaws.com",))
    service_roles = f"arn:aws:iam::{access.cloud_account_id}:role/aws-service-role/*"
    return (
        Statement(regional, _BOUNDARY_REGIONAL),
        Statement(Scope(conditions=(in_regions, ours)), _BOUNDARY_KEYS),
        Statement(Scope((f"arn:aws:s3:::{PREFIX}-*",), (in_regions,)), _BOUNDARY_BACKUPS),
        Statement(Scope((service_roles,), (to_load_balancers,)), ("iam:CreateServiceLinkedRole",)),
    )


_BOUNDARY_REGIONAL = (
    "acm:DescribeCertificate", "acm:ListCertificates", "autoscaling:Describe*", "autoscaling:UpdateAutoScalingGroup",
    "cloudwatch:PutMetricData", "ec2:AssignIpv6Addresses", "ec2:AssignPrivateIpAddresses", "ec2:AttachNetworkInterface",
    "ec2:AttachVolume", "ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateNetworkInterface", "ec2:CreateSecurityGroup", "ec2:CreateSnapshot", "ec2:CreateTags", "ec2:CreateVolume",
    "ec2:DeleteNetworkInterface", "ec2:DeleteSecurityGroup", "ec2:DeleteSnapshot", "ec2:DeleteTags", "ec2:DeleteVolume",
    "ec2:Describe*", "ec2:DetachNetworkInterface", "ec2:DetachVolume", "ec2:Get*", "ec2:ModifyInstanceAttribute",
    "ec2:ModifyNetworkInterfaceAttribute", "ec2:ModifyVolume", "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress", "ec2:UnassignIpv6Addresses", "ec2:UnassignPrivateIpAddresses",
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:BatchImportUpstreamImage",
    "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer", "eks-auth:AssumeRoleForPodIdentity", "eks:Describe*",
    "elasticloadbalancing:*", "kms:ListAliases", "logs:CreateLogStream", "logs:DescribeLog*", "logs:PutLogEvents",
    "wafv2:Get*",
)  # fmt: skip

_BOUNDARY_KEYS = (
    "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ListGrants",
    "kms:ReEncrypt*",
)  # fmt: skip

_BOUNDARY_BACKUPS = (
    "s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:GetObject*", "s3:ListBucket*", "s3:ListMultipartUploadParts",
    "s3:PutObject", "s3:PutObjectRetention", "s3:PutObjectTagging",
)  # fmt: skip
