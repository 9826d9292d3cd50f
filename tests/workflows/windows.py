"""A calendar for tests of workflow logic: windows that come every week, in UTC, computed without a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from activities.contracts import WindowAnswer, WindowQuestion
from domain.maintenance import MARGIN, MaintenancePolicy, MaintenanceWindow, Opening

WEEK = timedelta(days=7)
SUNDAY = datetime(2000, 1, 2, 2, tzinfo=UTC)


def weekly(start: datetime, duration: timedelta = timedelta(hours=4), name: str = "weekly") -> MaintenancePolicy:
    """Return a policy with one window that comes every week from an instant on."""
    local = start.astimezone(UTC).replace(tzinfo=None)
    window = MaintenanceWindow(id=name, timezone="Etc/UTC", start=local, rrule="FREQ=WEEKLY", duration=duration)
    return MaintenancePolicy(windows=(window,))


def next_opening(question: WindowQuestion) -> WindowAnswer:
    """Return the next opening of the policy's first window into which the work fits."""
    first, duration = SUNDAY, timedelta(hours=4)
    if question.policy.windows:
        window = question.policy.windows[0]
        first, duration = window.start.replace(tzinfo=UTC), window.duration
    earliest = max(question.now, question.not_before or question.now)
    weeks = max((earliest - duration - first) // WEEK, 0)
    start = first + weeks * WEEK
    for _ in range(150):
        at, end = max(start, earliest), start + duration
        if at + question.need <= end - MARGIN:
            return WindowAnswer(openings=(Opening(start=start, end=end, at=at),))
        start += WEEK
    return WindowAnswer()
