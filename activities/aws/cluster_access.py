"""Who may enter the cluster, and which of its pods act as which roles."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.cluster import is_role_not_usable_yet
from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import if_exists
from activities.aws.identity import control_role_arn
from activities.aws.part import AwsPart
from activities.contracts import ClusterContract, InCluster, WorkloadIdentityRequest
from activities.kubernetes.manifests.identity import RESTORE_ACCOUNT, RESTORE_NAMESPACE, SERVER_NAMESPACE
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.naming import owner_tags, token
from domain.shape import Component

OPERATOR_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
"""What the control plane may do in the cluster: everything, as it installs roles and definitions of its own kinds."""


class AwsClusterAccess(AwsPart, ClusterContract):
    """Lets the control plane into the cluster, and the cluster's pods into the account."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:DescribeAccessEntry", "eks:CreateAccessEntry", "eks:ListAssociatedAccessPolicies",
        "eks:AssociateAccessPolicy",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def grant_cluster_access(self, request: InCluster) -> None:
        """The role with which the control plane operates may do everything in the cluster.

        The cluster is made without an administrator: beside this one there are the entries of EKS itself and its nodes.
        """
        site, cluster = request.site, request.cluster.name
        principal = control_role_arn(site, Purpose.OPERATE)
        which = {"clusterName": cluster, "principalArn": principal}
        with failures_named(resource=cluster):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            if if_exists(eks.describe_access_entry, **which) is None:
                self._create_access_entry(eks, site, which)
            pages = eks.get_paginator("list_associated_access_policies").paginate(**which)
            granted = {
                (policy["policyArn"], policy["accessScope"]["type"])
                for page in pages
                for policy in page["associatedAccessPolicies"]
            }
            if (OPERATOR_POLICY, "cluster") not in granted:
                eks.associate_access_policy(**which, policyArn=OPERATOR_POLICY, accessScope={"type": "cluster"})

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "eks:ListPodIdentityAssociations", "eks:DescribePodIdentityAssociation", "eks:CreatePodIdentityAssociation",
        "eks:UpdatePodIdentityAssociation",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_workload_identity(self, request: WorkloadIdentityRequest) -> None:
        """Each service account that needs the account's services acts as its role, through EKS Pod Identity."""
        site, cluster = request.site, request.cluster.name
        with failures_named(resource=cluster):
            eks = self._connections.client("eks", site, Purpose.OPERATE)
            for (namespace, service_account), role in service_account_roles(request).items():
                which = {"clusterName": cluster, "namespace": namespace, "serviceAccount": service_account}
                pages = eks.get_paginator("list_pod_identity_associations").paginate(**which)
                associations = [found for page in pages for found in page["associations"]]
                if not associations:
                    self._create_pod_identity(eks, site, which, role)
                for found in associations:
                    self._point_pod_identity(eks, cluster, found["associationId"], role)

    def _create_access_entry(self, eks: AwsClient, site: Site, which: Mapping[str, str]) -> None:
        try:
            eks.create_access_entry(
                **which,
                type="STANDARD",
                tags=owner_tags(site, "access-operate"),
                clientRequestToken=token(site, "access-operate"),
            )
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":
                raise
            # It exists: an earlier attempt made it.

    def _create_pod_identity(self, eks: AwsClient, site: Site, which: Mapping[str, str], role: str) -> None:
        resource = f"identity-{which['namespace']}-{which['serviceAccount']}"
        try:
            eks.create_pod_identity_association(
                **which, roleArn=role, tags=owner_tags(site, resource), clientRequestToken=token(site, resource)
            )
        except ClientError as error:
            if code_of(error) == "ResourceInUseException":
                raise self._look_again(f"the identity of {which['serviceAccount']} is not visible yet") from error
            if is_role_not_usable_yet(error):
                raise self._look_again(f"the role {role} cannot be used yet") from error
            raise

    def _point_pod_identity(self, eks: AwsClient, cluster: str, association_id: str, role: str) -> None:
        """Let an existing association lend `role`."""
        which = {"clusterName": cluster, "associationId": association_id}
        if eks.describe_pod_identity_association(**which)["association"]["roleArn"] != role:
            eks.update_pod_identity_association(**which, roleArn=role)


def service_account_roles(request: WorkloadIdentityRequest) -> Mapping[tuple[str, str], str]:
    """Return the role of each service account, keyed by (namespace, service account)."""
    return {
        (SERVER_NAMESPACE, Component.STORE.value): request.roles.store,
        (RESTORE_NAMESPACE, RESTORE_ACCOUNT): request.roles.restore or request.roles.store,
        ("kube-system", "ebs-csi-controller-sa"): request.roles.storage_driver,
    }
