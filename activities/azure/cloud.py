"""Everything that Azure owes the workflows, put together: what a worker for Azure registers."""

from __future__ import annotations

from activities.azure.account import AzureAccount, AzurePermissionCheck
from activities.azure.add_ons import AzureAddOns
from activities.azure.alarms import AzureAlarms
from activities.azure.backup_locks import AzureBackupLocks
from activities.azure.bucket import AzureBackupBucket
from activities.azure.certificate import AzureCertificate
from activities.azure.cluster import AzureCluster
from activities.azure.cluster_access import AzureClusterAccess
from activities.azure.cluster_token import AzureClusterTokens
from activities.azure.connection import AzureConnections
from activities.azure.control_plane_upgrades import AzureControlPlaneUpgrades
from activities.azure.controller_made import AzureControllerMade
from activities.azure.dns import AzureDomain, AzureEndpointRecord
from activities.azure.encryption import AzureEncryption
from activities.azure.leftovers import AzureLeftovers
from activities.azure.maintenance import AzureMaintenance
from activities.azure.network import AzureNetwork
from activities.azure.node_pools import AzureNodePools
from activities.azure.node_upgrades import AzureNodeUpgrades
from activities.azure.preflight import AzurePreflight
from activities.azure.roles import AzureRoles
from activities.azure.settings import AzureSettings
from activities.azure.upgrade_checks import AzureUpgradeChecks
from activities.azure.workload_identity import AzureWorkloadIdentity
from activities.cloud import CloudActivities
from activities.contracts import (
    AccountContract,
    ClusterContract,
    FoundationContract,
    NetworkContract,
    PreflightContract,
)
from activities.upgrade_contracts import UpgradeContract


class AzureLook(AzurePermissionCheck, AzurePreflight):
    """The whole of `PreflightContract`: Python refuses to make an instance while one of its activities is missing."""


class AzureFoundation(AzureRoles, AzureEncryption, AzureBackupBucket, AzureDomain, AzureCertificate):
    """The whole of `FoundationContract`."""


class AzureKubernetes(
    AzureCluster,
    AzureClusterAccess,
    AzureWorkloadIdentity,
    AzureAddOns,
    AzureMaintenance,
    AzureNodePools,
    AzureAlarms,
    AzureEndpointRecord,
    AzureBackupLocks,
    AzureControllerMade,
    AzureLeftovers,
):
    """The whole of `ClusterContract`."""


class AzureUpgrades(AzureUpgradeChecks, AzureControlPlaneUpgrades, AzureNodeUpgrades):
    """The whole of `UpgradeContract`."""


class AzureCloud(CloudActivities):
    """The Azure implementation of every contract of a cloud, on one set of connections."""

    def __init__(self, settings: AzureSettings) -> None:
        """Connect nowhere yet: subscriptions are entered when an activity first needs them."""
        self.connections = AzureConnections(settings)
        self.cluster_credentials = AzureClusterTokens(self.connections)
        self._contracts = {
            AccountContract: AzureAccount(settings, self.connections, self.needs),
            PreflightContract: AzureLook(settings, self.connections, self.needs),
            NetworkContract: AzureNetwork(settings, self.connections),
            FoundationContract: AzureFoundation(settings, self.connections),
            ClusterContract: AzureKubernetes(settings, self.connections),
            UpgradeContract: AzureUpgrades(settings, self.connections),
        }
