"""What every part of the Google Cloud implementation has: settings, and the connections to the customers' projects."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

from activities.failures import not_ready
from activities.gcp.connection import GcpConnections
from activities.gcp.settings import GcpSettings


class GcpPart:
    """Activities on one kind of resource; `activities.gcp.cloud` composes the parts."""

    def __init__(self, settings: GcpSettings, connections: GcpConnections) -> None:
        self._settings = settings
        self._connections = connections

    def _look_again(self, message: str) -> ApplicationError:
        """Return the error that means "not yet", to be looked at again at the poll interval."""
        return not_ready(message, look_again_in=self._settings.poll_interval)
