"""The Kubernetes versions of AKS: `1.34.4`, or `1.34` for the newest patch of it."""

from __future__ import annotations

from collections.abc import Mapping

from simulators.azure.refusals import Refusal, invalid

VERSIONS: Mapping[str, str] = {
    "1.36": "1.36.0",
    "1.35": "1.35.2",
    "1.34": "1.34.4",
    "1.33": "1.33.8",
    "1.32": "1.32.11",
}
"""The newest patch of each minor version that can be ordered, the newest first."""
PREVIEWS = frozenset({"1.36"})
"""Minor versions that are offered without being supported."""
DEFAULT = "1.34"
_READ_MORE = "Please see https://aka.ms/aks-supported-k8s-ver for version details."


def resolved(wanted: str, cluster: str) -> str:
    """Return the whole version behind one that is wanted; refuse what cannot be ordered."""
    version = VERSIONS.get(wanted or DEFAULT, wanted)
    if version not in VERSIONS.values():
        raise invalid(
            "K8sVersionNotSupported",
            f"Managed cluster {cluster} is on version {wanted}, which is not supported in this region. {_READ_MORE}",
        )
    return version


def minor_of(version: str) -> str:
    """Return `1.34` of `1.34.4`."""
    return ".".join(version.split(".")[:2])


def distance(first: str, second: str) -> int:
    """Return by how many minor versions `second` is newer than `first`."""
    return int(second.split(".")[1]) - int(first.split(".")[1])


def upgrades_of(current: str) -> list[str]:
    """Return the versions that a control plane of this version can be upgraded to."""
    return [version for version in VERSIONS.values() if distance(current, version) == 1]


def require_upgrade(current: str, wanted: str) -> None:
    """Refuse to go back, and to go by more than one minor version."""
    steps = distance(current, wanted)
    if not 0 <= steps <= 1:
        what = "Downgrading" if steps < 0 else "Upgrading"
        raise Refusal(
            400,
            "OperationNotAllowed",
            f"{what} Kubernetes version {current} to {wanted} is not allowed. Available upgrades:"
            f" {upgrades_of(current)}. {_READ_MORE}",
        )


def require_compatible(pool: str, control_plane: str) -> None:
    """Refuse nodes that are newer than their control plane, or more than two minor versions older."""
    if not 0 <= distance(pool, control_plane) <= 2:
        raise invalid(
            "NodePoolMcVersionIncompatible",
            f"Node pool version {pool} and control plane version {control_plane} are incompatible. For more"
            " information, please check https://aka.ms/aks/UpgradeVersionRules",
        )
