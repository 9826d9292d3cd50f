"""The API server as the official client sees it: reading and writing objects, and what is refused."""

from __future__ import annotations

import json

import pytest
from kubernetes import client
from kubernetes.client import ApiException

from tests.simulators.kubernetes.conftest import STRANGER_TOKEN, Playground
from tests.simulators.kubernetes.manifests import config_map, deployment

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"


def status_of(failure: pytest.ExceptionInfo[ApiException]) -> dict[str, object]:
    """Return the Status object of a refused request."""
    body: dict[str, object] = json.loads(failure.value.body)
    assert body["kind"] == "Status"
    assert body["code"] == failure.value.status
    return body


def test_created_object_is_read_back_with_defaults_and_identity(playground: Playground) -> None:
    """What was created comes back with a uid, a version, a generation and the defaults that clients rely on."""
    apps = client.AppsV1Api(playground.client())

    created = apps.create_namespaced_deployment("default", deployment())

    read = apps.read_namespaced_deployment("web", "default")
    assert read.metadata.uid == created.metadata.uid
    assert read.metadata.generation == 1
    assert read.spec.strategy.rolling_update.max_surge == "25%"
    assert read.spec.template.spec.containers[0].ports[0].protocol == "TCP"


def test_changed_specification_raises_the_generation_and_a_no_op_changes_nothing(playground: Playground) -> None:
    """Generation and resourceVersion move with the specification, and stay when a patch says what is so already."""
    apps = client.AppsV1Api(playground.client())
    created = apps.create_namespaced_deployment("default", deployment())

    scaled = apps.patch_namespaced_deployment("web", "default", {"spec": {"replicas": 5}})
    again = apps.patch_namespaced_deployment("web", "default", {"spec": {"replicas": 5}})

    assert scaled.metadata.generation == 2
    assert scaled.metadata.resource_version != created.metadata.resource_version
    assert again.metadata.resource_version == scaled.metadata.resource_version
    calls = playground.world.journal.calls(operation="patch deployments")
    assert [call.changed for call in calls] == [True, False]


def test_stale_update_is_a_conflict(playground: Playground) -> None:
    """A replacement of a version that is no longer current is refused, and the object stays."""
    core = client.CoreV1Api(playground.client())
    stale = core.create_namespaced_config_map("default", config_map("settings", mode="a"))
    core.patch_namespaced_config_map("settings", "default", {"data": {"mode": "b"}})

    stale.data = {"mode": "c"}
    with pytest.raises(ApiException) as failure:
        core.replace_namespaced_config_map("settings", "default", stale)

    assert failure.value.status == 409
    assert status_of(failure)["reason"] == "Conflict"
    assert core.read_namespaced_config_map("settings", "default").data == {"mode": "b"}


def test_second_creation_is_refused(playground: Playground) -> None:
    """An object of the same name is AlreadyExists, and keeps its uid."""
    core = client.CoreV1Api(playground.client())
    first = core.create_namespaced_config_map("default", config_map("settings"))

    with pytest.raises(ApiException) as failure:
        core.create_namespaced_config_map("default", config_map("settings"))

    assert (failure.value.status, status_of(failure)["reason"]) == (409, "AlreadyExists")
    assert core.read_namespaced_config_map("settings", "default").metadata.uid == first.metadata.uid


def test_missing_object_and_missing_namespace_are_not_found(playground: Playground) -> None:
    """Both answer 404 with the kind and the name that are missing."""
    core = client.CoreV1Api(playground.client())

    with pytest.raises(ApiException) as missing:
        core.read_namespaced_service("absent", "default")
    with pytest.raises(ApiException) as homeless:
        core.create_namespaced_config_map("nowhere", config_map("settings"))

    assert status_of(missing)["message"] == 'services "absent" not found'
    assert status_of(homeless)["message"] == 'namespaces "nowhere" not found'


