"""Reading windows as an activity of the worker `services`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.contracts import WindowQuestion
from activities.windows import Windows
from domain.failure import FailureClass
from domain.maintenance import MaintenancePolicy, MaintenanceWindow, Work
from workers.assembly import services_worker
from workers.settings import WorkerSettings

NIGHT = MaintenanceWindow(
    id="night",
    timezone="Europe/Berlin",
    start=datetime.fromisoformat("2026-01-04T02:00"),
    rrule="FREQ=WEEKLY;BYDAY=SU",
)


def asked(window: MaintenanceWindow, **more: object) -> WindowQuestion:
    """Return a question about one window for an hour of work."""
    question = WindowQuestion(
        policy=MaintenancePolicy(windows=(window,)),
        work=Work.SERVER,
        need=timedelta(hours=1),
        now=datetime(2026, 6, 1, tzinfo=UTC),
    )
    return question.model_copy(update=more)


def test_the_next_openings_are_as_many_as_were_asked_for() -> None:
    """After the notice, and each start spread by the deployment's name."""
    question = asked(NIGHT, count=2, not_before=datetime(2026, 6, 7, 12, tzinfo=UTC), spread_by="acme-prod")

    found = ActivityEnvironment().run(Windows().find_openings, question).openings

    assert [opening.start for opening in found] == [datetime(2026, 6, day, tzinfo=UTC) for day in (14, 21)]
    offsets = {opening.at - opening.start for opening in found}
    assert len(offsets) == 1
    assert timedelta(0) < offsets.pop() <= timedelta(hours=2, minutes=45)


@pytest.mark.parametrize("wrong", [{"timezone": "Europe/Nowhere"}, {"rrule": "FREQ=HOURLY"}])
def test_a_policy_that_this_worker_cannot_compute_is_our_fault_and_named(wrong: dict[str, str]) -> None:
    """Not tried again by Temporal: only another policy or another worker helps."""
    with pytest.raises(ApplicationError) as raised:
        ActivityEnvironment().run(Windows().find_openings, asked(NIGHT.model_copy(update=wrong)))

    assert raised.value.type == FailureClass.CONFIG
    assert raised.value.non_retryable
    assert next(iter(wrong.values())).removeprefix("FREQ=") in str(raised.value)


async def test_the_worker_of_services_reads_windows(client: Client) -> None:
    """It is wired. Its connection is its own: one connection has at most one worker for each task queue."""
    worker = services_worker(await Client.connect(client.service_client.config.target_host), WorkerSettings())

    assert "find_openings" in {activity.__name__ for activity in worker.config()["activities"]}
