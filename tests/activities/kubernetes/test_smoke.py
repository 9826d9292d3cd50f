"""The smoke test through the public endpoint, and the API keys that the server accepts."""

from __future__ import annotations

import base64
import json
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment

from activities.contracts import ApiKeysRequest, SmokeTestRequest
from activities.kubernetes.smoke import Answer, PublicEndpoint
from domain.api_key import NewKey, Scope, issue, revoke
from domain.failure import FailureClass
from domain.shape import Component
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from tests.activities.kubernetes.playground import Playground
from tests.activities.kubernetes.samples import DOMAIN, RELEASE, SITE

NOW = datetime.now(UTC)


def key(name: str, number: int, *, days: int = 30, since: datetime = NOW) -> NewKey:
    """Return a key that is the same for the same number."""
    lifetime = timedelta(days=days)
    return issue(name, (Scope.READ,), now=since, lifetime=lifetime, randomness=lambda length: bytes([number] * length))


def entries(playground: Playground) -> list[dict[str, Any]]:
    """Return what the cluster's secret of API keys holds."""
    secret = playground.get(kinds.SECRETS, "api-keys")
    assert secret is not None
    found: list[dict[str, Any]] = json.loads(base64.b64decode(secret["data"]["keys.json"]))
    return found


@pytest.fixture
def serving(playground: Playground) -> Playground:
    """A playground in which the server runs and is open to the world."""
    playground.found()
    playground.install()
    playground.open()
    return playground


def request_of(playground: Playground, **changes: Any) -> SmokeTestRequest:
    """Return the request of a smoke test."""
    request = SmokeTestRequest(site=SITE, cluster=playground.cluster, domain=DOMAIN, release=RELEASE)
    return request.model_copy(update=changes)


def statuses(playground: Playground, api_key: str) -> int:
    """Return what the server answers to a read with this key."""
    with PublicEndpoint(SITE, DOMAIN.name, playground.settings) as endpoint:
        return endpoint.ask("GET", "/v1/collections/things/documents/one", key=api_key).status


def test_a_cancelled_activity_asks_no_endpoint(playground: Playground) -> None:
    """It ends before its next request."""
    environment = ActivityEnvironment()
    environment.cancel()

    with PublicEndpoint(SITE, DOMAIN.name, playground.settings) as endpoint, pytest.raises(CancelledError):
        copy_context().run(environment.run, endpoint.ask, "GET", "/")


def test_the_smoke_test_sees_what_a_client_sees(serving: Playground) -> None:
    """Release, health of every component and a document's way there and back, with no key left behind."""
    seen = serving.until_done(serving.server.smoke_test, request_of(serving))

    assert seen.url == f"https://{DOMAIN.name}"
    assert seen.release == RELEASE.version
    assert seen.components == dict.fromkeys(Component, "ok")
    assert seen.round_trip_ms > 0
    assert entries(serving) == []


