"""Installing the server and opening it to the world, in a simulated cluster."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from temporalio.exceptions import ApplicationError

from activities.contracts import KubernetesContract
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from activities.upgrade_contracts import ServerUpgradeContract
from domain.failure import FailureClass
from domain.shape import Component
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object
from tests.activities.kubernetes.playground import Playground, names
from tests.activities.kubernetes.samples import RELEASE

IMPATIENT = {"grace": timedelta(0), "access_grace": timedelta(0)}


def test_the_whole_server_is_installed(playground: Playground) -> None:
    """All five components run as the shape says, the store on an encrypted volume."""
    playground.found()

    statuses = [
        playground.until_done(playground.server.install_component, playground.component_request(component))
        for component in Component
    ]

    assert [(status.component, status.ready, status.desired) for status in statuses] == [
        (component, 1, 1) for component in Component
    ]
    assert [status.image for status in statuses] == [RELEASE.components[component] for component in Component]
    pods = playground.listed(kinds.PODS, SERVER_NAMESPACE)
    assert len(pods) == len(Component)
    claims = playground.listed(kinds.PERSISTENT_VOLUME_CLAIMS, SERVER_NAMESPACE)
    assert [claim["spec"]["storageClassName"] for claim in claims] == ["byoc-encrypted"]


def test_a_second_time_changes_nothing(playground: Playground) -> None:
    """Converging what is as it should be makes no mutating call."""
    playground.found()
    playground.install()
    playground.open()
    position = playground.world.journal.position

    playground.found()
    playground.install()
    playground.open()

    assert playground.world.journal.calls(after=position, mutating=True, agent="byoc/") == []


def test_the_autoscaler_keeps_what_it_decided(playground: Playground) -> None:
    """Under load a component grows; installing it again leaves its replicas alone."""
    playground.found()
    playground.install(Component.API)

    def burden(autoscaler: Object) -> None:
        autoscaler["metadata"].setdefault("annotations", {})["simulators.byoc/load"] = "200"

    playground.edit(kinds.HORIZONTAL_POD_AUTOSCALERS, "api", burden)
    position = playground.world.journal.position
    status = playground.until_done(playground.server.install_component, playground.component_request(Component.API))
    while status.desired == 1:
        status = playground.until_done(playground.server.install_component, playground.component_request(Component.API))

    assert status.ready == status.desired == 3
    assert playground.changes(position) == []


def test_drift_is_put_back(playground: Playground) -> None:
    """An image that was edited by hand is the release's again."""
    playground.found()
    playground.install(Component.CDC)

    def tamper(deployment: Object) -> None:
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "somewhere.example/server/cdc:latest"

    playground.edit(kinds.DEPLOYMENTS, "cdc", tamper)
    playground.install(Component.CDC)

    found = playground.get(kinds.DEPLOYMENTS, "cdc")
    assert found is not None
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == RELEASE.components[Component.CDC]


def test_an_image_that_cannot_be_pulled_is_named(playground: Playground) -> None:
    """Within the grace the step waits quietly; after it an operator reads image, pod and reason."""
    playground.found()
    request = playground.component_request(Component.API, image="registry.vendor.example/broken/server/api@sha256:0")
    patient, impatient = playground.server, playground.server_with(playground.settings.model_copy(update=IMPATIENT))

    failure = playground.failure_of(impatient.install_component, request)
    with pytest.raises(ApplicationError) as waiting:
        playground.attempt(patient.install_component, request)

    assert (failure.failure, failure.code) == (FailureClass.CONFIG, "ImagePullBackOff")
    assert "registry.vendor.example/broken/server/api" in failure.message
    assert waiting.value.type == FailureClass.NOT_READY


def test_a_crash_loop_is_named_and_passes_when_its_cause_does(playground: Playground) -> None:
    """The failure says that the component crashes; once it does not, the same step succeeds."""
    playground.found()
    fault = playground.fault(Fault(kind=FaultKind.CRASH, service="kubernetes", operation="start pod", resource="/cdc-"))
    impatient = playground.server_with(playground.settings.model_copy(update=IMPATIENT))
    request = playground.component_request(Component.CDC)

    failure = playground.failure_of(impatient.install_component, request)
    playground.world.faults.remove(fault.id)
    status = playground.until_done(playground.server.install_component, request)

    assert (failure.failure, failure.code) == (FailureClass.CONFIG, "CrashLoopBackOff")
    assert status.ready == 1


