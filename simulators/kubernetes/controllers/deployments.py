"""Deployments: rolling from one ReplicaSet to the next, as `deployment/rolling.go` of Kubernetes does it."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.conditions import finding
from simulators.kubernetes.controllers.controller import Controller, Surroundings
from simulators.kubernetes.controllers.pods import TEMPLATE_HASH, template_hash
from simulators.kubernetes.controllers.quantities import share
from simulators.kubernetes.objects import (
    Object,
    copied,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)

REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"


@dataclass(frozen=True)
class _Progress:
    """How far a rollout was when it last moved."""

    revision: str
    updated: int
    ready: int
    old: int
    at: float


def revision_of(obj: Object) -> int:
    """Return the rollout's number that a ReplicaSet or Deployment carries, 0 if none."""
    return int((obj["metadata"].get("annotations") or {}).get(REVISION, 0))


class DeploymentController(Controller):
    """Keeps one ReplicaSet for each template that a Deployment has had, and shifts replicas to the newest."""

    name = "deployment-controller"
    watches = (kinds.DEPLOYMENTS, kinds.REPLICA_SETS, kinds.PODS)

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self._progress: dict[str, _Progress] = {}
        """Keyed by the Deployment's uid."""

    def reconcile(self) -> None:
        """Take one step for every Deployment."""
        deployments = self.store.list(kinds.DEPLOYMENTS)
        for deployment in deployments:
            if not is_terminating(deployment):
                self._roll(deployment)
        living = {deployment["metadata"]["uid"] for deployment in deployments}
        self._progress = {uid: progress for uid, progress in self._progress.items() if uid in living}

    def _roll(self, deployment: Object) -> None:
        sets = self.owned(kinds.REPLICA_SETS, deployment)
        name = template_hash(deployment["spec"]["template"])
        current = next((entry for entry in sets if labels_of(entry).get(TEMPLATE_HASH) == name), None)
        if not deployment["spec"].get("paused"):
            current = self._make_current(deployment, sets, current, name)
            deployment = self._number(deployment, current)
            self._shift(deployment, current)
        else:
            self._hold(deployment, current)
        self._prune(deployment, name)
        self._report(deployment, name)

    def _make_current(self, deployment: Object, sets: list[Object], current: Object | None, name: str) -> Object:
        """Return the ReplicaSet of the Deployment's template, made or brought back, under the highest revision."""
        newest = max((revision_of(entry) for entry in sets), default=0)
        annotations = deployment["metadata"].get("annotations") or {}
        if current is None:
            return self._create(deployment, name, newest + 1)
        if current["spec"].get("minReadySeconds", 0) != deployment["spec"].get("minReadySeconds", 0):
            current = self.update_spec(
                kinds.REPLICA_SETS, current, {"minReadySeconds": deployment["spec"].get("minReadySeconds", 0)}
            )
        others = max((revision_of(entry) for entry in sets if entry is not current), default=0)
        numbered = dict(current["metadata"].get("annotations") or {})
        if revision_of(current) <= others:
            numbered[REVISION] = str(newest + 1)
        if CHANGE_CAUSE in annotations:
            numbered[CHANGE_CAUSE] = annotations[CHANGE_CAUSE]
        return self.update_metadata(kinds.REPLICA_SETS, current, {"annotations": numbered})

    def _create(self, deployment: Object, name: str, revision: int) -> Object:
        template = copied(deployment["spec"]["template"])
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[TEMPLATE_HASH] = name
        selector = copied(deployment["spec"]["selector"])
        selector.setdefault("matchLabels", {})[TEMPLATE_HASH] = name
        annotations = {REVISION: str(revision)}
        cause = (deployment["metadata"].get("annotations") or {}).get(CHANGE_CAUSE)
        if cause:
            annotations[CHANGE_CAUSE] = cause
        spec = {"replicas": 0, "selector": selector, "template": template}
        if "minReadySeconds" in deployment["spec"]:
            spec["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        return self.store.create(
            kinds.REPLICA_SETS,
            {
                "metadata": {
                    "name": f"{name_of(deployment)}-{name}",
                    "labels": dict(labels),
                    "annotations": annotations,
                    "ownerReferences": [owner_reference(deployment)],
                },
                "spec": spec,
                "status": {"replicas": 0},
            },
            namespace_of(deployment),
        )

    def _number(self, deployment: Object, current: Object) -> Object:
        annotations = deployment["metadata"].get("annotations") or {}
        numbered = {**annotations, REVISION: str(revision_of(current))}
        return self.update_metadata(kinds.DEPLOYMENTS, deployment, {"annotations": numbered})

    def _shift(self, deployment: Object, current: Object) -> None:
        """Scale the new ReplicaSet up and the old ones down as far as the strategy allows now."""
        wanted = _wanted(deployment)
        old = [entry for entry in self._sets(deployment) if entry["metadata"]["uid"] != current["metadata"]["uid"]]
        if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
            for entry in old:
                self._scale(deployment, entry, 0)
            if not any(self.owned(kinds.PODS, entry) for entry in old):
                self._scale(deployment, current, wanted)
            return
        surge, unavailable = _bounds(deployment)
        total = sum(_replicas(entry) for entry in old) + _replicas(current)
        room = max(0, wanted + surge - total)
        grown = wanted if not any(map(_replicas, old)) else min(wanted, _replicas(current) + room)
        current = self._scale(deployment, current, grown)
        self._shrink(deployment, current, old, wanted - unavailable)

    def _hold(self, deployment: Object, current: Object | None) -> None:
        """Follow the number of replicas alone, while the Deployment is paused: every ReplicaSet keeps its share.

        As in the real one, one that has all replicas already, and available, lets the others go.
        """
        wanted, (surge, _) = _wanted(deployment), _bounds(deployment)
        active = sorted(filter(_replicas, self._sets(deployment)), key=_replicas, reverse=True)
        if len(active) < 2:
            for entry in active or ([current] if current else []):
                self._scale(deployment, entry, wanted)
            return
        if current is not None and _replicas(current) == _available(current) == wanted:
            for entry in active:
                if entry["metadata"]["uid"] != current["metadata"]["uid"]:
                    self._scale(deployment, entry, 0)
            return
        total, allowed = sum(map(_replicas, active)), wanted + surge if wanted else 0
        shares = [round(_replicas(entry) * allowed / total) for entry in active]
        shares[0] += allowed - sum(shares)
        for entry, replicas in zip(active, shares, strict=True):
            self._scale(deployment, entry, replicas)

    def _shrink(self, deployment: Object, current: Object, old: list[Object], least_available: int) -> None:
        """Take replicas from old ReplicaSets: first those that serve nobody, then as many as may be missed."""
        total = sum(_replicas(entry) for entry in (*old, current))
        missing = _replicas(current) - _available(current)
        may_go = total - least_available - missing
        spare = sum(_available(entry) for entry in (*old, current)) - least_available
        for entry in sorted(old, key=revision_of):
            idle = min(max(0, _replicas(entry) - _available(entry)), max(0, may_go))
            busy = min(_replicas(entry) - idle, max(0, spare), max(0, may_go - idle))
            self._scale(deployment, entry, _replicas(entry) - idle - busy)
            may_go -= idle + busy
            spare -= busy

    def _scale(self, deployment: Object, replica_set: Object, replicas: int) -> Object:
        before = _replicas(replica_set)
        if before == replicas:
            return replica_set
        direction = "up" if replicas > before else "down"
        message = f"Scaled {direction} replica set {name_of(replica_set)} from {before} to {replicas}"
        self.events.normal(deployment, self.name, "ScalingReplicaSet", message)
        return self.update_spec(kinds.REPLICA_SETS, replica_set, {"replicas": replicas})

    def _prune(self, deployment: Object, current_name: str) -> None:
        """Delete the oldest empty ReplicaSets beyond the history that the Deployment keeps."""
        empty = [
            entry
            for entry in self._sets(deployment)
            if labels_of(entry).get(TEMPLATE_HASH) != current_name
            and not _replicas(entry)
            and not (entry.get("status") or {}).get("replicas")
        ]
        kept = deployment["spec"].get("revisionHistoryLimit", 10)
        for entry in sorted(empty, key=revision_of)[: max(0, len(empty) - kept)]:
            self.store.delete(kinds.REPLICA_SETS, entry)

    def _report(self, deployment: Object, current_name: str) -> None:
        sets = self._sets(deployment)
        current = [entry for entry in sets if labels_of(entry).get(TEMPLATE_HASH) == current_name]
        wanted = _wanted(deployment)
        total, updated = _counted(sets, "replicas"), _counted(current, "replicas")
        ready, available = _counted(sets, "readyReplicas"), _counted(sets, "availableReplicas")
        complete = updated == wanted and total == wanted and _counted(current, "availableReplicas") == wanted
        _, unavailable = _bounds(deployment)
        enough = available >= wanted - unavailable
        self.update_status(
            kinds.DEPLOYMENTS,
            deployment,
            {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": total,
                "updatedReplicas": updated,
                "readyReplicas": ready,
                "availableReplicas": available,
                "unavailableReplicas": max(0, max(total, wanted) - available) or None,
            },
            [
                finding(
                    "Available",
                    enough,
                    "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
                    f"Deployment {'has' if enough else 'does not have'} minimum availability.",
                ),
                self._progressing(deployment, current, complete, _Progress(current_name, updated, ready, total, 0.0)),
            ],
        )

    def _progressing(self, deployment: Object, current: list[Object], complete: bool, seen: _Progress) -> Object:
        named = f'ReplicaSet "{name_of(current[0])}"' if current else "ReplicaSet"
        uid = deployment["metadata"]["uid"]
        if complete:
            self._progress.pop(uid, None)
            return finding("Progressing", True, "NewReplicaSetAvailable", f"{named} has successfully progressed.")
        if deployment["spec"].get("paused"):
            return finding("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        before = self._progress.get(uid)
        since = before.at if before else self.alarm.now()
        if before is None or (before.revision, before.updated, before.ready, before.old) != (
            seen.revision,
            seen.updated,
            seen.ready,
            seen.old,
        ):
            since = self.alarm.now()
            self._progress[uid] = _Progress(seen.revision, seen.updated, seen.ready, seen.old, since)
        deadline = deployment["spec"].get("progressDeadlineSeconds", 600)
        if self.alarm.has_passed(since, deadline, least_real=self.durations.least_deadline):
            return finding("Progressing", False, "ProgressDeadlineExceeded", f"{named} has timed out progressing.")
        return finding("Progressing", True, "ReplicaSetUpdated", f"{named} is progressing.")

    def _sets(self, deployment: Object) -> list[Object]:
        return self.owned(kinds.REPLICA_SETS, deployment)


def _wanted(deployment: Object) -> int:
    replicas: int = deployment["spec"].get("replicas", 1)
    return replicas


def _replicas(replica_set: Object) -> int:
    replicas: int = replica_set["spec"].get("replicas", 0)
    return replicas


def _available(replica_set: Object) -> int:
    return _counted([replica_set], "availableReplicas")


def _counted(sets: list[Object], field: str) -> int:
    return sum((entry.get("status") or {}).get(field, 0) for entry in sets)


def _bounds(deployment: Object) -> tuple[int, int]:
    """Return (maxSurge, maxUnavailable) as numbers of pods; both at 0 would never move, so one may be missing then."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, _wanted(deployment)
    rolling = strategy.get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge", "25%"), _wanted(deployment), round_up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), _wanted(deployment), round_up=False)
    return surge, unavailable if surge or unavailable else 1
