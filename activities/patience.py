"""How long a step has been at something."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from temporalio import activity


def is_young(age: timedelta) -> bool:
    """Return whether the step that runs in this thread was first attempted less than `age` ago.

    The time counts on the control plane's clock, because a cloud's or a cluster's may differ.
    """
    return activity.in_activity() and datetime.now(UTC) - activity.info().scheduled_time <= age
