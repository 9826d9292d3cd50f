"""One component of the server in the cluster: its workload, its pods, and how far it is rolled out."""

from __future__ import annotations

from activities.kubernetes.access import ClusterApi
from activities.kubernetes.apply import with_hash
from activities.kubernetes.manifests.components import workload_reference
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE, VERSION, selector
from activities.kubernetes.objects import AUTOSCALER, POD, Object, Reference, is_terminating, labels_of
from activities.kubernetes.patience import still_waiting
from activities.kubernetes.rollout import Rollout, State, deployment_rollout, stateful_set_rollout
from activities.kubernetes.settings import KubernetesSettings
from domain.facts import ComponentStatus
from domain.release import Release
from domain.shape import Component


def pods_of(api: ClusterApi, component: Component) -> tuple[Object, ...]:
    """Return the component's pods that are not on their way out, of whatever release."""
    marks = ",".join(f"{label}={value}" for label, value in selector(api.site, component).items())
    found = api.list(POD, namespace=SERVER_NAMESPACE, selector=marks)
    return tuple(pod for pod in found if not is_terminating(pod))


def runs(pod: Object, release: Release) -> bool:
    """Return whether the pod was made for that release."""
    return labels_of(pod).get(VERSION) == release.version


def _rollout(api: ClusterApi, component: Component, workload: Object | None) -> Rollout:
    reference = workload_reference(component)
    if workload is None:
        return Rollout(State.UNDER_WAY, 0, 0, f"{reference} is not there yet")
    autoscaler = api.get(Reference(AUTOSCALER, reference.name, reference.namespace))
    decide = stateful_set_rollout if component is Component.STORE else deployment_rollout
    rollout = decide(workload, autoscaler, ())
    return rollout if rollout.state is State.DONE else decide(workload, autoscaler, pods_of(api, component))


def rolled_out(
    api: ClusterApi, component: Component, release: Release, workload: Object, settings: KubernetesSettings
) -> ComponentStatus:
    """Return the component's status once every replica is of the workload's template and ready.

    Raises:
        ApplicationError: NOT_READY while it is under way; after the grace, what keeps it from going on.
    """
    found = api.get(workload_reference(component))
    if found is not None and found["spec"].get("paused"):
        _let_go_on(api, workload)
    rollout = _rollout(api, component, found)
    if rollout.state is not State.DONE:
        raise still_waiting(settings, f"{component}: {rollout.progress}", rollout.problem)
    image = release.components[component]
    return ComponentStatus(component=component, image=image, ready=rollout.ready, desired=rollout.desired)


def _let_go_on(api: ClusterApi, workload: Object) -> None:
    """Take back a pause that somebody else ordered: our own ends with the manifest that does not have it.

    It has to be said, for what a manifest leaves out stays with whoever set it; and the API leaves out what is false,
    so that no manifest could be compared that always says it.
    """
    said = with_hash(workload)
    said["spec"]["paused"] = False
    api.apply(said, force=True)
