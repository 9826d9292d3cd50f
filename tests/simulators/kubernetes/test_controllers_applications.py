"""The simulated database server: what it answers, keeps, backs up and restores."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.applications import Component, Request, Response, answer, monitored
from simulators.kubernetes.applications.documents import documents
from simulators.kubernetes.objects import Object, name_of
from simulators.kubernetes.provider import StandaloneProvider
from tests.simulators.kubernetes.clusters import NAMESPACE, Playground, found_condition, image, template

KEY = "byoc_key"
DOCUMENTS = "/v1/collections/cars/documents"


def keys_secret(
    playground: Playground, *, scopes: Sequence[str] = ("write",), expires_in: float | None = None
) -> Object:
    """Return the Secret with one key; `expires_in` is in seconds, None for a key without end."""
    expires_at = playground.world.clock.now() + timedelta(seconds=expires_in) if expires_in is not None else None
    entry = {
        "id": "k1",
        "hash": hashlib.sha256(KEY.encode()).hexdigest(),
        "expires_at": expires_at.isoformat() if expires_at else None,
        "scopes": list(scopes),
    }
    encoded = base64.b64encode(json.dumps([entry]).encode()).decode()
    return {"metadata": {"name": "api-keys"}, "data": {"keys.json": encoded}}


@pytest.fixture
def server() -> Playground:
    """A cluster with all five components, a key that may write, and the public endpoint."""
    playground = Playground()
    playground.create(kinds.SECRETS, keys_secret(playground))
    webhook = {"url": "https://login.acme.example"}
    playground.create(kinds.CONFIG_MAPS, {"metadata": {"name": "auth-webhook"}, "data": webhook})
    playground.keep("store")
    for component in ("authentication", "api", "subscription", "cdc"):
        pods = template(component)
        if component in ("api", "subscription"):
            pods["metadata"]["labels"]["public"] = "true"
        playground.deploy(component, replicas=2, template=pods)
    playground.expose("endpoint", "api", "subscription")
    return playground


def ask(
    playground: Playground, method: str, path: str, *, key: str = KEY, body: Any = None, port: int = 443
) -> Response:
    """Make one request to the public endpoint."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    content = b"" if body is None else json.dumps(body).encode()
    return answer(playground.cluster, NAMESPACE, "endpoint", Request(method, path, headers, content), port=port)


def run_job(
    playground: Playground, name: str, arguments: list[str], namespace: str = NAMESPACE
) -> tuple[Object, Object]:
    """Run a program of the store's image; return the Job and the state in which its container ended."""
    pods = template("store", restartPolicy="Never", serviceAccountName="store")
    pods["metadata"]["labels"] = {"job": name}
    pods["spec"]["containers"][0]["args"] = arguments
    spec = {"backoffLimit": 0, "template": pods}
    job = playground.create(kinds.JOBS, {"metadata": {"name": name}, "spec": spec}, namespace)
    (pod,) = playground.store.list(kinds.PODS, namespace, f"job={name}")
    return job, pod["status"]["containerStatuses"][0]["state"]["terminated"]


def test_a_whole_server_is_healthy(server: Playground) -> None:
    """Every component is named as ok."""
    response = ask(server, "GET", "/healthz")

    assert response == Response(200, {"status": "ok", "components": {component.value: "ok" for component in Component}})


def test_the_version_names_release_and_images(server: Playground) -> None:
    """Release from the container's environment, images as they run."""
    response = ask(server, "GET", "/version")

    assert response.body == {"release": "1.0.0", "components": {entry.value: image(entry.value) for entry in Component}}


def test_a_document_comes_back(server: Playground) -> None:
    """What was posted is found under its id, and nothing under another."""
    created = ask(server, "POST", DOCUMENTS, body={"id": "d1", "colour": "red"})

    assert created == Response(201, {"id": "d1"})
    assert ask(server, "GET", f"{DOCUMENTS}/d1").body == {"id": "d1", "colour": "red"}
    assert ask(server, "GET", f"{DOCUMENTS}/d2").status == 404


