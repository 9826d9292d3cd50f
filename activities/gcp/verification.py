"""Does the project still grant what the template asked for? Google itself is asked, as each of our service accounts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from google.auth.exceptions import RefreshError
from google.cloud import resourcemanager_v3

from activities.calling import Place
from activities.gcp.connection import GcpConnections
from activities.gcp.errors import is_refusal
from activities.needs import Need
from domain.account import AccountAccess, MissingPermission
from domain.clouds import Purpose

_PERMISSIONS_OF_A_CALL = 100
"""The most that testIamPermissions takes."""


def missing_permissions(
    connections: GcpConnections, access: AccountAccess, needs: Iterable[Need], *, withheld: Collection[Purpose] = ()
) -> tuple[MissingPermission, ...]:
    """Return what our service accounts lack of the permissions that the template grants for `needs`, each once.

    Asking needs no permission. Of an account that is `withheld` nothing is missing.

    Raises:
        google's errors: Google could not answer.
    """
    resource = f"projects/{access.cloud_account_id}"
    missing: list[MissingPermission] = []
    for purpose in (each for each in Purpose if each not in withheld):
        wanted = sorted({need.action for need in needs if need.purpose is purpose})
        projects = connections.client(resourcemanager_v3.ProjectsClient, access, purpose)
        for batch in _batches(wanted):
            reply = projects.test_iam_permissions(request={"resource": resource, "permissions": batch})
            held = set(reply.permissions)
            missing += [
                MissingPermission(action=action, purpose=purpose, resource=resource)
                for action in batch
                if action not in held
            ]
    return tuple(missing)


def withheld_accounts(connections: GcpConnections, place: Place) -> tuple[Purpose, ...]:
    """Return the purposes beside the observing one whose account refuses us now, whatever is cached.

    Raises:
        google's errors: Google could not answer.
    """
    withheld = []
    for purpose in Purpose:
        try:
            if purpose is not Purpose.OBSERVE:
                connections.try_to_impersonate(place, purpose)
        except RefreshError as error:
            if not is_refusal(error):
                raise
            withheld.append(purpose)
    return tuple(withheld)


def _batches(actions: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(actions)
    while batch := list(islice(remaining, _PERMISSIONS_OF_A_CALL)):
        yield batch
