"""Everything that AWS owes the workflows, put together: what a worker for AWS registers."""

from __future__ import annotations

from activities.aws.account import AwsAccount
from activities.aws.add_ons import AwsAddOns
from activities.aws.alarms import AwsAlarms
from activities.aws.backup_locks import AwsBackupLocks
from activities.aws.bucket import AwsBackupBucket
from activities.aws.cluster import AwsCluster
from activities.aws.cluster_access import AwsClusterAccess
from activities.aws.cluster_token import AwsClusterTokens
from activities.aws.connection import AwsConnections
from activities.aws.control_plane_upgrades import AwsAddOnUpgrades, AwsControlPlaneUpgrades
from activities.aws.controller_made import AwsControllerMade
from activities.aws.dns import AwsCertificate, AwsDomain, AwsEndpointRecord
from activities.aws.encryption import AwsEncryption
from activities.aws.leftovers import AwsLeftovers
from activities.aws.network import AwsNetwork
from activities.aws.node_pools import AwsNodePools
from activities.aws.node_upgrades import AwsCanaryNodes, AwsNodePoolUpgrades
from activities.aws.preflight import AwsPreflight
from activities.aws.roles import AwsRoles
from activities.aws.settings import AwsSettings
from activities.aws.upgrade_checks import AwsUpgradeChecks
from activities.cloud import CloudActivities
from activities.contracts import (
    AccountContract,
    ClusterContract,
    FoundationContract,
    NetworkContract,
    PreflightContract,
)
from activities.upgrade_contracts import UpgradeContract


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


class AwsUpgrades(AwsUpgradeChecks, AwsControlPlaneUpgrades, AwsAddOnUpgrades, AwsCanaryNodes, AwsNodePoolUpgrades):
    """The whole of `UpgradeContract`."""


class AwsCloud(CloudActivities):
    """The AWS implementation of every contract of a cloud, on one set of connections."""

    def __init__(self, settings: AwsSettings) -> None:
        """Connect nowhere yet: roles are assumed when an activity first needs them."""
        self.connections = AwsConnections(settings)
        self.cluster_credentials = AwsClusterTokens(self.connections)
        self._contracts = {
            AccountContract: AwsAccount(settings, self.connections, self.needs),
            PreflightContract: AwsPreflight(settings, self.connections, self.needs),
            NetworkContract: AwsNetwork(settings, self.connections),
            FoundationContract: AwsFoundation(settings, self.connections),
            ClusterContract: AwsKubernetes(settings, self.connections),
            UpgradeContract: AwsUpgrades(settings, self.connections),
        }
