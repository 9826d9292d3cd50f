"""The GKE API: clusters. What concerns node pools is in `node_pools`."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from simulators.gcp.api import Check, Method, Request, Rpc, RpcService, needs, region_of
from simulators.gcp.cloud import Cloud
from simulators.gcp.compute.creation import Keys, require_labels
from simulators.gcp.compute.service import ComputeService
from simulators.gcp.container import versions
from simulators.gcp.container.machines import Machines
from simulators.gcp.container.maintenance import accepted
from simulators.gcp.container.node_pools import NodePools
from simulators.gcp.container.operations import Operations, Problem
from simulators.gcp.container.records import ClusterRecord, Clusters, PoolRecord
from simulators.gcp.container.surge import Surge
from simulators.gcp.container.updates import updated
from simulators.gcp.container.upgrade_info import UpgradeInfo
from simulators.gcp.container.validation import Validation, require_channel
from simulators.gcp.iam.roles import etag_of
from simulators.gcp.refusals import Json, Refusal, exists, failed_precondition, invalid
from simulators.kubernetes.provider import CloudProvider
from simulators.kubernetes.simulator import KubernetesSimulator

_INTERFACE = "google.container.v1.ClusterManager"
_PACKAGE = "google.container.v1"
_TYPE = "container.googleapis.com/Cluster"
_OPERATION = f"{_PACKAGE}.Operation"
_MASTER_PORTS = ["443", "10250"]


class ContainerService(RpcService):
    """Fulfils `google.container.v1.ClusterManager`."""

    def __init__(self, cloud: Cloud, compute: ComputeService, keys: Keys, kubernetes: KubernetesSimulator) -> None:
        self._cloud = cloud
        self._compute = compute
        self._kubernetes = kubernetes
        self.clusters = Clusters()
        self._operations = Operations(cloud)
        self._validation = Validation(cloud, compute, keys)
        self._machines = Machines(cloud, compute, keys, kubernetes)
        surge = Surge(cloud, self._machines, kubernetes)
        self._pools = NodePools(cloud, self.clusters, self._operations, self._validation, self._machines, surge)
        self._info = UpgradeInfo(cloud, self.clusters)
        self.provider: CloudProvider | None = None
        """What the clusters ask of the cloud; set once it exists, before the first call."""

    def rpcs(self) -> Iterator[Rpc]:
        """Return the methods."""
        cluster, update = f"{_PACKAGE}.Cluster", needs("container.clusters.update", type_=_TYPE)
        for name, deed, request, response, mutating, checks in (
            ("CreateCluster", self._create, "CreateCluster", _OPERATION, True, self._needs_to_create),
            ("GetCluster", self._get, "GetCluster", cluster, False, needs("container.clusters.get", type_=_TYPE)),
            (
                "ListClusters",
                self._list,
                "ListClusters",
                f"{_PACKAGE}.ListClustersResponse",
                False,
                needs("container.clusters.list", "parent"),
            ),
            ("UpdateCluster", self._update, "UpdateCluster", _OPERATION, True, update),
            ("UpdateMaster", self._update_master, "UpdateMaster", _OPERATION, True, update),
            ("SetLabels", self._set_labels, "SetLabels", _OPERATION, True, update),
            ("SetLoggingService", self._set_logging, "SetLoggingService", _OPERATION, True, update),
            ("SetMonitoringService", self._set_monitoring, "SetMonitoringService", _OPERATION, True, update),
            ("SetLegacyAbac", self._set_legacy_abac, "SetLegacyAbac", _OPERATION, True, update),
            ("SetMaintenancePolicy", self._set_maintenance, "SetMaintenancePolicy", _OPERATION, True, update),
            (
                "DeleteCluster",
                self._delete,
                "DeleteCluster",
                _OPERATION,
                True,
                needs("container.clusters.delete", type_=_TYPE),
            ),
            (
                "GetOperation",
                self._get_operation,
                "GetOperation",
                _OPERATION,
                False,
                needs("container.operations.get"),
            ),
            (
                "ListOperations",
                self._list_operations,
                "ListOperations",
                f"{_PACKAGE}.ListOperationsResponse",
                False,
                needs("container.operations.list", "parent"),
            ),
        ):
            method = Method("container", name, deed, mutating, checks)
            yield Rpc(_INTERFACE, name, f"{_PACKAGE}.{request}Request", response, method)
        yield from self._pools.rpcs(_INTERFACE, _PACKAGE)
        yield from self._info.rpcs(_INTERFACE, _PACKAGE)

    @staticmethod
    def _needs_to_create(request: Request, /) -> Iterator[Check]:
        wanted = request.parameters.get("cluster") or {}
        parent = request.parameters.get("parent", "")
        yield Check("container.clusters.create", f"{parent}/clusters/{wanted.get('name', '')}", _TYPE)
        for pool in wanted.get("nodePools") or ():
            yield from NodePools.needs_to_run(pool, request.project)

    def _create(self, request: Request) -> Json:
        given = request.parameters
        wanted = given.get("cluster") or {}
        name = f"{given['parent']}/clusters/{wanted.get('name', '')}"
        if self.clusters.find(name) is not None:
            raise exists(f"Already exists: {name}.", domain="container.googleapis.com")
        require_labels(wanted.get("resourceLabels") or {})
        document = self._validation.cluster(name, wanted)
        if policy := wanted.get("maintenancePolicy"):
            document["maintenancePolicy"] = accepted(policy, document["currentMasterVersion"], self._cloud.clock.now())
        if not wanted.get("nodePools"):
            raise invalid("Cluster.initial_node_count must be greater than zero: a cluster needs a node pool.")
        cluster = ClusterRecord(name, secrets.token_hex(16), {**document, "id": ""})
        cluster.document |= {"id": cluster.id, "etag": etag_of(document), "labelFingerprint": secrets.token_hex(4)}
        pools = [self._validation.pool(cluster, pool) for pool in wanted["nodePools"]]
        self._validation.require_quota(cluster, pools)
        cluster.pools = {pool["name"]: PoolRecord(pool) for pool in pools}
        self.clusters.add(cluster)
        return self._operations.start(
            request,
            cluster,
            "CREATE_CLUSTER",
            self._cloud.durations.cluster,
            finish=lambda: self._begin_to_run(cluster),
            fail=lambda problem: self._fail(cluster, problem),
        )

    def _begin_to_run(self, cluster: ClusterRecord) -> Problem | None:
        """Let the control plane serve and the nodes join."""
        if (problem := self._machines.problem(cluster, cluster.pools.values())) is not None:
            return problem
        assert self.provider is not None
        running = self._kubernetes.create_cluster(
            cluster.id,
            version=versions.minor_of(cluster.document["currentMasterVersion"]),
            provider=self.provider,
            account=cluster.project,
            region=region_of(cluster.location),
        )
        self._open_firewall(cluster)
        # Google's field holds a host; a simulated cluster is told apart by the path behind it.
        endpoint = running.url.removeprefix("https://")
        authority = base64.b64encode(self._kubernetes.ca_pem).decode()
        cluster.document |= {
            "status": "RUNNING",
            "endpoint": endpoint,
            "masterAuth": {"clusterCaCertificate": authority},
        }
        endpoints = dict(cluster.document.get("controlPlaneEndpointsConfig") or {})
        endpoints["dnsEndpointConfig"] = {**(endpoints.get("dnsEndpointConfig") or {}), "endpoint": endpoint}
        cluster.document["controlPlaneEndpointsConfig"] = endpoints
        for pool in cluster.pools.values():
            self._machines.scale(cluster, pool)
            pool.document["status"] = "RUNNING"
        return None

    def _open_firewall(self, cluster: ClusterRecord) -> None:
        """Make the firewalls that GKE keeps for every cluster."""
        network = cluster.document["networkConfig"]["network"]
        tag = f"gke-{cluster.short_name}-{cluster.hash}-node"
        for suffix, allowed, sources in (
            ("all", [{"IPProtocol": "tcp"}, {"IPProtocol": "udp"}, {"IPProtocol": "icmp"}], ["10.0.0.0/8"]),
            ("master", [{"IPProtocol": "tcp", "ports": _MASTER_PORTS}], ["172.16.0.0/28"]),
            ("vms", [{"IPProtocol": "tcp", "ports": ["1-65535"]}], ["10.0.0.0/8"]),
        ):
            self._compute.put(
                f"projects/{cluster.project}/global/firewalls/gke-{cluster.short_name}-{cluster.hash}-{suffix}",
                {"network": network, "allowed": allowed, "sourceRanges": sources, "targetTags": [tag]},
            )

    def _close_firewall(self, cluster: ClusterRecord) -> None:
        for suffix in ("all", "master", "vms"):
            name = f"gke-{cluster.short_name}-{cluster.hash}-{suffix}"
            self._compute.records.remove(f"projects/{cluster.project}/global/firewalls/{name}")

    @staticmethod
    def _fail(cluster: ClusterRecord, problem: Problem) -> None:
        conditions = problem.conditions
        cluster.document |= {"status": "ERROR", "statusMessage": problem.message, "conditions": conditions}
        for pool in cluster.pools.values():
            pool.document |= {"status": "ERROR", "statusMessage": problem.message, "conditions": conditions}

    def _get(self, request: Request) -> Json:
        return self.clusters.get(request.parameters["name"]).described()

    def _list(self, request: Request) -> Json:
        _, project, _, location = request.parameters["parent"].split("/")
        found = [cluster.described() for cluster in self.clusters.of(project, location)]
        return {"clusters": found} if found else {}

    def _update(self, request: Request) -> Json:
        """Change one setting; a new version of the control plane is one too."""
        cluster = self.clusters.get(request.parameters["name"])
        update = {key: value for key, value in (request.parameters.get("update") or {}).items() if key != "etag"}
        etag = (request.parameters.get("update") or {}).get("etag")
        if etag and etag != cluster.document["etag"]:
            raise Refusal("ABORTED", "The cluster's etag does not match the one that was given.")
        if len(update) != 1:
            raise invalid("Exactly one update can be applied at a time.")
        field, value = next(iter(update.items()))
        if field == "desiredMasterVersion":
            return self._upgrade(request, cluster, value)
        if field == "desiredReleaseChannel":
            require_channel(value)
        return self._change(request, cluster, "UPDATE_CLUSTER", updated(cluster.document, field, value))

    def _update_master(self, request: Request) -> Json:
        cluster = self.clusters.get(request.parameters["name"])
        return self._upgrade(request, cluster, request.parameters.get("masterVersion", ""))

    def _upgrade(self, request: Request, cluster: ClusterRecord, wanted: str) -> Json:
        nodes = {pool.name: pool.document["version"] for pool in cluster.pools.values()}
        version = versions.upgraded(cluster.document["currentMasterVersion"], nodes, wanted)

        def apply() -> None:
            running = self._kubernetes.cluster(cluster.id)
            if running is not None:
                running.version = versions.minor_of(version)

        changes = {"currentMasterVersion": version}
        return self._change(
            request, cluster, "UPGRADE_MASTER", changes, self._cloud.durations.cluster_upgrade, apply=apply
        )

    def _set_labels(self, request: Request) -> Json:
        cluster = self.clusters.get(request.parameters["name"])
        labels = dict(request.parameters.get("resourceLabels") or {})
        require_labels(labels)
        if request.parameters.get("labelFingerprint") != cluster.document["labelFingerprint"]:
            raise failed_precondition("Labels could not be set due to fingerprint mismatch.")
        changes = {"resourceLabels": labels, "labelFingerprint": secrets.token_hex(4)}
        seconds = self._cloud.durations.node_pool_update
        request.had_effect = labels != (cluster.document.get("resourceLabels") or {})
        return self._change(
            request, cluster, "UPDATE_CLUSTER", changes, seconds, apply=lambda: self._machines.relabel(cluster)
        )

    def _set_logging(self, request: Request) -> Json:
        cluster = self.clusters.get(request.parameters["name"])
        return self._change(
            request, cluster, "UPDATE_CLUSTER", {"loggingService": request.parameters.get("loggingService", "none")}
        )

    def _set_monitoring(self, request: Request) -> Json:
        cluster = self.clusters.get(request.parameters["name"])
        changes = {"monitoringService": request.parameters.get("monitoringService", "none")}
        return self._change(request, cluster, "UPDATE_CLUSTER", changes)

    def _set_legacy_abac(self, request: Request) -> Json:
        cluster = self.clusters.get(request.parameters["name"])
        changes = {"legacyAbac": {"enabled": bool(request.parameters.get("enabled"))}}
        return self._change(request, cluster, "UPDATE_CLUSTER", changes)

    def _set_maintenance(self, request: Request) -> Json:
        cluster = self.clusters.get(request.parameters["name"])
        policy = request.parameters.get("maintenancePolicy") or {}
        current = (cluster.document.get("maintenancePolicy") or {}).get("resourceVersion", "")
        if policy.get("resourceVersion", "") != current:
            raise failed_precondition("Maintenance policy has been modified: resource_version does not match.")
        policy = accepted(policy, cluster.document["currentMasterVersion"], self._cloud.clock.now())
        return self._change(
            request,
            cluster,
            "SET_MAINTENANCE_POLICY",
            {"maintenancePolicy": {**policy, "resourceVersion": secrets.token_hex(4)}},
            self._cloud.durations.label,
        )

    def _change(
        self,
        request: Request,
        cluster: ClusterRecord,
        kind: str,
        changes: Mapping[str, Any],
        seconds: float | None = None,
        *,
        apply: Callable[[], None] | None = None,
    ) -> Json:
        """Start to change a running cluster, which is RECONCILING meanwhile."""
        self._operations.require_idle(cluster)
        if cluster.document["status"] not in ("RUNNING", "DEGRADED"):
            raise failed_precondition(f"Cluster {cluster.name} is {cluster.document['status']}, not RUNNING.")
        cluster.document["status"] = "RECONCILING"

        def finish() -> None:
            for remark in ("statusMessage", "conditions"):
                cluster.document.pop(remark, None)
            cluster.document |= {**changes, "status": "RUNNING"}
            cluster.document["etag"] = etag_of({**cluster.document, "at": self._cloud.clock.time()})
            if apply is not None:
                apply()

        def fail(problem: Problem) -> None:
            conditions = problem.conditions
            cluster.document |= {"status": "DEGRADED", "statusMessage": problem.message, "conditions": conditions}

        return self._operations.start(
            request,
            cluster,
            kind,
            self._cloud.durations.cluster_update if seconds is None else seconds,
            finish=finish,
            fail=fail,
        )

    def _delete(self, request: Request) -> Json:
        """Delete the cluster with its machines; what its controllers made for Services and claims stays behind."""
        cluster = self.clusters.get(request.parameters["name"])
        self._operations.require_idle(cluster)
        cluster.document["status"] = "STOPPING"
        for pool in cluster.pools.values():
            pool.document["status"] = "STOPPING"

        def finish() -> None:
            for pool in cluster.pools.values():
                self._machines.end_all(cluster, pool)
            self._close_firewall(cluster)
            self._kubernetes.delete_cluster(cluster.id)
            self.clusters.remove(cluster)

        return self._operations.start(
            request,
            cluster,
            "DELETE_CLUSTER",
            self._cloud.durations.cluster_deletion,
            finish=finish,
            fail=lambda problem: self._fail(cluster, problem),
        )

    def _get_operation(self, request: Request) -> Json:
        return self._operations.get(request.parameters["name"])

    def _list_operations(self, request: Request) -> Json:
        _, project, _, location = request.parameters["parent"].split("/")
        found = self._operations.of(project, location)
        return {"operations": found} if found else {}

    def forget(self) -> None:
        """Forget every cluster; the Kubernetes simulator forgets its own."""
        self.clusters.clear()
        self._operations.forget()
