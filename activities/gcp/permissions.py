"""The lines of the table for the customer's security review: each permission, and what the template limits it to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from activities.gcp.template import GRANTED_ROLES, ON_LOG_BUCKETS, SET_PROJECT_POLICY
from activities.needs import Need, Permission, by_action
from domain.account import AccountAccess

_BUCKETS = ("projects/_/buckets/byoc-*",)


def permissions(needs: Iterable[Need], access: AccountAccess, regions: Sequence[str]) -> tuple[Permission, ...]:
    """Return every permission of the template, with the steps that use it: by purpose, then by name."""
    return tuple(
        Permission(action, purpose, _resources(action, access, regions), _conditions(action), users)
        for purpose, action, users in by_action(needs)
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
