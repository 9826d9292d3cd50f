"""Taking everything of ours out of a cluster, in the order in which its controllers need one another."""

from __future__ import annotations

from collections.abc import Iterable

from activities.failures import not_ready
from activities.kubernetes.access import ClusterApi
from activities.kubernetes.manifests.identity import RESTORE_NAMESPACE, SERVER_NAMESPACE, ours
from activities.kubernetes.objects import (
    AUTOSCALER,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    POD,
    PRIORITY_CLASS,
    SERVICE,
    STATEFUL_SET,
    STORAGE_CLASS,
    VOLUME,
    VOLUME_CLAIM,
    Kind,
    Object,
    is_terminating,
    reference_to,
)
from activities.kubernetes.settings import KubernetesSettings

_NAMESPACES = (SERVER_NAMESPACE, RESTORE_NAMESPACE)
_WORKLOADS = (AUTOSCALER, DEPLOYMENT, STATEFUL_SET, JOB)


def delete_workloads(api: ClusterApi, settings: KubernetesSettings) -> None:
    """Return once nothing of ours is in the cluster; each call goes as far as the cluster's controllers are.

    1. Public services, until their load balancers are gone: the controller needs the service to find them.
    2. Workloads, until their pods are gone: a claim stays while a pod uses it.
    3. Claims, until their volumes are gone: the storage driver needs the cluster to delete them.
    4. Namespaces, with the rest that is in them, then what belongs to no namespace.

    Raises:
        ApplicationError: NOT_READY while something is on its way out.
    """
    public = (service for service in _ours(api, SERVICE) if service["spec"].get("type") == "LoadBalancer")
    _wait(settings, "load balancers", _delete(api, public))

    workloads = [obj for kind in _WORKLOADS for obj in _ours(api, kind)]
    _wait(settings, "workloads", [*_delete(api, workloads), *_ours(api, POD)])

    claims = _delete(api, _ours(api, VOLUME_CLAIM))
    _wait(settings, "volumes", [*claims, *_volumes(api)])

    _wait(settings, "namespaces", _delete(api, _ours(api, NAMESPACE)))
    _delete(api, _ours(api, STORAGE_CLASS))
    _delete(api, _ours(api, PRIORITY_CLASS))


def _ours(api: ClusterApi, kind: Kind) -> tuple[Object, ...]:
    """Return what bears our labels, in whatever namespace."""
    return api.list(kind, selector=ours(api.site))


def _volumes(api: ClusterApi) -> list[Object]:
    """Return the volumes that were made for claims in our namespaces; the driver labels them in its own way."""
    return [
        volume
        for volume in api.list(VOLUME)
        if (volume["spec"].get("claimRef") or {}).get("namespace") in _NAMESPACES
    ]


def _delete(api: ClusterApi, objects: Iterable[Object]) -> list[Object]:
    """Ask for the deletion of each object that has not been asked to go, and return all of them."""
    found = list(objects)
    for obj in found:
        if not is_terminating(obj):
            api.delete(reference_to(obj), uid=obj["metadata"]["uid"])
    return found


def _wait(settings: KubernetesSettings, what: str, remaining: list[Object]) -> None:
    """Raise NOT_READY unless nothing remains."""
    if not remaining:
        return
    first = reference_to(remaining[0])
    more = f" and {len(remaining) - 1} more" if len(remaining) > 1 else ""
    raise not_ready(f"{what} are going: {first}{more}", look_again_in=settings.poll_interval)
