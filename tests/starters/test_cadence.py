"""The monthly cadence on a real server: a schedule that proposes rollouts."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from temporalio.client import Client

from domain.actor import Actor, Door
from starters.cadence import Cadence, cadence_state, set_cadence, stop_cadence
from starters.client import ControlPlane, NotFound


@pytest.fixture
def plane(client: Client) -> ControlPlane:
    """The control plane, on behalf of a release manager."""
    return ControlPlane(client, Actor(name="release@vendor.example", door=Door.CLI))


async def test_the_cadence_is_set_changed_shown_and_stopped(plane: ControlPlane) -> None:
    """It proposes on the second Tuesday, local time; set again it is changed, and stopped it is gone."""
    with pytest.raises(NotFound):
        await cadence_state(plane)

    await set_cadence(plane, Cadence(day="1MO", hour=1))
    state = await set_cadence(plane, Cadence(day="2TU", hour=9, timezone="Europe/Berlin"))

    local = [instant.astimezone(ZoneInfo("Europe/Berlin")) for instant in state.next_at]
    assert len(local) == 3
    assert all(_is_second_tuesday_at_nine(instant) for instant in local)
    assert state == await cadence_state(plane)

    await stop_cadence(plane)
    await stop_cadence(plane)
    with pytest.raises(NotFound):
        await cadence_state(plane)


def _is_second_tuesday_at_nine(instant: datetime) -> bool:
    return (instant.weekday(), instant.hour, instant.minute) == (1, 9, 0) and 8 <= instant.day <= 14
