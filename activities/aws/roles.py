"""The IAM roles of a deployment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError
from temporalio import activity

from activities.aws.connection import AwsClient
from activities.aws.errors import code_of, failures_named
from activities.aws.existence import gone_is_success, if_exists
from activities.aws.identity import PATH, boundary_arn
from activities.aws.ownership import as_tag_list, from_tag_list, lacking, require_ours
from activities.aws.part import AwsPart
from activities.aws.role_policies import RoleDefinition, RoleName, role_arn, role_definitions
from activities.contracts import FoundationContract
from activities.needs import needs
from domain.clouds import Purpose
from domain.deployment import Site
from domain.facts import Roles
from domain.naming import owner_tags

INLINE_POLICY = "byoc"
"""The name of the one inline policy of each role."""


class AwsRoles(AwsPart, FoundationContract):
    """Makes and deletes the roles that EKS, the nodes and the pods act as."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "iam:GetRole", "iam:CreateRole", "iam:TagRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePermissionsBoundary",
        "iam:ListAttachedRolePolicies", "iam:AttachRolePolicy", "iam:GetRolePolicy", "iam:PutRolePolicy",
        purpose=Purpose.OPERATE,
    )  # fmt: skip
    def create_roles(self, site: Site) -> Roles:
        """Every role exists under the permissions boundary, with its trust, its policies and our tags.

        Policies that somebody attached beside ours are left: the boundary keeps them within what was agreed.
        """
        with failures_named():
            iam = self._connections.client("iam", site, Purpose.OPERATE)
            for definition in role_definitions(site):
                self._converge_role(iam, site, definition)
        return Roles(
            control_plane=role_arn(site, RoleName.CONTROL_PLANE),
            nodes=role_arn(site, RoleName.NODES),
            storage_driver=role_arn(site, RoleName.STORAGE_DRIVER),
            store=role_arn(site, RoleName.STORE),
            restore=role_arn(site, RoleName.RESTORE),
        )

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        "iam:GetRole", "iam:ListAttachedRolePolicies", "iam:DetachRolePolicy", "iam:ListRolePolicies",
        "iam:DeleteRolePolicy", "iam:DeleteRole",
        purpose=Purpose.DELETE,
    )  # fmt: skip
    def delete_roles(self, site: Site) -> None:
        """No role of the deployment is left."""
        with failures_named():
            iam = self._connections.client("iam", site, Purpose.DELETE)
            for definition in role_definitions(site):
                role = _find(iam, definition.name)
                if role is None:
                    continue
                require_ours(site, from_tag_list(role.get("Tags")), f"IAM role {definition.name}")
                _delete(iam, definition.name)

    def _converge_role(self, iam: AwsClient, site: Site, definition: RoleDefinition) -> None:
        role = _find(iam, definition.name) or self._create_role(iam, site, definition)
        tags = from_tag_list(role.get("Tags"))
        require_ours(site, tags, f"IAM role {definition.name}")
        if missing := lacking(owner_tags(site, f"role-{definition.resource}"), tags):
            iam.tag_role(RoleName=definition.name, Tags=as_tag_list(missing))
        if role["AssumeRolePolicyDocument"] != definition.trust:
            iam.update_assume_role_policy(RoleName=definition.name, PolicyDocument=json.dumps(definition.trust))
        if role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") != boundary_arn(site):
            iam.put_role_permissions_boundary(RoleName=definition.name, PermissionsBoundary=boundary_arn(site))
        attached = _attached(iam, definition.name)
        for policy in definition.managed_policies:
            if policy not in attached:
                iam.attach_role_policy(RoleName=definition.name, PolicyArn=policy)
        if definition.inline_policy is not None and _inline(iam, definition.name) != definition.inline_policy:
            iam.put_role_policy(
                RoleName=definition.name,
                PolicyName=INLINE_POLICY,
                PolicyDocument=json.dumps(definition.inline_policy),
            )

    def _create_role(self, iam: AwsClient, site: Site, definition: RoleDefinition) -> Mapping[str, Any]:
        try:
            created: Mapping[str, Any] = iam.create_role(
                RoleName=definition.name,
                Path=PATH,
                AssumeRolePolicyDocument=json.dumps(definition.trust),
                Description=f"byoc deployment {site.deployment}: {definition.resource}",
                PermissionsBoundary=boundary_arn(site),
                Tags=as_tag_list(owner_tags(site, f"role-{definition.resource}")),
            )["Role"]
        except ClientError as error:
            if code_of(error) != "EntityAlreadyExists":
                raise
            # An earlier attempt made it, and IAM does not show it to readers yet.
            raise self._look_again(f"IAM role {definition.name} exists and is not visible yet") from error
        # The reply repeats neither the tags nor the boundary in full; what was asked for is what there is.
        return {
            **created,
            "AssumeRolePolicyDocument": definition.trust,
            "PermissionsBoundary": {"PermissionsBoundaryArn": boundary_arn(site)},
            "Tags": as_tag_list(owner_tags(site, f"role-{definition.resource}")),
        }


def _find(iam: AwsClient, name: str) -> Mapping[str, Any] | None:
    found = if_exists(iam.get_role, RoleName=name)
    return found["Role"] if found else None


def _attached(iam: AwsClient, name: str) -> frozenset[str]:
    """Return the ARNs of the managed policies of a role."""
    pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
    return frozenset(policy["PolicyArn"] for page in pages for policy in page["AttachedPolicies"])


def _inline(iam: AwsClient, name: str) -> Mapping[str, Any] | None:
    """Return our inline policy of a role, as a document."""
    found = if_exists(iam.get_role_policy, RoleName=name, PolicyName=INLINE_POLICY)
    return found["PolicyDocument"] if found else None


def _delete(iam: AwsClient, name: str) -> None:
    """Take everything off the role and delete it; an earlier attempt may have done a part of that."""
    for policy in _attached(iam, name):
        with gone_is_success():
            iam.detach_role_policy(RoleName=name, PolicyArn=policy)
    for page in iam.get_paginator("list_role_policies").paginate(RoleName=name):
        for policy in page["PolicyNames"]:
            with gone_is_success():
                iam.delete_role_policy(RoleName=name, PolicyName=policy)
    with gone_is_success():
        iam.delete_role(RoleName=name)
