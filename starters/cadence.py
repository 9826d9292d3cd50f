"""The monthly cadence: a Temporal schedule that proposes rollouts."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from domain.model import Model
from starters.client import ControlPlane, NotFound, explained
from workflows.propose import Propose
from workflows.temporal import queues

SCHEDULE_ID = "rollouts/cadence"
_WEEKDAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
"""As Temporal numbers them."""


class Cadence(Model):
    """When rollouts are proposed."""

    day: str
    """`2TU`: the second Tuesday of each month; 1 to 4."""
    hour: int
    minute: int = 0
    timezone: str = "Etc/UTC"


class CadenceState(Model):
    """The cadence as it stands."""

    note: str
    paused: bool
    next_at: tuple[datetime, ...]
    proposed: int
    """How many times it has run."""


def calendar_of(cadence: Cadence) -> ScheduleCalendarSpec:
    """Return the days on which the n-th weekday of a month can fall, and of those that weekday.

    Raises:
        ValueError: The day is not a number from 1 to 4 with a weekday.
    """
    number, day = cadence.day[:1], cadence.day[1:].upper()
    if number not in ("1", "2", "3", "4") or day not in _WEEKDAYS:
        raise ValueError(f'"{cadence.day}" is no day of a month')
    first = 7 * (int(number) - 1) + 1
    return ScheduleCalendarSpec(
        day_of_month=[ScheduleRange(first, first + 6)],
        day_of_week=[ScheduleRange(_WEEKDAYS.index(day))],
        hour=[ScheduleRange(cadence.hour)],
        minute=[ScheduleRange(cadence.minute)],
    )


async def set_cadence(plane: ControlPlane, cadence: Cadence) -> CadenceState:
    """Make or change the schedule; the same one again changes nothing."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            Propose.run,
            id="propose",
            task_queue=queues.LIFECYCLES,
            static_summary="Propose the rollouts that are due",
        ),
        spec=ScheduleSpec(calendars=[calendar_of(cadence)], time_zone_name=cadence.timezone),
        # A server that was down proposes when it is back; a day later it is left to the next month.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(days=1)),
        state=ScheduleState(note=f"{cadence.day} {cadence.hour:02}:{cadence.minute:02} {cadence.timezone}"),
    )
    with explained("the cadence"):
        try:
            await plane.client.create_schedule(SCHEDULE_ID, schedule)
        except ScheduleAlreadyRunningError:
            await _handle(plane).update(lambda _: _update(schedule, _))
        return await cadence_state(plane)


async def stop_cadence(plane: ControlPlane) -> None:
    """Take the schedule away; rollouts that were proposed stay. Without one nothing changes."""
    with explained("the cadence"):
        try:
            await _handle(plane).delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


async def cadence_state(plane: ControlPlane) -> CadenceState:
    """Return how the schedule stands.

    Raises:
        NotFound: There is none.
    """
    with explained("the cadence"):
        try:
            described = await _handle(plane).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise NotFound("no cadence is set; `byoc rollout cadence set` makes one") from error
            raise
    return CadenceState(
        note=described.schedule.state.note or "",
        paused=described.schedule.state.paused,
        next_at=tuple(described.info.next_action_times[:3]),
        proposed=described.info.num_actions,
    )


def _update(schedule: Schedule, current: ScheduleUpdateInput) -> ScheduleUpdate:
    """Return the new schedule; one that an operator has paused in the Temporal UI stays paused."""
    schedule.state.paused = current.description.schedule.state.paused
    return ScheduleUpdate(schedule=schedule)


def _handle(plane: ControlPlane) -> ScheduleHandle:
    return plane.client.get_schedule_handle(SCHEDULE_ID)
