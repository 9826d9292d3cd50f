"""Server-side apply: ownership, conflicts, removal of what is no longer said, and no-ops."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes import client
from kubernetes.client import ApiException

from simulators.kubernetes import kinds
from simulators.kubernetes.api import Api
from simulators.kubernetes.apply import applied
from simulators.kubernetes.errors import ApiError
from simulators.kubernetes.fields import owners_of, record_owners
from simulators.kubernetes.objects import copied
from simulators.kubernetes.provider import OPERATORS, StandaloneProvider, User
from simulators.kubernetes.request import Request, Target, Verb
from simulators.kubernetes.simulator import Cluster
from simulators.world import World
from tests.simulators.kubernetes.conftest import Playground
from tests.simulators.kubernetes.manifests import config_map, deployment

APPLY = "application/apply-patch+yaml"


def apply_deployment(playground: Playground, body: dict[str, Any], manager: str, *, force: bool = False) -> Any:
    """Apply the deployment `web` with the official client."""
    return client.AppsV1Api(playground.client()).patch_namespaced_deployment(
        body["metadata"]["name"], "default", body, field_manager=manager, force=force, _content_type=APPLY
    )


MANIFESTS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: LoadBalancer,
  selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}, {name: https, port: 443}]}}
---
{apiVersion: v1, kind: Secret, metadata: {name: key, namespace: default}, stringData: {token: s3cret}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: store, namespace: default}, spec: {serviceName: store,
  replicas: 3, selector: {matchLabels: {app: store}}, template: {metadata: {labels: {app: store}}, spec: {
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule,
  labelSelector: {matchLabels: {app: store}}}], tolerations: [{key: pool, operator: Exists}], containers: [{name: store,
  image: "store:1", ports: [{containerPort: 5432}], volumeMounts: [{name: data, mountPath: /data}], livenessProbe: {
  tcpSocket: {port: 5432}}}]}}, volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce],
  resources: {requests: {storage: 10Gi}}}}]}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web, namespace: default}, spec: {
  maxUnavailable: 1, selector: {matchLabels: {app: web}}}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web, namespace: default}, spec: {
  podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}], policyTypes: [Ingress]}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web, namespace: default}, spec: {
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 2, maxReplicas: 5, metrics: [
  {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, provisioner: ebs.csi.aws.com,
  parameters: {type: gp3, encrypted: "true"}, volumeBindingMode: WaitForFirstConsumer, allowVolumeExpansion: true}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: operators}, roleRef: {
  kind: ClusterRole, name: admin}, subjects: [{kind: Group, name: "byoc:operators"}]}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: migrate, namespace: default}, spec: {template: {spec: {
  restartPolicy: Never, containers: [{name: migrate, image: "migrate:1"}]}}}}
---
{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshot, metadata: {name: nightly, namespace: default},
  spec: {source: {persistentVolumeClaimName: data-store-0}}}
"""


@pytest.mark.parametrize("manifest", list(yaml.safe_load_all(MANIFESTS)), ids=lambda manifest: str(manifest["kind"]))
def test_applying_the_same_manifest_twice_is_a_no_op(playground: Playground, manifest: dict[str, Any]) -> None:
    """The second apply keeps the version, and the journal says that nothing changed."""
    kind = kinds.BY_KIND[manifest["apiVersion"], manifest["kind"]]
    base = f"/apis/{kind.api_version}" if kind.group else "/api/v1"
    home = "/namespaces/default" if kind.namespaced else ""
    path = f"{base}{home}/{kind.plural}/{manifest['metadata']['name']}?fieldManager=byoc&force=true"

    first = playground.request("PATCH", path, manifest, content_type=APPLY)
    second = playground.request("PATCH", path, manifest, content_type=APPLY)

    assert (first.status, second.status) == (201, 200)
    assert second.body == first.body
    calls = playground.world.journal.calls(operation=f"patch {kind.plural}")
    assert [call.changed for call in calls] == [True, False]


