"""Clusters of AKS as resources: `managedClusters`."""

from __future__ import annotations

import copy
import secrets
from dataclasses import dataclass
from uuid import uuid4

from simulators.azure.api import Request
from simulators.azure.cloud import Cloud
from simulators.azure.container import control_plane, versions
from simulators.azure.container.fleet import CLUSTER, Fleet
from simulators.azure.container.machines import Machines
from simulators.azure.container.pool_validation import completed as completed_pool
from simulators.azure.container.pool_validation import require_system_pool
from simulators.azure.container.pools import UPGRADING, AgentPool, provisioning_error, require_idle
from simulators.azure.container.validation import at, completed
from simulators.azure.kinds import Kind
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, invalid
from simulators.azure.vaults import Vaults

_MOST_POOLS = 100


@dataclass(frozen=True, kw_only=True)
class ManagedCluster(Kind):
    """A cluster, which comes with its first node pools."""

    fleet: Fleet
    machines: Machines
    pools: AgentPool
    vaults: Vaults
    type: str = CLUSTER
    seconds: str = "cluster"
    tag: str = "eTag"
    busy: str = "OperationNotAllowed"
    binds: bool = False

    def takes(self, change: str) -> str:
        """Name the duration of a deletion; `lasts` has the others."""
        return "cluster_deletion" if change == "delete" else self.seconds

    def prepare(self, cloud: Cloud, request: Request, record: Record, before: Json | None) -> None:
        """Complete or refuse what is wanted; let the pools be that come with it."""
        document = record.document
        profiles = document["properties"].pop("agentPoolProfiles", None)
        given = _by_name(profiles or [])
        present = {pool.id.name: pool for pool in self.machines.pools_of(record)}
        if before is None and not given:
            raise invalid("InvalidParameter", "A cluster needs an agent pool.", "agentPoolProfiles")
        if before is not None and profiles is not None and set(given) != set(present):
            message = "Agent pools come and go by the API of agent pools, not by an update of their cluster."
            raise invalid("InvalidParameter", message, "agentPoolProfiles")
        pools = {name: pool.properties for name, pool in present.items()} | given
        subnets = [pool["vnetSubnetID"] for pool in pools.values() if pool.get("vnetSubnetID")]
        document["properties"] = completed(cloud, document, before, subnets)
        self._identities(cloud, request, document, before)
        control_plane.require_kubelet(cloud, document)
        control_plane.require_key(cloud, self.vaults, document)
        document["properties"].setdefault("resourceUID", secrets.token_hex(12))
        whole = {
            name: completed_pool(cloud, document, name, pool, present[name].properties if name in present else None)
            for name, pool in given.items()
        }
        merged = {name: pool.properties for name, pool in present.items()} | whole
        require_system_pool(record, merged)
        self.machines.require_quota(record, [{"name": name, "properties": pool} for name, pool in whole.items()])
        for name, properties in whole.items():
            if name in present:
                present[name].document["properties"] = properties
            else:
                self.pools.add(cloud, record.id, {"name": name, "properties": properties})
        if before is None:
            self._name(document)

    @staticmethod
    def _name(document: Json) -> None:
        properties, region = document["properties"], document["location"]
        prefix = f"{properties['dnsPrefix']}-{secrets.token_hex(4)}"
        properties |= {
            "fqdn": f"{prefix}.hcp.{region}.azmk8s.io",
            "azurePortalFQDN": f"{prefix}.portal.hcp.{region}.azmk8s.io",
            "maxAgentPools": _MOST_POOLS,
            "powerState": {"code": "Running"},
        }

    @staticmethod
    def _identities(cloud: Cloud, request: Request, document: Json, before: Json | None) -> None:
        """Say of each identity who it is; make the principal of one that is the system's."""
        identity = document["identity"]
        for chosen in identity.get("userAssignedIdentities") or {}:
            identity["userAssignedIdentities"][chosen] = _who(cloud, chosen)
        if identity["type"] == "SystemAssigned" and "principalId" not in identity:
            kept = (before or {}).get("identity") or {}
            if "principalId" not in kept:
                tenant = cloud.identities.subscriptions[request.subscription].tenant
                principal = cloud.identities.add_identity(tenant, document["name"])
                kept = {"principalId": principal.object_id, "tenantId": tenant}
            identity |= {key: kept[key] for key in ("principalId", "tenantId")}
        kubelet = (document["properties"].get("identityProfile") or {}).get("kubeletidentity") or {}
        if kubelet.get("resourceId"):
            found = _who(cloud, kubelet["resourceId"])
            kubelet |= {"clientId": found.get("clientId"), "objectId": found.get("principalId")}

    def passing(self, record: Record, before: Json | None) -> str:
        """Return `Upgrading` where the version of the control plane or of a pool changes."""
        if before is None:
            return self.creating
        return UPGRADING if self._upgrades(record) else self.updating

    def _upgrades(self, record: Record) -> bool:
        current: str = record.properties["currentKubernetesVersion"]
        return _target(record) != current

    def lasts(self, cloud: Cloud, record: Record, before: Json | None) -> float:
        """Return the time of a creation, an upgrade, a change of tags, or another change."""
        if before is None:
            return cloud.durations.cluster
        if self._upgrades(record):
            return cloud.durations.cluster_upgrade
        same = _without_tags(before) == _without_tags(record.document)
        pools = sum(
            self.pools.lasts(cloud, pool, pool.document)
            for pool in self.machines.pools_of(record)
            if self.pools.passing(pool, pool.document) == UPGRADING
        )
        return pools + (cloud.durations.cluster_tags if same else cloud.durations.cluster_update)

    def finish(self, cloud: Cloud, record: Record) -> None:
        """Let the control plane and the machines be as the cluster says."""
        pools = self.machines.pools_of(record)
        subnets = [pool.properties["vnetSubnetID"] for pool in pools if pool.properties.get("vnetSubnetID")]
        control_plane.require_places(cloud, record.document, subnets)
        record.properties["currentKubernetesVersion"] = _target(record)
        record.properties.pop("status", None)
        if at(record.properties, "oidcIssuerProfile.enabled"):
            tenant = cloud.identities.subscriptions[record.id.scope.split("/")[2]].tenant
            profile = record.properties["oidcIssuerProfile"]
            profile.setdefault("issuerURL", f"https://{record.location}.oic.prod-aks.azure.com/{tenant}/{uuid4()}/")
        self.fleet.serve(record)
        for pool in pools:
            self.pools.finish(cloud, pool)
            pool.settle()

    def failed(self, cloud: Cloud, record: Record, error: Refusal) -> None:
        """Let the cluster be `Failed` and say why, and with it the pools that came with it."""
        record.settle("Failed")
        record.properties["status"] = provisioning_error(error)
        for pool in self.machines.pools_of(record):
            if pool.busy:
                self.pools.failed(cloud, pool, error)

    def may_delete(self, cloud: Cloud, record: Record) -> None:
        """Let every idle cluster be deleted, whatever runs in it."""

    def removed(self, cloud: Cloud, record: Record) -> None:
        """Let the control plane be gone, and the group of the nodes with everything in it."""
        if principal := (record.document.get("identity") or {}).get("principalId"):
            cloud.identities.remove(principal)
        self.fleet.end(record)

    def require_idle(self, _cloud: Cloud, record: Record) -> None:
        """Refuse a change while the cluster or any of its pools changes."""
        require_idle(self.machines, record)

    def shown(self, _cloud: Cloud, record: Record) -> Json:
        """Return the cluster with its pools."""
        document = copy.deepcopy(record.document)
        document["properties"]["agentPoolProfiles"] = [
            {"name": pool.id.name, **copy.deepcopy(pool.properties), "eTag": pool.etag}
            for pool in self.machines.pools_of(record)
        ]
        return document


def _target(record: Record) -> str:
    """Return the whole version that the control plane is to have."""
    asked, current = record.properties["kubernetesVersion"], record.properties["currentKubernetesVersion"]
    return str(current) if asked == versions.minor_of(current) else versions.resolved(asked, record.id.name)


def _by_name(profiles: list[Json]) -> dict[str, Json]:
    return {
        str(profile.get("name", "")): {key: value for key, value in profile.items() if key not in ("name", "eTag")}
        for profile in profiles
    }


def _who(cloud: Cloud, identity: str) -> Json:
    record = cloud.records.get(identity)
    return {key: record.properties[key] for key in ("clientId", "principalId")} if record is not None else {}


def _without_tags(document: Json) -> Json:
    shown = {key: value for key, value in document.items() if key not in ("tags", "eTag")}
    properties = {key: value for key, value in document["properties"].items() if key != "provisioningState"}
    return {**shown, "properties": properties}
