"""Taking everything out of a cluster, and what a whole life leaves when replies get lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from activities.contracts import BackupRequest, RestoreRequest, SmokeTestRequest
from activities.kubernetes.manifests.identity import SERVER_NAMESPACE
from domain.failure import FailureClass
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object
from tests.activities.kubernetes.playground import Playground, names
from tests.activities.kubernetes.samples import BUCKET, DOMAIN, RELEASE, SITE


def provision(playground: Playground) -> None:
    """Do all that provisioning does in a cluster."""
    playground.found()
    playground.install()
    playground.open()
    smoke = SmokeTestRequest(site=SITE, cluster=playground.cluster, domain=DOMAIN, release=RELEASE)
    playground.until_done(playground.server.smoke_test, smoke)
    first = BackupRequest(site=SITE, cluster=playground.cluster, bucket=BUCKET, release=RELEASE, name="first")
    backup = playground.until_done(playground.server.back_up, first)
    proof = RestoreRequest(site=SITE, cluster=playground.cluster, backup=backup, release=RELEASE)
    playground.until_done(playground.server.prove_restore, proof)


def inventory(playground: Playground) -> set[tuple[str, str, str]]:
    """Return (kind, namespace, name) of everything but events, and pods and their like by their owner."""
    skipped = {"Event", "Pod", "ReplicaSet", "ControllerRevision", "EndpointSlice", "Lease", "PersistentVolume", "Node"}
    return {
        (kind.kind, obj["metadata"].get("namespace") or "", obj["metadata"]["name"])
        for kind in kinds.KINDS
        if kind.kind not in skipped
        for obj in playground.listed(kind)
    }


def test_a_cluster_is_left_as_it_was_found(playground: Playground) -> None:
    """After the deletion nothing of ours remains, in the cluster or in the cloud."""
    before = inventory(playground)
    provision(playground)

    playground.until_done(playground.server.delete_workloads, SITE)

    assert inventory(playground) == before
    assert playground.listed(kinds.PODS) == []
    assert playground.listed(kinds.PERSISTENT_VOLUMES) == []
    assert playground.provider.load_balancers == {}
    assert playground.provider.volumes == {}


def test_a_second_deletion_changes_nothing(playground: Playground) -> None:
    """What is gone is success."""
    provision(playground)
    playground.until_done(playground.server.delete_workloads, SITE)
    position = playground.world.journal.position

    playground.attempt(playground.server.delete_workloads, SITE)

    assert playground.world.journal.calls(after=position, mutating=True, agent="byoc/") == []


def test_load_balancers_go_before_anything_else(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the cloud still takes the load balancer down, workloads and volumes are untouched."""
    provision(playground)
    with monkeypatch.context() as slow:
        slow.setattr(playground.provider, "delete_load_balancer", lambda *_: False)
        for _ in range(5):
            with pytest.raises(ApplicationError) as waiting:
                playground.attempt(playground.server.delete_workloads, SITE)
        workloads = names(playground.listed(kinds.DEPLOYMENTS, SERVER_NAMESPACE))
        claims = playground.listed(kinds.PERSISTENT_VOLUME_CLAIMS, SERVER_NAMESPACE)

    assert waiting.value.type == FailureClass.NOT_READY
    assert "endpoint" in waiting.value.message
    assert workloads == {"api", "authentication", "cdc", "subscription"}
    assert len(claims) == 1


def test_volumes_go_before_the_namespace(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is not done while the cloud still has a volume."""
    provision(playground)
    with monkeypatch.context() as slow:
        slow.setattr(playground.provider, "delete_volume", lambda *_: False)
        for _ in range(30):
            with pytest.raises(ApplicationError) as waiting:
                playground.attempt(playground.server.delete_workloads, SITE)
        home = playground.get(kinds.NAMESPACES, SERVER_NAMESPACE)

    assert "volumes are going" in waiting.value.message
    assert home is not None
    assert "deletionTimestamp" not in home["metadata"]


def test_a_volume_that_somebody_wants_to_retain_is_named(playground: Playground) -> None:
    """Customer data that were ordered to stay are a person's decision, and the step says so instead of waiting."""
    provision(playground)
    (volume,) = playground.listed(kinds.PERSISTENT_VOLUMES)
    name = volume["metadata"]["name"]

    def retain(found: Object) -> None:
        found["spec"]["persistentVolumeReclaimPolicy"] = "Retain"

    playground.edit(kinds.PERSISTENT_VOLUMES, name, retain)
    impatient = playground.server_with(playground.settings.model_copy(update={"grace": timedelta(0)}))

    failure = playground.failure_of(impatient.delete_workloads, SITE)

    assert (failure.failure, failure.resource) == (FailureClass.CONFIG, name)
    assert playground.provider.volumes


def test_what_is_not_ours_stays(playground: Playground) -> None:
    """The customer's own workloads in another namespace, even of our names, are left alone."""
    provision(playground)
    playground.put(kinds.NAMESPACES, {"metadata": {"name": "customers"}})
    service = {
        "metadata": {"name": "endpoint"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "x"}},
    }
    playground.put(kinds.SERVICES, service, "customers")
    playground.put(kinds.CONFIG_MAPS, {"metadata": {"name": "release"}}, "customers")

    playground.until_done(playground.server.delete_workloads, SITE)

    assert names(playground.listed(kinds.SERVICES, "customers")) == {"endpoint"}
    assert "release" in names(playground.listed(kinds.CONFIG_MAPS, "customers"))


def test_another_deployments_site_deletes_nothing(playground: Playground) -> None:
    """Labels name the deployment: a mistaken site finds nothing of its own."""
    provision(playground)
    position = playground.world.journal.position

    playground.until_done(playground.server.delete_workloads, SITE.model_copy(update={"deployment": "acme-test"}))

    assert playground.changes(position) == []


def test_a_cluster_that_the_cloud_does_not_have_is_done(playground: Playground) -> None:
    """No cluster, no workloads: not a single call."""
    playground.identity.cluster = None
    position = playground.world.journal.position

    playground.attempt(playground.server.delete_workloads, SITE)

    assert playground.world.journal.calls(after=position, agent="byoc/") == []


def test_silence_counts_as_gone_only_if_the_cloud_says_so(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that does not answer is a passing fault as long as the cloud has the cluster."""
    playground.on_loop(lambda: playground.simulator.delete_cluster(playground.simulated.id))
    with pytest.raises(ApplicationError) as silence:
        playground.attempt(playground.server.delete_workloads, SITE)
    answers = iter([playground.cluster, None])
    monkeypatch.setattr(playground.identity, "find", lambda _: next(answers))

    playground.attempt(playground.server.delete_workloads, SITE)

    assert silence.value.type == FailureClass.TRANSIENT


def test_lost_replies_leave_no_duplicate_and_no_orphan(playground: Playground) -> None:
    """Every kind of mutating call loses its first reply; the deployment is the same, and so is what remains of it."""
    before = inventory(playground)
    provision(playground)
    expected = inventory(playground)
    playground.until_done(playground.server.delete_workloads, SITE)
    operations = {call.operation for call in playground.world.journal.calls(mutating=True, agent="byoc/")}
    playground.provider.objects.clear()
    for operation in sorted(operations):
        playground.fault(
            Fault(kind=FaultKind.LOST_REPLY, service="kubernetes", operation=operation, agent="byoc/", times=1)
        )

    provision(playground)
    made = inventory(playground)
    playground.until_done(playground.server.delete_workloads, SITE)

    assert made == expected
    assert inventory(playground) == before
    assert {fault.operation for fault, hits in playground.world.faults.listed() if hits} == operations
    assert len(playground.provider.objects) == 1
