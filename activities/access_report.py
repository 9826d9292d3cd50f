"""What is said of an account's permissions alike in every cloud: the report, and the refusal to begin without one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from activities.failures import failure
from domain.account import AccessReport, MissingPermission, SurplusPermission
from domain.clouds import Purpose
from domain.failure import FailureClass, FailureDetail

MOST_SURPLUS = 200
"""Of what is surplus, so much is named in a report, which goes into a history every day."""


def access_report(
    principal: str,
    *,
    checked: int,
    withheld: tuple[Purpose, ...],
    missing: tuple[MissingPermission, ...] = (),
    surplus: tuple[SurplusPermission, ...] = (),
) -> AccessReport:
    """Return the report of a verification that ends now; `checked` is the number of actions that it was about."""
    return AccessReport(
        principal=principal,
        verified_at=datetime.now(UTC),
        missing=missing,
        surplus=surplus[:MOST_SURPLUS],
        more_surplus=len(surplus[MOST_SURPLUS:]),
        withheld=withheld,
        checked_actions=checked,
    )


def require_everything(missing: Sequence[MissingPermission], holder: str) -> None:
    """Return if nothing is missing; `holder` is what the cloud calls whoever has permissions: `role`.

    Raises:
        ApplicationError: PERMISSION, with the first one named, and how many more there are.
    """
    if not missing:
        return
    first, more = missing[0], len(missing) - 1
    others = f" and {more} more" if more else ""
    message = f"The {holder} for {first.purpose} lacks the permission {first.action} on {first.resource}{others}"
    detail = FailureDetail(
        failure=FailureClass.PERMISSION, message=message, action=first.action, resource=first.resource
    )
    raise failure(detail)
