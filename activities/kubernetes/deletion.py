"""Taking everything of ours out of a cluster, in the order in which its controllers need one another."""

from __future__ import annotations

from collections.abc import Iterable

from activities.kubernetes.access import ClusterApi
from activities.kubernetes.manifests.clouds import CloudManifests
from activities.kubernetes.manifests.identity import ours
from activities.kubernetes.objects import (
    AUTOSCALER,
    DEPLOYMENT,
    EVENT,
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
    about,
    is_terminating,
    name_of,
    reference_to,
)
from activities.kubernetes.patience import still_waiting
from activities.kubernetes.rollout import class_of_cloud_message, entrance_problem
from activities.kubernetes.settings import KubernetesSettings
from domain.failure import FailureClass, FailureDetail

_WORKLOADS = (AUTOSCALER, DEPLOYMENT, STATEFUL_SET, JOB)


def delete_workloads(api: ClusterApi, cloud: CloudManifests, settings: KubernetesSettings) -> None:
    """Return once nothing of ours is in the cluster; each call goes as far as the cluster's controllers are.

    1. Public services and gateways, until their load balancers are gone: the controller needs them to find these.
    2. Workloads, until their pods are gone: a claim stays while a pod uses it.
    3. Claims, until their volumes are gone: the storage driver needs the cluster to delete them.
    4. Namespaces, with the rest that is in them, then what belongs to no namespace.

    Raises:
        ApplicationError: NOT_READY while something is on its way out; after the grace, what keeps it from going.
    """
    # A Gateway's controller would make a Service again that goes before it.
    public = [*_ours(api, cloud.entrance())] if cloud.entrance() is not SERVICE else []
    public += [service for service in _ours(api, SERVICE) if service["spec"].get("type") == "LoadBalancer"]
    _wait(settings, "load balancers", _delete(api, public), _problem_of_entrances(api, public))

    workloads = [obj for kind in _WORKLOADS for obj in _ours(api, kind)]
    _wait(settings, "workloads", [*_delete(api, workloads), *_ours(api, POD)])

    claims, volumes = _delete(api, _ours(api, VOLUME_CLAIM)), _volumes(api)
    _wait(settings, "volumes", [*claims, *volumes], _problem_of_volumes(volumes))

    _wait(settings, "namespaces", _delete(api, _ours(api, NAMESPACE)))
    _delete(api, _ours(api, STORAGE_CLASS))
    _delete(api, _ours(api, PRIORITY_CLASS))


def _ours(api: ClusterApi, kind: Kind) -> tuple[Object, ...]:
    """Return what bears our labels, in whatever namespace."""
    return api.list(kind, selector=ours(api.site))


def _volumes(api: ClusterApi) -> list[Object]:
    """Return the volumes that were made for claims in namespaces of ours; their driver gives them no label of ours."""
    homes = {name_of(namespace) for namespace in _ours(api, NAMESPACE)}
    return [volume for volume in api.list(VOLUME) if (volume["spec"].get("claimRef") or {}).get("namespace") in homes]


def _problem_of_entrances(api: ClusterApi, entrances: list[Object]) -> FailureDetail | None:
    """Return what the cloud's controller says keeps it from taking a load balancer away, if it says anything."""
    for entrance in entrances:
        reference = reference_to(entrance)
        events = api.list(EVENT, namespace=reference.namespace, fields=about(reference))
        if problem := entrance_problem(entrance, events):
            return problem
    return None


def _problem_of_volumes(volumes: list[Object]) -> FailureDetail | None:
    """Return what keeps a volume from being deleted: the driver's error, or somebody's order to retain it."""
    for volume in volumes:
        status = volume.get("status") or {}
        if status.get("phase") == "Failed":
            said = str(status.get("message", "no reason given"))
            message = f"volume {name_of(volume)} cannot be deleted: {said}"
            return FailureDetail(
                failure=class_of_cloud_message(said), message=message, code="VolumeFailed", resource=name_of(volume)
            )
        if status.get("phase") == "Released" and volume["spec"].get("persistentVolumeReclaimPolicy") == "Retain":
            message = f"volume {name_of(volume)} is to be retained: whoever ordered that decides what becomes of it"
            return FailureDetail(
                failure=FailureClass.CONFIG, message=message, code="VolumeRetained", resource=name_of(volume)
            )
    return None


def _delete(api: ClusterApi, objects: Iterable[Object]) -> list[Object]:
    """Ask for the deletion of each object that has not been asked to go, and return all of them."""
    found = list(objects)
    for obj in found:
        if not is_terminating(obj):
            api.delete(reference_to(obj), uid=obj["metadata"]["uid"])
    return found


def _wait(
    settings: KubernetesSettings, what: str, remaining: list[Object], problem: FailureDetail | None = None
) -> None:
    """Raise unless nothing remains: NOT_READY, or after the grace the problem that keeps it, if there is one."""
    if not remaining:
        return
    first = reference_to(remaining[0])
    more = f" and {len(remaining) - 1} more" if len(remaining) > 1 else ""
    raise still_waiting(settings, f"{what} are going: {first}{more}", problem)
