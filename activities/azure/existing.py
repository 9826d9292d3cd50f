"""Looking whether something exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from azure.core.exceptions import ResourceNotFoundError

Found = TypeVar("Found")


def if_exists(look: Callable[[], Found]) -> Found | None:
    """Return what `look` finds, None where there is none, or not even a group or parent in which it could be."""
    try:
        return look()
    except ResourceNotFoundError:
        return None
