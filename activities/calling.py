"""On whose behalf an activity calls: the text with which every call to a cloud or a cluster names its caller."""

from __future__ import annotations

from contextvars import ContextVar
from importlib import metadata
from typing import TypeAlias

from temporalio import activity

from domain.account import AccountAccess
from domain.deployment import Site


def _version() -> str:
    try:
        return metadata.version("byoc")
    except metadata.PackageNotFoundError:
        return "0"


PRODUCT = f"byoc/{_version()}"
"""How each User-Agent of ours begins."""

Place: TypeAlias = Site | AccountAccess
"""Whose account: a deployment's, or that of an account as such."""

place_of_caller: ContextVar[Place | None] = ContextVar("caller", default=None)
"""On whose behalf this thread calls. Clients are shared by activities, so it cannot be part of the client."""


def agent(place: Place | None) -> str:
    """Return who calls, for the customer's log: `byoc/<version> deployment/<id> operation/<id> step/<activity>`."""
    step = activity.info().activity_type if activity.in_activity() else "-"
    match place:
        case Site():
            return f"{PRODUCT} deployment/{place.deployment} operation/{place.operation or '-'} step/{step}"
        case AccountAccess():
            return f"{PRODUCT} account/{place.account} step/{step}"
        case _:
            return f"{PRODUCT} step/{step}"
