"""Azure, as the contract suite sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.dns import DnsManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.monitor import MonitorManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient

from activities.azure.backups import account_name
from activities.azure.cloud import AzureCloud
from activities.azure.errors import classify
from activities.azure.groups import group_name
from activities.azure.node_upgrades import canary_pool
from activities.azure.roles import RoleName
from activities.azure.settings import AzureSettings
from activities.azure.template import ROLE_READ
from activities.azure.vault import certificates_vault, keys_vault
from activities.cloud import Activity
from activities.kubernetes.manifests.azure import AzureManifests
from activities.needs import Need
from domain.clouds import Cloud, Purpose
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import OWNER_VALUE, TAG_OWNER, base_name, owner_tags, resource_name
from domain.shape import PoolName
from tests.activities.azure.conftest import REGION, Account, open_account, settings_for, site_of
from tests.contract.life import ACTIVITIES, Facts
from tests.contract.under_test import Stranger, World, registered

_APPLICATION = re.compile(rf"app:byoc-({'|'.join(Purpose)})")
_THEIRS: Mapping[str, Any] = {"location": REGION, "tags": {"team": "data"}}
_STORE_POOL = f"{PoolName.STORE}1"


def _group(account: Account, facts: Facts) -> str:
    """Return the deployment's group, which is ours: the stranger is in it."""
    groups, name = account.customer(ResourceManagementClient).resource_groups, group_name(facts.site)
    groups.create_or_update(name, {"location": REGION, "tags": owner_tags(facts.site, "group")})
    return name


def _someones_identity(account: Account, facts: Facts) -> None:
    identities = account.customer(ManagedServiceIdentityClient).user_assigned_identities
    name = resource_name(facts.site, RoleName.STORE)
    identities.create_or_update(_group(account, facts), name, {**_THEIRS})


def _vault(account: Account, facts: Facts, name: str) -> None:
    vaults = account.customer(KeyVaultManagementClient).vaults
    ours = vaults.get(group_name(account.site), keys_vault(account.site)).properties
    properties = {"tenantId": ours.tenant_id, "sku": {"family": "A", "name": "standard"}, "accessPolicies": []}
    wanted = {**_THEIRS, "properties": properties}
    vaults.begin_create_or_update(_group(account, facts), name, wanted).result()


def _someones_keys(account: Account, facts: Facts) -> None:
    _vault(account, facts, keys_vault(facts.site))


def _someones_certificates(account: Account, facts: Facts) -> None:
    _vault(account, facts, certificates_vault(facts.site))


