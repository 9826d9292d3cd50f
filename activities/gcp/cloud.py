"""Everything that Google Cloud owes the workflows, put together: what a worker for Google Cloud registers."""

from __future__ import annotations

from activities.cloud import CloudActivities
from activities.contracts import (
    AccountContract,
    ClusterContract,
    FoundationContract,
    NetworkContract,
    PreflightContract,
)
from activities.gcp.account import GcpAccount, GcpPermissionCheck
from activities.gcp.add_ons import GcpAddOns
from activities.gcp.alarms import GcpAlarms
from activities.gcp.backup_locks import GcpBackupLocks
from activities.gcp.bucket import GcpBackupBucket
from activities.gcp.certificate import GcpCertificate
from activities.gcp.cluster import GcpCluster
from activities.gcp.cluster_access import GcpClusterAccess
from activities.gcp.cluster_token import GcpClusterTokens
from activities.gcp.connection import GcpConnections
from activities.gcp.controller_made import GcpControllerMade
from activities.gcp.dns import GcpDomain, GcpEndpointRecord
from activities.gcp.encryption import GcpEncryption
from activities.gcp.leftovers import GcpLeftovers
from activities.gcp.maintenance import GcpMaintenance
from activities.gcp.network import GcpNetwork
from activities.gcp.node_pools import GcpNodePools
from activities.gcp.node_upgrades import GcpNodeUpgrade
from activities.gcp.preflight import GcpPreflight
from activities.gcp.roles import GcpRoles
from activities.gcp.settings import GcpSettings
from activities.gcp.upgrade_checks import GcpUpgradeChecks
from activities.gcp.upgrades import GcpControlPlaneUpgrade
from activities.gcp.workload_identity import GcpWorkloadIdentity
from activities.upgrade_contracts import UpgradeContract


class GcpLook(GcpPermissionCheck, GcpPreflight):
    """The whole of `PreflightContract`: Python refuses to make an instance while one of its activities is missing."""


class GcpFoundation(GcpRoles, GcpEncryption, GcpBackupBucket, GcpDomain, GcpCertificate):
    """The whole of `FoundationContract`."""


class GcpKubernetes(
    GcpCluster,
    GcpClusterAccess,
    GcpWorkloadIdentity,
    GcpAddOns,
    GcpNodePools,
    GcpMaintenance,
    GcpAlarms,
    GcpEndpointRecord,
    GcpBackupLocks,
    GcpControllerMade,
    GcpLeftovers,
):
    """The whole of `ClusterContract`."""


class GcpUpgrade(GcpUpgradeChecks, GcpControlPlaneUpgrade, GcpNodeUpgrade):
    """The whole of `UpgradeContract`."""


class GcpCloud(CloudActivities):
    """The Google Cloud implementation of every contract of a cloud, on one set of connections."""

    def __init__(self, settings: GcpSettings) -> None:
        """Connect nowhere yet: accounts are impersonated when an activity first needs them."""
        self.connections = GcpConnections(settings)
        self.cluster_credentials = GcpClusterTokens(self.connections)
        self._contracts = {
            AccountContract: GcpAccount(settings, self.connections, self.needs),
            PreflightContract: GcpLook(settings, self.connections, self.needs),
            NetworkContract: GcpNetwork(settings, self.connections),
            FoundationContract: GcpFoundation(settings, self.connections),
            ClusterContract: GcpKubernetes(settings, self.connections),
            UpgradeContract: GcpUpgrade(settings, self.connections),
        }
