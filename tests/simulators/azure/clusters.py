"""A cluster of AKS in a simulated subscription, as the product asks for it, and what it needs around it."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from kubernetes import client as kubernetes_client

from simulators.kubernetes.simulator import Cluster
from tests.simulators.azure.conftest import GROUP, NETWORKS, REGION, SUBSCRIPTION, Account

NAME = "byoc-1"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/{NAME}"
NODE_GROUP = "byoc-1-nodes"
NODES = f"{NETWORKS}/virtualNetworks/byoc/subnets/nodes"
API_SERVER = f"{NETWORKS}/virtualNetworks/byoc/subnets/api"
IDENTITIES = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
ENTRA_APPLICATION = "6dae42f8-4368-4678-94ff-3960e28e3630"
NETWORK_CONTRIBUTOR = "4d97b98b-1d4f-4787-a291-c67834d212e7"
IDENTITY_OPERATOR = "f1a07417-d97a-45cb-824c-7a7467783830"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
KEY_VAULT = "byoc-keys"
KEY_ENCRYPTION_USER = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
KEY_USER = "12338af0-0e69-4776-bea7-57ae8d297424"
RBAC_CLUSTER_ADMIN = "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"


def containers(account: Account, credential: Any = None) -> Any:
    """Return a client of AKS."""
    return account.client(ContainerServiceClient, credential)


def assign(account: Account, role: str, principal: str, scope: str) -> None:
    """Let somebody have a built-in role, with effect at once."""
    client = account.client(AuthorizationManagementClient)
    role_id = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    properties = {"roleDefinitionId": role_id, "principalId": principal, "principalType": "ServicePrincipal"}
    client.role_assignments.create(scope, str(uuid4()), {"properties": properties})
    account.azure.cloud.access.settle_now()


def make_identity(account: Account, name: str) -> Any:
    """Return a user-assigned identity."""
    client = account.client(ManagedServiceIdentityClient)
    return client.user_assigned_identities.create_or_update("byoc", name, {"location": REGION})


def make_network(account: Account) -> None:
    """Make a network with a subnet for nodes behind a NAT gateway, and one for the API server."""
    network = account.network()
    address = {"location": REGION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    network.public_ip_addresses.begin_create_or_update("byoc", "nat", address, polling=False)
    pass_time(account, 60)
    addresses = {"publicIpAddresses": [{"id": f"{NETWORKS}/publicIPAddresses/nat"}]}
    gateway = {"location": REGION, "sku": {"name": "Standard"}, "properties": addresses}
    network.nat_gateways.begin_create_or_update("byoc", "nat", gateway, polling=False)
    delegation = {"name": "aks", "properties": {"serviceName": "Microsoft.ContainerService/managedClusters"}}
    subnets = [
        {
            "name": "nodes",
            "properties": {"addressPrefix": "10.0.0.0/20", "natGateway": {"id": f"{NETWORKS}/natGateways/nat"}},
        },
        {"name": "api", "properties": {"addressPrefix": "10.0.16.0/28", "delegations": [delegation]}},
    ]
    properties = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": subnets}
    network.virtual_networks.begin_create_or_update(
        "byoc", "byoc", {"location": REGION, "properties": properties}, polling=False
    )
    pass_time(account, 60)


def make_surroundings(account: Account) -> None:
    """Make network, identities and roles of a cluster."""
    make_network(account)
    cluster, nodes = make_identity(account, "cluster"), make_identity(account, "nodes")
    pass_time(account, 60)
    assign(account, NETWORK_CONTRIBUTOR, cluster.principal_id, f"{NETWORKS}/virtualNetworks/byoc")
    assign(account, IDENTITY_OPERATOR, cluster.principal_id, nodes.id)


def make_key(account: Account, *users: str) -> str:
    """Return the URL, without a version, of a key in a vault of its own; users are object ids that wrap with it."""
    vaults = account.client(KeyVaultManagementClient)
    properties = {
        "tenantId": account.tenant,
        "sku": {"family": "A", "name": "standard"},
        "enablePurgeProtection": True,
    }
    document = {"location": REGION, "properties": properties}
    vaults.vaults.begin_create_or_update("byoc", KEY_VAULT, document, polling=False)
    pass_time(account, 60)
    key = vaults.keys.create_if_not_exist("byoc", KEY_VAULT, "disks", {"properties": {"kty": "RSA"}})
    for user in users:
        assign(account, KEY_USER, user, key.id)
    return str(key.key_uri)


def make_encryption_set(account: Account) -> str:
    """Return the id of a disk encryption set that the cluster's identity may read."""
    url = make_key(account)
    key = account.client(KeyVaultManagementClient).keys.get("byoc", KEY_VAULT, "disks")
    sets = account.client(ComputeManagementClient).disk_encryption_sets
    active = {"activeKey": {"keyUrl": key.key_uri_with_version}}
    document = {"location": REGION, "identity": {"type": "SystemAssigned"}, "properties": active}
    sets.begin_create_or_update("byoc", "disks", document, polling=False)
    pass_time(account, 60)
    made = sets.get("byoc", "disks")
    assign(account, KEY_ENCRYPTION_USER, made.identity.principal_id, key.id)
    identity = account.client(ManagedServiceIdentityClient).user_assigned_identities.get("byoc", "cluster")
    assign(account, READER, identity.principal_id, made.id)
    assert key.key_uri == url
    return str(made.id)


