"""The parts of the cluster's contract, put together as a worker has them."""

from __future__ import annotations

from collections import Counter

from activities.azure.add_ons import AzureAddOns
from activities.azure.alarms import AzureAlarms
from activities.azure.backup_locks import AzureBackupLocks
from activities.azure.cluster import AzureCluster
from activities.azure.cluster_access import AzureClusterAccess
from activities.azure.controller_made import AzureControllerMade
from activities.azure.dns import AzureEndpointRecord
from activities.azure.leftovers import AzureLeftovers
from activities.azure.maintenance import AzureMaintenance
from activities.azure.node_pools import AzureNodePools
from activities.azure.workload_identity import AzureWorkloadIdentity
from activities.contracts import ClusterContract

PARTS = (
    AzureCluster, AzureClusterAccess, AzureMaintenance, AzureWorkloadIdentity, AzureAddOns, AzureNodePools, AzureAlarms,
    AzureEndpointRecord, AzureBackupLocks, AzureControllerMade, AzureLeftovers,
)  # fmt: skip


def test_every_activity_of_the_contract_has_one_part() -> None:
    """None is missing, and none is fulfilled twice."""
    made = Counter(name for part in PARTS for name in vars(part) if name in ClusterContract.__abstractmethods__)

    assert made == dict.fromkeys(ClusterContract.__abstractmethods__, 1)


def test_no_part_has_another_ones_method() -> None:
    """Put together they are one class, in which two methods of one name would be one."""
    own = Counter(name for part in PARTS for name in vars(part) if not name.startswith(("__", "_abc")))

    assert [name for name, parts in own.items() if parts > 1] == []
