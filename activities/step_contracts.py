"""The contracts whose activities are the steps of operations."""

from __future__ import annotations

from abc import ABC

from activities.contracts import (
    ClusterContract,
    FoundationContract,
    KubernetesContract,
    NetworkContract,
    PreflightContract,
)
from activities.upgrade_contracts import ServerUpgradeContract, UpgradeContract

STEP_CONTRACTS: tuple[type[ABC], ...] = (
    PreflightContract,
    NetworkContract,
    FoundationContract,
    ClusterContract,
    KubernetesContract,
    UpgradeContract,
    ServerUpgradeContract,
)