@pytest.mark.parametrize("key", ["", "another"])
def test_an_unknown_key_is_refused(server: Playground, key: str) -> None:
    """Without a key or with a wrong one the answer is 401."""
    assert ask(server, "POST", DOCUMENTS, key=key, body={}).status == 401


@pytest.mark.parametrize(("expires_in", "status"), [(3600.0, 201), (-1.0, 401)])
def test_a_key_is_good_until_it_expires(server: Playground, expires_in: float, status: int) -> None:
    """The end of a key's life is judged by simulated time."""
    secret = server.get(kinds.SECRETS, "api-keys")
    server.store.save(kinds.SECRETS, {**secret, "data": keys_secret(server, expires_in=expires_in)["data"]})

    assert ask(server, "POST", DOCUMENTS, body={}).status == status


@pytest.mark.parametrize(("scope", "statuses"), [("read", (403, 404)), ("write", (201, 404)), ("admin", (201, 404))])
def test_a_scope_contains_those_before_it(server: Playground, scope: str, statuses: tuple[int, int]) -> None:
    """A key that may only read cannot write; one that may write can read."""
    secret = server.get(kinds.SECRETS, "api-keys")
    server.store.save(kinds.SECRETS, {**secret, "data": keys_secret(server, scopes=(scope,))["data"]})

    written, read = ask(server, "POST", DOCUMENTS, body={"id": "d1"}), ask(server, "GET", f"{DOCUMENTS}/none")

    assert (written.status, read.status) == statuses


@pytest.mark.parametrize("needed", ["store", "authentication"])
def test_the_api_needs_store_and_authentication(server: Playground, needed: str) -> None:
    """Without one of them documents cannot be had, and the health report says which is missing."""
    server.fault(FaultKind.STUCK, "probe pod", f"{NAMESPACE}/{needed}")
    server.settle()

    health = ask(server, "GET", "/healthz")
    assert (health.status, health.body["components"][needed]) == (503, "unavailable")
    assert ask(server, "GET", f"{DOCUMENTS}/d1").status == 503


def test_each_public_port_leads_to_its_component(server: Playground) -> None:
    """The subscription server answers at its own port, and through the API server too."""
    assert ask(server, "GET", "/subscribe/healthz", port=8443).status == 200
    assert ask(server, "GET", "/subscribe/healthz").status == 200
    assert ask(server, "GET", "/healthz", port=8443).status == 404
    assert ask(server, "GET", "/healthz", port=9090).status == 503


def test_a_login_asks_the_customers_webhook(server: Playground) -> None:
    """With the webhook down the login fails with 502, and nobody gets in."""
    granted = ask(server, "POST", "/auth/login", body={"user": "ada"})
    server.fault(FaultKind.ERROR, "POST", "login.acme.example", service="auth-webhook")
    refused = ask(server, "POST", "/auth/login", body={"user": "ada"})

    assert (granted.status, granted.body["authenticated_by"]) == (200, "https://login.acme.example")
    assert refused.status == 502
    assert "token" not in refused.body


def counted(playground: Playground, pod: Object, series: str) -> int:
    """Return the value of one series of the pod's metrics."""
    text = monitored(playground.cluster, pod, "9090", "/metrics")
    assert isinstance(text, str)
    return next(int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series + "{"))


def test_each_pod_counts_what_it_answered(server: Playground) -> None:
    """Pods take turns, so that each has counted its half, and all of it is in the last bucket."""
    for _ in range(6):
        ask(server, "GET", "/version")

    assert [counted(server, pod, "requests_total") for pod in server.pods("api")] == [3, 3]
    text = monitored(server.cluster, server.pods("api")[0], "9090", "/metrics")
    assert 'request_duration_seconds_bucket{component="api",release="1.0.0",le="+Inf"} 3' in str(text)


