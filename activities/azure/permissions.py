"""The lines of the table for the customer's security review: each action, and what the template limits it to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from activities.azure.actions import is_data_action
from activities.azure.ids import subscription_scope
from activities.azure.template import condition_for
from activities.needs import Need
from domain.account import AccountAccess
from domain.clouds import Purpose


@dataclass(frozen=True)
class Permission:
    """One action of one of our roles."""

    action: str
    purpose: Purpose
    resources: tuple[str, ...]
    """Ids of Resource Manager."""
    conditions: tuple[str, ...]
    """In words."""
    needs: tuple[Need, ...]
    """Who needs it, one for each activity and reason."""


def permissions(needs: Iterable[Need], access: AccountAccess, regions: Sequence[str]) -> tuple[Permission, ...]:
    """Return every action of the template, with the steps that use it: by purpose, then by name."""
    del regions  # Azure knows no condition on them for actions
    return tuple(_permissions(tuple(needs), access))


def _permissions(needs: Sequence[Need], access: AccountAccess) -> Iterator[Permission]:
    for purpose in Purpose:
        of_purpose = [need for need in needs if need.purpose is purpose]
        for action in sorted({need.action for need in of_purpose}):
            yield Permission(
                action=action,
                purpose=purpose,
                resources=(subscription_scope(access),),
                conditions=tuple(_conditions(action)),
                needs=tuple(need for need in of_purpose if need.action == action),
            )


def _conditions(action: str) -> Iterator[str]:
    if is_data_action(action):
        yield "a data action"
    if condition_for([action]):
        yield "only roles that identities of a deployment need, only for identities"
