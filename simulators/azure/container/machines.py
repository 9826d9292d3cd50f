"""The machines of node pools: scale sets with disks in the group of the nodes, nodes in the Kubernetes simulator."""

from __future__ import annotations

import math
import secrets
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from simulators.azure.cloud import Cloud
from simulators.azure.compute import SIZES, Quotas, Size
from simulators.azure.container.node_group import NodeGroup
from simulators.azure.container.replacement import Deeds, Replacement
from simulators.azure.ids import subscription_of
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, invalid
from simulators.azure.resources import Resources
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object
from simulators.kubernetes.simulator import KubernetesSimulator, NodeShape

POOL = "Microsoft.ContainerService/managedClusters/agentPools"
SCALE_SET = "Microsoft.Compute/virtualMachineScaleSets"
MACHINE = f"{SCALE_SET}/virtualMachines"
_DISK = "Microsoft.Compute/disks"
POOL_LABEL = "kubernetes.azure.com/agentpool"
_MORE = (
    " If you want to increase the quota, please follow this instruction: https://aka.ms/aks/vcpu-quota. Surge nodes"
    " would also consume vcpu quota."
)
_DRAIN_MINUTES = 30
"""How long one machine may take to be empty, unless a pool says otherwise."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class _Marks(NamedTuple):
    """What a pool gives its nodes."""

    labels: dict[str, str]
    taints: list[Object]


class Machines:
    """Starts and ends machines, and counts their cores."""

    def __init__(self, cloud: Cloud, resources: Resources, quotas: Quotas, kubernetes: KubernetesSimulator) -> None:
        self._cloud = cloud
        self._resources = resources
        self._quotas = quotas
        self._kubernetes = kubernetes
        self._given: dict[str, _Marks] = {}
        """What nodes got last, keyed by the pool's id in lower case."""
        self._replacements: dict[str, Replacement] = {}
        """Those under way, keyed likewise."""

    def pools_of(self, cluster: Record) -> list[Record]:
        """Return the node pools of a cluster."""
        return self._cloud.records.of_type(POOL, cluster.id.text)

    def group_of(self, cluster: Record) -> NodeGroup:
        """Return the group of the cluster's nodes."""
        return NodeGroup(self._cloud, self._resources, cluster)

    def of(self, cluster: Record, pool: Record) -> list[Record]:
        """Return the machines of a pool, the newest last."""
        scale_set = self.group_of(cluster).id_of(SCALE_SET, scale_set_name(cluster, pool))
        return self._cloud.records.of_type(MACHINE, scale_set.text)

    def require_quota(self, cluster: Record, pools: Iterable[Json], *, surge: int = 0) -> None:
        """Refuse machines for which the cores are not enough; each pool's document comes with its name.

        `surge` is how many more run in each of these pools while its machines are replaced.
        """
        subscription, region = subscription_of(cluster.id.text), cluster.location
        more: dict[str, int] = {}
        present = {pool.id.name: pool for pool in self.pools_of(cluster)}
        for document in pools:
            size = size_of(document["properties"]["vmSize"])
            pool = present.get(document["name"])
            running = len(self.of(cluster, pool)) if pool is not None else 0
            cores = (max(wanted(document["properties"]) - running, 0) + surge) * size.cores
            more[size.family] = more.get(size.family, 0) + cores
        for family, cores in {**more, "cores": sum(more.values())}.items():
            used = self._quotas.used.get((subscription, region, family), 0)
            left = max(self._quotas.limit(subscription, region, family) - used, 0)
            if cores > left:
                raise _insufficient(family, cores, left, region)

    def scale(self, cluster: Record, pool: Record) -> None:
        """Start or end machines until as many run as the pool is to have, spread over its zones."""
        self.require_quota(cluster, [pool.document])
        self._put_scale_set(cluster, pool)
        count = wanted(pool.properties)
        while len(running := self.of(cluster, pool)) > count:
            self.end(cluster, running[-1])
        while len(self.of(cluster, pool)) < count:
            self._launch(cluster, pool, str(pool.properties["currentOrchestratorVersion"]))
        pool.properties["count"] = count

    def are_replaced(self, cluster: Record, pool: Record, version: str) -> bool:
        """Go on to replace the machines of other versions, one by one, and return whether all are.

        Raises Refusal if a pod is in the way.
        """
        replacement = self._replacements.get(pool.id.key)
        if replacement is None:
            replacement = self._replacements[pool.id.key] = self._replacement(cluster, pool, version)
        try:
            done = replacement.is_done()
        except Refusal:
            del self._replacements[pool.id.key]
            raise
        if done:
            del self._replacements[pool.id.key]
        return done

    def _replacement(self, cluster: Record, pool: Record, version: str) -> Replacement:
        settings = pool.properties.get("upgradeSettings") or {}

        def launch(machine: Record) -> Record:
            return self._launch(cluster, pool, version, zone=(machine.document.get("zones") or [""])[0])

        deeds = Deeds(launch, lambda machine: self.end(cluster, machine), self._runs)
        return Replacement(
            self._kubernetes.cluster(str(cluster.properties["resourceUID"])),
            self._cloud.clock,
            [machine for machine in self.of(cluster, pool) if _version_of(machine) != version],
            deeds,
            drain_seconds=60.0 * int(settings.get("drainTimeoutInMinutes") or _DRAIN_MINUTES),
        )

    def _runs(self, machine: Record) -> bool:
        return self._cloud.records.get(machine.id.key) is machine

    def _put_scale_set(self, cluster: Record, pool: Record) -> Record:
        properties = pool.properties
        interface = {"subnet": {"id": properties.get("vnetSubnetID")}} if properties.get("vnetSubnetID") else {}
        configuration = {"name": "nic", "properties": {"ipConfigurations": [{"name": "ipconfig1", **interface}]}}
        return self.group_of(cluster).put(
            SCALE_SET,
            scale_set_name(cluster, pool),
            document={
                "sku": {"name": properties["vmSize"], "capacity": wanted(properties)},
                "tags": _tags(cluster, pool),
                "zones": list(properties.get("availabilityZones") or ()),
                "identity": _kubelet(cluster),
                "properties": {
                    "uniqueId": zlib.crc32(pool.id.key.encode()),
                    "virtualMachineProfile": {
                        "networkProfile": {"networkInterfaceConfigurations": [configuration]},
                        "storageProfile": {"osDisk": {"managedDisk": _encryption(cluster)}},
                    },
                },
            },
        )

    def _launch(self, cluster: Record, pool: Record, version: str, zone: str = "") -> Record:
        running = self.of(cluster, pool)
        zones = [str(entry) for entry in pool.properties.get("availabilityZones") or ()]
        counts = {entry: sum(machine.document["zones"] == [entry] for machine in running) for entry in zones}
        zone = zone or min(zones, key=lambda entry: counts[entry], default="")
        group, scale_set = self.group_of(cluster), scale_set_name(cluster, pool)
        number = 1 + max((int(machine.id.name) for machine in running), default=-1)
        node = f"{scale_set}{_base36(number)}"
        placed = {"zones": [zone] if zone else [], "tags": _tags(cluster, pool)}
        disk_name = f"{scale_set}_{scale_set}_{number}_OsDisk_1_{secrets.token_hex(16)}"
        machine_id = group.id_of(MACHINE, scale_set, str(number))
        managed = pool.properties.get("osDiskType") != "Ephemeral"
        if managed:
            group.put(_DISK, disk_name, document=self._disk(cluster, pool, machine_id.text) | placed)
        machine = group.put(
            MACHINE,
            scale_set,
            str(number),
            document={
                "name": f"{scale_set}_{number}",
                "instanceId": str(number),
                "sku": {"name": pool.properties["vmSize"]},
                **placed,
                "properties": {
                    "hardwareProfile": {"vmSize": pool.properties["vmSize"]},
                    "osProfile": {"computerName": node},
                    "storageProfile": {
                        "osDisk": {"name": disk_name if managed else "", "caching": "ReadOnly"},
                        "imageReference": {"exactVersion": version},
                    },
                },
            },
        )
        self._count(cluster, size_of(pool.properties["vmSize"]), 1)
        cluster_here = self._kubernetes.cluster(str(cluster.properties["resourceUID"]))
        if cluster_here is not None:
            cluster_here.add_node(self._node(cluster, pool, node, zone, machine))
        return machine

    @staticmethod
    def _disk(cluster: Record, pool: Record, machine: str) -> Json:
        encrypted = _encryption(cluster).get("diskEncryptionSet")
        encryption: Json = {"type": "EncryptionAtRestWithPlatformKey"}
        if encrypted:
            encryption = {"type": "EncryptionAtRestWithCustomerKey", "diskEncryptionSetId": encrypted["id"]}
        return {
            "managedBy": machine,
            "sku": {"name": "Premium_LRS", "tier": "Premium"},
            "properties": {
                "diskSizeGB": pool.properties["osDiskSizeGB"],
                "osType": "Linux",
                "diskState": "Attached",
                "creationData": {"createOption": "FromImage"},
                "encryption": encryption,
            },
        }

    def _node(self, cluster: Record, pool: Record, node: str, zone: str, machine: Record) -> NodeShape:
        properties = pool.properties
        marks = self._given[pool.id.key] = _marks(pool)
        size = size_of(properties["vmSize"])
        topology = f"{cluster.location}-{zone}" if zone else "0"
        return NodeShape(
            name=node,
            zone=topology,
            region=cluster.location,
            instance_type=size.name,
            pool=pool.id.name,
            cpu=size.cores,
            memory_bytes=size.memory_gb * 2**30,
            version=f"v{_version_of(machine)}",
            provider_id=f"azure://{machine.id.text}",
            labels={
                "agentpool": pool.id.name,
                "kubernetes.azure.com/cluster": str(cluster.properties["nodeResourceGroup"]),
                "topology.disk.csi.azure.com/zone": topology if zone else "",
                **marks.labels,
            },
            taints=tuple(marks.taints),
            pool_label=POOL_LABEL,
            os_image="Ubuntu 24.04 LTS" if properties.get("osSKU") == "Ubuntu" else "Azure Linux 3.0",
        )

    def relabel(self, cluster: Record, pool: Record) -> None:
        """Give the nodes that run the pool's labels and taints of now, and the machines its tags."""
        running = self._kubernetes.cluster(str(cluster.properties["resourceUID"]))
        former = self._given.get(pool.id.key, _Marks({}, []))
        now = self._given[pool.id.key] = _marks(pool)

        def change(node: Object) -> None:
            labels = node["metadata"]["labels"]
            kept = {key: value for key, value in labels.items() if key not in former.labels}
            node["metadata"]["labels"] = kept | now.labels
            others = [taint for taint in node["spec"].get("taints") or () if taint not in former.taints]
            node["spec"]["taints"] = [*others, *now.taints]

        self._put_scale_set(cluster, pool)
        for machine in self.of(cluster, pool):
            machine.document["tags"] = _tags(cluster, pool)
            if running is not None:
                running.store.update(kinds.NODES, None, machine.properties["osProfile"]["computerName"], change)

    def end(self, cluster: Record, machine: Record) -> None:
        """End a machine; its disk goes with it."""
        running = self._kubernetes.cluster(str(cluster.properties["resourceUID"]))
        if running is not None:
            running.remove_node(machine.properties["osProfile"]["computerName"])
        group = self.group_of(cluster)
        disk = group.get(_DISK, machine.properties["storageProfile"]["osDisk"]["name"] or "-")
        group.remove(machine)
        if disk is not None:
            group.remove(disk)
        self._count(cluster, size_of(machine.properties["hardwareProfile"]["vmSize"]), -1)

    def end_all(self, cluster: Record, pool: Record) -> None:
        """End every machine of a pool, and its scale set."""
        self._replacements.pop(pool.id.key, None)
        for machine in self.of(cluster, pool):
            self.end(cluster, machine)
        scale_set = self.group_of(cluster).get(SCALE_SET, scale_set_name(cluster, pool))
        if scale_set is not None:
            self.group_of(cluster).remove(scale_set)

    def _count(self, cluster: Record, size: Size, machines: int) -> None:
        for name in (size.family, "cores"):
            key = (subscription_of(cluster.id.text), cluster.location, name)
            self._quotas.used[key] = self._quotas.used.get(key, 0) + machines * size.cores


