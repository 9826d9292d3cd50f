"""One pod on the new release while the others stay, on from there, and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.kubernetes.manifests import components
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from activities.kubernetes.manifests.identity import VERSION as VERSION_LABEL
from domain.failure import FailureClass
from domain.shape import Component
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object, is_ready, labels_of
from tests.activities.kubernetes.highly_available import NEW, OLD, SAME_EPOCH, Upgraded, bad
from tests.activities.kubernetes.playground import Playground
from tests.activities.kubernetes.samples import RELEASE

VERSION = SAME_EPOCH.version


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """One highly available server for the tests of this file; each leaves it on the old release."""
    running = Upgraded(tmp_path_factory.mktemp("canary"))
    yield running
    running.stop()


@pytest.fixture
def server(shared: Upgraded) -> Iterator[Upgraded]:
    """Give the server back as it was."""
    yield shared
    shared.world.faults.clear()
    for component in (Component.STORE, Component.API):
        shared.roll_back(component)


@pytest.mark.parametrize("component", [Component.API, Component.CDC, Component.STORE])
def test_the_canary_is_one_pod_and_stays_one(server: Upgraded, component: Component) -> None:
    """Of a Deployment it is one pod more, of the store the highest replica; time alone changes nothing about that."""
    before = len(server.pods(component))

    status = server.stage(component, SAME_EPOCH)
    time.sleep(0.3)

    found = server.releases(component)
    assert (status.ready, status.desired, status.image) == (1, 1, SAME_EPOCH.components[component])
    assert (found.count(VERSION), found.count(OLD.version)) == (1, before if component != "store" else before - 1)
    assert component != "store" or found[-1] == VERSION
    assert all(is_ready(pod) for pod in server.pods(component))
    server.roll_back(component)


@pytest.mark.parametrize("component", [Component.API, Component.STORE])
def test_staging_again_changes_nothing(server: Upgraded, component: Component) -> None:
    """A repeat finds the canary as it is."""
    server.stage(component, SAME_EPOCH)
    position = server.world.journal.position

    server.stage(component, SAME_EPOCH)

    assert server.changes(position) == []


def test_a_deployment_is_paused_by_every_way_to_its_canary(server: Upgraded) -> None:
    """Between its two changes the new pod is held by not counting as available; the step that comes again pauses."""
    server.fault(
        Fault(kind=FaultKind.ERROR, service="kubernetes", operation="patch deployments", agent="byoc/", skip=1, times=1)
    )
    server.failure_of(server.server.stage_canary, server.request(Component.API, SAME_EPOCH))
    time.sleep(0.3)
    between, first = server.get(kinds.DEPLOYMENTS, "api"), server.releases(Component.API).count(VERSION)

    server.stage(Component.API, SAME_EPOCH)

    found = server.get(kinds.DEPLOYMENTS, "api")
    assert between is not None
    assert found is not None
    assert (between["spec"].get("paused", False), found["spec"]["paused"]) == (False, True)
    assert first == server.releases(Component.API).count(VERSION) == 1


@pytest.mark.parametrize("component", [Component.API, Component.STORE])
def test_installing_promotes_and_then_changes_nothing(server: Upgraded, component: Component) -> None:
    """All pods are of the new release, nothing holds the workload any more; a further time there is nothing to do."""
    server.stage(component, SAME_EPOCH)

    status = server.promote(component, SAME_EPOCH)
    position = server.world.journal.position
    server.promote(component, SAME_EPOCH)
    server.stage(component, SAME_EPOCH)

    assert status.ready == status.desired == 3
    assert server.releases(component) == [VERSION] * 3
    kind = kinds.STATEFUL_SETS if component is Component.STORE else kinds.DEPLOYMENTS
    found = server.get(kind, component)
    assert found is not None
    assert not found["spec"].get("paused")
    assert found["spec"]["minReadySeconds"] < 60
    assert component is Component.API or found["spec"]["updateStrategy"]["rollingUpdate"]["partition"] == 0
    assert server.changes(position) == []


def test_what_somebody_else_paused_goes_on(server: Upgraded) -> None:
    """A pause that is not ours does not keep a release from being installed."""
    server.edit(kinds.DEPLOYMENTS, "api", lambda obj: obj["spec"].update(paused=True))

    server.promote(Component.API, SAME_EPOCH)

    assert server.releases(Component.API) == [VERSION] * 3


@pytest.mark.parametrize("component", [Component.API, Component.STORE])
def test_a_bad_image_is_never_ready_and_rolled_back(server: Upgraded, component: Component) -> None:
    """A release that crashes stays one pod; the others serve; the old release comes back and the stuck pod goes."""
    release = bad(component)
    server.fault(Fault(kind=FaultKind.CRASH, resource=f"*/{release.components[component]}"))
    impatient = server.server_with(server.settings.model_copy(update={"grace": timedelta(0)}))

    failure = server.failure_of(impatient.stage_canary, server.request(component, release))
    serving = sum(is_ready(pod) for pod in server.pods(component))
    stuck = {pod["metadata"]["uid"] for pod in server.pods(component) if not is_ready(pod)}
    status = server.roll_back(component)

    assert (failure.failure, failure.code) == (FailureClass.CONFIG, "CrashLoopBackOff")
    assert serving == (2 if component is Component.STORE else 3)
    assert len(stuck) == 1
    assert status.ready == status.desired == 3
    assert server.releases(component) == [OLD.version] * 3
    assert stuck.isdisjoint(pod["metadata"]["uid"] for pod in server.pods(component))


def test_the_stuck_pod_of_an_ordered_store_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A StatefulSet that keeps an order does not move past a pod that is not ready: without the deletion it stays."""

    def ordered(*about: Any) -> Object:
        made = parallel(*about)
        made["spec"]["podManagementPolicy"] = "OrderedReady"
        return made

    parallel = components._stateful_set
    monkeypatch.setattr(components, "_stateful_set", ordered)
    server = Upgraded(tmp_path, components=(Component.STORE,))
    release = bad(Component.STORE)
    server.fault(Fault(kind=FaultKind.CRASH, resource=release.components[Component.STORE]))
    impatient = server.server_with(server.settings.model_copy(update={"grace": timedelta(0)}))
    server.failure_of(impatient.stage_canary, server.request(Component.STORE, release))

    position = server.world.journal.position
    server.roll_back(Component.STORE)

    assert "delete pods byoc-server/store-2" in server.changes(position)
    assert server.releases(Component.STORE) == [OLD.version] * 3
    server.stop()


