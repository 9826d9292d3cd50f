"""An activity that was cancelled ends before its next call, once, and is never torn apart."""

from __future__ import annotations

from contextvars import copy_context

import pytest
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment

from activities.cancellation import before_call


def test_an_activity_that_is_wanted_goes_on() -> None:
    """Nothing is raised before its calls."""
    assert ActivityEnvironment().run(_calls, 2) == 2


def test_an_activity_that_was_cancelled_ends_before_its_next_call() -> None:
    """What it makes good on its way out is not refused once more."""
    environment = ActivityEnvironment()
    environment.cancel()
    made: list[str] = []

    def works_and_tidies() -> None:
        try:
            before_call()
            made.append("work")
        finally:
            before_call()
            made.append("tidying")

    with pytest.raises(CancelledError, match="given up before a call"):
        # As in a worker: each execution has a context of its own.
        copy_context().run(environment.run, works_and_tidies)

    assert made == ["tidying"]
    with pytest.raises(CancelledError):
        copy_context().run(environment.run, _calls, 1)


def test_outside_of_activities_nothing_is_refused() -> None:
    """The simulators' customers and the command line call, too."""
    before_call()


def _calls(times: int) -> int:
    for _ in range(times):
        before_call()
    return times
