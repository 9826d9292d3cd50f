"""Does the subscription still grant what the template asked for?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from azure.core.exceptions import HttpResponseError

from activities.azure.connection import AzureConnections
from activities.azure.errors import NotLetInError, is_refusal
from activities.azure.holdings import Holding, holds
from activities.azure.ids import subscription_scope
from activities.calling import Place
from activities.needs import Need
from domain.account import AccountAccess, MissingPermission
from domain.clouds import Purpose


def missing_permissions(
    holdings: Sequence[Holding],
    access: AccountAccess,
    needs: Iterable[Need],
    *,
    withheld: Collection[Purpose] = (),
) -> tuple[MissingPermission, ...]:
    """Return what our applications lack of the actions that the template grants for `needs`, each once.

    Of an application that is `withheld` nothing is missing.
    """
    wanted = sorted({(need.purpose, need.action) for need in needs if need.purpose not in withheld})
    return tuple(
        MissingPermission(action=action, purpose=purpose, resource=subscription_scope(access))
        for purpose, action in wanted
        if not holds(holdings, purpose, action)
    )


def withheld_applications(connections: AzureConnections, place: Place) -> tuple[Purpose, ...]:
    """Return the purposes beside the observing one whose application is refused now, whatever is cached.

    Raises:
        The SDK's errors: Azure could not answer.
    """
    return tuple(
        purpose for purpose in Purpose if purpose is not Purpose.OBSERVE and refusal(connections, place, purpose)
    )


def refusal(connections: AzureConnections, place: Place, purpose: Purpose) -> str:
    """Return in Azure's words why the application of a purpose is not let in, empty if it is.

    Raises:
        The SDK's errors: Azure could not answer.
    """
    try:
        connections.try_to_enter(place, purpose)
    except HttpResponseError as error:
        if not is_refusal(error):
            raise
        return str(error.message).partition("\n")[0]
    except NotLetInError as error:
        return str(error)
    return ""
