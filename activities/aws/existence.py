"""Asking for what may not exist, and deleting what may be gone already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from activities.aws.errors import is_not_found


def if_exists(look: Callable[..., dict[str, Any]], **parameters: object) -> dict[str, Any] | None:
    """Return the reply of the client's method `look`, or None if AWS says that the thing does not exist."""
    try:
        return look(**parameters)
    except ClientError as error:
        if is_not_found(error):
            return None
        raise


@contextmanager
def gone_is_success() -> Iterator[None]:
    """Let a deletion in the block succeed if there is nothing (any more) to delete."""
    try:
        yield
    except ClientError as error:
        if not is_not_found(error):
            raise
