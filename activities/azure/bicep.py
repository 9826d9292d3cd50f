"""The customer's template in Azure's own language: a deployment to the subscription, by `az deployment sub create`.

Two things that Bicep does not do are commands at its head: registering namespaces, and letting the vendor's
applications into the tenant, whose principals then have object ids to give the roles to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from activities.azure.identity import guid
from activities.azure.template import TITLES, Assignment, CustomRole, Template
from domain.account import AccountAccess
from domain.clouds import Purpose

_API = "2022-04-01"
_FILE = "byoc.bicep"


def as_bicep(document: Template, access: AccountAccess, regions: Sequence[str]) -> str:
    """Return the template as a Bicep file; deployed again it brings everything in line."""
    parts = [_head(document, access, regions), "targetScope = 'subscription'\n"]
    for role, assignment in zip(document.roles, document.assignments, strict=True):
        purpose = _purpose_of(role, access)
        parts.append(_block(purpose, role, assignment, access))
    return "\n".join(parts)


def _head(document: Template, access: AccountAccess, regions: Sequence[str]) -> str:
    """Return the commands around the deployment, as a comment."""
    purposes = [_purpose_of(role, access) for role in document.roles]
    lines = [
        f"Lets byoc into the subscription {access.cloud_account_id}. Deploy it again to bring everything in line:",
        "",
        f"az account set --subscription {access.cloud_account_id}",
        *(f"az provider register --namespace {provider} --wait" for provider in document.providers),
    ]
    for purpose, assignment in zip(purposes, document.assignments, strict=True):
        identifier = assignment.client_id
        lines += [
            f"az ad sp show --id {identifier} >/dev/null 2>&1 || az ad sp create --id {identifier}",
            f"{purpose}=$(az ad sp show --id {identifier} --query id --output tsv)",
        ]
    given = " ".join(f'{purpose}="${purpose}"' for purpose in purposes)
    region = min(regions)
    lines += [f"az deployment sub create --location {region} --template-file {_FILE} --parameters {given}"]
    return "\n".join(f"// {line}".rstrip() for line in lines) + "\n"


def _block(purpose: Purpose, role: CustomRole, assignment: Assignment, access: AccountAccess) -> str:
    """Return the parameter, the role and the assignment of one purpose."""
    condition = (
        [f"    condition: {_text(assignment.condition)}", "    conditionVersion: '2.0'"] if assignment.condition else []
    )
    lines = [
        f"@description('Object id of the principal that the application {assignment.client_id} has in this tenant')",
        f"param {purpose} string",
        "",
        f"resource {purpose}Role 'Microsoft.Authorization/roleDefinitions@{_API}' = {{",
        f"  name: '{guid(access.cloud_account_id, role.name)}'",
        "  properties: {",
        f"    roleName: {_text(role.name)}",
        f"    description: {_text(TITLES[purpose])}",
        "    type: 'CustomRole'",
        "    assignableScopes: [subscription().id]",
        "    permissions: [",
        "      {",
        *_list("actions", role.actions),
        "        notActions: []",
        *_list("dataActions", role.data_actions),
        "        notDataActions: []",
        "      }",
        "    ]",
        "  }",
        "}",
        "",
        f"resource {purpose}Assignment 'Microsoft.Authorization/roleAssignments@{_API}' = {{",
        f"  name: guid(subscription().id, {purpose}Role.id, {purpose})",
        "  properties: {",
        f"    roleDefinitionId: {purpose}Role.id",
        f"    principalId: {purpose}",
        "    principalType: 'ServicePrincipal'",
        *condition,
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _list(name: str, values: Iterable[str]) -> list[str]:
    entries = [f"          {_text(value)}" for value in values]
    return [f"        {name}: [", *entries, "        ]"] if entries else [f"        {name}: []"]


def _text(value: str) -> str:
    """Return a text in Bicep's quotes."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"


def _purpose_of(role: CustomRole, access: AccountAccess) -> Purpose:
    """Return what a role of ours is for; its name says it, after the account's."""
    rest = role.name.partition(f"-{access.account}-")[2]
    return Purpose(rest.partition("-")[0])
