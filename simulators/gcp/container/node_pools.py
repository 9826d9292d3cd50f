"""Node pools of GKE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from simulators.gcp.api import Check, Method, Request, Rpc, needs
from simulators.gcp.cloud import Cloud
from simulators.gcp.container import versions
from simulators.gcp.container.machines import Machines
from simulators.gcp.container.operations import Ending, Operations, Problem
from simulators.gcp.container.records import ClusterRecord, Clusters, PoolRecord
from simulators.gcp.container.surge import Surge
from simulators.gcp.container.validation import Validation, management
from simulators.gcp.refusals import Json, exists, failed_precondition, invalid

_TYPE = "container.googleapis.com/Cluster"
_SETTINGS = {
    "upgradeSettings": ("upgradeSettings",),
    "labels": ("config", "labels"),
    "taints": ("config", "taints"),
    "resourceLabels": ("config", "resourceLabels"),
    "locations": ("locations",),
}
"""Where a setting of UpdateNodePool is kept in the pool's document."""
_WRAPPED: Mapping[str, tuple[str, Callable[[], Any]]] = {
    "labels": ("labels", dict),
    "taints": ("taints", list),
    "resourceLabels": ("labels", dict),
}
"""What comes wrapped in a message of its own: the message's field, and what stands for an empty one."""


