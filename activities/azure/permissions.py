"""The lines of the table for the customer's security review: each action, and what the template limits it to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from activities.azure.actions import is_data_action
from activities.azure.ids import subscription_scope
from activities.azure.template import condition_for
from activities.needs import Need, Permission, by_action
from domain.account import AccountAccess


def permissions(needs: Iterable[Need], access: AccountAccess) -> tuple[Permission, ...]:
    """Return every action of the template, with the steps that use it: by purpose, then by name."""
    return tuple(
        Permission(action, purpose, (subscription_scope(access),), tuple(_conditions(action)), users)
        for purpose, action, users in by_action(needs)
    )


def _conditions(action: str) -> Iterator[str]:
    if is_data_action(action):
        yield "a data action"
    if condition_for([action]):
        yield "only roles that identities of a deployment need, only for identities"
