"""Roles of Azure's own that a deployment's identities get, and how they are given: at the scope that they are for.

The customer's template lets us give these roles and no other, and only to identities.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.mgmt.authorization import AuthorizationManagementClient

from activities.azure.existing import if_exists
from activities.azure.identity import guid
from activities.azure.ids import name_of, role_definition_id
from domain.deployment import Site
from domain.naming import base_name

ASSIGNING = ("Microsoft.Authorization/roleAssignments/read", "Microsoft.Authorization/roleAssignments/write")
"""What giving a role needs."""
WITHDRAWING = ("Microsoft.Authorization/roleAssignments/delete", "Microsoft.Authorization/roleAssignments/read")
"""What taking a role away needs. What is assigned at a resource of ours is gone with the resource."""


class BuiltInRole(StrEnum):
    """The roles; the value is the GUID, which is the same everywhere."""

    BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
    """Storage Blob Data Contributor."""
    BLOB_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
    """Storage Blob Data Reader."""
    IDENTITY_OPERATOR = "f1a07417-d97a-45cb-824c-7a7467783830"
    """Managed Identity Operator: a cluster's identity lends nodes theirs."""
    KEY_ENCRYPTION_USER = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
    """Key Vault Crypto Service Encryption User."""
    KEY_USER = "12338af0-0e69-4776-bea7-57ae8d297424"
    """Key Vault Crypto User: a cluster encrypts its secrets."""
    NETWORK_CONTRIBUTOR = "4d97b98b-1d4f-4787-a291-c67834d212e7"
    """Network Contributor."""
    READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
    """Reader: a cluster looks at the set with which its disks are encrypted."""
    SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
    """Key Vault Secrets User."""


def assignment_name(scope: str, role: BuiltInRole, principal: str) -> str:
    """Return the GUID of an assignment: the same for every attempt."""
    return guid(scope, role, principal)


def give_role(
    authorization: AuthorizationManagementClient, site: Site, scope: str, role: BuiltInRole, principal: str
) -> None:
    """Let an identity, by the object id of its principal, have a role at a scope; it may take minutes to count."""
    name = assignment_name(scope, role, principal)
    if if_exists(lambda: authorization.role_assignments.get(scope, name)) is not None:
        return
    wanted = {
        "properties": {
            "roleDefinitionId": role_definition_id(site, role),
            "principalId": principal,
            # A principal that was made a moment ago may not be known everywhere; with its type it is believed.
            "principalType": "ServicePrincipal",
            # Assignments have no tags, and may outlive who has them.
            "description": base_name(site),
        }
    }
    try:
        authorization.role_assignments.create(scope, name, wanted)
    except ResourceExistsError as error:
        # Somebody else gave the same identity the same role, under another name: that will do.
        if getattr(error.error, "code", "") != "RoleAssignmentExists":
            raise


def is_given_by_us(assignment: Any, site: Site) -> bool:  # noqa: ANN401 - a model of the SDK
    """Return whether an assignment was made by `give_role` for this deployment, whoever has or had it."""
    role = name_of(str(assignment.role_definition_id)).lower()
    return role in set(BuiltInRole) and str(assignment.description or "") == base_name(site)


def take_role(authorization: AuthorizationManagementClient, scope: str, role: BuiltInRole, principal: str) -> None:
    """Let the assignment of `give_role` be gone."""
    name = assignment_name(scope, role, principal)
    if if_exists(lambda: authorization.role_assignments.get(scope, name)) is not None:
        authorization.role_assignments.delete(scope, name)
