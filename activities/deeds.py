"""Deeds: every call of an activity that changes something, kept for the audit trail beside the activity's answer.

The clients of the clouds and clusters note them here; the worker (`workers/deeds.py`) collects what one execution did
and sends it along, over attempts that are tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from domain.audit import Deed, Resource

PAYLOAD_METADATA = "byoc-deeds"
"""Key of an answer's payload metadata that holds the deeds, as a JSON array. Workflows do not see it, so that a deed
more or less is no other history to them."""

MOST = 500
"""So many deeds of one execution are kept; a bucket with very many objects is emptied by more calls."""

_collected: ContextVar[list[Deed] | None] = ContextVar("collected", default=None)


@contextmanager
def collected(deeds: list[Deed]) -> Iterator[None]:
    """Add to `deeds` what is done in the block, in whatever thread inherits its context."""
    token = _collected.set(deeds)
    try:
        yield
    finally:
        _collected.reset(token)


def note(service: str, operation: str, resources: tuple[Resource, ...], *, answered: bool = True) -> None:
    """Note one call that changes something, once its answer is there or was lost. Outside an activity: nothing."""
    deeds = _collected.get()
    if deeds is not None and len(deeds) < MOST:
        deeds.append(
            Deed(at=datetime.now(UTC), service=service, operation=operation, resources=resources, answered=answered)
        )
