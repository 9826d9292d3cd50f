"""Pods as workload controllers see them: made from a template, alive, ready, available, and asking for resources."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.quantities import amount
from simulators.kubernetes.controllers.timing import Alarm
from simulators.kubernetes.objects import (
    Object,
    condition,
    copied,
    is_ready,
    is_terminating,
    name_of,
    namespace_of,
    owner_reference,
)
from simulators.kubernetes.store import Store

TEMPLATE_HASH = "pod-template-hash"
REVISION_HASH = "controller-revision-hash"

_HELD = 3600
"""Seconds of `minReadySeconds` from which on they hold a rollout instead of delaying it."""
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""The alphabet of generated names: no vowels, so that no words arise."""


@dataclass(frozen=True)
class Requests:
    """What a pod reserves on its node."""

    cpu: float
    """Cores."""
    memory: float
    """Bytes."""


def template_hash(template: Object) -> str:
    """Return a short name for the content of a pod template; a hash label in it does not count."""
    plain = copied(template)
    metadata = plain.get("metadata") or {}
    metadata.pop("creationTimestamp", None)
    if metadata.get("labels"):
        metadata["labels"].pop(TEMPLATE_HASH, None)
    canonical = json.dumps(plain, sort_keys=True).encode()
    return hashlib.sha256(canonical).hexdigest()[:10]


def random_suffix() -> str:
    """Return five letters that make a generated name unique."""
    return "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))


def create_pod(
    store: Store,
    owner: Object,
    template: Object,
    name: str,
    *,
    labels: Mapping[str, str],
    spec: Mapping[str, object] | None = None,
) -> Object:
    """Create a pod from `template` for `owner`, with further labels and fields of the specification."""
    metadata = template.get("metadata") or {}
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace_of(owner),
            "labels": {**(metadata.get("labels") or {}), **labels},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {**copied(template["spec"]), **(spec or {})},
        "status": {"phase": "Pending"},
    }
    if metadata.get("annotations"):
        pod["metadata"]["annotations"] = copied(metadata["annotations"])
    return store.create(kinds.PODS, pod, namespace_of(owner))


def phase_of(pod: Object) -> str:
    """Return the pod's phase, `Pending` before anyone has set one."""
    phase: str = (pod.get("status") or {}).get("phase") or "Pending"
    return phase


def is_finished(pod: Object) -> bool:
    """Return whether the pod's containers have ended for good."""
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Return whether the pod counts towards its owner's replicas."""
    return not is_finished(pod) and not is_terminating(pod)


def is_serving(pod: Object) -> bool:
    """Return whether the pod is ready and not on its way out: what endpoints, budgets and rollouts count."""
    return is_ready(pod) and is_active(pod)


def is_available(pod: Object, min_ready_seconds: float, alarm: Alarm) -> bool:
    """Return whether the pod has been ready for that long; if only the time is missing, the alarm is set for it."""
    if not is_serving(pod):
        return False
    if not min_ready_seconds:
        return True
    ready = condition(pod, "Ready") or {}
    since = datetime.strptime(ready["lastTransitionTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    # So long a time is no delay: somebody holds a rollout by it, at any speed of the clock.
    passed = alarm.has_elapsed if min_ready_seconds >= _HELD else alarm.has_passed
    return passed(since.timestamp(), min_ready_seconds)


def draining_seconds(pod: Object) -> float:
    """Return for how long the pod goes on serving after it was told to stop: as long as its `preStop` hooks sleep."""
    hooks = [(container.get("lifecycle") or {}).get("preStop") or {} for container in pod["spec"]["containers"]]
    return max(float((hook.get("sleep") or {}).get("seconds", 0)) for hook in hooks)


def requests_of(pod: Object) -> Requests:
    """Return what the pod reserves: the sum over its containers, or the largest init container if that is more."""
    running = [_container_requests(container) for container in pod["spec"].get("containers") or ()]
    starting = [_container_requests(container) for container in pod["spec"].get("initContainers") or ()]
    return Requests(
        cpu=max([sum(entry.cpu for entry in running), *(entry.cpu for entry in starting)]),
        memory=max([sum(entry.memory for entry in running), *(entry.memory for entry in starting)]),
    )


def claim_names(pod: Object) -> list[str]:
    """Return the names of the volume claims that the pod mounts, in the pod's namespace."""
    return [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"].get("volumes") or ()
        if "persistentVolumeClaim" in volume
    ]


def deletion_order(pod: Object) -> tuple[bool, bool, str, str]:
    """Sort key by which surplus pods go: unscheduled ones first, then those that are not ready, then the newest."""
    created = pod["metadata"].get("creationTimestamp", "")
    return (bool(pod["spec"].get("nodeName")), is_ready(pod), _reversed_text(created), name_of(pod))


def _reversed_text(text: str) -> str:
    return "".join(chr(0x7E - (ord(letter) - 0x20)) for letter in text)


def _container_requests(container: Object) -> Requests:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return Requests(cpu=amount(asked.get("cpu", 0)), memory=amount(asked.get("memory", 0)))
