"""What is looked at inside the cluster before an upgrade."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from activities.upgrade_contracts import ServerCheckRequest
from domain.shape import Component
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.objects import Object
from tests.activities.kubernetes.highly_available import OLD, Upgraded
from tests.activities.kubernetes.samples import SITE

NAMES = ["nodes-ready", "pods-ready", "disruption-budgets", "webhooks"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """One highly available server for the tests of this file."""
    running = Upgraded(tmp_path_factory.mktemp("inspection"))
    yield running
    running.stop()


@pytest.fixture
def server(shared: Upgraded) -> Iterator[Upgraded]:
    """Give the server back without faults."""
    yield shared
    shared.world.faults.clear()
    shared.roll_back(Component.API)


def inspect(server: Upgraded, *, high_availability: bool = True) -> dict[str, tuple[bool, str]]:
    """Return what each check found."""
    request = ServerCheckRequest(site=SITE, cluster=server.cluster, high_availability=high_availability, release=OLD)
    checks = server.attempt(server.server.check_server, request)
    return {check.name: (check.passed, check.evidence) for check in checks}


def failed(server: Upgraded) -> dict[str, str]:
    """Return the evidence of the checks that failed."""
    return {name: evidence for name, (passed, evidence) in inspect(server).items() if not passed}


def test_a_healthy_server_passes(server: Upgraded) -> None:
    """Four checks, each with numbers, and nothing was changed."""
    position = server.world.journal.position

    found = inspect(server)

    assert list(found) == NAMES
    assert all(passed for passed, _ in found.values())
    assert found["nodes-ready"][1] == "12 nodes are ready"
    assert found["pods-ready"][1] == "13 pods are ready"
    assert server.changes(position) == []


def test_a_node_that_takes_no_pods_is_found(server: Upgraded) -> None:
    """A cordon that somebody left would keep evicted pods from finding a place."""
    server.edit(kinds.NODES, "services-1", lambda obj: obj["spec"].update(unschedulable=True), namespace="")

    assert failed(server) == {"nodes-ready": "services-1 takes no pods"}
    server.edit(kinds.NODES, "services-1", lambda obj: obj["spec"].pop("unschedulable"), namespace="")


def test_a_pod_that_is_not_ready_uses_the_budget_up(server: Upgraded) -> None:
    """Pods and budgets both say so."""
    victim = server.pods(Component.API)[0]["metadata"]["name"]
    server.fault(Fault(kind=FaultKind.STUCK, operation="probe pod", resource=victim))
    server.until(lambda: "pods-ready" in failed(server) and "disruption-budgets" in failed(server))

    found = failed(server)

    assert found["pods-ready"] == f"{victim} is not ready"
    assert found["disruption-budgets"] == "api allows no disruption (2 healthy pods, 2 needed)"
    server.world.faults.clear()
    server.until(lambda: not failed(server))


def test_a_second_budget_over_the_same_pods_is_found(server: Upgraded) -> None:
    """Kubernetes refuses to evict a pod that two budgets cover."""
    theirs: Object = {
        "metadata": {"name": "theirs", "namespace": "byoc-server"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": "cdc"}}},
    }
    server.put(kinds.POD_DISRUPTION_BUDGETS, theirs, "byoc-server")
    server.until(lambda: "allows no" not in inspect(server)["disruption-budgets"][1])

    evidence = failed(server)["disruption-budgets"]

    assert evidence.count("of cdc has 2 disruption budgets (cdc, theirs)") == 2
    obj = server.get(kinds.POD_DISRUPTION_BUDGETS, "theirs")
    assert obj is not None
    server.on_loop(lambda: server.simulated.store.delete(kinds.POD_DISRUPTION_BUDGETS, obj))


@pytest.mark.parametrize(
    ("webhook", "evidence"),
    [
        ({"failurePolicy": "Fail", "timeoutSeconds": 5}, "theirs/a.example fails closed"),
        ({"failurePolicy": "Ignore", "timeoutSeconds": 30}, "theirs/a.example may take 30 s"),
        ({}, "theirs/a.example fails closed"),
        ({"failurePolicy": "Ignore"}, ""),
    ],
)
@pytest.mark.parametrize("kind", [kinds.VALIDATING_WEBHOOKS, kinds.MUTATING_WEBHOOKS])
def test_a_webhook_that_could_hold_the_upgrade_up_is_found(
    server: Upgraded, kind: kinds.Kind, webhook: Object, evidence: str
) -> None:
    """One that fails closed, which is the default, or may take more than fifteen seconds."""
    server.put(kind, {"metadata": {"name": "theirs"}, "webhooks": [{"name": "a.example", **webhook}]})

    found = failed(server)

    assert found == ({"webhooks": evidence} if evidence else {})
    obj = server.get(kind, "theirs", namespace="")
    assert obj is not None
    server.on_loop(lambda: server.simulated.store.delete(kind, obj))
