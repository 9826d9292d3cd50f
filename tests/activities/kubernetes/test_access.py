"""Reaching a cluster: tokens, connections, and our name on every call."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment

from activities.contracts import StorageClassRequest
from activities.kubernetes.access import ClusterApi, KubernetesConnections
from activities.kubernetes.objects import GATEWAY, NAMESPACE, Reference
from domain.failure import FailureClass
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from tests.activities.kubernetes.playground import TOKEN, Playground
from tests.activities.kubernetes.samples import KEY, SITE

DEFAULT = Reference(NAMESPACE, "default")


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def test_a_token_serves_many_calls_and_is_renewed_in_time(playground: Playground) -> None:
    """One token for ten minutes, then another."""
    clock = Hands()
    connections = KubernetesConnections(playground.identity, playground.settings, now=clock)

    for minutes in (0, 5, 9, 11, 12):
        clock.seconds = 1000.0 + 60 * minutes
        assert connections.api(SITE, playground.cluster).get(DEFAULT) is not None

    assert playground.identity.tokens_made == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.get(DEFAULT),
        lambda api: api.delete(DEFAULT),
        lambda api: api.read_from_pod(DEFAULT, 8080, "metrics"),
    ],
    ids=["look", "change", "pod"],
)
def test_a_cancelled_activity_calls_no_cluster(playground: Playground, call: Callable[[ClusterApi], object]) -> None:
    """It ends before its next call, and is not torn out of one."""
    api = KubernetesConnections(playground.identity, playground.settings).api(SITE, playground.cluster)
    environment = ActivityEnvironment()
    environment.cancel()

    with pytest.raises(CancelledError):
        copy_context().run(environment.run, call, api)

    assert playground.identity.tokens_made == 0


def test_a_refused_token_is_renewed_once(playground: Playground) -> None:
    """A token that the cluster no longer knows is made anew, and the call succeeds."""
    connections = KubernetesConnections(playground.identity, playground.settings)
    playground.identity.token_value = "outdated"
    with pytest.raises(ApplicationError):
        connections.api(SITE, playground.cluster).get(DEFAULT)

    playground.identity.token_value = TOKEN

    assert connections.api(SITE, playground.cluster).get(DEFAULT) is not None


def test_a_cluster_that_keeps_refusing_us_names_the_customer(playground: Playground) -> None:
    """After the grace a refused token is AUTH: somebody took our access entry away."""
    playground.identity.token_value = "revoked"
    server = playground.server_with(playground.settings.model_copy(update={"access_grace": timedelta(0)}))

    failure = playground.failure_of(
        server.create_storage_class, StorageClassRequest(site=SITE, cluster=playground.cluster, key=KEY)
    )

    assert failure.failure is FailureClass.AUTH


def test_a_grant_that_is_on_its_way_is_waited_for(playground: Playground) -> None:
    """While the step is young the same refusal means "not ready yet", and the step succeeds once we are let in."""
    playground.identity.token_value = "too early"
    request = StorageClassRequest(site=SITE, cluster=playground.cluster, key=KEY)

    with pytest.raises(ApplicationError) as refusal:
        playground.attempt(playground.server.create_storage_class, request)
    playground.identity.token_value = TOKEN
    playground.attempt(playground.server.create_storage_class, request)

    assert refusal.value.type == FailureClass.NOT_READY
    assert playground.get(kinds.STORAGE_CLASSES, "byoc-encrypted") is not None


def test_a_missing_permission_names_the_action(playground: Playground) -> None:
    """The failure says which verb on which resource was denied."""
    server = playground.server_with(playground.settings.model_copy(update={"access_grace": timedelta(0)}))
    playground.fault(Fault(kind=FaultKind.REVOKE, service="kubernetes", operation="patch storageclasses"))

    failure = playground.failure_of(
        server.create_storage_class, StorageClassRequest(site=SITE, cluster=playground.cluster, key=KEY)
    )

    assert failure.failure is FailureClass.PERMISSION
    assert failure.action == "patch storageclasses.storage.k8s.io"


def test_every_call_says_on_whose_behalf_it_is_made(playground: Playground) -> None:
    """The cluster's audit log shows deployment, operation and step."""
    playground.found()

    agents = {call.agent for call in playground.world.journal.calls(service="kubernetes", agent="byoc/")}

    tail = "deployment/acme-prod operation/acme-prod/provision/1 step/"
    assert {agent.partition(" ")[2] for agent in agents} == {f"{tail}create_storage_class", f"{tail}create_namespace"}


def test_an_endpoint_that_does_not_answer_is_a_passing_fault(playground: Playground) -> None:
    """No connection: Temporal tries again."""
    nowhere = playground.cluster.model_copy(update={"endpoint": "https://127.0.0.1:1/clusters/c1"})

    with pytest.raises(ApplicationError) as silence:
        KubernetesConnections(playground.identity, playground.settings).api(SITE, nowhere).get(DEFAULT)

    assert silence.value.type == FailureClass.TRANSIENT
    assert not silence.value.non_retryable


def test_an_impostor_is_not_talked_to(playground: Playground) -> None:
    """A server whose certificate another authority signed gets neither token nor request."""
    other = base64.b64encode(playground.internet.ca_pem).decode()
    impostor = playground.cluster.model_copy(update={"certificate_authority": other})

    with pytest.raises(ApplicationError) as refusal:
        KubernetesConnections(playground.identity, playground.settings).api(SITE, impostor).get(DEFAULT)

    assert refusal.value.type == FailureClass.CONFIG
    assert "certificate" in refusal.value.message
    assert playground.world.journal.calls(service="kubernetes", agent="byoc/") == []


def test_the_environments_proxy_is_not_used(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but our settings decides how clusters are reached."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")

    assert KubernetesConnections(playground.identity, playground.settings).api(SITE, playground.cluster).get(DEFAULT)


def test_no_file_is_left_behind(playground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificate authorities stay in memory."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    connections = KubernetesConnections(playground.identity, playground.settings)
    connections.api(SITE, playground.cluster).get(DEFAULT)
    connections.close()

    assert list(folder.iterdir()) == []


def test_a_site_has_connections_of_its_own(playground: Playground) -> None:
    """Two accounts never share a token, even if a cluster of theirs had the same address."""
    connections = KubernetesConnections(playground.identity, playground.settings)

    for account in ("111122223333", "444455556666"):
        site = SITE.model_copy(update={"cloud_account_id": account})
        connections.api(site, playground.cluster).get(DEFAULT)

    assert playground.identity.tokens_made == 2


def test_of_a_kind_that_the_cluster_does_not_serve_there_is_nothing(playground: Playground) -> None:
    """A cluster without the Gateway API has no Gateways; nobody has to be asked about that."""
    connections = KubernetesConnections(playground.identity, playground.settings)

    assert connections.api(SITE, playground.cluster).list(GATEWAY) == ()
