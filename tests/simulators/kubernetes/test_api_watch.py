"""Watches: what they show from which version on, when they end, and when they cannot start."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from kubernetes import client, watch
from kubernetes.client import ApiException

from tests.simulators.kubernetes.conftest import OPERATOR_TOKEN, Playground
from tests.simulators.kubernetes.manifests import config_map


def events(playground: Playground, **options: Any) -> list[tuple[str, str]]:
    """Return (type, name) of the events of a watch on ConfigMaps that ends after a second."""
    core = client.CoreV1Api(playground.client())
    stream = watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=1, **options)
    return [(event["type"], event["object"].metadata.name) for event in stream]


def lines(playground: Playground, query: str) -> Iterator[dict[str, Any]]:
    """Yield the raw events of a watch on ConfigMaps."""
    with urllib3.PoolManager(ca_certs=str(playground.ca_file), retries=False) as pool:
        url = f"{playground.cluster.url}/api/v1/namespaces/default/configmaps?watch=true&{query}"
        reply = pool.request("GET", url, headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"}, preload_content=False)
        buffered = b""
        for chunk in reply.stream(65536):
            *complete, buffered = (buffered + chunk).split(b"\n")
            yield from (json.loads(line) for line in complete)


def test_watch_from_a_version_shows_what_followed(playground: Playground) -> None:
    """Every later change comes once, in order, and nothing before it."""
    core = client.CoreV1Api(playground.client())
    core.create_namespaced_config_map("default", config_map("before"))
    version = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", config_map("a"))
    core.patch_namespaced_config_map("a", "default", {"data": {"mode": "x"}})
    core.delete_namespaced_config_map("before", "default")

    assert events(playground, resource_version=version) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "before")]


def test_watch_without_a_version_starts_with_what_is_there(playground: Playground) -> None:
    """The objects that exist come first, as added."""
    core = client.CoreV1Api(playground.client())
    core.create_namespaced_config_map("default", config_map("a"))

    assert events(playground) == [("ADDED", "a")]


def test_change_is_seen_while_watching(playground: Playground) -> None:
    """A watcher hears of a change at once, without asking again."""
    core = client.CoreV1Api(playground.client())
    threading.Timer(0.2, lambda: core.create_namespaced_config_map("default", config_map("late"))).start()
    started = time.monotonic()

    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, "default", timeout_seconds=10):
        assert event["object"].metadata.name == "late"
        watcher.stop()

    assert time.monotonic() - started < 5


def test_entering_and_leaving_the_selection_are_added_and_deleted(playground: Playground) -> None:
    """An object that comes to match a selector is added for that watch, and deleted when it no longer matches."""
    core = client.CoreV1Api(playground.client())
    core.create_namespaced_config_map("default", config_map("a"))
    version = core.list_namespaced_config_map("default").metadata.resource_version
    core.patch_namespaced_config_map("a", "default", {"metadata": {"labels": {"tier": "front"}}})
    core.patch_namespaced_config_map("a", "default", {"metadata": {"labels": {"tier": "back"}}})

    seen = events(playground, resource_version=version, label_selector="tier=front")

    assert seen == [("ADDED", "a"), ("DELETED", "a")]


def test_watch_from_a_forgotten_version_is_expired(playground: Playground) -> None:
    """After a compaction a watch from before answers 410, and one from now works."""
    core = client.CoreV1Api(playground.client())
    version = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", config_map("a"))

    playground.on_loop(playground.cluster.store.compact)

    with pytest.raises(ApiException) as failure:
        events(playground, resource_version=version)
    assert failure.value.status == 410
    current = core.list_namespaced_config_map("default").metadata.resource_version
    assert events(playground, resource_version=current) == []


def test_initial_events_end_with_a_bookmark(playground: Playground) -> None:
    """A client that asks for the initial events learns by a bookmark that it has them all."""
    core = client.CoreV1Api(playground.client())
    core.create_namespaced_config_map("default", config_map("a"))

    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    first, second, *_ = lines(playground, query)

    assert first["type"] == "ADDED"
    assert second["type"] == "BOOKMARK"
    assert second["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_watches_end_with_their_cluster(playground: Playground) -> None:
    """Deleting the cluster ends its watches instead of leaving them silent."""
    deletion = threading.Timer(
        0.2, lambda: playground.on_loop(lambda: playground.simulator.delete_cluster(playground.cluster.id))
    )
    deletion.start()
    started = time.monotonic()

    list(lines(playground, "timeoutSeconds=30"))

    assert time.monotonic() - started < 5
