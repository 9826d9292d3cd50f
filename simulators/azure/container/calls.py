"""What is called on clusters and pools beside making and deleting them: credentials, versions, aborting."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator

from simulators.azure.api import Reply, Request
from simulators.azure.cloud import Cloud
from simulators.azure.container import versions
from simulators.azure.container.fleet import CLUSTER, Fleet, id_of
from simulators.azure.container.machines import POOL
from simulators.azure.container.pools import in_progress
from simulators.azure.operations import Operations
from simulators.azure.records import Record
from simulators.azure.refusals import Json, Refusal, invalid, not_found
from simulators.azure.resource_manager import Route

ENTRA_APPLICATION = "6dae42f8-4368-4678-94ff-3960e28e3630"
"""The application of Microsoft for which tokens open clusters."""
_SUBSCRIPTION = r"/subscriptions/(?P<subscription>[^/]+)"
_SERVICE = r"providers/Microsoft\.ContainerService"
_PREFIX = rf"(?P<cluster>/subscriptions/[^/]+/resourceGroups/[^/]+/{_SERVICE}/managedClusters/[^/]+)"


class Calls:
    """The actions of `Microsoft.ContainerService` that are no resources."""

    def __init__(self, cloud: Cloud, fleet: Fleet, operations: Operations) -> None:
        self._cloud = cloud
        self._fleet = fleet
        self._operations = operations

    def routes(self) -> Iterator[Route]:
        """Yield what is served."""
        for method, path, action, deed in (
            ("POST", "listClusterUserCredential", "listClusterUserCredential/action", self._user_credential),
            ("POST", "listClusterAdminCredential", "listClusterAdminCredential/action", self._admin_credential),
            ("GET", "upgradeProfiles/default", "upgradeProfiles/read", self._upgrades),
            ("GET", "availableAgentPoolVersions", "availableAgentPoolVersions/read", self._pool_versions),
        ):
            yield self._route(method, path, action, deed)
        pool = r"agentPools/(?P<pool>[^/]+)"
        upgrades = f"{pool}/upgradeProfiles/default"
        yield self._route("GET", upgrades, "agentPools/upgradeProfiles/read", self._pool_upgrades)
        yield self._route("GET", f"{pool}/machines", "agentPools/machines/read", self._machines)
        yield self._route("POST", "abort", "abort/action", self._abort, changes=True)
        yield self._route("POST", f"{pool}/abort", "agentPools/abort/action", self._abort_pool, changes=True)
        known = rf"{_SUBSCRIPTION}/providers/Microsoft\.ContainerService/locations/[\w ]+/kubernetesVersions"
        name, action = (
            "locations/kubernetesVersions/read",
            "Microsoft.ContainerService/locations/kubernetesVersions/read",
        )
        scope = "/subscriptions/{subscription}"
        yield Route("GET", known, "containerservice", name, self._versions, action, scope)

    @staticmethod
    def _route(
        method: str, path: str, action: str, deed: Callable[[Request, re.Match[str]], Reply], *, changes: bool = False
    ) -> Route:
        name, needed = f"managedClusters/{action}", f"{CLUSTER}/{action}"
        return Route(method, f"{_PREFIX}/{path}", "containerservice", name, deed, needed, "{cluster}", changes=changes)

    def _user_credential(self, request: Request, found: re.Match[str]) -> Reply:
        cluster = self._cluster(found)
        name = f"clusterUser_{cluster.id.scope.rpartition('/')[2]}_{cluster.id.name}"
        tenant = self._cloud.identities.subscriptions[request.subscription].tenant
        login = ["get-token", "--login", "devicecode", "--server-id", ENTRA_APPLICATION, "--tenant-id", tenant]
        user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "kubelogin", "args": login}}
        return self._credential(cluster, name, user)

    def _admin_credential(self, request: Request, found: re.Match[str]) -> Reply:
        cluster = self._cluster(found)
        if cluster.properties.get("disableLocalAccounts"):
            raise invalid(
                "BadRequest",
                "Getting static credential is not allowed because this cluster is set to disable local accounts.",
            )
        raise Refusal(501, "NotImplemented", f"{request.operation} is not simulated for clusters with local accounts.")

    def _credential(self, cluster: Record, name: str, user: Json) -> Reply:
        running = self._fleet.kubernetes.cluster(id_of(cluster))
        if running is None:
            raise invalid("BadRequest", f"Managed cluster {cluster.id.name} is not running yet.")
        authority = base64.b64encode(self._fleet.kubernetes.ca_pem).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": cluster.id.name,
                    # The real server is at the cluster's own name; a simulated one is told apart by its path.
                    "cluster": {"server": running.url, "certificate-authority-data": authority},
                }
            ],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": cluster.id.name, "context": {"cluster": cluster.id.name, "user": name}}],
            "current-context": cluster.id.name,
            "preferences": {},
        }
        # JSON is YAML.
        value = base64.b64encode(json.dumps(config).encode()).decode()
        return Reply({"kubeconfigs": [{"name": "clusterUser", "value": value}]})

    def _upgrades(self, _: Request, found: re.Match[str]) -> Reply:
        cluster = self._cluster(found)
        profile = self._profile(cluster.properties["currentKubernetesVersion"])
        pools = self._cloud.records.of_type(POOL, cluster.id.text)
        properties = {
            "controlPlaneProfile": profile,
            "agentPoolProfiles": [
                {"name": pool.id.name, **self._profile(pool.properties["currentOrchestratorVersion"])} for pool in pools
            ],
        }
        name = f"{cluster.id.text}/upgradeprofiles/default"
        return Reply({"id": name, "name": "default", "type": f"{CLUSTER}/upgradeprofiles", "properties": properties})

    @staticmethod
    def _profile(version: str) -> Json:
        upgrades = [_offered(each) for each in versions.upgrades_of(version)]
        return {"kubernetesVersion": version, "osType": "Linux", "upgrades": upgrades}

    def _pool_upgrades(self, _: Request, found: re.Match[str]) -> Reply:
        cluster, pool = self._cluster(found), self._pool(found)
        current, limit = pool.properties["currentOrchestratorVersion"], cluster.properties["currentKubernetesVersion"]
        newer = [
            version
            for version in versions.VERSIONS.values()
            if versions.distance(current, version) > 0 and versions.distance(version, limit) >= 0
        ]
        properties = {**self._profile(current), "upgrades": [_offered(each) for each in newer]}
        name = f"{pool.id.text}/upgradeProfiles/default"
        return Reply({"id": name, "name": "default", "type": f"{POOL}/upgradeProfiles", "properties": properties})

    def _machines(self, _: Request, found: re.Match[str]) -> Reply:
        cluster, pool = self._cluster(found), self._pool(found)
        described = [
            {
                "id": f"{pool.id.text}/machines/{machine.properties['osProfile']['computerName']}",
                "name": machine.properties["osProfile"]["computerName"],
                "type": f"{POOL}/machines",
                "zones": machine.document["zones"],
                "properties": {"resourceId": machine.id.text},
            }
            for machine in self._fleet.machines.of(cluster, pool)
        ]
        return Reply({"value": described})

    def _abort(self, request: Request, found: re.Match[str]) -> Reply:
        """Let the operation never be done that changes the cluster; pools that come with it are left, too."""
        cluster = self._cluster(found)
        return self._aborted(request, cluster, self._cloud.records.of_type(POOL, cluster.id.text))

    def _abort_pool(self, request: Request, found: re.Match[str]) -> Reply:
        return self._aborted(request, self._pool(found), [])

    def _aborted(self, request: Request, record: Record, others: list[Record]) -> Reply:
        if not record.busy:
            request.had_effect = False
            return Reply(status=204)
        if record.busy == "Deleting":
            raise in_progress(record)
        self._operations.cancel(record.id.key)
        left = [record, *(each for each in others if each.busy)]
        for each in left:
            each.enter("Canceling")

        def settle() -> None:
            for each in left:
                each.settle("Canceled")

        place = f"/subscriptions/{request.subscription}/providers/Microsoft.ContainerService/locations/{request.region}"
        operation = self._operations.start(
            request,
            place,
            self._cloud.durations.cluster_tags,
            settle,
            fail=lambda _: settle(),
            result=lambda: Reply(status=204),
        )
        return Reply(status=202, headers=self._operations.headers(request, operation))

    def _pool_versions(self, _: Request, found: re.Match[str]) -> Reply:
        limit = self._cluster(found).properties["currentKubernetesVersion"]
        known = [
            {"kubernetesVersion": version, "default": version == limit}
            for version in versions.VERSIONS.values()
            if 0 <= versions.distance(version, limit) <= 2
        ]
        return Reply({"name": "default", "properties": {"agentPoolVersions": known}})

    @staticmethod
    def _versions(_request: Request, _: re.Match[str]) -> Reply:
        values = [
            {
                "version": minor,
                "isDefault": minor == versions.DEFAULT,
                "capabilities": {"supportPlan": ["KubernetesOfficial"]},
                "patchVersions": {patch: {"upgrades": versions.upgrades_of(patch)}},
            }
            for minor, patch in versions.VERSIONS.items()
        ]
        return Reply({"values": values})

    def _pool(self, found: re.Match[str]) -> Record:
        cluster = self._cluster(found)
        pool = self._cloud.records.get(f"{cluster.id.text}/agentPools/{found['pool']}")
        if pool is None:
            raise not_found(f"{POOL}/{cluster.id.name}/{found['pool']}", cluster.id.scope.rpartition("/")[2])
        return pool

    def _cluster(self, found: re.Match[str]) -> Record:
        cluster = self._cloud.records.get(found["cluster"])
        if cluster is None:
            _, _, _, _, group, _, _, _, name = found["cluster"].split("/")
            raise not_found(f"{CLUSTER}/{name}", group)
        return cluster


def _offered(version: str) -> Json:
    """Return a version to which an upgrade is possible."""
    preview = versions.minor_of(version) in versions.PREVIEWS
    return {"kubernetesVersion": version, **({"isPreview": True} if preview else {})}
