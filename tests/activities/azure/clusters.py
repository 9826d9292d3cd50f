"""A cluster as the customer of a test sees and changes it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from azure.mgmt.containerservice import ContainerServiceClient

from activities.azure.add_ons import AzureAddOns
from activities.azure.cluster import AzureCluster
from activities.azure.cluster_access import AzureClusterAccess
from activities.azure.maintenance import AzureMaintenance
from activities.azure.node_pools import AzureNodePools
from activities.azure.part import AzurePart
from activities.azure.workload_identity import AzureWorkloadIdentity
from domain.naming import base_name
from tests.activities.azure.conftest import Account

PARTS: tuple[type[AzurePart], ...] = (
    AzureCluster, AzureClusterAccess, AzureWorkloadIdentity, AzureAddOns, AzureNodePools, AzureMaintenance,
)  # fmt: skip
"""Whose activities make a cluster and set it up."""


def aks(account: Account) -> Any:
    """Return the customer's client of AKS."""
    return account.customer(ContainerServiceClient)


def described(account: Account) -> dict[str, Any]:
    """Return the cluster as the customer sees it."""
    found: dict[str, Any] = (
        aks(account).managed_clusters.get(base_name(account.site), base_name(account.site)).as_dict()
    )
    return found


def change(account: Account, deed: Callable[[dict[str, Any]], object]) -> None:
    """Change the cluster as the customer."""
    document = described(account)
    deed(document)
    name = base_name(account.site)
    aks(account).managed_clusters.begin_create_or_update(name, name, document).result()


def without_state(document: dict[str, Any]) -> dict[str, Any]:
    """Return a cluster without what changes with every change."""
    found = copy.deepcopy(document)
    found.pop("eTag")
    for pool in found["properties"]["agentPoolProfiles"]:
        pool.pop("eTag")
    return found


def put(document: dict[str, Any], place: str, value: object) -> None:
    """Set what is at a place, names of fields with dots between them."""
    *parents, last = place.split(".")
    for field in parents:
        document = document[field]
    document[last] = value
