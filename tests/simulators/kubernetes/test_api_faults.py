"""Faults on request: how the API server misbehaves, and what the journal says of it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client import ApiException

from simulators.faults import Fault, FaultKind
from simulators.kubernetes.kinds import CONFIG_MAPS, DEPLOYMENTS
from tests.simulators.kubernetes.conftest import Playground
from tests.simulators.kubernetes.manifests import config_map, deployment


def creation(kind: FaultKind, **options: Any) -> Fault:
    """Return a rule that strikes the creation of ConfigMaps."""
    return Fault(kind=kind, service="kubernetes", operation="create configmaps", **options)


def exists(playground: Playground, name: str) -> bool:
    """Return whether the ConfigMap is in the cluster."""
    return playground.on_loop(lambda: playground.cluster.store.get(CONFIG_MAPS, "default", name)) is not None


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        (FaultKind.THROTTLE, 429, "TooManyRequests"),
        (FaultKind.ERROR, 500, "InternalError"),
        (FaultKind.REVOKE, 403, 'User \\"operator\\" cannot create resource \\"configmaps\\"'),
        (FaultKind.QUOTA, 403, "exceeded quota"),
    ],
)
def test_refusing_fault_prevents_the_deed_once(
    playground: Playground, kind: FaultKind, status: int, words: str
) -> None:
    """The call fails in the shape of its kind, nothing is created, and the next call succeeds."""
    core = client.CoreV1Api(playground.client())
    fault = playground.world.faults.add(creation(kind, times=1))

    with pytest.raises(ApiException) as failure:
        core.create_namespaced_config_map("default", config_map("settings"))
    refused = not exists(playground, "settings")
    core.create_namespaced_config_map("default", config_map("settings"))

    assert failure.value.status == status
    assert words in failure.value.body
    assert refused
    first, second = playground.world.journal.calls(operation="create configmaps")
    assert (first.fault, first.changed, first.status) == (fault.id, False, status)
    assert (second.fault, second.changed, second.status) == ("", True, 201)


def test_throttling_says_when_to_come_back(playground: Playground) -> None:
    """A throttled reply carries Retry-After."""
    playground.world.faults.add(creation(FaultKind.THROTTLE))

    answer = playground.request("POST", "/api/v1/namespaces/default/configmaps", config_map("settings"))

    assert answer.headers["Retry-After"] == "1"


def test_lost_reply_leaves_the_deed_done(playground: Playground) -> None:
    """The client sees a broken connection; the object is there, and the journal knows that nothing was answered."""
    core = client.CoreV1Api(playground.client())
    playground.world.faults.add(creation(FaultKind.LOST_REPLY, times=1))

    with pytest.raises(Exception, match="onnection") as failure:
        core.create_namespaced_config_map("default", config_map("settings"))

    assert not isinstance(failure.value, ApiException)
    assert exists(playground, "settings")
    (call,) = playground.world.journal.calls(operation="create configmaps")
    assert (call.status, call.changed) == (0, True)


def test_slow_call_takes_its_time(playground: Playground) -> None:
    """The deed happens after the delay."""
    playground.world.faults.add(creation(FaultKind.SLOW, seconds=0.3))
    started = time.monotonic()

    client.CoreV1Api(playground.client()).create_namespaced_config_map("default", config_map("settings"))

    assert time.monotonic() - started >= 0.3


def create_in_background(playground: Playground, timeout: float = 10) -> tuple[threading.Thread, list[object]]:
    """Start creating a ConfigMap; the list holds the outcome afterwards."""
    outcome: list[object] = []

    def create() -> None:
        core = client.CoreV1Api(playground.client())
        try:
            body = config_map("settings")
            outcome.append(core.create_namespaced_config_map("default", body, _request_timeout=timeout))
        except Exception as failure:  # noqa: BLE001 - whatever the client raises is the outcome
            outcome.append(failure)

    thread = threading.Thread(target=create)
    thread.start()
    return thread, outcome


def wait_for_hold(playground: Playground) -> Any:
    """Wait until one call is held, and return it."""
    loop = playground.loop
    (held,) = asyncio.run_coroutine_threadsafe(playground.world.wait_until_held(5), loop).result(10)
    return held


def test_hold_keeps_the_reply_until_released(playground: Playground) -> None:
    """While the call is held the deed is done; the release lets the reply through."""
    playground.world.faults.add(creation(FaultKind.HOLD, times=1))
    thread, outcome = create_in_background(playground)

    held = wait_for_hold(playground)
    done_meanwhile = exists(playground, "settings")
    playground.on_loop(lambda: playground.world.release(held.id))
    thread.join(10)

    assert held.deed_done
    assert done_meanwhile
    assert outcome[0].metadata.name == "settings"  # type: ignore[attr-defined]
    assert playground.world.journal.calls(operation="create configmaps")[0].status == 201


def test_hold_before_never_does_the_deed_if_the_caller_hangs_up(playground: Playground) -> None:
    """A client that gives up while held before the deed leaves nothing behind, even after the release."""
    playground.world.faults.add(creation(FaultKind.HOLD_BEFORE, times=1))
    thread, outcome = create_in_background(playground, timeout=0.5)

    held = wait_for_hold(playground)
    thread.join(10)
    deadline = time.monotonic() + 5
    while playground.world.held() and time.monotonic() < deadline:
        time.sleep(0.02)

    assert isinstance(outcome[0], Exception)
    assert not playground.on_loop(lambda: playground.world.release(held.id))
    assert not exists(playground, "settings")
    (call,) = playground.world.journal.calls(operation="create configmaps")
    assert (call.status, call.changed) == (0, False)


def test_hold_before_does_the_deed_after_the_release(playground: Playground) -> None:
    """Nothing happens while the call is held; everything happens once it is released."""
    playground.world.faults.add(creation(FaultKind.HOLD_BEFORE, times=1))
    thread, outcome = create_in_background(playground)

    held = wait_for_hold(playground)
    done_meanwhile = exists(playground, "settings")
    playground.on_loop(lambda: playground.world.release(held.id))
    thread.join(10)

    assert not done_meanwhile
    assert outcome[0].metadata.name == "settings"  # type: ignore[attr-defined]


def test_stuck_rollout_is_remembered_until_the_rule_goes(playground: Playground) -> None:
    """A stuck fault lets the call succeed and marks its object, for the controllers, while the rule is in force."""
    rule = Fault(kind=FaultKind.STUCK, service="kubernetes", operation="create deployments")
    playground.world.faults.add(rule)

    client.AppsV1Api(playground.client()).create_namespaced_deployment("default", deployment())
    marked = playground.cluster.affliction(DEPLOYMENTS, "default", "web")
    playground.world.faults.remove(rule.id)

    assert marked == rule
    assert playground.cluster.affliction(DEPLOYMENTS, "default", "web") is None