def test_a_pod_without_a_node_asks_the_cloud_for_capacity(playground: Playground) -> None:
    """With the store's machines gone the failure is CAPACITY, in the scheduler's words."""
    playground.found()
    for node in names(playground.listed(kinds.NODES)):
        if node.startswith("store-"):
            playground.on_loop(partial(playground.simulated.remove_node, node))
    impatient = playground.server_with(playground.settings.model_copy(update=IMPATIENT))

    failure = playground.failure_of(impatient.install_component, playground.component_request(Component.STORE))

    assert (failure.failure, failure.code) == (FailureClass.CAPACITY, "FailedScheduling")
    assert "nodes are available" in failure.message


def test_keys_survive_a_second_namespace_step(playground: Playground) -> None:
    """Converging the namespace leaves the API keys that are there."""
    playground.found()
    before = playground.get(kinds.SECRETS, "api-keys")

    def fill(secret: Object) -> None:
        secret["data"]["keys.json"] = "W3siaWQiOiAiYSJ9XQ=="

    playground.edit(kinds.SECRETS, "api-keys", fill)
    playground.found()

    after = playground.get(kinds.SECRETS, "api-keys")
    assert before is not None
    assert after is not None
    assert before["data"]["keys.json"] == "W10="
    assert after["data"]["keys.json"] == "W3siaWQiOiAiYSJ9XQ=="


def test_the_webhook_goes_when_the_order_has_none(playground: Playground) -> None:
    """Configuration and network policy follow the specification in both directions."""
    playground.found()
    configured = playground.get(kinds.CONFIG_MAPS, "auth-webhook")

    playground.until_done(playground.server.create_namespace, playground.namespace_request(webhook=False))

    assert configured is not None
    assert configured["data"]["url"] == "https://login.acme.example/byoc"
    assert playground.get(kinds.CONFIG_MAPS, "auth-webhook") is None
    assert playground.get(kinds.NETWORK_POLICIES, "auth-webhook") is None


def test_a_namespace_of_somebody_else_is_refused(playground: Playground) -> None:
    """A namespace of our name that we did not make is left as it is."""
    playground.put(kinds.NAMESPACES, {"metadata": {"name": SERVER_NAMESPACE}})

    failure = playground.failure_of(playground.server.create_namespace, playground.namespace_request())

    assert failure.failure is FailureClass.NOT_OURS
    assert playground.listed(kinds.NETWORK_POLICIES, SERVER_NAMESPACE) == []


def test_the_endpoint_has_the_load_balancers_address(playground: Playground) -> None:
    """The step returns the hostname that the cloud gave."""
    playground.found()

    load_balancer = playground.until_done(playground.server.open_endpoint, playground.endpoint_request())

    assert load_balancer.hostname in playground.provider.load_balancers.values()


def test_a_load_balancer_that_cannot_be_made_says_why(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cloud controller's warning about the service is the step's failure."""
    monkeypatch.setattr(playground.provider, "ensure_load_balancer", lambda *_: None)
    playground.found()
    impatient = playground.server_with(playground.settings.model_copy(update=IMPATIENT))
    with pytest.raises(ApplicationError) as waiting:
        playground.attempt(impatient.open_endpoint, playground.endpoint_request())
    message = "AccessDenied: not authorized to perform: elasticloadbalancing:CreateLoadBalancer"
    event = {
        "metadata": {"name": "endpoint.1"},
        "involvedObject": {"kind": "Service", "namespace": SERVER_NAMESPACE, "name": "endpoint"},
        "type": "Warning",
        "reason": "FailedDeployModel",
        "message": message,
    }
    playground.put(kinds.EVENTS, event, SERVER_NAMESPACE)

    failure = playground.failure_of(impatient.open_endpoint, playground.endpoint_request())

    assert waiting.value.type == FailureClass.NOT_READY
    assert failure.failure is FailureClass.PERMISSION
    assert message in failure.message


def test_every_activity_of_the_contract_is_registered(playground: Playground) -> None:
    """A worker gets each activity, under the contract's name."""
    registered = {activity.__name__ for activity in playground.server.activities()}

    assert registered == KubernetesContract.__abstractmethods__ | ServerUpgradeContract.__abstractmethods__
    assert all(hasattr(activity, "__temporal_activity_definition") for activity in playground.server.activities())
