"""What a customer makes in their subscription to let the control plane in, derived from what the activities declare.

Three custom roles, each for one purpose and given to one application of the vendor's. The customer can take them away
one by one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from activities.azure.actions import is_data_action, namespace_of
from activities.azure.granting import BuiltInRole
from activities.azure.identity import control_role_name
from activities.needs import Need
from domain.account import AccountAccess
from domain.clouds import Purpose

ROLE_READ = "Microsoft.Authorization/roleDefinitions/read"
"""Every application needs it: it looks for its role before it does anything else."""
_ALSO = ("Microsoft.Compute", "Microsoft.ContainerService", "Microsoft.ManagedIdentity", "Microsoft.Network")
"""Namespaces that a cluster uses, whatever we ourselves call."""
_ALWAYS_THERE = frozenset({"Microsoft.Authorization", "Microsoft.Resources"})
"""Namespaces that are registered in every subscription."""
_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"

TITLES = {
    Purpose.OBSERVE: "byoc: look at the deployments and change nothing",
    Purpose.OPERATE: "byoc: make and change the deployments",
    Purpose.DELETE: "byoc: take deployments away",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class CustomRole(_Part):
    """A role that holds exactly these actions."""

    name: str
    actions: tuple[str, ...]
    data_actions: tuple[str, ...] = Field(alias="dataActions")


class Assignment(_Part):
    """Which application has which role in the subscription."""

    role: str
    client_id: str = Field(alias="clientId")
    condition: str


class Template(_Part):
    """All of it."""

    providers: tuple[str, ...]
    roles: tuple[CustomRole, ...]
    assignments: tuple[Assignment, ...]


def template(access: AccountAccess, applications: Mapping[Purpose, str], needs: Iterable[Need]) -> Template:
    """Return what the customer makes; nothing is left to fill in. `applications` are the vendor's client ids."""
    wanted: defaultdict[Purpose, set[str]] = defaultdict(set)
    for need in needs:
        wanted[need.purpose].add(need.action)
    purposes = [purpose for purpose in Purpose if wanted[purpose]]
    namespaces = {namespace_of(action) for actions in wanted.values() for action in actions}
    roles = [_role(access, purpose, wanted[purpose] | {ROLE_READ}) for purpose in purposes]
    return Template(
        providers=tuple(sorted((namespaces | set(_ALSO)) - _ALWAYS_THERE)),
        roles=tuple(roles),
        assignments=tuple(
            Assignment(role=role.name, client_id=applications[purpose], condition=condition_for(role.actions))
            for purpose, role in zip(purposes, roles, strict=True)
        ),
    )


def condition_for(actions: Iterable[str]) -> str:
    """Return the condition that limits a role which may assign others: to what identities of a deployment need.

    Empty where nothing is to be limited.
    """
    limits = [
        _limit(f"{_ASSIGNMENTS}/{verb}", source)
        for verb, source in (("write", "Request"), ("delete", "Resource"))
        if f"{_ASSIGNMENTS}/{verb}" in actions
    ]
    return " AND ".join(limits)


def _limit(action: str, source: str) -> str:
    roles = ", ".join(role.value for role in BuiltInRole)
    known = f"@{source}[{_ASSIGNMENTS}:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{roles}}}"
    identity = (
        f"@{source}[{_ASSIGNMENTS}:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {{'ServicePrincipal'}}"
    )
    return f"((!(ActionMatches{{'{action}'}})) OR ({known} AND {identity}))"


def _role(access: AccountAccess, purpose: Purpose, actions: set[str]) -> CustomRole:
    return CustomRole(
        name=control_role_name(access, purpose),
        actions=tuple(sorted(action for action in actions if not is_data_action(action))),
        data_actions=tuple(sorted(action for action in actions if is_data_action(action))),
    )


def protections(access: AccountAccess, regions: Sequence[str], applications: Mapping[Purpose, str]) -> tuple[str, ...]:
    """Return in sentences what protects the customer, for their security review."""
    ids = ", ".join(applications[purpose] for purpose in Purpose)
    roles = ", ".join(sorted(role.name.replace("_", " ").lower() for role in BuiltInRole))
    return (
        f"Only three applications of the vendor's ({ids}) may enter, each with one role, and nobody else gets these.",
        "The roles' names hold a digest that is unique to this account of yours: nobody else can lead us into it.",
        f"Of the right to give roles to others, a condition leaves only these, and only to identities: {roles}.",
        "Azure has no condition on names and regions of what is made, nor on where roles are given: steps see to that.",
        f"Deployments are made in resource groups named byoc-…, in {', '.join(sorted(regions))}.",
        f"Delete a role's assignment in the subscription {access.cloud_account_id}, and what it is for ends at once.",
    )


def as_json(document: Template) -> str:
    """Return the document itself."""
    return json.dumps(document.model_dump(by_alias=True, mode="json"), indent=2) + "\n"
