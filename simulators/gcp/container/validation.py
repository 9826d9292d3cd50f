"""What GKE checks before it begins a cluster or a node pool, and what it fills in."""

from __future__ import annotations

import re
from collections.abc import Iterable

from simulators.gcp.api import region_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.creation import Keys
from simulators.gcp.compute.offerings import REGIONS, machine_type
from simulators.gcp.compute.records import full_name
from simulators.gcp.compute.service import ComputeService
from simulators.gcp.container import versions
from simulators.gcp.container.records import ClusterRecord
from simulators.gcp.refusals import Json, Refusal, invalid

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_DEFAULT_MANAGEMENT = {"autoUpgrade": True, "autoRepair": True}
_DEFAULT_UPGRADE = {"strategy": "SURGE", "maxSurge": 1}


class Validation:
    """Checks and completes what a call asks for."""

    def __init__(self, cloud: Cloud, compute: ComputeService, keys: Keys) -> None:
        self._cloud = cloud
        self._compute = compute
        self._keys = keys

    def cluster(self, name: str, wanted: Json) -> Json:
        """Return the document of a new cluster, without its node pools."""
        _, project, _, location, *_ = name.split("/")
        require_name(wanted.get("name", ""), "Cluster.name")
        zones = self._zones(location, wanted.get("locations") or ())
        network, subnetwork = self._network(project, location, wanted)
        self._ranges(subnetwork, wanted.get("ipAllocationPolicy") or {})
        encryption = wanted.get("databaseEncryption") or {"state": "DECRYPTED"}
        if encryption.get("state") == "ENCRYPTED":
            self._keys.require_usable(encryption.get("keyName", ""), "container", project)
        private = wanted.get("privateClusterConfig") or {}
        if private.get("enablePrivateNodes") and not (wanted.get("ipAllocationPolicy") or {}).get("useIpAliases"):
            raise invalid("Cannot create cluster with private nodes and without VPC-native networking.")
        channel = wanted.get("releaseChannel", {"channel": "REGULAR"})
        require_channel(channel)
        version = versions.resolved(wanted.get("initialClusterVersion", ""))
        return {
            **{key: value for key, value in wanted.items() if key not in ("nodePools", "name")},
            "name": wanted["name"],
            "selfLink": f"https://container.googleapis.com/v1/{name}",
            "location": location,
            "locations": zones,
            "releaseChannel": channel,
            "network": network.rpartition("/")[2],
            "subnetwork": subnetwork.rpartition("/")[2],
            "networkConfig": {**(wanted.get("networkConfig") or {}), "network": network, "subnetwork": subnetwork},
            "initialClusterVersion": version,
            "currentMasterVersion": version,
            "databaseEncryption": encryption,
            "loggingService": wanted.get("loggingService", "logging.googleapis.com/kubernetes"),
            "monitoringService": wanted.get("monitoringService", "monitoring.googleapis.com/kubernetes"),
            "loggingConfig": wanted.get("loggingConfig")
            or {"componentConfig": {"enableComponents": ["SYSTEM_COMPONENTS", "WORKLOADS"]}},
            "status": "PROVISIONING",
            "createTime": self._cloud.now(),
        }

    @staticmethod
    def _zones(location: str, asked: Iterable[str]) -> list[str]:
        region = region_of(location)
        if region not in REGIONS or (location != region and location not in REGIONS[region]):
            raise invalid(f'Location "{location}" does not exist.')
        zones = list(asked)
        unknown = [zone for zone in zones if zone not in REGIONS[region]]
        if unknown:
            raise invalid(f'Invalid value for field "cluster.locations": "{unknown[0]}" is not in {region}.')
        if not zones:
            zones = list(REGIONS[region][:3]) if location == region else [location]
        return zones

    def _network(self, project: str, location: str, wanted: Json) -> tuple[str, str]:
        """Return the full names of network and subnetwork, which must exist."""
        region = region_of(location)
        network = str(wanted.get("network") or "default")
        subnetwork = str(wanted.get("subnetwork") or "default")
        network_name = full_name(project, network if "/" in network else f"global/networks/{network}")
        subnetwork_name = full_name(
            project, subnetwork if "/" in subnetwork else f"regions/{region}/subnetworks/{subnetwork}"
        )
        for kind, name in (("Network", network_name), ("Subnetwork", subnetwork_name)):
            record = self._compute.records.find(name)
            if record is None or not record.ready:
                raise invalid(f'{kind} "{name.rpartition("/")[2]}" does not exist or is not ready: {name}.')
        return network_name, subnetwork_name

    def _ranges(self, subnetwork: str, policy: Json) -> None:
        document = self._compute.records.get(subnetwork).document
        present = {entry["rangeName"] for entry in document.get("secondaryIpRanges") or ()}
        for field in ("clusterSecondaryRangeName", "servicesSecondaryRangeName"):
            wanted = policy.get(field)
            if wanted and wanted not in present:
                raise invalid(
                    f'Services/pods range "{wanted}" does not exist in subnetwork "{document["name"]}" ({field}).'
                )

    def pool(self, cluster: ClusterRecord, wanted: Json) -> Json:
        """Return the document of a new node pool."""
        require_name(wanted.get("name", ""), "NodePool.name")
        config = dict(wanted.get("config") or {})
        machine = config.setdefault("machineType", "e2-medium")
        if machine_type(machine) is None:
            zone = cluster.zones[0]
            raise invalid(f'Machine type with name "{machine}" does not exist in zone "{zone}".')
        config.setdefault("diskSizeGb", 100)
        config.setdefault("diskType", "pd-balanced")
        config.setdefault("imageType", "COS_CONTAINERD")
        account = config.get("serviceAccount", "default")
        config["serviceAccount"] = account
        if account != "default" and not self._cloud.identities.is_seen(account):
            raise invalid(f'The resource "{account}" was not found: Service account "{account}" does not exist.')
        if key := config.get("bootDiskKmsKey"):
            self._keys.require_usable(key, "compute", cluster.project)
        outside = [zone for zone in wanted.get("locations") or () if zone not in REGIONS[region_of(cluster.location)]]
        if outside:
            raise invalid(f'Invalid value for field "node_pool.locations": "{outside[0]}" is not in the region.')
        master = cluster.document["currentMasterVersion"]
        version = versions.resolved(wanted["version"]) if wanted.get("version") else master
        if versions.distance(master, version) > 0:
            raise invalid(f'Node version "{version}" must not have a newer minor version than master "{master}".')
        return {
            **wanted,
            "config": config,
            "locations": wanted.get("locations") or cluster.zones,
            "version": version,
            "management": management(
                cluster.document, wanted.get("management", {"autoUpgrade": True, "autoRepair": True})
            ),
            "upgradeSettings": wanted.get("upgradeSettings") or _DEFAULT_UPGRADE,
            "selfLink": f"https://container.googleapis.com/v1/{cluster.name}/nodePools/{wanted['name']}",
            "status": "PROVISIONING",
            "podIpv4CidrSize": 24,
        }

    def require_quota(self, cluster: ClusterRecord, pools: Iterable[Json]) -> None:
        """Refuse a cluster for whose nodes the processors are not enough already now."""
        region = region_of(cluster.location)
        needed = 0.0
        for pool in pools:
            found = machine_type(pool["config"]["machineType"])
            count = int(pool.get("initialNodeCount", 0)) * len(pool["locations"])
            if found is not None and found.quota in ("CPUS", "N2_CPUS", "N2D_CPUS"):
                needed += found.cpu * count
        left = self._compute.quotas.left(cluster.project, region, "CPUS")
        if needed > left:
            limit = self._compute.quotas.limit(cluster.project, region, "CPUS")
            raise Refusal(
                "RESOURCE_EXHAUSTED",
                f"Insufficient regional quota to satisfy request: resource \"CPUS\": request requires '{needed}' and is"
                f" short '{needed - left}'. project has a quota of '{limit}' with '{left}' available.",
                reason="GCE_QUOTA_EXCEEDED",
                domain="container.googleapis.com",
            )


def require_channel(channel: Json) -> None:
    """Refuse to leave the release channels, as Google does since 2026."""
    if channel.get("channel", "UNSPECIFIED") == "UNSPECIFIED":
        raise invalid("A cluster must be enrolled in a release channel: UNSPECIFIED is no longer supported.")


def management(cluster: Json, given: Json) -> Json:
    """Return a pool's management as it is kept; in a release channel its nodes are always upgraded automatically."""
    if not given.get("autoUpgrade"):
        channel = cluster["releaseChannel"]["channel"]
        raise invalid(f"Auto_upgrade cannot be false when release_channel {channel} is set.")
    return {"autoRepair": False, **given}


def require_name(name: str, field: str) -> None:
    """Refuse a name that GKE does not accept."""
    if not _NAME.fullmatch(name):
        raise invalid(
            f"Invalid value for {field}: must be 1 to 40 lower-case letters, digits and hyphens, beginning with a"
            f" letter, not {name!r}."
        )
