"""What keeps the containers of a pod from starting: an image that is not there, or configuration that is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simulators.kubernetes import kinds
from simulators.kubernetes.kinds import Kind
from simulators.kubernetes.objects import Object, namespace_of
from simulators.kubernetes.store import Store

BROKEN_IMAGE: Final = "broken"
"""An image with this in its name cannot be pulled."""


@dataclass(frozen=True)
class Obstacle:
    """What containers wait for."""

    reason: str
    """Of the containers' state."""
    message: str
    event: str
    """Reason of the event that says so."""
    warning: str
    """Text of that event."""


def obstacle(store: Store, pod: Object) -> Obstacle | None:
    """Return what the containers wait for, or None if they can start."""
    for container in pod["spec"]["containers"]:
        if BROKEN_IMAGE in container["image"]:
            message = f'Back-off pulling image "{container["image"]}"'
            warning = f'Failed to pull image "{container["image"]}": not found'
            return Obstacle("ImagePullBackOff", message, "Failed", warning)
    for volume in pod["spec"].get("volumes") or ():
        missing = _missing_in_volume(store, pod, volume)
        if missing:
            warning = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {missing}'
            return Obstacle("ContainerCreating", "", "FailedMount", warning)
    for container in pod["spec"]["containers"]:
        missing = _missing_in_environment(store, pod, container)
        if missing:
            return Obstacle("CreateContainerConfigError", missing, "Failed", f"Error: {missing}")
    return None


def _missing_in_volume(store: Store, pod: Object, volume: Object) -> str:
    sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
    for source in sources:
        if "secret" in source:
            secret = source["secret"]
            name = secret.get("secretName", secret.get("name"))
            missing = _missing(store, kinds.SECRETS, pod, {**secret, "name": name})
        elif "configMap" in source:
            missing = _missing(store, kinds.CONFIG_MAPS, pod, source["configMap"])
        else:
            continue
        if missing:
            return missing
    return ""


def _missing_in_environment(store: Store, pod: Object, container: Object) -> str:
    sources = [entry.get("valueFrom") or {} for entry in container.get("env") or ()]
    for source in (*sources, *(container.get("envFrom") or ())):
        for field, kind in (
            ("secretKeyRef", kinds.SECRETS),
            ("secretRef", kinds.SECRETS),
            ("configMapKeyRef", kinds.CONFIG_MAPS),
            ("configMapRef", kinds.CONFIG_MAPS),
        ):
            missing = _missing(store, kind, pod, source[field]) if field in source else ""
            if missing:
                return missing
    return ""


def _missing(store: Store, kind: Kind, pod: Object, reference: Object) -> str:
    """Return what is wrong with a reference to a Secret or ConfigMap, or to a key in it (empty: nothing)."""
    if reference.get("optional"):
        return ""
    found = store.get(kind, namespace_of(pod), reference["name"])
    if found is None:
        return f'{kind.singular} "{reference["name"]}" not found'
    key = reference.get("key")
    if key and key not in (found.get("data") or {}) and key not in (found.get("stringData") or {}):
        return f"couldn't find key {key} in {kind.kind} {namespace_of(pod)}/{reference['name']}"
    return ""
