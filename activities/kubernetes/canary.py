"""One pod of a component on the new release, the others as they were, until somebody decides; and the way back.

A Deployment is held twice. Its new pods do not count as available for a week, so that its controller cannot go past
the first one, however late we look; and it is paused as soon as that one exists, which is what people look for. The
store is held by the partition of its update. Installing the component ends both, because its manifest has neither.
"""

from __future__ import annotations

import copy

from activities.failures import refused
from activities.kubernetes.access import ClusterApi
from activities.kubernetes.apply import bring_about, bring_in_line, check_ours, holds, with_hash
from activities.kubernetes.component import pods_of, rolled_out, runs
from activities.kubernetes.manifests.desired import Desired
from activities.kubernetes.objects import STATEFUL_SET, Object, is_ready, kind_of, reference_to
from activities.kubernetes.patience import still_waiting
from activities.kubernetes.rollout import pods_problem
from activities.kubernetes.settings import KubernetesSettings
from domain.facts import ComponentStatus
from domain.failure import FailureClass
from domain.release import Release
from domain.shape import Component

_HELD_SECONDS = 7 * 24 * 3600
"""How long a new pod of a held Deployment has to be ready before it counts as available."""
_DEADLINE_SECONDS = _HELD_SECONDS + 3600
"""Of its progress; Kubernetes wants it to be longer."""


def stage(
    api: ClusterApi, component: Component, release: Release, workload: Object, settings: KubernetesSettings
) -> ComponentStatus:
    """Return the status of the canary, one pod of one, once it is ready.

    Of a store with a single replica that is the replica itself: it is updated as a whole. What is promoted already, or
    being promoted, is left as it is.

    Raises:
        ApplicationError: CONFIG if there is no such component yet; NOT_READY while the pod is not ready; after the
            grace, what keeps it from being so.
    """
    reference = reference_to(workload)
    found = api.get(reference)
    if found is None:
        raise refused(
            FailureClass.CONFIG, f"{reference} is not there, so that it has no canary", resource=str(reference)
        )
    check_ours(api.site, found, reference)
    if not holds(found, with_hash(workload)):
        bring_in_line(api, _held(workload, found))
        found = api.get(reference) or found
    canaries = [pod for pod in pods_of(api, component) if runs(pod, release)]
    if kind_of(workload) is not STATEFUL_SET and canaries and not holds(found, with_hash(workload)):
        bring_in_line(api, _paused(workload))
    ready = [pod for pod in canaries if is_ready(pod)]
    if not ready:
        message = f"{component}: {len(canaries)} pods of release {release.version}, none of them ready"
        raise still_waiting(settings, message, pods_problem(canaries))
    return ComponentStatus(component=component, image=release.components[component], ready=1, desired=1)


def roll_back(
    api: ClusterApi, component: Component, release: Release, desired: Desired, settings: KubernetesSettings
) -> ComponentStatus:
    """Return the status once every pod is of `release`, the one from before, and ready.

    Pods of the store that are stuck in the other release are deleted, for a StatefulSet may not move past one; a
    Deployment takes them away itself.

    Raises:
        ApplicationError: NOT_READY while it is under way; after the grace, what keeps it from going on.
    """
    bring_about(api, desired)
    if component is Component.STORE:
        for pod in pods_of(api, component):
            if not runs(pod, release) and not is_ready(pod):
                api.delete(reference_to(pod), uid=pod["metadata"]["uid"])
    return rolled_out(api, component, release, workload_of(desired), settings)


def workload_of(desired: Desired) -> Object:
    """Return the StatefulSet or Deployment among what makes up a component."""
    return next(obj for obj in desired.present if "template" in (obj.get("spec") or {}))


def _held(workload: Object, found: Object) -> Object:
    """Return the manifest that lets one pod run the new release; `found` is what there is now."""
    if kind_of(workload) is STATEFUL_SET:
        return _partitioned(workload, found)
    paused = _paused(workload)
    if holds(found, with_hash(paused)):
        return paused
    return _long_unavailable(workload)


def _partitioned(workload: Object, found: Object) -> Object:
    """Return the store's manifest with all but its highest replica kept; a partition that holds one already stays."""
    replicas = int(found["spec"].get("replicas", 1))
    now = int(((found["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition", 0))
    held = copy.deepcopy(workload)
    held["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = now if 0 < now < replicas else max(0, replicas - 1)
    return held


def _long_unavailable(workload: Object) -> Object:
    held = copy.deepcopy(workload)
    held["spec"] |= {"minReadySeconds": _HELD_SECONDS, "progressDeadlineSeconds": _DEADLINE_SECONDS}
    return held


def _paused(workload: Object) -> Object:
    held = _long_unavailable(workload)
    held["spec"]["paused"] = True
    return held