def size_of(name: str) -> Size:
    """Return a size of machines by its name; refuse one that is not offered."""
    found = next((size for size in SIZES if size.name.lower() == name.lower()), None)
    if found is None:
        raise invalid("VMSizeNotSupported", f"The VM size of {name} is not allowed in your subscription.", "vmSize")
    return found


def wanted(properties: Json) -> int:
    """Return how many nodes a pool is to have: its size, within what the autoscaler may do."""
    count = int(properties.get("count") or 0)
    if not properties.get("enableAutoScaling"):
        return count
    return min(max(count, int(properties["minCount"])), int(properties["maxCount"]))


def at_once(pool: Record) -> int:
    """Return how many nodes are replaced at once in an upgrade."""
    settings = pool.properties.get("upgradeSettings") or {}
    surge = str(settings.get("maxSurge") or "10%")
    count = wanted(pool.properties)
    number = math.ceil(count * int(surge[:-1]) / 100) if surge.endswith("%") else int(surge)
    return max(number, 1)


def _version_of(machine: Record) -> str:
    """Return the Kubernetes version of a machine's image."""
    return str(machine.properties["storageProfile"]["imageReference"]["exactVersion"])


def scale_set_name(cluster: Record, pool: Record) -> str:
    """Return the name of a pool's scale set: the same digits for all pools of a cluster."""
    digits = zlib.crc32(str(cluster.properties["resourceUID"]).encode()) % 10**8
    return f"aks-{pool.id.name}-{digits:08d}-vmss"


