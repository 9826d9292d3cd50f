"""Who asks: every request carries its actor into the history."""

from __future__ import annotations

from enum import StrEnum

from domain.model import Model


class Door(StrEnum):
    """Where a request came in."""

    CLI = "cli"
    API = "api"
    PORTAL = "portal"
    SCHEDULE = "schedule"
    CONTROL_PLANE = "control-plane"
    TEMPORAL = "temporal"
    """Past our own doors: Temporal's UI or command line."""


class Actor(Model):
    """A person or a service, and the door by which the request came."""

    name: str
    door: Door

    def __str__(self) -> str:
        """Read as `ada@vendor.example (cli)`."""
        return f"{self.name} ({self.door})"


CONTROL_PLANE = Actor(name="byoc", door=Door.CONTROL_PLANE)
"""The actor of what happens without anybody asking."""
