"""What GKE tells about upgrades: the versions on offer, and how its own upgrades of a cluster stand."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.faults import FaultKind
from simulators.gcp.api import Method, Request, Rpc, needs, stamp
from simulators.gcp.cloud import Cloud
from simulators.gcp.container import versions
from simulators.gcp.container.maintenance import excluded_now
from simulators.gcp.container.records import Clusters
from simulators.gcp.refusals import Json

_TYPE = "container.googleapis.com/Cluster"


class UpgradeInfo:
    """The methods that tell; none changes anything."""

    def __init__(self, cloud: Cloud, clusters: Clusters) -> None:
        self._cloud = cloud
        self._clusters = clusters

    def rpcs(self, interface: str, package: str) -> Iterator[Rpc]:
        """Return the methods."""
        read = needs("container.clusters.get", type_=_TYPE)
        for name, deed, request, response, checks in (
            ("GetServerConfig", self._server_config, "GetServerConfigRequest", "ServerConfig",
             needs("container.clusters.list")),
            ("FetchClusterUpgradeInfo", self._of_cluster, "FetchClusterUpgradeInfoRequest", "ClusterUpgradeInfo", read),
        ):  # fmt: skip
            method = Method("container", name, deed, False, checks)
            yield Rpc(interface, name, f"{package}.{request}", f"{package}.{response}", method)

    @staticmethod
    def _server_config(_request: Request) -> Json:
        known = list(versions.VERSIONS.values())
        return {
            "defaultClusterVersion": versions.VERSIONS[versions.DEFAULT],
            "validMasterVersions": known,
            "validNodeVersions": known,
            "defaultImageType": "COS_CONTAINERD",
            "validImageTypes": ["COS_CONTAINERD", "UBUNTU_CONTAINERD"],
            "channels": [
                {
                    "channel": channel,
                    "defaultVersion": versions.VERSIONS[versions.DEFAULT],
                    "validVersions": [versions.VERSIONS[minor] for minor in offered],
                }
                for channel, offered in versions.CHANNELS.items()
            ],
        }

    def _of_cluster(self, request: Request) -> Json:
        """Tell how GKE's own upgrades stand; after the fault CRASH, that GKE has paused them by itself."""
        document = self._clusters.get(request.parameters["name"]).document
        current = document["currentMasterVersion"]
        minor, newest = versions.minor_of(current), list(versions.VERSIONS)
        later = newest[newest.index(minor) - 1] if newest.index(minor) else ""
        told: Json = {"patchTargetVersion": versions.VERSIONS[minor], "autoUpgradeStatus": ["ACTIVE"]}
        if later:
            told["minorTargetVersion"] = versions.VERSIONS[later]
        told["endOfStandardSupportTimestamp"] = stamp(versions.support_ends(minor))
        reasons = []
        if excluded_now(document.get("maintenancePolicy") or {}, self._cloud.clock.now()):
            reasons.append("MAINTENANCE_EXCLUSION_NO_UPGRADES")
        if request.fault is not None and request.fault.kind is FaultKind.CRASH:
            reasons.append("SYSTEM_CONFIG")
        return {**told, "autoUpgradeStatus": ["UPGRADE_PAUSED"], "pausedReason": reasons} if reasons else told
