"""Surge upgrades of node pools: new machines first, old ones drained by eviction, and after an hour without mercy."""

from __future__ import annotations

from simulators.gcp.cloud import Cloud
from simulators.gcp.container.machines import Machines
from simulators.gcp.container.operations import Ending
from simulators.gcp.container.records import ClusterRecord, PoolRecord
from simulators.kubernetes.draining import ask_to_leave, cordon, end_pods, pods_to_move
from simulators.kubernetes.simulator import KubernetesSimulator

BUDGETS_HONOURED = 3600.0
"""Simulated seconds for which a drain waits for disruption budgets."""


class Surge:
    """Replaces the machines of a pool that have not the wanted version, as many at once as its settings say."""

    def __init__(self, cloud: Cloud, machines: Machines, kubernetes: KubernetesSimulator) -> None:
        self._cloud = cloud
        self._machines = machines
        self._kubernetes = kubernetes

    def replace(self, cluster: ClusterRecord, pool: PoolRecord, version: str, end: Ending) -> None:
        """Replace the next ones, and later the others; `end` is called once all have the version, or with a problem.

        After a problem, what was replaced so far keeps its new version.
        """
        old = [instance for instance in pool.instances if pool.versions[instance] != version]
        if not old:
            pool.document["version"] = version
            end(None)
            return
        settings = pool.document["upgradeSettings"]
        surge, unavailable = int(settings.get("maxSurge", 0)), int(settings.get("maxUnavailable", 0))
        batch = old[: max(surge + unavailable, 1)]
        extra = min(surge, len(batch))
        if (problem := self._machines.problem(cluster, [pool], beyond=extra)) is not None:
            end(problem)
            return
        for instance in batch[:extra]:
            self._machines.launch(cluster, pool, zone=instance.split("/")[3], version=version)
        running = self._kubernetes.cluster(cluster.id)
        nodes = [pool.instances[instance] for instance in batch]
        for node in nodes:
            cordon(running, node)
        deadline = self._cloud.clock.time() + BUDGETS_HONOURED

        def drained() -> bool:
            forced = self._cloud.clock.time() >= deadline
            # Every node is drained, whether or not another one can be.
            for node in nodes:
                (end_pods if forced else ask_to_leave)(running, node)
            return not any(pods_to_move(running, node) for node in nodes)

        def ended() -> None:
            for index, instance in enumerate(batch):
                self._machines.end(cluster, pool, instance)
                if index >= extra:
                    self._machines.launch(cluster, pool, zone=instance.split("/")[3], version=version)
            more = any(pool.versions[instance] != version for instance in pool.instances)
            seconds = self._cloud.durations.node_upgrade if more else 0.0
            self._cloud.work.start(seconds, lambda: self.replace(cluster, pool, version, end))

        self._cloud.work.when(drained, ended)
