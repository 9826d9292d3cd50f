"""Upgrades that GKE could not finish: told once, then begun again."""

from __future__ import annotations

from activities.gcp.connection import GcpConnections
from activities.gcp.health import Described, health_failure
from activities.gcp.part import GcpPart
from activities.gcp.settings import GcpSettings


class TellsFailuresOnce(GcpPart):
    """GKE shows a failure until the next change: whoever has been told of it lets the upgrade begin again.

    What was told is remembered by the worker alone. Another one, or the same after a restart, tells once more.
    """

    def __init__(self, settings: GcpSettings, connections: GcpConnections) -> None:
        super().__init__(settings, connections)
        self._told: set[tuple[str, str]] = set()
        """By the thing's address and GKE's message."""

    def _tell_once(self, thing: Described, what: str) -> None:
        """Return if GKE reports no failure, or one that was told.

        Raises:
            ApplicationError: the failure, by its class.
        """
        failed = (thing.self_link, thing.status_message)
        if thing.status.name != "RUNNING" and failed not in self._told:
            self._told.add(failed)
            raise health_failure(thing, what)

    def _begun_again(self, thing: Described) -> None:
        """Let the same failure, when it comes again, be told again."""
        self._told.discard((thing.self_link, thing.status_message))
