"""What every part of the Azure implementation has: settings, and the connections to the customers' subscriptions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from azure.mgmt.resource.resources import ResourceManagementClient
from temporalio.exceptions import ApplicationError

from activities.azure.connection import AzureConnections
from activities.azure.existing import if_exists
from activities.azure.groups import delete_group_if_empty, ensure_group
from activities.azure.settings import AzureSettings
from activities.failures import not_ready, refused
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass

Found = TypeVar("Found")

_FAILED = frozenset({"Failed", "Canceled"})
_ENDS = _FAILED | {"Succeeded"}
"""Provisioning states that stay as they are."""
_LOOKS = 5
"""How often something is looked at while an activity waits inside."""


class AzurePart:
    """Activities on one kind of resource; `activities.azure.cloud` composes the parts."""

    def __init__(self, settings: AzureSettings, connections: AzureConnections) -> None:
        self._settings = settings
        self._connections = connections

    def _look_again(self, message: str) -> ApplicationError:
        """Return the error that means "not yet", to be looked at again at the poll interval."""
        return not_ready(message, look_again_in=self._settings.poll_interval)

    def _ensure_group(self, site: Site) -> None:
        """Let the deployment's resource group exist; the needs of the activity include `groups.ENSURING`."""
        ensure_group(self._connections.client(ResourceManagementClient, site, Purpose.OPERATE), site)

    def _delete_group_if_empty(self, site: Site) -> None:
        """Let the deployment's resource group be gone if nothing is in it; the needs include `groups.EMPTYING`."""
        resources = self._connections.client(ResourceManagementClient, site, Purpose.DELETE)
        if self._within_the_wait(lambda: not delete_group_if_empty(resources, site)) is None:
            raise self._look_again("the deletion of the resource group is under way")

    def _written(self, look: Callable[[], Found | None], write: Callable[[], object], what: str) -> Found:
        """Return what `look` finds once it is whole: written where there is nothing yet, or where it has failed.

        Raises:
            ApplicationError: as `_made`.
        """
        found = look()
        if found is None or state_of(found) in _FAILED:
            write()
        return self._made(look, what)

    def _made(self, look: Callable[[], Found | None], what: str) -> Found:
        """Return what `look` finds once Azure has made it, within the consistency wait.

        Raises:
            ApplicationError: NOT_READY while it is under way; TRANSIENT if it failed, so that the activity writes it
                once more (which is how Azure cures it).
        """
        found = self._within_the_wait(lambda: _at_rest(look()))
        if found is None:
            raise self._look_again(f"{what} is under way")
        if state_of(found) != "Succeeded":
            raise refused(FailureClass.TRANSIENT, f"{what} has ended as {state_of(found)}", resource=what)
        return found

    def _deleted(self, look: Callable[[], object | None], delete: Callable[[], object], what: str) -> None:
        """Let what `look` finds be gone; what is on its way out is only waited for.

        Raises:
            ApplicationError: NOT_READY while the deletion is under way.
        """
        found = look()
        if found is None:
            return
        if state_of(found) != "Deleting":
            if_exists(delete)
        self._gone(look, what)

    def _gone(self, look: Callable[[], object | None], what: str) -> None:
        """Return once `look` finds nothing any more, within the consistency wait.

        Raises:
            ApplicationError: NOT_READY while the deletion is under way.
        """
        if self._within_the_wait(lambda: look() is None) is None:
            raise self._look_again(f"the deletion of {what} is under way")

    def _within_the_wait(self, look: Callable[[], Found | None]) -> Found | None:
        """Return what `look` answers as soon as that is true, None if it is not within the consistency wait."""
        interval = self._settings.consistency_wait.total_seconds() / _LOOKS
        for attempt in range(_LOOKS + 1):
            if answer := look():
                return answer
            if attempt < _LOOKS:
                time.sleep(interval)
        return None


def state_of(resource: Any) -> str:  # noqa: ANN401 - a resource of any SDK
    """Return the provisioning state of a resource; what has none is finished with the call that makes it."""
    state = getattr(resource, "provisioning_state", None)
    return str(getattr(state, "value", state) or "Succeeded")


def is_settled(resource: Any) -> bool:  # noqa: ANN401 - a resource of any SDK
    """Return whether nothing is under way at a resource."""
    return state_of(resource) in _ENDS


def _at_rest(resource: Found | None) -> Found | None:
    return resource if resource is not None and is_settled(resource) else None