def test_a_store_that_cannot_read_the_schema_does_not_become_ready(server: Upgraded) -> None:
    """A release that needs an epoch which nobody has expanded to says so, and the old one comes back."""
    impatient = server.server_with(server.settings.model_copy(update={"grace": timedelta(0)}))

    failure = server.failure_of(impatient.stage_canary, server.request(Component.STORE, NEW))

    assert "this release needs schema epoch 12, the documents are expanded to 11" in failure.message


def test_what_is_not_there_has_no_canary(server: Upgraded) -> None:
    """Staging makes no component: the step says what is wrong."""
    request = server.request(Component.CDC, SAME_EPOCH)
    saved = server.get(kinds.DEPLOYMENTS, "cdc")
    assert saved is not None
    server.on_loop(lambda: server.simulated.store.delete(kinds.DEPLOYMENTS, saved))

    failure = server.failure_of(server.server.stage_canary, request)
    server.promote(Component.CDC, OLD)

    assert failure.failure is FailureClass.CONFIG


def test_single_replicas_have_canaries_but_the_store(playground: Playground) -> None:
    """Without high availability a Deployment has its pod and the canary; the only store is updated as a whole."""
    playground.found()
    playground.install(Component.STORE, Component.CDC)
    release = RELEASE.model_copy(update={"version": "4.99.0"})

    for component in (Component.STORE, Component.CDC):
        request = playground.component_request(component).model_copy(update={"release": release})
        playground.until_done(playground.server.stage_canary, request)

    pods = playground.listed(kinds.PODS, SERVER_NAMESPACE)
    found = [(labels["app.kubernetes.io/name"], labels[VERSION_LABEL]) for labels in map(labels_of, pods)]
    assert sorted(found) == [("cdc", RELEASE.version), ("cdc", "4.99.0"), ("store", "4.99.0")]