def pool(**options: Any) -> dict[str, Any]:
    """Return the properties of a node pool of one small machine in each zone."""
    return {
        "count": 3,
        "vmSize": "Standard_D2s_v5",
        "osDiskSizeGB": 64,
        "mode": "User",
        "availabilityZones": ["1", "2", "3"],
        "vnetSubnetID": NODES,
        **options,
    }


def wanted(**options: Any) -> dict[str, Any]:
    """Return a cluster as the product asks for it, with some of its properties changed."""
    properties: dict[str, Any] = {
        "dnsPrefix": "byoc-1",
        "kubernetesVersion": "1.34",
        "nodeResourceGroup": NODE_GROUP,
        "agentPoolProfiles": [{"name": "system", **pool(mode="System")}],
        "networkProfile": {
            "networkPlugin": "azure",
            "networkPluginMode": "overlay",
            "networkDataplane": "cilium",
            "networkPolicy": "cilium",
            "podCidr": "10.240.0.0/14",
            "serviceCidr": "172.16.0.0/16",
            "dnsServiceIP": "172.16.0.10",
            "outboundType": "userAssignedNATGateway",
            "loadBalancerSku": "standard",
        },
        "apiServerAccessProfile": {
            "authorizedIPRanges": ["198.51.100.7/32"],
            "enableVnetIntegration": True,
            "subnetId": API_SERVER,
        },
        "aadProfile": {"managed": True, "enableAzureRBAC": True},
        "disableLocalAccounts": True,
        "identityProfile": {"kubeletidentity": {"resourceId": f"{IDENTITIES}/nodes"}},
        "oidcIssuerProfile": {"enabled": True},
        "securityProfile": {"workloadIdentity": {"enabled": True}},
        "addonProfiles": {"azureKeyvaultSecretsProvider": {"enabled": True}},
        "ingressProfile": {
            "gatewayAPI": {"installation": "Standard"},
            "webAppRouting": {
                "enabled": True,
                "gatewayAPIImplementations": {"appRoutingIstio": {"mode": "Enabled"}},
            },
        },
        "autoUpgradeProfile": {"upgradeChannel": "none", "nodeOSUpgradeChannel": "None"},
    }
    return {
        "location": REGION,
        "tags": {"byoc": "managed"},
        "sku": {"name": "Base", "tier": "Standard"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {f"{IDENTITIES}/cluster": {}}},
        "properties": properties | options,
    }


def make_cluster(account: Account, **options: Any) -> Cluster:
    """Make a cluster with everything around it; return it as the Kubernetes simulator knows it."""
    make_surroundings(account)
    put(account, wanted(**options))
    pass_time(account, 600)
    (cluster,) = account.azure.kubernetes.clusters()
    return cluster


def put(account: Account, document: dict[str, Any]) -> Any:
    """Begin to make or change the cluster."""
    return containers(account).managed_clusters.begin_create_or_update("byoc", NAME, document, polling=False).result()


def put_pool(account: Account, name: str, properties: dict[str, Any]) -> Any:
    """Begin to make or change a node pool."""
    pools = containers(account).agent_pools
    return pools.begin_create_or_update("byoc", NAME, name, {"properties": properties}, polling=False).result()


def get(account: Account) -> Any:
    """Return the cluster as AKS describes it."""
    return containers(account).managed_clusters.get("byoc", NAME)


def pass_time(account: Account, seconds: float) -> None:
    """Let simulated time pass, and what is due happen with the next call."""
    account.azure.cloud.clock.advance(seconds)
    account.resources().resource_groups.check_existence("byoc")


def kinds_of(account: Account) -> dict[str, int]:
    """Return how many of each type the subscription holds."""
    counts: dict[str, int] = {}
    for entry in account.azure.inventory(SUBSCRIPTION):
        counts[entry.type] = counts.get(entry.type, 0) + 1
    return counts


def kube_client(account: Account, token: str) -> kubernetes_client.ApiClient:
    """Return a client of the cluster, of what AKS says about it and a token."""
    credentials = containers(account).managed_clusters.list_cluster_user_credentials("byoc", NAME)
    (only,) = json.loads(bytes(credentials.kubeconfigs[0].value))["clusters"]
    configuration = kubernetes_client.Configuration()
    configuration.host = only["cluster"]["server"]
    configuration.ca_cert_data = base64.b64decode(only["cluster"]["certificate-authority-data"]).decode()
    configuration.api_key = {"authorization": f"Bearer {token}"}
    return kubernetes_client.ApiClient(configuration)
