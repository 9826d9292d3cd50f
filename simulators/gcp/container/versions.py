"""The Kubernetes versions of GKE: `1.34.1-gke.1200000`, an alias `1.34`, or `latest`."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def distance(first: str, second: str) -> int:
    """Return by how many minor versions `second` is newer than `first`."""
    return int(minor_of(second).partition(".")[2]) - int(minor_of(first).partition(".")[2])
