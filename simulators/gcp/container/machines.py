"""The machines of node pools: instances with boot disks in Compute Engine, nodes in the Kubernetes simulator."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from simulators.gcp.api import region_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.creation import Keys
from simulators.gcp.compute.offerings import MachineType, machine_type
from simulators.gcp.compute.records import ROOT
from simulators.gcp.compute.service import ComputeService
from simulators.gcp.container.operations import Problem, quota_exceeded
from simulators.gcp.container.records import ClusterRecord, PoolRecord
from simulators.gcp.refusals import Json, Refusal
from simulators.kubernetes.simulator import KubernetesSimulator, NodeShape

POOL_LABEL = "cloud.google.com/gke-nodepool"
_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}


class Machines:
    """Starts and ends machines."""

    def __init__(self, cloud: Cloud, compute: ComputeService, keys: Keys, kubernetes: KubernetesSimulator) -> None:
        self._cloud = cloud
        self._compute = compute
        self._keys = keys
        self._kubernetes = kubernetes

    def wanted(self, cluster: ClusterRecord, pool: PoolRecord) -> int:
        """Return how many nodes a pool is to have: its size, within what the autoscaler may do."""
        zones = len(_zones(cluster, pool))
        count = int(pool.document.get("initialNodeCount", 0)) * zones
        scaling = pool.document.get("autoscaling") or {}
        if not scaling.get("enabled"):
            return count
        least = int(scaling.get("totalMinNodeCount") or int(scaling.get("minNodeCount") or 0) * zones)
        most = int(scaling.get("totalMaxNodeCount") or int(scaling.get("maxNodeCount") or 0) * zones) or count
        return min(max(count, least), most)

    def problem(self, cluster: ClusterRecord, pools: Iterable[PoolRecord], *, beyond: int = 0) -> Problem | None:
        """Return why the missing machines of these pools, and some `beyond` them, cannot come up, if they cannot."""
        region = region_of(cluster.location)
        needed: dict[str, float] = {}
        for pool in pools:
            if (problem := self._problem_of_identity(cluster, pool)) is not None:
                return problem
            shape = self.shape(pool)
            more = max(0, self.wanted(cluster, pool) - len(pool.instances)) + beyond
            for metric in {"CPUS", shape.quota}:
                counted = metric == shape.quota or shape.quota in ("CPUS", "N2_CPUS", "N2D_CPUS")
                needed[metric] = needed.get(metric, 0) + (more * shape.cpu if counted else 0)
        for metric, amount in needed.items():
            if amount > self._compute.quotas.left(cluster.project, region, metric):
                return quota_exceeded(metric, self._compute.quotas.limit(cluster.project, region, metric), region)
        return None

    def _problem_of_identity(self, cluster: ClusterRecord, pool: PoolRecord) -> Problem | None:
        """Return what is the matter with the service account or the disk key of a pool's machines."""
        config = pool.document["config"]
        account = config["serviceAccount"]
        if account != "default" and self._cloud.identities.find(account) is None:
            return Problem("GKE_SERVICE_ACCOUNT_DELETED", f"Service account {account} does not exist.", "NOT_FOUND")
        if key := config.get("bootDiskKmsKey"):
            try:
                self._keys.require_usable(key, "compute", cluster.project)
            except Refusal as refusal:
                return Problem("CLOUD_KMS_KEY_ERROR", refusal.message, "FAILED_PRECONDITION")
        return None

    @staticmethod
    def shape(pool: PoolRecord) -> MachineType:
        """Return the pool's machine type, which was checked when the pool was made."""
        found = machine_type(pool.document["config"]["machineType"])
        if found is None:
            raise ValueError(f"unknown machine type {pool.document['config']['machineType']}")
        return found

    def scale(self, cluster: ClusterRecord, pool: PoolRecord) -> None:
        """Start or end machines until as many run as the pool is to have, spread over its zones."""
        wanted = self.wanted(cluster, pool)
        while len(pool.instances) > wanted:
            self.end(cluster, pool, next(reversed(pool.instances)))
        while len(pool.instances) < wanted:
            self.launch(cluster, pool)

    def replace(self, cluster: ClusterRecord, pool: PoolRecord) -> None:
        """Start a new machine for each that runs, and end the old one."""
        for instance in list(pool.instances):
            self.launch(cluster, pool, zone=instance.split("/")[3])
            self.end(cluster, pool, instance)

    def launch(self, cluster: ClusterRecord, pool: PoolRecord, zone: str = "", version: str = "") -> None:
        """Start one machine, in the zone that has fewest and of the pool's version unless told otherwise."""
        version = version or pool.document["version"]
        zones = _zones(cluster, pool)
        counts = {entry: sum(f"/{entry}/" in name for name in pool.instances) for entry in zones}
        zone = zone or min(zones, key=lambda entry: counts[entry])
        node = _new_name(cluster, pool)
        home = f"projects/{cluster.project}/zones/{zone}"
        config, labels = pool.document["config"], cluster.document.get("resourceLabels") or {}
        labels = {**labels, **(config.get("resourceLabels") or {}), **_marks(cluster, pool)}
        disk: Json = {
            "sizeGb": str(config["diskSizeGb"]),
            "type": config["diskType"],
            "labels": labels,
            **({"diskEncryptionKey": {"kmsKeyName": config["bootDiskKmsKey"]}} if config.get("bootDiskKmsKey") else {}),
        }
        self._compute.put(f"{home}/disks/{node}", disk)
        shape = self.shape(pool)
        instance = f"{home}/instances/{node}"
        accounts = [{"email": config["serviceAccount"], "scopes": config.get("oauthScopes", [])}]
        self._compute.put(
            instance,
            {
                "machineType": f"{ROOT}{home}/machineTypes/{shape.name}",
                "status": "RUNNING",
                "labels": labels,
                "tags": {"items": [f"gke-{cluster.short_name}-{cluster.hash}-node", *config.get("tags", [])]},
                "serviceAccounts": accounts,
                "disks": [{"boot": True, "autoDelete": True, "source": f"{home}/disks/{node}"}],
                "networkInterfaces": [
                    {key: cluster.document["networkConfig"][key] for key in ("network", "subnetwork")}
                ],
                "shieldedInstanceConfig": config.get("shieldedInstanceConfig") or {},
            },
        )
        pool.instances[instance] = node
        pool.versions[instance] = version
        running = self._kubernetes.cluster(cluster.id)
        if running is not None:
            running.add_node(self._node(cluster, pool, node, zone, version))

    def _node(self, cluster: ClusterRecord, pool: PoolRecord, node: str, zone: str, version: str) -> NodeShape:
        shape, config = self.shape(pool), pool.document["config"]
        return NodeShape(
            name=node,
            zone=zone,
            region=region_of(zone),
            instance_type=shape.name,
            pool=pool.name,
            cpu=shape.cpu,
            memory_bytes=shape.memory_mib * 2**20,
            version=f"v{version}",
            provider_id=f"gce://{cluster.project}/{zone}/{node}",
            labels={"cloud.google.com/gke-boot-disk": config["diskType"], **(config.get("labels") or {})},
            taints=tuple(_taint(taint) for taint in config.get("taints") or ()),
            pool_label=POOL_LABEL,
            os_image="Container-Optimized OS from Google",
        )

    def end(self, cluster: ClusterRecord, pool: PoolRecord, instance: str) -> None:
        """End a machine; its boot disk goes with it."""
        node = pool.instances.pop(instance)
        pool.versions.pop(instance, None)
        running = self._kubernetes.cluster(cluster.id)
        if running is not None:
            running.remove_node(node)
        self._compute.records.remove(instance)
        self._compute.records.remove(instance.replace("/instances/", "/disks/"))

    def end_all(self, cluster: ClusterRecord, pool: PoolRecord) -> None:
        """End every machine of a pool."""
        for instance in list(pool.instances):
            self.end(cluster, pool, instance)

    def relabel(self, cluster: ClusterRecord) -> None:
        """Give the machines and their boot disks the cluster's labels of now."""
        for pool in cluster.pools.values():
            labels = {**(cluster.document.get("resourceLabels") or {}), **_marks(cluster, pool)}
            for instance in pool.instances:
                for name in (instance, instance.replace("/instances/", "/disks/")):
                    record = self._compute.records.find(name)
                    if record is not None:
                        record.document["labels"] = dict(labels)


def _zones(cluster: ClusterRecord, pool: PoolRecord) -> list[str]:
    return list(pool.document.get("locations") or cluster.zones)


def _new_name(cluster: ClusterRecord, pool: PoolRecord) -> str:
    """Return a name that no machine of the cluster has: its end is random, and short."""
    taken = {node for other in cluster.pools.values() for node in other.instances.values()}
    prefix = f"gke-{cluster.short_name}-{pool.name}"[:40].rstrip("-")
    while True:
        name = f"{prefix}-{cluster.hash}-{secrets.token_hex(2)}"
        if name not in taken:
            return name


def _marks(cluster: ClusterRecord, pool: PoolRecord) -> dict[str, str]:
    """Return the labels that GKE itself gives to machines."""
    return {
        "goog-gke-node": "",
        "goog-k8s-cluster-name": cluster.short_name,
        "goog-k8s-cluster-location": cluster.location,
        "goog-k8s-node-pool-name": pool.name,
    }


def _taint(taint: dict[str, Any]) -> dict[str, Any]:
    value = {"value": taint["value"]} if taint.get("value") else {}
    return {"key": taint["key"], **value, "effect": _EFFECTS[taint["effect"]]}
