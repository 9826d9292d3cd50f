"""Migrations of the schema, and the first job on a new node."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from activities.kubernetes.manifests.identity import POOL_LABEL, SERVER_NAMESPACE, canary_of
from activities.upgrade_contracts import NodeValidation
from domain.failure import FailureClass
from domain.shape import Component, PoolName
from domain.upgrade import MigrationPhase
from simulators.faults import Fault, FaultKind
from simulators.kubernetes import kinds
from simulators.kubernetes.applications.documents import documents
from simulators.kubernetes.simulator import NodeShape
from tests.activities.kubernetes.highly_available import NEW, OLD, Upgraded
from tests.activities.kubernetes.samples import SITE

EXPAND, ACTIVATE, CONTRACT = MigrationPhase


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """A store of the old release."""
    running = Upgraded(tmp_path_factory.mktemp("one-off"), components=(Component.STORE,))
    yield running
    running.stop()


def epochs(server: Upgraded) -> tuple[int, int, int]:
    """Return the schema's oldest, active and expanded epoch."""
    schema = server.on_loop(lambda: documents(server.simulated).schema(SERVER_NAMESPACE))
    assert schema is not None
    return schema.oldest, schema.active, schema.expanded


def test_a_migration_goes_phase_by_phase(server: Upgraded) -> None:
    """Expanded first, activated once every store reads the epoch, contracted at last; each again changes nothing."""
    seen = [epochs(server)]
    server.until_done(server.server.migrate, server.migration(EXPAND))
    seen.append(epochs(server))
    server.promote(Component.STORE, NEW)
    for phase in (ACTIVATE, CONTRACT):
        server.until_done(server.server.migrate, server.migration(phase))
        seen.append(epochs(server))

    position = server.world.journal.position
    server.until_done(server.server.migrate, server.migration(CONTRACT))

    assert seen == [(11, 11, 11), (11, 11, 12), (11, 12, 12), (12, 12, 12)]
    assert server.changes(position) == []
    assert len(server.listed(kinds.JOBS, SERVER_NAMESPACE)) == 1


def test_another_operation_runs_a_phase_again(server: Upgraded) -> None:
    """The job of an earlier operation proves nothing: the documents may have been restored since."""
    server.until_done(server.server.migrate, server.migration(EXPAND))
    position = server.world.journal.position

    site = SITE.model_copy(update={"operation": "acme-prod/upgrade/2"})
    server.until_done(server.server.migrate, server.migration(EXPAND, site=site))

    assert [change.split()[0] for change in server.changes(position)] == ["delete", "patch"]
    assert epochs(server) == (11, 11, 12)


def test_formats_are_not_activated_while_a_store_cannot_read_them(server: Upgraded) -> None:
    """The job fails and says which pod is in the way; the formats stay as they are."""
    server.until_done(server.server.migrate, server.migration(EXPAND))

    failure = server.failure_of(server.server.migrate, server.migration(ACTIVATE))

    assert failure.failure is FailureClass.UNKNOWN
    assert "reads schema epochs up to 11, not 12" in failure.message
    assert epochs(server) == (11, 11, 12)


def test_a_release_that_cannot_read_active_formats_does_not_come_back(server: Upgraded) -> None:
    """After the activation a rollback of the store is stuck, and its pods say why."""
    server.until_done(server.server.migrate, server.migration(EXPAND))
    server.promote(Component.STORE, NEW)
    server.until_done(server.server.migrate, server.migration(ACTIVATE))
    impatient = server.server_with(server.settings.model_copy(update={"grace": timedelta(0)}))

    failure = server.failure_of(impatient.roll_back_component, server.request(Component.STORE, OLD))

    assert "the documents have formats of schema epoch 12, this release reads up to 11" in failure.message


def validation(server: Upgraded, kubernetes: str = "1.35") -> NodeValidation:
    """Return the request of validating the canary node of the services pool."""
    return NodeValidation(site=SITE, cluster=server.cluster, pool=PoolName.SERVICES, kubernetes=kubernetes)


def join(server: Upgraded, *, version: str = "1.35.2") -> None:
    """Let the canary node of the services pool join."""
    value = canary_of(PoolName.SERVICES)
    taint = {"key": POOL_LABEL, "value": value, "effect": "NoSchedule"}
    node = NodeShape(
        name="canary.internal",
        zone=f"{SITE.region}a",
        region=SITE.region,
        instance_type="m7i.xlarge",
        pool=value,
        cpu=4,
        memory_bytes=16 * 2**30,
        version=version,
        labels={POOL_LABEL: value},
        taints=(taint,),
    )
    server.on_loop(lambda: server.simulated.add_node(node))


def test_a_new_node_is_tried_by_a_job_on_it(server: Upgraded) -> None:
    """The job ran on the canary and nowhere else, and nothing of it is left."""
    join(server)

    check = server.until_done(server.server.validate_node, validation(server))

    assert (check.name, check.passed) == ("node-services", True)
    assert "canary.internal runs v1.35.2" in check.evidence
    started = [event for event in server.listed(kinds.EVENTS) if event["reason"] == "Scheduled"]
    assert any("canary.internal" in event["message"] and "validation" in event["message"] for event in started)
    assert server.listed(kinds.JOBS, SERVER_NAMESPACE) == []


@pytest.mark.parametrize(
    ("version", "evidence"),
    [("1.34.9", "canary.internal runs v1.34.9 and not 1.35"), ("", "pool services has no canary node")],
)
def test_a_node_that_is_not_as_it_should_be_is_a_finding(server: Upgraded, version: str, evidence: str) -> None:
    """It is waited for while the step is young; then the check has failed, and no error is raised."""
    impatient = server.server_with(server.settings.model_copy(update={"grace": timedelta(0)}))
    if version:
        join(server, version=version)

    check = server.until_done(impatient.validate_node, validation(server))

    assert (check.passed, check.evidence) == (False, evidence)


def test_a_node_on_which_nothing_runs_is_a_finding(server: Upgraded) -> None:
    """Containers that crash there fail the check, and their job goes."""
    join(server)
    server.fault(Fault(kind=FaultKind.CRASH, operation="start pod", resource="validation"))

    check = server.until_done(server.server.validate_node, validation(server))

    assert not check.passed
    assert check.evidence.startswith("the job on canary.internal: ")
    assert server.listed(kinds.JOBS, SERVER_NAMESPACE) == []
