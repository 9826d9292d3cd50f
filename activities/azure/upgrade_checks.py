"""What stands in the way of an upgrade, as far as Azure knows: each finding with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

from azure.keyvault.certificates import CertificateClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.network import NetworkManagementClient
from cryptography import x509
from temporalio import activity

from activities.azure.aks import CLUSTER, Document, find_cluster
from activities.azure.certificate import NAME, RENEW_BEFORE
from activities.azure.errors import failures_named
from activities.azure.existing import if_exists
from activities.azure.groups import group_name
from activities.azure.offers import offers_of
from activities.azure.part import AzurePart
from activities.azure.quotas import CORES
from activities.azure.subnets import SUBNET, range_of, read_subnet
from activities.azure.system_pool import READ_SIZES
from activities.azure.vault import VAULT, certificates_vault, vault_url
from activities.azure.versions import is_half_upgraded, minor_name, minor_of, version_of
from activities.failures import refused
from activities.needs import needs
from activities.upgrade_contracts import UpgradeCheckRequest, UpgradeContract
from domain.clouds import Purpose
from domain.deployment import Site
from domain.failure import FailureClass
from domain.naming import base_name
from domain.upgrade import Check

_KEPT_BY_AZURE = 5
"""Addresses of a subnet that nobody can have: its first four and its last one."""
_MOST_BEHIND = 2
"""How many minor versions nodes may be behind."""


class AzureUpgradeChecks(AzurePart, UpgradeContract):
    """Looks, and changes nothing."""

    @activity.defn(no_thread_cancel_exception=True)
    @needs(
        f"{CLUSTER}/read", f"{CLUSTER}/upgradeProfiles/read", READ_SIZES, f"{SUBNET}/read",
        "Microsoft.Compute/locations/usages/read", f"{VAULT}/read", f"{VAULT}/certificates/read",
        purpose=Purpose.OBSERVE, why="Look whether anything stands in the way of an upgrade",
    )  # fmt: skip
    def check_upgrade(self, request: UpgradeCheckRequest) -> tuple[Check, ...]:
        """Return what AKS's upgrade profile, the quotas of cores, the subnet, the vault and AKS's states say.

        AKS blocks an upgrade after the use of an interface that the version lacks, and tells it to nobody before: what
        can be looked at is that this is not overridden.
        """
        site, name = request.site, base_name(request.site)
        with failures_named(resource=name):
            aks = self._connections.client(ContainerServiceClient, site, Purpose.OBSERVE)
            cluster = find_cluster(aks, site)
            if cluster is None:
                raise refused(FailureClass.CONFIG, f"There is no AKS cluster {name} to upgrade", resource=name)
            return (
                _insights(aks, site, cluster, request.kubernetes),
                self._surge_quota(request, cluster),
                self._free_addresses(request, cluster),
                self._certificate(site),
                _settled(cluster),
            )

    def _surge_quota(self, request: UpgradeCheckRequest, cluster: Document) -> Check:
        """Judge whether each node pool may have one machine more; they are replaced one pool after the other."""
        if not request.replaces_nodes:
            return Check(name="surge-quota", passed=True, evidence="no machine is replaced")
        site = request.site
        compute = self._connections.client(ComputeManagementClient, site, Purpose.OBSERVE)
        offers = offers_of(compute, site.region)
        needed: dict[str, int] = {}
        for pool in _pools(cluster):
            offer = offers.get(str(pool.get("vmSize")))
            if offer is None:
                evidence = f"{site.region} offers no machines {pool.get('vmSize')}, of which the pool {pool['name']} is"
                return Check(name="surge-quota", passed=False, evidence=evidence)
            for quota in (offer.family, CORES):
                needed[quota] = max(needed.get(quota, 0), offer.cores)
        usages = {usage.name.value: usage for usage in compute.usage.list(site.region)}
        limited = {quota: usages[quota] for quota in sorted(needed) if quota in usages}
        used = {quota: (int(usage.current_value), int(usage.limit)) for quota, usage in limited.items()}
        told = [
            f"{quota}: {used[quota][0]} of {used[quota][1]} in use, {needed[quota]} more for a moment" for quota in used
        ]
        return Check(
            name="surge-quota",
            passed=all(present + needed[quota] <= limit for quota, (present, limit) in used.items()),
            evidence="; ".join(told) or f"{site.region} lists no limit",
        )

    def _free_addresses(self, request: UpgradeCheckRequest, cluster: Document) -> Check:
        """Judge whether the nodes' subnet has an address for one machine more; pods take none of it."""
        if not request.replaces_nodes:
            return Check(name="free-addresses", passed=True, evidence="no machine is replaced")
        network = self._connections.client(NetworkManagementClient, request.site, Purpose.OBSERVE)
        subnet = read_subnet(network, request.network.private_subnet_ids[0])
        there = ip_network(range_of(subnet)).num_addresses - _KEPT_BY_AZURE
        machines = sum(int(pool.get("count") or 0) for pool in _pools(cluster))
        free = there - max(machines, len(subnet.ip_configurations or ()))
        evidence = f"the subnet {subnet.name} ({range_of(subnet)}) has {free} free addresses; a new machine needs one"
        return Check(name="free-addresses", passed=free >= 1, evidence=evidence)

    def _certificate(self, site: Site) -> Check:
        """Judge the certificate of the endpoint; converging renews one that ends within thirty days."""
        vault, found = certificates_vault(site), None
        vaults = self._connections.client(KeyVaultManagementClient, site, Purpose.OBSERVE)
        # The name of a vault that does not exist does not resolve.
        if if_exists(lambda: vaults.vaults.get(group_name(site), vault)) is not None:
            credential = self._connections.credential(site, Purpose.OBSERVE)
            with CertificateClient(vault_url(vault), credential, **self._connections.options()) as certificates:
                found = if_exists(lambda: certificates.get_certificate(NAME))
        if found is None or not found.cer:
            evidence = f"the key vault {vault} holds no certificate {NAME}"
            return Check(name="certificate", passed=False, evidence=evidence)
        ends = x509.load_der_x509_certificate(bytes(found.cer)).not_valid_after_utc
        left = ends - datetime.now(UTC)
        cure = "" if left > RENEW_BEFORE else "; converging the deployment renews it"
        evidence = f"{NAME} in {vault} is valid until {ends:%Y-%m-%d}, for {max(left, timedelta(0)).days} days{cure}"
        return Check(name="certificate", passed=left > RENEW_BEFORE, evidence=evidence)