def test_malformed_name_is_invalid_with_a_cause(playground: Playground) -> None:
    """A name that is no DNS subdomain is refused with the field and the rule."""
    with pytest.raises(ApiException) as failure:
        client.CoreV1Api(playground.client()).create_namespaced_config_map("default", config_map("Not_A_Name"))

    status = status_of(failure)
    assert (failure.value.status, status["reason"]) == (422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "metadata.name"  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"selector": {"matchLabels": {"app": "other"}}}, 422, "spec.template.metadata.labels"),
        ({"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "x"}]}}}, 422, "name"),
        ({"replicas": "two"}, 400, "spec.replicas"),
    ],
    ids=["selector does not match", "container without a name", "text for a number"],
)
def test_malformed_specification_is_refused(
    playground: Playground, change: dict[str, object], status: int, field: str
) -> None:
    """The reply names the field, and nothing is created."""
    answer = playground.request("POST", DEPLOYMENTS, deployment(**change))

    assert answer.status == status
    assert field in answer.body["message"]
    assert playground.request("GET", DEPLOYMENTS).body["items"] == []


def test_unknown_field_is_refused_if_asked_to_be_strict(playground: Playground) -> None:
    """Strict field validation names the unknown field; without it there is a warning."""
    misspelt = deployment(replica=3)

    strict = playground.request("POST", f"{DEPLOYMENTS}?fieldValidation=Strict", misspelt)
    lenient = playground.request("POST", DEPLOYMENTS, misspelt)

    assert strict.status == 400
    assert 'unknown field "spec.replica"' in strict.body["message"]
    assert lenient.status == 201
    assert 'unknown field "spec.replica"' in lenient.headers["Warning"]


def test_immutable_fields_stay(playground: Playground) -> None:
    """A deployment's selector and most of a stateful set's specification cannot be changed."""
    apps = client.AppsV1Api(playground.client())
    apps.create_namespaced_deployment("default", deployment())
    stateful_set = deployment("store", serviceName="store")
    del stateful_set["kind"], stateful_set["apiVersion"]
    apps.create_namespaced_stateful_set("default", stateful_set)

    labels = {"app": "other"}
    change = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
    with pytest.raises(ApiException) as reselected:
        apps.patch_namespaced_deployment("web", "default", change)
    with pytest.raises(ApiException) as renamed:
        apps.patch_namespaced_stateful_set("store", "default", {"spec": {"serviceName": "other"}})

    assert "field is immutable" in reselected.value.body
    assert "updates to statefulset spec for fields other than" in renamed.value.body


def test_dry_run_changes_nothing(playground: Playground) -> None:
    """A dry run answers with the object that would be, and leaves the cluster as it was."""
    core = client.CoreV1Api(playground.client())

    answer = core.create_namespaced_config_map("default", config_map("settings"), dry_run="All")

    assert answer.metadata.uid
    assert core.list_namespaced_config_map("default").items == []
    assert not playground.world.journal.calls(mutating=True)


def test_selectors_choose_by_labels_and_fields(playground: Playground) -> None:
    """Lists contain what the label and field selectors match, and nothing else."""
    core = client.CoreV1Api(playground.client())
    for name, tier in (("a", "front"), ("b", "back"), ("c", "store")):
        core.create_namespaced_config_map("default", config_map(name, {"tier": tier}))

    def names(**selectors: str) -> list[str]:
        return [item.metadata.name for item in core.list_namespaced_config_map("default", **selectors).items]

    assert names(label_selector="tier=front") == ["a"]
    assert names(label_selector="tier in (front, back)") == ["a", "b"]
    assert names(label_selector="tier notin (front),tier") == ["b", "c"]
    assert names(label_selector="!tier") == []
    assert names(field_selector="metadata.name!=b") == ["a", "c"]


