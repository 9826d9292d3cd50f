"""The lines of the table for the customer's security review: each permission, and what the template limits it to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from activities.gcp.template import GRANTED_ROLES, ON_LOG_BUCKETS, SET_PROJECT_POLICY
from activities.needs import Need
from domain.account import AccountAccess
from domain.clouds import Purpose

_BUCKETS = ("projects/_/buckets/byoc-*",)


@dataclass(frozen=True)
class Permission:
    """One permission of one of our service accounts."""

    action: str
    purpose: Purpose
    resources: tuple[str, ...]
    """Patterns of names. What is made is looked at under the name that it will have."""
    conditions: tuple[str, ...]
    """In words."""
    needs: tuple[Need, ...]
    """Who needs it, one for each activity and reason."""


def permissions(needs: Iterable[Need], access: AccountAccess, regions: Sequence[str]) -> tuple[Permission, ...]:
    """Return every permission of the template, with the steps that use it: by purpose, then by name."""
    return tuple(_permissions(tuple(needs), access, regions))


def _permissions(needs: Sequence[Need], access: AccountAccess, regions: Sequence[str]) -> Iterator[Permission]:
    for purpose in Purpose:
        of_purpose = [need for need in needs if need.purpose is purpose]
        for action in sorted({need.action for need in of_purpose}):
            yield Permission(
                action=action,
                purpose=purpose,
                resources=_resources(action, access, regions),
                conditions=_conditions(action),
                needs=tuple(need for need in of_purpose if need.action == action),
            )


def _resources(action: str, access: AccountAccess, regions: Sequence[str]) -> tuple[str, ...]:
    project = f"projects/{access.cloud_account_id}"
    match action.partition(".")[0]:
        case "storage":
            return _BUCKETS
        case "cloudkms":
            return tuple(f"{project}/locations/{region}/keyRings/byoc-*" for region in sorted(regions))
        case "logging" if action in ON_LOG_BUCKETS:
            return tuple(f"{project}/locations/{region}/buckets/byoc-*" for region in sorted(regions))
        case _:
            return (project,)


def _conditions(action: str) -> tuple[str, ...]:
    return (f"grants {', '.join(GRANTED_ROLES)} only",) if action == SET_PROJECT_POLICY else ()