def _someones_storage(account: Account, facts: Facts) -> None:
    accounts = account.customer(StorageManagementClient).storage_accounts
    wanted = {**_THEIRS, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    accounts.begin_create(_group(account, facts), account_name(facts.site), wanted).result()


def _someones_zone(account: Account, facts: Facts) -> None:
    zones, wanted = account.customer(DnsManagementClient).zones, {**_THEIRS, "location": "global"}
    zones.create_or_update(_group(account, facts), facts.domain_name, wanted)


def _someones_other_zone(account: Account, facts: Facts) -> None:
    zones, wanted = account.customer(DnsManagementClient).zones, {**_THEIRS, "location": "global"}
    zones.create_or_update(_group(account, facts), facts.domain.name, wanted)


def _someones_network(account: Account, facts: Facts) -> None:
    networks = account.customer(NetworkManagementClient).virtual_networks
    wanted = {**_THEIRS, "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    networks.begin_create_or_update(_group(account, facts), base_name(facts.site), wanted).result()


def _someones_rules(account: Account, facts: Facts) -> None:
    groups = account.customer(NetworkManagementClient).network_security_groups
    groups.begin_create_or_update(_group(account, facts), resource_name(facts.site, "nodes"), {**_THEIRS}).result()


def _someones_address(account: Account, facts: Facts) -> None:
    addresses = account.customer(NetworkManagementClient).public_ip_addresses
    wanted = {**_THEIRS, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    addresses.begin_create_or_update(_group(account, facts), resource_name(facts.site, "egress"), wanted).result()


def _someones_cluster(account: Account, facts: Facts) -> None:
    pool = {"name": "theirs", "count": 1, "vmSize": "Standard_D2s_v5", "mode": "System"}
    wanted = {
        **_THEIRS,
        "identity": {"type": "SystemAssigned"},
        "properties": {"dnsPrefix": "theirs", "agentPoolProfiles": [pool]},
    }
    clusters = account.customer(ContainerServiceClient).managed_clusters
    clusters.begin_create_or_update(_group(account, facts), base_name(facts.site), wanted).result()


def _tag_pool(account: Account, facts: Facts, owner: str) -> None:
    pools, place = account.customer(ContainerServiceClient).agent_pools, (group_name(facts.site), base_name(facts.site))
    pool = pools.get(*place, _STORE_POOL).as_dict(exclude_readonly=True)
    pool["properties"]["tags"][TAG_OWNER] = owner
    pools.begin_create_or_update(*place, _STORE_POOL, pool).result()


def _disown_pool(account: Account, facts: Facts) -> None:
    _tag_pool(account, facts, "theirs")


def _own_pool(account: Account, facts: Facts) -> None:
    _tag_pool(account, facts, OWNER_VALUE)


def _someones_canary(account: Account, facts: Facts) -> None:
    pools, place = account.customer(ContainerServiceClient).agent_pools, (group_name(facts.site), base_name(facts.site))
    wanted = {"properties": {"count": 1, "vmSize": "Standard_D2s_v5", "tags": {"team": "data"}}}
    pools.begin_create_or_update(*place, canary_pool(PoolName.SERVICES), wanted).result()


def _delete_canary(account: Account, facts: Facts) -> None:
    pools, place = account.customer(ContainerServiceClient).agent_pools, (group_name(facts.site), base_name(facts.site))
    pools.begin_delete(*place, canary_pool(PoolName.SERVICES)).result()


def _tag_alarms(account: Account, facts: Facts, owner: str) -> None:
    alerts = account.customer(MonitorManagementClient).metric_alerts
    for alert in alerts.list_by_resource_group(group_name(facts.site)):
        alerts.update(group_name(facts.site), alert.name, {"tags": {**alert.tags, TAG_OWNER: owner}})


def _disown_alarms(account: Account, facts: Facts) -> None:
    _tag_alarms(account, facts, "theirs")


def _own_alarms(account: Account, facts: Facts) -> None:
    _tag_alarms(account, facts, OWNER_VALUE)


CODES: Mapping[str, FailureClass] = {
    "InternalServerError": FailureClass.TRANSIENT,
    "InternalError": FailureClass.TRANSIENT,
    "OperationTimedOut": FailureClass.TRANSIENT,
    "PrincipalNotFound": FailureClass.TRANSIENT,
    "RetryableError": FailureClass.TRANSIENT,
    "ServiceUnavailable": FailureClass.TRANSIENT,
    "OperationThrottled": FailureClass.THROTTLE,
    "ServerBusy": FailureClass.THROTTLE,
    "SubscriptionRequestsThrottled": FailureClass.THROTTLE,
    "TooManyRequests": FailureClass.THROTTLE,
    "AnotherOperationInProgress": FailureClass.CONFLICT,
    "InUseSubnetCannotBeDeleted": FailureClass.CONFLICT,
    "OperationNotAllowed": FailureClass.CONFLICT,
    "PreconditionFailed": FailureClass.CONFLICT,
    "ResourceGroupBeingDeleted": FailureClass.CONFLICT,
    "ResourceNotFound": FailureClass.CONFLICT,
    "RoleAssignmentExists": FailureClass.CONFLICT,
    "VaultAlreadyExists": FailureClass.CONFLICT,
    "ErrCode_InsufficientVCPUQuota": FailureClass.QUOTA,
    "MaxStorageAccountsCountPerSubscriptionExceeded": FailureClass.QUOTA,
    "PublicIPCountLimitReached": FailureClass.QUOTA,
    "QuotaExceeded": FailureClass.QUOTA,
    "RoleAssignmentLimitExceeded": FailureClass.QUOTA,
    "AllocationFailed": FailureClass.CAPACITY,
    "SkuNotAvailable": FailureClass.CAPACITY,
    "ZonalAllocationFailed": FailureClass.CAPACITY,
    "AADSTS700016": FailureClass.AUTH,
    "ExpiredAuthenticationToken": FailureClass.AUTH,
    "InvalidAuthenticationTokenTenant": FailureClass.AUTH,
    "SubscriptionNotFound": FailureClass.AUTH,
    "invalid_client": FailureClass.AUTH,
    "AuthorizationFailed": FailureClass.PERMISSION,
    "AuthorizationPermissionMismatch": FailureClass.PERMISSION,
    "Forbidden": FailureClass.PERMISSION,
    "LinkedAuthorizationFailed": FailureClass.PERMISSION,
    "BlobImmutableDueToPolicy": FailureClass.POLICY,
    "MissingSubscriptionRegistration": FailureClass.POLICY,
    "RequestDisallowedByPolicy": FailureClass.POLICY,
    "ScopeLocked": FailureClass.POLICY,
    "InvalidParameter": FailureClass.CONFIG,
    "NetcfgSubnetRangesOverlap": FailureClass.CONFIG,
    "NobodyKnowsThis": FailureClass.UNKNOWN,
}
"""What each code means. What is not found was just made, or has just gone."""

_OURS_AS_A_WHOLE = "it is a setting of a cluster that is ours"


class Azure:
    """Azure; its tenant is a subscription."""

    cloud = Cloud.AZURE
    looks = "*"
    names: Mapping[FailureClass, str] = {
        FailureClass.AUTH: "ExpiredAuthenticationToken",
        FailureClass.CONFLICT: "Conflict",
    }
    waits: Mapping[str, str] = {
        "create_encryption_key": "diskEncryptionSets/write",
        "create_backup_bucket": "storageAccounts/write",
        "create_certificate": "vaults/write",
        "create_network": "virtualNetworks/write",
        "create_firewall": "networkSecurityGroups/write",
        "create_egress": "natGateways/write",
        "create_cluster": "managedClusters/write",
        "create_node_pool/store": "managedClusters/agentPools/write",
        "create_node_pool/services": "managedClusters/agentPools/write",
        "install_component/store": "patch statefulsets",
        "install_component/api": "patch deployments",
        "open_endpoint": "patch gateways",
        "back_up": "patch jobs",
        "prove_restore": "patch jobs",
        "upgrade_control_plane": "managedClusters/write",
        "create_canary_node/services": "managedClusters/agentPools/write",
        "delete_canary_nodes": "managedClusters/agentPools/delete",
        "upgrade_node_pool/services": "managedClusters/agentPools/write",
        "upgrade_node_pool/store": "managedClusters/agentPools/write",
        "delete_node_pools": "managedClusters/agentPools/delete",
        "delete_cluster": "managedClusters/delete",
        "delete_egress": "natGateways/delete",
        "delete_firewall": "networkSecurityGroups/delete",
        "delete_network": "virtualNetworks/delete",
        "delete_encryption_key": "diskEncryptionSets/delete",
    }
    machines: Mapping[str, str] = {
        "create_cluster": "managedClusters/write",
        "create_node_pool": "managedClusters/agentPools/write",
        "create_canary_node": "managedClusters/agentPools/write",
        "upgrade_node_pool": "managedClusters/agentPools/write",
    }
    strangers = (
        Stranger("create_roles", "delete_roles", _someones_identity),
        Stranger("create_encryption_key", "delete_encryption_key", _someones_keys),
        Stranger("create_backup_bucket", "delete_backup_bucket", _someones_storage),
        Stranger("create_domain", "delete_domain", _someones_zone),
        Stranger("create_certificate", "delete_certificate", _someones_certificates),
        Stranger("create_network", "delete_network", _someones_network),
        Stranger("create_firewall", "delete_firewall", _someones_rules),
        Stranger("create_egress", "delete_egress", _someones_address),
        Stranger("create_cluster", "delete_cluster", _someones_cluster),
        Stranger("publish_endpoint", "delete_domain", _someones_other_zone),
        Stranger(
            "create_node_pool", "delete_node_pools", _disown_pool, _own_pool, namesake=False, about=PoolName.STORE
        ),
        Stranger(
            "create_canary_node",
            "delete_canary_nodes",
            _someones_canary,
            _delete_canary,
            namesake=False,
            about=PoolName.SERVICES,
        ),
        Stranger("upgrade_node_pool", "", _disown_pool, _own_pool, namesake=False, about=PoolName.STORE),
        Stranger("create_alarms", "delete_alarms", _disown_alarms, _own_alarms, namesake=False),
    )
    nameless: Mapping[str, str] = {
        "create_private_endpoints": "nothing is made: it is a property of the subnet",
        "install_add_on": _OURS_AS_A_WHOLE,
        "grant_cluster_access": _OURS_AS_A_WHOLE,
        "create_workload_identity": "it is a part of identities that are ours",
        "set_maintenance_policy": _OURS_AS_A_WHOLE,
        "upgrade_control_plane": _OURS_AS_A_WHOLE,
        "upgrade_add_on": _OURS_AS_A_WHOLE,
    }
    unasked = re.compile(r"$")
    codes: Mapping[str, FailureClass] = CODES
    kept = ("keyvault:deletedVaults",)
    restorable = ()

    def tenant(self, world: World, number: int) -> Account:
        """Return a fresh subscription whose customer has applied our template."""
        settings = settings_for(world.endpoints, world.control, world.folder)
        cloud = AzureCloud(settings)
        site = site_of(number)
        account = open_account(world.endpoints, world.control, settings, cloud.activities(), cloud.needs(), site)
        return replace(account, activities=registered(world, cloud, AzureManifests()))

    def activities(self, world: World) -> Mapping[str, Activity]:
        """Return what another worker registers, keyed by name."""
        settings = settings_for(world.endpoints, world.control, world.folder)
        return registered(world, AzureCloud(settings), AzureManifests())

    def implementation(self) -> AzureCloud:
        """Return the implementation of the contracts, connected to nothing."""
        return AzureCloud(AzureSettings(applications={purpose: f"client-{purpose}" for purpose in Purpose}))

    def leave(self, tenant: Account) -> None:
        """Let the customer take back everything that the template made."""
        tenant.owner.delete_template()

    def purpose(self, site: Site, principal: str) -> Purpose | None:
        """Return for which purpose an application is there."""
        application = _APPLICATION.fullmatch(principal)
        return Purpose(application[1]) if application else None

    def classify(self, code: str) -> FailureClass:
        """Return what a code means."""
        return classify(code)

    def granted(self, needs: Iterable[Need]) -> Iterable[Need]:
        """Return the needs with the look for our own role, which every role grants and everybody begins with."""
        looks = (Need(ROLE_READ, purpose, activity, "") for purpose in Purpose for activity in ACTIVITIES)
        return (*needs, *looks)

    def action(self, service: str, operation: str) -> str:
        """Return nothing: the simulator records every action that it checks."""
        return ""


CLOUD = Azure()