def test_an_error_is_counted_where_it_happened(server: Playground) -> None:
    """A bad image of the store shows in its own counters; who asked it has answered, and is not to blame."""
    server.fault(FaultKind.ERROR, "*", f"*/{image('store')}", service="server")

    response = ask(server, "GET", f"{DOCUMENTS}/d1")

    assert response.status == 500
    assert sum(counted(server, pod, "errors_total") for pod in server.pods("store")) == 1
    assert sum(counted(server, pod, "requests_total") for pod in server.pods("api")) == 1
    assert sum(counted(server, pod, "errors_total") for pod in server.pods("api")) == 0


def test_the_question_for_health_reaches_every_component(server: Playground) -> None:
    """So that there is something to count of a component that no client ever calls."""
    ask(server, "GET", "/healthz")

    for component in Component:
        assert sum(counted(server, pod, "requests_total") for pod in server.pods(component)) == 1


def test_a_slow_image_is_seen_in_the_histogram(server: Playground) -> None:
    """What a rule adds to an answer's time counts for the pod, and the client has to wait for it."""
    rule = Fault(kind=FaultKind.SLOW, service="server", resource=f"*/{image('api')}", seconds=0.3)
    server.world.faults.add(rule)

    response = ask(server, "GET", "/version")

    assert response.seconds == 0.3
    texts = [str(monitored(server.cluster, pod, "9090", "/metrics")) for pod in server.pods("api")]
    assert any('le="0.25"} 0' in text and 'le="0.5"} 1' in text for text in texts)


def test_counters_begin_anew_with_the_process(server: Playground) -> None:
    """After its containers were started again, a pod has counted nothing."""
    ask(server, "GET", "/version")
    ask(server, "GET", "/version")
    pod = server.pods("api")[0]
    before = counted(server, pod, "requests_total")

    fault = server.fault(FaultKind.CRASH, "probe pod", name_of(pod))
    server.settle()
    crashed = monitored(server.cluster, server.get(kinds.PODS, name_of(pod)), "9090", "/metrics")
    server.world.faults.remove(fault.id)
    server.pass_time(1)

    assert before == 1
    assert not isinstance(crashed, str)
    assert crashed.status == 503
    assert counted(server, server.get(kinds.PODS, name_of(pod)), "requests_total") == 0


@pytest.mark.parametrize(
    ("port", "path", "status"), [("8080", "/metrics", 404), ("metrics", "/metrics", 503), ("9090", "/debug", 404)]
)
def test_only_the_port_for_monitoring_answers(server: Playground, port: str, path: str, status: int) -> None:
    """Names of ports are known to Services alone, as in a real cluster."""
    found = monitored(server.cluster, server.pods("api")[0], port, path)

    assert not isinstance(found, str)
    assert found.status == status


def test_a_bad_pod_fails_its_share_of_the_requests(server: Playground) -> None:
    """Ready pods take turns, so that half of the requests meet one of two."""
    server.fault(FaultKind.ERROR, "GET /version", name_of(server.pods("api")[0]), service="server")

    statuses = [ask(server, "GET", "/version").status for _ in range(10)]

    assert sorted(statuses) == [200] * 5 + [500] * 5


def test_documents_survive_their_pods_but_not_their_volumes(server: Playground) -> None:
    """Deleting every pod loses nothing; deleting the claims of a deleted store loses all."""
    ask(server, "POST", DOCUMENTS, body={"id": "d1"})
    for pod in server.pods("store"):
        server.store.delete(kinds.PODS, pod)
    server.settle()
    survived = ask(server, "GET", f"{DOCUMENTS}/d1").status

    server.store.delete(kinds.STATEFUL_SETS, server.get(kinds.STATEFUL_SETS, "store"))
    for claim in server.store.list(kinds.PERSISTENT_VOLUME_CLAIMS):
        server.store.delete(kinds.PERSISTENT_VOLUME_CLAIMS, claim)
    server.settle()
    server.keep("store")

    assert survived == 200
    assert ask(server, "GET", f"{DOCUMENTS}/d1").status == 404


