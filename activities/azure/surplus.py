"""What do our applications have in the subscription that the template does not give them?

An action is surplus if a role of ours holds it and no activity declares it; a role is, if the template does not give
it, if it is given for more than the subscription, or if the condition that limits it is another one. Narrower is never
surplus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from activities.azure.holdings import Holding
from activities.azure.ids import subscription_scope
from activities.azure.template import Assignment, CustomRole, template
from activities.needs import Need
from domain.account import AccountAccess, SurplusPermission
from domain.clouds import Purpose


def surplus_permissions(
    holdings: Sequence[Holding], access: AccountAccess, applications: Mapping[Purpose, str], needs: Iterable[Need]
) -> tuple[SurplusPermission, ...]:
    """Return what the three applications may do beyond the template, each once."""
    wanted = template(access, applications, needs)
    roles = {role.name: role for role in wanted.roles}
    assignments = {assignment.role: assignment for assignment in wanted.assignments}
    found: list[SurplusPermission] = []
    for holding in holdings:
        role, assignment = roles.get(holding.role), assignments.get(holding.role)
        if role is None or assignment is None or assignment.client_id != applications[holding.purpose]:
            found.append(_whole(holding, "the template does not give this role"))
            continue
        found += _in_role(holding, role)
        found += _in_assignment(holding, assignment, access)
    return tuple(dict.fromkeys(found))


def _in_role(holding: Holding, role: CustomRole) -> Iterator[SurplusPermission]:
    """Yield the actions that somebody added to one of our roles, with their wildcards."""
    agreed = {action.lower() for action in (*role.actions, *role.data_actions)}
    for granted in holding.granted:
        for action in sorted({*granted.actions, *granted.data_actions}):
            if action.lower() not in agreed:
                yield SurplusPermission(
                    purpose=holding.purpose,
                    action=action,
                    resource=holding.scope,
                    granted_by=holding.role,
                    because="no step declares it",
                )


def _in_assignment(holding: Holding, agreed: Assignment, access: AccountAccess) -> Iterator[SurplusPermission]:
    """Yield what is wider about how one of our roles is given."""
    if holding.condition != agreed.condition and agreed.condition:
        yield _whole(holding, "the condition that limits the role is another one, or gone")
    if holding.scope.lower() != subscription_scope(access).lower():
        yield _whole(holding, "the role is given for more than the subscription")


def _whole(holding: Holding, because: str) -> SurplusPermission:
    return SurplusPermission(
        purpose=holding.purpose, action="*", resource=holding.scope, granted_by=holding.role, because=because
    )