def _insights(aks: ContainerServiceClient, site: Site, cluster: Document, kubernetes: str) -> Check:
    """Judge whether AKS offers the version to the cluster and its pools, and would block what has to be blocked."""
    properties = cluster["properties"]
    present = version_of(properties)
    problems = list(_overridden(properties))
    if not kubernetes or minor_of(kubernetes) <= minor_of(present):
        words = f"the control plane stays at Kubernetes {present}"
        return Check(name="provider-insights", passed=not problems, evidence="; ".join([words, *problems]))
    profile = aks.managed_clusters.get_upgrade_profile(group_name(site), base_name(site))
    offered = {
        str(each.kubernetes_version): bool(each.is_preview) for each in profile.control_plane_profile.upgrades or ()
    }
    suitable = [version for version in offered if minor_name(version) == kubernetes]
    if not suitable:
        problems.append(f"AKS does not offer Kubernetes {kubernetes} to this cluster")
    elif all(offered[version] for version in suitable):
        problems.append(f"Kubernetes {kubernetes} is a preview")
    for pool in _pools(cluster):
        behind = minor_of(kubernetes)[1] - minor_of(version_of(pool))[1]
        if behind > _MOST_BEHIND:
            problems.append(f"the nodes of {pool['name']} ({version_of(pool)}) would be {behind} minor versions behind")
    words = f"AKS offers {', '.join(sorted(offered)) or 'nothing'} to a control plane at {present}"
    return Check(name="provider-insights", passed=not problems, evidence="; ".join([words, *problems]))


def _overridden(properties: Mapping[str, Any]) -> Iterator[str]:
    """Yield that AKS was told to upgrade in spite of interfaces in use that the new version lacks."""
    settings = (properties.get("upgradeSettings") or {}).get("overrideSettings") or {}
    if settings.get("forceUpgrade"):
        yield f"upgradeSettings.overrideSettings.forceUpgrade is on (until {settings.get('until') or 'switched off'})"


def _settled(cluster: Document) -> Check:
    """Judge whether nothing is under way or ill, a failed upgrade apart, which the next one goes on with."""
    properties = cluster["properties"]
    parts = {f"cluster {cluster['name']}": properties}
    parts |= {f"node pool {pool['name']}": pool for pool in _pools(cluster)}
    going_on = [what for what, part in parts.items() if is_half_upgraded(part)]
    problems = []
    for what, part in parts.items():
        state, power = part.get("provisioningState"), (part.get("powerState") or {}).get("code") or "Running"
        # The cluster fails with the upgrade of a pool.
        explained = what in going_on or (part is properties and going_on)
        if state != "Succeeded" and not (explained and state in ("Failed", "Canceled")):
            problems.append(f"{what} is {state}")
        if power != "Running":
            problems.append(f"{what} is {power}")
    left = [f"an upgrade of {what} has failed and can be gone on with" for what in going_on]
    told = [*problems, *left] or [f"{len(parts)} parts have succeeded and run: {', '.join(parts)}"]
    return Check(name="cluster-settled", passed=not problems, evidence="; ".join(told))


def _pools(cluster: Document) -> list[Document]:
    """Return all node pools of a cluster, that of AKS's own pods among them."""
    return list(cluster["properties"].get("agentPoolProfiles") or ())
