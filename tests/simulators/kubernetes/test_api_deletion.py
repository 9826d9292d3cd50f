"""Deletion: finalizers, graceful pods, garbage collection by owner, terminating namespaces, and eviction."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client import ApiException

from simulators.kubernetes.kinds import PODS
from tests.simulators.kubernetes.conftest import Playground
from tests.simulators.kubernetes.manifests import config_map, pod

MERGE = "application/merge-patch+json"


def reference_to(owner: Any) -> dict[str, Any]:
    """Return an owner reference to a ConfigMap."""
    identity = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name, "uid": owner.metadata.uid}
    return {**identity, "blockOwnerDeletion": True}


def owned(name: str, owner: Any) -> dict[str, Any]:
    """Return a ConfigMap that belongs to `owner`."""
    body = config_map(name)
    body["metadata"]["ownerReferences"] = [reference_to(owner)]
    return body


def names(core: client.CoreV1Api) -> list[str]:
    """Return the names of the ConfigMaps in the namespace `default`."""
    return [item.metadata.name for item in core.list_namespaced_config_map("default").items]


def test_finalizer_holds_an_object_until_it_is_removed(playground: Playground) -> None:
    """A deleted object with a finalizer stays, marked as terminating, and goes with its last finalizer."""
    core = client.CoreV1Api(playground.client())
    body = config_map("settings")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    core.create_namespaced_config_map("default", body)

    core.delete_namespaced_config_map("settings", "default")
    held = core.read_namespaced_config_map("settings", "default")
    core.patch_namespaced_config_map("settings", "default", {"metadata": {"finalizers": None}}, _content_type=MERGE)

    assert held.metadata.deletion_timestamp is not None
    assert names(core) == []


def test_dependents_go_with_their_owner(playground: Playground) -> None:
    """Background deletion takes the dependents of the dependents too."""
    core = client.CoreV1Api(playground.client())
    owner = core.create_namespaced_config_map("default", config_map("owner"))
    child = core.create_namespaced_config_map("default", owned("child", owner))
    core.create_namespaced_config_map("default", owned("grandchild", child))

    core.delete_namespaced_config_map("owner", "default", propagation_policy="Background")

    assert names(core) == []


def test_orphaned_dependents_stay_without_the_reference(playground: Playground) -> None:
    """Orphaning deletes the owner alone."""
    core = client.CoreV1Api(playground.client())
    owner = core.create_namespaced_config_map("default", config_map("owner"))
    core.create_namespaced_config_map("default", owned("child", owner))

    core.delete_namespaced_config_map("owner", "default", propagation_policy="Orphan")

    assert names(core) == ["child"]
    assert not core.read_namespaced_config_map("child", "default").metadata.owner_references


def test_foreground_deletion_waits_for_the_dependents(playground: Playground) -> None:
    """The owner stays while a dependent with a finalizer stays, and goes with it."""
    core = client.CoreV1Api(playground.client())
    owner = core.create_namespaced_config_map("default", config_map("owner"))
    body = owned("child", owner)
    body["metadata"]["finalizers"] = ["example.com/hold"]
    core.create_namespaced_config_map("default", body)

    core.delete_namespaced_config_map("owner", "default", propagation_policy="Foreground")
    waiting = names(core)
    core.patch_namespaced_config_map("child", "default", {"metadata": {"finalizers": None}}, _content_type=MERGE)

    assert waiting == ["child", "owner"]
    assert names(core) == []


def test_object_of_a_gone_owner_is_collected(playground: Playground) -> None:
    """An object that names an owner which is gone does not stay."""
    core = client.CoreV1Api(playground.client())
    owner = core.create_namespaced_config_map("default", config_map("owner"))
    core.delete_namespaced_config_map("owner", "default")

    core.create_namespaced_config_map("default", owned("late", owner))

    assert names(core) == []


def test_pod_on_a_node_terminates_before_it_is_gone(playground: Playground) -> None:
    """A pod that has no node goes at once; one on a node waits for its kubelet, unless the grace period is 0."""
    core = client.CoreV1Api(playground.client())
    core.create_namespaced_pod("default", pod("pending"))
    running = pod("running")
    running["spec"]["nodeName"] = "node-a"
    core.create_namespaced_pod("default", running)

    core.delete_namespaced_pod("pending", "default")
    core.delete_namespaced_pod("running", "default")
    (left,) = core.list_namespaced_pod("default").items
    core.delete_namespaced_pod("running", "default", grace_period_seconds=0)

    assert left.metadata.name == "running"
    assert left.metadata.deletion_grace_period_seconds == 30
    assert core.list_namespaced_pod("default").items == []


def test_namespace_terminates_until_its_contents_are_gone(playground: Playground) -> None:
    """Contents go first, nothing new may be made meanwhile, and the namespace goes last."""
    core = client.CoreV1Api(playground.client())
    core.create_namespace({"metadata": {"name": "shop"}})
    core.create_namespaced_config_map("shop", config_map("plain"))
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    core.create_namespaced_config_map("shop", held)

    core.delete_namespace("shop")
    phase = core.read_namespace("shop").status.phase
    left = [item.metadata.name for item in core.list_namespaced_config_map("shop").items]
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_config_map("shop", config_map("late"))
    core.patch_namespaced_config_map("held", "shop", {"metadata": {"finalizers": None}}, _content_type=MERGE)

    assert phase == "Terminating"
    assert left == ["held"]
    assert json.loads(refused.value.body)["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    with pytest.raises(ApiException) as gone:
        core.read_namespace("shop")
    assert gone.value.status == 404


def test_deletion_of_another_uid_is_refused(playground: Playground) -> None:
    """A precondition protects a namesake that came later."""
    core = client.CoreV1Api(playground.client())
    core.create_namespaced_config_map("default", config_map("settings"))

    with pytest.raises(ApiException) as failure:
        core.delete_namespaced_config_map("settings", "default", body={"preconditions": {"uid": "another"}})

    assert failure.value.status == 409
    assert names(core) == ["settings"]


def test_collection_is_deleted_by_selector(playground: Playground) -> None:
    """Only what the selector matches goes."""
    core = client.CoreV1Api(playground.client())
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        core.create_namespaced_config_map("default", config_map(name, {"tier": tier}))

    core.delete_collection_namespaced_config_map("default", label_selector="tier=front")

    assert names(core) == ["b"]


def run_ready(playground: Playground, *pod_names: str) -> client.CoreV1Api:
    """Create pods with the label app=store that run and are ready on a node."""
    core = client.CoreV1Api(playground.client())
    for name in pod_names:
        body = pod(name, {"app": "store"})
        body["spec"]["nodeName"] = "node-a"
        core.create_namespaced_pod("default", body)
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        core.patch_namespaced_pod_status(name, "default", {"status": status})
    return core


def evict(core: client.CoreV1Api, name: str) -> None:
    """Ask for the eviction of a pod."""
    body = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace="default"))
    core.create_namespaced_pod_eviction(name, "default", body)


def test_eviction_respects_the_disruption_budget(playground: Playground) -> None:
    """One eviction is allowed, the next is 429 with the cause, and allowed again once the first pod is replaced."""
    core = run_ready(playground, "store-0", "store-1", "store-2")
    budget = {"metadata": {"name": "store"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "store"}}}}
    client.PolicyV1Api(playground.client()).create_namespaced_pod_disruption_budget("default", budget)

    evict(core, "store-0")
    with pytest.raises(ApiException) as refused:
        evict(core, "store-1")
    core.delete_namespaced_pod("store-0", "default", grace_period_seconds=0)
    run_ready(playground, "store-0")
    evict(core, "store-1")

    body = json.loads(refused.value.body)
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == "10"
    assert body["details"]["causes"][0] == {
        "reason": "DisruptionBudget",
        "message": "The disruption budget store needs 2 healthy pods and has 2 currently",
    }
    terminating = playground.on_loop(
        lambda: [
            entry["metadata"]["name"]
            for entry in playground.cluster.store.list(PODS)
            if "deletionTimestamp" in entry["metadata"]
        ]
    )
    assert terminating == ["store-1"]


def test_eviction_without_a_budget_is_allowed(playground: Playground) -> None:
    """A pod that no budget covers is evicted."""
    core = run_ready(playground, "store-0")

    evict(core, "store-0")

    assert core.read_namespaced_pod("store-0", "default").metadata.deletion_timestamp is not None
