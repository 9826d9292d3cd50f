"""Kubernetes versions as AKS has them: what is asked for, `1.35` or `1.35.2`, and what runs, `1.35.2`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Minor: TypeAlias = tuple[int, int]

_FAILED = frozenset({"Failed", "Canceled"})


def minor_of(version: str) -> Minor:
    """Return the minor version, by which versions are compared."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def minor_name(version: str) -> str:
    """Return `1.35` of `1.35.2`."""
    return ".".join(version.split(".")[:2])


def version_of(properties: Mapping[str, Any]) -> str:
    """Return the version that a cluster or a node pool runs, by its properties."""
    return str(properties.get("currentKubernetesVersion") or properties["currentOrchestratorVersion"])


def is_half_upgraded(properties: Mapping[str, Any]) -> bool:
    """Return whether an upgrade of a cluster's control plane or of a node pool has begun and failed.

    AKS would go on with it at whatever is written of it next.
    """
    asked = properties.get("kubernetesVersion") or properties.get("orchestratorVersion")
    failed = properties.get("provisioningState") in _FAILED
    return failed and bool(asked) and minor_of(str(asked)) > minor_of(version_of(properties))


def has_half_upgraded(cluster: Mapping[str, Any]) -> bool:
    """Return whether an upgrade of a cluster's control plane, or of any of its node pools, has begun and failed."""
    properties = cluster["properties"]
    return is_half_upgraded(properties) or any(map(is_half_upgraded, properties.get("agentPoolProfiles") or ()))
