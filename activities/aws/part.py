"""What every part of the AWS implementation has: its settings, and the connections to the customers' accounts."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

from activities.aws.connection import AwsConnections
from activities.aws.settings import AwsSettings
from activities.failures import not_ready


class AwsPart:
    """Activities on one kind of resource; `activities.aws.cloud` composes the parts."""

    def __init__(self, settings: AwsSettings, connections: AwsConnections) -> None:
        self._settings = settings
        self._connections = connections

    def _look_again(self, message: str) -> ApplicationError:
        """Return the error that means "not yet", to be looked at again at the poll interval."""
        return not_ready(message, look_again_in=self._settings.poll_interval)
