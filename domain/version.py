"""Version numbers of releases and of Kubernetes, and their order."""

from __future__ import annotations

from itertools import zip_longest


def version_order(version: str) -> tuple[int, ...]:
    """Return the sort key of a version made of numbers and dots, `4.10.2` after `4.9.0`.

    Raises:
        ValueError: a part of the version is not a number.
    """
    return tuple(int(part) for part in version.split("."))


def within(version: str, *, minimum: str, maximum: str) -> bool:
    """Return whether `version` lies between the two, both included. A missing part counts as 0."""
    return _compare(minimum, version) <= 0 <= _compare(maximum, version)


def _compare(left: str, right: str) -> int:
    for a, b in zip_longest(version_order(left), version_order(right), fillvalue=0):
        if a != b:
            return -1 if a < b else 1
    return 0
