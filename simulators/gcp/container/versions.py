"""The Kubernetes versions of GKE: `1.34.1-gke.1200000`, an alias `1.34`, or `latest`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from simulators.gcp.refusals import invalid

VERSIONS: Mapping[str, str] = {
    "1.36": "1.36.0-gke.1100000",
    "1.35": "1.35.2-gke.1300000",
    "1.34": "1.34.4-gke.1400000",
    "1.33": "1.33.8-gke.1500000",
    "1.32": "1.32.11-gke.1600000",
}
"""The newest patch of each minor version that can be ordered."""
DEFAULT = "1.35"
CHANNELS: Mapping[str, tuple[str, ...]] = {
    "RAPID": ("1.36", "1.35", "1.34"),
    "REGULAR": ("1.36", "1.35", "1.34"),
    "STABLE": ("1.35", "1.34"),
    "EXTENDED": tuple(VERSIONS),
}
"""The minor versions that each release channel offers."""
_FIRST_SUPPORTED_UNTIL = (32, datetime(2026, 4, 1, tzinfo=UTC))
_RHYTHM = timedelta(days=122)
"""Between the ends of support of two minor versions."""
_NODES_BEHIND = 2
_PATCHED = re.compile(r"(\d+\.\d+)\.\d+-gke\.\d+")


def resolved(wanted: str) -> str:
    """Return the whole version behind a version or alias; refuse what cannot be ordered."""
    if wanted in ("", "-"):
        return VERSIONS[DEFAULT]
    if wanted == "latest":
        return next(iter(VERSIONS.values()))
    if wanted in VERSIONS:
        return VERSIONS[wanted]
    if wanted in VERSIONS.values():
        return wanted
    by_patch = {version.partition("-")[0]: version for version in VERSIONS.values()}
    if wanted in by_patch:
        return by_patch[wanted]
    raise invalid(f'No valid versions with the prefix "{wanted}" found.')


def minor_of(version: str) -> str:
    """Return `1.34` of `1.34.4-gke.1400000`."""
    found = _PATCHED.fullmatch(version)
    return found[1] if found else version


def support_ends(version: str) -> datetime:
    """Return when the standard support of a minor version ends; made up, in the rhythm of the real ones."""
    first, until = _FIRST_SUPPORTED_UNTIL
    return until + (int(minor_of(version).partition(".")[2]) - first) * _RHYTHM


def distance(first: str, second: str) -> int:
    """Return by how many minor versions `second` is newer than `first`."""
    return int(minor_of(second).partition(".")[2]) - int(minor_of(first).partition(".")[2])


def upgraded(current: str, nodes: Mapping[str, str], wanted: str) -> str:
    """Return to which version a control plane is upgraded; refuse to skip a minor version, and to leave nodes behind.

    `nodes` are the versions of the node pools, keyed by name.
    """
    version = resolved(wanted)
    if not 0 <= distance(current, version) <= 1:
        raise invalid(
            f'Master cannot be upgraded to "{version}": cannot upgrade the master more than a minor version at a'
            " time, and never back."
        )
    behind = [name for name, node in nodes.items() if distance(node, version) > _NODES_BEHIND]
    if behind:
        raise invalid(
            f'Master cannot be upgraded to "{version}": node pool "{behind[0]}" would be more than'
            f" {_NODES_BEHIND} minor versions behind."
        )
    return version
