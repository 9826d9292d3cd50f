"""What every cloud's implementation has in common: its parts, put together, as a worker registers them."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from activities.contracts import KubernetesContract
from activities.kubernetes.credentials import ClusterCredentials, ClusterFinder
from activities.needs import Need, declared

Activity = Callable[..., Any]


class ClusterAccess(ClusterCredentials, ClusterFinder, Protocol):
    """What a cloud contributes to reaching its clusters."""


class CloudActivities:
    """A subclass for each cloud makes the parts: one implementation of each contract, on one set of connections."""

    cluster_credentials: ClusterAccess
    """For the Kubernetes activities of the same worker."""
    _contracts: Mapping[type[ABC], object]

    def activities(self) -> list[Activity]:
        """Return every activity of the contracts, as methods that a worker registers under the contracts' names.

        An activity that the implementation overrides without `@activity.defn` is refused by the worker.
        """
        return [
            getattr(implementation, name)
            for contract, implementation in self._contracts.items()
            for name in sorted(contract.__abstractmethods__)
        ]

    def needs(self) -> tuple[Need, ...]:
        """Return everything that these activities, and the Kubernetes ones beside them, ask of a customer's account."""
        # The Kubernetes activities are the same in every cloud; the one that looks for its cluster does so by `find`.
        finding = declared([self.cluster_credentials.find])
        by_deletion = {replace(need, activity=KubernetesContract.delete_workloads.__name__) for need in finding}
        return tuple(sorted({*declared(self.activities()), *by_deletion}))
