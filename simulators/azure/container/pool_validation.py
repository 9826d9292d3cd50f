"""What AKS checks before it begins or changes a node pool, and what it fills in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from simulators.azure.cloud import Cloud
from simulators.azure.container import versions
from simulators.azure.container.machines import size_of
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, invalid

_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
_TAINT = re.compile(r"[\w./-]+(=[\w.-]*)?:(NoSchedule|PreferNoSchedule|NoExecute)")
_SURGE = re.compile(r"\d+%?")
_DEFAULTS: Mapping[str, object] = {
    "count": 1,
    "osDiskSizeGB": 128,
    "osDiskType": "Managed",
    "kubeletDiskType": "OS",
    "osType": "Linux",
    "osSKU": "Ubuntu",
    "type": "VirtualMachineScaleSets",
    "mode": "User",
    "maxPods": 250,
    "enableAutoScaling": False,
    "enableNodePublicIP": False,
    "enableEncryptionAtHost": False,
    "scaleDownMode": "Delete",
    "upgradeSettings": {"maxSurge": "10%"},
}
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "osDiskType": ("Managed", "Ephemeral"),
    "osType": ("Linux", "Windows"),
    "osSKU": ("Ubuntu", "Ubuntu2204", "Ubuntu2404", "AzureLinux", "AzureLinux3"),
    "type": ("VirtualMachineScaleSets", "VirtualMachines", "AvailabilitySet"),
    "mode": ("System", "User"),
    "scaleDownMode": ("Delete", "Deallocate"),
}
_FIXED = (
    "availabilityZones", "enableEncryptionAtHost", "enableFIPS", "maxPods", "osDiskSizeGB", "osDiskType", "osType",
    "type", "vmSize", "vnetSubnetID",
)  # fmt: skip
"""What cannot be changed later."""
_GIVEN_BY_AKS = ("eTag", "currentOrchestratorVersion", "nodeImageVersion", "powerState", "provisioningState", "status")


def completed(cloud: Cloud, cluster: Json, name: str, wanted: Json, before: Json | None) -> Json:
    """Return the properties of a new or changed pool, or refuse them; `before` is what they were."""
    if not _NAME.fullmatch(name):
        raise _parameter(f"The value of parameter agentPoolProfile.name '{name}' is invalid.", "agentPoolProfile.name")
    kept = {key: before[key] for key in _GIVEN_BY_AKS if before is not None and key in before}
    given = {key: value for key, value in wanted.items() if value is not None and key not in _GIVEN_BY_AKS}
    properties: Json = {**_DEFAULTS, **given, **kept}
    size_of(str(properties.get("vmSize", "")))
    for key, allowed in _ALLOWED.items():
        if properties[key] not in allowed:
            raise _parameter(f"The value of parameter {key} is invalid: {properties[key]}.", f"agentPoolProfile.{key}")
    _count(properties)
    _place(cloud, cluster, properties)
    for taint in properties.get("nodeTaints") or ():
        if not _TAINT.fullmatch(taint):
            raise _parameter(f"The taint {taint!r} is invalid.", "agentPoolProfile.nodeTaints")
    surge = str((properties.get("upgradeSettings") or {}).get("maxSurge") or "10%")
    if not _SURGE.fullmatch(surge):
        raise _parameter(f"maxSurge {surge!r} is invalid.", "agentPoolProfile.upgradeSettings.maxSurge")
    _upgrade(properties.get("upgradeSettings") or {})
    if not 10 <= int(properties["maxPods"]) <= 250:
        raise _parameter("maxPods has to be between 10 and 250.", "agentPoolProfile.maxPods")
    if before is not None:
        _unchanged(before, properties)
    _version(cluster, properties, before)
    properties.setdefault("powerState", {"code": "Running"})
    return properties


def require_system_pool(cluster: Record, pools: Mapping[str, Json]) -> None:
    """Refuse to leave a cluster without a System pool; `pools` are the properties of all that stay, by name."""
    if not any(properties["mode"] == "System" for properties in pools.values()):
        message = f"Must define at least one system pool: managed cluster {cluster.id.name} would have none."
        raise Refusal(400, "OperationNotAllowed", message, "properties.mode")


def _upgrade(settings: Json) -> None:
    """Check how machines are drained in an upgrade."""
    minutes = settings.get("drainTimeoutInMinutes")
    if minutes is not None and not 1 <= int(minutes) <= 1440:
        target = "agentPoolProfile.upgradeSettings.drainTimeoutInMinutes"
        raise _parameter(f"drainTimeoutInMinutes {minutes} is not from 1 to 1440.", target)
    behavior = settings.get("undrainableNodeBehavior", "Schedule")
    if behavior == "Cordon":
        raise Refusal(501, "NotImplemented", "Machines that cannot be drained are not simulated as quarantined.")
    if behavior != "Schedule":
        target = "agentPoolProfile.upgradeSettings.undrainableNodeBehavior"
        raise _parameter(f"undrainableNodeBehavior {behavior!r} is invalid.", target)


def _count(properties: Json) -> None:
    least = 1 if properties["mode"] == "System" else 0
    if not least <= int(properties["count"]) <= 1000:
        message = f"The value of parameter agentPoolProfile.count is invalid: {properties['count']}."
        raise _parameter(message, "agentPoolProfile.count")
    if not properties["enableAutoScaling"]:
        if properties.get("minCount") is not None or properties.get("maxCount") is not None:
            raise _parameter("minCount and maxCount need enableAutoScaling.", "agentPoolProfile.enableAutoScaling")
        return
    smallest, largest = properties.get("minCount"), properties.get("maxCount")
    if smallest is None or largest is None or not least <= int(smallest) <= int(largest) <= 1000:
        raise _parameter("minCount and maxCount are required, in this order.", "agentPoolProfile.minCount")


def _place(cloud: Cloud, cluster: Json, properties: Json) -> None:
    zones = [str(zone) for zone in properties.get("availabilityZones") or ()]
    if unknown := [zone for zone in zones if zone not in ("1", "2", "3")]:
        raise invalid(
            "AvailabilityZoneNotSupported",
            f"The zone(s) '{unknown[0]}' for resource 'agentpool' is not supported. The supported zones for location"
            f" '{cluster['location']}' are '1,2,3'",
            "agentPoolProfile.availabilityZones",
        )
    if zones and properties["type"] == "AvailabilitySet":
        raise _parameter("Availability zones need VirtualMachineScaleSets.", "agentPoolProfile.type")
    subnet = properties.get("vnetSubnetID")
    if not subnet:
        return
    others = [
        pool.properties.get("vnetSubnetID")
        for pool in cloud.records.of_type("Microsoft.ContainerService/managedClusters/agentPools", cluster["id"])
    ]
    networks = {str(other).lower().rpartition("/subnets/")[0] for other in [subnet, *others] if other}
    if len(networks) > 1:
        raise invalid(
            "InvalidParameter", "All agent pools of a cluster have to be in one virtual network.", "vnetSubnetID"
        )


def _unchanged(before: Json, properties: Json) -> None:
    for key in _FIXED:
        if (before.get(key) or None) != (properties.get(key) or None):
            message = f"Changing property 'properties.{key}' is not allowed."
            raise invalid("PropertyChangeNotAllowed", message, f"properties.{key}")


def _version(cluster: Json, properties: Json, before: Json | None) -> None:
    control_plane = cluster["properties"]["currentKubernetesVersion"]
    current = (before or {}).get("currentOrchestratorVersion")
    asked = str(properties.get("orchestratorVersion") or current or control_plane)
    # A minor version that the pool has already asks for no newer patch.
    same = current is not None and asked in (current, versions.minor_of(current))
    version = current if same and current is not None else versions.resolved(asked, cluster["name"])
    versions.require_compatible(version, control_plane)
    if current is not None and versions.distance(current, version) < 0:
        message = f"Downgrading agent pool version {current} to {version} is not allowed."
        raise Refusal(400, "OperationNotAllowed", message)
    properties["orchestratorVersion"] = asked
    properties["currentOrchestratorVersion"] = current or version


def _parameter(message: str, target: str) -> Refusal:
    return invalid("InvalidParameter", message, target)