def test_field_of_another_manager_is_a_conflict_unless_forced(playground: Playground) -> None:
    """The conflict names manager and field; force takes the field over, and its former owner no longer has it."""
    apply_deployment(playground, deployment(), "byoc")

    with pytest.raises(ApiException) as failure:
        apply_deployment(playground, deployment(replicas=7), "rival")
    forced = apply_deployment(playground, deployment(replicas=7), "rival", force=True)

    assert failure.value.status == 409
    assert 'conflict with \\"byoc\\": .spec.replicas' in failure.value.body
    assert "FieldManagerConflict" in failure.value.body
    assert forced.spec.replicas == 7
    owners = {entry.manager: entry.fields_v1["f:spec"] for entry in forced.metadata.managed_fields}
    assert "f:replicas" in owners["rival"]
    assert "f:replicas" not in owners["byoc"]


def test_same_value_is_shared_without_conflict(playground: Playground) -> None:
    """Two managers that want the same own it together; one that leaves does not take it away."""
    apply_deployment(playground, deployment(), "byoc")
    apply_deployment(playground, deployment(), "rival")
    shorter = deployment()
    del shorter["spec"]["replicas"]

    left = apply_deployment(playground, shorter, "rival")

    assert left.spec.replicas == 2


def test_what_is_no_longer_said_is_removed(playground: Playground) -> None:
    """A label, a variable and a container that leave the manifest leave the object; others' fields stay."""
    body = deployment()
    body["metadata"]["labels"]["tier"] = "front"
    spec = body["spec"]["template"]["spec"]
    spec["containers"].append({"name": "sidecar", "image": "registry.example.com/sidecar:1.0"})
    apply_deployment(playground, body, "byoc")
    client.AppsV1Api(playground.client()).patch_namespaced_deployment(
        "web", "default", {"metadata": {"annotations": {"note": "mine"}}}, field_manager="person"
    )

    bare = deployment()
    bare["spec"]["template"]["spec"]["containers"][0]["env"] = []
    result = apply_deployment(playground, bare, "byoc")

    assert result.metadata.labels == {"app": "web"}
    assert result.metadata.annotations == {"note": "mine"}
    (container,) = result.spec.template.spec.containers
    assert not container.env
    assert container.ports[0].container_port == 8080


def test_update_takes_fields_over(playground: Playground) -> None:
    """What a plain patch changes belongs to whoever patched, so that the next apply without force meets a conflict."""
    apply_deployment(playground, deployment(), "byoc")
    client.AppsV1Api(playground.client()).patch_namespaced_deployment_scale(
        "web", "default", {"spec": {"replicas": 9}}, field_manager="autoscaler"
    )

    with pytest.raises(ApiException) as failure:
        apply_deployment(playground, deployment(), "byoc")
    unconcerned = deployment()
    del unconcerned["spec"]["replicas"]
    result = apply_deployment(playground, unconcerned, "byoc")

    assert '\\"autoscaler\\"' in failure.value.body
    assert result.spec.replicas == 9


def test_lists_without_keys_and_selectors_are_replaced_as_a_whole(playground: Playground) -> None:
    """A list that the schema calls atomic takes the applied value."""
    body = deployment()
    body["spec"]["template"]["spec"]["containers"][0]["args"] = ["--a", "--b"]
    apply_deployment(playground, body, "byoc")

    body["spec"]["template"]["spec"]["containers"][0]["args"] = ["--c"]
    result = apply_deployment(playground, body, "byoc")

    assert result.spec.template.spec.containers[0].args == ["--c"]


def test_apply_needs_a_manager_and_known_fields(playground: Playground) -> None:
    """Without a field manager it is invalid; a field that no schema declares cannot be typed."""
    path = "/apis/apps/v1/namespaces/default/deployments/web"

    anonymous = playground.request("PATCH", path, deployment(), content_type=APPLY)
    misspelt = playground.request("PATCH", f"{path}?fieldManager=byoc", deployment(replica=1), content_type=APPLY)

    assert (anonymous.status, anonymous.body["details"]["causes"][0]["field"]) == (422, "fieldManager")
    assert misspelt.status == 500
    assert ".spec.replica: field not declared in schema" in misspelt.body["message"]