def test_a_new_replica_takes_part_in_keeping_the_documents(server: Playground) -> None:
    """Documents written before it came survive the volumes of the replicas that were there."""
    ask(server, "POST", DOCUMENTS, body={"id": "d1"})
    server.edit(kinds.STATEFUL_SETS, "store", replicas=4)
    server.settle()
    ask(server, "GET", f"{DOCUMENTS}/d1")

    for number in range(3):
        server.store.delete(
            kinds.PERSISTENT_VOLUME_CLAIMS, server.get(kinds.PERSISTENT_VOLUME_CLAIMS, f"data-store-{number}")
        )
        server.store.delete(kinds.PODS, server.get(kinds.PODS, f"store-{number}"))
    server.settle()

    assert ask(server, "GET", f"{DOCUMENTS}/d1").status == 200


def test_a_backup_restores_into_another_namespace(server: Playground) -> None:
    """Backup and restore agree on checksum and number of records, in their termination messages."""
    for number in range(3):
        ask(server, "POST", DOCUMENTS, body={"id": f"d{number}"})
    server.create(kinds.NAMESPACES, {"metadata": {"name": "restore"}}, "")

    job, ended = run_job(server, "backup", ["backup", "--bucket", "b", "--key", "k"])
    written = json.loads(ended["message"])
    arguments = ["restore", "--bucket", "b", "--key", "k", "--sha256", written["sha256"]]
    _, restored = run_job(server, "restore", arguments, "restore")

    assert isinstance(server.provider, StandaloneProvider)
    body = server.provider.objects["b", "k"]
    assert written == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "records": 3}
    assert found_condition(job, "Complete")["status"] == "True"
    assert job["status"]["succeeded"] == 1
    assert json.loads(restored["message"]) == {"records": 3, "sha256": written["sha256"]}
    assert documents(server.cluster).get("restore", "cars", "d2") == {"id": "d2"}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["restore", "--bucket", "b", "--key", "none"], 1, "NoSuchKey: b/none"),
        (["restore", "--bucket", "b", "--key", "torn"], 1, "s3://b/torn is not a backup"),
        (["restore", "--bucket", "b", "--key", "torn", "--sha256", "00"], 1, "checksum mismatch: expected 00, found"),
        (["backup", "--bucket", "b"], 2, "option --key is required"),
        (["compact"], 2, "store has no program 'compact'"),
    ],
)
def test_a_program_that_cannot_work_says_why(
    server: Playground, arguments: list[str], exit_code: int, message: str
) -> None:
    """The Job fails and the termination message names the reason."""
    assert isinstance(server.provider, StandaloneProvider)
    server.provider.objects["b", "torn"] = b'{"collection": "cars"'

    job, ended = run_job(server, "program", arguments)

    assert found_condition(job, "Failed")["status"] == "True"
    assert ended["exitCode"] == exit_code
    assert ended["message"].startswith(message)


def test_other_software_runs_to_a_good_end(server: Playground) -> None:
    """A Job of an image that is not the server's completes."""
    container = {"name": "tool", "image": "public.ecr.aws/tools/tool:1"}
    spec = {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}}

    job = server.create(kinds.JOBS, {"metadata": {"name": "tool"}, "spec": spec})

    assert found_condition(job, "Complete")["status"] == "True"


def test_a_rollout_of_the_api_never_interrupts_it(server: Playground) -> None:
    """With no pod unavailable, every request during a rolling update is answered."""
    pods = template("api", digest="bb")
    pods["metadata"]["labels"]["public"] = "true"
    statuses = []
    stop = server.store.subscribe(lambda _: statuses.append(ask(server, "GET", "/healthz").status))

    server.edit(kinds.DEPLOYMENTS, "api", template=pods)
    server.settle()
    stop()

    assert {pod["spec"]["containers"][0]["image"] for pod in server.pods("api")} == {image("api", "bb")}
    assert len(statuses) > 10
    assert set(statuses) == {200}


def test_pods_of_the_api_are_named_by_their_replica_set(server: Playground) -> None:
    """Names are made as in a real cluster: deployment, template, pod."""
    (replica_set,) = server.store.list(kinds.REPLICA_SETS, NAMESPACE, "app=api")

    assert all(name_of(pod).startswith(f"{name_of(replica_set)}-") for pod in server.pods("api"))