def _insufficient(family: str, cores: int, left: int, region: str) -> Refusal:
    if family == "cores":
        text = (
            f"Insufficient regional vcpu quota left for location {region}. left regional vcpu quota {left}, requested"
        )
        return invalid("ErrCode_InsufficientVCPUQuota", f"{text} quota {cores}.{_MORE}")
    text = f"Insufficient vcpu quota requested {cores}, remaining {left} for family {family} for region {region}."
    return invalid("ErrCode_InsufficientVCPUQuota", text + _MORE)


def _tags(cluster: Record, pool: Record) -> Json:
    given = {**(cluster.document.get("tags") or {}), **(pool.properties.get("tags") or {})}
    return {"aks-managed-poolName": pool.id.name, **given}


def _kubelet(cluster: Record) -> Json:
    profile = (cluster.properties.get("identityProfile") or {}).get("kubeletidentity") or {}
    if not profile.get("resourceId"):
        return {}
    return {"type": "UserAssigned", "userAssignedIdentities": {profile["resourceId"]: {}}}


def _encryption(cluster: Record) -> Json:
    chosen = cluster.properties.get("diskEncryptionSetID")
    return {"diskEncryptionSet": {"id": chosen}} if chosen else {}


def _marks(pool: Record) -> _Marks:
    mode = str(pool.properties.get("mode", "User")).lower()
    labels = {"kubernetes.azure.com/mode": mode, **(pool.properties.get("nodeLabels") or {})}
    return _Marks(labels, [_taint(text) for text in pool.properties.get("nodeTaints") or ()])


def _taint(text: str) -> Object:
    pair, _, effect = text.partition(":")
    key, _, value = pair.partition("=")
    return {"key": key, **({"value": value} if value else {}), "effect": effect}


def _base36(number: int) -> str:
    text = ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text
