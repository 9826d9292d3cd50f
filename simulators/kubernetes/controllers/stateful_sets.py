"""StatefulSets: numbered pods with volumes of their own, as `statefulset/stateful_set_control.go` keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.controller import Controller
from simulators.kubernetes.controllers.pods import (
    REVISION_HASH,
    create_pod,
    is_available,
    is_finished,
    is_serving,
)
from simulators.kubernetes.controllers.revisions import current_revision, prune, revisions_of, template_in
from simulators.kubernetes.objects import (
    Object,
    copied,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)


@dataclass(frozen=True)
class _Rollout:
    """One StatefulSet with the two revisions that it stands between."""

    stateful_set: Object
    current: str
    """Name of the revision that pods below the partition keep."""
    update: str
    """Name of the revision of the present template."""
    pods: dict[int, Object]
    """Keyed by ordinal."""

    @property
    def replicas(self) -> int:
        replicas: int = self.stateful_set["spec"].get("replicas", 1)
        return replicas

    @property
    def parallel(self) -> bool:
        return bool(self.stateful_set["spec"].get("podManagementPolicy") == "Parallel")

    @property
    def strategy(self) -> Object:
        return self.stateful_set["spec"].get("updateStrategy") or {}

    @property
    def partition(self) -> int:
        partition: int = (self.strategy.get("rollingUpdate") or {}).get("partition", 0)
        return partition


class StatefulSetController(Controller):
    """Makes pods in the order of their ordinals, and replaces them from the highest down to the partition.

    With ordered pod management nothing moves past a pod that is not ready, not even a template that has been put
    right: whoever rolls back has to delete the stuck pod, as with real clusters.
    """

    name = "statefulset-controller"
    watches = (kinds.STATEFUL_SETS, kinds.PODS, kinds.PERSISTENT_VOLUME_CLAIMS)

    def reconcile(self) -> None:
        """Take one step for every StatefulSet."""
        for stateful_set in self.store.list(kinds.STATEFUL_SETS):
            if not is_terminating(stateful_set):
                self._advance(stateful_set)

    def _advance(self, stateful_set: Object) -> None:
        update = name_of(current_revision(self.store, stateful_set))
        current = (stateful_set.get("status") or {}).get("currentRevision") or update
        rollout = _Rollout(stateful_set, current, update, self._pods(stateful_set))
        if self._fill(rollout) and self._shrink(rollout):
            self._replace_next(rollout)
        rollout = _Rollout(stateful_set, current, update, self._pods(stateful_set))
        self._report(rollout)
        used = {labels_of(pod).get(REVISION_HASH, "") for pod in rollout.pods.values()}
        prune(self.store, stateful_set, {current, update, *used})

    def _pods(self, stateful_set: Object) -> dict[int, Object]:
        pods = self.owned(kinds.PODS, stateful_set)
        return {int(name_of(pod).rsplit("-", 1)[1]): pod for pod in pods}

    def _fill(self, rollout: _Rollout) -> bool:
        """Create what is missing; return whether the next phase may start."""
        for ordinal in range(rollout.replicas):
            pod = rollout.pods.get(ordinal)
            if pod is not None and is_finished(pod) and not is_terminating(pod):
                self.store.delete(kinds.PODS, pod)
                return False
            if pod is None:
                self._create(rollout, ordinal)
            if not rollout.parallel and (pod is None or not is_serving(pod)):
                return False
        return True

    def _create(self, rollout: _Rollout, ordinal: int) -> None:
        stateful_set = rollout.stateful_set
        name = f"{name_of(stateful_set)}-{ordinal}"
        claims = self._ensure_claims(stateful_set, ordinal)
        revision = rollout.current if self._keeps_current(rollout, ordinal) else rollout.update
        kept = {name_of(entry): entry for entry in revisions_of(self.store, stateful_set)}
        template = template_in(kept[revision if revision in kept else rollout.update])
        volumes = [volume for volume in template["spec"].get("volumes") or () if volume["name"] not in claims]
        volumes += [{"name": key, "persistentVolumeClaim": {"claimName": claim}} for key, claim in claims.items()]
        labels = {
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(ordinal),
            REVISION_HASH: revision,
        }
        named = {"hostname": name, "subdomain": stateful_set["spec"].get("serviceName", ""), "volumes": volumes}
        create_pod(self.store, stateful_set, template, name, labels=labels, spec=named)
        message = f"create Pod {name} in StatefulSet {name_of(stateful_set)} successful"
        self.events.normal(stateful_set, self.name, "SuccessfulCreate", message)

    def _keeps_current(self, rollout: _Rollout, ordinal: int) -> bool:
        """Return whether a pod that has to be made anew is made from the old template."""
        if rollout.strategy.get("type") == "OnDelete" or rollout.current == rollout.update:
            return False
        if rollout.partition:
            return ordinal < rollout.partition
        return ordinal < int((rollout.stateful_set.get("status") or {}).get("currentReplicas", 0))

    def _ensure_claims(self, stateful_set: Object, ordinal: int) -> dict[str, str]:
        """Create the pod's volume claims if they are missing; return claim names keyed by volume name."""
        names: dict[str, str] = {}
        for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
            volume = name_of(template)
            names[volume] = f"{volume}-{name_of(stateful_set)}-{ordinal}"
            if self.store.get(kinds.PERSISTENT_VOLUME_CLAIMS, namespace_of(stateful_set), names[volume]) is None:
                self._create_claim(stateful_set, template, names[volume])
        return names

    def _create_claim(self, stateful_set: Object, template: Object, name: str) -> None:
        labels = (stateful_set["spec"]["selector"].get("matchLabels")) or {}
        metadata: Object = {
            "annotations": copied(template["metadata"].get("annotations") or {}),
            "name": name,
            "labels": {**labels, **labels_of(template)},
        }
        policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        if policy.get("whenDeleted") == "Delete":
            metadata["ownerReferences"] = [owner_reference(stateful_set)]
        claim = {"metadata": metadata, "spec": copied(template["spec"])}
        self.store.create(kinds.PERSISTENT_VOLUME_CLAIMS, claim, namespace_of(stateful_set))

    def _shrink(self, rollout: _Rollout) -> bool:
        """Delete pods beyond the number asked for, the highest first; return whether there were none."""
        surplus = sorted((ordinal for ordinal in rollout.pods if ordinal >= rollout.replicas), reverse=True)
        for ordinal in surplus:
            pod = rollout.pods[ordinal]
            if not is_terminating(pod):
                self.store.delete(kinds.PODS, pod)
                self._drop_claims_of(rollout.stateful_set, ordinal)
            if not rollout.parallel:
                break
        return not surplus

    def _drop_claims_of(self, stateful_set: Object, ordinal: int) -> None:
        policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        if policy.get("whenScaled") != "Delete":
            return
        for volume in stateful_set["spec"].get("volumeClaimTemplates") or ():
            name = f"{name_of(volume)}-{name_of(stateful_set)}-{ordinal}"
            claim = self.store.get(kinds.PERSISTENT_VOLUME_CLAIMS, namespace_of(stateful_set), name)
            if claim is not None:
                self.store.delete(kinds.PERSISTENT_VOLUME_CLAIMS, claim)

    def _replace_next(self, rollout: _Rollout) -> None:
        """Delete the highest pod of another revision at or above the partition; it comes back as the new one."""
        if rollout.strategy.get("type") == "OnDelete":
            return
        for ordinal in range(rollout.replicas - 1, rollout.partition - 1, -1):
            pod = rollout.pods.get(ordinal)
            if pod is None or is_terminating(pod):
                return
            if labels_of(pod).get(REVISION_HASH) != rollout.update:
                self.store.delete(kinds.PODS, pod)
                message = f"delete Pod {name_of(pod)} in StatefulSet {name_of(rollout.stateful_set)} successful"
                self.events.normal(rollout.stateful_set, self.name, "SuccessfulDelete", message)
                return
            if not is_serving(pod):
                return

    def _report(self, rollout: _Rollout) -> None:
        living = [pod for pod in rollout.pods.values() if not is_terminating(pod)]
        ready = sum(is_serving(pod) for pod in living)
        updated = sum(labels_of(pod).get(REVISION_HASH) == rollout.update for pod in living)
        complete = updated == ready == rollout.replicas == len(rollout.pods)
        current = rollout.update if complete else rollout.current
        least = rollout.stateful_set["spec"].get("minReadySeconds", 0)
        self.update_status(
            kinds.STATEFUL_SETS,
            rollout.stateful_set,
            {
                "observedGeneration": rollout.stateful_set["metadata"]["generation"],
                "replicas": len(rollout.pods),
                "readyReplicas": ready,
                "availableReplicas": sum(is_available(pod, least, self.alarm) for pod in living),
                "currentReplicas": sum(labels_of(pod).get(REVISION_HASH) == current for pod in living),
                "updatedReplicas": updated,
                "currentRevision": current,
                "updateRevision": rollout.update,
                "collisionCount": 0,
            },
        )
