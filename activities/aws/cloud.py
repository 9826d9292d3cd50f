"""Everything that AWS owes the workflows, put together: what a worker for AWS registers."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from activities.aws.account import AwsAccount
from activities.aws.add_ons import AwsAddOns
from activities.aws.alarms import AwsAlarms
from activities.aws.backup_locks import AwsBackupLocks
from activities.aws.bucket import AwsBackupBucket
from activities.aws.cluster import AwsCluster
from activities.aws.cluster_access import AwsClusterAccess
from activities.aws.cluster_token import AwsClusterTokens
from activities.aws.connection import AwsConnections
from activities.aws.controller_made import AwsControllerMade
from activities.aws.dns import AwsCertificate, AwsDomain, AwsEndpointRecord
from activities.aws.encryption import AwsEncryption
from activities.aws.leftovers import AwsLeftovers
from activities.aws.network import AwsNetwork
from activities.aws.node_pools import AwsNodePools
from activities.aws.preflight import AwsPreflight
from activities.aws.roles import AwsRoles
from activities.aws.settings import AwsSettings
from activities.contracts import (
    AccountContract,
    ClusterContract,
    FoundationContract,
    KubernetesContract,
    NetworkContract,
    PreflightContract,
)
from activities.needs import Need, declared

Activity = Callable[..., Any]


class AwsFoundation(AwsRoles, AwsEncryption, AwsBackupBucket, AwsDomain, AwsCertificate):
    """The whole of `FoundationContract`: Python refuses to make an instance while one of its activities is missing."""


class AwsKubernetes(
    AwsCluster,
    AwsClusterAccess,
    AwsAddOns,
    AwsNodePools,
    AwsAlarms,
    AwsEndpointRecord,
    AwsBackupLocks,
    AwsControllerMade,
    AwsLeftovers,
):
    """The whole of `ClusterContract`."""


class AwsCloud:
    """The AWS implementation of every contract of a cloud, on one set of connections."""

    def __init__(self, settings: AwsSettings) -> None:
        """Connect nowhere yet: roles are assumed when an activity first needs them."""
        self.connections = AwsConnections(settings)
        self.cluster_credentials = AwsClusterTokens(self.connections)
        """For the Kubernetes activities of the same worker."""
        self._contracts: dict[type[ABC], object] = {
            AccountContract: AwsAccount(settings, self.connections, self.needs),
            PreflightContract: AwsPreflight(settings, self.connections, self.needs),
            NetworkContract: AwsNetwork(settings, self.connections),
            FoundationContract: AwsFoundation(settings, self.connections),
            ClusterContract: AwsKubernetes(settings, self.connections),
        }

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
