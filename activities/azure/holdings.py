"""What our applications hold in a subscription: their role assignments, with the roles that are assigned.

Azure has no call that says what another principal may do, and none that says it of the caller at a subscription. So it
is read off the assignments at the subscription and above, of groups too, and off the roles, with what these take away
again. A condition, a deny assignment or a policy of the customer's that narrows it is met when a step needs it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from azure.mgmt.authorization import AuthorizationManagementClient

from activities.azure.actions import is_data_action
from activities.azure.connection import AzureConnections
from activities.azure.ids import name_of
from activities.calling import Place
from domain.clouds import Purpose

LOOKING = ("Microsoft.Authorization/roleAssignments/read", "Microsoft.Authorization/roleDefinitions/read")
"""What reading the roles of our own applications calls."""


@dataclass(frozen=True)
class Granted:
    """One of the entries of a role's permissions."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...]
    data_actions: tuple[str, ...]
    not_data_actions: tuple[str, ...]

    def holds(self, action: str) -> bool:
        """Return whether the entry grants an action, in whatever case it is written."""
        if is_data_action(action):
            return _among(self.data_actions, action) and not _among(self.not_data_actions, action)
        return _among(self.actions, action) and not _among(self.not_actions, action)


@dataclass(frozen=True)
class Holding:
    """One role that one of our applications has."""

    purpose: Purpose
    scope: str
    role: str
    """The role's name."""
    condition: str
    granted: tuple[Granted, ...]


def holdings(connections: AzureConnections, place: Place, *, withheld: Collection[Purpose] = ()) -> tuple[Holding, ...]:
    """Return what our applications hold at the subscription and above it; nothing of those that are withheld.

    Raises:
        The SDK's errors: the observing application may not look, or Azure could not answer.
    """
    purposes = [purpose for purpose in Purpose if purpose not in withheld]
    principals = {purpose: connections.principal_id(place, purpose) for purpose in purposes}
    client = connections.client(AuthorizationManagementClient, place, Purpose.OBSERVE)
    found = []
    for purpose, principal in principals.items():
        wanted = f"atScope() and assignedTo('{principal}')"
        for assignment in client.role_assignments.list_for_subscription(filter=wanted):
            role = client.role_definitions.get_by_id(assignment.role_definition_id)
            found.append(
                Holding(
                    purpose=purpose,
                    scope=assignment.scope,
                    role=role.role_name or name_of(assignment.role_definition_id),
                    condition=assignment.condition or "",
                    granted=tuple(_granted(each) for each in role.permissions or ()),
                )
            )
    return tuple(found)


def holds(holdings: Iterable[Holding], purpose: Purpose, action: str) -> bool:
    """Return whether the application of a purpose has an action by any of its roles."""
    return any(
        granted.holds(action) for holding in holdings if holding.purpose is purpose for granted in holding.granted
    )


def _granted(permission: object) -> Granted:
    """Return one entry of a role as the SDK has it."""
    lists = (
        tuple(getattr(permission, name, None) or ())
        for name in ("actions", "not_actions", "data_actions", "not_data_actions")
    )
    return Granted(*lists)


def _among(patterns: Iterable[str], action: str) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