def test_dry_run_of_an_apply_shows_the_result_only(playground: Playground) -> None:
    """The reply is what would be; the object stays as it is."""
    apply_deployment(playground, deployment(), "byoc")

    path = "/apis/apps/v1/namespaces/default/deployments/web?fieldManager=byoc&dryRun=All"
    answer = playground.request("PATCH", path, deployment(replicas=8), content_type=APPLY)

    assert answer.body["spec"]["replicas"] == 8
    assert client.AppsV1Api(playground.client()).read_namespaced_deployment("web", "default").spec.replicas == 2


def _mutilated(manifest: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return a copy of a manifest in which one value, wherever it is, is replaced by another of any type."""
    damaged: dict[str, Any] = copied(manifest)
    place: Any = damaged
    while True:
        steps = list(place) if isinstance(place, dict) else list(range(len(place)))
        step = chance.choice(steps)
        inner = place[step]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.9:
            place = inner
            continue
        place[step] = chance.choice([None, {}, [], "text", 1, True, {"a": None}, ["a"], [{}], [None]])
        return damaged


@pytest.mark.parametrize("manifest", list(yaml.safe_load_all(MANIFESTS)), ids=lambda manifest: str(manifest["kind"]))
def test_mutilated_manifest_is_refused_or_applied_but_never_crashes_the_server(manifest: dict[str, Any]) -> None:
    """Whatever is wrong with it, the answer is one of the API; and if it is accepted, a repetition is a no-op."""
    cluster = Cluster("demo", "", version="1.34", provider=StandaloneProvider(), world=World())
    kind = kinds.BY_KIND[manifest["apiVersion"], manifest["kind"]]
    target = Target(kind, "default" if kind.namespaced else "", manifest["metadata"]["name"], "")
    chance = random.Random(0)

    for _ in range(200):
        request = Request(
            verb=Verb.PATCH,
            target=target,
            user=User("operator", (OPERATORS,)),
            query={"fieldManager": "byoc", "force": "true"},
            content_type=APPLY,
            agent="",
            body=json.dumps(_mutilated(manifest, chance)).encode(),
        )
        with contextlib.suppress(ApiError):
            Api(cluster).answer(request)
            assert not Api(cluster).answer(request).changed


texts = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xyz"))


def _apply(live: dict[str, Any], data: dict[str, str], manager: str, *, force: bool) -> dict[str, Any]:
    intent = config_map("settings", None, **data)
    return applied(kinds.CONFIG_MAPS, live, intent, manager=manager, force=force, subresource="", now="now")


@settings(max_examples=200, deadline=None)
@given(first=texts, second=texts, other=texts)
def test_forced_apply_always_ends_in_what_the_manager_says(
    first: dict[str, str], second: dict[str, str], other: dict[str, str]
) -> None:
    """After a forced apply its fields hold, what only it owned before is gone, and a repetition changes nothing."""
    live: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
    live = _apply(live, first, "byoc", force=True)
    live = _apply(live, other, "other", force=True)

    result = _apply(live, second, "byoc", force=True)

    kept = {key: value for key, value in other.items() if key not in second}
    assert (result.get("data") or {}) == {**kept, **second}
    assert _apply(result, second, "byoc", force=True) == result


@settings(max_examples=100, deadline=None)
@given(data=texts)
def test_ownership_survives_being_written_and_read(data: dict[str, str]) -> None:
    """Managed fields read back are those that were written."""
    live: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
    obj = _apply(live, data, "byoc", force=False)
    owners = owners_of(obj)

    record_owners(obj, owners)

    assert owners_of(obj) == owners
