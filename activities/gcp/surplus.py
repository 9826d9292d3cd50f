"""What do our service accounts have in the project that the template does not give them?

A permission is surplus if a role of ours holds it and no activity declares it, a role if the template does not grant
it, and everything a role holds if the condition that limits it is gone. Narrower is never surplus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.cloud import iam_admin_v1, resourcemanager_v3

from activities.gcp.compute import if_exists
from activities.gcp.connection import GcpConnections
from activities.gcp.policies import POLICY_VERSION
from activities.gcp.template import Binding, Template, template
from activities.needs import Need
from domain.account import AccountAccess, SurplusPermission
from domain.clouds import Purpose

LOOKING = ("iam.roles.get", "resourcemanager.projects.getIamPolicy")
"""What reading the roles of our own accounts calls."""


def surplus_permissions(
    connections: GcpConnections, access: AccountAccess, regions: Sequence[str], needs: Iterable[Need], principal: str
) -> tuple[SurplusPermission, ...]:
    """Return what the three accounts may do beyond the template, each once."""
    wanted = template(access, regions, principal, needs)
    project = f"projects/{access.cloud_account_id}"
    iam = connections.client(iam_admin_v1.IAMClient, access, Purpose.OBSERVE)
    projects = connections.client(resourcemanager_v3.ProjectsClient, access, Purpose.OBSERVE)
    policy = projects.get_iam_policy(
        request={"resource": project, "options": {"requested_policy_version": POLICY_VERSION}}
    )
    return tuple(dict.fromkeys([*_in_roles(iam, wanted, project), *_in_policy(policy, wanted, access, project)]))


def _in_roles(iam: iam_admin_v1.IAMClient, wanted: Template, project: str) -> Iterator[SurplusPermission]:
    """Yield the permissions that somebody added to one of our custom roles."""
    for role in wanted.roles:
        name = f"{project}/roles/{role.role_id}"
        found = if_exists(lambda name=name: iam.get_role(request={"name": name}))  # type: ignore[misc]
        for action in sorted(set(found.included_permissions if found else ()) - set(role.permissions)):
            yield SurplusPermission(
                purpose=_purpose_of(role.role_id),
                action=action,
                granted_by=name,
                because="no step declares it",
            )


def _in_policy(policy: object, wanted: Template, access: AccountAccess, project: str) -> Iterator[SurplusPermission]:
    """Yield roles that somebody gave to our accounts, and those of ours whose condition is gone."""
    members = {
        f"serviceAccount:{account.account_id}@{access.cloud_account_id}.iam.gserviceaccount.com": account.account_id
        for account in wanted.accounts
    }
    agreed: Mapping[str, Binding] = {f"{project}/roles/{each.role}": each for each in wanted.bindings}
    for binding in policy.bindings:  # type: ignore[attr-defined] # a message without types
        for member in (each for each in binding.members if each in members):
            expected = agreed.get(binding.role)
            if expected is None or members[member] not in expected.accounts:
                because = "the template does not grant this role"
            elif binding.condition.expression != expected.condition.expression:
                because = "the condition that limits the role is another one, or gone"
            else:
                continue
            yield SurplusPermission(
                purpose=_purpose_of(members[member]), action="*", granted_by=binding.role, because=because
            )


def _purpose_of(name: str) -> Purpose:
    """Return what an account or role of ours is for; its name says it."""
    return next(purpose for purpose in Purpose if purpose.value in name)