def test_pages_together_are_the_whole_list(playground: Playground) -> None:
    """Following `continue` with a limit yields every object once."""
    core = client.CoreV1Api(playground.client())
    for number in range(7):
        core.create_namespaced_config_map("default", config_map(f"item-{number}"))

    names, token = [], None
    while token != "":
        page = core.list_namespaced_config_map("default", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""

    assert names == [f"item-{number}" for number in range(7)]


def test_json_patch_works_and_its_failed_test_changes_nothing(playground: Playground) -> None:
    """Operations are carried out in order, all or none."""
    core = client.CoreV1Api(playground.client())
    core.create_namespaced_config_map("default", config_map("settings", mode="a", old="x"))

    patched = core.patch_namespaced_config_map(
        "settings",
        "default",
        [
            {"op": "test", "path": "/data/mode", "value": "a"},
            {"op": "move", "from": "/data/old", "path": "/data/new"},
            {"op": "add", "path": "/metadata/labels/example.com~1tier", "value": "front"},
        ],
        _content_type="application/json-patch+json",
    )
    with pytest.raises(ApiException) as failure:
        core.patch_namespaced_config_map(
            "settings",
            "default",
            [{"op": "remove", "path": "/data/mode"}, {"op": "test", "path": "/data/new", "value": "other"}],
            _content_type="application/json-patch+json",
        )

    assert patched.data == {"mode": "a", "new": "x"}
    assert patched.metadata.labels == {"example.com/tier": "front"}
    assert failure.value.status == 422
    assert core.read_namespaced_config_map("settings", "default").data == {"mode": "a", "new": "x"}


def test_strategic_merge_changes_one_container_and_merge_patch_replaces_the_list(playground: Playground) -> None:
    """Strategic merge merges lists by key; a merge patch replaces them."""
    apps = client.AppsV1Api(playground.client())
    apps.create_namespaced_deployment("default", deployment())
    added = {"name": "sidecar", "image": "registry.example.com/sidecar:1.0"}

    merged = apps.patch_namespaced_deployment(
        "web",
        "default",
        {
            "spec": {
                "template": {
                    "spec": {"containers": [{"name": "server", "image": "registry.example.com/server:2.0"}, added]}
                }
            }
        },
    )
    replaced = apps.patch_namespaced_deployment(
        "web", "default", {"spec": {"template": {"spec": {"containers": [added]}}}}, _content_type=MERGE
    )

    containers = merged.spec.template.spec.containers
    assert [container.name for container in containers] == ["server", "sidecar"]
    assert containers[0].image.endswith(":2.0")
    assert containers[0].env[0].value == "normal"
    assert [container.name for container in replaced.spec.template.spec.containers] == ["sidecar"]


def test_status_and_specification_are_written_apart(playground: Playground) -> None:
    """A write to the object leaves the status, a write to the status leaves the object."""
    apps = client.AppsV1Api(playground.client())
    apps.create_namespaced_deployment("default", deployment())

    apps.patch_namespaced_deployment_status("web", "default", {"spec": {"replicas": 9}, "status": {"readyReplicas": 2}})
    apps.patch_namespaced_deployment("web", "default", {"status": {"readyReplicas": 7}})

    read = apps.read_namespaced_deployment("web", "default")
    assert read.spec.replicas == 2
    assert read.status.ready_replicas == 2
    assert read.metadata.generation == 1


def test_scale_subresource_sets_the_replicas(playground: Playground) -> None:
    """Scaling reads and writes the number of replicas only."""
    apps = client.AppsV1Api(playground.client())
    apps.create_namespaced_deployment("default", deployment())

    scaled = apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 4}})

    assert scaled.spec.replicas == 4
    assert scaled.status.selector == "app=web"
    assert apps.read_namespaced_deployment("web", "default").spec.replicas == 4