def test_the_key_never_leaves_the_activity(serving: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither result nor secret hold the key itself; the hash is accepted for minutes at most."""
    seen_keys: list[str] = []
    seen_entries: list[list[dict[str, Any]]] = []
    ask = PublicEndpoint.ask

    def listen(self: PublicEndpoint, method: str, path: str, *, key: str = "", **more: Any) -> Answer:
        if key:
            seen_keys.append(key)
            seen_entries.append(entries(serving))
        return ask(self, method, path, key=key, **more)

    monkeypatch.setattr(PublicEndpoint, "ask", listen)
    result = serving.until_done(serving.server.smoke_test, request_of(serving))

    during = seen_entries[0]
    assert len(set(seen_keys)) == 1
    assert [entry["id"] for entry in during] == ["smoke-test"]
    assert seen_keys[0] not in json.dumps(during) + result.model_dump_json()
    left = datetime.fromisoformat(during[0]["expires_at"]) - datetime.now(UTC)
    assert timedelta(0) < left <= serving.settings.key_lifetime


def test_the_other_keys_stay(serving: Playground) -> None:
    """A smoke test leaves the customer's keys as they are."""
    record = key("customer", 1).record
    serving.until_done(
        serving.server.apply_api_keys, ApiKeysRequest(site=SITE, cluster=serving.cluster, keys=(record,))
    )

    serving.until_done(serving.server.smoke_test, request_of(serving))

    assert [entry["id"] for entry in entries(serving)] == [record.id]


def test_the_key_is_removed_when_the_test_fails(serving: Playground) -> None:
    """A server that loses the document makes the test fail, and the key is gone all the same."""
    serving.fault(Fault(kind=FaultKind.ERROR, service="server", operation="GET /v1/*"))
    impatient = serving.server_with(serving.settings.model_copy(update={"grace": timedelta(0)}))

    failure = serving.failure_of(impatient.smoke_test, request_of(serving))

    assert failure.failure is FailureClass.UNKNOWN
    assert "answers 500 without the document just written" in failure.message
    assert entries(serving) == []


def test_a_key_whose_writing_lost_its_reply_is_removed_too(serving: Playground) -> None:
    """The doubtful write counts as done."""
    serving.fault(Fault(kind=FaultKind.LOST_REPLY, service="kubernetes", operation="patch secrets", times=1))

    with pytest.raises(ApplicationError):
        serving.attempt(serving.server.smoke_test, request_of(serving))

    assert entries(serving) == []


def test_a_leftover_of_a_killed_test_is_replaced(serving: Playground) -> None:
    """The next test takes away what an earlier one could not."""
    leftover = [{"id": "smoke-test", "hash": "0" * 64, "expires_at": "2026-01-01T00:00:00+00:00", "scopes": ["read"]}]
    text = base64.b64encode(json.dumps(leftover).encode()).decode()
    serving.edit(kinds.SECRETS, "api-keys", lambda secret: secret["data"].update({"keys.json": text}))

    serving.until_done(serving.server.smoke_test, request_of(serving))

    assert entries(serving) == []


def test_nothing_is_changed_before_the_endpoint_answers(playground: Playground) -> None:
    """A name that leads nowhere yet is waited for, without a key in the cluster."""
    playground.found()
    position = playground.world.journal.position

    with pytest.raises(ApplicationError) as waiting:
        playground.attempt(playground.server.smoke_test, request_of(playground))

    assert waiting.value.type == FailureClass.NOT_READY
    assert playground.changes(position) == []


def test_a_component_that_is_down_is_named(serving: Playground) -> None:
    """After the grace the failure says which component the server itself calls unavailable."""
    serving.edit(kinds.HORIZONTAL_POD_AUTOSCALERS, "cdc", lambda scaler: scaler["spec"].update(minReplicas=0))
    serving.edit(kinds.DEPLOYMENTS, "cdc", lambda deployment: deployment["spec"].update(replicas=0))
    impatient = serving.server_with(serving.settings.model_copy(update={"grace": timedelta(0)}))

    failure = None
    while failure is None:
        try:
            serving.attempt(impatient.smoke_test, request_of(serving))
        except ApplicationError as error:
            failure = error

    assert "cdc is unavailable" in failure.message


def test_another_release_is_not_accepted(serving: Playground) -> None:
    """A server that runs something else than what was installed fails the test, and names both."""
    impatient = serving.server_with(serving.settings.model_copy(update={"grace": timedelta(0)}))
    other = RELEASE.model_copy(update={"version": "99.0.0"})

    failure = serving.failure_of(impatient.smoke_test, request_of(serving, release=other))

    assert f"runs release {RELEASE.version} and not 99.0.0" in failure.message


def test_an_unknown_authority_is_not_trusted(serving: Playground) -> None:
    """Without the settings' certificate authority the endpoint's certificate is refused."""
    strict = serving.settings.model_copy(update={"public_ca_file": None})

    with PublicEndpoint(SITE, DOMAIN.name, strict) as endpoint, pytest.raises(requests.exceptions.SSLError):
        endpoint.ask("GET", "/healthz")


def test_the_servers_clock_decides_on_expiry(serving: Playground) -> None:
    """A cluster whose clock is hours ahead still accepts the key."""
    serving.world.clock.set_speed(1_000_000.0)
    while (serving.world.clock.now() - datetime.now(UTC)) < timedelta(hours=6):
        pass
    serving.world.clock.set_speed(1.0)

    seen = serving.until_done(serving.server.smoke_test, request_of(serving))

    assert seen.release == RELEASE.version


def test_the_server_accepts_exactly_the_keys_that_are_valid(serving: Playground) -> None:
    """Valid keys open the API; revoked, expired and unknown ones do not."""
    good, revoked, expired, unknown = (
        key("good", 1),
        key("revoked", 2),
        key("expired", 3, days=1, since=NOW - timedelta(days=2)),
        key("unknown", 4),
    )
    records = (good.record, revoke(revoked.record, now=NOW), expired.record)

    serving.until_done(serving.server.apply_api_keys, ApiKeysRequest(site=SITE, cluster=serving.cluster, keys=records))

    assert [entry["id"] for entry in entries(serving)] == [good.record.id]
    assert statuses(serving, good.key) == 404
    assert [statuses(serving, other.key) for other in (revoked, expired, unknown)] == [401, 401, 401]


def test_the_same_keys_again_change_nothing(serving: Playground) -> None:
    """Applying the list that is there makes no mutating call."""
    request = ApiKeysRequest(site=SITE, cluster=serving.cluster, keys=(key("a", 1).record, key("b", 2).record))
    serving.until_done(serving.server.apply_api_keys, request)
    position = serving.world.journal.position

    serving.until_done(serving.server.apply_api_keys, request.model_copy(update={"keys": request.keys[::-1]}))

    assert serving.world.journal.calls(after=position, mutating=True, agent="byoc/") == []
