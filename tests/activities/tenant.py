"""One customer's account in a simulated cloud: how a test runs activities there, and what it sees of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment

from activities.cloud import Activity
from domain.deployment import Site
from domain.failure import FailureClass, FailureDetail
from simulators.control_client import ControlClient
from simulators.faults import Fault, FaultKind
from simulators.journal import Call


def by_name(activities: Iterable[Activity]) -> dict[str, Activity]:
    """Return activities as a tenant has them."""
    return {activity.__name__: activity for activity in activities}


@dataclass
class Tenant:
    """The account, and the deployment in it; each cloud's tests add how the customer looks at it."""

    site: Site
    activities: Mapping[str, Activity]
    """Keyed by name."""
    control: ControlClient
    since: int
    """The journal's position when the account was made."""

    def run(self, activity: str, argument: object, *, patience: float = 20.0) -> Any:
        """Run an activity as Temporal does: again while it says that it is not ready, for `patience` real seconds."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.attempt(activity, argument)
            except ApplicationError as error:
                if error.type != FailureClass.NOT_READY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def run_through(self, activity: str, argument: object) -> Any:
        """Run an activity as Temporal does when replies are lost: passing faults are tried again too."""
        for _ in range(20):
            try:
                return self.run(activity, argument)
            except ApplicationError as error:
                if error.type not in {FailureClass.TRANSIENT, FailureClass.CONFLICT}:
                    raise
        raise AssertionError(f"{activity} did not get through 20 passing faults")

    def attempt(self, activity: str, argument: object, *, age: timedelta = timedelta()) -> Any:
        """Run an activity once, as an attempt of a step that began `age` ago."""
        environment = ActivityEnvironment()
        begun = datetime.now(UTC) - age
        environment.info = replace(environment.info, activity_type=activity, scheduled_time=begun)
        return environment.run(self.activities[activity], argument)

    def attempt_cancelled(self, activity: str, argument: object) -> None:
        """Run an activity that is not wanted any more; it has to end as cancelled, without a call of its own."""
        environment, before = ActivityEnvironment(), self.control.position()
        environment.info = replace(environment.info, activity_type=activity)
        environment.cancel()
        with pytest.raises(CancelledError):
            # As in a worker: each execution has a context of its own.
            copy_context().run(environment.run, self.activities[activity], argument)
        calls = [call for call in self.control.journal(after=before) if f"step/{activity}" in call.agent]
        assert calls == []

    def attempt_once(self, activity: str, argument: object, *, age: timedelta = timedelta()) -> FailureDetail | None:
        """Run an activity once and return how it failed, None if it did not."""
        try:
            self.attempt(activity, argument, age=age)
        except ApplicationError as error:
            detail: FailureDetail = error.details[0]
            return detail
        return None

    def failure(self, activity: str, argument: object) -> FailureDetail:
        """Run an activity until it fails for good, and return how."""
        with pytest.raises(ApplicationError) as caught:
            self.run(activity, argument)
        detail: FailureDetail = caught.value.details[0]
        return detail

    def inject(self, kind: FaultKind, operation: str, **details: Any) -> Fault:
        """Make an operation misbehave in this account."""
        fault = Fault(kind=kind, operation=operation, account=self.site.cloud_account_id, agent="byoc/", **details)
        return self.control.inject(fault)

    def changes(self, after: int | None = None) -> list[Call]:
        """Return the calls of ours that changed something, since the account was made or since a position."""
        return self.control.journal(
            after=self.since if after is None else after,
            account=self.site.cloud_account_id,
            agent="byoc/",
            changed=True,
        )
