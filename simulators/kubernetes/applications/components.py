"""Which component of the server a pod runs."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from simulators.kubernetes import kinds
from simulators.kubernetes.controllers.pods import is_serving
from simulators.kubernetes.objects import Object, labels_of

if TYPE_CHECKING:
    from simulators.kubernetes.simulator import Cluster

_IMAGE: Final = re.compile(r"/server/(?P<component>[a-z]+)(?=[@:]|$)")
"""`registry.byoc.example/server/<component>@sha256:…`, from that registry or a mirror of it."""


class Component(StrEnum):
    """One microservice of the server."""

    STORE = "store"
    AUTHENTICATION = "authentication"
    API = "api"
    SUBSCRIPTION = "subscription"
    CDC = "cdc"


def component_in(container: Object) -> Component | None:
    """Return the component whose image the container runs, or None for any other software."""
    found = _IMAGE.search(container["image"])
    if found is None or found["component"] not in set(Component):
        return None
    return Component(found["component"])


def container_of(pod: Object, component: Component) -> Object | None:
    """Return the pod's container that runs the component, or None."""
    return next((entry for entry in pod["spec"]["containers"] if component_in(entry) is component), None)


def component_of(pod: Object) -> Component | None:
    """Return the first component that the pod serves; a pod that runs a program to its end serves none."""
    if pod["spec"].get("restartPolicy", "Always") != "Always":
        return None
    found = (component_in(container) for container in pod["spec"]["containers"])
    return next((component for component in found if component is not None), None)


def pods_of(cluster: Cluster, namespace: str, component: Component) -> list[Object]:
    """Return the pods that serve the component in a namespace, ready or not, sorted by name."""
    return [pod for pod in cluster.store.list(kinds.PODS, namespace) if component_of(pod) is component]


def serving(cluster: Cluster, namespace: str, component: Component) -> list[Object]:
    """Return the pods of the component that are ready."""
    return [pod for pod in pods_of(cluster, namespace, component) if is_serving(pod)]


def epoch_in(container: Object) -> int | None:
    """Return the schema's epoch of the container's release: its variable SCHEMA_EPOCH, or None if it has none."""
    values = [entry.get("value", "") for entry in container.get("env") or () if entry["name"] == "SCHEMA_EPOCH"]
    return int(values[0]) if values and values[0].isdecimal() else None


def epoch_of(pod: Object) -> int | None:
    """Return the schema's epoch of the pod's release, or None if it does not say."""
    found = (epoch_in(container) for container in pod["spec"]["containers"] if component_in(container))
    return next((epoch for epoch in found if epoch is not None), None)


def release_of(pod: Object, component: Component) -> str:
    """Return the release that a pod says it is: the container's variable SERVER_RELEASE, or the pod's version label."""
    container = container_of(pod, component) or {}
    for entry in container.get("env") or ():
        if entry["name"] == "SERVER_RELEASE" and entry.get("value"):
            value: str = entry["value"]
            return value
    return labels_of(pod).get("app.kubernetes.io/version", "")