def test_services_get_addresses_and_keep_them(playground: Playground) -> None:
    """Each service has an address of its own, which a later patch that does not mention it leaves."""
    core = client.CoreV1Api(playground.client())
    ports = {"ports": [{"port": 443, "targetPort": 8443}], "type": "LoadBalancer", "selector": {"app": "web"}}
    first = core.create_namespaced_service("default", {"metadata": {"name": "first"}, "spec": ports})
    second = core.create_namespaced_service("default", {"metadata": {"name": "second"}, "spec": ports})

    patched = core.patch_namespaced_service("first", "default", {"spec": {"selector": {"app": "other"}}})

    assert first.spec.cluster_ip != second.spec.cluster_ip
    assert patched.spec.cluster_ip == first.spec.cluster_ip
    assert patched.spec.ports[0].node_port == first.spec.ports[0].node_port


def test_secrets_store_plain_data_encoded(playground: Playground) -> None:
    """What is given as stringData is read back as base64 data."""
    core = client.CoreV1Api(playground.client())

    core.create_namespaced_secret("default", {"metadata": {"name": "key"}, "stringData": {"token": "s3cret"}})

    read = core.read_namespaced_secret("key", "default")
    assert read.data == {"token": "czNjcmV0"}
    assert read.type == "Opaque"


def test_unknown_token_is_unauthorized(playground: Playground) -> None:
    """A token that stands for nobody gets 401 before anything else."""
    with pytest.raises(ApiException) as failure:
        client.CoreV1Api(playground.client("not-a-token")).list_node()

    assert (failure.value.status, status_of(failure)["reason"]) == (401, "Unauthorized")


def test_stranger_is_forbidden_in_the_words_of_rbac(playground: Playground) -> None:
    """A user without a role gets 403 with the sentence that operators look for, and may ask what they may do."""
    api = playground.client(STRANGER_TOKEN)

    with pytest.raises(ApiException) as failure:
        client.AppsV1Api(api).create_namespaced_deployment("default", deployment())
    answer = client.AuthorizationV1Api(api).create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"verb": "create", "resource": "deployments", "group": "apps"}}}
    )

    assert failure.value.status == 403
    assert status_of(failure)["message"] == (
        'deployments.apps is forbidden: User "stranger" cannot create resource "deployments" in API group "apps" '
        'in the namespace "default"'
    )
    assert answer.status.allowed is False


def test_every_call_is_in_the_journal(playground: Playground) -> None:
    """The journal says who did what to which object, where, and how it ended."""
    core = client.CoreV1Api(playground.client(agent="byoc/1 deployment/d-1"))
    core.create_namespaced_config_map("default", config_map("settings"))

    (call,) = playground.world.journal.calls(service="kubernetes", agent="deployment/d-1")

    assert (call.operation, call.resource, call.status) == ("create configmaps", "default/settings", 201)
    assert (call.account, call.region, call.principal) == ("111122223333", "eu-west-1", "operator")
    assert call.mutating
    assert call.changed


def test_deleted_cluster_does_not_answer(playground: Playground) -> None:
    """The endpoint of a deleted cluster hangs up, as one that is gone: nobody takes that for an answer."""
    core = client.CoreV1Api(playground.client())
    core.list_node()

    playground.on_loop(lambda: playground.simulator.delete_cluster("demo"))

    with pytest.raises(Exception, match=r"Connection aborted|Remote end closed|reset") as failure:
        core.list_node()
    assert not isinstance(failure.value, ApiException)


def test_discovery_lists_what_is_served(playground: Playground) -> None:
    """The dynamic client finds kinds by discovery and works with them, including custom ones."""
    from kubernetes import dynamic

    finder = dynamic.DynamicClient(playground.client())
    snapshots = finder.resources.get(api_version="snapshot.storage.k8s.io/v1", kind="VolumeSnapshot")
    body = {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": "nightly"},
        "spec": {"source": {"persistentVolumeClaimName": "data"}},
    }

    snapshots.create(body=body, namespace="default")

    assert snapshots.get(name="nightly", namespace="default").spec.source.persistentVolumeClaimName == "data"
    assert client.VersionApi(playground.client()).get_code().minor == "34"
