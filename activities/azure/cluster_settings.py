"""How a control plane has to be set up, and what of one that exists is otherwise.

Each setting is known by its place in a cluster, as Azure's API names it. AKS takes the whole cluster with every change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from activities.azure.aks import SYSTEM_POOL, Document
from activities.azure.groups import node_group_name
from activities.contracts import ClusterRequest
from activities.kubernetes.manifests.azure import disk_encryption_set
from domain.facts import Key, Network
from domain.naming import base_name, owner_tags


@dataclass(frozen=True)
class Setting:
    """One thing that can be changed of a cluster."""

    place: str
    """Where a cluster has it: names of fields, with dots between them."""
    value: Any
    """As it has to be. What it does not mention may be anything; an empty list stands for nothing as well."""

    def holds(self, cluster: Mapping[str, Any]) -> bool:
        """Return whether a cluster is set up so."""
        present: Any = cluster
        for field in self.place.split("."):
            present = (present or {}).get(field)
        return agrees(present, self.value)

    def put(self, cluster: Document) -> None:
        """Set a cluster up so, beside what is there already."""
        *parents, last = self.place.split(".")
        document = cluster
        for field in parents:
            document[field] = document.get(field) or {}
            document = document[field]
        document[last] = _merged(document.get(last), self.value)


NO_AUTOMATIC_UPGRADES = Setting(
    "properties.autoUpgradeProfile", {"upgradeChannel": "none", "nodeOSUpgradeChannel": "None"}
)
"""In a channel AKS upgrades the cluster or its nodes by itself."""

STORAGE = Setting("properties.storageProfile.diskCSIDriver", {"enabled": True})
CERTIFICATES = Setting(
    "properties.addonProfiles.azureKeyvaultSecretsProvider",
    {"enabled": True, "config": {"enableSecretRotation": "true"}},
)
"""Brings a renewed certificate into the cluster by itself."""
GATEWAY_API = Setting("properties.ingressProfile.gatewayAPI", {"installation": "Standard"})
GATEWAYS = Setting(
    "properties.ingressProfile.webAppRouting",
    {
        "enabled": True,
        # The controller for Ingresses is of no use here, and would have a load balancer of its own.
        "nginx": {"defaultIngressControllerType": "None"},
        "gatewayAPIImplementations": {"appRoutingIstio": {"mode": "Enabled"}},
    },
)
ISSUER = Setting("properties.oidcIssuerProfile", {"enabled": True})
WORKLOAD_IDENTITY = Setting("properties.securityProfile.workloadIdentity", {"enabled": True})

ACCESS = (
    Setting("properties.disableLocalAccounts", True),
    Setting("properties.aadProfile", {"managed": True, "enableAzureRBAC": True, "adminGroupObjectIDs": []}),
    Setting("properties.apiServerAccessProfile.disableRunCommand", True),
)
"""Azure's roles alone decide who may do what in the cluster: no certificates of its own, no groups of administrators,
no commands that AKS would run there as an administrator."""


def changeable(request: ClusterRequest, egress_cidrs: Sequence[str]) -> tuple[Setting, ...]:
    """Return every setting that `create_cluster` keeps as it has to be."""
    return (
        Setting("sku", {"name": "Base", "tier": "Standard"}),
        Setting("tags", owner_tags(request.site, "cluster")),
        *_endpoints(request.network, egress_cidrs),
        *_encryption(request.key),
        *ACCESS,
        NO_AUTOMATIC_UPGRADES,
        ISSUER,
        WORKLOAD_IDENTITY,
        Setting("properties.autoScalerProfile", {"balance-similar-node-groups": "true"}),
    )


def creation(
    request: ClusterRequest,
    egress_cidrs: Sequence[str],
    *,
    system_pool: Document,
    nodes: Mapping[str, str],
    identity: str,
    outbound: str,
) -> Document:
    """Return the cluster to be made: its settings, and what can never be changed.

    AKS finds the newest patch of the ordered minor version.

    Args:
        request: what was ordered.
        egress_cidrs: from where alone the public endpoint of the Kubernetes API is reached.
        system_pool: the pool of AKS's own pods.
        nodes: the identity of the nodes: its `resourceId`, `clientId` and `objectId`.
        identity: the resource id of the cluster's own identity.
        outbound: how the nodes reach out, as AKS calls it.
    """
    site = request.site
    document: Document = {
        "location": site.region,
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
        "properties": {
            "kubernetesVersion": request.kubernetes,
            "dnsPrefix": base_name(site)[:54].rstrip("-"),
            "nodeResourceGroup": node_group_name(site),
            "enableRBAC": True,
            "diskEncryptionSetID": disk_encryption_set(site),
            "identityProfile": {"kubeletidentity": dict(nodes)},
            "networkProfile": _network(request.network, outbound),
            "agentPoolProfiles": [{"name": SYSTEM_POOL, **system_pool}],
        },
    }
    for setting in (*changeable(request, egress_cidrs), STORAGE, CERTIFICATES, GATEWAY_API, GATEWAYS):
        setting.put(document)
    return document


def differing(cluster: Mapping[str, Any], settings: Iterable[Setting]) -> Iterator[Setting]:
    """Yield the settings that a cluster does not have."""
    return (setting for setting in settings if not setting.holds(cluster))


def agrees(present: Any, wanted: Any) -> bool:  # noqa: ANN401 - any part of decoded JSON
    """Return whether `present` has every value of `wanted`; what Azure or others added beside them does not count."""
    if isinstance(wanted, Mapping):
        return all(agrees((present or {}).get(field), value) for field, value in wanted.items())
    if isinstance(wanted, list):
        there = list(present or [])
        if any(isinstance(part, Mapping) for part in wanted):
            return len(there) == len(wanted) and all(map(agrees, there, wanted))
        return bool(sorted(there) == sorted(wanted))
    if isinstance(wanted, bool):
        return bool(present) is wanted
    return bool(present == wanted)


def _merged(present: Any, wanted: Any) -> Any:  # noqa: ANN401 - any part of decoded JSON
    if isinstance(wanted, Mapping):
        kept = dict(present or {})
        return kept | {field: _merged(kept.get(field), value) for field, value in wanted.items()}
    return copy.deepcopy(wanted)


def _endpoints(network: Network, egress_cidrs: Sequence[str]) -> Iterator[Setting]:
    """Yield who reaches the Kubernetes API: the network itself, and from outside the control plane alone.

    Without known egress addresses there is no public endpoint.
    """
    yield Setting("properties.apiServerAccessProfile.enablePrivateCluster", not egress_cidrs)
    yield Setting("properties.apiServerAccessProfile.authorizedIPRanges", list(egress_cidrs))
    if network.public_subnet_ids:
        integrated = {"enableVnetIntegration": True, "subnetId": network.public_subnet_ids[0]}
        for field, value in integrated.items():
            yield Setting(f"properties.apiServerAccessProfile.{field}", value)


def _encryption(key: Key) -> Iterator[Setting]:
    """Yield the encryption of what the cluster keeps about its objects, with whatever version of the key is newest."""
    wanted = {"enabled": True, "keyId": key.key_id, "keyVaultNetworkAccess": "Public"}
    yield Setting("properties.securityProfile.azureKeyVaultKms", wanted)
    both = {"infrastructureEncryption": "Enabled"}
    yield Setting("properties.securityProfile.kubernetesResourceObjectEncryptionProfile", both)


def _network(network: Network, outbound: str) -> Document:
    """Return the overlay: pods have addresses that nobody else knows, and Cilium enforces the network policies."""
    wanted: Document = {
        "networkPlugin": "azure",
        "networkPluginMode": "overlay",
        "networkDataplane": "cilium",
        "networkPolicy": "cilium",
        "loadBalancerSku": "standard",
        "outboundType": outbound,
    }
    if network.pod_range:
        wanted["podCidr"] = network.pod_range
    if network.service_range:
        services = ip_network(network.service_range)
        wanted |= {"serviceCidr": network.service_range, "dnsServiceIP": str(services[10])}
    return wanted


def enforces_policies(cluster: Mapping[str, Any]) -> bool:
    """Return whether network policies are enforced in a cluster: this can only be chosen when it is made."""
    return agrees(cluster["properties"].get("networkProfile"), {"networkDataplane": "cilium"})