class NodePools:
    """The methods on node pools: whoever may update a cluster may call them."""

    def __init__(
        self,
        cloud: Cloud,
        clusters: Clusters,
        operations: Operations,
        validation: Validation,
        machines: Machines,
        surge: Surge,
    ) -> None:
        self._cloud = cloud
        self._clusters = clusters
        self._operations = operations
        self._validation = validation
        self._machines = machines
        self._surge = surge

    def rpcs(self, interface: str, package: str) -> Iterator[Rpc]:
        """Return the methods."""
        operation, pool = f"{package}.Operation", f"{package}.NodePool"
        read, change = needs("container.clusters.get", type_=_TYPE), _needs_to_change
        for name, deed, response, mutating, checks in (
            ("CreateNodePool", self._create, operation, True, self._needs_to_create),
            ("GetNodePool", self._get, pool, False, read),
            (
                "ListNodePools",
                self._list,
                f"{package}.ListNodePoolsResponse",
                False,
                needs("container.clusters.get", "parent", _TYPE),
            ),
            ("UpdateNodePool", self._update, operation, True, change),
            ("SetNodePoolSize", self._set_size, operation, True, change),
            ("SetNodePoolAutoscaling", self._set_autoscaling, operation, True, change),
            ("SetNodePoolManagement", self._set_management, operation, True, change),
            ("DeleteNodePool", self._delete, operation, True, change),
        ):
            method = Method("container", name, deed, mutating, checks)
            yield Rpc(interface, name, f"{package}.{name}Request", response, method)

    @staticmethod
    def needs_to_run(pool: Json, project: str) -> Iterator[Check]:
        """Yield what a caller needs to let machines run as a service account."""
        account = (pool.get("config") or {}).get("serviceAccount")
        if account and account != "default":
            resource = f"projects/{project}/serviceAccounts/{account}"
            yield Check("iam.serviceAccounts.actAs", resource, "iam.googleapis.com/ServiceAccount")

    @classmethod
    def _needs_to_create(cls, request: Request, /) -> Iterator[Check]:
        yield Check("container.clusters.update", request.parameters.get("parent", ""), _TYPE)
        yield from cls.needs_to_run(request.parameters.get("nodePool") or {}, request.project)

    def _create(self, request: Request) -> Json:
        cluster = self._clusters.get(request.parameters["parent"])
        wanted = request.parameters.get("nodePool") or {}
        name = f"{cluster.name}/nodePools/{wanted.get('name', '')}"
        if wanted.get("name") in cluster.pools:
            raise exists(f"Already exists: {name}.", domain="container.googleapis.com")
        self._require_running(cluster)
        document = self._validation.pool(cluster, wanted)
        self._validation.require_quota(cluster, [document])
        pool = PoolRecord(document)
        cluster.pools[pool.name] = pool

        def finish() -> Problem | None:
            if (problem := self._machines.problem(cluster, [pool])) is not None:
                return problem
            self._machines.scale(cluster, pool)
            pool.document["status"] = "RUNNING"
            return None

        return self._start(request, cluster, pool, "CREATE_NODE_POOL", self._cloud.durations.node_pool, finish)

    def _require_running(self, cluster: ClusterRecord) -> None:
        self._operations.require_idle(cluster)
        if cluster.document["status"] not in ("RUNNING", "DEGRADED"):
            raise failed_precondition(f"Cluster {cluster.name} is {cluster.document['status']}, not RUNNING.")

    def _start(
        self,
        request: Request,
        cluster: ClusterRecord,
        pool: PoolRecord,
        kind: str,
        seconds: float,
        finish: Callable[[], Problem | None],
    ) -> Json:
        def fail(problem: Problem) -> None:
            failed = "RUNNING_WITH_ERROR" if pool.instances else "ERROR"
            conditions = problem.conditions
            pool.document |= {"status": failed, "statusMessage": problem.message, "conditions": conditions}

        target = f"{cluster.name}/nodePools/{pool.name}"
        return self._operations.start(request, cluster, kind, seconds, finish=finish, fail=fail, target=target)

    def _get(self, request: Request) -> Json:
        return self._clusters.pool(request.parameters["name"])[1].document

    def _list(self, request: Request) -> Json:
        cluster = self._clusters.get(request.parameters["parent"])
        found = [pool.document for pool in cluster.pools.values()]
        return {"nodePools": found} if found else {}

    def _update(self, request: Request) -> Json:
        """Replace the machines by ones of another version, or change settings."""
        cluster, pool = self._clusters.pool(request.parameters["name"])
        self._require_running(cluster)
        given = request.parameters
        if given.get("nodeVersion"):
            return self._upgrade(request, cluster, pool, given["nodeVersion"])
        changes = {key: given[key] for key in _SETTINGS if key in given}
        if not changes:
            raise invalid(f"No setting is given; simulated are {', '.join(sorted(_SETTINGS))} and nodeVersion.")

        def apply() -> None:
            for key, value in changes.items():
                _put(pool.document, _SETTINGS[key], value)
            if "labels" in changes or "taints" in changes:
                self._machines.replace(cluster, pool)

        return self._reconcile(request, cluster, pool, "UPDATE_CLUSTER", self._cloud.durations.node_pool_update, apply)

    def _upgrade(self, request: Request, cluster: ClusterRecord, pool: PoolRecord, wanted: str) -> Json:
        """Replace the machines that have another version."""
        master = cluster.document["currentMasterVersion"]
        version = master if wanted == "-" else versions.resolved(wanted)
        if versions.distance(master, version) > 0:
            raise invalid(f'Node version "{version}" must not have a newer minor version than master "{master}".')
        finish, fail = self._reconciling(cluster, pool)

        def then(end: Ending) -> Callable[[], None]:
            def ended(problem: Problem | None) -> None:
                if problem is None:
                    finish()
                end(problem)

            return lambda: self._surge.replace(cluster, pool, version, ended)

        seconds, target = self._cloud.durations.node_upgrade, f"{cluster.name}/nodePools/{pool.name}"
        return self._operations.start_long(
            request, cluster, "UPGRADE_NODES", seconds, then=then, fail=fail, target=target
        )

    def _set_size(self, request: Request) -> Json:
        cluster, pool = self._clusters.pool(request.parameters["name"])
        self._require_running(cluster)
        count = int(request.parameters.get("nodeCount", 0))

        def apply() -> Problem | None:
            return self._rescale(cluster, pool, {"initialNodeCount": count})

        seconds = self._cloud.durations.node_pool_update
        return self._reconcile(request, cluster, pool, "SET_NODE_POOL_SIZE", seconds, apply)

    def _set_autoscaling(self, request: Request) -> Json:
        cluster, pool = self._clusters.pool(request.parameters["name"])
        self._require_running(cluster)
        scaling = request.parameters.get("autoscaling") or {}

        def apply() -> Problem | None:
            return self._rescale(cluster, pool, {"autoscaling": scaling})

        seconds = self._cloud.durations.node_pool_update
        return self._reconcile(request, cluster, pool, "UPDATE_CLUSTER", seconds, apply)

    def _rescale(self, cluster: ClusterRecord, pool: PoolRecord, changes: Mapping[str, Any]) -> Problem | None:
        """Let the pool have another size, if there are machines for it."""
        before = {key: pool.document.get(key) for key in changes}
        pool.document.update(changes)
        if (problem := self._machines.problem(cluster, [pool])) is not None:
            pool.document.update({key: value for key, value in before.items() if value is not None})
            return problem
        self._machines.scale(cluster, pool)
        return None

    def _set_management(self, request: Request) -> Json:
        cluster, pool = self._clusters.pool(request.parameters["name"])
        self._require_running(cluster)
        wanted = management(cluster.document, request.parameters.get("management") or {})

        def apply() -> None:
            pool.document["management"] = wanted

        return self._reconcile(request, cluster, pool, "SET_NODE_POOL_MANAGEMENT", self._cloud.durations.label, apply)

    def _reconcile(
        self,
        request: Request,
        cluster: ClusterRecord,
        pool: PoolRecord,
        kind: str,
        seconds: float,
        apply: Callable[[], Problem | None],
    ) -> Json:
        """Start to change a pool; it and its cluster are RECONCILING meanwhile."""
        done, fail = self._reconciling(cluster, pool)

        def finish() -> Problem | None:
            problem = apply()
            done()
            return problem

        target = f"{cluster.name}/nodePools/{pool.name}"
        return self._operations.start(request, cluster, kind, seconds, finish=finish, fail=fail, target=target)

    def _reconciling(
        self, cluster: ClusterRecord, pool: PoolRecord
    ) -> tuple[Callable[[], None], Callable[[Problem], None]]:
        """Let pool and cluster be RECONCILING; return what is to be called when the change is done, and if it fails."""
        self._operations.require_idle(cluster)
        pool.document["status"] = "RECONCILING"
        cluster.document["status"] = "RECONCILING"

        def done() -> None:
            cluster.document["status"] = "RUNNING"
            pool.document["status"] = "RUNNING"
            for remark in ("statusMessage", "conditions"):
                pool.document.pop(remark, None)

        def fail(problem: Problem) -> None:
            conditions = problem.conditions
            cluster.document["status"] = "RUNNING"
            pool.document |= {
                "status": "RUNNING_WITH_ERROR",
                "statusMessage": problem.message,
                "conditions": conditions,
            }

        return done, fail

    def _delete(self, request: Request) -> Json:
        cluster, pool = self._clusters.pool(request.parameters["name"])
        self._operations.require_idle(cluster)
        pool.document["status"] = "STOPPING"

        def finish() -> None:
            self._machines.end_all(cluster, pool)
            cluster.pools.pop(pool.name, None)

        seconds = self._cloud.durations.node_pool_deletion
        return self._start(request, cluster, pool, "DELETE_NODE_POOL", seconds, finish)


def _needs_to_change(request: Request, /) -> Iterator[Check]:
    cluster = str(request.parameters.get("name", "")).partition("/nodePools/")[0]
    yield Check("container.clusters.update", cluster, _TYPE)


def _put(document: Json, path: tuple[str, ...], value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Replace one setting; labels and taints come wrapped in a message of their own."""
    *parents, last = path
    for step in parents:
        document = document.setdefault(step, {})
    wrapper = _WRAPPED.get(last)
    document[last] = value if wrapper is None else value.get(wrapper[0], wrapper[1]())
